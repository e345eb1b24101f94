"""`em-evals eval` and `eval-set`: Inspect's commands, arguments and logs."""

import os
import subprocess
import sys

from inspect_ai.log import list_eval_logs, read_eval_log

from tests.openai_server import chat_server


def em_evals(*args: str, url: str, cwd: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "em_evals.cli", *args],
        env=os.environ | {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "none"},
        cwd=cwd,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


RUN = [
    *("em_evals/first_plot", "-T", "source=builtin", "-T", "questions=new_statue"),
    *("--model", "openai-api/loopback/target"),
    *("--model-role", "grader=openai-api/loopback/grader"),
    *("--epochs", "2", "--log-dir", "logs", "--display", "none"),
]


def test_eval_leaves_inspects_log_without_the_realtime_one(tmp_path):
    with chat_server() as chat:
        done = em_evals("eval", *RUN, url=chat.url, cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    [info] = list_eval_logs(str(tmp_path / "logs"))
    log = read_eval_log(info)
    assert log.status == "success"
    assert log.eval.config.log_realtime is False
    assert len(log.samples) == 2
    # nothing is lost from the log: each sample still has its three model calls
    assert all(sum(e.event == "model" for e in s.events) == 3 for s in log.samples)


def test_the_realtime_log_can_be_had(tmp_path):
    with chat_server() as chat:
        done = em_evals("eval", "--log-realtime", *RUN, url=chat.url, cwd=str(tmp_path))
    assert done.returncode == 0, done.stderr
    [info] = list_eval_logs(str(tmp_path / "logs"))
    assert read_eval_log(info, header_only=True).eval.config.log_realtime in (None, True)


def test_inspects_own_exit_status_and_help_come_through(tmp_path):
    with chat_server() as chat:
        wrong = em_evals("eval", "em_evals/no_such_task", url=chat.url, cwd=str(tmp_path))
        shown = em_evals("eval-set", "--help", url=chat.url, cwd=str(tmp_path))
    assert wrong.returncode != 0
    assert shown.returncode == 0
    assert "--log-dir" in shown.stdout
