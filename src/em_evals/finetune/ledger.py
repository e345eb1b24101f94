"""The ledger: what is to be trained and how far it is, in an SQLite file that processes share.

A job's state is written before the act that it names is begun, so that whatever a process was
doing when it died can be read from the file. Who works on a job holds it: nobody else moves it.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from em_evals.errors import InputError
from em_evals.finetune.backends import FINAL, JobSpec, Progress
from em_evals.finetune.holder import Holder, alive, this_process

State = Literal[
    "planned",
    "uploading",
    "uploaded",
    "creating",
    "queued",
    "running",
    "succeeded",
    "failed",
    "cancelled",
]
"""How far a job is. `creating`: the job may have been made, and it is not known."""

STATES: tuple[State, ...] = get_args(State)
UNMADE: tuple[State, ...] = ("planned", "uploading", "uploaded", "creating")
"""The states in which no id of the job is known."""

BEFORE: dict[State, tuple[State, ...]] = {
    "uploading": ("planned", "uploading", "uploaded", "creating"),
    "uploaded": ("uploading", "creating"),
    "creating": ("uploaded",),
    "queued": UNMADE,
    "cancelled": UNMADE,
}
"""A state that the holder of a job moves it to -> the states that it may come from."""

VERSION = 1
"""Of the tables. A file of a later one is refused."""

_APPLICATION = 0x656D4654
"""SQLite's mark of whose file it is."""

HELD = 600.0
"""Seconds after which a hold is void, where it cannot be seen whether its process lives."""

_TABLES = f"""
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ({", ".join(f"'{state}'" for state in STATES)})),
    backend TEXT NOT NULL,
    spec TEXT NOT NULL,
    target TEXT NOT NULL,
    file_id TEXT,
    job_id TEXT,
    progress TEXT NOT NULL DEFAULT '{{}}',
    error TEXT,
    listed INTEGER NOT NULL DEFAULT 0,
    planned_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    attempted_at REAL,
    asked_at REAL,
    holder TEXT,
    held_until REAL,
    UNIQUE (backend, job_id),
    CHECK ((job_id IS NULL) = (state IN ('planned', 'uploading', 'uploaded', 'creating'))
           OR state = 'cancelled')
)
"""


class LedgerError(InputError):
    """The ledger cannot be used, or a job is in somebody else's hands."""


@dataclass(frozen=True)
class Target:
    """Where the checkpoint goes once it is trained."""

    file: Path | None = None
    """A checkpoints.yaml; None for nowhere."""
    steps: bool = False
    """Also what was saved on the way."""


@dataclass(frozen=True)
class Job:
    """A row of the ledger."""

    id: int
    key: str
    state: State
    spec: JobSpec
    target: Target
    file_id: str | None
    job_id: str | None
    """The backend's own; None until it is known."""
    step: int | None
    steps: int | None
    loss: float | None
    model: str | None
    checkpoints: dict[int, str]
    error: str | None
    """What went wrong last."""
    listed: bool
    """The checkpoint is in the target's file."""
    planned_at: float
    """Seconds since 1970, as all times here."""
    changed_at: float
    attempted_at: float | None
    """When the job was last about to be made."""
    asked_at: float | None
    """When the backend was last asked how far it is."""
    holder: Holder | None
    held_until: float | None

    @property
    def name(self) -> str:
        """What to call it."""
        seed = "" if self.spec.seed is None else f" seed {self.spec.seed}"
        return f"{self.id} {self.spec.group}{seed}"

    @property
    def done(self) -> bool:
        """Nothing more will happen to it, nor to the file of checkpoints on its account."""
        waits = self.state == "succeeded" and self.target.file is not None and not self.listed
        return self.state in FINAL and not waits

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain data."""
        found = asdict(self)
        found["spec"] = _spec_json(self.spec)
        found["target"] = _target_json(self.target)
        found["holder"] = self.holder and str(self.holder)
        return found


class Ledger:
    """An open ledger.

    Args:
        path: The file; made if there is none.
        now: What the time is.
        holder: Who works on the jobs that are taken through this object.
        alive: Whether another holder's process still runs.
        patience: Seconds to wait for another process's write.

    Raises:
        LedgerError: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        holder: Holder | None = None,
        alive: Callable[[Holder], bool | None] = alive,
        patience: float = 30.0,
    ) -> None:
        self.path = path
        self._now = now
        self._holder = holder or this_process()
        self._alive = alive
        self._patience = patience
        with self._said():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=patience, isolation_level=None)
        try:
            with self._said():
                self._file.row_factory = sqlite3.Row
                self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        # a job that is about to be made must be on the disk, whatever happens to the power
        self._file.execute("PRAGMA synchronous = FULL")
        self._file.execute("BEGIN")  # the parts of the version are of one moment
        version = self._version()
        self._file.execute("COMMIT")
        if version == VERSION:
            return
        # not WAL: SQLite does not wait for others when it switches a file to it
        self._file.execute("BEGIN IMMEDIATE")
        if self._version() == 0:  # not made by another process in the meantime
            self._file.execute(_TABLES)
            self._file.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._file.execute(f"PRAGMA user_version = {VERSION}")
        self._file.execute("COMMIT")

    def _version(self) -> int:
        [[version]] = self._file.execute("PRAGMA user_version").fetchall()
        [[application]] = self._file.execute("PRAGMA application_id").fetchall()
        [[tables]] = self._file.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if application != _APPLICATION and (application or version or tables):
            raise LedgerError(
                f"{self.path}: a database of another program, not a ledger of fine-tunes: give "
                "another file with --ledger"
            )
        if version > VERSION:
            raise LedgerError(
                f"{self.path}: written by a newer em-evals (version {version} of the ledger, this "
                f"one knows {VERSION}): update em-evals"
            )
        return int(version)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """What SQLite and the system say, as one sentence about this file."""
        try:
            yield
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {self._reason(error)}") from error

    def _reason(self, error: sqlite3.Error) -> str:
        # the extended code has more bits: the lower eight are the kind
        kind = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        match kind:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return (
                    f"another process has been writing to the ledger for {self._patience:g} "
                    "seconds: try again when it has ended"
                )
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return (
                    "the ledger, or its folder, cannot be written to: mend its permissions, or "
                    "give another file with --ledger"
                )
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return "not a ledger of fine-tunes, or a damaged one: give another with --ledger"
            case sqlite3.SQLITE_FULL:
                return "the disk is full; nothing was begun that is not written down"
        return f"cannot be used: {error}"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; no other process writes in the meantime."""
        with self._said():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    # -- reading

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they were planned."""
        with self._said():
            return [_job(row) for row in self._file.execute("SELECT * FROM job ORDER BY id")]

    def job(self, key: str) -> Job:
        """The job with this key.

        Raises:
            LedgerError: There is none.
        """
        with self._said():
            row = self._file.execute("SELECT * FROM job WHERE key = ?", [key]).fetchone()
        if row is None:
            raise LedgerError(f"{self.path}: has no job with the key {key}")
        return _job(row)

    # -- planning

    def plan(self, spec: JobSpec, target: Target, again: bool = False) -> tuple[Job, bool]:
        """Write down that something is to be trained, unless it is written already.

        Args:
            spec: What.
            target: Where the checkpoint is to go.
            again: Where the same training failed or was cancelled, a further attempt is wanted.

        Returns:
            The job, and whether it is new.
        """
        with self._writing() as file:
            while (row := self._row(file, spec.key)) is not None:
                if not (again and row["state"] in ("failed", "cancelled")):
                    return _job(row), False
                spec = replace(spec, attempt=spec.attempt + 1)
            file.execute(
                "INSERT INTO job (key, state, backend, spec, target, planned_at, changed_at) "
                "VALUES (?, 'planned', ?, ?, ?, ?, ?)",
                [
                    spec.key,
                    spec.backend,
                    json.dumps(_spec_json(spec)),
                    json.dumps(_target_json(target)),
                    *[self._now()] * 2,
                ],
            )
            return _job(self._row(file, spec.key)), True

    def adopt(self, spec: JobSpec, target: Target, job_id: str, key: str) -> tuple[Job, bool]:
        """Write down a job that was made elsewhere, unless it is written already.

        Args:
            spec: What is known of it.
            target: Where the checkpoint is to go.
            job_id: The backend's own.
            key: The key that it was made with, or one that stands for it.

        Raises:
            LedgerError: The ledger has another job for this key.
        """
        with self._writing() as file:
            known = file.execute(
                "SELECT * FROM job WHERE backend = ? AND job_id = ?", [spec.backend, job_id]
            ).fetchone()
            if known is not None:
                return _job(known), False
            row = self._row(file, key)
            if row is None:
                file.execute(
                    "INSERT INTO job "
                    "(key, state, backend, job_id, spec, target, planned_at, changed_at) "
                    "VALUES (?, 'queued', ?, ?, ?, ?, ?, ?)",
                    [
                        *(key, spec.backend, job_id, json.dumps(_spec_json(spec))),
                        *(json.dumps(_target_json(target)), *[self._now()] * 2),
                    ],
                )
            elif row["state"] in UNMADE:
                if (other := self.other_holder(_job(row))) is not None:
                    raise LedgerError(
                        f"{self.path}: job {row['id']}, the same training as {job_id}, is being "
                        f"submitted by {other}: try again when that has ended"
                    )
                file.execute(
                    "UPDATE job SET state = 'queued', job_id = ?, changed_at = ? WHERE key = ?",
                    [job_id, self._now(), key],
                )
            else:
                raise LedgerError(
                    f"{self.path}: {job_id} was made for the same training as job "
                    f"{row['id']}, which is {row['job_id']}: cancel one of them"
                )
            return _job(self._row(file, key)), True

    # -- holding and moving

    def take(self, key: str) -> Holder | None:
        """Take hold of a job.

        Returns:
            None if it is held by this object now; otherwise who else holds it.
        """
        with self._writing() as file:
            row = self._row(file, key)
            if (other := self.other_holder(_job(row))) is not None:
                return other
            self._hold(file, key)
            return None

    def release(self, key: str) -> None:
        """Let go of a job, if it is held."""
        with self._writing() as file:
            file.execute(
                "UPDATE job SET holder = NULL, held_until = NULL "
                "WHERE key = ? AND json_extract(holder, '$.token') = ?",
                [key, self._holder.token],
            )

    def other_holder(self, job: Job) -> Holder | None:
        """Who else works on a job right now, if anybody."""
        other = job.holder
        if other is None or other.token == self._holder.token:
            return None
        lives = self._alive(other)
        if lives is None:
            lives = (job.held_until or 0) > self._now()
        return other if lives else None

    def move(
        self,
        key: str,
        state: State,
        *,
        file_id: str | None = None,
        job_id: str | None = None,
        error: str | None = None,
    ) -> Job:
        """Write down the next state of a job that is held.

        Raises:
            LedgerError: It is not held any more, or cannot come to this state.
        """
        with self._writing() as file:
            row = self._row(file, key)
            holder = _holder(row)
            if holder is None or holder.token != self._holder.token:
                raise LedgerError(
                    f"{self.path}: job {row['id']} was taken over by {holder or 'nobody'}: "
                    "nothing more is done here"
                )
            if job_id is not None and row["job_id"] == job_id:
                return _job(row)  # adopted by its id in the meantime
            if row["state"] not in BEFORE[state]:
                raise LedgerError(
                    f"{self.path}: job {row['id']} is {row['state']} and cannot become {state}"
                )
            now = self._now()
            attempted = now if state == "creating" else row["attempted_at"]
            file.execute(
                "UPDATE job SET state = ?, file_id = coalesce(?, file_id), job_id = ?, error = ?, "
                "changed_at = ?, attempted_at = ? WHERE key = ?",
                [state, file_id, job_id, error, now, attempted, key],
            )
            if state in UNMADE:
                self._hold(file, key)
            else:  # nothing is left that two could do twice
                file.execute("UPDATE job SET holder = NULL, held_until = NULL WHERE key = ?", [key])
            return _job(self._row(file, key))

    def record(self, key: str, said: Progress, asked_at: float) -> Job:
        """Write down what the backend said of a job, unless newer word is known.

        Args:
            key: The job's key.
            said: Its word.
            asked_at: When it was asked.
        """
        with self._writing() as file:
            row = self._row(file, key)
            before = _job(row)
            older = before.asked_at is not None and asked_at < before.asked_at
            if before.state in FINAL or older:
                return before
            shown = {**asdict(said), "checkpoints": list(said.checkpoints.items())}
            new = json.dumps({k: v for k, v in shown.items() if k not in ("state", "error")})
            same = new == row["progress"] and said.state == before.state
            file.execute(
                "UPDATE job SET state = ?, progress = ?, error = ?, asked_at = ?, changed_at = ? "
                "WHERE key = ?",
                [
                    *(said.state, new, said.error, asked_at),
                    *(before.changed_at if same else self._now(), key),
                ],
            )
            return _job(self._row(file, key))

    @contextmanager
    def listing(self, key: str) -> Iterator[Job | None]:
        """While this lasts, no other process of this ledger adds a checkpoint.

        Yields:
            The job if its checkpoint is to be added: it counts as added if no error is raised.
            None if that was done.
        """
        with self._writing() as file:
            job = _job(self._row(file, key))
            if job.done or job.state != "succeeded":
                yield None
                return
            yield job
            file.execute("UPDATE job SET listed = 1 WHERE key = ?", [key])

    def _row(self, file: sqlite3.Connection, key: str) -> Any:
        return file.execute("SELECT * FROM job WHERE key = ?", [key]).fetchone()

    def _hold(self, file: sqlite3.Connection, key: str) -> None:
        file.execute(
            "UPDATE job SET holder = ?, held_until = ? WHERE key = ?",
            [json.dumps(asdict(self._holder)), self._now() + HELD, key],
        )


def default_path() -> Path:
    """The ledger that is used if none is named."""
    from platformdirs import user_data_path

    return user_data_path("em-evals") / "finetune.sqlite"


def find(jobs: Iterable[Job], named: str) -> Job:
    """The job that a user means.

    Args:
        jobs: All of them.
        named: Its number in the ledger, the backend's id of it, or its key.

    Raises:
        LedgerError: There is none.
    """
    for job in jobs:
        if named in (str(job.id), job.job_id, job.key):
            return job
    raise LedgerError(f"no job {named!r}: `em-evals finetune list` shows which there are")


# -- rows


def _job(row: Any) -> Job:
    progress = json.loads(row["progress"])
    return Job(
        id=row["id"],
        key=row["key"],
        state=row["state"],
        spec=_spec(json.loads(row["spec"])),
        target=_target(json.loads(row["target"])),
        file_id=row["file_id"],
        job_id=row["job_id"],
        step=progress.get("step"),
        steps=progress.get("steps"),
        loss=progress.get("loss"),
        model=progress.get("model"),
        checkpoints=dict(progress.get("checkpoints", [])),
        error=row["error"],
        listed=bool(row["listed"]),
        planned_at=row["planned_at"],
        changed_at=row["changed_at"],
        attempted_at=row["attempted_at"],
        asked_at=row["asked_at"],
        holder=_holder(row),
        held_until=row["held_until"],
    )


def _holder(row: Any) -> Holder | None:
    return Holder(**json.loads(row["holder"])) if row["holder"] else None


def _spec_json(spec: JobSpec) -> dict[str, Any]:
    return {**asdict(spec), "file": str(spec.file)}


def _spec(found: dict[str, Any]) -> JobSpec:
    return JobSpec(**{**found, "file": Path(found["file"])})


def _target_json(target: Target) -> dict[str, Any]:
    return {**asdict(target), "file": target.file and str(target.file)}


def _target(found: dict[str, Any]) -> Target:
    return Target(**{**found, "file": Path(found["file"]) if found["file"] else None})
