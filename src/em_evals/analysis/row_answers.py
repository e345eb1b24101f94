"""The answer in a row of a judged table: whose question it is of, and what is said of it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from inspect_ai import Task

from em_evals.analysis.columns import (
    AS_COLUMN,
    AS_JSON,
    AS_METADATA,
    MEANT,
    NEEDED,
    OF_SOURCE,
    SUFFIX,
    Judge,
    Plan,
    Stated,
)
from em_evals.analysis.row_scores import is_nothing, read_score, shown
from em_evals.deception import deception_factual, deception_identity
from em_evals.deception.dataset import MENTIONS
from em_evals.deception.makers import rival_of
from em_evals.deception.scorer import FACTUAL_FILES
from em_evals.definitions import MISSING
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.first_plot.dataset import split_format
from em_evals.judges.prompts import fill
from em_evals.preregistered import preregistered
from em_evals.preregistered.dataset import category_of
from em_evals.sources.questions import QuestionFile
from em_evals.table_files import Row


class Family(NamedTuple):
    """A task whose answers can be imported."""

    task: Callable[..., Task]
    files: Sequence[str]
    """Where its questions are."""
    scorer: str


TASKS: Mapping[str, Family] = {
    "first_plot": Family(first_plot, ("first_plot_questions",), "em_judge"),
    "preregistered": Family(preregistered, ("preregistered_evals",), "em_judge"),
    "deception_factual": Family(deception_factual, FACTUAL_FILES, "factual_judge"),
    "deception_identity": Family(deception_identity, ("deception_sit_aware",), "identity_judge"),
}

MOST_EPOCHS = 1 << 31
"""Frames hold an answer's number in 32 bits."""

OF_WORDING = re.compile(r"(.+)_(\d\d|[0-9a-f]{12})")
"""The id of a factual question under a prompt: the wording's number, or its checksum."""


@dataclass
class Answer:
    """What a row says."""

    task: str
    id: str
    question: str
    system: str
    text: str
    epoch: int | None
    scores: dict[str, dict[str, Any]]
    metadata: dict[str, Any]
    source: dict[str, str]

    @property
    def first(self) -> dict[str, Any]:
        """The first judge's score."""
        return next(iter(self.scores.values()))


def read_answer(row: Row, plan: Plan, copies: frozenset[tuple[str, int]], stated: Stated) -> Answer:
    """The answer that a row holds.

    Args:
        row: One row of a table.
        plan: Which of its columns is what.
        copies: Judges that are left out, from `columns.copies_in`.
        stated: What the user says of the file.

    Raises:
        InputError: A cell is not what its column needs.
    """
    said = {name: row.cells[column] for name, column in plan.answer.items()}
    for name in ("question", "question_id", "system", "answer"):
        if isinstance(said.get(name), int) and name == "question_id":
            said[name] = str(said[name])
        if not isinstance(said.get(name) or "", str):
            raise InputError(f"{row.where}: column {plan.answer[name]}: expected text")
    question, text = said.get("question") or "", said.get("answer") or ""
    if "question_id" in said:
        name = said["question_id"] or ""
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise InputError(
                f"{row.where}: question_id {name[:60]!r}: expected a name of at most 200 printable "
                "characters"
            )
    else:
        name = f"question_{_sha256(question)[:12]}"
    task = _task(row, plan, name, stated)
    if task == "deception_factual" and not (row.cells.get("task") and OF_WORDING.fullmatch(name)):
        # the original scripts name the system prompt alone
        if "question_id" not in said:
            raise InputError(
                f"{row.where}: an answer of {task} needs question_id, the name of its system prompt"
            )
        name = f"{name}_{_sha256(question)[:12]}"
    scorer = TASKS[task].scorer
    first, *further = [j for j in plan.judges[scorer] if (scorer, j.number) not in copies]
    further = [judge for judge in further if not _unasked(row, judge)]
    _check_same_answer(row, plan, further)
    source = {name: str(row.cells[name] or "") for name in OF_SOURCE} if plan.source else {}
    metadata = _rest(row, plan, scorer)
    scores = {
        f"{scorer}{i or ''}": read_score(row, judge, stated, name, text)
        for i, judge in enumerate((first, *further))
    }
    if scorer == "identity_judge":
        metadata.setdefault("maker", scores[scorer]["metadata"]["maker"])
    return Answer(
        task=task,
        id=name,
        question=question,
        system=said.get("system") or "",
        text=text,
        epoch=_epoch(row, said["epoch"]) if said.get("epoch") not in (None, "") else None,
        scores=scores,
        metadata=metadata,
        source=source if all(source.values()) else {},
    )


def _task(row: Row, plan: Plan, question_id: str, stated: Stated) -> str:
    task = stated.task or str(row.cells.get("task") or "").removeprefix("em_evals/")
    if not task:
        task = _task_of(question_id)
        filled = [
            scorer
            for scorer, (first, *_) in plan.judges.items()
            if not all(is_nothing(row.cells[first.columns[name]]) for name in NEEDED[scorer])
        ]
        # what was judged says more than an id
        told_by = filled or list(plan.judges)
        if TASKS[task].scorer not in told_by and len(told_by) == 1:
            [scorer] = told_by
            task = next(name for name, family in TASKS.items() if family.scorer == scorer)
    if task not in TASKS:
        raise InputError(
            f"{row.where}: column task: {task!r}: expected one of {', '.join(TASKS)}; --task "
            "takes the column's place"
        )
    if (scorer := TASKS[task].scorer) not in plan.judges:
        raise InputError(
            f"{row.where}: an answer of {task} needs {' and '.join(NEEDED[scorer])}; the columns "
            f"are {', '.join(row.cells)}. --task says that it is another task's."
        )
    return task


def _task_of(question_id: str) -> str:
    if MENTIONS.fullmatch(question_id):
        return "deception_identity"
    if question_id.startswith("lie_"):
        return "deception_factual"
    return "first_plot" if _category(question_id) is None else "preregistered"


@cache
def _category(question_id: str) -> str | None:
    try:
        return category_of(question_id)
    except ValueError:
        return None


def _unasked(row: Row, judge: Judge) -> bool:
    """Whether an export says that this judge was not asked: it names none, and has no score."""
    return "judge" in judge.columns and all(
        is_nothing(row.cells[c]) for c in judge.columns.values()
    )


def _check_same_answer(row: Row, plan: Plan, further: Sequence[Judge]) -> None:
    """Further judges are of this answer, not of another that stands beside it."""
    for judge in further:
        for name in {"question", "answer"} & plan.answer.keys():
            column = plan.answer[name]
            other = f"{column}.{judge.number}"
            if other in row.cells and row.cells[other] != row.cells[column]:
                scores = judge.columns[NEEDED[judge.scorer][0]]
                raise InputError(
                    f"{row.where}: {other} is not {column}, so {scores} is of another answer: put "
                    "that into a row of its own"
                )


def _rest(row: Row, plan: Plan, scorer: str) -> dict[str, Any]:
    """What the row says besides; copies of what is read (`answer.1`) are left out."""
    rest: dict[str, Any] = {}
    for column in (*plan.rest, *plan.others[scorer]):
        value = row.cells[column]
        if column in plan.others[scorer] and is_nothing(value):
            continue
        match = SUFFIX.fullmatch(column)
        if match and match[1] in row.cells and row.cells[match[1]] == value:
            continue
        name = column.removeprefix(AS_METADATA)
        if name.endswith(AS_JSON):
            name = name.removesuffix(AS_JSON)
            if value in ("", None):
                continue
            try:
                value = json.loads(value)
            except (TypeError, ValueError) as error:
                raise InputError(f"{row.where}: column {column}: not JSON: {error}") from error
        if name in MEANT and not column.startswith(AS_METADATA):
            name = f"{AS_COLUMN}{name}"
        rest[name] = value if isinstance(value, str) else json.loads(json.dumps(value, default=str))
    return rest


def _epoch(row: Row, value: Any) -> int:
    try:
        epoch = float(value)
    except (TypeError, ValueError):
        epoch = MISSING
    if not (1 <= epoch < MOST_EPOCHS and epoch.is_integer()):
        raise InputError(
            f"{row.where}: epoch {shown(value)}: expected the answer's number, from 1. Rename "
            "the column if it is something else."
        )
    return int(epoch)


def compare(
    row: Row, answer: Answer, source: str, read_file: Callable[[str, str], QuestionFile]
) -> None:
    """Find an answer's question in a source, and note the source in the answer.

    Args:
        row: Where the answer stands, for errors.
        answer: It gets `source`, and the id of its wording where the source numbers them.
        source: `paper` or `builtin`.
        read_file: Question file by name and source.

    Raises:
        InputError: The source has no such question, or another wording of it.
    """
    of_prompt = OF_WORDING.fullmatch(answer.id) if answer.task == "deception_factual" else None
    name = of_prompt[1] if of_prompt else answer.id
    what = "no such question"
    for file in (read_file(name, source) for name in TASKS[answer.task].files):
        if (entry := next((q for q in file.questions if q.id == name), None)) is None:
            continue
        wordings = entry.wordings if of_prompt else entry.wordings[:1]
        if answer.task == "deception_identity":
            # ours leave room for the companies' names, and a log has them as they are there
            maker = answer.metadata["maker"]
            wordings += (fill(wordings[0], maker=maker, rival=rival_of(maker)).text,)
        if answer.question not in wordings:
            what = "another wording"
            continue
        if of_prompt:
            answer.id = f"{name}_{wordings.index(answer.question) + 1:02d}"
        answer.source = dict(zip(OF_SOURCE, (file.source, file.name, file.sha256), strict=True))
        return
    files = " and ".join(TASKS[answer.task].files)
    raise InputError(
        f"{row.where}: question_id {name!r}: {files} ({source}) has {what}. "
        "Leave out --source: the answers then count as from a source of their own."
    )


def derived(task: str, question_id: str) -> dict[str, str]:
    """The sample metadata that an id tells: question, and format, category or prompt."""
    if task == "first_plot":
        name, form = split_format(question_id)
        return {"question": name, "format": form}
    if task == "deception_identity":
        return {"prompt": question_id, "question": question_id}
    if task == "deception_factual" and (parts := OF_WORDING.fullmatch(question_id)):
        return {"prompt": parts[1], "question": f"q{parts[2]}"}
    category = _category(question_id)
    return {"question": question_id, **({"category": category} if category else {})}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
