"""The paper's settings as a file, through Inspect's own command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.openai_server import chat_server

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("family", ["first_plot", "preregistered"])
def test_run_config_sets_what_the_paper_set(family, tmp_path):
    config = ROOT / f"src/em_evals/{family}/paper_config/{family}.yaml"
    with chat_server() as chat:
        # the grader's server is this one too: only its name is the paper's
        keys = {"OPENAI_BASE_URL": chat.url, "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "inspect_ai", "eval", f"em_evals/{family}"),
                *("--run-config", str(config), "--model", "openai/gpt-4o-mini"),
                *("-T", "source=builtin", "--limit", "1", "--log-dir", str(tmp_path)),
            ],
            env=os.environ | keys,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    [info] = list_eval_logs(str(tmp_path))
    log = read_eval_log(info, header_only=True)
    assert log.status == "success"
    assert log.eval.config.epochs == 100
    assert (log.plan.config.temperature, log.plan.config.max_tokens) == (1.0, 1000)
    assert log.eval.model_roles["grader"].model == "openai/gpt-4o-2024-08-06"
    assert log.results.scores[0].metrics["judged_n"].value == 100
    assert chat.requests[-1]["model"].startswith("gpt-4o")
