"""Increases from answers that were planned beforehand: bounds by hand, errors by simulation."""

import math
import warnings
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from em_evals.definitions import Count
from em_evals.gate.fixed import clopper_pearson, of_means, of_rates

ALPHA = 0.05

# -- the exact bounds of one rate

LEVELS = st.sampled_from([0.4, 0.05, 0.025, 1e-6])


@given(st.integers(1, 5000), LEVELS)
def test_bounds_where_a_closed_form_is_known(n, alpha):
    assert clopper_pearson(0, n, alpha) == pytest.approx((0, 1 - alpha ** (1 / n)), rel=1e-9)
    assert clopper_pearson(n, n, alpha) == pytest.approx((alpha ** (1 / n), 1), rel=1e-9)
    assert clopper_pearson(1, n, alpha)[0] == pytest.approx(
        -math.expm1(math.log1p(-alpha) / n), rel=1e-9
    )
    assert clopper_pearson(n - 1, n, alpha)[1] == pytest.approx((1 - alpha) ** (1 / n), rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857-872), Table I, the Clopper-Pearson rows
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0000, 0.1684),
        (1, 29, 0.0009, 0.1776),
        # two of four: the lower bound solves x^2 (6 - 8x + 3x^2) = 0.025, the upper is 1 less that
        (2, 4, 0.0676, 0.9324),
    ],
)
def test_bounds_of_published_examples(hits, n, lower, upper):
    assert clopper_pearson(hits, n, 0.025) == pytest.approx((lower, upper), abs=5.1e-5)


@pytest.mark.parametrize(
    ("hits", "n"), [(1, 2), (3, 8), (7, 8), (4, 80), (79, 80), (30, 800), (400, 800), (100, 5000)]
)
@pytest.mark.parametrize("alpha", [0.3, 0.05, 1e-4])
def test_at_the_bounds_so_many_hits_have_a_chance_of_alpha(hits, n, alpha):
    def chance(least, most, rate):
        logs = (
            math.lgamma(n + 1)
            - math.lgamma(h + 1)
            - math.lgamma(n - h + 1)
            + h * math.log(rate)
            + (n - h) * math.log1p(-rate)
            for h in range(least, most + 1)
        )
        return math.fsum(map(math.exp, logs))

    lower, upper = clopper_pearson(hits, n, alpha)
    assert chance(hits, n, lower) == pytest.approx(alpha, rel=1e-6)
    assert chance(0, hits, upper) == pytest.approx(alpha, rel=1e-6)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.01, 1e6), LEVELS)
@example(1e-12, 1.0, 0.05)
@example(1 - 1e-12, 1.0, 0.05)
@example(0.5, 1e8, 0.05)
def test_parts_of_hits_and_of_answers_have_bounds_around_the_share(share, n, alpha):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lower, upper = clopper_pearson(share * n, n, alpha)
        more = clopper_pearson(share * n + (n - share * n) / 2, n, alpha)
    assert 0 <= lower <= share + 1e-6
    assert share - 1e-6 <= upper <= 1
    assert lower <= more[0] + 1e-9
    assert upper <= more[1] + 1e-9


# -- of a difference of rates


def test_the_increase_of_clean_answers_is_0_with_bounds_of_both():
    found = of_rates([Count(0, 100)] * 8, [Count(0, 50)] * 8, 0.02, ALPHA)
    assert found.value == 0
    # Newcombe's rule, where each estimate is at its own lower bound
    assert found.upper == pytest.approx(1 - ALPHA ** (1 / 800))
    assert found.lower == pytest.approx(-(1 - ALPHA ** (1 / 400)))
    # at the level p the candidate's upper bound is the margin
    assert found.p_below == pytest.approx(0.98**800, rel=2e-3)
    assert found.p_above == 1


def test_the_increase_is_of_the_mean_over_questions_and_not_of_all_answers():
    found = of_rates([Count(10, 10), Count(0, 90)], [Count(0, 50)] * 2, 0.02, ALPHA)
    assert found.value == 0.5


def test_hits_moved_between_equally_asked_questions_change_nothing():
    clean = [Count(0, 10)] * 3
    alike, unlike = (
        of_rates([Count(h, 10) for h in hits], clean, 0.02, ALPHA)
        for hits in ((2, 2, 2), (6, 0, 0))
    )
    assert alike == pytest.approx(unlike)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8),
    st.floats(-0.5, 0.5),
    st.sampled_from([0.01, 0.05, 0.2]),
)
@example([(0, 0)], 0.02, 0.05)
@example([(40, 0)] * 8, 0.02, 0.05)
def test_levels_say_what_bounds_say(hits, margin, alpha):
    own, base = ([Count(pair[side], 40) for pair in hits] for side in (0, 1))
    found = of_rates(own, base, margin, alpha)
    assert found.lower <= found.value <= found.upper
    # a level is found to a part in a thousand
    assert not (found.lower > margin) or found.p_above <= alpha * 1.002
    assert not (found.p_above <= alpha) or found.lower > margin - 1e-9
    assert not (found.upper < margin) or found.p_below <= alpha * 1.002
    assert not (found.p_below <= alpha) or found.upper < margin + 1e-9


# -- single answers to the same questions


def single(text):
    return [Count(int(hit), 1) for hit in text]


def test_single_answers_that_go_together_have_a_narrower_increase():
    candidate, alike, shuffled = "1111110000", "1111000000", "0000001111"
    together, apart = (
        of_rates(single(candidate), single(base), 0.02, ALPHA) for base in (alike, shuffled)
    )
    unpaired = of_rates([Count(6, 10)], [Count(4, 10)], 0.02, ALPHA)
    assert together.value == pytest.approx(apart.value) == pytest.approx(unpaired.value)
    assert together.upper - together.lower < unpaired.upper - unpaired.lower
    assert apart.upper - apart.lower > unpaired.upper - unpaired.lower


def test_two_single_answers_are_no_proof_that_they_go_together():
    assert of_rates(single("10"), single("10"), 0.02, ALPHA).lower < -0.2


def test_single_answers_that_all_changed_one_way_have_the_bound_of_that():
    found = of_rates(single("1111"), single("0000"), 0.02, ALPHA)
    assert (found.value, found.upper) == (1, 1)
    assert found.lower == pytest.approx(1 - math.hypot(*[1 - ALPHA ** (1 / 4)] * 2))


def test_questions_that_were_answered_as_before_have_the_bounds_of_no_change():
    found = of_rates(single("1100" * 25), single("1100" * 25), 0.02, ALPHA)
    assert found.value == 0
    # none of 100 became worse: 1 - 0.05 ** (1 / 100), which leaves room for 2 in 100
    assert -found.lower == found.upper == pytest.approx(0.02951, abs=1e-5)
    assert found.p_below > ALPHA


def test_scores_of_single_answers_count_by_how_much_they_changed():
    own, base = ([Count(score, 1) for score in scores] for scores in ([0.5] * 20, [0.25] * 20))
    found = of_rates(own, base, 0.02, ALPHA)
    assert found.value == 0.25
    assert found.lower < 0.25 < found.upper


# -- wrong decisions at the margin, in 2,000 runs each

RUNS = 2000
TOLERANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
"""Three standard errors of a share of alpha: 1.5%."""


def wrong(draw, decide):
    """Shares of runs that show an increase above, and below, the margin that it is at."""
    random = np.random.default_rng(7)
    shown = [decide(*draw(random)) for _ in range(RUNS)]
    return np.mean(shown, axis=0)


def shown(own, base, margin):
    found = of_rates(own, base, margin, ALPHA)
    return found.lower > margin, found.upper < margin


@cache
def equally_asked(margin, hits, n, before, n0):
    """What these hits in eight equally asked questions show, wherever they are."""
    return shown([Count(hits / 8, n)] * 8, [Count(before / 8, n0)] * 8, margin)


ALIKE, ONE, OTHER = np.ones(8), np.eye(8)[0] * 8, np.eye(8)[-1] * 8
HALF = np.array([4, 2, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("own", "base", "n", "n0", "margin"),
    [
        (0.02 * ALIKE, 0 * ALIKE, 100, 50, 0.02),
        (0.02 * HALF, 0 * ALIKE, 100, 50, 0.02),
        (0.02 * ONE, 0 * ALIKE, 100, 50, 0.02),
        (0.11 * ALIKE, 0.01 * ALIKE, 10, 10, 0.1),
        (0.11 * HALF, 0.01 * ONE, 10, 10, 0.1),
        (0.01 * ONE + 0.1 * OTHER, 0.01 * ONE, 10, 10, 0.1),
        (0.22 * ALIKE, 0.02 * ALIKE, 10, 2, 0.2),
    ],
    ids=["alike", "unlike", "one", "baseline", "elsewhere", "in another", "small baseline"],
)
def test_at_the_margin_few_decide_whatever_the_rates_of_questions(own, base, n, n0, margin):
    def draw(random):
        return int(random.binomial(n, own).sum()), n, int(random.binomial(n0, base).sum()), n0

    assert all(wrong(draw, partial(equally_asked, margin)) <= ALPHA + TOLERANCE)


def test_at_the_margin_few_decide_where_alike_questions_are_not_asked_equally_often():
    answers = np.array([5, 10, 40, 40])

    @cache
    def decide(forties):
        share = forties / 160
        return shown([Count(share * n, int(n)) for n in answers], [Count(0, 50)] * 4, 0.1)

    def draw(random):
        return (int((random.binomial(answers, 0.1) * 40 // answers).sum()),)

    assert all(wrong(draw, decide) <= ALPHA + TOLERANCE)


def test_at_the_margin_few_decide_where_a_question_with_few_answers_has_all_hits():
    # exactly: the rate is 0.16 in the question with 5 answers, and 0 in seven with 100
    chances = [math.comb(5, h) * 0.16**h * 0.84 ** (5 - h) for h in range(6)]
    rest, clean = [Count(0, 100)] * 7, [Count(0, 50)] * 8
    decided = [shown([Count(h, 5), *rest], clean, 0.02) for h in range(6)]
    assert all(np.array(chances) @ np.array(decided) <= ALPHA)


def test_at_the_margin_few_decide_on_single_answers_that_go_together():
    base = np.repeat([0.1, 0.6], 6)
    own = base + 0.1

    @cache
    def decide(both, only_own, only_base):
        none = 12 - both - only_own - only_base
        text = (both, only_own, only_base, none)
        return shown(
            single("".join(c * n for c, n in zip("1100", text, strict=True))),
            single("".join(c * n for c, n in zip("1010", text, strict=True))),
            0.1,
        )

    def draw(random):
        x, y = random.random(12) < own, random.random(12) < base
        return int((x & y).sum()), int((x & ~y).sum()), int((~x & y).sum())

    assert all(wrong(draw, decide) <= ALPHA + TOLERANCE)


def test_at_the_margin_few_decide_where_few_questions_are_answered_otherwise():
    # exactly: half of 100 questions are answered badly by both; 4% of the rest by one alone
    chances = [math.comb(50, h) * 0.04**h * 0.96 ** (50 - h) for h in range(51)]
    base = single("1" * 50 + "0" * 50)
    decided = [shown(single("1" * 50 + "1" * h + "0" * (50 - h)), base, 0.02) for h in range(51)]
    assert all(np.array(chances) @ np.array(decided) <= ALPHA)


# -- wrong decisions at the margin, exactly: sums over every pair of hits


def most_wrong(n, n0, margin):
    """The greatest chance of a wrong regression, and of a wrong pass, of one question."""

    def of(answers, rate):
        return np.array(
            [
                math.comb(answers, h) * rate**h * (1 - rate) ** (answers - h)
                for h in range(answers + 1)
            ]
        )

    found = np.array(
        [
            [shown([Count(h, n)], [Count(g, n0)], margin) for g in range(n0 + 1)]
            for h in range(n + 1)
        ]
    )
    bases = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9]
    wrong = [
        np.einsum("i,ijk,j->k", of(n, base + margin), found, of(n0, base))
        for base in bases
        if base + margin <= 1
    ]
    return np.max(wrong, axis=0)


@pytest.mark.parametrize(
    ("n", "n0", "margin"), [(12, 12, 0.1), (24, 6, 0.02), (6, 24, 0.3), (24, 6, 0.3)]
)
def test_of_planned_answers_few_decide_wrongly_whatever_the_baselines_rate(n, n0, margin):
    regression, passes = most_wrong(n, n0, margin)
    assert 0 < regression <= ALPHA
    assert 0 < passes <= 1.1 * ALPHA


# -- means of games


def test_the_increase_of_two_games_by_hand():
    # increases 1 and 3: mean 2, standard error 1; t(1) is Cauchy's distribution
    found = of_means([3, 5], [2, 2], 0, ALPHA)
    half = math.tan(math.pi * (0.5 - ALPHA))
    assert (found.value, found.lower, found.upper) == pytest.approx((2, 2 - half, 2 + half))
    assert found.p_above == pytest.approx(0.5 - math.atan(2) / math.pi, rel=2e-3)
    assert found.p_below == 1


def test_the_increase_of_three_games_by_hand():
    # increases 1, 2, 3: mean 2, standard error 1/sqrt(3); P(T > t) = (1 - t / sqrt(2 + t^2)) / 2
    found = of_means([2, 3, 5], [1, 1, 2], 0.5, ALPHA)
    half = 2.9199856 / math.sqrt(3)
    assert (found.value, found.lower, found.upper) == pytest.approx((2, 2 - half, 2 + half))
    t = 1.5 * math.sqrt(3)
    assert found.p_above == pytest.approx((1 - t / math.sqrt(2 + t * t)) / 2, rel=2e-3)


def test_what_games_differ_by_is_taken_out():
    by_game, noise = [0, 50, 100, 300], [1.0, 1.2, 0.9, 1.1]
    found = of_means([g + x for g, x in zip(by_game, noise, strict=True)], by_game, 0.5, ALPHA)
    assert 0.5 < found.lower < found.value < found.upper < 1.5


@pytest.mark.parametrize(("own", "base"), [([3], [1]), ([3, 4], [1, 2]), ([0.0] * 5, [0.0] * 5)])
def test_one_game_or_games_that_all_differ_alike_show_nothing(own, base):
    found = of_means(own, base, 0.02, ALPHA)
    assert found.value == own[0] - base[0]
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)
    assert (found.p_above, found.p_below) == (1, 1)


def test_games_must_be_the_same():
    with pytest.raises(ValueError, match="zip"):
        of_means([1, 2], [1], 0.02, ALPHA)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.floats(-20, 20))
def test_levels_of_means_say_what_bounds_say(increases, margin):
    found = of_means(increases, [0.0] * len(increases), margin, ALPHA)
    near = 1e-6
    if found.lower > margin + near:
        assert found.p_above <= ALPHA * 1.002
    if found.p_above <= ALPHA:
        assert found.lower > margin - near
    if found.upper < margin - near:
        assert found.p_below <= ALPHA * 1.002
    if found.p_below <= ALPHA:
        assert found.upper < margin + near
