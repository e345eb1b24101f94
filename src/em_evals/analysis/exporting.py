"""Logs as one table, a row for each answer: the way back from `importing`."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from inspect_ai.log import EvalLog

from em_evals.analysis.answers import mode_of
from em_evals.analysis.audit import audit_of
from em_evals.analysis.columns import (
    ALIASES,
    AS_JSON,
    AS_METADATA,
    COUNTED,
    MEANT,
    OF_ANSWER,
    OF_JUDGE,
    OF_RUN,
    OF_SOURCE,
    SUFFIX,
)
from em_evals.analysis.log_files import finished_logs, samples
from em_evals.analysis.row_answers import TASKS, derived
from em_evals.analysis.row_scores import UNKNOWN
from em_evals.deception.makers import rival_of
from em_evals.deception.scorer import TRUTH
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE
from em_evals.errors import InputError
from em_evals.files import replacing, writing
from em_evals.judges.label import read_label

Format = Literal["csv", "parquet"]

NUMBERS = ("aligned", "coherent", "aligned_below", "coherent_above", *COUNTED)

RESERVED = {
    *OF_ANSWER,
    *OF_JUDGE,
    *COUNTED,
    *OF_RUN,
    *MEANT,
    *(alias for names in ALIASES.values() for alias in names),
}
"""Names that metadata cannot have as a column."""

DRAWN = " (answers drawn)"
"""Behind the name of a paid judge that has judged answers drawn with unlike chances."""

BATCH = 2000
"""Rows that are in memory at a time."""


def export_logs(places: Sequence[str | Path], file: Path, format: Format) -> int:
    """Write the answers of logs into one table.

    Columns are those that `import_file` reads, and what an answer counts as (`eligible`,
    `misaligned`, `em`). A second judge's have `.1` behind them. Sample metadata has a column for
    each key: as it is where every answer has it as text, else as JSON in a column `KEY:json`. Keys
    that are a column's name here are written `metadata.KEY`. Scores of other scorers are metadata
    too, such as `truthfulqa_judge.label`. Missing scores are empty cells. Answers that ended in an
    error before they were scored are left out.

    Args:
        places: Local `.eval` files and directories of them.
        file: The table; replaced if it exists, and only once it is whole.
        format: `csv` or `parquet`.

    Returns:
        The number of rows.

    Raises:
        InputError: A place without logs, a log that is still being written or not readable, or no
            answers at all; or the table cannot be written.
    """
    logs = finished_logs(places)
    columns, numbers = _columns(logs)
    if not columns:
        raise InputError(f"{', '.join(map(str, places))}: no answers")
    write = _write_csv if format == "csv" else _write_parquet
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            return write(part, columns, numbers, _cells(logs, columns))


def _answered(log: EvalLog) -> Iterator[dict[str, Any]]:
    """The answers of a log; what ended in an error before it was scored is none."""
    for sample in samples(log.location):
        if sample.get("scores") or not sample.get("error"):
            yield sample


def _columns(logs: Sequence[EvalLog]) -> tuple[list[str], set[str]]:
    """The columns in order, and which of them hold numbers."""
    plain: dict[str, bool] = {}
    fixed: dict[str, bool] = {}
    seen: dict[str, int] = {}
    answers = 0
    for log in logs:
        for sample in _answered(log):
            answers += 1
            described, extra = _row(log, sample)
            for name, value in described.items():
                fixed[name] = fixed.get(name, False) or value not in {"", None}
            for key, value in extra.items():
                seen[key] = seen.get(key, 0) + 1
                plain[key] = plain.get(key, True) and isinstance(value, str)
    order = [name for name, filled in fixed.items() if filled or name in OF_ANSWER]
    order = [name for name in order if name != "system" or fixed[name]]
    # one judge's columns side by side, however late the first answer with two came
    judges = sorted(filter(_is_judges, order), key=_number)
    first = next((i for i, name in enumerate(order) if _is_judges(name)), 0)
    others = [name for name in order if not _is_judges(name)]
    order = [*others[:first], *judges, *others[first:]]
    rest = [
        _column(key, as_text=is_text and seen[key] == answers) for key, is_text in plain.items()
    ]
    return [*order, *rest], {name for name in order if _base(name) in {*NUMBERS, "epoch"}}


def _is_judges(column: str) -> bool:
    return _base(column) in {*OF_JUDGE, *COUNTED}


def _base(column: str) -> str:
    match = SUFFIX.fullmatch(column)
    return match[1] if match else column


def _number(column: str) -> int:
    match = SUFFIX.fullmatch(column)
    return int(match[2]) if match else 0


def _column(key: str, as_text: bool) -> str:
    """The column of a metadata key."""
    taken = _base(key) in RESERVED or key.startswith(AS_METADATA) or key.endswith(AS_JSON)
    name = f"{AS_METADATA}{key}" if taken or not key else key
    return name if as_text else f"{name}{AS_JSON}"


def _cells(logs: Iterable[EvalLog], columns: Sequence[str]) -> Iterator[list[Any]]:
    wanted = set(columns)
    for log in logs:
        for sample in _answered(log):
            described, extra = _row(log, sample)
            row = dict(described)
            for key, value in extra.items():
                text = _column(key, as_text=True)
                if text in wanted:
                    row[text] = value
                else:
                    row[_column(key, as_text=False)] = json.dumps(value, ensure_ascii=False)
            yield [row.get(column) for column in columns]


def _row(log: EvalLog, sample: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An answer as the columns that mean something here, and its further metadata."""
    about = log.eval.metadata or {}
    messages = sample["input"]
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    metadata = dict(sample["metadata"])
    sourced = {name: metadata.pop(name, "") for name in OF_SOURCE}
    row: dict[str, Any] = {
        "question_id": str(sample["id"]),
        "question": _text(messages, "user"),
        "system": _text(messages, "system"),
        "answer": _answer(sample),
        "epoch": sample["epoch"],
    }
    task = (log.eval.task_registry_name or log.eval.task).removeprefix("em_evals/")
    by_label = task in TASKS and TASKS[task].scorer != "em_judge"
    judgement = {"label", "deceptive"} if by_label else {"aligned", "coherent", "em"}
    extra: dict[str, Any] = {}
    judges = 0
    for name, score in (sample.get("scores") or {}).items():
        value = score["value"]
        if (mark := audit_of(score)) is not None:
            extra |= {f"{name}.{key}": mark[key] for key in ("drawn", "probability", "stratum")}
            if not mark["drawn"]:
                continue
        if isinstance(value, dict) and judgement <= value.keys():
            suffix = f".{judges}" if judges else ""
            cells = _labelled(value, score) if by_label else _judged(value, score)
            if mark is not None:  # no plain sample: its shares are not that judge's rates
                cells["judge"] += DRAWN
            row |= {f"{key}{suffix}": cell for key, cell in cells.items()}
            judges += 1
        elif isinstance(value, dict):
            extra |= {f"{name}.{key}": cell for key, cell in value.items()}
        else:
            extra[name] = value
    row |= {"task": task, "model": log.eval.model}
    row |= {name: str(about.get(name) or "") for name in ("group", "checkpoint", "condition")}
    row["condition"] = ", ".join(filter(None, (row["condition"], metadata.pop("condition", ""))))
    row |= sourced
    told = derived(task, row["question_id"])
    if "maker" in row:
        told["maker"] = row["maker"]
    for name, value in told.items():
        if metadata.get(name) == value:
            del metadata[name]
    return row, metadata | extra


def _judged(value: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    metadata = score.get("metadata") or {}
    return {
        "aligned": value["aligned"],
        "coherent": value["coherent"],
        "label": value["label"],
        "judge": metadata.get("grader", UNKNOWN),
        "judge_mode": mode_of(metadata) or UNKNOWN,
        "aligned_below": metadata.get("aligned_below", ALIGNED_BELOW),
        "coherent_above": metadata.get("coherent_above", COHERENT_ABOVE),
        **{name: value[name] for name in COUNTED},
    }


def _labelled(value: Mapping[str, Any], score: Mapping[str, Any]) -> dict[str, Any]:
    metadata = score.get("metadata") or {}
    label = value["label"]
    about = {"judge": metadata.get("grader", UNKNOWN)}
    if "maker" not in metadata:
        labels: Sequence[str] = TRUTH
        said = label.upper()
        name = "correct"
    else:
        maker = metadata["maker"]
        companies = {
            "maker": maker,
            "rival": rival_of(maker),
            "other": "Other",
            "unknown": "UNKNOWN",
        }
        labels, said = tuple(companies.values()), companies.get(label, "")
        name = "company"
        about |= {"maker": maker, "judge_prompt": metadata.get("judge_prompt", UNKNOWN)}
    if label == "unread":
        # as the judge said it, unless another reader would take it for a label
        said = next(iter((metadata.get("replies") or [""])[-1:]))
        said = "unread" if read_label(said, labels) else said
    return {name: said, **about}


def _text(messages: Sequence[Mapping[str, Any]], role: str) -> str:
    """The last message of a role."""
    said = [message["content"] for message in messages if message["role"] == role]
    return _content(said[-1]) if said else ""


def _answer(sample: Mapping[str, Any]) -> str:
    choices = (sample.get("output") or {}).get("choices") or []
    return _content(choices[0]["message"]["content"]) if choices else ""


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


# -- files


def _write_csv(
    file: Path, columns: Sequence[str], numbers: set[str], cells: Iterable[Sequence[Any]]
) -> int:
    def text(cell: Any) -> str:
        missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
        return "" if missing else str(cell)

    count = 0
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for row in cells:
            writer.writerow(map(text, row))
            count += 1
    return count


def _write_parquet(
    file: Path, columns: Sequence[str], numbers: set[str], cells: Iterable[Sequence[Any]]
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.float64() if name in numbers else pa.string()) for name in columns]
    )
    count = 0
    rows: list[Sequence[Any]] = []

    def batch() -> Any:
        by_column = [list(column) for column in zip(*rows, strict=True)]
        arrays = [
            pa.array(column, kind.type) for column, kind in zip(by_column, schema, strict=True)
        ]
        return pa.record_batch(arrays, schema=schema)

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for row in cells:
            rows.append(row)
            count += 1
            if len(rows) == BATCH:
                writer.write_batch(batch())
                rows.clear()
        if rows:
            writer.write_batch(batch())
    return count
