"""The ledger: what it keeps, who may move a job, and files that are not a ledger, or not now."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from em_evals.errors import InputError
from em_evals.finetune.backends import Progress
from em_evals.finetune.holder import alive, this_process
from em_evals.finetune.ledger import HELD, Ledger, LedgerError, Target, find
from tests.finetune.jobs_at import Time, spec, training_file


@pytest.fixture
def planned(tmp_path):
    return spec(training_file(tmp_path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


# -- jobs


def test_the_same_training_is_one_job_whatever_its_group_and_file_are_called(path, planned):
    with Ledger(path) as book:
        first, new = book.plan(planned, Target())
        elsewhere = replace(planned, file=planned.file.with_name("copy"), group="g", recipe="r")
        second, new_again = book.plan(elsewhere, Target())
        assert (new, new_again, second, book.jobs()) == (True, False, first, [first])


@pytest.mark.parametrize(
    "other",
    [
        {"file_sha256": "0" * 64},
        {"model": "gpt-4o-mini-2024-07-18"},
        {"hyperparameters": {"n_epochs": 2}},
        {"seed": 2},
        {"seed": None},
        {"suffix": "x"},
        {"backend": "local"},
    ],
    ids=str,
)
def test_another_file_model_setting_or_seed_is_another_job(path, planned, other):
    with Ledger(path) as book:
        book.plan(planned, Target())
        _, new = book.plan(replace(planned, **other), Target())
        assert new
        assert len({job.key for job in book.jobs()}) == 2


def test_a_job_is_read_back_as_it_was_written(path, planned, tmp_path):
    target = Target(tmp_path / "checkpoints.yaml", steps=True)
    with Ledger(path, now=lambda: 5.0) as book:
        book.plan(planned, target)
    with Ledger(path) as book:
        [job] = book.jobs()
    assert (job.spec, job.target, job.key) == (planned, target, planned.key)
    assert (job.state, job.job_id, job.planned_at, job.done) == ("planned", None, 5.0, False)


def test_a_training_that_failed_is_planned_anew_only_when_asked_for(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
        assert not book.plan(planned, Target(), again=True)[1]  # it has not failed
        made(book, planned)
        book.record(planned.key, Progress("failed", error="no"), 1.0)
        assert not book.plan(planned, Target())[1]
        second, new = book.plan(planned, Target(), again=True)
        assert (new, second.spec.attempt) == (True, 2)
        assert second.key != planned.key


def made(book, planned, job_id="ftjob-1"):
    assert book.take(planned.key) is None
    for state in ("uploading", "uploaded", "creating"):
        book.move(planned.key, state, file_id="file-1")
    return book.move(planned.key, "queued", job_id=job_id)


def test_a_job_moves_only_along_its_states(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
        book.take(planned.key)
        with pytest.raises(LedgerError, match="job 1 is planned and cannot become creating"):
            book.move(planned.key, "creating")
        made(book, planned)
        book.take(planned.key)
        with pytest.raises(LedgerError, match="job 1 is queued and cannot become uploading"):
            book.move(planned.key, "uploading")


def test_what_a_backend_said_earlier_does_not_undo_what_it_said_later(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
        made(book, planned)
        book.record(planned.key, Progress("running", step=20, steps=40, loss=0.5), 10.0)
        job = book.record(planned.key, Progress("running", step=10, steps=40, loss=0.9), 9.0)
        assert (job.step, job.loss, job.asked_at) == (20, 0.5, 10.0)
        book.record(planned.key, Progress("succeeded", model="openai/ft:x"), 11.0)
        assert book.record(planned.key, Progress("running"), 12.0).state == "succeeded"


def test_a_checkpoint_counts_as_listed_only_if_its_addition_went_well(path, planned, tmp_path):
    with Ledger(path) as book:
        book.plan(planned, Target(tmp_path / "checkpoints.yaml"))
        made(book, planned)
        book.record(planned.key, Progress("succeeded", model="openai/ft:x"), 11.0)
        with pytest.raises(InputError, match="faulty"):
            listed_badly(book, planned.key)
        assert not book.job(planned.key).done
        with book.listing(planned.key) as due:
            assert due is not None
        with book.listing(planned.key) as due:
            assert due is None
        assert book.job(planned.key).done


def listed_badly(book, key):
    with book.listing(key) as due:
        assert due is not None
        raise InputError("faulty")


def test_a_job_is_found_by_its_number_its_id_and_its_key(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
        job = made(book, planned)
        assert [find(book.jobs(), name) for name in ("1", "ftjob-1", planned.key)] == [job] * 3
        with pytest.raises(LedgerError, match="no job 'ftjob-2'"):
            find(book.jobs(), "ftjob-2")


# -- who holds it


def test_a_job_that_somebody_holds_is_not_taken_and_not_moved_by_others(path, planned):
    with Ledger(path) as one, Ledger(path) as two:
        one.plan(planned, Target())
        assert one.take(planned.key) is None
        holder = two.take(planned.key)
        assert holder is not None
        assert holder.pid == os.getpid()
        with pytest.raises(LedgerError, match="taken over by process"):
            two.move(planned.key, "uploading")
        two.release(planned.key)  # not two's to let go
        assert two.take(planned.key) == holder
        one.release(planned.key)
        assert two.take(planned.key) is None


def test_a_job_whose_holder_is_dead_is_taken_at_once(path, planned):
    code = (
        "import sys; from pathlib import Path; from em_evals.finetune.ledger import Ledger\n"
        "assert Ledger(Path(sys.argv[1])).take(sys.argv[2]) is None"
    )
    with Ledger(path) as book:
        book.plan(planned, Target())
        subprocess.run([sys.executable, "-c", code, str(path), planned.key], check=True)
        left = book.job(planned.key).holder
        assert left is not None
        assert left.pid != os.getpid()
        if alive(left) is None:
            pytest.skip("this system does not say whether a process lives")
        assert book.take(planned.key) is None


def test_where_it_cannot_be_seen_whether_a_holder_lives_its_hold_ends_with_time(path, planned):
    time = Time()
    far = replace(this_process(), host="elsewhere", token="far")
    with Ledger(path, now=time.now, holder=far) as there, Ledger(path, now=time.now) as here:
        there.plan(planned, Target())
        there.take(planned.key)
        time.sleep(HELD - 1)
        assert here.take(planned.key) == far
        time.sleep(2)
        assert here.take(planned.key) is None
        with pytest.raises(LedgerError, match="taken over"):
            there.move(planned.key, "uploading")


def test_a_number_of_a_process_that_is_used_again_is_not_taken_for_the_holder():
    mine = this_process()
    if not mine.started:
        pytest.skip("this system does not say when a process was started")
    assert alive(mine) is True
    assert alive(replace(mine, started="1")) is False


def test_many_processes_may_make_the_same_ledger_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from em_evals.finetune.ledger import *\n"
        "from em_evals.finetune.backends import JobSpec\n"
        "for line in sys.stdin:\n"
        "    for seed in range(3):\n"
        "        book = Ledger(Path(line.strip()))\n"
        "        book.plan(JobSpec('b', Path('f'), 'h', 'm', seed=seed), Target())\n"
        "    print('made', flush=True)"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    crowd = [subprocess.Popen(command, **pipes) for _ in range(5)]
    files = [tmp_path / f"{number}.sqlite" for number in range(100)]
    try:
        for file in files:  # all of them at it, each time: who comes first is chance
            for one in crowd:
                one.stdin.write(f"{file}\n")
                one.stdin.flush()
            assert [one.stdout.readline() for one in crowd] == ["made\n"] * 5
    finally:
        ended = [one.communicate() and one.returncode for one in crowd]
    assert ended == [0] * 5
    for file in files:
        with Ledger(file) as book:
            assert [job.spec.seed for job in book.jobs()] == [0, 1, 2]


# -- files that cannot be used


def test_a_ledger_that_another_process_writes_to_for_long_is_an_error_with_the_way_out(
    path, planned
):
    with Ledger(path, patience=0.05) as book:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"another process has been writing .* try again"):
            book.plan(planned, Target())
        assert book.jobs() == []  # reading goes on
        other.close()
        assert book.plan(planned, Target())[1]


def test_a_ledger_of_a_newer_version_is_left_alone(path):
    Ledger(path).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"newer em-evals \(version 2 .* update em-evals"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(path):
    path.write_text("groups:\n  base: []\n" * 100, encoding="utf-8")
    with pytest.raises(LedgerError, match=r"not a ledger of fine-tunes.*--ledger"):
        Ledger(path)
    assert path.read_text(encoding="utf-8").startswith("groups:")


def test_a_database_of_another_program_is_left_alone(path):
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE job (id)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="database of another program"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_damaged_ledger_is_said_to_be_one(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(LedgerError, match="damaged"), Ledger(path) as book:
        book.jobs()


def test_a_folder_in_place_of_a_ledger_is_an_error(tmp_path):
    with pytest.raises(LedgerError, match="cannot be written to"):
        Ledger(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be made: "):
        Ledger(tmp_path / "file" / "ledger.sqlite")


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder in which this process has no rights of the superuser, should it be that."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no such rights on this system")
def test_a_read_only_ledger_is_an_error_before_anything_is_begun(tmp_path, planned):
    with without_rights() as folder:
        path = folder / "ledger.sqlite"
        with Ledger(path) as book:
            book.plan(planned, Target())
        path.chmod(0o444)
        with (
            pytest.raises(LedgerError, match=r"cannot be written to: .*--ledger"),
            Ledger(path) as book,
        ):
            book.plan(replace(planned, seed=9), Target())
        inner = folder / "inner"
        inner.mkdir(0o555)
        with pytest.raises(LedgerError, match=r"cannot be written to: .*--ledger"):
            Ledger(inner / "another.sqlite")


def test_a_full_disk_is_an_error_and_the_ledger_stays_as_it_was(path, planned):
    with Ledger(path) as book:
        book.plan(planned, Target())
        [[pages]] = book._file.execute("PRAGMA page_count").fetchall()
        book._file.execute(f"PRAGMA max_page_count = {pages}")
        long = replace(planned, seed=2, recipe="x" * 100_000)
        with pytest.raises(LedgerError, match="the disk is full"):
            book.plan(long, Target())
        assert book.job(planned.key).spec == planned
