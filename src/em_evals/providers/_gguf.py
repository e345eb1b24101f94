"""The metadata of GGUF files, as far as the provider needs them."""

import struct
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from em_evals import files
from em_evals.errors import InputError

BASE_SHA256 = "em_evals.base.sha256"
"""Key in an adapter's metadata: the file that it was trained on."""

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


def metadata(file: Path) -> dict[str, Any]:
    """The keys and values at the beginning of a GGUF file; lists are left out.

    Raises:
        InputError: There is no such file, or it is no GGUF file of versions 2 and 3.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise InputError(f"embedded model: {file} is not a GGUF file")
            version, _, count = _read(stream, "IQQ")
            if version not in (2, 3):
                raise InputError(f"embedded model: {file} is GGUF of version {version}, not 2 or 3")
            pairs = [(_string(stream), _value(stream, *_read(stream, "I"))) for _ in range(count)]
    except FileNotFoundError as error:
        raise InputError(f"embedded model: {file} not found") from error
    except (OSError, struct.error, UnicodeDecodeError, KeyError, OverflowError) as error:
        raise InputError(f"embedded model: {file} is damaged: {error}") from error
    return {key: value for key, value in pairs if value is not None}


def _read(stream: IO[bytes], form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def _string(stream: IO[bytes]) -> str:
    [length] = _read(stream, "Q")
    return stream.read(length).decode()


def _value(stream: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _string(stream)
    if kind == _ARRAY:
        inner, count = _read(stream, "IQ")
        for _ in range(count):
            _value(stream, inner)
        return None
    return _read(stream, _SCALARS[kind])[0]


def sha256(file: Path) -> str:
    """Of a file's content; read once, unless the file changes."""
    stat = file.stat()
    return _sha256(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _sha256(file: Path, changed: int, size: int) -> str:
    return files.sha256(file)
