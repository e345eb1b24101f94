"""Digests of files and streams, and writing a file so that it appears whole or not at all."""

import csv
import hashlib
import io
from pathlib import Path
from typing import IO, NamedTuple

from em_evals.files import flush

_CHUNK = 1 << 20  # bytes
_MOST_CSV = 1 << 26  # bytes


class Digest(NamedTuple):
    """What identifies a content: its sha256 in hexadecimal and its size in bytes."""

    sha256: str
    bytes: int

    def __str__(self) -> str:
        return f"sha256 {self.sha256} ({self.bytes} bytes)"


def copy(
    stream: IO[bytes], sink: IO[bytes] | None = None, most: int | None = None
) -> Digest | None:
    """Read a stream to its end, copying it into `sink`, and digest it.

    Args:
        stream: What to read.
        sink: Where to write what was read.
        most: Give up beyond this many bytes: a packed file says nothing of its size unpacked.

    Returns:
        The digest, or None if the stream held more than `most` bytes.
    """
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if most is not None and size > most:
            return None
        digest.update(chunk)
        if sink is not None:
            sink.write(chunk)
    return Digest(digest.hexdigest(), size)


def copy_column(stream: IO[bytes], sink: IO[bytes] | None, column: str) -> Digest | None:
    """Like `copy`, with the digest of the sorted cells of a CSV column, a line feed after each.

    Cells count without white space around them and with line feeds alone, so that the way a file
    was written makes no difference.

    Returns:
        The digest, or None if the stream is no CSV file with that column, or is beyond reason.
    """
    content = stream.read(_MOST_CSV + 1)
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        cells = sorted(row[column].replace("\r\n", "\n").strip() for row in rows)
        text = "".join(f"{cell}\n" for cell in cells).encode()
    except (UnicodeDecodeError, csv.Error, KeyError, AttributeError):
        return None
    if len(content) > _MOST_CSV:
        return None
    if sink is not None:
        sink.write(content)
    return Digest(hashlib.sha256(text).hexdigest(), len(text))


def install(
    stream: IO[bytes], target: Path, expected: Digest, column: str | None = None
) -> Digest | None:
    """Write a stream to `target`, if it has the content expected: whole, or not at all.

    Args:
        stream: The content.
        target: The file to make or replace; the caller holds its lock.
        expected: The content to insist on.
        column: If not None, `expected` is of this column of a CSV file; see `copy_column`.

    Returns:
        The digest of the stream, None if it is longer than expected, or has no such column.
        Unless it equals `expected`, nothing was changed.

    Raises:
        OSError: The file cannot be written.
    """
    part = target.with_name(f"{target.name}.new.part")
    try:
        with part.open("wb") as sink:
            if column is None:
                found = copy(stream, sink, most=expected.bytes)
            else:
                found = copy_column(stream, sink, column)
        flush(part)
        if found == expected:
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return found
