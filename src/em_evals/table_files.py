"""Rows of CSV, JSONL and parquet files, read one at a time."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from em_evals.errors import InputError

MAX_CELL = 1 << 30
"""Characters of a CSV cell; the library's own limit of 128 kB is less than some answers."""

HALF = re.compile("[\ud800-\udfff]")
"""Half a character: JSON can write it alone, no other file can."""


class Row(NamedTuple):
    """One row of a table."""

    where: str
    """The file and the line (or row) in it, for errors."""
    cells: dict[str, Any]
    """Cells by column: texts from CSV, values from JSONL and parquet."""


def rows(file: Path, encoding: str = "utf-8") -> Iterator[Row]:
    """The rows of a file, whose kind its name tells.

    A byte order mark at the start is no part of the first column's name. Columns of one name are
    told apart as pandas does: the second `answer` is `answer.1`.

    Args:
        file: A `.csv`, `.jsonl` or `.parquet` file.
        encoding: Of CSV and JSONL.

    Raises:
        InputError: (while reading) The file is of another kind, or a line of it cannot be read.
    """
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    if file.suffix.lower() not in readers:
        raise InputError(f"{file}: expected a .csv, .jsonl or .parquet file")
    # this codec is utf-8 that skips a byte order mark
    encoding = "utf-8-sig" if encoding.lower() in {"utf-8", "utf8"} else encoding
    try:
        yield from readers[file.suffix.lower()](file, encoding)
    except UnicodeError as error:
        advice = "name its encoding, such as --encoding latin-1, cp1252 or utf-16"
        raise InputError(
            f"{file}: not {encoding.removesuffix('-sig')} ({error}); {advice}"
        ) from error
    except LookupError as error:
        raise InputError(f"--encoding {encoding}: no such encoding") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def unique(names: Sequence[str]) -> list[str]:
    """Names of which none occurs twice: the second `answer` becomes `answer.1`."""
    taken = set(names)
    done: dict[str, None] = {}
    for name in names:
        new, n = name, 0
        while new in done or (n and new in taken):
            n += 1
            new = f"{name}.{n}"
        done[new] = None
    return list(done)


def _csv_rows(file: Path, encoding: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL)
    with file.open(encoding=encoding, newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            header = next(reader, None)
            if not header:
                raise InputError(f"{file}: empty; expected a line of column names and rows")
            columns = unique([name or f"column_{i}" for i, name in enumerate(header, start=1)])
            for cells in reader:
                where = f"{file}: line {reader.line_num}"
                if not cells:  # an empty line
                    continue
                if len(cells) != len(columns):
                    raise InputError(
                        f"{where}: {len(cells)} cells under {len(columns)} columns; is a comma or "
                        "a quote inside a text not quoted?"
                    )
                yield Row(where, dict(zip(columns, cells, strict=True)))
        except csv.Error as error:
            raise InputError(f"{file}: line {reader.line_num}: not CSV: {error}") from error


def _jsonl_rows(file: Path, encoding: str) -> Iterator[Row]:
    with file.open(encoding=encoding, newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{file}: line {number}"
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: not JSON: {error}") from error
            if not isinstance(cells, dict):
                raise InputError(f"{where}: expected an object, found {line.strip()[:60]}")
            if "\\ud" in line.lower() and HALF.search(json.dumps(cells, ensure_ascii=False)):
                raise InputError(f"{where}: a text holds half a character (\\ud800 to \\udfff)")
            yield Row(where, {name or "column_1": value for name, value in cells.items()})


def _parquet_rows(file: Path, encoding: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            columns = unique(table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=2000):
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    row = dict(zip(columns, cells, strict=True))
                    yield Row(f"{file}: row {number}", row)
    except pa.ArrowException as error:
        raise InputError(f"{file}: not readable as parquet: {error}") from error
