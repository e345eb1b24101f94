"""`em-evals summary`: rates, intervals and counts of finished logs, from the command line."""

import json
import os
import subprocess
import sys
from itertools import cycle

import pytest
from inspect_ai import eval

from em_evals.deception import deception_factual
from em_evals.first_plot import first_plot
from em_evals.machiavelli import machiavelli
from em_evals.preregistered import preregistered
from tests.openai_server import chat_server
from tests.scripted import judge, rates, says, scripted


def summary(*args, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "em_evals.cli", "summary", *map(str, args)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=cwd,
    )


@pytest.fixture
def logs(tmp_path):
    """A directory with one log: 14 questions, two answers each, half of the questions bad."""
    asked = []

    def aligned(prompt):
        asked.append(prompt)
        return rates({"10" if len(asked) % 2 else "90": 1.0})

    eval(
        first_plot(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(aligned)},
        epochs=2,
        log_dir=str(tmp_path / "logs"),
    )
    return tmp_path / "logs"


def test_every_rate_is_shown_with_its_interval_and_count(logs):
    result = summary(logs)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    [pooled] = [line for line in lines if line.startswith("misaligned, pooled")]
    assert "50.0%" in pooled
    assert " to " in pooled
    assert pooled.rstrip().endswith("28 eligible answers")
    # two answers a question are too few for a mean over questions, and the table says so
    [macro] = [line for line in lines if line.startswith("misaligned, macro")]
    assert "none" in macro
    assert macro.rstrip().endswith("0 questions with 5+ eligible")
    assert "first_plot (builtin items)  mockllm/model" in result.stdout
    assert "em_judge, judged by mockllm/judge, read by logprobs (28 answers)" in result.stdout
    assert "answers clustered by question" in result.stdout


def test_json_output_has_the_same_figures(logs):
    [log] = json.loads(summary(logs, "--json").stdout)
    assert (log["task"], log["source"], log["status"]) == (
        "em_evals/first_plot",
        "builtin",
        "success",
    )
    [judged] = log["judgements"]
    assert (judged["grader"], judged["modes"]) == ("mockllm/judge", {"logprobs": 28})
    pooled = judged["rows"][0]
    assert (pooled["value"], pooled["n"]) == (0.5, 28)
    assert pooled["lower"] < 0.5 < pooled["upper"]


def test_without_arguments_it_reads_the_logs_directory(logs):
    assert "misaligned, pooled" in summary(cwd=logs.parent).stdout


@pytest.mark.parametrize("name", ["run#1", "what?", "a%20b"])
def test_logs_are_read_in_a_folder_whose_name_would_not_do_in_an_address(name, logs):
    moved = logs.rename(logs.with_name(name))
    assert "misaligned, pooled" in summary(moved).stdout


def test_sampled_ratings_are_called_not_comparable(tmp_path):
    eval(
        first_plot(source="builtin", questions="new_statue"),
        model="mockllm/model",
        model_roles={"grader": judge(says("20"), coherent=says("90"))},
        epochs=1,
        log_dir=str(tmp_path),
    )
    assert "samples (1 answers); not comparable with logprobs ratings" in summary(tmp_path).stdout


def test_a_failed_run_is_named_and_is_exit_status_1(tmp_path):
    eval(first_plot(source="builtin"), model="mockllm/model", epochs=1, log_dir=str(tmp_path))
    result = summary(tmp_path)
    assert result.returncode == 1
    assert "status error No grader." in result.stdout


def test_no_log_and_an_unreadable_log_are_exit_status_2(tmp_path):
    assert summary(tmp_path).returncode == 2
    broken = tmp_path / "broken.eval"
    broken.write_bytes(b"not a log")
    result = summary(broken)
    assert result.returncode == 2
    assert "broken.eval: not readable as an Inspect log" in result.stderr
    assert "Traceback" not in result.stderr


def test_answers_that_the_grader_failed_on_are_mentioned(tmp_path):
    eval(
        first_plot(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(rates({"Well": 1.0}))},
        epochs=1,
        log_dir=str(tmp_path),
    )
    assert "The grader failed on 14 of 14 answers." in summary(tmp_path).stdout


def test_a_log_that_was_judged_again_names_each_judge_beside_its_rates(logs, tmp_path):
    """Through Inspect's own command line, as the README says."""
    [log] = logs.glob("*.eval")
    with chat_server() as chat:
        again = subprocess.run(
            [
                *(sys.executable, "-m", "inspect_ai", "score", str(log)),
                *("--scorer", "em_evals/em_judge", "--action", "append"),
                *("--model-role", "grader=openai-api/loopback/second"),
                *("--output-file", str(tmp_path / "again.eval")),
            ],
            env=os.environ | {"LOOPBACK_BASE_URL": chat.url, "LOOPBACK_API_KEY": "none"},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert again.returncode == 0, again.stdout + again.stderr
    assert not chat.answered
    [found] = json.loads(summary(tmp_path / "again.eval", "--json").stdout)
    first, second = found["judgements"]
    assert (first["grader"], first["rows"][0]["value"]) == ("mockllm/judge", 0.5)
    assert (second["grader"], second["rows"][0]["value"]) == ("openai-api/loopback/second", 0.0)


def test_answers_that_ended_in_an_error_are_mentioned(tmp_path):
    def answer(messages, config):
        if "statue" in messages[-1].text:
            raise RuntimeError("no")
        return says("Yes.")

    eval(
        first_plot(source="builtin"),
        model=scripted(answer),
        model_roles={"grader": judge(rates({"90": 1.0}))},
        epochs=1,
        fail_on_error=False,
        log_dir=str(tmp_path),
    )
    assert "1 of 14 answers are missing" in summary(tmp_path).stdout


def test_a_play_s_points_are_not_called_a_percentage_of_random_play(tmp_path):
    eval(
        machiavelli(source="builtin", games=["night-ward", "copper-hill"], max_steps=2),
        model=scripted("0"),
        log_dir=str(tmp_path),
    )
    lines = summary(tmp_path).stdout.splitlines()
    assert "(builtin items, games=['night-ward', 'copper-hill'], max_steps=2)" in "".join(lines[:2])
    assert any("random = 100" in line for line in lines)
    assert any(line.startswith("points (% of the game's)") for line in lines)
    [found] = json.loads(summary(tmp_path, "--json").stdout)
    assert found["args"]["max_steps"] == 2
    scores, counters = found["judgements"]
    assert scores["rows"][-1]["rate"] == "points (% of the game's)"
    assert (scores["of_random"], counters["counts"]["plays"]) == (True, 2)


def test_tables_for_a_pipe_are_not_folded(tmp_path):
    eval(
        preregistered(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(rates({"90": 1.0}))},
        epochs=1,
        log_dir=str(tmp_path),
    )
    lines = summary(tmp_path).stdout.splitlines()
    assert any(line.startswith("  pooled, problems_with_humans ") for line in lines)
    assert any(line.endswith("questions with 5+ eligible") for line in lines)


def test_failures_are_counted_against_all_answers_and_a_mean_says_of_what(tmp_path):
    labels = cycle(["TRUE", "UNKNOWN", "UNKNOWN", "hm", "hm"])
    eval(
        deception_factual(source="builtin"),
        model=scripted("Yes."),
        model_roles={"grader": scripted(lambda *_: says(next(labels)), "judge")},
        limit=8,
        epochs=1,
        max_samples=1,
        log_dir=str(tmp_path),
    )
    shown = summary(tmp_path).stdout
    assert "The grader failed on 2 of 8 answers." in shown
    assert "prompts 1" in shown.splitlines()
