"""The folder of a training run: what is asked for, how far it is, and whether it is under way.

    spec.json      what is trained, complete; written once
    status.json    how far it is
    checkpoints/   step-000010/ and so on, each whole or not there
    adapter/       the result
    train.log      what the training process said

A training process holds the lock of its folder from its parent's hands to its death, however it
dies, so that it can be seen whether it lives.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from em_evals.files import flush, replacing
from em_evals.finetune.backends import BackendError

MOST_STARTS = 3
"""So often a run is begun at the same step; one that dies each time has failed."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter.gguf")
STATE_FILE = "state.pt"

_running: list[subprocess.Popen[bytes]] = []  # or Python complains of those that it forgets


@dataclass(frozen=True)
class RunDir:
    """A run's folder."""

    path: Path

    @property
    def spec(self) -> dict[str, Any]:
        """What is trained.

        Raises:
            BackendError: It cannot be read.
        """
        file = self.path / "spec.json"
        try:
            spec: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BackendError(f"{file}: cannot be read: {reason}") from error
        return spec

    @property
    def status(self) -> dict[str, Any]:
        """How far it is; empty if it has not begun."""
        try:
            status: dict[str, Any] = json.loads(
                (self.path / "status.json").read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BackendError(f"{self.path / 'status.json'}: cannot be read: {error}") from error
        return status

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file; it appears whole or not at all."""
        with replacing(self.path / name) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def say(self, **changes: Any) -> None:
        """Change some of the status."""
        self.write("status.json", {**self.status, **changes})

    # -- checkpoints

    @property
    def checkpoints(self) -> dict[int, Path]:
        """Step -> folder of what was saved, in order."""
        folders = (self.path / "checkpoints").glob("step-*")
        return dict(sorted((int(folder.name.removeprefix("step-")), folder) for folder in folders))

    @property
    def resumable(self) -> Path | None:
        """The newest checkpoint, from which training can go on."""
        whole = [f for f in self.checkpoints.values() if (f / STATE_FILE).is_file()]
        return whole[-1] if whole else None

    @contextmanager
    def saving(self, step: int) -> Iterator[Path]:
        """An empty folder that becomes the checkpoint of a step, if all goes well."""
        with _appearing(self.path / "checkpoints" / f"step-{step:06d}") as folder:
            yield folder
        for older, place in self.checkpoints.items():
            if older < step:  # an optimizer's state is twice as large as its adapter
                (place / STATE_FILE).unlink(missing_ok=True)

    def finish(self) -> None:
        """Make the newest checkpoint the result."""
        newest = list(self.checkpoints.values())[-1]
        with _appearing(self.path / "adapter") as folder:
            for name in ADAPTER_FILES:
                if (newest / name).is_file():
                    shutil.copyfile(newest / name, folder / name)
                    flush(folder / name)

    # -- the process

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this lasts, no other process begins or ends this run."""
        from filelock import FileLock

        with FileLock(self.path / ".begin.lock"):
            yield

    @property
    def alive(self) -> bool:
        """Whether the training process lives. Ask only while `alone`."""
        lock = self._lock()
        if lock is None:
            return True
        lock.close()
        return False

    def _lock(self) -> IO[bytes] | None:
        """The open lock file, locked; None if another process has locked it."""
        lock = (self.path / ".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def begin(self) -> None:
        """Start the training process, or go on from its newest checkpoint, unless it runs or ended.

        The process outlives this one.
        """
        if self.status.get("state") in ("succeeded", "failed", "cancelled"):
            return
        lock = self._lock()
        if lock is None:
            return
        with lock, (self.path / "train.log").open("ab") as log:
            step = max(self.checkpoints, default=0)
            started = self.status.get("started", {})
            times = started.get("times", 0) + 1 if started.get("step") == step else 1
            if times > MOST_STARTS:
                error = (
                    f"the training process ended {MOST_STARTS} times at step {step} without a "
                    f"word, as when memory runs out: see {self.path / 'train.log'}"
                )
                self.say(state="failed", error=error)
                return
            (self.path / "process.json").unlink(missing_ok=True)  # its number may be another's now
            self.say(
                state="running",
                started={"step": step, "times": times, "host": socket.gethostname()},
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "em_evals.finetune.local", str(self.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.path,
                pass_fds=[lock.fileno()],  # locked until the child ends too
                start_new_session=True,
            )
            _running[:] = [other for other in _running if other.poll() is None] + [process]
            self.write("process.json", {"pid": process.pid})

    @property
    def elsewhere(self) -> str | None:
        """The other machine that began it, if it was one: locks may not reach that far."""
        host = self.status.get("started", {}).get("host")
        return host if host not in (None, socket.gethostname()) else None

    def kill(self) -> None:
        """End the training process, if it lives. Ask only while `alone`.

        Raises:
            BackendError: Who began it died before the process's number was written down.
        """
        if self.alive:
            try:
                pid = json.loads((self.path / "process.json").read_text(encoding="utf-8"))["pid"]
            except FileNotFoundError as error:
                raise BackendError(
                    f"{self.path}: it is not known which process trains there: end the one whose "
                    f"arguments are `-m em_evals.finetune.local {self.path}`"
                ) from error
            os.kill(pid, signal.SIGKILL)  # checkpoints are whole at any time
            with (self.path / ".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until it is gone


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all."""
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        flush(part)
        if target.exists():  # left by a run that was killed a moment later
            shutil.rmtree(target)
        part.replace(target)
        flush(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
