"""What trains: the interface that every backend has, and where backends are found.

A backend is a class that can be made without arguments and has the methods of `Backend`. One of
another package is found by its entry point in the group `em_evals.finetune_backends`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from em_evals.errors import InputError

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""How far a job is, by the word of whoever runs it."""

FINAL: tuple[State, ...] = ("succeeded", "failed", "cancelled")


class BackendError(InputError):
    """A backend refuses, or cannot be reached; the message says what, and what to do."""


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

    @property
    def key(self) -> str:
        """The same for the same training: file, model, hyperparameters and seed."""
        parts = [
            self.backend,
            self.file_sha256,
            self.model,
            dict(self.hyperparameters),
            self.seed,
            self.suffix,
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


class Backend(Protocol):
    """Somewhere to train."""

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
        """Stop it, if it has not ended, and say how far it is."""
        ...
