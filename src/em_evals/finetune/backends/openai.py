"""Fine-tuning with OpenAI's API."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from em_evals.finetune.backends import (
    BackendError,
    Busy,
    Description,
    JobSpec,
    Progress,
    State,
    Uncertain,
)
from em_evals.finetune.check import require_sound

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob
    from openai.types.fine_tuning.job_create_params import JobCreateParams

KEY = "em_evals_key"
"""The metadata of a job that says which training it is of."""

_STATES: Mapping[str, State] = {
    "validating_files": "queued",
    "queued": "queued",
    "paused": "queued",
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}

_HYPERPARAMETERS: Mapping[str, Callable[[Any], bool]] = {
    "n_epochs": lambda value: _whole(value) and value >= 1,
    "batch_size": lambda value: _whole(value) and value >= 1,
    "learning_rate_multiplier": lambda value: _number(value) and value > 0,
}

_LARGEST = 512 * 2**20
"""Bytes of a file, by the API's rules."""

_SUFFIX = 64
"""Characters of a suffix, by the API's rules."""

_RIGHTS = re.compile(r"insufficient permissions|missing scopes", re.IGNORECASE)
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class OpenAIBackend:
    """OpenAI, or a server that speaks as it does (`OPENAI_BASE_URL`).

    Nothing is tried twice by the SDK: who calls knows whether a second try is safe.

    Args:
        client: The SDK's client. Default: made from `OPENAI_API_KEY`, when it is first needed.
    """

    def __init__(self, client: "OpenAI | None" = None) -> None:
        self._given = client
        self._uploaded: dict[str, str] = {}
        self._checked: set[tuple[Path, str, str]] = set()

    @cached_property
    def _client(self) -> "OpenAI":
        from openai import OpenAI, OpenAIError

        if self._given is not None:
            return self._given.with_options(max_retries=0)
        try:
            return OpenAI(max_retries=0)
        except OpenAIError:
            raise BackendError(
                "no key for OpenAI: set OPENAI_API_KEY to one that may fine-tune"
            ) from None

    def check(self, spec: JobSpec) -> None:
        """Refuse hyperparameters, seeds and suffixes that the API would refuse, and faulty files.

        Raises:
            BackendError: It is refused.
            InputError: The training file has errors, or cannot be read.
        """
        for name, value in spec.hyperparameters.items():
            valid = _HYPERPARAMETERS.get(name)
            if valid is None:
                known = ", ".join(_HYPERPARAMETERS)
                raise BackendError(f"hyperparameter {name!r}: OpenAI's are {known}")
            if value != "auto" and not valid(value):
                kind = (
                    "a number above 0" if name.startswith("learning") else "a whole number from 1"
                )
                raise BackendError(f"hyperparameter {name}={value!r}: expected {kind}, or auto")
        if spec.seed is not None and not 0 <= spec.seed < 2**31:
            raise BackendError(f"seed {spec.seed}: OpenAI takes 0 to {2**31 - 1}")
        if spec.suffix is not None and not 0 < len(spec.suffix) <= _SUFFIX:
            raise BackendError(f"suffix {spec.suffix!r}: OpenAI takes 1 to {_SUFFIX} characters")
        file = (spec.file, spec.file_sha256, spec.model)
        if file not in self._checked:  # jobs for many seeds have the same one
            require_sound(spec.file, model=spec.model)
            self._checked.add(file)

    def prepare(self, spec: JobSpec) -> str:
        """Upload the training file, unless one of its name, which has its hash, is there.

        Raises:
            Busy: It may go later.
            BackendError: It is refused, or is not the file that was planned.
        """
        try:
            content = spec.file.read_bytes()
        except OSError as error:
            raise BackendError(f"{spec.file}: cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != spec.file_sha256:
            raise BackendError(
                f"{spec.file}: was changed since the job was planned: submit it anew, or bring "
                "back the file as it was"
            )
        if len(content) > _LARGEST:
            raise BackendError(f"{spec.file}: OpenAI takes up to 512 MB, this has {len(content)}")
        if (known := self._uploaded.get(spec.file_sha256)) is not None:
            return known  # the list may lag behind
        name = f"{spec.file.stem[:80]}-{spec.file_sha256[:32]}.jsonl"
        with self._errors("the list of files"):
            for file in self._client.files.list(purpose="fine-tune", limit=1000):
                if (file.filename, file.bytes) == (name, len(content)) and file.status != "error":
                    return file.id
        with self._errors("the upload of the training file"):
            file_id = _id(self._client.files.create(file=(name, content), purpose="fine-tune"))
        self._uploaded[spec.file_sha256] = file_id
        return file_id

    def find(self, key: str) -> str | None:
        """The id of the oldest job whose metadata have the key.

        Raises:
            Busy: It may be asked later.
            BackendError: Cannot be asked.
        """
        with self._errors("the list of jobs"):
            found = [
                (job.created_at, job.id)
                for job in self._client.fine_tuning.jobs.list(limit=100)
                if (job.metadata or {}).get(KEY) == key
            ]
        return min(found)[1] if found else None

    def submit(self, spec: JobSpec, file_id: str) -> str:
        """Make the job, with the key, the group and the recipe in its metadata.

        Raises:
            Uncertain: It may have been made.
            Busy: It was not, and may be later.
            BackendError: It was not.
        """
        method = {
            "type": "supervised",
            "supervised": {"hyperparameters": dict(spec.hyperparameters)},
        }
        request = {
            "model": spec.model,
            "training_file": file_id,
            "method": method,
            "metadata": _metadata(spec),
            **({} if spec.seed is None else {"seed": spec.seed}),
            **({} if spec.suffix is None else {"suffix": spec.suffix}),
        }
        with self._errors("the creation of the job", lost=Uncertain):
            return _id(
                self._client.fine_tuning.jobs.create(**cast("JobCreateParams", request), timeout=60)
            )

    def poll(self, job_id: str) -> Progress:
        """How far a job is, with the loss of its newest step.

        Raises:
            Busy: It may be asked later.
            BackendError: Cannot be asked, or there is no such job.
        """
        return self._progress(self._job(job_id))

    def cancel(self, job_id: str) -> Progress:
        """Stop a job, unless it has ended.

        Raises:
            Busy: It may be asked later.
            BackendError: Cannot be asked, or there is no such job.
        """
        job = self._job(job_id)
        if _state(job) not in ("queued", "running"):
            return self._progress(job)
        with self._errors(f"job {job_id}"):
            return self._progress(self._client.fine_tuning.jobs.cancel(job_id))

    def describe(self, job_id: str) -> Description:
        """How a job was made.

        Raises:
            Busy: It may be asked later.
            BackendError: Cannot be asked, or there is no such job.
        """
        job = self._job(job_id)
        method = job.method and job.method.supervised and job.method.supervised.hyperparameters
        told = (method or job.hyperparameters).model_dump(exclude_none=True)
        metadata = job.metadata or {}
        return Description(
            model=job.model,
            file_sha256=metadata.get("em_evals_file", ""),
            hyperparameters={name: told[name] for name in _HYPERPARAMETERS if name in told},
            seed=job.seed,
            key=metadata.get(KEY),
            group=metadata.get("em_evals_group", ""),
            recipe=metadata.get("em_evals_recipe", ""),
        )

    def _job(self, job_id: str) -> "FineTuningJob":
        with self._errors(f"job {job_id}"):
            job = self._client.fine_tuning.jobs.retrieve(job_id)
            _id(job)
            return job

    def _progress(self, job: "FineTuningJob") -> Progress:
        state = _state(job)
        metrics: Mapping[str, Any] = {}
        checkpoints = {}
        if state in ("running", "succeeded"):
            with self._errors(f"the events of job {job.id}"):
                events = self._client.fine_tuning.jobs.list_events(job.id, limit=50).data
            metrics = next((e.data for e in events if isinstance(e.data, dict) and e.data), {})
        if state == "succeeded":
            with self._errors(f"the checkpoints of job {job.id}"):
                saved = self._client.fine_tuning.jobs.checkpoints.list(job.id, limit=100)
                checkpoints = {
                    c.step_number: f"openai/{c.fine_tuned_model_checkpoint}" for c in saved
                }
        error = None
        if state == "failed":
            error = "OpenAI gives no reason" if job.error is None else _of_job(job.error)
        return Progress(
            state=state,
            step=metrics.get("step"),
            steps=metrics.get("total_steps"),
            loss=metrics.get("train_loss"),
            error=error,
            model=f"openai/{job.fine_tuned_model}" if job.fine_tuned_model else None,
            checkpoints=checkpoints,
        )

    @contextmanager
    def _errors(self, what: str, lost: type[BackendError] = Busy) -> Iterator[None]:
        """What the SDK raises, as one sentence; `lost` is raised where it may have been done."""
        from openai import APIConnectionError, APIStatusError, OpenAIError

        try:
            yield
        except BackendError:
            raise
        except APIStatusError as error:
            told = error.body.get("message") if isinstance(error.body, dict) else None
            self._refused(error.status_code, error.code or "", str(told or error), what, lost)
        except APIConnectionError as error:
            raise lost(f"{what}: no answer from OpenAI: {self._clean(error.message)}") from None
        except (OpenAIError, ValueError, AttributeError, TypeError) as error:
            # an answer that is not what the API says it is
            raise lost(
                f"{what}: OpenAI's answer cannot be read: {self._clean(str(error))}"
            ) from None

    def _refused(
        self, status: int, code: str, message: str, what: str, lost: type[BackendError]
    ) -> NoReturn:
        said = f"{what}: OpenAI says {self._clean(message)!r}"
        if status in (401, 403) and (status == 403 or _RIGHTS.search(message)):
            raise BackendError(
                f"{said}: the key may not fine-tune: use one of a project with write access to "
                "files and fine-tuning"
            ) from None
        if status == 401:
            # the API's own words have parts of the key
            raise BackendError(
                f"{what}: OpenAI does not know the key: set OPENAI_API_KEY to a valid one"
            ) from None
        if code in _QUOTA:
            raise BackendError(
                f"{what}: the account's quota with OpenAI is used up: add credit"
            ) from None
        if status == 429:
            raise Busy(f"{said}: too many requests at present: try again later") from None
        if status >= 500 or status in (408, 409):
            raise lost(f"{what}: OpenAI had an error ({status}): try again later") from None
        raise BackendError(said) from None

    def _clean(self, text: str) -> str:
        """The text without keys."""
        key = self._client.api_key
        text = text.replace(key, "***") if key else text
        return re.sub(r"\bsk-[\w*.-]+", "***", " ".join(text.split()))[:500].rstrip(".")


def _id(made: Any) -> str:
    found = getattr(made, "id", None)
    if not (isinstance(found, str) and found):
        raise ValueError("it has no id")
    return found


def _state(job: "FineTuningJob") -> State:
    if job.status not in _STATES:
        raise BackendError(
            f"job {job.id}: OpenAI says it is {job.status!r}, which is not known here"
        )
    return _STATES[job.status]


def _of_job(error: Any) -> str:
    param = f" ({error.param})" if error.param else ""
    return f"OpenAI says {error.message!r}{param}"


def _metadata(spec: JobSpec) -> dict[str, str]:
    said = {
        KEY: spec.key,
        "em_evals_file": spec.file_sha256,
        "em_evals_group": spec.group,
        "em_evals_recipe": spec.recipe,
    }
    return {name: value[:512] for name, value in said.items() if value}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
