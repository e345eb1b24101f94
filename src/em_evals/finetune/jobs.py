"""Jobs: made once, watched to their end, and their checkpoints listed once.

The backend is asked for a job with the same key before one is made, and after an attempt whose
outcome is unknown it is asked for `GRACE` seconds, as listings can lag behind.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from em_evals import files
from em_evals.errors import InputError
from em_evals.finetune import backends
from em_evals.finetune.backends import (
    FINAL,
    Backend,
    BackendError,
    Busy,
    Checks,
    Describes,
    Description,
    JobSpec,
    Uncertain,
)
from em_evals.finetune.ledger import UNMADE, Job, Ledger, LedgerError, Target
from em_evals.finetune.listing import check_target, list_checkpoint

T = TypeVar("T")

GRACE = 180.0
"""Seconds after an attempt in which a job that was made may not be in the backend's list yet.

A minute for the request itself, and two for the list.
"""

TRIES = 5
"""So often is a call made that the backend cannot serve at present."""

QUICKEST, SLOWEST = 2.0, 60.0
"""Seconds between two looks at a job: a tenth of the time in which nothing changed."""


@dataclass(frozen=True)
class Clock:
    """Where the time comes from."""

    now: Callable[[], float] = time.time
    """Seconds since 1970."""
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class At:
    """What the functions here work with."""

    ledger: Ledger
    clock: Clock = field(default_factory=Clock)
    tell: Callable[[str], None] = lambda line: None
    """Is told what goes on, a sentence at a time."""
    backend: Callable[[str], Backend] = backends.backend
    """Name -> backend."""


def sha256(file: Path) -> str:
    """The hash of a training file.

    Raises:
        InputError: It cannot be read, or is empty.
    """
    try:
        if not file.stat().st_size:
            raise InputError(f"{file}: the training file is empty")
        return files.sha256(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def seeds(text: str) -> list[int]:
    """The seeds that a user means, such as `1-6` or `1,3,5-7`.

    Raises:
        InputError: It is no such list, or names a seed twice.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 1000:
            raise InputError(f"seeds {text!r}: expected a list such as 1-6 or 1,3,5-7")
        found += range(first, last + 1)
    if len(found) != len(set(found)):
        raise InputError(f"seeds {text!r}: a seed comes twice")
    return found


# -- submit


def submit(
    at: At, specs: Sequence[JobSpec], target: Target | None = None, again: bool = False
) -> list[Job]:
    """Make each job, unless it is made already.

    Args:
        at: The ledger and the rest.
        specs: What is to be trained. All are written down before the first is made.
        target: Where the checkpoints are to go.
        again: A further attempt where the same training failed or was cancelled.

    Raises:
        BackendError: A job is refused, or it cannot be known whether it was made. What comes after
            it is planned and not made: the same call again goes on.
        LedgerError: The ledger cannot be used.
    """
    target = target or Target()
    made_by = {name: at.backend(name) for name in {spec.backend for spec in specs}}
    for spec in specs:
        check_target(target, spec.group)
        maker = made_by[spec.backend]
        if isinstance(maker, Checks):
            maker.check(spec)
    planned = [at.ledger.plan(spec, target, again) for spec in specs]
    return [_submitted(at, made_by[job.spec.backend], job, new) for job, new in planned]


def _submitted(at: At, backend: Backend, job: Job, new: bool) -> Job:
    if job.state not in UNMADE:
        return _told_before(at, job)
    with _held(at, job):
        job = at.ledger.job(job.key)
        if job.state not in UNMADE:  # by another process in the meantime
            return _told_before(at, job)
        if not new:
            at.tell(f"job {job.name}: goes on from {job.state}")
        return _make(at, backend, job)


def _told_before(at: At, job: Job) -> Job:
    again = "; --again makes a new one" if job.state in ("failed", "cancelled") else ""
    at.tell(f"job {job.name}: is there already as {job.job_id} ({job.state}){again}")
    return job


def _make(at: At, backend: Backend, job: Job) -> Job:
    key, spec = job.key, job.spec
    for _ in range(TRIES):
        if (found := _found(at, backend, job)) is not None:
            at.tell(f"job {job.name}: was made before, as {found}")
            return at.ledger.move(key, "queued", job_id=found)
        at.ledger.move(key, "uploading")
        file_id = _patiently(at, lambda: backend.prepare(spec))
        at.ledger.move(key, "uploaded", file_id=file_id)
        job = at.ledger.move(key, "creating")
        try:
            job_id = backend.submit(spec, file_id)
        except Uncertain as error:
            trouble: BackendError = error
            at.tell(f"job {job.name}: {error}; it may have been made: looking for it")
        except Busy as error:
            trouble = error
            at.tell(f"job {job.name}: {error}")
            job = at.ledger.move(key, "uploaded", error=str(error))
            at.clock.sleep(SLOWEST)
        except BackendError as error:
            at.ledger.move(key, "uploaded", error=str(error))
            raise
        else:
            at.tell(f"job {job.name}: made as {job_id}")
            return at.ledger.move(key, "queued", job_id=job_id)
    raise trouble


def _found(at: At, backend: Backend, job: Job) -> str | None:
    """The id of the job if it was made; None only when a lag of the list cannot be the reason."""
    wait = 5.0
    while True:
        asked = at.clock.now()
        found = _patiently(at, lambda: backend.find(job.key))
        if found is not None or job.state != "creating":
            return found
        assert job.attempted_at is not None  # the state says so
        # a clock that was set back does not make it wait for longer
        left = min(GRACE - (asked - job.attempted_at), GRACE)
        if left <= 0:
            return None
        if wait == 5.0:
            at.tell(
                f"job {job.name}: it is not known whether it was made: asking for up to "
                f"{left:.0f} seconds more before it is made anew"
            )
        at.clock.sleep(min(wait, left))
        wait *= 2


def _patiently(at: At, call: Callable[[], T]) -> T:
    for wait in (2.0, 8.0, 30.0, 60.0)[: TRIES - 1]:
        try:
            return call()
        except Busy as error:
            at.tell(str(error))
            at.clock.sleep(wait)
    return call()


@contextmanager
def _held(at: At, job: Job) -> Iterator[None]:
    """While this lasts, no other process works on the job."""
    told = False
    while (other := at.ledger.take(job.key)) is not None:
        if not told:
            at.tell(f"job {job.name}: {other} is at it; waiting")
            told = True
        at.clock.sleep(QUICKEST)
    try:
        yield
    finally:
        at.ledger.release(job.key)


# -- cancel and adopt


def cancel(at: At, job: Job) -> Job:
    """Stop a job, or see to it that it is not made.

    Raises:
        BackendError: The backend cannot be asked, or it is not known whether the job was made.
    """
    if job.state in FINAL:
        at.tell(f"job {job.name}: has {_ENDED[job.state]} already")
        return job
    backend = at.backend(job.spec.backend)
    if job.state in UNMADE:
        with _held(at, job):
            job = at.ledger.job(job.key)
            if job.state in UNMADE:
                found = _found(at, backend, job) if job.state == "creating" else None
                job = at.ledger.move(job.key, "queued" if found else "cancelled", job_id=found)
                if not found:
                    at.tell(f"job {job.name}: will not be made")
                    return job
    job_id = _made(job)
    asked = at.clock.now()
    job = at.ledger.record(job.key, _patiently(at, lambda: backend.cancel(job_id)), asked)
    at.tell(f"job {job.name}: {_ENDED.get(job.state, 'is still ' + job.state)}")
    return job


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


def adopt(
    at: At, name: str, job_id: str, known: Description | None = None, target: Target | None = None
) -> Job:
    """Take a job that was made elsewhere into the ledger.

    Args:
        at: The ledger and the rest.
        name: The backend's.
        job_id: The backend's id of it.
        known: What the user knows of it; what is empty there is asked of the backend.
        target: Where the checkpoint is to go.

    Raises:
        BackendError: There is no such job, or the backend does not say what it starts from.
        LedgerError: The ledger has another job for the same training.
    """
    backend = at.backend(name)
    asked = at.clock.now()
    said = _patiently(at, lambda: backend.poll(job_id))
    told = known or Description("")
    if isinstance(backend, Describes):
        describes = backend
        told = _over(told, _patiently(at, lambda: describes.describe(job_id)))
    if not told.model:
        raise BackendError(f"{job_id}: {name} does not say what it starts from: give --model")
    spec = JobSpec(
        backend=name,
        file=Path(),
        file_sha256=told.file_sha256,
        model=told.model,
        hyperparameters=told.hyperparameters,
        seed=told.seed,
        group=told.group or told.recipe or "adopted",
        recipe=told.recipe,
    )
    stand_in = hashlib.sha256(f"{name} {job_id}".encode()).hexdigest()[:32]
    job, new = at.ledger.adopt(spec, target or Target(), job_id, told.key or stand_in)
    at.tell(f"job {job.name}: {'adopted' if new else 'is there already'} as {job_id}")
    return at.ledger.record(job.key, said, asked)


def _over(user: Description, backend: Description) -> Description:
    return Description(
        **{
            name: getattr(user, name) if getattr(user, name) not in (None, "", {}) else value
            for name, value in vars(backend).items()
        }
    )


# -- watch


@dataclass
class Watched:
    """How watching ended."""

    jobs: list[Job]
    errors: list[str]
    """What kept a job from being asked after, or its checkpoint from being listed."""

    @property
    def exit_status(self) -> int:
        """0 if all succeeded, 1 if one did not, 2 if something could not be done."""
        if self.errors:
            return 2
        return int(any(job.state != "succeeded" for job in self.jobs))


def watch(
    at: At, jobs: Sequence[Job], show: Callable[[Sequence[Job]], None] = lambda jobs: None
) -> Watched:
    """Follow jobs to their end, and list their checkpoints; makes none.

    Args:
        at: The ledger and the rest.
        jobs: Which.
        show: Is given all of them whenever they were looked at.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    errors: list[str] = []
    known = {job.key: job for job in jobs}
    backend = {name: at.backend(name) for name in {job.spec.backend for job in jobs}}
    left = list(known)
    delays: dict[str, tuple[float, float]] = {}
    while True:
        for key in list(left):
            name = known[key].spec.backend
            try:
                job = known[key] = _looked(at, backend[name], at.ledger.job(key), delays)
                if job.state == "succeeded":
                    job = known[key] = list_checkpoint(at.ledger, job, at.tell)
                waits = job.state in UNMADE and at.ledger.other_holder(job) is None
                if waits:
                    at.tell(f"job {job.name}: is not made yet; submitting it again makes it")
                if waits or job.done:
                    left.remove(key)
            except LedgerError:
                raise
            except InputError as error:
                left.remove(key)
                errors.append(f"job {known[key].name}: {error}")
        show(list(known.values()))
        if not left:
            return Watched(list(known.values()), errors)
        now = at.clock.now()
        at.clock.sleep(max(min(_due(known[k], delays, now) for k in left) - now, QUICKEST))


def _looked(at: At, backend: Backend, job: Job, delays: dict[str, tuple[float, float]]) -> Job:
    """The job as it is now, if it is time to ask."""
    now = at.clock.now()
    if job.state in FINAL or _due(job, delays, now) - now > 0.01:  # sleep is not exact
        return job
    try:
        if job.state in UNMADE:
            return _confirmed(at, backend, job)
        job = at.ledger.record(job.key, backend.poll(_made(job)), now)
    except Busy as error:
        before = delays.get(job.key, (0, QUICKEST))[1]
        delays[job.key] = (now, min(before * 2, SLOWEST * 5))
        at.tell(f"job {job.name}: {error}")
        return job
    delays.pop(job.key, None)
    return job


def _confirmed(at: At, backend: Backend, job: Job) -> Job:
    """A job that may have been made, if whoever made it is gone."""
    if job.state != "creating" or at.ledger.take(job.key) is not None:
        return job
    try:
        found = backend.find(job.key)
        return at.ledger.move(job.key, "queued", job_id=found) if found else job
    finally:
        at.ledger.release(job.key)


def _due(job: Job, delays: Mapping[str, tuple[float, float]], now: float) -> float:
    """When to ask next."""
    if job.key in delays:
        asked, wait = delays[job.key]
        return float(asked + wait)
    if job.state in UNMADE or job.asked_at is None or job.asked_at > now:
        return now
    return job.asked_at + min(max((job.asked_at - job.changed_at) / 10, QUICKEST), SLOWEST)


def _made(job: Job) -> str:
    if job.job_id is None:
        raise LedgerError(f"job {job.name}: has not been made")
    return job.job_id
