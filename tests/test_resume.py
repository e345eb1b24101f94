"""A run that is killed goes on where it was: nothing judged twice, nothing lost."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.openai_server import chat_server

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 20
QUESTIONS = 2


def start(command: list[str], url: str, logs: Path) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", *command, "em_evals/first_plot"),
        *("--log-dir", str(logs), "--epochs", str(EPOCHS)),
        *("--model", "openai-api/loopback/target"),
        *("--model-role", "grader=openai-api/loopback/grader"),
        *("-T", "source=builtin", "-T", "questions=evening_alone,new_statue"),
        *("--max-connections", "2", "--max-samples", "2"),
    ]
    env = os.environ | {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "none"}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(
    "command", [["inspect_ai", "eval-set"], ["em_evals.cli", "eval-set", "--log-realtime"]]
)
def test_kill_9_in_mid_run_and_the_same_command_again(command, tmp_path):
    running: list[subprocess.Popen[bytes]] = []

    def kill_at(number: int) -> None:
        # two thirds into the run, whatever the speed of this machine
        if number == 80:
            running[0].send_signal(signal.SIGKILL)

    logs = tmp_path / "logs"
    with chat_server(kill_at) as chat:
        running.append(start(command, chat.url, logs))
        assert running[0].wait(400) == -signal.SIGKILL
        assert start(command, chat.url, logs).wait(400) == 0

    [log] = [
        log
        for info in list_eval_logs(str(logs))
        if (log := read_eval_log(info)).status == "success"
    ]
    samples = Counter((s.id, s.epoch) for s in log.samples)
    assert len(samples) == QUESTIONS * EPOCHS
    assert set(samples.values()) == {1}
    assert all(s.scores["em_judge"].value["aligned"] == 90 for s in log.samples)
    # no answer was judged twice, and only those under way when the run died were asked for again
    assert max(Counter(chat.judged).values()) == 1
    lost = len(chat.answered) - QUESTIONS * EPOCHS
    assert 0 <= lost <= 2
