"""Two judges of the same answers: measures worked by hand, and intervals."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from em_evals.analysis.agreement import agreement, pairs
from em_evals.errors import InputError
from em_evals.insecure_code.scorer import agreement as of_pairs
from em_evals.measures import auc, correlation, kappa, rank_correlation
from tests.analysis.frames import NAN, ORDINARY, frame, outcomes


def judged(scores, judge, **more):
    """The alignment scores of one question's answers; all coherent."""
    return [{"aligned": a, "coherent": 90.0, "judge": judge, **more} for a in scores]


def by_two(first, second, **more):
    return frame(judged(first, "a", **more) + judged(second, "b", **more))


def only(rows):
    [row] = rows.to_dict("records")
    return row


def test_judges_that_say_the_same_agree_and_the_interval_still_has_width():
    scores = [10.0, 20.0, 80.0, 90.0, 95.0]
    row = only(agreement(by_two(scores, scores), "a", "b"))
    assert (row["n"], row["scores_n"], row["verdicts_n"]) == (5, 5, 5)
    for name in ("pearson", "spearman", "auc", "kappa"):
        assert row[name] == pytest.approx(1.0)
    assert (row["rate_a"], row["rate_b"], row["difference"]) == (0.4, 0.4, 0.0)
    assert row["lower"] < 0 < row["upper"]
    assert row["interval"] == "no answer on which the rates differ"


def test_measures_of_two_judges_worked_by_hand():
    # verdicts 1 1 0 0 0 and 1 0 1 0 0: agreement 3/5, by chance 2/5 * 2/5 + 3/5 * 3/5 = 13/25
    first, second = [10.0, 20.0, 80.0, 90.0, 95.0], [5.0, 60.0, 20.0, 85.0, 99.0]
    row = only(agreement(by_two(first, second), "a", "b"))
    assert row["kappa"] == pytest.approx((0.6 - 0.52) / (1 - 0.52))
    # ranks 1 2 3 4 5 and 1 3 2 4 5: 1 - 6 * 2 / (5 * 24)
    assert row["spearman"] == pytest.approx(0.9)
    assert row["pearson"] == pytest.approx(np.corrcoef(first, second)[0, 1])
    # of the six pairs of a bad and a good answer, b has one the wrong way round (60 above 20)
    assert row["auc"] == pytest.approx(5 / 6)


def test_each_judge_filters_for_itself_in_the_rates_and_both_must_in_kappa():
    a = judged([10.0, 10.0, 90.0, 90.0], "a")
    b = judged([10.0, 90.0, 90.0, 90.0], "b")
    b[0]["coherent"] = 20.0
    row = only(agreement(frame(a + b), "a", "b"))
    assert (row["rate_a"], row["rate_b"]) == (0.5, 0.0)
    assert (row["rate_a_n"], row["rate_b_n"]) == (4, 3)
    assert (row["verdicts_n"], row["scores_n"]) == (3, 4)


def test_scores_that_one_judge_misses_are_in_no_correlation():
    row = only(agreement(by_two([10.0, NAN, 90.0, 40.0], [20.0, 50.0, NAN, 30.0]), "a", "b"))
    assert (row["n"], row["scores_n"]) == (4, 2)
    assert row["pearson"] == pytest.approx(1.0)


def test_nothing_to_compare_is_missing_not_zero():
    row = only(agreement(by_two([NAN, NAN], [NAN, NAN]), "a", "b"))
    assert row["n"] == 2
    for name in ("pearson", "spearman", "auc", "kappa", "rate_a", "difference", "lower"):
        assert math.isnan(row[name])


def test_judges_that_always_differ_have_an_interval_about_their_difference():
    row = only(agreement(by_two([10.0] * 20, [90.0] * 20), "a", "b"))
    assert (row["difference"], row["lower"]) == (-1.0, -1.0)
    assert -1 < row["upper"] < -0.8
    assert row["interval"] == "answers that all differ alike"


def test_only_answers_that_both_have_judged_are_compared():
    made = frame(judged([10.0, 90.0], "a") + judged([10.0, 90.0, 10.0], "b"))
    assert only(agreement(made, "a", "b"))["n"] == 2
    apart = frame(judged([10.0], "a") + judged([10.0], "b", run="another"))
    assert pairs(made) == [("a", "b")]
    assert pairs(apart) == []
    with pytest.raises(InputError, match="no answer was judged by both a and b"):
        agreement(apart, "a", "b")
    with pytest.raises(InputError, match="no judge 'c' in these logs: found a, b"):
        agreement(made, "a", "c")


def test_tasks_have_a_row_each_and_labels_are_compared_by_their_outcome():
    labels = {"task": "deception_factual", "scorer": "factual_judge"}
    rows = judged([10.0, 90.0], "a") + judged([10.0, 90.0], "b")
    rows += outcomes([1, 1, 0, 0], judge="a", **labels) + outcomes(
        [1, 0, 0, 0], judge="b", **labels
    )
    found = agreement(frame(rows), "a", "b").set_index("task")
    assert list(found.index) == ["first_plot", "deception_factual"]
    assert found.loc["deception_factual", "kappa"] == pytest.approx(0.5)
    assert found.loc["deception_factual", "difference"] == pytest.approx(-0.25)


def test_strong_reject_compares_scores_and_refusals():
    of = {"task": "strong_reject", "scorer": "strong_reject_rubric"}
    a = outcomes([0.0, 0.5, 1.0], judge="a", **of)
    b = outcomes([0.0, 0.25, 1.0], judge="b", **of)
    for rows in (a, b):
        rows[0]["refused"], rows[1]["refused"], rows[2]["refused"] = 1.0, 0.0, 0.0
    row = only(agreement(frame(a + b), "a", "b"))
    assert row["kappa"] == pytest.approx(1.0)
    assert row["spearman"] == pytest.approx(1.0)
    assert row["difference"] == pytest.approx(-0.25 / 3)


def test_the_interval_of_paired_rates_is_shorter_than_that_of_unpaired_ones():
    from em_evals.analysis.rates import families, of_difference

    random = np.random.default_rng(0)
    rows = []
    for q in range(20):
        bad = random.random(50) < random.beta(2, 6)
        first = np.where(bad, 10.0, 90.0)
        second = np.where(random.random(50) < 0.05, 100 - first, first)
        rows += judged(first, "a", question=f"q{q}") + judged(second, "b", question=f"q{q}")
    made = frame(rows)
    row = only(agreement(made, "a", "b"))
    unpaired = families(made).set_index("judge")[["value", "lower", "upper"]]
    low, high = of_difference(*unpaired.loc["b"], *unpaired.loc["a"])
    assert row["interval"] == "answers clustered by question"
    assert low < row["lower"] < row["difference"] < row["upper"] < high
    assert row["upper"] - row["lower"] < (high - low) / 2


def test_the_interval_of_paired_rates_covers_the_truth():
    # both judges see the same answers; the second errs in 10% of the bad and 2% of the good
    random = np.random.default_rng(0)
    experiments, questions, answers = 300, 20, 30
    shape = (experiments, questions, answers)
    share = random.beta(2, 6, (experiments, questions, 1))
    bad = random.random(shape) < share
    wrong = random.random(shape) < np.where(bad, 0.10, 0.02)
    experiment, question, answer = np.indices(shape).reshape(3, -1)
    task = {"task": experiment, "question": question, "sample": question, "epoch": answer}
    made = pd.concat(
        pd.DataFrame(
            {
                **ORDINARY,
                **task,
                "judge": judge,
                "aligned": np.where(found.ravel(), 10.0, 90.0),
                "coherent": 90.0,
                "run": experiment,
            }
        )
        for judge, found in (("a", bad), ("b", bad ^ wrong))
    )
    rows = agreement(made, "a", "b")
    truth = 0.25 * -0.10 + 0.75 * 0.02
    assert len(rows) == experiments
    assert 0.92 <= rows["lower"].le(truth).mul(rows["upper"].ge(truth)).mean() <= 0.98


verdict = st.sampled_from([0.0, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(verdict, verdict)))
def test_kappa_is_that_of_the_other_pair_of_judges(rows):
    x, y = (np.array([row[i] for row in rows], dtype=float) for i in (0, 1))
    assert kappa(x, y) == pytest.approx(of_pairs(rows).kappa, nan_ok=True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), verdict), max_size=20))
def test_auc_counts_pairs_and_ties_as_halves(rows):
    bad = [value for value, verdict in rows if verdict == 1]
    good = [value for value, verdict in rows if verdict == 0]
    won = [(b > g) + (b == g) / 2 for b in bad for g in good]
    values = np.array([row[0] for row in rows], dtype=float)
    found = auc(values, np.array([row[1] for row in rows], dtype=float))
    assert found == pytest.approx(np.mean(won) if won else NAN, nan_ok=True)


def test_correlations_need_spread():
    assert math.isnan(correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert math.isnan(rank_correlation(np.array([1.0]), np.array([2.0])))
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 10, 11])) == pytest.approx(1.0)
