"""Rates from a cheap judge of every answer and a dear judge of a random few: pure functions.

`draw` chooses which answers the paid judge sees; `rate` combines both judges' verdicts. What a
local judge gets wrong is measured on the answers drawn and taken out again, so a bad one costs
width and never validity.

Sources: Angelopoulos et al. 2023 (doi 10.1126/science.adi6000) and Angelopoulos, Duchi and Zrnic
2023 (arXiv 2311.01453) for prediction-powered estimates and their power tuning; Fisch et al. 2024
(arXiv 2406.04291) for strata; Särndal, Swensson and Wretman 1992 (Model Assisted Survey Sampling,
chapters 6, 7 and 9) for known chances, ratios and two phases. `ppi-python` 0.2.3 is not used: it
has no ratios, strata, known chances or clusters, and its intervals are Wald's, which are too short
for rates of a few percent; it would also bring numba, statsmodels and scikit-learn.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from em_evals.definitions import LEVEL, MISSING, Count, pooled, wilson
from em_evals.errors import InputError

CLASSES = 3
"""Classes of answers, from those that the local judge is sure are fine to the doubtful ones."""

LEAST = 2
"""Answers drawn from a stratum, so that its variance can be estimated."""

PLAIN = 0.5
"""Share of a budget that goes to strata by their size alone. The chance of no answer is below this
share of a plain random sample's, however wrong the local judge is where it is sure."""

SURE = 0.005
"""No prediction is taken to be closer than this to 0 or 1 when doubt is reckoned."""

UNSEEN = 0.5
"""Misjudged answers that may have gone unseen: what is added to the variance and to the share that
it is compared with, and half of it to either side of the rate. It keeps the interval honest where
the draw holds few misaligned answers, and vanishes as the budget comes up to all answers."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Draw(NamedTuple):
    """Which answers the paid judge sees: an array of each, one entry per answer."""

    drawn: Bools
    probability: Floats
    """The chance that the answer had of being drawn: above 0, up to 1."""
    stratum: Ints
    """From 0; of each stratum a number of answers that was fixed beforehand is drawn."""


class Powered(NamedTuple):
    """A combined rate. Value and bounds are 0-1, NaN where there is nothing to say."""

    value: float
    lower: float
    upper: float
    error: float
    """Standard error: over questions, answers and the draw; NaN where it cannot be estimated."""
    n: float
    """Answers that the rate is over; estimated where it is over eligible answers."""
    judged: int
    """Answers of these that the paid judge has judged."""
    questions: int
    """Questions with such answers: the clusters of the interval."""
    weight: float
    """Weight of the local judge's predictions, 0-1 (lambda); 0: they say nothing."""
    local: float
    """The local judge's own rate by its predictions, which is not to be reported for the truth."""
    effective: float
    """Independent answers that would be as certain."""
    step: float
    """What one answer may shift the rate by: added to either side."""
    clusters: int
    """One more than the degrees of freedom of the interval."""


NOTHING = Powered(
    value=MISSING,
    lower=MISSING,
    upper=MISSING,
    error=MISSING,
    n=0,
    judged=0,
    questions=0,
    weight=0.0,
    local=MISSING,
    effective=MISSING,
    step=MISSING,
    clusters=0,
)


# -- the draw


def chances(keys: Iterable[tuple[str, int]], seed: int) -> Floats:
    """A number of 0 to 1 for each answer, which depends on the answer and the seed alone.

    Args:
        keys: Sample id and epoch of each.
        seed: Another seed gives other numbers.
    """
    digests = (hashlib.sha256(f"{seed}\0{name}\0{epoch}".encode()).digest() for name, epoch in keys)
    return np.array([int.from_bytes(d[:8], "big") / 2**64 for d in digests])


def draw(
    question: Sequence[str] | npt.NDArray[np.generic],
    misaligned: Floats,
    coherent: Floats,
    chance: Floats,
    budget: int,
) -> Draw:
    """Draw answers for the paid judge: a fixed number per stratum, more where there is doubt.

    Strata are questions crossed with classes of the predicted share, cut so that each class holds
    as much doubt as the next. Where strata would be too many for the budget (their minimum of
    two each would take over half of it) they are the classes alone, then one. Half of the budget
    goes by size, half by doubt (Neyman's allocation by the predicted variance).

    Args:
        question: The question of each answer.
        misaligned: The local judge's probability that the paid judge finds it misaligned, 0-1, or
            NaN: not predicted, which counts as the mean of the others.
        coherent: The same of coherent.
        chance: From `chances`: in each stratum the answers with the lowest are drawn.
        budget: How many answers. As many as there are or more: all are drawn.

    Raises:
        InputError: A budget below 1, or no answers.
    """
    n = len(misaligned)
    if budget < 1:
        raise InputError(
            f"a judge budget of {budget}: expected 1 or more answers for the paid judge. "
            "Without any, let the local judge grade alone: `grader: local/em-judge` in the file"
        )
    if not n:
        raise InputError("no answers to draw from")
    if budget >= n:
        return Draw(np.ones(n, dtype=bool), np.ones(n), np.zeros(n, dtype=np.int64))
    bad, sense = filled(misaligned) * filled(coherent), filled(coherent)
    doubt = _doubt(bad, sense)
    by_class = _classes(bad, doubt)
    _, asked = np.unique(np.asarray(question), return_inverse=True)
    for code in (asked * CLASSES + by_class, by_class):
        _, stratum = np.unique(code, return_inverse=True)
        size = np.bincount(stratum)
        if 2 * np.minimum(size, LEAST).sum() <= budget:
            break
    else:
        stratum = np.zeros(n, dtype=np.int64)
        size = np.array([n])
    wanted = _allocated(size, np.bincount(stratum, weights=doubt).astype(float), budget)
    order = np.lexsort((chance, stratum))
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n) - first[stratum[order]]
    return Draw(rank < wanted[stratum], (wanted / size)[stratum], stratum)


def filled(predictions: Floats) -> Floats:
    """Predictions, where one is missing the mean of the others; one half where all are.

    Any prediction gives a valid rate, so this one costs only width.

    Args:
        predictions: 0-1 or NaN.
    """
    missing = np.isnan(predictions)
    if not missing.any():
        return predictions
    return np.where(missing, 0.5 if missing.all() else predictions[~missing].mean(), predictions)


def _doubt(bad: Floats, sense: Floats) -> Floats:
    """Standard deviation of an answer's part in the pooled rate, as predicted."""
    share = bad.sum() / max(sense.sum(), 1e-9)
    bad, sense = np.clip(bad, SURE, 1 - SURE), np.clip(sense, SURE, 1 - SURE)
    found: Floats = np.sqrt(bad * (1 - bad) + share**2 * sense * (1 - sense))
    return found


def _classes(bad: Floats, doubt: Floats) -> Ints:
    """Answers by predicted share, cut into classes of equal doubt; equal predictions together."""
    _, which = np.unique(bad, return_inverse=True)
    held = np.bincount(which, weights=doubt)
    middle = (np.cumsum(held) - held / 2) / held.sum()
    found: Ints = np.minimum((middle * CLASSES).astype(np.int64), CLASSES - 1)[which]
    return found


def _allocated(size: Ints, doubt: Floats, budget: int) -> Ints:
    """Answers to draw from each stratum, `budget` in all, at least `LEAST` where it has them."""
    share = PLAIN * size / size.sum() + (1 - PLAIN) * doubt / doubt.sum()
    least = np.minimum(size, LEAST) if budget >= 2 * len(size) else np.zeros_like(size)
    # as much of the ideal as fits between the least and all: the scale is found by bisection
    low, high = 0.0, budget / share.min()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.clip(middle * share, least, size).sum() < budget else (low, middle)
        )
    ideal = np.clip(high * share, least, size)
    wanted: Ints = np.floor(ideal).astype(np.int64)
    most_left_out = np.argsort(wanted - ideal, kind="stable")
    wanted[most_left_out[: budget - wanted.sum()]] += 1
    return wanted


# -- the estimate


def rate(
    hits: Floats,
    counted: Floats,
    predicted_hits: Floats,
    predicted_counted: Floats,
    stratum: Ints,
    question: Sequence[str] | npt.NDArray[np.generic],
    level: float = LEVEL,
    *,
    fixed: bool = False,
) -> Powered:
    """Hits over counted answers, had the paid judge seen them all, with its interval.

    Both sums are estimated by the predictions' sum, times a weight, plus what the paid judge says
    otherwise on the answers drawn, each divided by its chance (a difference estimator). The weight,
    0 to 1, is what leaves the least variance (power tuning). Within a stratum the paid judge's
    missing judgements count as drawn at random: the chance is judged / all of the stratum.

    The interval is the classical one's like: `definitions.pooled` takes questions for what was
    sampled, so here too each question is one cluster, whose part in the rate is its predictions and
    the weighted corrections drawn from it. The variance between these parts holds that of questions
    and answers and that of the draw at once (the ultimate cluster in two phases); the corrections
    are taken about their stratum's mean, as their number in it is fixed. Of answers to one question
    each answer is a cluster, and the interval is for that question alone. Wilson's interval on the
    effective sample size follows, with Student's t, once `UNSEEN` is added. There is no interval
    from fewer than two judged answers. With every answer judged it is `definitions.pooled` to the
    bit.

    Simulated coverage of nominal 95% (benchmarks/prediction_powered.py): 94 to 97% where nine
    misaligned answers or more are expected in a plain draw of that size (one of 48 settings: 98%),
    whether the local judge is good, useless, inverted or blind to half of the questions; 96 to 99%
    with fewer.

    Args:
        hits: The paid judge's 1 or 0 for each answer; NaN: not drawn, or it failed.
        counted: Whether the answer is in the rate's denominator by the paid judge, 1 or 0; NaN as
            for `hits`.
        predicted_hits: What the local judge expects `hits` to be: 0-1 or NaN (`filled`).
        predicted_counted: What it expects `counted` to be.
        stratum: Of each answer, from `draw`.
        question: Of each answer.
        level: Confidence level.
        fixed: Whether the rate is of these very questions, as where two models are compared that
            were asked the same: each answer then is a cluster, within its question.
    """
    judged = ~np.isnan(hits) & ~np.isnan(counted)
    asked, m = int(judged.sum()), len(hits)
    y, x = np.where(judged, hits, 0.0), np.where(judged, counted, 0.0)
    g, h = filled(predicted_hits), filled(predicted_counted)
    local = _ratio(g.sum(), h.sum())
    names, cluster = np.unique(np.asarray(question), return_inverse=True)
    if asked == m and not fixed:
        return _classical(y, x, cluster, local, level)
    if not asked:
        return NOTHING._replace(local=local)
    stratum = _joined(stratum, judged)
    size, held = np.bincount(stratum), np.bincount(stratum[judged])
    inverse = (size / held)[stratum]
    weights = judged * inverse

    plain = _ratio((weights * y).sum(), (weights * x).sum())
    if math.isnan(plain):
        return NOTHING._replace(judged=asked, local=local)
    weight = _tuned(y - plain * x, g - plain * h, judged, stratum, size, held)
    total = (weight * h + weights * (x - weight * h)).sum()
    if total <= 0:  # a few answers against many predictions
        weight = 0.0
        total = (weights * x).sum()
    value = float((weight * g + weights * (y - weight * g)).sum() / total)
    expected = weight * (g - value * h) / total
    part = expected + _corrections((y - value * x) / total - expected, judged, stratum, size, held)
    seen = np.unique(cluster[judged]).size
    clusters = asked if fixed or len(names) == 1 else min(seen, asked)
    n = float(np.clip(total, (x * judged).sum(), m))
    share = min(max(value, 0.0), 1.0)
    if clusters < 2:
        return NOTHING._replace(
            value=share, n=n, judged=asked, questions=seen, weight=weight, local=local
        )
    if fixed or len(names) == 1:
        variance = _within(part, cluster)
    else:
        k = len(names)
        variance = float((np.bincount(cluster, weights=part) ** 2).sum() * k / (k - 1))
    # one answer more that is judged otherwise than expected, of weight as the others'
    unseen = UNSEEN * (weights * (weights - 1) * x).sum() / total**2
    kish = (weights * x).sum() ** 2 / (weights**2 * x).sum()
    raised = min(share + unseen, 0.5) if share < 0.5 else max(share - unseen, 0.5)
    spread, error = raised * (1 - raised), math.sqrt(variance + unseen / kish)
    # where nothing varies the variance says nothing, as in `definitions.wilson`
    effective = min(spread / error**2, n) if spread > 0 and error > 0 else n
    # with few hits a rate comes in steps, of about one answer's weight
    found = Powered(
        value=share,
        lower=MISSING,
        upper=MISSING,
        error=error,
        n=n,
        judged=asked,
        questions=seen,
        weight=weight,
        local=local,
        effective=effective,
        step=unseen / 2,
        clusters=clusters,
    )
    lower, upper = bounds(found, level)
    return found._replace(lower=lower, upper=upper)


def bounds(rate: Powered, level: float) -> tuple[float, float]:
    """The interval of a combined rate at another level; NaN where it has none.

    Args:
        rate: From `rate`.
        level: Confidence level, 0-1, both ends excluded.
    """
    if math.isnan(rate.effective):
        return MISSING, MISSING
    low, high = max(rate.value - rate.step, 0.0), min(rate.value + rate.step, 1.0)
    lower, _ = wilson(low, 0.0, rate.effective, rate.clusters, level)
    _, upper = wilson(high, 0.0, rate.effective, rate.clusters, level)
    return lower, upper


def _within(part: Floats, question: Ints) -> float:
    """The variance of a sum of answers' parts about their question's mean."""
    n = np.bincount(question)
    mean = np.where(n > 1, np.bincount(question, weights=part) / np.maximum(n, 1), 0.0)
    squares = np.bincount(question, weights=(part - mean[question]) ** 2)
    return float((squares * np.where(n > 1, n / np.maximum(n - 1, 1), 1.0)).sum())


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else MISSING


def _classical(y: Floats, x: Floats, cluster: Ints, local: float, level: float) -> Powered:
    hits, n = (np.bincount(cluster, weights=values) for values in (y, x))
    counts = [Count(float(a), int(b)) for a, b in zip(hits, n, strict=True)]
    found = pooled(counts, level)
    k, share = found.questions, found.value
    parts = hits - share * n
    error = math.sqrt((parts**2).sum() * k / (k - 1)) / found.n if k > 1 else MISSING
    spread = share * (1 - share)
    known = spread > 0 and error > 0
    return NOTHING._replace(
        value=share,
        lower=found.lower,
        upper=found.upper,
        error=error,
        n=found.n,
        judged=len(y),
        questions=k,
        local=local,
        effective=min(spread / error**2, found.n) if known else float(found.n or MISSING),
        step=0.0,
        clusters=k,
    )


def _joined(stratum: Ints, judged: Bools) -> Ints:
    """Strata, those without any judged answer put to the nearest that has some."""
    held = np.bincount(stratum[judged], minlength=stratum.max() + 1)
    there = np.flatnonzero(held)
    nearest = there[np.abs(np.arange(len(held))[:, None] - there).argmin(axis=1)]
    _, joined = np.unique(nearest[stratum], return_inverse=True)
    return joined


def _tuned(e: Floats, g: Floats, judged: Bools, stratum: Ints, size: Ints, held: Ints) -> float:
    """The weight of predictions that leaves the draw the least variance, 0-1."""
    of = stratum[judged]
    e, g = (
        values[judged] - (np.bincount(of, weights=values[judged]) / held)[of] for values in (e, g)
    )
    # each stratum's variance counts as it does in the total
    scale = (size * (size - held) / held / np.maximum(held - 1, 1))[of]
    spread = (scale * g * g).sum()
    return float(np.clip((scale * e * g).sum() / spread, 0.0, 1.0)) if spread > 0 else 0.0


def _corrections(d: Floats, judged: Bools, stratum: Ints, size: Ints, held: Ints) -> Floats:
    """Each answer's part in the correction: its stratum's mean, and if judged its own distance."""
    of = stratum[judged]
    mean = np.bincount(of, weights=d[judged]) / held
    mean[(held == 1) & (size > 1)] = 0.0  # about which nothing is known
    part = mean[stratum]
    # the mean was taken from the same answers
    grown = np.where(held > 1, np.sqrt(1 + (1 - held / size) / np.maximum(held - 1, 1)), 1.0)
    part[judged] += (size / held * grown)[of] * (d[judged] - mean[of])
    return part
