"""Files that appear whole or not at all, and what a file is known by."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from em_evals.errors import InputError


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A place beside a file; what is written there becomes the file if all goes well.

    It is on the disk before it takes the file's place, with the old file's permissions if there was
    one. A link stays one. Whoever ends in an error leaves everything as it was.

    Args:
        file: To be made or replaced; its folder exists.

    Raises:
        OSError: It cannot be written; its `filename` is the file's.
    """
    target = Path(os.path.realpath(file))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        flush(part)
        if target.exists():
            part.chmod(target.stat().st_mode)
        part.replace(target)
    except OSError as error:
        if str(error.filename) == str(part):
            error.filename = str(file)  # the one that is known to whoever reads the message
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Says in one line why files cannot be written.

    Args:
        place: What is written, for errors that do not say it.

    Raises:
        InputError: The disk is full, the directory read-only, a file in the way.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise InputError(f"{where}: cannot be written: {error.strerror or error}") from error


def flush(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk, so that no rename outlives its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(file: Path) -> str:
    """Of a file's content, in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
