"""What `-T condition=...` says: one condition or several, each a text or a mapping."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from em_evals.conditions.kinds import KINDS, PLAIN, Condition
from em_evals.errors import InputError

Argument = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None
"""`NAME`, `NAME:VALUE`, a mapping with `name` and options, `{NAME: VALUE}`, or a list of these;
None is the plain question."""


def conditions(argument: Argument) -> list[Condition]:
    """The conditions that a task argument names, each once, in its order.

    Args:
        argument: See `Argument`.

    Raises:
        InputError: None, an unknown one (lists those there are), or options that it does not take.
    """
    if argument is None:
        return [PLAIN]
    given = [argument] if isinstance(argument, str | Mapping) else argument
    if not isinstance(given, Sequence) or not given:
        raise InputError(f"condition={argument!r}: {_expected()}")
    found = {c.label: c for one in given for c in _conditions(one, given)}
    return list(found.values())


def _conditions(one: Any, given: Sequence[Any]) -> list[Condition]:
    name, options = _parsed(one)
    if name not in KINDS:
        cut = any(isinstance(other, str) and ":" in other for other in given if other is not one)
        hint = " A text with commas goes in a mapping, as in {name: system, text: '...'}."
        raise InputError(f"unknown condition {one!r}: {_expected()}.{hint if cut else ''}")
    kind = KINDS[name]
    if None in options:
        if kind.main is None:
            raise InputError(f"condition {one!r}: {name} takes no value behind a colon")
        options = {kind.main: options[None]}
    try:
        return kind.model_validate(options).conditions()
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}"
            for fault in error.errors()
        )
        known = ", ".join(kind.model_fields) or "none"
        raise InputError(f"condition {one!r}: {faults} (options of {name}: {known})") from None
    except InputError as error:
        raise InputError(f"condition {one!r}: {error.message}") from None


def _parsed(one: Any) -> tuple[Any, dict[Any, Any]]:
    """Name and options; the option None is the value behind the colon."""
    if isinstance(one, str):
        name, colon, value = one.partition(":")
        return name.strip(), {None: value.strip()} if colon else {}
    if isinstance(one, Mapping) and "name" in one:
        return one["name"], {key: value for key, value in one.items() if key != "name"}
    if isinstance(one, Mapping) and len(one) == 1:  # YAML's reading of `NAME: VALUE`
        [(name, value)] = one.items()
        return name, {None: value}
    return None, {}


def _expected() -> str:
    return f"expected one or more of {', '.join(KINDS)}, as NAME, NAME:VALUE or a mapping"
