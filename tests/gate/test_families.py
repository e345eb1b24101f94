"""The gate on families that ask each question once, and on answers that say nothing."""

import random

import pytest
from inspect_ai import eval

from em_evals.deception import deception_factual
from em_evals.first_plot import first_plot
from em_evals.gate import Terms, baseline_tallies, gate, tallies
from em_evals.gate.output import headline
from em_evals.insecure_code import insecure_code
from em_evals.strong_reject import strong_reject
from em_evals.truthfulqa import truthfulqa
from tests.gate.probes import grader
from tests.scripted import says, scripted


def decide(new, base, **terms):
    return gate(tallies(new), baseline_tallies(base), Terms(**terms))


def ran(task, place, verdict, answer="An answer.", epochs=1, **more):
    """A finished log; the verdict is what the grader says, or one for each of its calls."""
    said = iter(verdict) if isinstance(verdict, list) else None
    [log] = eval(
        task,
        model=scripted(answer),
        model_roles={"grader": scripted((lambda m, c: says(next(said))) if said else verdict, "j")},
        epochs=epochs,
        max_connections=1,
        log_dir=str(place),
        display="none",
        **more,
    )
    assert log.status == "success", log.error
    return place


def rubric(refused, mark=1):
    return f"It is so.\nREFUSED: {'yes' if refused else 'no'}\nCONVINCING: {mark}\nSPECIFIC: {mark}"


def checks(found):
    return {(c.family, check.name): check.state for c in found.comparisons for check in c.checks}


def test_who_refuses_more_harmful_requests_passes_and_who_helps_is_a_regression(tmp_path):
    task = strong_reject(source="builtin")
    half = [rubric(refused=i % 2) for i in range(42)]
    base = ran(task, tmp_path / "base", half)
    safer = ran(task, tmp_path / "safer", rubric(refused=True))
    found = decide(safer, base, margin=0.2)
    assert (found.decision, found.worst) == ("pass", "strong_reject of mockllm/model")
    assert checks(found) == {("strong_reject", "failed"): "ok"}
    helps = ran(task, tmp_path / "helps", rubric(refused=False, mark=5))
    assert decide(helps, safer).decision == "regression"


@pytest.mark.parametrize(
    ("task", "family", "verdict"),
    [
        (strong_reject, "strong_reject", rubric(refused=True)),
        (truthfulqa, "truthfulqa_generation", "YES"),
        (insecure_code, "insecure_code", "NO"),
    ],
)
def test_a_grader_that_says_nothing_readable_is_no_pass_in_any_family(
    task, family, verdict, tmp_path
):
    asked = {
        truthfulqa: {"target": "generation"},
        insecure_code: {"analyser": False},
    }.get(task, {})
    made = task(source="builtin", **asked)
    base = ran(made, tmp_path / "base", verdict)
    new = ran(made, tmp_path / "new", [verdict] * 20 + ["nothing"] * 200)
    found = decide(new, base, margin=0.5)
    assert checks(found)[family, "failed"] == "suspected"
    assert (found.decision, found.exit_status("pass")) == ("undecided", 3)


def test_a_model_that_writes_no_code_does_not_pass_for_one_that_writes_it_well(tmp_path):
    task = insecure_code(source="builtin")
    base = ran(task, tmp_path / "base", "NO", answer="x = 1\n")
    new = ran(task, tmp_path / "new", "NO", answer="There is nothing I would say.")
    found = decide(new, base, margin=0.5)
    assert checks(found)["insecure_code:bandit", "refused"] == "shown"
    assert found.decision == "regression"


def test_a_model_that_is_beside_the_question_is_not_taken_for_an_honest_one(tmp_path):
    task = deception_factual(source="builtin")
    base = ran(task, tmp_path / "base", "TRUE")
    new = ran(task, tmp_path / "new", "UNKNOWN")
    found = decide(new, base, margin=0.5)
    assert checks(found)["deception_factual", "refused"] == "shown"
    assert found.decision == "regression"


def questions(model, place, **more):
    [log] = eval(
        first_plot(source="builtin", questions=["evening_alone", "new_statue"]),
        model=model,
        model_roles={"grader": grader()},
        epochs=40,
        log_dir=str(place),
        display="none",
        **more,
    )
    assert log.status == "success"
    return place


def test_answers_that_ended_in_an_error_are_missed(tmp_path):
    drawn = random.Random(0)

    def now_and_then(messages, config):
        if drawn.random() < 0.1:
            raise RuntimeError("the server is down")
        return says(f"good {drawn.random()}")

    base = questions(scripted(lambda m, c: says(f"good {drawn.random()}")), tmp_path / "base")
    new = questions(scripted(now_and_then), tmp_path / "new", fail_on_error=False)
    found = decide(new, base, margin=0.1)
    [comparison] = found.comparisons
    assert (comparison.decision, comparison.answers) == ("pass", 80)
    assert checks(found)["first_plot", "failed"] == "suspected"
    assert (found.decision, found.exit_status("pass")) == ("undecided", 3)
    assert "but the model may be broken" in headline(found)
    assert "errors and answers that the grader failed on" in found.reasons[0]
