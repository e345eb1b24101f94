"""Candidate and baseline of which a paid judge has judged the answers drawn."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from em_evals.analysis.prediction_powered import rate
from em_evals.analysis.rejudge import audit, rejudge
from em_evals.cli import main
from em_evals.errors import InputError
from em_evals.gate import baseline_tallies, gate, tallies
from em_evals.gate.compare import Terms
from em_evals.gate.fixed import of_audited
from tests.analysis.audited import LOCAL, PAID, local_log, number_in, paid
from tests.scripted import rates

BOTH = f"{LOCAL} + {PAID}"
TERMS = Terms(margin=0.1)


def fine():
    """The paid judge of a model that is never misaligned."""
    return paid(aligned=lambda prompt: rates({"90": 1.0}))


def bad():
    """The paid judge of a model that is misaligned in two of three answers."""
    return paid(aligned=lambda prompt: rates({"90" if number_in(prompt) % 3 else "12": 1.0}))


def worse():
    return paid(aligned=lambda prompt: rates({"12" if number_in(prompt) % 3 else "90": 1.0}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Local logs of 100 answers each, audited or not."""
    place = tmp_path_factory.mktemp("gate")

    def log(name, grader=None, budget=60):
        file = local_log(place / name, name=name, epochs=50)
        if grader is not None:
            audit([file], grader, budget, quiet=True)
        return file

    return {
        "base": log("base", fine()),
        "same": log("same", fine()),
        "worse": log("worse", worse()),
        "local": log("local"),
        "one": log("one", fine(), budget=1),
    }


def decided(made, candidate, baseline, terms=TERMS):
    return gate(tallies(made[candidate]), baseline_tallies(made[baseline]), terms)


def test_a_model_that_got_worse_is_a_regression_by_both_judges(made):
    found = decided(made, "worse", "base")
    assert found.decision == "regression"
    [comparison] = found.comparisons
    assert comparison.interval.startswith("for answers planned beforehand, by both judges")
    assert comparison.increase == pytest.approx(2 / 3, abs=0.12)
    assert comparison.lower < 2 / 3 < comparison.upper
    assert comparison.n == 60
    assert f"worse: judged by {BOTH}, 60 of 100 audited" in "; ".join(comparison.notes)


def test_a_model_that_is_as_before_passes(made):
    found = decided(made, "same", "base")
    assert (found.decision, found.comparisons[0].increase) == ("pass", pytest.approx(0, abs=0.02))
    assert [check.state for check in found.comparisons[0].checks] == ["ok"] * 3


def test_what_was_drawn_is_too_little_for_a_decision(made):
    found = decided(made, "one", "base")
    assert found.decision == "undecided"
    assert found.comparisons[0].interval == "none: too few answers drawn"
    assert math.isnan(found.comparisons[0].lower)


def test_questions_of_which_no_answer_was_drawn_count_by_what_both_judges_say(tmp_path):
    files = []
    for name in ("few", "again"):
        file = local_log(tmp_path / name, name=name, epochs=2, questions=None)
        audit([file], fine(), 12, quiet=True)
        files.append(file)
    [base] = baseline_tallies(files[0]).values()
    drawn = [count.n for count in base.counts["em"].values()]
    assert min(drawn) == 0
    assert sum(drawn) == 12
    [comparison] = gate(tallies(files[1]), {base.family: base}, TERMS).comparisons
    assert comparison.questions == len(drawn)
    assert comparison.lower <= comparison.increase == pytest.approx(0, abs=0.02)
    assert comparison.increase <= comparison.upper


def test_a_budget_of_all_answers_without_a_misaligned_one_is_decided(tmp_path):
    files = []
    for name in ("base", "same"):
        file = local_log(tmp_path / name, name=name, epochs=50)
        audit([file], fine(), 100, quiet=True)
        files.append(file)
    found = gate(tallies(files[1]), baseline_tallies(files[0]), TERMS)
    assert found.decision == "pass"
    assert found.comparisons[0].lower < 0 < found.comparisons[0].upper < 0.1


@pytest.mark.parametrize(("candidate", "baseline"), [("base", "local"), ("local", "base")])
def test_two_judges_together_are_not_compared_with_one(candidate, baseline, made):
    with pytest.raises(InputError, match=r"is not like the baseline.*: judge is mockllm/local"):
        decided(made, candidate, baseline)


def test_nor_with_the_paid_judge_of_all_answers(made, tmp_path):
    file = local_log(tmp_path / "whole", name="whole", epochs=50)
    rejudge([file], fine(), quiet=True)
    with pytest.raises(InputError, match=r"judge is mockllm/local . mockllm/paid"):
        gate(tallies(made["same"]), baseline_tallies(file, judge=PAID), TERMS)


def test_the_local_judge_of_audited_logs_counts_where_it_is_asked_for(made):
    own, base = (tallies(made[name], judge=LOCAL) for name in ("worse", "base"))
    found = gate(own, {tally.family: tally for tally in base}, TERMS)
    assert not own[0].audited
    assert found.comparisons[0].increase == pytest.approx(0)


def test_other_questions_than_the_baselines_are_refused(made, tmp_path):
    file = local_log(tmp_path / "fewer", name="fewer", epochs=50, questions=["new_statue"])
    audit([file], fine(), 30, quiet=True)
    with pytest.raises(InputError, match="were asked different questions"):
        gate(tallies(file), baseline_tallies(made["base"]), TERMS)


def test_several_audited_checkpoints_are_no_baseline(made):
    with pytest.raises(InputError, match="give one checkpoint"):
        baseline_tallies([made["base"], made["same"]])


def test_a_baseline_file_keeps_what_both_judges_make(made, tmp_path):
    file = tmp_path / "baseline.json"
    saved = CliRunner().invoke(main, ["baseline", "save", str(made["base"]), "-o", str(file)])
    assert saved.exit_code == 0, saved.output
    assert f"judged by {BOTH}" in saved.output
    read = gate(tallies(made["worse"]), baseline_tallies(file), TERMS)
    assert read.comparisons[0].lower == decided(made, "worse", "base").comparisons[0].lower
    asked = ["gate", str(made["same"]), "--baseline", str(file), "--margin", "0.1", "--json"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["decision"] == "pass"


def test_a_live_gate_has_no_audited_baseline(made):
    asked = ["gate", "--live", "mockllm/model", "--baseline", str(made["base"])]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 2
    assert "has no fixed number to draw from" in result.output


def test_a_bound_of_the_increase_errs_as_often_as_it_says():
    # half of two models' answers drawn, by a judge that hears next to nothing
    random = np.random.default_rng(0)
    share, base = np.array([0.1, 0.2, 0.4]), np.array([0.05, 0.1, 0.1])
    question = np.repeat(np.arange(3), 80)
    truth = share.mean() - base.mean()
    above = below = 0

    def combined(of):
        bad = (random.random(240) < of[question]).astype(float)
        heard = np.clip(0.2 + 0.1 * bad + 0.1 * random.normal(size=240), 0, 1)
        seen = np.where(random.permutation(240) < 120, 1.0, np.nan)
        ones = np.ones(240)
        strata = np.zeros(240, dtype=int)
        return rate(bad * seen, seen, heard, ones, strata, question, fixed=True)

    for _ in range(400):
        found = of_audited(combined(share), combined(base), 0.02, 0.05)
        above += found.lower > truth
        below += found.upper < truth
    assert above / 400 <= 0.075
    assert below / 400 <= 0.075
