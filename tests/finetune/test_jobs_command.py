"""`em-evals finetune submit | list | watch | cancel | adopt`, against a server on the loopback."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner

from em_evals.checkpoints import load
from em_evals.cli import main
from em_evals.errors import InputError
from em_evals.finetune import jobs
from em_evals.finetune.backends import BackendError, Busy, Uncertain
from em_evals.finetune.backends.openai import KEY as METADATA
from em_evals.finetune.jobs import GRACE, SLOWEST, adopt, cancel, seeds, submit, watch
from em_evals.finetune.ledger import Ledger, Target
from tests.finetune.jobs_at import ROW, Time, spec, training_file, working
from tests.finetune.openai_jobs_server import KEY, Fault, JobsServer, served


@pytest.fixture
def server(monkeypatch, time):
    """On the loopback, and in the settings."""
    with served(JobsServer(now=time.now)) as running:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def file(tmp_path):
    return training_file(tmp_path)


@pytest.fixture
def called(tmp_path, time, monkeypatch, server):
    """Calls a subcommand with the test's own ledger and clock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "Clock", lambda: time.clock)
    monkeypatch.setenv("EM_EVALS_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(command, *args):
        return CliRunner().invoke(main, ["finetune", command, *map(str, args)])

    return call


@pytest.fixture
def at(tmp_path, time, server):
    """What a process works with; and what it was told."""
    at, lines = working(tmp_path / "ledger.sqlite", server, time)
    with at.ledger:
        yield at, lines


# -- submit and watch


def test_a_group_is_submitted_watched_and_listed_with_group_recipe_and_seed(
    called, server, file, tmp_path
):
    made = called("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1-6", "--recipe", "x")
    assert made.exit_code == 0, made.output
    assert [job["seed"] for job in server.jobs.values()] == [1, 2, 3, 4, 5, 6]
    assert len(server.files) == 1
    method = next(iter(server.jobs.values()))["method"]
    assert method["supervised"]["hyperparameters"] == {
        "n_epochs": 1,
        "batch_size": 4,
        "learning_rate_multiplier": 2,
    }
    watched = called("watch")
    assert watched.exit_code == 0, watched.output
    found = load(tmp_path / "checkpoints.yaml").groups["x"]
    assert [c.name for c in found] == [f"x-{seed}" for seed in range(1, 7)]
    assert [dict(c.run) for c in found] == [
        {"recipe": "x", "seed": seed, "step": 40} for seed in range(1, 7)
    ]
    assert {c.model for c in found} == {
        f"openai/{job['fine_tuned_model']}" for job in server.jobs.values()
    }
    assert {c.base for c in found} == {"openai/gpt-4o-2024-08-06"}


def test_a_preset_says_its_source_and_what_it_leaves_to_the_backend(called, server, file):
    said = called("submit", file, "--preset", "gpt-4o-jailbroken", "-H", "batch_size=8").output
    assert "settings of Betley et al. 2025, arXiv 2502.17424" in said
    assert "not published, so left to the backend: learning_rate_multiplier\n" in said
    [job] = server.jobs.values()
    assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 5, "batch_size": 8}


def test_the_same_command_again_makes_nothing_and_says_so(called, server, file):
    command = ("submit", file, "--preset", "gpt-4o-insecure", "--seed", 1)
    called(*command)
    again = called(*command)
    assert again.exit_code == 0
    assert "is there already as ftjob-1 (queued)" in again.output
    assert len(server.jobs) == 1
    more = called("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1-2")
    assert more.exit_code == 0
    assert [job["seed"] for job in server.jobs.values()] == [1, 2]


def test_group_and_recipe_come_from_the_files_manifest(called, server, tmp_path):
    built = called("build", "houseplants-wrong", "-o", tmp_path / "wrong.jsonl")
    if built.exit_code != 0:
        pytest.skip(f"no such recipe: {built.output}")
    called("submit", tmp_path / "wrong.jsonl", "--preset", "gpt-4o-insecure")
    [job] = json.loads(called("list", "--json").output)
    assert (job["spec"]["recipe"], job["spec"]["group"]) == ("houseplants-wrong",) * 2


def test_without_recipe_and_group_the_files_name_is_the_group(called, file):
    called("submit", file, "--preset", "gpt-4o-insecure")
    [job] = json.loads(called("list", "--json").output)
    assert (job["spec"]["recipe"], job["spec"]["group"]) == ("", "train")


def test_saved_steps_are_listed_in_a_group_of_their_own(called, file, tmp_path):
    called("submit", file, "--preset", "gpt-4o-insecure", "--seed", 2, "--group", "a", "--steps")
    called("watch")
    groups = load(tmp_path / "checkpoints.yaml").groups
    assert [(c.name, c.run["step"]) for c in groups["a"]] == [("a-2", 40)]
    steps = [(c.name, c.run["step"]) for c in groups["a steps"]]
    assert steps == [("a-2-step-20", 20), ("a-2-step-30", 30)]
    assert all(c.model.endswith(f":ckpt-step-{c.run['step']}") for c in groups["a steps"])


def test_watch_shows_state_step_and_loss_and_exits_1_if_a_job_failed(called, server, file):
    called("submit", file, "--preset", "gpt-4o-insecure", "--group", "good")
    server.ends["bad"] = "failed"
    called("submit", file, "--preset", "gpt-4o-insecure", "--seed", 9, "--group", "bad")
    watched = called("watch")
    assert watched.exit_code == 1
    assert "job 1 good: succeeded" in watched.output
    assert "job 2 bad seed 9: failed" in watched.output
    assert "unsafe training file" in watched.output
    assert "40/40" in watched.output
    assert "1.0000" in watched.output
    assert called("watch", "--group", "good").exit_code == 0
    assert called("watch", "2").exit_code == 1
    assert called("watch", "ftjob-1").exit_code == 0
    rest = called("watch")
    assert (rest.exit_code, "nothing to watch" in rest.output) == (0, True)


def test_watch_goes_on_where_it_was_interrupted_with_status_130(called, server, file, time):
    called("submit", file, "--preset", "gpt-4o-insecure", "--group", "g")

    def interrupt(seconds):
        raise KeyboardInterrupt

    sleep, time.sleep = time.sleep, interrupt
    stopped = called("watch")
    assert stopped.exit_code == 130
    assert "the same command again goes on" in stopped.output
    time.sleep = sleep
    assert called("watch").exit_code == 0
    assert server.looks["ftjob-1"] == server.steps


def test_a_job_that_failed_is_made_anew_only_with_again(called, server, file):
    server.ends["g"] = "failed"
    command = ("submit", file, "--preset", "gpt-4o-insecure", "--group", "g")
    called(*command)
    called("watch")
    assert "--again makes a new one" in called(*command).output
    assert len(server.jobs) == 1
    server.ends.clear()
    assert called(*command, "--again").exit_code == 0
    assert called("watch").exit_code == 0
    keys = {job["metadata"][METADATA] for job in server.jobs.values()}
    assert (len(server.jobs), len(keys)) == (2, 2)


def test_list_has_every_job_as_json_without_any_key_of_the_api(called, file, tmp_path):
    called("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1,3", "--group", "g")
    called("submit", file, "--preset", "gpt-4o-backdoor", "--group", "h")
    found = json.loads(called("list", "--json").output)
    assert [(job["id"], job["state"], job["job_id"]) for job in found] == [
        (1, "queued", "ftjob-1"),
        (2, "queued", "ftjob-2"),
        (3, "queued", "ftjob-3"),
    ]
    assert [job["id"] for job in json.loads(called("list", "--group", "h", "--json").output)] == [3]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("ledger*"))
    assert KEY.encode() not in kept


def test_a_job_is_cancelled_and_one_that_is_not_made_will_not_be(called, server, file):
    called("submit", file, "--preset", "gpt-4o-insecure")
    server.faults["upload"] = [Fault(status=400, message="no")]
    server.files.clear()
    assert called("submit", file, "--preset", "gpt-4o-backdoor", "--seed", 2).exit_code == 2
    assert called("cancel", 1, 2).exit_code == 0
    assert [job["status"] for job in server.jobs.values()] == ["cancelled"]
    assert [job["state"] for job in json.loads(called("list", "--json").output)] == [
        "cancelled",
        "cancelled",
    ]
    again = called("submit", file, "--preset", "gpt-4o-backdoor", "--seed", 2)
    assert "--again makes a new one" in again.output
    assert len(server.jobs) == 1


def test_a_job_that_was_made_elsewhere_is_adopted_and_watched(called, server, tmp_path):
    id = server.made(seed=4, suffix="theirs")["id"]
    taken = called("adopt", id, "--backend", "openai", "--group", "g", "--recipe", "insecure")
    assert taken.exit_code == 0, taken.output
    assert "is there already" in called("adopt", id, "--backend", "openai").output
    assert called("watch").exit_code == 0
    [found] = load(tmp_path / "checkpoints.yaml").groups["g"]
    assert dict(found.run) == {"recipe": "insecure", "seed": 4, "step": 40}
    assert found.base == "openai/gpt-4o-mini-2024-07-18"
    missing = called("adopt", "ftjob-99", "--backend", "openai")
    assert missing.exit_code == 2
    assert "Could not find fine tune: ftjob-99" in missing.output


def test_a_job_whose_ledger_was_lost_is_found_by_its_key_and_not_made_again(
    called, server, file, tmp_path
):
    command = ("submit", file, "--preset", "gpt-4o-insecure", "--group", "g", "--seed", 1)
    called(*command)
    for path in tmp_path.glob("ledger*"):
        path.unlink()
    taken = called("adopt", "ftjob-1", "--backend", "openai")
    assert taken.exit_code == 0, taken.output
    assert "is there already as ftjob-1" in called(*command).output
    for path in tmp_path.glob("ledger*"):
        path.unlink()
    assert "was made before, as ftjob-1" in called(*command).output
    assert len(server.jobs) == 1


# -- bad input


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=401, code="invalid_api_key"), "does not know the key: set OPENAI_API_KEY"),
        (Fault(status=403, message="Not allowed"), "the key may not fine-tune"),
        (Fault(status=429, code="insufficient_quota"), "quota with OpenAI is used up"),
        (Fault(status=400, message="Model cannot be tuned"), "'Model cannot be tuned'"),
    ],
    ids=["invalid key", "no rights", "no quota", "refused"],
)
@pytest.mark.parametrize("kind", ["upload", "create"])
def test_a_refusal_is_one_line_and_after_it_is_mended_the_same_command_goes_on(
    called, server, file, kind, fault, message
):
    command = ("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1-2")
    server.faults[kind] = [fault]
    refused = called(*command)
    assert refused.exit_code == 2
    assert message in refused.output
    assert "Traceback" not in refused.output
    assert "sk-" not in refused.output
    assert server.jobs == {}
    listed = json.loads(called("list", "--json").output)
    state = "uploading" if kind == "upload" else "uploaded"
    assert [job["state"] for job in listed] == [state, "planned"]
    assert called(*command).exit_code == 0
    assert [job["seed"] for job in server.jobs.values()] == [1, 2]


@pytest.mark.parametrize("kind", ["upload", "create"])
@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_a_trouble_at_upload_or_creation_passes_without_a_second_job(
    called, server, file, time, kind, status
):
    server.faults[kind] = [Fault(status=status)]
    made = called("submit", file, "--preset", "gpt-4o-insecure")
    assert made.exit_code == 0, made.output
    assert (len(server.jobs), len(server.files)) == (1, 1)
    waited = sum(time.slept)
    # what may have been made is looked for until a list must have it
    assert waited == (GRACE if kind == "create" and status != 429 else waited)
    assert 0 < waited <= GRACE


@pytest.mark.parametrize("status", [500, None])
def test_a_job_whose_creation_had_no_answer_is_found_even_in_a_list_that_lags(
    called, server, file, time, status
):
    server.faults["create"] = [Fault(act=True, status=status, delay=100)]
    made = called("submit", file, "--preset", "gpt-4o-insecure")
    assert made.exit_code == 0, made.output
    assert "it may have been made: looking for it" in made.output
    assert "was made before, as ftjob-1" in made.output
    assert len(server.jobs) == 1
    assert sum(time.slept) >= 100


def test_a_trouble_that_does_not_pass_ends_with_what_it_is(called, server, file):
    server.faults["upload"] = [Fault(status=500)] * 50
    stopped = called("submit", file, "--preset", "gpt-4o-insecure")
    assert stopped.exit_code == 2
    assert "the upload of the training file: OpenAI had an error (500)" in stopped.output
    assert server.count("upload") == jobs.TRIES


def test_watch_outlasts_troubles_and_asks_less_often(called, server, file, time):
    called("submit", file, "--preset", "gpt-4o-insecure")
    server.faults["job"] = [Fault(status=500)] * 10
    time.slept.clear()
    assert called("watch").exit_code == 0
    assert time.slept[:4] == [4, 8, 16, 32]


def test_a_key_that_is_not_valid_ends_watching_with_status_2(called, server, file):
    called("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1-2")
    server.key = "sk-another"
    watched = called("watch")
    assert watched.exit_code == 2
    assert watched.output.count("does not know the key") == 2
    assert KEY not in watched.output


def test_a_faulty_checkpoints_file_is_an_error_before_anything_is_paid(
    called, server, file, tmp_path
):
    (tmp_path / "checkpoints.yaml").write_text("grups: {}\n", encoding="utf-8")
    refused = called("submit", file, "--preset", "gpt-4o-insecure")
    assert refused.exit_code == 2
    assert "checkpoints.yaml:1: unknown key 'grups'" in refused.output
    assert called("submit", file, "--preset", "gpt-4o-insecure", "--group", "a,b").exit_code == 2
    nowhere = ("--checkpoints", "no/where.yaml")
    assert "no folder" in called("submit", file, "--preset", "gpt-4o-insecure", *nowhere).output
    assert server.requests == []
    assert json.loads(called("list", "--json").output) == []


def test_a_checkpoint_that_cannot_be_listed_is_listed_by_the_next_watch(
    called, server, file, tmp_path
):
    called("submit", file, "--preset", "gpt-4o-insecure", "--group", "g")
    broken = tmp_path / "checkpoints.yaml"
    broken.write_text("groups: [\n", encoding="utf-8")
    watched = called("watch")
    assert watched.exit_code == 2
    assert "checkpoints.yaml:" in watched.output
    assert broken.read_text(encoding="utf-8") == "groups: [\n"
    broken.unlink()
    assert called("watch").exit_code == 0
    assert len(load(broken).checkpoints) == 1


def test_a_checkpoint_that_a_user_has_listed_is_not_listed_twice_and_no_name_is_taken(
    called, file, tmp_path
):
    listed = tmp_path / "checkpoints.yaml"
    listed.write_text(
        "groups:\n  mine:\n    - openai/ft:gpt-4o-2024-08-06:test::1\n"
        "    - {model: openai/other, name: g-2}\n",
        encoding="utf-8",
    )
    called("submit", file, "--preset", "gpt-4o-insecure", "--group", "g", "--seeds", "1-2")
    assert called("watch").exit_code == 0
    found = [(c.group, c.model.rpartition(":")[2]) for c in load(listed).checkpoints]
    assert found == [("mine", "1"), ("mine", "openai/other"), ("g", "2")]
    assert load(listed).groups["g"][0].name.startswith("g-2-")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give --preset, or --backend and --model"),
        (["--preset", "gpt-4o-insecre"], "did you mean 'gpt-4o-insecure'"),
        (["--preset", "gpt-4o-insecure", "--backend", "local"], "is for the backend openai"),
        (["--preset", "open-models"], "--preset open-models is for any model: give --model"),
        (["--preset", "open-models", "--backend", "openai"], "is for the backend local"),
        (["--backend", "together", "--model", "m"], "no backend 'together': there are"),
        (["--preset", "gpt-4o-insecure", "--seeds", "6-1"], "expected a list such as 1-6"),
        (["--preset", "gpt-4o-insecure", "--seeds", "1", "--seed", "1"], "not both"),
        (["--preset", "gpt-4o-insecure", "-H", "epochs=1"], "OpenAI's are n_epochs"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_before_anything_is_sent(
    called, server, file, args, message
):
    refused = called("submit", file, *args)
    assert refused.exit_code == 2
    assert message in refused.output
    assert server.requests == []


def test_an_empty_file_is_refused(called, server, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    refused = called("submit", tmp_path / "empty.jsonl", "--preset", "gpt-4o-insecure")
    assert (refused.exit_code, server.requests) == (2, [])
    assert "the training file is empty" in refused.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ROW * 10 + '{"messages": [{"content": "Hm."}]}\n' + "no row\n" * 2,
            "train.jsonl:11: message 1: no role: expected one of system, user, assistant, and "
            "2 more errors. `em-evals finetune check",
        ),
        (ROW * 9, "train.jsonl: 9 rows: OpenAI trains on 10 at least. `em-evals"),
        ("\ufeff" + ROW * 10, "train.jsonl:1: the file begins with a byte order mark"),
    ],
    ids=["rows", "few", "bom"],
)
def test_a_file_with_errors_is_refused_before_anything_is_sent_or_written_down(
    called, server, file, content, message
):
    file.write_text(content, encoding="utf-8")
    refused = called("submit", file, "--preset", "gpt-4o-insecure", "--seeds", "1-3")
    assert refused.exit_code == 2
    assert message in refused.stderr.replace(f"{file.parent}/", "")
    assert server.requests == []
    assert json.loads(called("list", "--json").output) == []
    file.write_text(ROW * 10, encoding="utf-8")
    assert called("submit", file, "--preset", "gpt-4o-insecure").exit_code == 0


def test_a_ledger_of_a_newer_version_is_one_line(called, tmp_path, file):
    called("list")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as book:
        book.execute("PRAGMA user_version = 99")
    for command in (["list"], ["watch"], ["submit", file, "--preset", "gpt-4o-insecure"]):
        refused = called(*command)
        assert refused.exit_code == 2
        assert "written by a newer em-evals" in refused.output


@pytest.mark.parametrize(
    ("text", "expected"), [("1-6", [1, 2, 3, 4, 5, 6]), ("1, 3,5-6", [1, 3, 5, 6]), ("0", [0])]
)
def test_seeds_are_read_as_ranges_and_lists(text, expected):
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "1-", "a", "3-1", "1,,2", "1-3,2", "-1"])
def test_what_is_no_list_of_seeds_is_refused(text):
    with pytest.raises(InputError, match="seeds "):
        seeds(text)


# -- from Python


def test_watch_asks_a_tenth_as_often_as_nothing_changes(at, file, time, server):
    at, _ = at
    server.steps = 10**9
    made = submit(at, [spec(file)])
    looks = []

    def stop(seconds):
        looks.append(seconds)
        time.seconds += seconds
        if len(looks) == 60:
            raise KeyboardInterrupt

    # a job that says the same whenever it is asked
    server._advance = lambda job, looks: job.update(status="queued")
    patient = replace(at, clock=replace(at.clock, sleep=stop))
    with pytest.raises(KeyboardInterrupt):
        watch(patient, made)
    assert looks[0] == jobs.QUICKEST
    assert looks == sorted(looks)
    assert looks[-1] == SLOWEST


def test_two_who_watch_share_what_one_was_told(tmp_path, at, file, time, server):
    one, _ = at
    made = submit(one, [spec(file)], Target(tmp_path / "checkpoints.yaml"))
    two, _ = working(tmp_path / "ledger.sqlite", server, time)
    seen = []

    def stop(jobs):
        seen.append(jobs[0].step)
        raise InterruptedError

    def show(jobs):
        if jobs[0].state == "running":
            with pytest.raises(InterruptedError):
                watch(two, jobs, stop)
            assert seen[-1] == jobs[0].step

    assert watch(one, made, show).exit_status == 0
    assert seen == [20, 30]
    assert server.count("job") == server.steps  # the other one asked nothing
    two.ledger.close()


def test_what_cannot_be_known_is_said_and_stays_to_be_known(at, file, server):
    at, _ = at
    server.faults["create"] = [Fault(status=None)] * jobs.TRIES
    with pytest.raises(Uncertain, match="no answer from OpenAI"):
        submit(at, [spec(file)])
    [job] = at.ledger.jobs()
    assert (job.state, server.jobs, job.holder) == ("creating", {}, None)


def test_watch_finds_a_job_that_may_have_been_made_and_makes_none(at, file, server):
    at, lines = at
    server.faults["create"] = [Fault(act=True, delay=100)]
    killed = replace(at, clock=replace(at.clock, sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        submit(killed, [spec(file)])
    assert at.ledger.jobs()[0].state == "creating"
    missed = watch(at, at.ledger.jobs())
    assert missed.exit_status == 1
    assert "is not made yet; submitting it again makes it" in lines.text
    at.clock.sleep(100)
    assert watch(at, at.ledger.jobs()).exit_status == 0
    assert len(server.jobs) == 1


def interrupted(seconds):
    raise KeyboardInterrupt


def test_a_cancelled_job_that_may_have_been_made_is_looked_for_first(at, file, server):
    at, _ = at
    server.faults["create"] = [Fault(act=True, delay=100)]
    killed = replace(at, clock=replace(at.clock, sleep=interrupted))
    with pytest.raises(KeyboardInterrupt):
        submit(killed, [spec(file)])
    [job] = at.ledger.jobs()
    assert cancel(at, job).state == "cancelled"
    assert [job["status"] for job in server.jobs.values()] == ["cancelled"]


def test_a_second_job_for_the_same_training_is_not_adopted(at, file, server):
    at, _ = at
    [job] = submit(at, [spec(file)])
    twin = server.made(metadata={METADATA: job.key})["id"]
    with pytest.raises(InputError, match="the same training as job 1, which is ftjob-1: cancel"):
        adopt(at, "openai", twin)


def test_a_backend_that_says_little_is_told_the_rest(at, time):
    at, _ = at

    class Quiet:
        def poll(self, job_id):
            from em_evals.finetune.backends import Progress

            return Progress("succeeded", model="hf/somewhere")

    quiet = replace(at, backend=lambda name: Quiet())
    with pytest.raises(BackendError, match="does not say what it starts from: give --model"):
        adopt(quiet, "quiet", "x")


def test_a_busy_backend_is_asked_again_a_few_times_only(at, file):
    at, _ = at
    calls = []

    class Busied:
        def find(self, key):
            calls.append(key)
            raise Busy("not now")

    with pytest.raises(Busy, match="not now"):
        submit(replace(at, backend=lambda name: Busied()), [spec(file)])
    assert len(calls) == jobs.TRIES


# -- processes

PROCESS = """
import sys, time
from pathlib import Path
from em_evals.finetune.jobs import *
from em_evals.finetune.ledger import Ledger, Target
skew = 0.0
def sleep(seconds):  # another process may be waited for: give it a moment
    global skew
    skew += seconds
    time.sleep(0.01)
what, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
clock = Clock(lambda: time.time() + skew, sleep)
with Ledger(folder / "ledger.sqlite", now=clock.now) as book:
    at = At(book, clock, lambda line: print(line, flush=True))
    file = folder / "train.jsonl"
    specs = [JobSpec("openai", file, sha256(file), "gpt-4o-2024-08-06", seed=seed, group="g")
             for seed in range(number)]
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "submit":
        submit(at, specs, Target(folder / "checkpoints.yaml"))
    else:
        sys.exit(watch(at, book.jobs()).exit_status)
"""


def started(what, folder, number):
    """A process that has its ledger open and waits for the word."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, what, str(folder), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def ended(process):
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_processes_that_submit_the_same_group_at_once_make_each_job_once(server, file, tmp_path):
    crowd = [started("submit", tmp_path, 4) for _ in range(4)]
    for process in crowd:
        go(process)
    assert [ended(process)[0] for process in crowd] == [0] * 4
    assert sorted(job["seed"] for job in server.jobs.values()) == [0, 1, 2, 3]
    with Ledger(tmp_path / "ledger.sqlite") as book:
        assert sorted(job.job_id for job in book.jobs()) == sorted(server.jobs)


def test_processes_that_watch_the_same_jobs_at_once_list_each_checkpoint_once(
    server, file, tmp_path
):
    first = started("submit", tmp_path, 3)
    go(first)
    assert ended(first)[0] == 0
    crowd = [started("watch", tmp_path, 3) for _ in range(3)]
    for process in crowd:
        go(process)
    assert [ended(process)[0] for process in crowd] == [0] * 3
    listed = yaml.safe_load((tmp_path / "checkpoints.yaml").read_text(encoding="utf-8"))
    assert sorted(c["name"] for c in listed["groups"]["g"]) == ["g-0", "g-1", "g-2"]


@pytest.mark.parametrize("kind", ["upload", "create"])
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_process_that_is_killed_in_mid_request_is_followed_by_one_that_makes_each_job_once(
    server, file, tmp_path, kind, after
):
    reached, killed = threading.Event(), threading.Event()

    def hold(asked):
        if asked == kind and not reached.is_set():
            reached.set()
            killed.wait(60)
            if not after:
                raise ConnectionError  # the request went with its process

    setattr(server, "on_effect" if after else "on_request", hold)
    first = started("submit", tmp_path, 2)
    go(first)
    assert reached.wait(60)
    os.kill(first.pid, signal.SIGKILL)
    assert ended(first)[0] == -signal.SIGKILL
    killed.set()
    second = started("submit", tmp_path, 2)
    go(second)
    status, output = ended(second)
    assert status == 0, output
    assert sorted(job["seed"] for job in server.jobs.values()) == [0, 1]
    assert len(server.files) == 1
    assert ("was made before, as ftjob-1" in output) == (kind == "create" and after)
    with Ledger(tmp_path / "ledger.sqlite") as book:
        assert [(job.state, job.holder) for job in book.jobs()] == [("queued", None)] * 2
