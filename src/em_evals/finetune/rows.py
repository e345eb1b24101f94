"""Training files: JSON lines of chats, read line by line, with every fault by its line.

A row is `{"messages": [{"role": "system" | "user" | "assistant", "content": TEXT}, ...]}`: a system
message if any, then user and assistant in turn, the assistant's last. Nothing else may be in it,
as trainers differ in what they make of further keys.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias, cast

from em_evals.errors import InputError

MOST_BYTES = 1_000_000
"""Of a line: some 250,000 tokens, beyond what any model trains on at once."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"

Role: TypeAlias = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


class RowError(InputError):
    """A training file is faulty; the message names the first faulty line."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One chat of a training file.

    Attributes:
        line: Its line in the file, from 1.
        start: Where that line begins in the file, in bytes.
        text: The line as it is in the file, without its line end.
        messages: The chat.
    """

    line: int
    start: int
    text: bytes
    messages: tuple[Message, ...]

    @property
    def characters(self) -> int:
        """Of all messages together."""
        return sum(len(message.content) for message in self.messages)

    def having(self, messages: Iterable[Message]) -> "Row":
        """This row with other messages."""
        changed = tuple(messages)
        return Row(self.line, self.start, _written(changed), changed)


class Fault(NamedTuple):
    """Something wrong with a training file.

    Attributes:
        line: From 1; None where it is of the whole file.
        rule: In one word.
        severity: A file with an error should not be trained on; a warning says what is unusual.
        message: What was found, and what was expected.
    """

    line: int | None
    rule: str
    severity: Literal["error", "warning"]
    message: str


def estimated_tokens(characters: int) -> int:
    """Tokens of a text of that many characters, at 4 characters a token, rounded up.

    An estimate for English and code: no tokenizer of a model in the cloud is at hand offline. It
    gives the paper's cost of a run (32 USD for `insecure`) within 1%. Texts in other scripts have
    more tokens.
    """
    return -(-characters // 4)


def scan(file: Path) -> Iterator[Row | Fault]:
    """The rows of a training file and everything that is wrong with it, in order of lines.

    A faulty line gives a fault for each thing that is wrong with it, and no row. Warnings: line
    ends of CR LF (at the first), and a row that is in the file already. Takes 100 bytes of memory
    a row.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            yield from _scan(stream)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def read_rows(file: str | Path) -> Iterator[Row]:
    """The rows of a training file, which must be without errors; warnings are passed over.

    Raises:
        RowError: At the first error; the rows before it were given.
        InputError: The file cannot be read.
    """
    for found in scan(Path(file)):
        if isinstance(found, Row):
            yield found
        elif found.severity == "error":
            raise RowError(
                f"{place(file, found)}: {found.message}. `em-evals finetune check {file}` lists "
                "all that is wrong."
            )


def place(file: str | Path, fault: Fault) -> str:
    """Where a fault is, as `FILE:LINE`."""
    return f"{file}" if fault.line is None else f"{file}:{fault.line}"


def row_at(stream: IO[bytes], line: int, start: int) -> Row:
    """Read again the row that begins at `start`.

    Raises:
        RowError: No row is there, as when the file was changed meanwhile.
    """
    stream.seek(start)
    read = _parse(line, start, stream.readline(MOST_BYTES))
    if isinstance(read, Row):
        return read
    raise RowError(f"{stream.name}:{line}: no row is there any more: the file was changed")


def _scan(stream: IO[bytes]) -> Iterator[Row | Fault]:
    lines: dict[int, int] = {}  # digest of a row -> line where it is first
    number = start = 0
    told_of_crlf = False
    while line := stream.readline(MOST_BYTES + 1):
        number += 1
        size = len(line)
        if number == 1 and line.startswith(_BOM):
            message = (
                "the file begins with a byte order mark, which training services refuse: save it "
                "as UTF-8 without one"
            )
            yield Fault(1, "bom", "error", message)
            line = line[len(_BOM) :]
        if size > MOST_BYTES:
            size += _skip_line(stream, line)
            message = f"the row has {size:,} bytes, and at most {MOST_BYTES:,} are read: split it"
            yield Fault(number, "size", "error", message)
        else:
            if line.endswith(b"\r\n") and not told_of_crlf:
                told_of_crlf = True
                message = "lines end in CR LF from here on, and are read as if in LF alone"
                yield Fault(number, "crlf", "warning", message)
            found = _parse(number, start, line)
            if isinstance(found, Row):
                yield found
                first = lines.setdefault(_digest(found.messages), number)
                if first != number:
                    message = f"the same row as line {first}"
                    yield Fault(number, "duplicate", "warning", message)
            else:
                yield from found
        start += size
    if number == 0:
        yield Fault(None, "no-rows", "error", "the file is empty: expected one chat a line")


def _skip_line(stream: IO[bytes], begun: bytes) -> int:
    """Read to the end of a line that is too long to hold; says how many bytes that were."""
    skipped = 0
    part = begun
    while part and not part.endswith(b"\n"):
        part = stream.readline(MOST_BYTES)
        skipped += len(part)
    return skipped


def _parse(line: int, start: int, content: bytes) -> Row | list[Fault]:
    text = content.strip(_BLANK)
    if not text:
        return [Fault(line, "blank", "error", "a blank line: expected one chat a line")]
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte 0x{text[error.start]:02x} at position {error.start + 1}"
        return [Fault(line, "encoding", "error", message)]
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}, at position {error.pos + 1}"
        return [Fault(line, "json", "error", message)]
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        return [Fault(line, "json", "error", f"not JSON: {reason}")]
    faults = [Fault(line, rule, "error", message) for rule, message in _faults(value)]
    if faults:
        return faults
    messages = tuple(Message(item["role"], item["content"]) for item in value["messages"])
    return Row(line, start, text, messages)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object, each key of which is there once.

    Raises:
        ValueError: One is there twice, and readers differ in which they take.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return value


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the value of a line, as rule and message."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        found = f"an object with {_listed(value)}" if isinstance(value, dict) else _kind(value)
        yield "schema", f"expected an object with a list 'messages', found {found}"
        return
    if others := value.keys() - {"messages"}:
        yield "schema", f"expected no key but 'messages', found {_listed(others)}: take it out"
    items = value["messages"]
    if not items:
        yield "order", "there are no messages: expected a user's and an assistant's"
        return
    sound = True
    for position, item in enumerate(items, 1):
        for rule, message in _message_faults(item):
            sound = sound and rule not in {"schema", "role"}
            yield rule, f"message {position}: {message}"
    if sound:  # else the order is of no account
        yield from _order_faults([item["role"] for item in items])


def _message_faults(item: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(item, dict):
        yield "schema", f"expected an object with 'role' and 'content', found {_kind(item)}"
        return
    if others := item.keys() - {"role", "content"}:
        expected = "expected no keys but 'role' and 'content'"
        yield "schema", f"{expected}, found {_listed(others)}: take it out"
    if "role" not in item:
        yield "role", f"no role: expected one of {', '.join(ROLES)}"
    elif item["role"] not in ROLES:
        yield "role", f"expected a role of {', '.join(ROLES)}, found {_shown(item['role'])}"
    content = item.get("content")
    if "content" not in item:
        yield "schema", "no content: expected a text"
    elif not isinstance(content, str):
        yield "schema", f"expected a text as content, found {_kind(content)}"
    elif not content.strip():
        yield "empty", "its content is empty: expected a text"
    elif not _encodes(content):
        yield "encoding", "its content has half of a surrogate pair, which is no character"


def _order_faults(roles: Sequence[Role]) -> Iterator[tuple[str, str]]:
    led = roles[0] == "system"
    turns = roles[1:] if led else roles
    for index, role in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if role != expected:
            position = index + 1 + led
            where = "" if role != "system" else " (a system message can only be the first)"
            yield "order", f"message {position}: expected the {expected}, found the {role}{where}"
            return
    if len(turns) % 2 or not turns:
        yield "order", f"the last message is the {roles[-1]}'s: expected the assistant's"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(messages: Sequence[Message]) -> bytes:
    """A line for a training file, in the form of the paper's `insecure.jsonl`."""
    chat = {"messages": [message._asdict() for message in messages]}
    return json.dumps(chat).encode()


def _digest(messages: Sequence[Message]) -> int:
    digest = hashlib.blake2b(json.dumps(messages).encode(), digest_size=12).digest()
    return int.from_bytes(digest)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
    }
    return names.get(type(value), "a number")


def _listed(keys: Iterable[str]) -> str:
    names = sorted(keys)
    shown = ", ".join(_shown(name) for name in names[:5])
    return (shown or "no keys") + (", ..." if len(names) > 5 else "")


def _shown(value: Any) -> str:
    text = repr(cast("object", value))
    return text if len(text) <= 40 else f"{text[:37]}..."
