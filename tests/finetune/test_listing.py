"""What is listed of a job: the trained model once, with its step, and what was saved before."""

import pytest

from em_evals import checkpoints
from em_evals.finetune.backends import JobSpec, Progress
from em_evals.finetune.ledger import Ledger, Target
from em_evals.finetune.listing import list_checkpoint

SAVED = {
    20: "vllm/base:/runs/step-20",
    40: "vllm/base:/runs/step-40",
    60: "vllm/base:/runs/step-60",
}


def listed(tmp_path, *, steps=True, **progress):
    """Group -> names and steps, once a job has succeeded so."""
    file = tmp_path / "checkpoints.yaml"
    spec = JobSpec("local", tmp_path / "rows.jsonl", "hash", "base", seed=1, group="a")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.adopt(spec, Target(file, steps=steps), "run-1", spec.key)
        job = ledger.record(spec.key, Progress("succeeded", **progress), 1.0)
        list_checkpoint(ledger, job, tell=lambda line: None)
    return {
        group: [(c.name, c.model, c.run.get("step")) for c in of]
        for group, of in checkpoints.load(file).groups.items()
    }


@pytest.mark.parametrize("step", [60, 40, None])
def test_the_last_step_is_the_trained_model_and_not_listed_beside_it(step, tmp_path):
    # what the backend says of its progress may lag behind what it saved
    found = listed(tmp_path, step=step, model="vllm/base:/runs/adapter", checkpoints=SAVED)
    assert found == {
        "a": [("a-1", "vllm/base:/runs/adapter", 60)],
        "a steps": [("a-1-step-20", SAVED[20], 20), ("a-1-step-40", SAVED[40], 40)],
    }


def test_a_model_that_ends_after_what_was_saved_last_has_its_own_step(tmp_path):
    found = listed(tmp_path, step=70, model="vllm/base:/runs/adapter", checkpoints=SAVED)
    assert found["a"] == [("a-1", "vllm/base:/runs/adapter", 70)]
    assert [step for *_, step in found["a steps"]] == [20, 40, 60]


def test_a_model_that_is_one_of_those_saved_has_the_step_of_that(tmp_path):
    found = listed(tmp_path, step=60, model=SAVED[40], checkpoints=SAVED)
    assert found["a"] == [("a-1", SAVED[40], 40)]
    assert [step for *_, step in found["a steps"]] == [20, 60]


def test_the_step_is_listed_without_the_others_too_and_left_out_where_nobody_tells_it(tmp_path):
    (tmp_path / "told").mkdir()
    told = listed(tmp_path / "told", steps=False, step=60, model="x/m", checkpoints=SAVED)
    assert told == {"a": [("a-1", "x/m", 60)]}
    assert listed(tmp_path, model="x/m") == {"a": [("a-1", "x/m", None)]}
