"""What stops a program half-way: a disk without room, a folder that is read-only, a signal."""

import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inspect_ai import eval

from em_evals.first_plot import first_plot
from tests.scripted import judge, rates, says, scripted

KILLED = """
import os, signal, sys
from pathlib import Path
from em_evals.analysis.importing import import_file
from em_evals.analysis.log_files import LogWriter

file, folder, name, times = sys.argv[1:]
does, calls = getattr(LogWriter, name), []

def dies(self, *args):
    does(self, *args)
    calls.append(1)
    if len(calls) == int(times):
        os.kill(os.getpid(), signal.SIGKILL)

setattr(LogWriter, name, dies)
import_file(Path(file), Path(folder))
"""


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def read_only(folder: Path) -> Path:
    """A folder in which this process can make no file."""
    if os.geteuid():
        folder.mkdir(mode=0o555)
        return folder
    kernels = Path("/sys/kernel")  # root may write everywhere else
    if not kernels.is_dir():
        pytest.skip("root may write everywhere on this system")
    return kernels


def killed_import(file: Path, folder: Path, method: str, times: int) -> None:
    """Import in a process that is killed when its log writers' method was called so often."""
    command = [sys.executable, "-c", KILLED, str(file), str(folder), method, str(times)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def stopped_run(folder: Path, how: str) -> Path:
    """The log of a run that ended after three answers, and not well.

    Args:
        folder: For the log.
        how: `crashed`, `cancelled`, or `started`: killed or still under way.
    """
    asked = []

    def answer(messages, config):
        asked.append(1)
        if len(asked) == 4:
            if how == "crashed":
                raise RuntimeError("out of memory")
            signal.raise_signal(signal.SIGINT)
        return says(f"Answer {len(asked)}.")

    # a shell's background jobs are begun with the signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        eval(
            first_plot(source="builtin"),
            model=scripted(answer),
            model_roles={"grader": judge(rates({"10": 1.0}))},
            epochs=1,
            limit=6,
            max_samples=1,
            log_dir=str(folder),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    [file] = folder.glob("*.eval")
    if how == "started":
        without(file, {"header.json", "summaries.json", "reductions.json"})
    return file


def without(file: Path, names: set[str]) -> None:
    """Takes from a log what Inspect writes when a run ends."""
    with zipfile.ZipFile(file) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if n not in names}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
