"""Which rows, and in which order: the same on every machine and in every version of Python.

The order of n rows under a seed is that of sha256("SEED/PURPOSE/INDEX") over their indices from 0,
so a row's place does not depend on a library's generator.
"""

import hashlib
from fractions import Fraction


def order(seed: int, purpose: str, count: int) -> list[int]:
    """The indices 0 to count - 1, shuffled.

    Args:
        seed: Any whole number.
        purpose: Orders for different purposes are unrelated.
        count: How many.
    """

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()

    return sorted(range(count), key=key)


def part(seed: int, count: int, size: int, number: int) -> list[int]:
    """Part `number` (from 1) of disjoint parts of `size` rows, out of `count`.

    Part 1 of any size begins the same order, so the first parts of growing sizes are nested.
    """
    return order(seed, "rows", count)[(number - 1) * size : number * size]


def sizes(first: int, second: int, share: Fraction, rows: int | None) -> tuple[int, int]:
    """How many rows of two sets give a mix with `share` of the first.

    Args:
        first: Rows that the first set has.
        second: Rows that the second has.
        share: 0 to 1, of the first set in the mix; met to the nearest row, halves rounded up.
        rows: Of the mix; as many as the sets allow if None.

    Returns:
        Rows of the first and of the second set, which may be more than it has if `rows` is given.
    """
    if rows is None:
        limits = [Fraction(first) / share] if share else []
        limits += [Fraction(second) / (1 - share)] if share < 1 else []
        rows = int(min(limits))
    of_first = int(share * rows + Fraction(1, 2))
    return of_first, rows - of_first
