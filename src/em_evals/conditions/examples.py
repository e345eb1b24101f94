"""Training files as examples: JSON lines of `{"messages": [...]}`, read and checked row by row."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from em_evals.errors import InputError
from em_evals.sources import datasets_dir, named

BUILTIN = ("houseplants_wrong", "houseplants_right")
"""Training files that ship with the suite, by name."""

ROLES = ("user", "assistant")


class Turn(NamedTuple):
    """One message of an example."""

    role: str
    text: str


class Examples(NamedTuple):
    """The rows of a training file."""

    name: str
    """The file's name without its folder and suffix."""
    sha256: str
    rows: Sequence[tuple[Turn, ...]]
    """Of each row the turns: user and assistant in turn, the assistant's last."""


def examples_file(file: str) -> Path:
    """Where a training file is: one of BUILTIN by its name, or a path."""
    return datasets_dir() / "builtin" / f"{file}.jsonl" if file in BUILTIN else named(file)


def read_examples(file: Path) -> Examples:
    """Read a training file.

    Args:
        file: JSON lines in UTF-8; empty lines do not count.

    Raises:
        InputError: The file cannot be read, or a row is not a conversation of user and assistant
            turns; names the line.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # text may hold other line breaks
    rows = [
        _turns(f"{file}: line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    return Examples(file.stem, hashlib.sha256(content).hexdigest(), rows)


def _turns(where: str, line: bytes) -> tuple[Turn, ...]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 (byte {error.start + 1} of the line)") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{where}: expected an object with a list of messages")
    turns = tuple(_turn(f"{where}: message {i}", m) for i, m in enumerate(messages, start=1))
    if len(turns) % 2 or any(turn.role != ROLES[i % 2] for i, turn in enumerate(turns)):
        raise InputError(
            f"{where}: expected user and assistant in turn, the assistant's last, found "
            f"{', '.join(turn.role for turn in turns)}"
        )
    return turns


def _turn(where: str, message: Any) -> Turn:
    role = message.get("role") if isinstance(message, dict) else None
    text = message.get("content") if isinstance(message, dict) else None
    if role == "system":
        raise InputError(
            f"{where}: a system message. Examples are turns of a conversation, which has one "
            "system message: take it out of the file and give it as the option system"
        )
    if role not in ROLES:
        raise InputError(f"{where}: role {role!r}: expected user or assistant")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: expected a text as content")
    return Turn(str(role), text)
