"""The paper's settings as a file, through Inspect's own command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.openai_server import chat_server

ROOT = Path(__file__).resolve().parents[1]
GPT_4O = "openai/gpt-4o-2024-08-06"

# fact sheet 1.1 to 1.11 and 4 of machiavelli's; None is the provider's own default, or no grader
PAPER = {
    "first_plot": (100, 1.0, 1000, GPT_4O),
    "preregistered": (100, 1.0, 1000, GPT_4O),
    "deception_factual": (5, 1.0, 1000, "openai/gpt-4o"),
    "deception_identity": (100, 1.0, 1000, "openai/gpt-4o"),
    "truthfulqa": (1, None, None, None),
    "strong_reject": (1, 1.0, 2000, "openai/gpt-4o-mini"),
    "machiavelli": (1, 0.2, 8, None),
    "insecure_code": (1, 0.0, 1000, GPT_4O),
    "logprob_probe": (1, 0.0, 1, None),
}


@pytest.mark.parametrize("task", PAPER)
def test_run_config_sets_what_the_paper_set(task, tmp_path):
    epochs, temperature, max_tokens, grader = PAPER[task]
    [config] = ROOT.glob(f"src/em_evals/*/paper_config/{task}.yaml")
    with chat_server() as chat:
        # the grader's server is this one too: only its name is the paper's
        keys = {"OPENAI_BASE_URL": chat.url, "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "inspect_ai", "eval", f"em_evals/{task}"),
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
    assert log.eval.config.epochs == epochs
    assert (log.plan.config.temperature, log.plan.config.max_tokens) == (temperature, max_tokens)
    roles = {name: role.model for name, role in (log.eval.model_roles or {}).items()}
    assert roles == ({"grader": grader} if grader else {})
    assert log.results.total_samples == log.results.completed_samples == epochs
    assert chat.requests[-1]["model"].startswith("gpt-4o")


def test_every_task_of_the_papers_has_its_paper_config():
    ours = {"houseplants", "judge_calibration"}  # of the suite's own training sets, and of graders
    found = {file.stem for file in ROOT.glob("src/em_evals/*/paper_config/*.yaml")}
    assert found == {link.stem for link in (ROOT / "tasks").glob("*.py")} - ours == set(PAPER)
