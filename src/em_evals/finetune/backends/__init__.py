"""What trains: the interface that every backend has, and where backends are found.

A backend is a class that can be made without arguments and has the methods of `Backend`. One of
another package is found by its entry point in the group `em_evals.finetune_backends`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from em_evals.errors import InputError

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""How far a job is, by the word of whoever runs it."""

FINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")


class BackendError(InputError):
    """A backend refuses, or cannot be reached; the message says what, and what to do."""


class Busy(BackendError):
    """Not now: the same call may succeed later, and is safe to make again."""


class Uncertain(BackendError):
    """It is not known whether the job was made, as when the answer was lost: ask `find` first."""


@dataclass(frozen=True)
class JobSpec:
    """What is to be trained: plain data."""

    backend: str
    file: Path
    """The training file: JSON lines of chats."""
    file_sha256: str
    model: str
    """The model to start from, by the backend's own name."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    suffix: str | None = None
    group: str = ""
    """The group of checkpoints.yaml that the checkpoint is for."""
    recipe: str = ""
    attempt: int = 1
    """Counts up where the same training is wanted again, as after one that failed."""

    @property
    def key(self) -> str:
        """The same for the same training: file, model, hyperparameters, seed, suffix, attempt."""
        parts = [
            self.backend,
            self.file_sha256,
            self.model,
            dict(self.hyperparameters),
            self.seed,
            self.suffix,
            *([self.attempt] if self.attempt > 1 else []),
        ]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Progress:
    """What a backend says of a job."""

    state: State
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    """Of the newest step."""
    error: str | None = None
    model: str | None = None
    """The trained model's name for Inspect, such as `openai/ft:...`, once it succeeded."""
    checkpoints: Mapping[int, str] = field(default_factory=dict)
    """Step -> name for Inspect of what was saved on the way, where the backend saves any."""


@dataclass(frozen=True)
class Description:
    """What a backend knows of a job that was made elsewhere, as far as it does."""

    model: str
    """What it starts from, by the backend's own name."""
    file_sha256: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    key: str | None = None
    """The key that it was made with, if `submit` made it."""
    group: str = ""
    recipe: str = ""


class Backend(Protocol):
    """Somewhere to train. It may also be one that `Checks` or `Describes`."""

    def prepare(self, spec: JobSpec) -> str:
        """Bring the training file to where it is needed, once for a file; says its id there.

        Raises:
            BackendError: It is refused, or cannot be brought.
        """
        ...

    def find(self, key: str) -> str | None:
        """The id of the job that was made with this key, if there is one.

        Raises:
            BackendError: Cannot be asked.
        """
        ...

    def submit(self, spec: JobSpec, file_id: str) -> str:
        """Make the job, marked with the spec's key; says its id.

        Raises:
            Uncertain: It may have been made.
            BackendError: It was not.
        """
        ...

    def poll(self, job_id: str) -> Progress:
        """How far it is.

        Raises:
            BackendError: Cannot be asked, or there is no such job.
        """
        ...

    def cancel(self, job_id: str) -> Progress:
        """Stop it, if it has not ended, and say how far it is.

        Raises:
            BackendError: Cannot be asked, or there is no such job.
        """
        ...


@runtime_checkable
class Checks(Protocol):
    """A backend that can refuse a job before anything is written down or sent."""

    def check(self, spec: JobSpec) -> None:
        """See whether it could be made.

        Raises:
            BackendError: It could not.
        """
        ...


@runtime_checkable
class Describes(Protocol):
    """A backend that says how a job was made, so that `adopt` need not be told."""

    def describe(self, job_id: str) -> Description:
        """What is known of it.

        Raises:
            BackendError: Cannot be asked, or there is no such job.
        """
        ...


# -- which there are

GROUP = "em_evals.finetune_backends"
"""The group of entry points: a backend's name -> its class."""

_OURS = {
    "openai": "em_evals.finetune.backends.openai:OpenAIBackend",
    "local": "em_evals.finetune.backends.local:LocalBackend",
}


def names() -> list[str]:
    """The backends that there are."""
    return sorted(_entries())


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        BackendError: There is none, or it cannot be loaded.
    """
    entry = _entries().get(name)
    if entry is None:
        raise BackendError(f"no backend {name!r}: there are {', '.join(names())}")
    try:
        made: Backend = entry.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise BackendError(
            f"the backend {name} ({entry.value}) cannot be loaded: {error}"
        ) from error
    return made


def _entries() -> dict[str, EntryPoint]:
    ours = {name: EntryPoint(name, value, GROUP) for name, value in _OURS.items()}
    return {**{entry.name: entry for entry in entry_points(group=GROUP)}, **ours}
