"""How far a judge agrees with another, or with known labels: pure functions on arrays.

Needs numpy and nothing else of weight; what must be light to import imports this where it is used.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from em_evals.definitions import (
    LEVEL,
    MISSING,
    NO_RATE,
    Count,
    Rate,
    counts_by,
    normal_quantile,
    pooled,
    t_quantile,
    wilson,
)

Floats = npt.NDArray[np.float64]

NOWHERE = "no answer on which the rates differ"

BINS = 10
"""Bins of equal width that probabilities are sorted into for `calibration_error`."""

RESAMPLES = 1000
"""Bootstrap resamples, where there is no closed form."""


# -- measures


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's correlation over the places where both have a value; NaN without spread.

    Args:
        x: Values or NaN.
        y: Values or NaN, in the same order.
    """
    both = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return MISSING
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's correlation, ties at their mean rank; otherwise as `correlation`.

    Args:
        x: Values or NaN.
        y: Values or NaN, in the same order.
    """
    both = ~np.isnan(x) & ~np.isnan(y)
    return correlation(_ranks(x[both]), _ranks(y[both]))


def auc(bad: Floats, verdict: Floats) -> float:
    """How often an answer with verdict 1 is worse than one with verdict 0; ties are one half.

    Args:
        bad: How bad each answer is; no NaN.
        verdict: 1 or 0 for each.

    Returns:
        0-1; NaN unless there are both verdicts.
    """
    hits = verdict == 1
    n1, n0 = int(hits.sum()), int((~hits).sum())
    if not n1 or not n0:
        return MISSING
    return float((_ranks(bad)[hits].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def kappa(x: Floats, y: Floats) -> float:
    """Cohen's kappa of two judges' verdicts.

    Args:
        x: 1 or 0 for each answer.
        y: 1 or 0 for each, in the same order.

    Returns:
        Up to 1; NaN without answers, or where chance alone would give agreement throughout.
    """
    if not len(x):
        return MISSING
    chance = _by_chance(x, y)
    return float(((x == y).mean() - chance) / (1 - chance)) if chance < 1 else MISSING


def calibration_error(p: Floats, verdict: Floats) -> float:
    """Expected calibration error: how far stated probabilities are from what came true.

    Args:
        p: Stated probabilities of verdict 1, 0-1; no NaN.
        verdict: 1 or 0 for each.

    Returns:
        0-1, high is bad; the mean over answers of the gap in their bin. NaN without answers.
    """
    if not len(p):
        return MISSING
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, weights=p - verdict, minlength=BINS)
    return float(np.abs(gaps).sum() / len(p))


def _by_chance(x: Floats, y: Floats) -> float:
    return float(x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean()))


def _ranks(values: Floats) -> Floats:
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = np.cumsum(ties) - (ties - 1) / 2
    return ranks[place]


# -- measures with their intervals


def auc_rate(bad: Floats, verdict: Floats, level: float = LEVEL) -> Rate:
    """`auc` with an interval for independent answers.

    The variance is DeLong's (DeLong, DeLong and Clarke-Pearson 1988); the bounds are Wilson's for a
    share of that variance, so that they stay within 0 to 1 and have width where no pair is the
    wrong way round. Simulated coverage of nominal 95%: 93 to 97% with 38 answers of each kind;
    89 to 97% with 15 of one and 200 of the other, least at an AUC of 0.99.

    Args:
        bad: How bad each answer is; no NaN.
        verdict: 1 or 0 for each.
        level: Confidence level.
    """
    value = auc(bad, verdict)
    if math.isnan(value):
        return NO_RATE._replace(n=len(bad))
    hits = verdict == 1
    n1, n0 = int(hits.sum()), int((~hits).sum())
    ranks = _ranks(bad)
    # of each answer, the share of the other kind that it is on the right side of
    above = (ranks[hits] - _ranks(bad[hits])) / n0
    below = 1 - (ranks[~hits] - _ranks(bad[~hits])) / n1
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    # without a pair that is wrong, it is the smaller kind that says how sure that is
    most = min(n1, n0) if variance == 0 else math.inf
    return Rate(value, *wilson(value, variance, most, min(n1, n0), level), n1 + n0, n1 + n0)


def kappa_rate(answers: Sequence[str], x: Floats, y: Floats, level: float = LEVEL) -> Rate:
    """`kappa` with the interval that the observed agreement has, chance as it is (Cohen 1960).

    Args:
        answers: What was judged; repeats of one answer bear its name.
        x: 1 or 0 for each.
        y: 1 or 0 for each, in the same order.
        level: Confidence level.
    """
    value = kappa(x, y)
    if math.isnan(value):
        return NO_RATE._replace(n=len(set(answers)))
    chance = _by_chance(x, y)
    repeats = counts_by(answers, (x == y).astype(float).tolist()).values()
    agreed = pooled((Count(hits / n, 1) for hits, n in repeats), level)
    # each answer weighs the same there; here every judgement does
    lower, upper = ((bound - chance) / (1 - chance) for bound in (agreed.lower, agreed.upper))
    return Rate(value, min(lower, value), max(upper, value), agreed.n, agreed.n)


def correlation_rate(x: Floats, y: Floats, *, ranks: bool = False, level: float = LEVEL) -> Rate:
    """`correlation`, or `rank_correlation`, with Fisher's interval for independent answers.

    The bounds are missing with fewer than 4 answers, and at -1 and 1, where the interval is not
    defined.

    Args:
        x: Values or NaN.
        y: Values or NaN, in the same order.
        ranks: Spearman's (with the variance of Fieller, Hartley and Pearson 1957) for Pearson's.
        level: Confidence level.
    """
    n = int((~np.isnan(x) & ~np.isnan(y)).sum())
    value = rank_correlation(x, y) if ranks else correlation(x, y)
    if math.isnan(value) or n < 4 or abs(value) > 1 - 1e-12:
        return Rate(value, MISSING, MISSING, n, n)
    half = normal_quantile(level) * math.sqrt((1.06 if ranks else 1.0) / (n - 3))
    z = math.atanh(value)
    return Rate(value, math.tanh(z - half), math.tanh(z + half), n, n)


def calibration_error_rate(
    answers: Sequence[str], p: Floats, verdict: Floats, level: float = LEVEL
) -> Rate:
    """`calibration_error` with a percentile bootstrap over answers, seeded.

    Resampling adds noise to every bin, so the interval may lie above the value: a small error
    cannot be told from none.

    Args:
        answers: What was judged; repeats of one answer bear its name and are drawn together.
        p: Stated probabilities of verdict 1, 0-1; no NaN.
        verdict: 1 or 0 for each.
        level: Confidence level.
    """
    if not len(p):
        return NO_RATE
    names, answer = np.unique(np.asarray(answers, dtype=object).astype(str), return_inverse=True)
    k = len(names)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    # sum of the gaps of each answer in each bin, and how often it was judged
    gaps, n = np.zeros((k, BINS)), np.bincount(answer, minlength=k)
    np.add.at(gaps, (answer, place), p - verdict)
    draws = np.random.default_rng(0).multinomial(k, np.full(k, 1 / k), size=RESAMPLES)
    drawn = np.abs(draws @ gaps).sum(axis=1) / (draws @ n)
    lower, upper = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Rate(calibration_error(p, verdict), float(lower), float(upper), k, k)


class Difference(NamedTuple):
    """Two judges' rates over the same answers, each by its own filter, and how far they differ."""

    rate_a: float
    rate_a_n: int
    rate_b: float
    rate_b_n: int
    difference: float
    """b less a."""
    lower: float
    upper: float
    interval: str
    """What the bounds are over, or why there are none."""


def difference(one: Floats, two: Floats, question: npt.NDArray[Any]) -> Difference:
    """Both rates, and their paired difference with its 95% interval (Taylor linearisation).

    Where all answers differ alike, or none does, the bounds lie as far off as Wilson's interval
    leaves for a share of answers that do otherwise.

    Args:
        one: What the first rate counts: 1, 0, or NaN for an answer that is not in it.
        two: The same of the second, in the same order.
        question: The number of each answer's question, from 0.
    """
    rates, counted, linear = [], [], []
    for values in (one, two):
        counts = ~np.isnan(values)
        hits, n = np.nan_to_num(values), counts.sum()
        rate = hits.sum() / n if n else MISSING
        rates.append(float(rate))
        counted.append(int(n))
        linear.append((hits - rate * counts) / n if n else np.full(len(hits), MISSING))
    parts = linear[1] - linear[0]
    answers = len(parts)
    apart = rates[1] - rates[0]
    known = (rates[0], counted[0], rates[1], counted[1], apart)
    if math.isnan(apart):
        return Difference(*known, MISSING, MISSING, "none: nothing to count")
    by_question = np.bincount(question, weights=parts)
    for clusters, interval in (
        (by_question, "answers clustered by question"),
        (parts, "answers"),
    ):
        k = len(clusters)
        variance = float((clusters**2).sum() * k / (k - 1)) if k > 1 else 0.0
        if variance > 1e-24:  # else rounding
            half = t_quantile(LEVEL, k - 1) * math.sqrt(variance)
            return Difference(*known, max(apart - half, -1.0), min(apart + half, 1.0), interval)
    bound = wilson(0.0, 0.0, answers, len(by_question))[1]
    return Difference(
        *known,
        max(apart - bound, -1.0),
        min(apart + bound, 1.0),
        NOWHERE if math.isclose(*rates) else "answers that all differ alike",
    )
