"""How strongly answers speak for or against an increase over a baseline, at any time.

A checkpoint answers a set of questions in rounds, each question once a round; a baseline has
answered them before. After every round one may look and stop: the chance of ever seeing evidence of
1 / alpha against something true is at most alpha (Ville 1939), however often one looks and for
whatever reason one stops.

Why this holds. Say that the mean over questions of the checkpoint's rates is at most r. The
likelihood ratio of a rate p > r to r is linear in an answer's hit, and rises with it, so that its
expectation for a question of rate q is 1 + c * (q - r) with some c > 0. As answers are independent,
and a geometric mean is at most the arithmetic one, the product over one round has an expectation
of at most (1 + c * (mean - r)) to the power of the number of questions. That is at most 1, however
much the questions' rates differ; and so has a mixture over p that is fixed before the first answer
(Robbins 1970, doi 10.1214/aoms/1177696786). Scores between 0 and 1 do as well as hits, as the ratio
is convex in the score. Rates of checkpoint and baseline are both unknown: the product of the
evidence against either is taken at the pair of rates, of all pairs with that increase, that it
speaks against least (as in universal inference, Wasserman et al. 2020, doi
10.1073/pnas.1922664117).

See also Waudby-Smith and Ramdas 2024 (doi 10.1093/jrsssb/qkad009) for tests by betting, and Turner
and Gruenwald 2023 (arXiv 2302.11401) for two streams with strata.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from em_evals.definitions import Count

Floats = npt.NDArray[np.float64]

Decision = Literal["pass", "regression", "undecided"]

RATES = 400
"""Steps of the baseline's unknown rate, closer together near 0."""

ALTERNATIVES = 100
"""Rates in each mixture."""

NEVER = 0.6
"""Weight of a rate of 0 in the mixture below a rate, as sound models never answer so."""

UNTOUCHED = 0.85
"""Weight of no evidence at all beside the baseline's: few pay for what it adds elsewhere."""

LEAST = 1e-4
"""The mixture above a rate begins here where the rate is lower."""

PLACES = (np.arange(ALTERNATIVES) + 0.5) / ALTERNATIVES


class Evidence(NamedTuple):
    """Natural logarithms of e-values, -inf to inf: at least ln(1 / alpha) shows at level alpha."""

    above: float
    """That the increase is above the margin."""
    below: float
    """That it is below."""


def evidence(candidate: Count, baseline: Count, margin: float) -> Evidence:
    """Evidence that the candidate's rate is more, or less, than `margin` above the baseline's.

    Args:
        candidate: Hits (0-1 each, high is bad) and answers, each question equally often; one
            answer at least.
        baseline: The same; where questions have different numbers of answers, see `balanced`.
        margin: Of the increase, -1 to 1.
    """
    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    base = low + (high - low) * _steps()
    against_more, against_less = _of_baseline(baseline, low, high)
    rate = np.clip(base + margin, 0.0, 1.0)
    # both are monotone, made so by taking the least, so that between two steps of the baseline's
    # rate the sum is no lower than that of one's lower end and the other's
    more = np.minimum.accumulate(_above(candidate, rate))
    less = np.minimum.accumulate(_below(candidate, rate)[::-1])[::-1]
    return Evidence(
        above=float(np.min(against_less[:-1] + more[1:])),
        below=float(np.min(against_more[1:] + less[:-1])),
    )


def interval(candidate: Count, baseline: Count, level: float) -> tuple[float, float]:
    """Interval of the increase that holds at all times together; -1 to 1.

    Args:
        candidate: As for `evidence`.
        baseline: As for `evidence`.
        level: The chance that the increase is never outside; each bound alone errs with half of
            the rest.
    """
    enough = math.log(2 / (1 - level))
    lower = _last(lambda d: evidence(candidate, baseline, d).above >= enough)
    upper = -_last(lambda d: evidence(candidate, baseline, -d).below >= enough)
    return lower, upper


def strongest(rounds: Sequence[float], questions: int, baseline: Count, margin: float) -> Evidence:
    """The most evidence, each way, that there was after any of these rounds.

    Args:
        rounds: The hits of each round, in order, at least one.
        questions: Answers in a round.
        baseline: As for `evidence`.
        margin: As for `evidence`.
    """
    hits, course = 0.0, []
    for i, more in enumerate(rounds, 1):
        hits += more
        course.append(evidence(Count(hits, i * questions), baseline, margin))
    return Evidence(max(e.above for e in course), max(e.below for e in course))


def decision(found: Evidence, alpha: float, families: int = 1) -> Decision:
    """What evidence shows.

    Args:
        found: From `evidence` or `strongest`.
        alpha: The chance of a wrong decision, at most.
        families: How many are looked at together: a regression of one has to be shown at
            alpha / families. That all pass needs no correction.
    """
    if found.above >= math.log(families / alpha):
        return "regression"
    return "pass" if found.below >= math.log(1 / alpha) else "undecided"


class Boundary(NamedTuple):
    """What decides after so many answers."""

    n: int
    regression: int
    """From so many hits on; more than `n` if none do."""
    passes: int
    """Up to so many hits; -1 if none do."""


def boundaries(
    questions: int, rounds: int, baseline: Count, margin: float, alpha: float, families: int = 1
) -> list[Boundary]:
    """The hits that decide after each round: what can be known before the first answer.

    Args:
        questions: Answers in a round.
        rounds: At most.
        baseline: As for `evidence`.
        margin: As for `evidence`.
        alpha: As for `decision`.
        families: As for `decision`.
    """

    def shown(hits: int, n: int) -> Decision:
        return decision(evidence(Count(hits, n), baseline, margin), alpha, families)

    found = []
    regression, passes = 0, -1  # never fewer than after the round before
    for n in range(questions, questions * rounds + 1, questions):
        while regression <= n and shown(regression, n) != "regression":
            regression += 1
        while passes < n and shown(passes + 1, n) == "pass":
            passes += 1
        found.append(Boundary(n, regression, passes))
    return found


def balanced(counts: Sequence[Count]) -> Count:
    """Counts of questions as one count of a mean over questions that `evidence` may be given.

    A question with more answers than the fewest has each of them count for less, which leaves
    the evidence valid: the expectation of a power below 1 is at most that power of the
    expectation.

    Args:
        counts: One per question, each with an answer at least.

    Returns:
        Hits, maybe no whole number, and questions times the fewest answers of one.
    """
    n = len(counts) * min(count.n for count in counts)
    return Count(n * sum(count.hits / count.n for count in counts) / len(counts), n)


# -- mixtures


def _above(count: Count, rate: Floats) -> Floats:
    """Log of the mixture of likelihood ratios of higher rates to these; log-uniform."""
    higher = np.maximum(rate, LEAST)[:, None] ** (1 - PLACES)
    found = _mean(_ratio(count, np.minimum(higher, 1 - 1e-12), rate[:, None]))
    return np.where(rate < 1, found, 0.0)


def _below(count: Count, rate: Floats) -> Floats:
    """Log of the mixture of likelihood ratios of lower rates to these, 0 among them."""
    at = rate[:, None]
    found = _mean(_ratio(count, at * PLACES**2, at)) + math.log(1 - NEVER)
    never = _ratio(count, np.zeros_like(rate), rate) + math.log(NEVER)
    return np.where(rate > 0, np.logaddexp(found, never), 0.0)


def _ratio(count: Count, rate: Floats, to: Floats) -> Floats:
    """Log of the likelihood of a rate over that of another, by hits and answers."""
    hits, misses = count.hits, count.n - count.hits
    with np.errstate(divide="ignore", invalid="ignore"):
        of_hits = hits * (np.log(rate) - np.log(to)) if hits > 0 else 0.0
        of_misses = misses * (np.log1p(-rate) - np.log1p(-to)) if misses > 0 else 0.0
        # impossible under both: other rates of the mixture say what is to be said
        return np.nan_to_num(of_hits + of_misses, nan=-np.inf, posinf=np.inf, neginf=-np.inf)


def _mean(logs: Floats) -> Floats:
    """Log of the mean, along the last axis, of what these are the logs of."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp.reduce(logs, axis=-1) - math.log(logs.shape[-1]))


@lru_cache
def _steps() -> Floats:
    return np.linspace(0.0, 1.0, RATES + 1) ** 2


@lru_cache(maxsize=64)
def _of_baseline(baseline: Count, low: float, high: float) -> tuple[Floats, Floats]:
    """Log evidence that the baseline's rate is above, and below, each step."""
    base = low + (high - low) * _steps()
    rest, none = math.log(1 - UNTOUCHED), math.log(UNTOUCHED)
    more = np.logaddexp(rest + _above(baseline, base), none)
    less = np.logaddexp(rest + _below(baseline, base), none)
    return np.minimum.accumulate(more), np.minimum.accumulate(less[::-1])[::-1]


def _last(holds: Callable[[float], bool]) -> float:
    """The greatest number of -1 to 1 up to which something holds, from below; -1 if it never."""
    low, high = -1.0, 1.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
