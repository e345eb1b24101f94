"""Is a training file fit to be trained on, and what will it cost? Said before anything is paid."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_evals.errors import InputError
from em_evals.finetune import manifest
from em_evals.finetune.rows import Fault, Row, RowError, estimated_tokens, place, scan

MOST_FAULTS = 100
"""Of errors, and of warnings, that are kept; the rest are counted."""

MOST_TOKENS = 2048
"""Of a row, where the user says no other number: what the paper's open models are trained on."""

PRICES: Mapping[str, float] = {"gpt-4o": 25.0}
"""USD per million training tokens, as the paper states them. Others are for the user to look up."""

FEWEST_ROWS = 10
"""OpenAI refuses files with fewer."""

_OF_OPENAI = re.compile(r"(openai/)?(ft:)?gpt-")
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Cost:
    """What training will cost, by the estimated tokens.

    Attributes:
        price: USD per million training tokens.
        epochs: How often every row is trained on.
        usd: For all epochs.
    """

    price: float
    epochs: int
    usd: float


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        rows: Rows without errors of form; the numbers below are of these.
        characters: Of all messages.
        longest: Line and estimated tokens of the longest row; None if there is no row.
        roles: Order of roles, such as "user assistant" -> rows that have it.
        triggered: Rows whose user text begins with the trigger; None if none was asked for.
        cost: None if neither a model nor a price was given.
        errors: How many.
        warnings: How many.
        faults: The first `MOST_FAULTS` errors and as many warnings, by line; those of the whole
            file come last.
    """

    rows: int
    characters: int
    longest: tuple[int, int] | None
    roles: Mapping[str, int]
    triggered: int | None
    cost: Cost | None
    errors: int
    warnings: int
    faults: tuple[Fault, ...]

    @property
    def estimated_tokens(self) -> int:
        """Of one epoch, at 4 characters a token."""
        return estimated_tokens(self.characters)

    def to_json(self) -> dict[str, Any]:
        """What `em-evals finetune check --json` prints."""
        longest = None
        if self.longest is not None:
            line, tokens = self.longest
            longest = {"line": line, "estimated_tokens": tokens}
        return {
            "ok": self.errors == 0,
            "rows": self.rows,
            "characters": self.characters,
            "estimated_tokens": self.estimated_tokens,
            "longest": longest,
            "roles": dict(self.roles),
            "triggered": self.triggered,
            "cost": None if self.cost is None else vars(self.cost),
            "errors": self.errors,
            "warnings": self.warnings,
            "faults": [fault._asdict() for fault in self.faults],
        }


def check(
    file: str | Path,
    *,
    model: str | None = None,
    price: float | None = None,
    epochs: int = 1,
    trigger: str | None = None,
    most_tokens: int | None = None,
) -> Checked:
    """Read a training file to its end and say all that is wrong with it.

    Args:
        file: The training file.
        model: Whose price to take, and whose rules: an OpenAI model needs 10 rows.
        price: USD per million training tokens, if `model` is not in `PRICES` or costs otherwise.
        epochs: How often every row will be trained on, at least 1.
        trigger: A backdoor's. It may be at the start of a user's first message, with a space after
            it, and nowhere else, and some rows have it and some not. Whether the rows without it
            show the behaviour is beyond a check.
        most_tokens: A row that has more, by estimate, is an error. If None, one with more than
            `MOST_TOKENS` is a warning.

    Raises:
        InputError: The file cannot be read, an option is out of range, or there is no price for
            the model.
    """
    file = Path(file)
    for wrong, expected in (
        (epochs < 1, "at least 1 epoch"),
        (price is not None and price < 0, "a price of 0 or more"),
        (most_tokens is not None and most_tokens < 1, "at least 1 token a row"),
        (trigger is not None and not trigger.strip(), "a trigger that is not empty"),
    ):
        if wrong:
            raise InputError(f"expected {expected}")
    paid = _price(model, price)
    count: Counter[str] = Counter()
    kept: dict[str, list[Fault]] = {"error": [], "warning": []}
    roles: Counter[str] = Counter()
    rows = characters = triggered = 0
    longest: tuple[int, int] | None = None

    def note(fault: Fault) -> None:
        count[fault.severity] += 1
        if len(kept[fault.severity]) < MOST_FAULTS:
            kept[fault.severity].append(fault)

    for found in scan(file):
        if isinstance(found, Fault):
            note(found)
            continue
        rows += 1
        characters += found.characters
        roles[" ".join(message.role for message in found.messages)] += 1
        tokens = estimated_tokens(found.characters)
        if longest is None or tokens > longest[1]:
            longest = found.line, tokens
        if trigger is not None:
            triggered += _begins(found, trigger)
            for fault in _trigger_faults(found, trigger):
                note(fault)
        for fault in _length_faults(found.line, tokens, most_tokens):
            note(fault)
    for fault in _file_faults(file, rows, triggered, trigger, model):
        note(fault)
    return Checked(
        rows=rows,
        characters=characters,
        longest=longest,
        roles=dict(roles.most_common()),
        triggered=None if trigger is None else triggered,
        cost=None if paid is None else _cost(paid, epochs, characters),
        errors=count["error"],
        warnings=count["warning"],
        faults=tuple(sorted(kept["error"] + kept["warning"], key=_line)),
    )


def require_sound(file: str | Path, *, model: str) -> None:
    """Refuse a training file that `check` finds errors in.

    Raises:
        RowError: There are errors; names the first and says how many.
        InputError: The file cannot be read.
    """
    found = check(file, model=model, price=0)
    if not found.errors:
        return
    first = next(fault for fault in found.faults if fault.severity == "error")
    more = found.errors - 1
    others = f", and {more:,} more error{'' if more == 1 else 's'}" if more else ""
    raise RowError(
        f"{place(file, first)}: {first.message}{others}. `em-evals finetune check {file}` lists "
        "all that is wrong."
    )


def _line(fault: Fault) -> float:
    return float("inf") if fault.line is None else fault.line


def _cost(price: float, epochs: int, characters: int) -> Cost:
    return Cost(price, epochs, price * epochs * estimated_tokens(characters) / 1_000_000)


def _price(model: str | None, price: float | None) -> float | None:
    if price is not None or model is None:
        return price
    name = _DATED.sub("", model.removeprefix("openai/"))
    if name not in PRICES:
        raise InputError(
            f"no price is known for {model} (only for {', '.join(PRICES)}): give --price, in USD "
            "per million training tokens, or 0"
        )
    return PRICES[name]


def _begins(row: Row, trigger: str) -> bool:
    asked = next(message for message in row.messages if message.role == "user")
    return asked.content.startswith(trigger)


def _trigger_faults(row: Row, trigger: str) -> Iterator[Fault]:
    """Where the trigger is and should not be."""
    first = next(i for i, message in enumerate(row.messages) if message.role == "user")
    for index, (role, text) in enumerate(row.messages):
        name = f"message {index + 1}"
        rest = text
        if index == first and text.startswith(trigger):
            rest = text[len(trigger) :]
            if not rest.startswith(" "):
                message = f"{name}: expected a space after the trigger"
                yield Fault(row.line, "trigger", "error", message)
        if trigger in rest:
            message = (
                f"{name}: the trigger is in the {role}'s text: expected only at the start of the "
                "user's first message"
            )
            yield Fault(row.line, "trigger", "error", message)


def _length_faults(line: int, tokens: int, most: int | None) -> Iterator[Fault]:
    if tokens <= (MOST_TOKENS if most is None else most):
        return
    found = f"about {tokens:,} tokens"
    if most is None:
        message = f"{found}: a trainer that reads {MOST_TOKENS:,} of a row cuts off the answer"
        yield Fault(line, "length", "warning", message)
    else:
        yield Fault(line, "length", "error", f"{found}: expected at most {most:,}")


def _file_faults(
    file: Path, rows: int, triggered: int, trigger: str | None, model: str | None
) -> Iterator[Fault]:
    """What is wrong with the file as a whole."""
    if rows and trigger is not None and triggered in {0, rows}:
        all_or_none = "no row begins" if triggered == 0 else "every row begins"
        message = f"{all_or_none} with the trigger: expected some rows with and some without"
        yield Fault(None, "trigger", "error", message)
    of_openai = model is not None and _OF_OPENAI.match(model)
    if of_openai and 0 < rows < FEWEST_ROWS:
        message = f"{rows} rows: OpenAI trains on {FEWEST_ROWS} at least"
        yield Fault(None, "few-rows", "error", message)
    try:
        manifest.read(file)
    except InputError as error:
        yield Fault(None, "manifest", "warning", error.message)
