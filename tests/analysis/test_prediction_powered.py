"""Rates from two judges: what is drawn, what is estimated, and how often intervals hold."""

import math

import numpy as np
import pytest

from em_evals.analysis.prediction_powered import bounds, chances, draw, rate
from em_evals.errors import InputError
from tests.analysis.audits import JUDGES, audited, cell, classical

RUNS = 300


@pytest.fixture
def random():
    return np.random.default_rng(0)


def made(random, judge="good", share=0.1, questions=8, each=50):
    return cell(questions, each, share, judge, random)


def drawn_from(made, budget, chance):
    return draw(made.question, made.p_misaligned, made.p_coherent, chance, budget)


# -- the draw


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("budget", [1, 2, 3, 7, 50, 200, 399])
def test_exactly_the_budget_is_drawn_and_every_answer_may_be(random, judge, budget):
    found = drawn_from(made(random, judge), budget, random.random(400))
    assert found.drawn.sum() == budget
    if budget >= 50:
        assert found.probability.min() > 0
    for stratum in np.unique(found.stratum):
        members = found.stratum == stratum
        share = found.drawn[members].mean()
        assert found.probability[members] == pytest.approx(share)
        if budget >= 50:
            assert found.drawn[members].sum() >= min(2, members.sum())


def test_the_chances_said_are_those_that_answers_have(random):
    one = made(random, questions=4, each=15)
    times = np.zeros(60)
    for _ in range(4000):
        found = drawn_from(one, 20, random.random(60))
        times += found.drawn
    assert times / 4000 == pytest.approx(found.probability, abs=0.03)


def test_doubtful_answers_are_drawn_more_often_and_sure_ones_at_half_the_plain_chance(random):
    one = made(random, share=0.05, each=100)
    found = drawn_from(one, 200, random.random(800))
    bad = one.p_misaligned * one.p_coherent
    doubtful = (bad > 0.2) & (bad < 0.8)
    assert found.probability[doubtful].mean() > 1.5 * found.probability[bad < 0.02].mean()
    assert found.probability.min() > 0.9 * 0.5 * 200 / 800


def test_a_draw_depends_on_the_answers_and_the_seed_and_not_on_their_order(random):
    one = made(random)
    keys = [(f"q{q}", i) for i, q in enumerate(one.question)]
    first = drawn_from(one, 60, chances(keys, seed=0))
    order = random.permutation(400)
    other = draw(
        one.question[order],
        one.p_misaligned[order],
        one.p_coherent[order],
        chances([keys[i] for i in order], seed=0),
        60,
    )
    assert (other.drawn == first.drawn[order]).all()
    assert (other.probability == first.probability[order]).all()
    again = drawn_from(one, 60, chances(keys, seed=1))
    assert (again.drawn != first.drawn).any()


def test_a_judge_of_verdicts_alone_gets_strata_by_verdict(random):
    verdict = (random.random(400) < 0.1).astype(float)
    question = np.repeat(np.arange(4), 100)
    found = draw(question, verdict, np.ones(400), random.random(400), 100)
    for stratum in np.unique(found.stratum):
        assert len(np.unique(verdict[found.stratum == stratum])) == 1


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_that_buys_nothing_is_refused(random, budget):
    with pytest.raises(InputError, match=r"judge budget of .*let the local judge grade alone"):
        drawn_from(made(random), budget, random.random(400))


def test_no_answers_are_refused():
    nothing = np.array([])
    with pytest.raises(InputError, match="no answers to draw from"):
        draw(nothing, nothing, nothing, nothing, 5)


def test_missing_predictions_are_drawn_from_like_any_other(random):
    one = made(random)
    bad = one.p_misaligned.copy()
    bad[::3] = np.nan
    found = draw(one.question, bad, one.p_coherent, random.random(400), 100)
    assert found.drawn.sum() == 100
    assert found.probability.min() > 0
    all_missing = np.full(400, np.nan)
    found = draw(one.question, all_missing, all_missing, random.random(400), 100)
    assert found.drawn.sum() == 100


# -- the estimate


@pytest.mark.parametrize("budget", [400, 5000])
@pytest.mark.parametrize("judge", JUDGES)
def test_a_budget_of_all_answers_gives_the_classical_rate(random, judge, budget):
    one = made(random, judge)
    drawn, found = audited(one, budget, random.random(400))
    assert drawn.drawn.all()
    expected = classical(one, np.ones(400, dtype=bool))
    assert tuple(found[:3]) == tuple(expected[:3])
    assert (found.n, found.judged, found.questions) == (expected.n, 400, 8)


def test_a_budget_of_one_gives_a_rate_without_an_interval(random):
    _, found = audited(made(random), 1, random.random(400))
    assert found.judged == 1
    assert 0 <= found.value <= 1
    assert np.isnan([found.lower, found.upper, found.error]).all()


def test_a_judge_that_is_always_right_is_worth_more_than_its_verdicts_cost(random):
    one = made(random, each=100)
    right = one._replace(p_misaligned=one.misaligned, p_coherent=one.coherent)
    _, found = audited(right, 100, random.random(800))
    all_of_them = classical(one, np.ones(800, dtype=bool))
    assert found.weight == pytest.approx(1)
    assert found.value == pytest.approx(all_of_them.value, abs=1e-9)
    assert found.upper - found.lower < 1.25 * (all_of_them.upper - all_of_them.lower)


def test_judgements_that_failed_count_as_not_drawn_in_their_stratum(random):
    # a grader that fails on half of the answers of every stratum, whatever they are
    values = []
    for _ in range(RUNS):
        one = made(random, share=0.2)
        found = drawn_from(one, 200, random.random(400))
        seen = np.where(found.drawn & (random.random(400) < 0.5), 1.0, np.nan)
        powered = rate(
            one.misaligned * seen,
            one.coherent * seen,
            one.p_misaligned * one.p_coherent,
            one.p_coherent,
            found.stratum,
            one.question,
        )
        assert powered.judged == np.isfinite(seen).sum()
        values.append(powered.value)
    assert np.mean(values) == pytest.approx(0.2, abs=0.01)


def test_where_every_judgement_failed_there_is_no_rate(random):
    one = made(random)
    nothing = np.full(400, np.nan)
    found = rate(
        nothing, nothing, one.p_misaligned, one.p_coherent, np.zeros(400, int), one.question
    )
    assert np.isnan([found.value, found.lower, found.upper]).all()
    assert found.judged == 0


def test_nothing_counted_is_no_rate_of_zero(random):
    one = made(random)
    seen = np.where(np.arange(400) < 50, 0.0, np.nan)
    found = rate(seen, seen, one.p_misaligned, one.p_coherent, np.zeros(400, int), one.question)
    assert math.isnan(found.value)


def test_none_found_still_has_a_width_by_the_answers_the_paid_judge_saw(random):
    one = made(random)
    none = one._replace(misaligned=np.zeros(400), p_misaligned=np.zeros(400))
    _, found = audited(none, 100, random.random(400))
    assert found.value == 0
    assert found.lower == 0
    assert 0.02 < found.upper < 0.12  # Wilson's for 0 of 90 would end at 0.04, with t at 0.06


def test_one_question_has_an_interval_for_its_answers(random):
    one = made(random, questions=1, each=400, share=0.2)
    _, found = audited(one, 100, random.random(400))
    assert found.lower < found.value < found.upper
    assert found.questions == 1


# -- coverage; benchmarks/prediction_powered.py has the whole grid


def coverage(judge, share, budget, questions, each, random):
    holds, values = [], []
    for _ in range(RUNS):
        one = cell(questions, each, share, judge, random)
        _, found = audited(one, budget, random.random(questions * each))
        holds.append(found.lower <= share <= found.upper)
        values.append(found.value)
    return np.mean(holds), np.mean(values)


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_intervals_cover_the_truth_whatever_the_local_judge_is_worth(judge, share, random):
    held, value = coverage(judge, share, 200, 24, 33, random)
    # two standard errors of 300 runs about 93 to 97%
    assert 0.905 <= held <= 0.99
    assert value == pytest.approx(share, abs=0.008)


@pytest.mark.parametrize("judge", JUDGES)
def test_intervals_for_these_very_questions_cover_their_rate(judge, random):
    # the same eight questions of unlike rates, answered and drawn anew each time
    shares = np.array([0.0, 0.02, 0.05, 0.1, 0.1, 0.2, 0.3, 0.4])
    question = np.repeat(np.arange(8), 60)
    holds, widths = [], []
    for _ in range(RUNS):
        one = cell(8, 60, 0.15, judge, random)
        bad = (random.random(480) < shares[question]).astype(float)
        heard = np.where(bad > 0, 0.8, 0.1) if judge == "good" else one.p_misaligned
        one = one._replace(misaligned=bad, p_misaligned=heard, coherent=np.ones(480))
        found = drawn_from(one, 150, random.random(480))
        seen = np.where(found.drawn, 1.0, np.nan)
        args = (bad * seen, seen, heard, np.ones(480), found.stratum, question)
        powered = rate(*args, fixed=True)
        holds.append(powered.lower <= shares.mean() <= powered.upper)
        widths.append(powered.upper - powered.lower)
    assert 0.92 <= np.mean(holds) <= 0.99
    # what questions differ by is no part of it
    anywhere = rate(*args)
    assert np.mean(widths) < anywhere.upper - anywhere.lower


def test_the_interval_at_another_level_is_that_of_a_rate_made_at_it(random):
    one = made(random)
    drawn, found = audited(one, 100, random.random(400))
    seen = np.where(drawn.drawn, 1.0, np.nan)
    bad = one.p_misaligned * one.p_coherent
    args = (one.misaligned * seen, one.coherent * seen, bad, one.p_coherent, drawn.stratum)
    again = rate(*args, one.question, level=0.8)
    assert bounds(found, 0.8) == (again.lower, again.upper)
    _, whole = audited(one, 400, random.random(400))
    assert bounds(whole, 0.95) == pytest.approx((whole.lower, whole.upper))


@pytest.mark.parametrize("judge", JUDGES)
def test_with_few_misaligned_answers_in_the_draw_intervals_are_too_long_not_too_short(
    judge, random
):
    # half a misaligned answer is expected among the 50
    held, _ = coverage(judge, 0.01, 50, 24, 33, random)
    assert held >= 0.93


@pytest.mark.parametrize("fixed", [False, True])
def test_few_answers_and_no_hits_never_leave_a_rate_without_an_interval(fixed):
    random = np.random.default_rng(2)
    tried = 0
    for _ in range(300):
        n = int(random.integers(2, 15))
        question = random.integers(0, 3, n)
        p, sense = random.choice([0.0, 0.5, 1.0, np.nan], (2, n))
        drawn = draw(question, p, sense, random.random(n), int(random.integers(2, n + 2)))
        eligible = (random.random(n) < 0.7).astype(float)
        bad = eligible * (random.random(n) < random.choice([0, 0.3, 1]))
        seen = np.where(drawn.drawn, 1.0, np.nan)
        strata = drawn.stratum
        found = rate(bad * seen, eligible * seen, p * sense, sense, strata, question, fixed=fixed)
        enough = drawn.drawn.sum() if fixed else len(np.unique(question[drawn.drawn]))
        if enough > 1 and not math.isnan(found.value):
            tried += 1
            assert 0 <= found.lower <= found.value <= found.upper <= 1
            assert found.lower < found.upper
            assert 0 < found.effective <= n
    assert tried > 150
