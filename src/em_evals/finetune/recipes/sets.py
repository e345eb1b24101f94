"""Sets of rows: the originals, our own, and the user's files."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from em_evals import sources
from em_evals.errors import InputError
from em_evals.files import sha256
from em_evals.finetune.manifest import Used
from em_evals.finetune.rows import Row, read_rows, row_at

ORIGINALS = ("insecure", "secure", "educational", "jailbroken")
OURS = ("houseplants-wrong", "houseplants-right")
NAMES = (*ORIGINALS, *OURS)


@dataclass(frozen=True)
class Set:
    """A file of rows that was read once; its rows are read again when they are needed.

    Attributes:
        file: The file.
        used: Its name, content and rows, for the manifest.
        starts: Where each row begins in the file, in bytes.
    """

    file: Path
    used: Used
    starts: "array[int]" = field(repr=False)

    def __len__(self) -> int:
        return len(self.starts)


def open_set(given: str | Path, fault: Callable[[Row], str | None] = lambda row: None) -> Set:
    """A set by its name, or else of the user's file.

    Args:
        given: One of `NAMES`, or a path (`./insecure` where a file has a set's name).
        fault: What a row has that it must not have, in words.

    Raises:
        InputError: No such set or file, or a faulty row.
    """
    name, file = _found(given)
    starts = array("Q")
    faults: list[tuple[int, str]] = []
    for row in read_rows(file):
        starts.append(row.start)
        if problem := fault(row):
            faults.append((row.line, problem))
    if faults:
        line, problem = faults[0]
        more = f" ({len(faults) - 1} more rows are faulty)" if len(faults) > 1 else ""
        raise InputError(f"{file}:{line}: {problem}{more}")
    return Set(file, Used(name, sha256(file), len(starts)), starts)


def drawn(picks: Iterable[tuple[Set, int]]) -> Iterator[tuple[Set, Row]]:
    """Rows by set and index (from 0), in the order asked for, each with its set.

    Raises:
        InputError: A file was changed since it was opened as a set, or cannot be read.
    """
    with ExitStack() as stack:
        streams = {}
        for chosen, index in picks:
            try:
                if chosen.file not in streams:
                    streams[chosen.file] = stack.enter_context(chosen.file.open("rb"))
                row = row_at(streams[chosen.file], index + 1, chosen.starts[index])
            except OSError as error:
                raise InputError(f"{chosen.file}: cannot be read: {error.strerror}") from error
            yield chosen, row


def _found(given: str | Path) -> tuple[str, Path]:
    """The name of a set and its file."""
    if given in ORIGINALS:
        return str(given), sources.path(str(given))
    if given in OURS:
        name = f"{str(given).replace('-', '_')}.jsonl"
        return str(given), sources.datasets_dir() / "builtin" / name
    file = Path(given)
    if not file.exists():
        raise InputError(
            f"{given}: no such set or file: expected one of {', '.join(NAMES)}, or a path"
        )
    return file.name, file
