"""Who works on a job: a process, and whether it still runs."""

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process that works on a job."""

    host: str
    pid: int
    started: str
    """When, in the words of the system; empty where it does not say. Numbers are used again."""
    token: str
    """Tells apart those who hold jobs in one process."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Holder:
    """A new holder in this process."""
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, _started(pid), uuid.uuid4().hex)


def alive(holder: Holder) -> bool | None:
    """Whether the process of a holder still runs; None where that cannot be seen."""
    if holder.host != socket.gethostname() or not holder.started:
        return None
    return _started(holder.pid) == holder.started


def _started(pid: int) -> str:
    try:
        # the name of the command, in brackets, may have blanks
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        return ""
