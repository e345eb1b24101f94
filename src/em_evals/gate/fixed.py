"""The increase of a rate over a baseline where all answers were planned beforehand.

Nobody looked in between: for a checkpoint that was stopped early, see
`em_evals.stopping.evidence`. Pure functions on numbers.

Bounds of single rates are Clopper and Pearson's (1934, doi 10.1093/biomet/26.4.404): exact for
answers of one rate, and no less for questions of different rates that are asked equally often, as
the tails of a sum of unlike hits are lighter (Hoeffding 1956, doi 10.1214/aoms/1177728178). They
are put together by Newcombe's rule, `em_evals.analysis.rates.of_difference`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from em_evals.analysis.prediction_powered import Powered, bounds
from em_evals.analysis.rates import of_difference
from em_evals.definitions import Count, t_quantile
from em_evals.stopping.evidence import balanced

NO_P = 1e-9
"""The smallest p-value that is looked for."""


class Increase(NamedTuple):
    """An estimate with its interval."""

    value: float
    """Candidate - baseline; high is bad."""
    lower: float
    """One-sided bound at level 1 - alpha; NaN if there is none."""
    upper: float
    """The same from above."""
    p_above: float
    """Level at which an increase above the margin is shown; 1 if at none below 1/2."""
    p_below: float
    """Level at which an increase below the margin is shown."""


def of_rates(
    candidate: Sequence[Count], baseline: Sequence[Count], margin: float, alpha: float
) -> Increase:
    """The increase of the mean over questions of a share.

    Where each question has one answer on both sides, only questions that were answered
    differently count: the share that became worse, less the share that became better.

    Args:
        candidate: Hits (or scores of 0 to 1) and answers of each question, one answer at least.
        baseline: The same questions.
        margin: For the p-values.
        alpha: Of each bound.
    """
    if all(count.n == 1 for count in (*candidate, *baseline)):
        changes = [own.hits - base.hits for own, base in zip(candidate, baseline, strict=True)]
        up, down = (
            Count(sum(max(0.0, sign * x) for x in changes), len(changes)) for sign in (1, -1)
        )
        together = _exclusive(up, down)
    else:
        # as if all questions had as few answers as one has: it may be that one that has all hits
        up, down, together = balanced(candidate), balanced(baseline), 0.0
    more, less = up.hits / up.n, down.hits / down.n

    def bounds(alpha: float) -> tuple[float, float]:
        lower, upper = clopper_pearson(*up, alpha)
        lower0, upper0 = clopper_pearson(*down, alpha)
        return of_difference(more, lower, upper, less, lower0, upper0, together)

    return _increase(more - less, bounds, margin, alpha)


def of_means(
    candidate: Sequence[float], baseline: Sequence[float], margin: float, alpha: float
) -> Increase:
    """The increase of a mean over games, by Student's t of the games' own increases.

    Args:
        candidate: A value for each game.
        baseline: A value for each of the same games.
        margin: For the p-values.
        alpha: Of each bound.

    Returns:
        No bounds and p-values of 1 for fewer than two games, or where all differ alike.
    """
    increases = [a - b for a, b in zip(candidate, baseline, strict=True)]
    n = len(increases)
    value = sum(increases) / n
    squares = sum((x - value) ** 2 for x in increases)
    if n < 2 or squares <= 1e-20:
        return Increase(value, math.nan, math.nan, 1.0, 1.0)
    error = math.sqrt(squares / (n - 1) / n)

    def bounds(alpha: float) -> tuple[float, float]:
        half = t_quantile(1 - 2 * alpha, n - 1) * error
        return value - half, value + half

    return _increase(value, bounds, margin, alpha)


def of_audited(candidate: Powered, baseline: Powered, margin: float, alpha: float) -> Increase:
    """The increase of a rate that two judges made together, a local one and a paid one.

    Each side's bounds are Wilson's on its effective sample size: of the answers to these very
    questions and the draw, which are independent of the other side's.

    Args:
        candidate: Over fixed questions (`em_evals.analysis.prediction_powered.rate`).
        baseline: Over the same questions.
        margin: For the p-values.
        alpha: Of each bound.

    Returns:
        No bounds and p-values of 1 where one of the two has no interval.
    """
    value = candidate.value - baseline.value
    if math.isnan(candidate.effective) or math.isnan(baseline.effective):
        return Increase(value, math.nan, math.nan, 1.0, 1.0)

    def both(alpha: float) -> tuple[float, float]:
        own, base = (bounds(rate, 1 - 2 * alpha) for rate in (candidate, baseline))
        return of_difference(candidate.value, *own, baseline.value, *base)

    return _increase(value, both, margin, alpha)


def clopper_pearson(hits: float, n: float, alpha: float) -> tuple[float, float]:
    """The exact bounds of a rate, each at level 1 - alpha.

    Args:
        hits: Hits, or a sum of scores of 0 to 1; 0 to n.
        n: Answers, or as many as would make a rate as certain; above 0.
        alpha: The chance that one bound errs, at most; 0 to 1/2, both excluded.
    """
    misses = n - hits
    lower = _beta_quantile(alpha, hits, misses + 1) if hits > 0 else 0.0
    upper = _beta_quantile(1 - alpha, hits + 1, misses) if misses > 0 else 1.0
    return lower, upper


def _increase(
    value: float, bounds: Callable[[float], tuple[float, float]], margin: float, alpha: float
) -> Increase:
    return Increase(
        value,
        *bounds(alpha),
        _level(lambda a: bounds(a)[0] > margin),
        _level(lambda a: bounds(a)[1] < margin),
    )


def _level(shown: Callable[[float], bool]) -> float:
    """The smallest level at which something is shown; 1 if at none below 1/2."""
    low, high = math.log(NO_P), math.log(0.4999)
    if not shown(math.exp(high)):
        return 1.0
    if shown(NO_P):
        return NO_P
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _exclusive(up: Count, down: Count) -> float:
    """The correlation of two things of which a question can be but one."""
    odds = [count.hits / max(count.n - count.hits, 1e-12) for count in (up, down)]
    return -min(1.0, math.sqrt(math.prod(odds)))


def _beta_quantile(level: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_within(middle, a, b) < level else (low, middle)
    return high


def _beta_within(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b): DLMF 8.17.22, by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_within(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    value = c = 1.0
    d = 0.0
    for i in range(10_000):
        m = i // 2
        if i == 0:
            part = 1.0
        elif i % 2:
            part = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            part = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + part * d or tiny)
        c = 1 + part / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * (value - 1) / a
