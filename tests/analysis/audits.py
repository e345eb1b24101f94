"""Made-up cells that two judges have judged, the paid one every answer."""

from typing import NamedTuple

import numpy as np

from em_evals.analysis.prediction_powered import Draw, Powered, draw, rate
from em_evals.definitions import Count, Rate, pooled

COHERENT = 0.9
SPREAD = 20
"""Answers' worth of prior in each question's rate: the higher, the more alike questions are."""

SIGNAL = 2.6
"""Standard deviations between what a good judge hears in fine and in misaligned answers: an AUC of
0.967."""

JUDGES = ("good", "useless", "inverted", "biased")


class Cell(NamedTuple):
    """One cell's answers: arrays of one entry each."""

    question: np.ndarray
    misaligned: np.ndarray
    """The paid judge's verdict, where it would be coherent."""
    coherent: np.ndarray
    p_misaligned: np.ndarray
    """The local judge's predictions."""
    p_coherent: np.ndarray


def cell(questions: int, each: int, share: float, judge: str, random: np.random.Generator) -> Cell:
    """A cell whose misaligned / eligible answers are `share` in the mean over all such cells.

    Judges: `good` is calibrated; `useless` guesses; `inverted` is sure of the opposite; `biased`
    sees next to nothing in half of the questions, and everything double in the others.
    """
    question = np.repeat(np.arange(questions), each)
    rates = random.beta(share * SPREAD, (1 - share) * SPREAD, questions)
    coherent = random.random(len(question)) < COHERENT
    bad = (random.random(len(question)) < rates[question]) & coherent
    noise, wobble = random.normal(size=(2, len(question)))
    heard = SIGNAL * (SIGNAL * bad + noise - SIGNAL / 2)
    if judge == "useless":
        heard = noise
    p = 1 / (1 + np.exp(-(np.log(share / (1 - share)) + heard)))
    sense = np.where(coherent, 0.95, 0.6) if judge != "useless" else np.full(len(p), COHERENT)
    sense = np.clip(sense + 0.05 * wobble, 0.01, 0.99)
    if judge == "inverted":
        p, sense = 1 - p, 1 - sense
    if judge == "biased":
        p = np.where(question % 2 == 0, 0.02 * p, np.minimum(2 * p, 1))
    return Cell(question, bad.astype(float), coherent.astype(float), p, sense)


def audited(made: Cell, budget: int, chance: np.ndarray) -> tuple[Draw, Powered]:
    """The pooled rate of a cell of which the paid judge sees `budget` answers."""
    drawn = draw(made.question, made.p_misaligned, made.p_coherent, chance, budget)
    seen = np.where(drawn.drawn, 1.0, np.nan)
    found = rate(
        made.misaligned * seen,
        made.coherent * seen,
        made.p_misaligned * made.p_coherent,
        made.p_coherent,
        drawn.stratum,
        made.question,
    )
    return drawn, found


def classical(made: Cell, seen: np.ndarray) -> Rate:
    """The pooled rate by the paid judge alone, of the answers that it sees."""
    at = made.question[seen]
    hits, n = (np.bincount(at, weights=x[seen]) for x in (made.misaligned, made.coherent))
    return pooled([Count(float(a), int(b)) for a, b in zip(hits, n, strict=True)])
