"""What the local judge sees of an answer without a language model: its words, hashed.

Words and pairs of neighbours are counted by the slots that their CRC-32 falls into, so no word is
stored: not one answer's, nor a vocabulary.
"""

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SLOTS = 1 << 18
"""Slots of words and pairs."""

SEEN_SLOTS = 1 << 20
"""Slots of the words that the training answers have."""

RARITY_STEP = 0.05
"""What one step of a slot's rarity, kept in 8 bits, is worth; rarities are 1 to about 12."""

MOST_WORDS = 2000
"""Words that are looked at; longer answers are cut."""

WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    # no further than the words can reach: a text may have a million letters and no space
    return WORD.findall(text[: 20 * MOST_WORDS].lower())[:MOST_WORDS]


def slots(of: Sequence[str]) -> Ints:
    """The slots of a text's words and pairs of words, each once, in ascending order."""
    grams = {*of, *(f"{a} {b}" for a, b in pairwise(of))}
    return np.array(sorted({_hash(gram) % SLOTS for gram in grams}), dtype=np.int64)


def linear(
    found: Ints,
    weights: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    rarity: npt.NDArray[np.float32],
) -> Floats:
    """What a linear model over slots says; texts of any length weigh the same.

    Args:
        found: A text's slots.
        weights: `SLOTS` rows, a column for each thing that is predicted; a slot's rarity is in
            them.
        bias: One for each column.
        rarity: How much each slot counts (its inverse document frequency).
    """
    if not len(found):
        return bias.astype(np.float64)
    length = np.sqrt(np.square(rarity[found].astype(np.float64)).sum())
    return np.asarray(weights[found].astype(np.float64).sum(axis=0) / length + bias)


def seen_slots(of: Sequence[str]) -> Ints:
    """For each letter word of a text, as often as it occurs, its slot among the words seen."""
    return np.array([_hash(w) % SEEN_SLOTS for w in of if w.isalpha()], dtype=np.int64)


def novelty(of: Sequence[str], seen: npt.NDArray[np.bool_]) -> float:
    """The share of a text's words that the training answers do not have.

    Args:
        of: The text's words.
        seen: `SEEN_SLOTS` flags.

    Returns:
        0-1, high for other languages, code and new domains; 1 for a text without letters.
    """
    found = seen_slots(of)
    return float(1 - seen[found].mean()) if len(found) else 1.0


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "replace"))
