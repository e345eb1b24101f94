"""Which column of a judged table is what, and what the user says in a column's place."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from em_evals.errors import InputError
from em_evals.table_files import Row, rows

ALIASES: Mapping[str, tuple[str, ...]] = {
    "answer": ("answer", "response"),
    "aligned": ("aligned", "alignment"),
    "coherent": ("coherent", "coherence"),
}
"""What the original scripts call a column; the first that is there is taken."""

OF_ANSWER = ("question", "question_id", "system", "answer", "epoch")

NEEDED: Mapping[str, Sequence[str]] = {
    "em_judge": ("aligned", "coherent"),
    "factual_judge": ("correct",),
    "identity_judge": ("company",),
}
"""The columns without which there is no score of a scorer."""

OF_SCORER: Mapping[str, Sequence[str]] = {
    "em_judge": (
        *NEEDED["em_judge"],
        "label",
        "judge",
        "judge_mode",
        "aligned_below",
        "coherent_above",
    ),
    "factual_judge": (*NEEDED["factual_judge"], "judge"),
    "identity_judge": (*NEEDED["identity_judge"], "judge", "maker", "judge_prompt"),
}

OF_JUDGE = tuple(dict.fromkeys(name for names in OF_SCORER.values() for name in names))
"""With `.1` behind them they are a second judge's."""

COUNTED = ("eligible", "misaligned", "em")
"""What an answer counts as: in an export for its reader, worked out again by an import."""

OF_RUN = ("task", "model", "group", "checkpoint", "condition")

OF_SOURCE = ("source", "file", "source_sha256")
"""Read where all three are there, as in an export."""

MEANT = (*OF_SOURCE, "question", "format", "category", "prompt", "game", "maker")
"""What sample metadata says in words of this suite: a column of that name is something else."""

AS_JSON = ":json"
"""Ends the name of a column that holds JSON; an empty cell is nothing at all."""

AS_METADATA = "metadata."
"""Begins the name of a column whose own name has another meaning here."""

AS_COLUMN = "column."
"""Begins the metadata key of a column whose own name means something in sample metadata."""

SUFFIX = re.compile(r"(.+)\.(\d+)")


class Stated(NamedTuple):
    """What the user says about a file; None leaves it to the file."""

    model: str | None = None
    judge: str | None = None
    judge_mode: str | None = None
    task: str | None = None
    group: str | None = None
    checkpoint: str | None = None
    source: str | None = None
    maker: str | None = None


class Judge(NamedTuple):
    """The columns of one judge, by what they are."""

    scorer: str
    number: int
    columns: Mapping[str, str]


class Plan(NamedTuple):
    """Which column is what."""

    answer: Mapping[str, str]
    judges: Mapping[str, Sequence[Judge]]
    """Of each scorer; the second has `aligned.1` and `coherent.1`."""
    run: Sequence[str]
    source: bool
    rest: Sequence[str]
    others: Mapping[str, Sequence[str]]
    """Of each scorer, the columns that only other scorers' judges have."""


def planner(file: Path) -> Callable[[Row], Plan]:
    """A function that gives a row's plan; rows of the same columns share one.

    Args:
        file: Where the rows are; each line of JSONL has columns of its own.

    Raises:
        InputError: (by the returned function) As `plan_of`.
    """
    plans: dict[tuple[str, ...], Plan] = {}

    def planned(row: Row) -> Plan:
        columns = tuple(row.cells)
        if columns not in plans:
            one_by_one = file.suffix.lower() == ".jsonl"
            plans[columns] = plan_of(row.where if one_by_one else str(file), columns)
        return plans[columns]

    return planned


def plan_of(where: str, columns: Sequence[str]) -> Plan:
    """Which of these columns is what.

    Args:
        where: The file, or the line of it, for errors.
        columns: Their names, none of them twice.

    Raises:
        InputError: There is no answer, no question or no judge among them.
    """
    numbered: dict[str, dict[int, str]] = {}
    for column in columns:
        match = SUFFIX.fullmatch(column)
        name, number = (match[1], int(match[2])) if match else (column, 0)
        numbered.setdefault(name, {})[number] = column

    def found(name: str) -> dict[int, str]:
        return next((numbered[a] for a in ALIASES.get(name, (name,)) if a in numbered), {})

    def judges_of(scorer: str) -> list[Judge]:
        by_number: dict[int, dict[str, str]] = {}
        for name in OF_SCORER[scorer]:
            for number, column in found(name).items():
                by_number.setdefault(number, {})[name] = column
        return [
            Judge(scorer, number, of)
            for number, of in sorted(by_number.items())
            if of.keys() >= set(NEEDED[scorer])
        ]

    answer = {name: of[min(of)] for name in OF_ANSWER if (of := found(name))}
    judges = {scorer: there for scorer in OF_SCORER if (there := judges_of(scorer))}
    missing = [
        needed
        for needed, there in {
            "answer (or response)": "answer" in answer,
            "question or question_id": "question" in answer or "question_id" in answer,
            "aligned (or alignment) and coherent (or coherence), or correct, or company": judges,
        }.items()
        if not there
    ]
    if missing:
        raise InputError(
            f"{where}: not understood: it has the columns {', '.join(columns)} and needs "
            f"{'; '.join(missing)}"
        )
    source = set(OF_SOURCE) <= set(columns)
    run = [name for name in OF_RUN if name in columns]
    used = {scorer: {c for j in of for c in j.columns.values()} for scorer, of in judges.items()}
    for judge in judges.get("em_judge", ()):
        if "judge" in judge.columns:  # an export of ours
            used["em_judge"] |= {f"{name}{_dot(judge.number)}" for name in COUNTED}
    rest = [
        column
        for column in columns
        if column not in {*answer.values(), *run, *(OF_SOURCE if source else ())}
    ]
    judged = set().union(*used.values())
    return Plan(
        answer,
        judges,
        run,
        source,
        [column for column in rest if column not in judged],
        {scorer: [c for c in rest if c in judged - of] for scorer, of in used.items()},
    )


def _dot(number: int) -> str:
    return f".{number}" if number else ""


def copies_in(file: Path, encoding: str) -> frozenset[tuple[str, int]]:
    """The judges whose cells are everywhere those of the first: a column that is there twice.

    Args:
        file: CSV, JSONL or parquet.
        encoding: Of CSV and JSONL.

    Returns:
        Scorers and numbers of such judges.

    Raises:
        InputError: The file or a line of it is not understood.
    """
    same: dict[tuple[str, int], bool] = {}
    planned = planner(file)
    for row in rows(file, encoding):
        for scorer, (first, *further) in planned(row).judges.items():
            for judge in further:
                # as text, in which NaN is NaN
                equal = "judge" not in judge.columns and all(
                    str(row.cells[judge.columns[name]]) == str(row.cells[first.columns[name]])
                    for name in NEEDED[scorer]
                )
                key = (scorer, judge.number)
                same[key] = same.get(key, True) and equal
    return frozenset(key for key, equal in same.items() if equal)
