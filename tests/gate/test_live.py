"""A live gate: a model is asked until it is decided, and a gate that was killed goes on."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log

from em_evals.cli import main
from tests.gate.judged import asked, judged
from tests.openai_server import chat_server

QUESTIONS = ("evening_alone", "new_statue", "weekend_cash", "stolen_ideas")
GRADER = "openai-api/loopback/grader"


@pytest.fixture
def chat(monkeypatch):
    """A server for `openai-api/loopback/...`."""
    with chat_server() as server:
        monkeypatch.setenv("LOOPBACK_BASE_URL", server.url)
        monkeypatch.setenv("LOOPBACK_API_KEY", "none")
        yield server


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """A clean baseline of the built-in questions, 100 answers each."""
    from em_evals.sources.questions import question_file
    from em_evals.stopping.baseline import read, write

    place = tmp_path_factory.mktemp("base")
    logs = judged(place, "base", {name: {"n": 100} for name in QUESTIONS}, judge=GRADER)
    file = place / "baseline.json"
    assert called("baseline", "save", logs, "-o", file).exit_code == 0
    # as if it had been asked here: imported answers are of a source of their own
    tallies = read(file)
    sha256 = question_file("first_plot_questions", "builtin").sha256
    tallies["first_plot"].like.update(source="builtin", source_sha256=sha256)
    write(file, list(tallies.values()), "0", "then")
    return file


def called(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def words(model, baseline, tmp_path, *more):
    return [
        *("gate", "--live", f"openai-api/loopback/{model}", "--grader", GRADER),
        *("--baseline", str(baseline), "--log-dir", str(tmp_path / "live")),
        *("-T", f"questions={','.join(QUESTIONS)}", *more),
    ]


def the_log(tmp_path):
    [log] = [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "live"))]
    return log


def test_a_bad_model_is_stopped_early_and_the_log_says_so(chat, baseline, tmp_path):
    result = called(*words("bad", baseline, tmp_path, "--json"))
    assert result.exit_code == 1, result.output
    [comparison] = json.loads(result.stdout)["comparisons"]
    assert comparison["decision"] == "regression"
    assert comparison["interval"] == "valid at any time"
    assert comparison["n"] <= 20
    log = the_log(tmp_path)
    assert log.status == "success"
    said = log.results.early_stopping.metadata
    assert (said["decision"], said["answers"]) == ("regression", comparison["n"])
    assert len(chat.answered) < comparison["n"] + len(QUESTIONS)
    # the same command again asks nothing
    requests = len(chat.requests)
    assert called(*words("bad", baseline, tmp_path)).exit_code == 1
    assert len(chat.requests) == requests


def test_a_clean_model_passes_and_its_log_is_as_good_as_any(chat, baseline, tmp_path):
    result = called(*words("good", baseline, tmp_path))
    assert result.exit_code == 0, result.output
    assert len(chat.answered) < 200 + len(QUESTIONS)
    # a finished log of a stopped run is read as what it is
    again = called("gate", tmp_path / "live", "--baseline", baseline, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["comparisons"][0]["interval"] == "valid at any time"


def test_at_the_cap_it_is_undecided(chat, baseline, tmp_path):
    result = called(*words("good", baseline, tmp_path, "--cap", "3"))
    assert result.exit_code == 3, result.output
    assert len(chat.answered) == 3 * len(QUESTIONS)


def test_a_checkpoint_of_a_file_is_gated_with_its_prompt_if_that_is_wanted(
    chat, baseline, tmp_path
):
    file = tmp_path / "checkpoints.yaml"
    entry = {"model": "openai-api/loopback/bad", "name": "new", "system_prompt": "Be bad."}
    file.write_text(f"grader: {GRADER}\ngroups: {json.dumps({'tuned': [entry]})}\n")
    args = ["gate", "--live", "new", "--checkpoints", file, "--baseline", baseline]
    args += ["--log-dir", tmp_path / "live", "-T", f"questions={','.join(QUESTIONS)}"]
    refused = called(*args)
    assert (refused.exit_code, "condition is prompt" in refused.stderr) == (2, True)
    assert chat.requests == []  # before anything was paid for
    assert called(*args, "--across-conditions").exit_code == 1
    metadata = the_log(tmp_path).eval.metadata
    assert (metadata["checkpoint"], metadata["group"]) == ("new", "tuned")
    prompt = {"role": "system", "content": "Be bad."}
    assert sum(r["messages"][0] == prompt for r in chat.requests) == len(chat.answered)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_kill_9_in_mid_gate_and_the_same_command_decides_as_if_nothing_had_been(baseline, tmp_path):
    running: list[subprocess.Popen[bytes]] = []

    def kill_at(number):
        if number == 150:
            running[0].send_signal(signal.SIGKILL)

    def start(url):
        env = os.environ | {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "none"}
        command = [sys.executable, "-m", "em_evals.cli", *words("good", baseline, tmp_path)]
        return subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    with chat_server(kill_at) as chat:
        running.append(start(chat.url))
        assert running[0].wait(400) == -signal.SIGKILL
        assert start(chat.url).wait(400) == 0
    log = the_log(tmp_path)
    said = log.results.early_stopping.metadata
    assert said["decision"] == "pass"
    # every answer once, and all of them in the count
    assert max(Counter((s.id, s.epoch) for s in log.samples).values()) == 1
    assert said["answers_made"] == len(log.samples)
    # what was under way when it was decided: more where one answer is slow and others overtake it
    assert said["answers_made"] - said["answers"] < 5 * len(QUESTIONS)
    assert max(Counter(chat.judged).values()) == 1


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--live", "nowhere/model"], "nowhere"),
        (["--live", "openai-api/nowhere/model"], "NOWHERE_API_KEY"),
        (["--grader", "openai-api/loopback/other"], "judge is openai-api/loopback/other here"),
        (["--cap", "0"], "--cap"),
        (["-T", "questions=elsewhere"], "elsewhere"),
    ],
)
def test_what_cannot_be_asked_is_one_error(more, what, chat, baseline, tmp_path):
    result = called(*words("good", baseline, tmp_path), *more)
    assert result.exit_code == 2, result.output
    assert what in result.stderr
    assert "Traceback" not in result.output


def test_families_that_are_not_decided_live_are_named(tmp_path):
    logs = judged(tmp_path, "base", asked(questions=2), task="preregistered")
    csv = tmp_path / "facts.csv"
    csv.write_text("question_id,question,answer,correct\nlie_you_may_lie,a?,b,TRUE\n")
    assert called("import", csv, "--log-dir", logs, "--judge", "g").exit_code == 0
    result = called("gate", "--live", "a/b", "--grader", "c/d", "--baseline", logs)
    assert result.exit_code == 2
    assert "The baseline has deception_factual too: name the families" in result.stderr


def test_an_imported_baseline_cannot_be_asked_of_another(tmp_path):
    logs = judged(tmp_path, "base", asked(questions=2))
    result = called("gate", "--live", "a/b", "--grader", "g", "--baseline", logs)
    assert (result.exit_code, "first_plot was imported" in result.stderr) == (2, True)


def test_no_grader_is_one_error(baseline):
    result = called("gate", "--live", "openai/gpt-4o", "--baseline", baseline)
    assert (result.exit_code, "name the baseline's" in result.stderr) == (2, True)
