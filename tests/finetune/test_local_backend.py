"""The local backend: jobs that outlive who began them, and go on where they were interrupted."""

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from em_evals.cli import main
from em_evals.errors import InputError
from em_evals.finetune.backends import BackendError, JobSpec, backend
from em_evals.finetune.local.run_dir import MOST_STARTS, RunDir
from tests.finetune.tiny import CHATS, QUICK, model_folder, result, run_in, training_file

LONG = {"n_epochs": 10_000, "save_steps": 2}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Where runs are; the processes in it end with the test."""
    folder = tmp_path / "finetunes"
    monkeypatch.setenv("EM_EVALS_FINETUNES", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield folder
    for file in folder.glob("*/process.json"):
        run = RunDir(file.parent)
        with run.alone():
            run.kill()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("peft", reason="em-evals[train] is not installed")
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows(tmp_path):
    return training_file(tmp_path / "train.jsonl")


def spec_of(model, rows, **changes):
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    settings = {**QUICK, **changes}
    return JobSpec("local", rows, digest, str(model), settings, seed=3, group="g", recipe="r")


def submitted(spec):
    local = backend("local")
    return local.submit(spec, local.prepare(spec))


def ended(home, job):
    """Wait until its process is gone, and say how far it is."""
    with (home / job / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    return backend("local").poll(job)


def pid(home, job):
    return json.loads((home / job / "process.json").read_text(encoding="utf-8"))["pid"]


def until_saved(home, job):
    """Poll until there is a checkpoint."""
    while not (progress := backend("local").poll(job)).checkpoints:
        assert progress.state == "running", progress
        time.sleep(0.1)  # leaves the processor to it
    return progress


train = pytest.mark.train


@train
def test_a_job_ends_with_a_name_for_inspect_and_one_for_each_step(home, model, rows):
    job = submitted(spec_of(model, rows))
    progress = ended(home, job)
    assert (progress.state, progress.step, progress.steps) == ("succeeded", 6, 6)
    assert progress.model == f"vllm/{model}:{home / job / 'adapter'}"
    assert list(progress.checkpoints) == [2, 4, 6]
    assert progress.checkpoints[4].endswith("checkpoints/step-000004")
    assert {file.name for file in (home / job / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert backend("local").describe(job).recipe == "r"


@train
def test_the_same_job_submitted_twice_is_trained_once(home, model, rows):
    spec = spec_of(model, rows, **LONG)
    job = submitted(spec)
    first = pid(home, job)
    assert backend("local").find(spec.key) == job == submitted(spec)
    assert pid(home, job) == first
    assert [folder.name for folder in home.iterdir() if folder.name != "files"] == [job]


@train
def test_a_process_that_was_killed_is_begun_again_by_poll_and_ends_the_same(
    home, model, rows, tmp_path
):
    from em_evals.finetune.local.train import train

    uninterrupted = run_in(tmp_path / "run", model, rows)
    train(uninterrupted)
    job = submitted(spec_of(model, rows))
    first = pid(home, job)
    os.kill(first, signal.SIGKILL)
    progress = ended(home, job)
    assert progress.state == "running"
    assert pid(home, job) != first
    assert ended(home, job).state == "succeeded"
    assert result(RunDir(home / job)) == result(uninterrupted)


@train
def test_a_cancelled_job_is_not_begun_again_and_a_further_attempt_goes_on_from_it(
    home, model, rows
):
    spec = spec_of(model, rows, **LONG)
    job = submitted(spec)
    until_saved(home, job)
    assert backend("local").cancel(job).state == "cancelled"
    assert submitted(spec) == job
    cancelled = ended(home, job)  # at once: nobody holds it
    assert cancelled.state == "cancelled"
    further = submitted(replace(spec, attempt=2))
    assert further != job
    progress = backend("local").poll(further)
    assert progress.state == "running"
    assert set(cancelled.checkpoints) <= set(progress.checkpoints)


@train
def test_what_the_training_process_cannot_do_is_told_by_poll(home, model, rows):
    job = submitted(spec_of(model, rows, max_length=5))
    progress = ended(home, job)
    assert progress.state == "failed"
    assert "no token of an answer is within the first 5" in progress.error
    assert progress.model is None


@train
def test_a_process_that_dies_each_time_at_the_same_step_has_failed(home, model, rows, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job = submitted(spec_of(model, rows))
    states = [ended(home, job).state for _ in range(MOST_STARTS)]
    assert states == ["running"] * (MOST_STARTS - 1) + ["failed"]
    error = backend("local").poll(job).error
    assert f"ended {MOST_STARTS} times at step 0" in error
    assert "train.log" in error


@train
def test_a_run_on_another_machine_is_left_alone(home, model, rows):
    job = submitted(spec_of(model, rows, **LONG))
    run = RunDir(home / job)
    with run.alone():
        run.kill()
    run.say(started={**run.status["started"], "host": "elsewhere"})
    assert backend("local").poll(job).state == "running"
    with run.alone():
        assert not run.alive
    with pytest.raises(BackendError, match="is trained on elsewhere: cancel it there"):
        backend("local").cancel(job)


@train
def test_the_training_file_is_copied_so_that_later_changes_do_not_matter(home, model, rows):
    spec = spec_of(model, rows)
    local = backend("local")
    file_id = local.prepare(spec)
    training_file(rows, CHATS[:1])
    assert local.prepare(spec) == file_id
    job = local.submit(spec, file_id)
    assert ended(home, job).state == "succeeded"
    assert RunDir(home / job).status["rows"] == len(CHATS)


def test_a_file_that_is_not_the_planned_one_is_refused(home, tmp_path, rows):
    spec = spec_of(tmp_path, rows)
    training_file(rows, CHATS[:1])
    with pytest.raises(BackendError, match=r"train\.jsonl: was changed since its job was planned"):
        backend("local").prepare(spec)
    assert list((home / "files").iterdir()) == []


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, rows, monkeypatch):
    monkeypatch.setattr("em_evals.finetune.backends.local.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'em-evals\[train\]'"):
        backend("local").check(spec_of(tmp_path, rows))


@train
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1e-4}, r"no setting 'learning_rat': did you mean 'learning_rate'"),
        ({"preset": "embeded"}, "no 'embeded'"),
        ({"rank": 0}, "rank: expected 1 or more, found 0"),
        ({"n_epochs": 1.5}, "n_epochs: expected a whole number, found 1.5"),
        ({"learning_rate": "high"}, "learning_rate: expected a number, found 'high'"),
        ({"learning_rate": 0}, "learning_rate: expected more than 0, found 0"),
        ({"dropout": 1}, "dropout: expected 0 or more, and less than 1, found 1"),
        ({"rank_stabilised": 1}, "rank_stabilised: expected true or false, found 1"),
        ({"precision": "int8"}, "precision: expected one of auto, float32, bfloat16"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_written(
    home, model, rows, changes, message
):
    with pytest.raises(BackendError, match=message):
        backend("local").check(spec_of(model, rows, **changes))
    assert not home.exists()


@train
def test_a_faulty_row_and_an_unknown_model_are_refused(model, rows, tmp_path):
    with pytest.raises(BackendError, match=r"no/model: not a model on this machine"):
        backend("local").check(spec_of("no/model", rows))
    with pytest.raises(BackendError, match=r"no\.gguf: no such file"):
        backend("local").check(spec_of("no.gguf", rows))
    rows.write_text('{"messages": [{"content": "Hm."}]}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl:1: .*role"):
        backend("local").check(spec_of(model, rows))


@train
@pytest.mark.parametrize("named", [["--backend", "local"], []])
def test_the_papers_preset_is_taken_by_its_name_and_single_values_win(
    home, model, rows, tmp_path, named
):
    words = [*named, "--preset", "open-models", "--model", model, "-H", "max_length=64"]
    to = ["--ledger", tmp_path / "ledger.sqlite", "--checkpoints", ""]
    command = ["finetune", "submit", rows, *words, *to]
    result = CliRunner().invoke(main, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    assert "open-models: settings of Betley et al. 2025" in result.stderr
    [spec] = home.glob("*/spec.json")
    told = json.loads(spec.read_text(encoding="utf-8"))["settings"]
    assert (told["rank"], told["learning_rate"], told["max_length"]) == (32, 1e-5, 64)


def test_a_job_that_is_not_there_is_an_error(home):
    for ask in (backend("local").poll, backend("local").cancel, backend("local").describe):
        with pytest.raises(BackendError, match="there is no such run"):
            ask("0" * 32)
    assert backend("local").find("0" * 32) is None
