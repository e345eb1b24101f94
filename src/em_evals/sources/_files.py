"""Digests of files and streams, and writing a file so that it appears whole or not at all."""

import hashlib
import os
from pathlib import Path
from typing import IO, NamedTuple

_CHUNK = 1 << 20  # bytes


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


def flush(stream: IO[bytes]) -> None:
    """Put what was written on the disk, so that a rename cannot outlive its content."""
    stream.flush()
    os.fsync(stream.fileno())


def install(stream: IO[bytes], target: Path, expected: Digest) -> Digest | None:
    """Write a stream to `target`, if it has the content expected: whole, or not at all.

    Args:
        stream: The content.
        target: The file to make or replace; the caller holds its lock.
        expected: The content to insist on.

    Returns:
        The digest of the stream, None if it is longer than expected. Unless it equals
        `expected`, nothing was changed.

    Raises:
        OSError: The file cannot be written.
    """
    part = target.with_name(f"{target.name}.new.part")
    try:
        with part.open("wb") as sink:
            found = copy(stream, sink, most=expected.bytes)
            flush(sink)
        if found == expected:
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return found
