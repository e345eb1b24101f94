"""The words' part of the local judge, trained: a linear model over hashed words and pairs.

Needs the extra `train`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression

from em_evals.judges.local import words
from em_evals.judges.local.data import Judged

STRENGTH = 10.0
"""Inverse of the penalty on weights."""

MIN_ANSWERS = 5
"""A word is known if so many training answers have it: rarer ones say who was asked what."""


class Learnt(NamedTuple):
    """A linear model over slots."""

    weights: "np.ndarray[Any, Any]"
    """8-bit numbers, `SLOTS` rows; the slots' rarity is in them."""
    scale: "np.ndarray[Any, Any]"
    bias: "np.ndarray[Any, Any]"
    rarity: "np.ndarray[Any, Any]"
    """8-bit numbers, in steps of `RARITY_STEP`."""


def train(found: Sequence[words.Ints], wanted: "np.ndarray[Any, Any]") -> Learnt:
    """Learn what words say: a logistic model for each column.

    Args:
        found: The slots of each answer.
        wanted: Shares of 0 to 1 for each answer, a column for each output.
    """
    sizes = np.array([len(one) for one in found])
    slots = np.concatenate([*found, np.array([], dtype=np.int64)])
    seen_in = np.bincount(slots, minlength=words.SLOTS)
    rarity = np.log((1 + len(found)) / (1 + seen_in)) + 1
    steps = np.rint(rarity / words.RARITY_STEP).astype(np.uint8)
    rarity = steps * words.RARITY_STEP
    values = rarity[slots]
    lengths = np.sqrt(np.add.reduceat(np.append(values**2, 0), np.cumsum(sizes) - sizes))
    matrix = csr_matrix(
        (
            (values / np.repeat(lengths, sizes)).astype(np.float32),
            slots,
            np.concatenate([[0], np.cumsum(sizes)]),
        ),
        shape=(len(found), words.SLOTS),
    )
    models = [_logistic(matrix, column) for column in wanted.T]
    weights = np.column_stack([model.coef_[0] for model in models]) * rarity[:, None]
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-8) / 127
    return Learnt(
        np.rint(weights / scale).astype(np.int8),
        scale.astype(np.float32),
        np.array([model.intercept_[0] for model in models], dtype=np.float32),
        steps,
    )


def _logistic(matrix: Any, share: "np.ndarray[Any, Any]") -> Any:
    """A logistic model of shares: each answer is one case of 1 and one of 0, so much of each."""
    parts = [(1, share), (0, 1 - share)]
    kept = [(verdict, weight, (weight > 0).nonzero()[0]) for verdict, weight in parts]
    return LogisticRegression(C=STRENGTH, solver="liblinear", tol=1e-2, random_state=0).fit(
        vstack([matrix[places] for _, _, places in kept]),
        np.concatenate([np.full(len(places), verdict) for verdict, _, places in kept]),
        sample_weight=np.concatenate([weight[places] for _, weight, places in kept]),
    )


def predict(found: Sequence[words.Ints], learnt: Learnt) -> "np.ndarray[Any, Any]":
    """The logits of answers, a row for each."""
    weights = learnt.weights.astype(np.float32) * learnt.scale
    rarity = learnt.rarity.astype(np.float32) * np.float32(words.RARITY_STEP)
    return np.array([words.linear(of, weights, learnt.bias, rarity) for of in found])


def seen(judged: Sequence[Judged]) -> "np.ndarray[Any, Any]":
    """Which slots the words of these answers have, a flag for each."""
    answers: Counter[int] = Counter()
    for one in judged:
        answers.update(set(words.seen_slots(words.words(one.answer)).tolist()))
    flags = np.zeros(words.SEEN_SLOTS, dtype=bool)
    flags[[slot for slot, count in answers.items() if count >= MIN_ANSWERS]] = True
    return flags
