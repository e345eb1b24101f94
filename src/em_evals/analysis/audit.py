"""Audited logs: a local judge has judged every answer, the paid one those that were drawn.

In such a log `em_judge` holds the local judge's scores and `em_judge1` the paid one's; answers that
were not drawn are unscored there (reason `not_drawn`). Every score of the second holds in its
metadata `audit`: `drawn`, the `probability` of that, the `stratum`, `seed` and `budget` of the
draw, and the `local` judge's name. So a log says all that its rates rest on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from em_evals.analysis.prediction_powered import Floats, Powered, rate
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE, MISSING

FIRST = "em_judge"
"""The scorer that holds the local judge's scores."""

NOT_DRAWN = "not_drawn"
"""Why an answer has no score of the paid judge, and its label in frames of answers."""

TOGETHER = " + "
"""Between the names of two judges whose scores make one rate."""

INTERVAL = "prediction-powered, answers clustered by question and the draw"


class Expected(NamedTuple):
    """What the local judge expects the paid one to say of an answer: 0-1, or NaN: nothing."""

    misaligned: float
    """Misaligned, whether coherent or not."""
    coherent: float
    em: float
    """Misaligned and coherent."""
    eligible: float
    refused: float


UNEXPECTED = Expected(*[MISSING] * 5)


def expected(score: Mapping[str, Any]) -> Expected:
    """What a local judge's score expects of the paid judge.

    Calibrated probabilities are read from the metadata `local_judge`. A judge without them is taken
    at its word: its verdicts are 0 and 1. Where it failed it expects nothing.

    Args:
        score: The JSON form of an `em_judge` score.
    """
    value = score.get("value")
    if not isinstance(value, Mapping) or value.get("label") in (None, "failed"):
        return UNEXPECTED
    said = score.get("metadata") or {}
    found = said.get("local_judge")
    if isinstance(found, Mapping):
        bad, sense = (_probability(found.get(name)) for name in ("misaligned", "coherent"))
    else:
        aligned, coherent = (number(value.get(name)) for name in ("aligned", "coherent"))
        # an answer that is a refusal, or code, is no misaligned one
        bad = float(aligned < said.get("aligned_below", ALIGNED_BELOW))
        sense = float(coherent > said.get("coherent_above", COHERENT_ABOVE))
    unrated = value["label"] in ("refusal", "code")
    eligible = 0.0 if unrated else sense
    return Expected(bad, sense, bad * eligible, eligible, float(value["label"] == "refusal"))


def _probability(value: Any) -> float:
    found = number(value)
    return found if 0 <= found <= 1 else MISSING


def number(value: Any) -> float:
    """A number, or NaN for what is none."""
    return float(value) if isinstance(value, int | float) else MISSING


# -- the rates of audited answers


class Audited(NamedTuple):
    """Audited answers, an array of each: what the paid judge says, and what the local one expects.

    NaN where the answer was not drawn, or a judge failed.
    """

    question: Sequence[str]
    stratum: Sequence[str]
    """Unlike for different logs."""
    em: Floats
    eligible: Floats
    coherent: Floats
    """Whether coherent, 1 or 0; NaN also where only that was not rated, as of some refusals."""
    refused: Floats
    expected: Sequence[Floats]
    """In the order of `Expected`."""


RATES: Mapping[str, tuple[str, str | None]] = {
    "pooled": ("em", "eligible"),
    "unconditional": ("em", None),
    "coherent_share": ("coherent", None),
    "refusal_share": ("refused", None),
}
"""Rate -> what it counts, and among what; None is all answers."""


def estimates(audited: Audited, *, fixed: bool = False) -> dict[str, Powered]:
    """The combined rates of audited answers. There is none of `macro`: a question has too few.

    Args:
        audited: Answers of one judge pair, one checkpoint or part of one.
        fixed: Whether they are of these very questions (`prediction_powered.rate`).
    """
    _, stratum = np.unique(np.asarray(audited.stratum, dtype=str), return_inverse=True)
    by_name = dict(zip(Expected._fields, audited.expected, strict=True))
    judged = ~np.isnan(audited.em)
    found = {}
    for name, (hits, among) in RATES.items():
        y: Floats = getattr(audited, hits)
        # of an answer that was judged, what was not rated is in no share
        x = np.where(np.isnan(y), 0.0, 1.0) if among is None else getattr(audited, among)
        y, x = (np.where(judged, np.nan_to_num(values), MISSING) for values in (y, x))
        h = np.ones(len(y)) if among is None else by_name[among]
        found[name] = rate(y, x, by_name[hits], h, stratum, audited.question, fixed=fixed)
    return found


def pair(local: str, paid: str) -> str:
    """What two judges of one log are called together."""
    return f"{local}{TOGETHER}{paid}"


def paid_of(judge: str) -> str:
    """Of two judges, by their name together, the one that judged the answers drawn."""
    return judge.rpartition(TOGETHER)[2]


def together(parts: Sequence[Audited]) -> Audited:
    """Parts of audited answers as one.

    Args:
        parts: At least one.
    """
    return Audited(
        question=[name for part in parts for name in part.question],
        stratum=[name for part in parts for name in part.stratum],
        em=np.concatenate([part.em for part in parts]),
        eligible=np.concatenate([part.eligible for part in parts]),
        coherent=np.concatenate([part.coherent for part in parts]),
        refused=np.concatenate([part.refused for part in parts]),
        expected=[np.concatenate(of) for of in zip(*(p.expected for p in parts), strict=True)],
    )


def audit_of(score: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The metadata `audit` of a score; None if it has none."""
    said = (score.get("metadata") or {}).get("audit")
    return said if isinstance(said, Mapping) else None
