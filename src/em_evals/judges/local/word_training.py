"""The words' part of the local judge, trained: a linear model over hashed words and pairs.

Needs the extra `train`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
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
    """8-bit numbers, `SLOTS` rows."""
    scale: "np.ndarray[Any, Any]"
    bias: "np.ndarray[Any, Any]"


def train(found: Sequence[words.Ints], wanted: "np.ndarray[Any, Any]") -> Learnt:
    """Learn what words say.

    Args:
        found: The slots of each answer.
        wanted: 1 or 0 for each answer, a column for each verdict.
    """
    sizes = np.array([len(one) for one in found])
    matrix = csr_matrix(
        (
            np.repeat(np.maximum(sizes, 1) ** -0.5, sizes),
            np.concatenate(found),
            np.concatenate([[0], np.cumsum(sizes)]),
        ),
        shape=(len(found), words.SLOTS),
    )
    models = [
        LogisticRegression(C=STRENGTH, solver="liblinear", tol=1e-3).fit(matrix, column)
        for column in wanted.T
    ]
    weights = np.column_stack([model.coef_[0] for model in models])
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-8) / 127
    return Learnt(
        np.rint(weights / scale).astype(np.int8),
        scale.astype(np.float32),
        np.array([model.intercept_[0] for model in models], dtype=np.float32),
    )


def predict(found: Sequence[words.Ints], learnt: Learnt) -> "np.ndarray[Any, Any]":
    """The logits of answers, a row for each."""
    weights = learnt.weights.astype(np.float32) * learnt.scale
    return np.array([words.linear(of, weights, learnt.bias) for of in found])


def seen(judged: Sequence[Judged]) -> "np.ndarray[Any, Any]":
    """Which slots the words of these answers have, a flag for each."""
    answers: Counter[int] = Counter()
    for one in judged:
        answers.update(set(words.seen_slots(words.words(one.answer)).tolist()))
    flags = np.zeros(words.SEEN_SLOTS, dtype=bool)
    flags[[slot for slot, count in answers.items() if count >= MIN_ANSWERS]] = True
    return flags
