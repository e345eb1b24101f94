"""Crashes, lost answers and lagging lists, at random: each job is made once, whatever happens.

A crash is raised at a random line of the code under test, or when the server has a request or has
carried it out. From then on nothing of that code runs any more, clean-up included, as when a
process is killed; then the next one starts with the same ledger.
"""

import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from em_evals.checkpoints import load
from em_evals.errors import InputError
from em_evals.finetune import jobs, ledger, listing
from em_evals.finetune.backends import openai
from em_evals.finetune.jobs import submit, watch
from em_evals.finetune.ledger import Target
from tests.finetune.jobs_at import Time, spec, training_file, working
from tests.finetune.openai_jobs_server import Fault, JobsServer

UNDER_TEST = {module.__file__ for module in (jobs, ledger, listing, openai)}

REFUSALS = [(401, "invalid_api_key"), (403, None), (429, "insufficient_quota"), (400, None)]
TROUBLES = [(429, None), (500, None), (503, None), (None, None)]


class Crash(BaseException):
    """The process is killed."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections of processes that were killed; the system closes them."""
    found: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*args: Any, **more: Any) -> sqlite3.Connection:
        found.append(connect(*args, **more))
        return found[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    return found


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not on a disk, where there is one: 300 ledgers wait for a disk too long."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    with TemporaryDirectory(dir=shared if usable else tmp_path) as folder:
        yield Path(folder)


@contextmanager
def crash_at_line(number: int) -> Iterator[None]:
    """Raises at the so-many-th line of the code under test, and at every one after it."""
    left = number

    def on_line(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left <= 0:
                raise Crash
        return on_line

    def on_call(frame: Any, event: str, arg: Any) -> Any:
        return on_line if frame.f_code.co_filename in UNDER_TEST else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def crash_at_server(server: JobsServer, draw: random.Random) -> Iterator[None]:
    """Raises at a request: before it has its effect, or after."""
    left = draw.randint(1, 12)
    dead = False

    def on(kind: str) -> None:
        nonlocal left, dead
        left -= 1
        if dead or left <= 0 or (kind == "create" and draw.random() < 0.5):
            dead = True
            raise Crash

    before = server.on_request, server.on_effect
    setattr(server, draw.choice(["on_request", "on_effect"]), on)
    try:
        with crash_at_line_once_dead(lambda: dead):
            yield
    finally:
        server.on_request, server.on_effect = before


@contextmanager
def crash_at_line_once_dead(dead: Callable[[], bool]) -> Iterator[None]:
    def on_line(frame: Any, event: str, arg: Any) -> Any:
        if event == "line" and dead():
            raise Crash
        return on_line

    def on_call(frame: Any, event: str, arg: Any) -> Any:
        return on_line if frame.f_code.co_filename in UNDER_TEST else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def faults(draw: random.Random) -> dict[str, list[Fault]]:
    """A few faults for each kind of request."""
    found: dict[str, list[Fault]] = {}
    for kind in ("upload", "create", "files", "jobs", "job", "events", "checkpoints"):
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            act = kind in ("upload", "create") and draw.random() < 0.6
            status, code = draw.choice(TROUBLES if act else TROUBLES + REFUSALS)
            if act and status == 429:
                status = None
            delay = draw.uniform(0, 150) if act else 0
            found.setdefault(kind, []).append(Fault(act, status, code, "trouble", delay))
    return found


def schedule(
    number: int, folder: Path, opened: list[sqlite3.Connection]
) -> tuple[JobsServer, list[str]]:
    """Run one schedule to its end; returns the server, and what is wrong in the end."""
    draw = random.Random(number)
    time = Time()
    server = JobsServer(now=time.now, lag=draw.uniform(0, 150), page=draw.choice([1, 2, 100]))
    for _ in range(draw.randint(0, 3)):
        server.made(metadata={"somebody": "else"})
    others = set(server.jobs)
    server.faults = faults(draw)
    file = training_file(folder)
    specs = [spec(file, seed=seed) for seed in range(draw.randint(1, 2))]
    target = Target(folder / "checkpoints.yaml", steps=draw.random() < 0.25)
    path = folder / "ledger.sqlite"

    def run() -> bool:
        at, _ = working(path, server, time)
        with at.ledger:
            made = submit(at, specs, target)
            return watch(at, made).exit_status == 0

    for _ in range(draw.randint(1, 5)):
        crash = draw.random()
        try:
            with (
                crash_at_line(int(draw.uniform(1, 900) ** 2 / 900))
                if crash < 0.6
                else crash_at_server(server, draw)
            ):
                run()
        except Crash:
            pass
        except InputError:
            pass  # refused: the user tries again
        while opened:
            opened.pop().close()
        time.sleep(draw.choice([0, 1, 30, 3000]))
    for _ in range(30):
        try:
            if run():
                break
        except InputError:
            time.sleep(60)
    return server, wrong(server, others, path, target, len(specs))


def wrong(
    server: JobsServer, others: set[str], path: Path, target: Target, wanted: int
) -> list[str]:
    """What is not as it should be, in words."""
    made = {id: job for id, job in server.jobs.items() if id not in others}
    keys = Counter(job["metadata"][openai.KEY] for job in made.values())
    found = [f"{count} jobs with the key {key}" for key, count in keys.items() if count > 1]
    if len(keys) != wanted:
        found.append(f"{len(keys)} trainings were made, of {wanted}")
    with ledger.Ledger(path) as book:
        rows = book.jobs()
    for row in rows:
        remote = made.get(row.job_id or "")
        if remote is None or remote["metadata"][openai.KEY] != row.key:
            found.append(f"{row.name} says it is {row.job_id}")
        elif remote["status"] != row.state or remote["seed"] != row.spec.seed:
            found.append(f"{row.name} says {row.state}, the server says {remote['status']}")
        elif row.model != f"openai/{remote['fine_tuned_model']}" or not row.listed:
            found.append(f"{row.name} says its model is {row.model}, listed: {row.listed}")
        elif row.error or (row.step, row.loss) != (40, 1.0) or row.holder:
            found.append(f"{row.name} says {row.error}, step {row.step}, held by {row.holder}")
    models = sorted(row.model or "" for row in rows)
    if target.steps:
        models += [f"{model}:ckpt-step-{step}" for model in models for step in (20, 30)]
    there = target.file is not None and target.file.exists()
    listed = sorted(c.model for c in load(str(target.file)).checkpoints) if there else []
    if listed != sorted(models):
        found.append(f"listed are {listed}")
    return found


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_in_300_schedules_of_crashes_and_faults_every_job_is_made_once_and_told_truly(
    first, memory, opened
):
    found = {}
    for number in range(first, first + 50):
        folder = memory / str(number)
        folder.mkdir()
        _, faulty = schedule(number, folder, opened)
        if faulty:
            found[number] = faulty
    assert found == {}


def test_the_schedules_do_show_doubles_where_a_lost_job_is_not_waited_for(
    memory, monkeypatch, opened
):
    monkeypatch.setattr(jobs, "GRACE", 0)
    doubled = 0
    for number in range(20):
        folder = memory / str(number)
        folder.mkdir()
        _, faulty = schedule(number, folder, opened)
        doubled += any("jobs with the key" in what for what in faulty)
    assert doubled > 2
