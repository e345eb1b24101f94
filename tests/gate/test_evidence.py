"""Evidence at any time: its guarantee by sums over every outcome, its tables by simulation."""

import math
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from em_evals.definitions import Count
from em_evals.stopping.evidence import balanced, boundaries, decision, evidence, interval, strongest

ALPHA = 0.05
CLEAN = Count(0, 10**6)
"""A baseline whose rate is known to be 0."""

# -- for any counts


def upto(n):
    return st.integers(0, n).map(lambda hits: Count(hits, n))


counts = st.integers(1, 5000).flatmap(upto)
margins = st.one_of(st.sampled_from([-1.0, 0.0, 0.02, 1.0]), st.floats(-1, 1))
some = settings(max_examples=60, deadline=None, derandomize=True)
few = settings(max_examples=3, deadline=None, derandomize=True)


@some
@given(counts, counts, margins)
@example(Count(0, 1), Count(0, 1), 1.0)
@example(Count(1, 1), Count(1, 1), -1.0)
@example(Count(5000, 5000), Count(0, 5000), 1.0)
@example(Count(0, 5000), Count(5000, 5000), -1.0)
@example(Count(1, 5000), Count(4999, 5000), 0.0)
@example(Count(3, 10**8), Count(0.5, 10**8), 0.0)
def test_any_counts_have_evidence_without_a_warning(candidate, baseline, margin):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evidence(candidate, baseline, margin)
    assert not any(math.isnan(way) for way in found)


@some
@given(counts, counts, margins)
def test_evidence_never_speaks_against_the_estimate(candidate, baseline, margin):
    increase = candidate.hits / candidate.n - baseline.hits / baseline.n
    found = evidence(candidate, baseline, margin)
    assert (found.above if increase <= margin else found.below) <= 1e-9


@some
@given(counts, counts, margins, st.floats(0, 1))
def test_more_hits_of_the_candidate_speak_for_a_greater_increase(candidate, baseline, margin, by):
    more = Count(candidate.hits + by * (candidate.n - candidate.hits), candidate.n)
    few_hits, many_hits = (evidence(c, baseline, margin) for c in (candidate, more))
    assert many_hits.above >= few_hits.above - 1e-9
    assert many_hits.below <= few_hits.below + 1e-9


@some
@given(counts, counts, margins, st.floats(0, 1))
def test_more_hits_of_the_baseline_speak_for_a_smaller_increase(candidate, baseline, margin, by):
    more = Count(baseline.hits + by * (baseline.n - baseline.hits), baseline.n)
    few_hits, many_hits = (evidence(candidate, b, margin) for b in (baseline, more))
    assert many_hits.above <= few_hits.above + 1e-9
    assert many_hits.below >= few_hits.below - 1e-9


@some
@given(st.lists(st.integers(0, 9), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_hits_moved_between_questions_change_nothing(hits, random):
    moved = [0] * len(hits)
    for _ in range(sum(hits)):
        moved[random.choice([i for i, h in enumerate(moved) if h < 9])] += 1
    as_they_are, elsewhere = ([Count(h, 9) for h in of] for of in (hits, moved))
    clean = Count(0, 100)
    assert evidence(balanced(elsewhere), clean, 0.02) == pytest.approx(
        evidence(balanced(as_they_are), clean, 0.02)
    )
    assert evidence(clean, balanced(elsewhere), 0.02) == pytest.approx(
        evidence(clean, balanced(as_they_are), 0.02)
    )


@few
@given(counts, counts)
@example(Count(0, 168), Count(0, 400))
@example(Count(1, 1), Count(0, 1))
def test_the_interval_holds_the_estimate_and_shrinks_with_its_level(candidate, baseline):
    increase = candidate.hits / candidate.n - baseline.hits / baseline.n
    (low, high), (lower, higher) = (interval(candidate, baseline, level) for level in (0.5, 0.99))
    assert -1 <= lower <= low <= increase + 1e-9
    assert increase - 1e-9 <= high <= higher <= 1


@few
@given(counts, counts, st.floats(-1, 1))
@example(Count(13, 200), Count(0, 800), 0.02)
@example(Count(0, 200), Count(0, 800), 0.02)
def test_the_intervals_ends_are_where_the_decision_changes(candidate, baseline, margin):
    lower, upper = interval(candidate, baseline, 1 - 2 * ALPHA)
    for at in (margin, lower - 2e-3, lower + 2e-3, upper - 2e-3, upper + 2e-3):
        if -1 <= at <= 1 and min(abs(at - lower), abs(at - upper)) > 1e-3:
            expected = "regression" if lower > at else "pass" if upper < at else "undecided"
            assert decision(evidence(candidate, baseline, at), ALPHA) == expected


# -- what is made of it


def test_the_strongest_evidence_stays_when_later_answers_weaken_it():
    rounds, baseline = [4, 4, 4, *[0] * 20], Count(0, 400)
    after = [evidence(Count(sum(rounds[:i]), 8 * i), baseline, 0.02) for i in range(1, 24)]
    found = strongest(rounds, 8, baseline, 0.02)
    assert found == (max(e.above for e in after), max(e.below for e in after))
    assert found.above == after[2].above > after[-1].above


def test_of_several_families_one_needs_more_evidence_of_a_regression_but_none_to_pass():
    found = strongest([2] * 5, 8, Count(0, 400), 0.02)
    weak = found._replace(above=math.log(50))
    assert [decision(weak, ALPHA, families) for families in (1, 2, 3)] == [
        "regression",
        "regression",
        "undecided",
    ]
    clean = found._replace(above=-1.0, below=math.log(1 / ALPHA))
    assert decision(clean, ALPHA, 9) == "pass"
    assert decision(clean, ALPHA / 2, 9) == "undecided"


@pytest.mark.parametrize("families", [1, 4])
@pytest.mark.parametrize("baseline", [Count(0, 80), Count(3, 24)])
def test_boundaries_are_the_first_and_the_last_hits_that_decide(baseline, families):
    found = boundaries(8, 9, baseline, 0.1, ALPHA, families)
    assert [b.n for b in found] == [8 * i for i in range(1, 10)]
    for n, regression, passes in found[::4]:
        of = [decision(evidence(Count(h, n), baseline, 0.1), ALPHA, families) for h in range(n + 1)]
        assert of == (
            ["pass"] * (passes + 1)
            + ["undecided"] * (regression - passes - 1)
            + ["regression"] * (n + 1 - regression)
        )


# -- the guarantee, exactly: no expectation above 1, whatever the rule when to stop


def chances(rates, answers=1):
    """The chance of each number of hits when every question is answered so often."""
    found = np.ones(1)
    for rate in np.repeat(rates, answers):
        found = np.convolve(found, [1 - rate, rate])
    return found


@cache
def factors(n, baseline, margin):
    """E-values of each number of hits of n; the second axis is above, below."""
    return np.exp([evidence(Count(hits, n), baseline, margin) for hits in range(n + 1)])


def best(rates, rounds, baseline, margin, of=lambda factors: factors):
    """The expected e-value, each way, of the rule that stops best of all, knowing every rate."""
    k, more = len(rates), chances(rates)

    def expected(value):
        return np.stack([np.correlate(way, more, "valid") for way in value.T], axis=1)

    value = of(factors(k * rounds, baseline, margin))
    for i in range(rounds - 1, 0, -1):
        value = np.maximum(of(factors(k * i, baseline, margin)), expected(value))
    return expected(value)[0]


def spread(mean, k, how):
    """Rates with this mean: 0 all alike, 1 in as few questions as can be, or in between."""
    alike, few_only = np.full(k, mean), np.clip(k * mean - np.arange(k), 0, 1)
    return (1 - how) * alike + how * few_only


def at_the_boundary(margin, k):
    """Rates of candidate and baseline whose means differ by the margin, in many ways."""
    low, high = max(0.0, -margin), min(1.0, 1 - margin)
    for base in (low, low + 0.02 * (high - low), (low + high) / 2, high):
        for own_spread in (0, 0.5, 1):
            for base_spread in (0, 1):
                # the baseline's hits are in other questions than the candidate's
                yield spread(base + margin, k, own_spread), spread(base, k, base_spread)[::-1]


@pytest.mark.parametrize(("k", "rounds", "before"), [(2, 3, 2), (3, 2, 1)])
@pytest.mark.parametrize("margin", [0.1, 0.3, 0.0, -0.25])
def test_no_rule_when_to_stop_expects_more_than_1_at_the_boundary(k, rounds, before, margin):
    most = np.zeros(2)
    for own, base in at_the_boundary(margin, k):
        of_base = chances(base, before)
        expected = sum(
            chance * best(own, rounds, Count(hits, k * before), margin)
            for hits, chance in enumerate(of_base)
        )
        assert all(expected <= 1 + 1e-12), (own, base)
        most = np.maximum(most, expected)
    assert most.max() > 0.5  # else it would be no bound at all


def test_of_equal_rates_and_a_known_baseline_next_to_nothing_is_given_away():
    alike, one = ([0.1, 0.1, 0.1], [0.3, 0.0, 0.0])
    above, below = best(alike, 4, CLEAN, 0.1)
    assert 0.98 <= above <= 1
    assert 0.8 <= below <= 1
    assert all(best(one, 4, CLEAN, 0.1) < [above, below])
    # and a rate above the margin is not covered by the guarantee
    assert best([0.12, 0.12, 0.12], 4, CLEAN, 0.1)[0] > 1


@pytest.mark.parametrize("how", [0, 0.5, 1])
def test_the_chance_of_ever_showing_what_is_not_so_is_at_most_alpha(how):
    def shown(factors):
        return (factors >= 1 / ALPHA).astype(float)

    wrong = best(spread(0.2, 3, how), 10, CLEAN, 0.2, of=shown)
    assert all(wrong <= ALPHA)
    assert max(wrong) > 0
    # the same boundary finds what is so
    assert best(spread(0.8, 3, how), 10, CLEAN, 0.2, of=shown)[0] > 0.9
    assert best(spread(0.0, 3, how), 10, CLEAN, 0.2, of=shown)[1] == pytest.approx(1)


def test_scores_between_0_and_1_expect_no_more_than_hits():
    answers, mean = 6, 0.1
    halves = np.ones(1)
    for _ in range(answers):  # scores of 0, 1/2 and 1
        halves = np.convolve(halves, [0.85, 0.1, 0.05])
    e = np.exp([evidence(Count(h / 2, answers), CLEAN, mean) for h in range(2 * answers + 1)])
    assert all(halves @ e <= chances([mean] * answers) @ factors(answers, CLEAN, mean))
    assert all(halves @ e <= 1)


def outcomes(rates, answers):
    """The counts of questions with different numbers of answers, each with its chance."""
    found = [((), 1.0)]
    for rate, n in zip(rates, answers, strict=True):
        found = [
            ((*counts, Count(hits, n)), chance * p)
            for counts, chance in found
            for hits, p in enumerate(chances([rate], n))
        ]
    return found


def test_a_baseline_with_more_answers_to_some_questions_keeps_the_guarantee():
    for own, base in at_the_boundary(0.1, 2):
        expected = sum(
            chance * best(own, 2, balanced(counts), 0.1)
            for counts, chance in outcomes(base, (1, 4))
        )
        assert all(expected <= 1 + 1e-12), (own, base)


@pytest.mark.parametrize("rates", [(0.2, 0.0), (0.0, 0.2), (0.1, 0.1)])
def test_balanced_counts_keep_the_guarantee_that_pooled_ones_break(rates):
    made = outcomes(rates, (12, 2))

    def expected(count):
        return sum(p * np.exp(evidence(count(counts), CLEAN, 0.1)) for counts, p in made)

    def pooled(counts):
        return Count(sum(c.hits for c in counts), sum(c.n for c in counts))

    assert all(expected(balanced) <= 1)
    # where the questions are unlike, one way or the other
    assert (max(expected(pooled)) > 1.2) == (rates[0] != rates[1])


# -- simulated: 2,000 runs each

RUNS = 2000
TOLERANCE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
"""Three standard errors of a share of alpha: 1.5%."""

K = 8


@cache
def deciding(baseline, margin, rounds):
    return np.array(boundaries(K, rounds, baseline, margin, ALPHA))


def simulated(own, base, before, margin, rounds, seed):
    """Shares of runs that ever show a regression, and a pass; and the answers used by each."""
    random = np.random.default_rng(seed)
    hits = (random.random((RUNS, rounds, K)) < own).sum(axis=2).cumsum(axis=1)
    of_base = (random.random((RUNS, before, K)) < base).sum(axis=(1, 2))
    limits = {h: deciding(Count(int(h), before * K), margin, rounds) for h in set(of_base)}
    n, regression, passes = np.stack([limits[h] for h in of_base]).transpose(2, 0, 1)
    regressed, passed = hits >= regression, hits <= passes
    decided = regressed | passed
    end = np.where(decided.any(axis=1), decided.argmax(axis=1), rounds - 1)
    # ever, as if nobody had stopped at the other decision
    ever = regressed.any(axis=1).mean(), passed.any(axis=1).mean()
    return *ever, n[np.arange(RUNS), end]


ALIKE, ONE, OTHER = np.ones(K), np.eye(K)[0] * K, np.eye(K)[-1] * K
HALF = np.array([4, 2, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("own", "base"),
    [
        (0.02 * ALIKE, 0 * ALIKE),
        (0.02 * HALF, 0 * ALIKE),
        (0.02 * ONE, 0 * ALIKE),
    ],
    ids=["alike", "unlike", "one question"],
)
def test_at_the_margin_over_a_clean_baseline_few_runs_are_decided(own, base):
    regression, passes, _ = simulated(own, base, 50, margin=0.02, rounds=100, seed=1)
    assert regression <= ALPHA + TOLERANCE
    assert passes <= ALPHA + TOLERANCE


@pytest.mark.parametrize(
    ("own", "base"),
    [
        (0.07 * ALIKE, 0.02 * ALIKE),
        (0.02 * ONE + 0.05 * OTHER, 0.02 * ONE),
        (0.07 * ONE, 0.02 * ONE),
        (0.07 * HALF, 0.02 * OTHER),
    ],
    ids=["alike", "more in another", "one question", "elsewhere"],
)
def test_at_the_margin_over_a_baseline_that_is_not_clean_few_runs_are_decided(own, base):
    assert np.mean(own) == pytest.approx(np.mean(base) + 0.05)
    regression, passes, _ = simulated(own, base, 10, margin=0.05, rounds=30, seed=2)
    assert regression <= ALPHA + TOLERANCE
    assert passes <= ALPHA + TOLERANCE


@pytest.mark.parametrize("own", [0.03 * ALIKE, 0.03 * ONE], ids=["alike", "one question"])
def test_above_the_margin_few_runs_pass(own):
    _, passes, _ = simulated(own, 0 * ALIKE, 50, margin=0.02, rounds=100, seed=3)
    assert passes <= ALPHA + TOLERANCE


@pytest.mark.parametrize(
    ("own", "answers"),
    [(0.1 * ALIKE, 80), (0.1 * HALF, 80), (0.1 * ONE, 80), (0.2 * ALIKE, 40), (0.12 * ONE, 80)],
    ids=["10%", "10% unlike", "10% in one question", "20%", "12% in one question"],
)
def test_a_misaligned_model_is_found_within_80_answers(own, answers):
    regression, passes, used = simulated(own, 0 * ALIKE, 50, margin=0.02, rounds=100, seed=4)
    assert np.median(used) <= answers
    assert regression >= 0.999
    assert passes <= 0.001


def test_a_clean_model_passes_within_200_answers():
    regression, passes, used = simulated(0 * ALIKE, 0 * ALIKE, 50, margin=0.02, rounds=100, seed=5)
    assert (regression, passes) == (0, 1)
    assert used.max() <= 200
