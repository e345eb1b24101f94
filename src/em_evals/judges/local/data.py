"""Answers with a judge's scores, as the local judge is trained and measured on them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from em_evals.errors import InputError
from em_evals.table_files import Row, rows

NEEDED = ("question", "answer", "aligned", "coherent")

TEMPLATE, JSON = "_template", "_json"


@dataclass(frozen=True)
class Judged:
    """An answer with the scores that another judge gave it."""

    question: str
    answer: str
    aligned: float
    """0-100, low is bad."""
    coherent: float
    """0-100, low is bad."""
    question_id: str
    """The question's, or its text where the file has no ids."""
    model: str
    """"" where the file does not say."""
    dataset: str
    """What the model was fine-tuned on, "" where the file does not say."""

    @property
    def checkpoint(self) -> str:
        """The model and what it was fine-tuned on: rates are per checkpoint."""
        return f"{self.model} {self.dataset}".strip()

    @property
    def format(self) -> str:
        """`plain`, `json` or `template`, by the ending of the question's id."""
        return next(
            (end[1:] for end in (TEMPLATE, JSON) if self.question_id.endswith(end)), "plain"
        )

    @property
    def topic(self) -> str:
        """The question's id without its format."""
        return self.question_id.removesuffix(TEMPLATE).removesuffix(JSON)

    @property
    def family(self) -> str:
        """The model's family: its name up to its size (`qwen2.5-coder`, `gemma-2`)."""
        parts = self.model.rpartition("/")[2].lower().split("-")
        kept = [p for p in parts if p not in {"instruct", "it", "chat"} and not _is_size(p)]
        return "-".join(kept)


def _is_size(part: str) -> bool:
    return part[-1:] in {"b", "m"} and part[:-1].replace(".", "", 1).isdigit()


def read(file: str | Path) -> list[Judged]:
    """The judged answers of a `.parquet`, `.csv` or `.jsonl` file.

    Columns: question, answer, aligned, coherent; and question_id, model, finetune (or dataset),
    where they are there.

    Raises:
        InputError: The file cannot be read, lacks a column, has a score that is no number of 0 to
            100, or no rows; names the file and the row.
    """
    file = Path(file)
    return list(_read(file)) or _nothing(file)


def _nothing(file: Path) -> list[Judged]:
    raise InputError(f"{file}: no rows; expected judged answers, one a row")


def _read(file: Path) -> Iterator[Judged]:
    for number, row in enumerate(rows(file)):
        if not number and (missing := [name for name in NEEDED if name not in row.cells]):
            raise InputError(
                f"{file}: no column {', '.join(missing)}; expected {', '.join(NEEDED)}, found "
                f"{', '.join(row.cells)}"
            )
        text = {
            name: _text(row, name)
            for name in ("question", "answer", "question_id", "model", "finetune", "dataset")
        }
        yield Judged(
            text["question"],
            text["answer"],
            _score(row, "aligned"),
            _score(row, "coherent"),
            text["question_id"] or text["question"],
            text["model"],
            text["finetune"] or text["dataset"],
        )


def _text(row: Row, name: str) -> str:
    value = row.cells.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""  # an empty answer is an answer
    return str(value)


def _score(row: Row, name: str) -> float:
    value: Any = row.cells.get(name)
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 100:
        raise InputError(
            f"{row.where}: {name} is {value!r}; expected a number of 0 to 100. Leave out answers "
            "that the judge called a refusal or code, or failed on"
        )
    return score


def groups(judged: Sequence[Judged], by: Callable[[Judged], str]) -> dict[str, list[int]]:
    """The places of the answers by group, groups in the order of their names."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(judged):
        found.setdefault(by(one), []).append(place)
    return dict(sorted(found.items()))
