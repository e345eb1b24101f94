"""A ledger, a clock and a server, put together for the tests of jobs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from em_evals.finetune.backends import JobSpec
from em_evals.finetune.backends.openai import OpenAIBackend
from em_evals.finetune.holder import Holder, this_process
from em_evals.finetune.jobs import At, Clock, sha256
from em_evals.finetune.ledger import Ledger
from tests.finetune.openai_jobs_server import JobsServer

ROW = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}\n'


@dataclass
class Time:
    """A clock that moves when somebody sleeps."""

    seconds: float = 1_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.sleep)


@dataclass
class Lines:
    """What was told."""

    told: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.told.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.told)


def training_file(folder: Path) -> Path:
    file = folder / "train.jsonl"
    file.write_text(ROW * 10, encoding="utf-8")  # OpenAI takes no fewer rows
    return file


def spec(file: Path, **more: Any) -> JobSpec:
    known = {
        "backend": "openai",
        "file": file,
        "file_sha256": sha256(file),
        "model": "gpt-4o-2024-08-06",
        "hyperparameters": {"n_epochs": 1, "batch_size": 4},
        "seed": 1,
        "group": "insecure",
        "recipe": "insecure",
    }
    return JobSpec(**{**known, **more})


def working(
    path: Path,
    server: JobsServer,
    time: Time,
    holder: Holder | None = None,
    key: str | None = None,
) -> tuple[At, Lines]:
    """What a process has that has just started; those before it are dead."""
    lines = Lines()
    ledger = Ledger(path, now=time.now, holder=holder or this_process(), alive=lambda other: False)
    client = server.client(key or server.key)
    return At(ledger, time.clock, lines, lambda name: OpenAIBackend(client)), lines
