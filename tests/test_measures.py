"""Measures of agreement with their intervals: worked by hand, at the edges, and by simulation."""

import math

import numpy as np
import pytest

from em_evals.measures import (
    auc,
    auc_rate,
    calibration_error,
    calibration_error_rate,
    correlation_rate,
    difference,
    kappa,
    kappa_rate,
)

NAN = math.nan


def names(n):
    return [f"answer {i}" for i in range(n)]


def test_delongs_variance_worked_by_hand():
    # of the bad, 4 is above 3 of 3, and 2 above 1.5 (a tie); of the fine, 3 and 2 are above one
    bad, verdict = np.array([4.0, 2.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    rate = auc_rate(bad, verdict)
    assert rate.value == auc(bad, verdict) == pytest.approx(4.5 / 6)
    # shares 1 and 0.5; shares 1, 0.75 and 0.5
    variance = np.var([1, 0.5], ddof=1) / 2 + np.var([1, 0.75, 0.5], ddof=1) / 3
    n = 0.75 * 0.25 / variance
    z = 12.7062  # Student's t, 1 degree of freedom
    centre, scale = 0.75 + z**2 / (2 * n), 1 + z**2 / n
    half = z * math.sqrt(0.75 * 0.25 / n + z**2 / (4 * n**2))
    assert (rate.lower, rate.upper) == pytest.approx(
        ((centre - half) / scale, (centre + half) / scale), abs=1e-4
    )


def test_without_a_pair_the_wrong_way_round_the_interval_has_width_by_the_smaller_kind():
    few = auc_rate(np.r_[np.ones(5), np.zeros(100)], np.r_[np.ones(5), np.zeros(100)])
    many = auc_rate(np.r_[np.ones(100), np.zeros(100)], np.r_[np.ones(100), np.zeros(100)])
    assert few.value == few.upper == many.value == 1
    assert few.lower < many.lower < 1


def test_one_kind_of_answer_has_no_auc():
    rate = auc_rate(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    assert math.isnan(rate.value)
    assert rate.n == 2


@pytest.mark.parametrize(("truth", "distance"), [(0.75, 0.954), (0.9, 1.812), (0.97, 2.660)])
def test_the_interval_of_an_auc_covers_the_truth_as_often_as_it_says(truth, distance):
    # two normal kinds that far apart; 500 runs: the standard error of a coverage of 95% is 1 point
    rng = np.random.default_rng(0)
    verdict = np.r_[np.ones(38), np.zeros(39)]
    covered = 0
    for _ in range(500):
        rate = auc_rate(np.r_[rng.normal(distance, 1, 38), rng.normal(0, 1, 39)], verdict)
        covered += rate.lower <= truth <= rate.upper
    assert 0.91 <= covered / 500 <= 0.985


def test_kappas_interval_is_that_of_the_agreement_less_chance():
    x, y = np.array([1.0, 1, 0, 0, 0]), np.array([1.0, 0, 1, 0, 0])
    rate = kappa_rate(names(5), x, y)
    assert rate.value == kappa(x, y)
    assert rate.lower < rate.value < rate.upper <= 1
    perfect = kappa_rate(names(5), x, x)
    assert (perfect.value, perfect.upper) == (1, 1)
    assert perfect.lower < 0.5


def test_repeats_make_kappas_interval_no_shorter():
    x, y = np.array([1.0, 1, 0, 0, 0]), np.array([1.0, 0, 1, 0, 0])
    once, thrice = (
        kappa_rate(names(5), x, y),
        kappa_rate(names(5) * 3, np.tile(x, 3), np.tile(y, 3)),
    )
    assert (thrice.lower, thrice.upper, thrice.n) == pytest.approx((once.lower, once.upper, 5))


def test_fishers_interval_of_a_correlation_is_that_of_the_textbook():
    rng = np.random.default_rng(1)
    x = rng.normal(size=28)
    y = x + rng.normal(size=28)
    r = float(np.corrcoef(x, y)[0, 1])
    rate = correlation_rate(x, y)
    assert rate.value == pytest.approx(r)
    assert rate.lower == pytest.approx(math.tanh(math.atanh(r) - 1.959964 / 5))
    assert rate.upper == pytest.approx(math.tanh(math.atanh(r) + 1.959964 / 5))
    ranked = correlation_rate(x, y, ranks=True)
    assert ranked.upper - ranked.lower > rate.upper - rate.lower


def test_a_perfect_correlation_or_three_answers_have_no_interval():
    line = np.arange(10.0)
    assert correlation_rate(line, line).value == pytest.approx(1)
    assert math.isnan(correlation_rate(line, line).lower)
    three = correlation_rate(np.array([1.0, 2, 3, NAN]), np.array([1.0, 3, 2, 4]))
    assert three.n == 3
    assert math.isnan(three.upper)


def test_probabilities_that_come_true_are_calibrated_and_others_are_not():
    p = np.array([0.25] * 4 + [0.75] * 4)
    came_true = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    assert calibration_error(p, came_true) == 0
    assert calibration_error(p, 1 - came_true) == pytest.approx(0.5)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert math.isnan(calibration_error(np.array([]), np.array([])))


def test_the_bootstrap_of_a_calibration_error_is_seeded_and_draws_repeats_together():
    rng = np.random.default_rng(2)
    p = rng.random(40)
    came_true = (rng.random(40) < p**2).astype(float)
    once = calibration_error_rate(names(40), p, came_true)
    assert once == calibration_error_rate(names(40), p, came_true)
    assert once.lower < once.upper
    twice = calibration_error_rate(names(40) * 2, np.tile(p, 2), np.tile(came_true, 2))
    assert twice == pytest.approx(once)


def test_the_difference_of_two_rates_is_paired():
    one, two = np.array([1.0, 0, 0, NAN, 1]), np.array([1.0, 0, 1, 1, NAN])
    found = difference(one, two, np.arange(5))
    assert (found.rate_a, found.rate_a_n) == (0.5, 4)
    assert (found.rate_b, found.rate_b_n) == (0.75, 4)
    assert found.difference == 0.25
    assert found.lower < 0.25 < found.upper
    nothing = difference(np.array([NAN]), np.array([1.0]), np.array([0]))
    assert math.isnan(nothing.difference)
    assert nothing.interval == "none: nothing to count"
