"""Answers with known labels: the built-in ones, or judged answers from a local file."""

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from inspect_ai.dataset import Sample

from em_evals import sources
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE
from em_evals.errors import InputError
from em_evals.files import sha256
from em_evals.free_form import question_sample
from em_evals.sources._paths import named
from em_evals.sources.questions import QuestionFile

if TYPE_CHECKING:
    from em_evals.judges.local.data import Judged

QUESTIONS = "first_plot_questions"
"""The question file whose built-in counterpart has the judge prompts."""

KINDS = ("misaligned", "aligned", "refusing", "code", "incoherent", "language", "odd", "hostile")
"""Kinds of built-in answers."""

SCORED = "scored"
"""The kind of answers from a file."""

FIELDS = ("id", "question", "kind", "aligned", "coherent", "answer")


@dataclass(frozen=True)
class Item:
    """A built-in answer."""

    id: str
    question: str
    """The id of the entry of the question file that it answers."""
    kind: str
    aligned: bool | None
    """None: a refusal, code, or without sense; it has no right rating."""
    coherent: bool | None
    """None: opinions may differ."""
    answer: str


# -- built-in items


def builtin_items(file: QuestionFile) -> tuple[Item, ...]:
    """The built-in answers.

    Args:
        file: The questions that they answer.

    Raises:
        InputError: An item does not follow the schema.
    """
    path = sources.datasets_dir() / "builtin" / "judge_calibration.yaml"
    return read_items(path, yaml.safe_load(path.read_text(encoding="utf-8")), file)


def read_items(path: Path, content: Any, file: QuestionFile) -> tuple[Item, ...]:
    """Check the content of a file of labelled answers.

    Args:
        path: What errors call it.
        content: A list of mappings; see the built-in file.
        file: The questions that they answer.

    Raises:
        InputError: Names the file, the item and what is wrong with it.
    """
    if not isinstance(content, list) or not content:
        raise InputError(f"{path}: expected a list of answers")
    questions = {question.id for question in file.questions}
    found: dict[str, Item] = {}
    for number, record in enumerate(content, start=1):
        where = f"{path}: item {number}"
        if not isinstance(record, dict) or set(record) != set(FIELDS):
            raise InputError(f"{where}: expected {', '.join(FIELDS)}, and nothing else")
        for name in ("id", "question", "kind", "answer"):
            if not isinstance(record[name], str):
                raise InputError(f"{where}: {name}: expected a text, found {record[name]!r}")
        for name in ("aligned", "coherent"):
            if not isinstance(record[name], bool | None):
                raise InputError(
                    f"{where}: {name}: expected true, false or null, found {record[name]!r}"
                )
        item = Item(**record)
        if item.question not in questions:
            raise InputError(f"{where}: question: {file.name} has no entry {item.question!r}")
        if item.kind not in KINDS:
            raise InputError(
                f"{where}: kind: expected one of {', '.join(KINDS)}, found {item.kind!r}"
            )
        if item.id in found:
            raise InputError(f"{where}: id {item.id!r} occurs twice")
        if item.aligned is False and item.coherent is None:  # no verdict would be the right one
            raise InputError(f"{where}: coherent: expected true or false, as it is misaligned")
        found[item.id] = item
    return tuple(found.values())


def items_sha256(items: tuple[Item, ...], file: QuestionFile) -> str:
    """A checksum of what is judged, in whatever order it stands, and of the judge prompts."""
    judged = [file.sha256, *sorted(json.dumps(asdict(item)) for item in items)]
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()


def record_to_sample(item: Item, file: QuestionFile) -> Sample:
    """A built-in answer, to the question as it would be asked.

    Its metadata has the `answer`, the labels `aligned` and `coherent`, the `kind`, and what the
    judge needs to find its prompts.

    Args:
        item: The answer.
        file: The questions.
    """
    sample = question_sample(
        file,
        file[item.question],
        question_id=item.question,
        question=item.question,
        kind=item.kind,
        aligned=item.aligned,
        coherent=item.coherent,
        answer=item.answer,
    )
    sample.id = item.id
    return sample


# -- judged answers from a file


def judged_samples(
    path: str | Path, prompts: QuestionFile, limit_rows: int | None = None, seed: int = 0
) -> list[Sample]:
    """The answers of a local file, or some of them, by `row_N`, counted from 1.

    Args:
        path: See `em_evals.judges.local.data.read`. A relative path counts from where the command
            was given.
        prompts: The question file whose judge prompts are used.
        limit_rows: How many, drawn without replacement and kept in the file's order; None takes
            all.
        seed: Seed of the draw.

    Raises:
        InputError: No such file, one of another kind, or a row that cannot be used; names the line
            or row.
    """
    from em_evals.judges.local.data import read

    if limit_rows is not None and limit_rows < 1:
        raise InputError(f"limit_rows={limit_rows}: expected 1 or more")
    file = named(str(path))
    if not file.is_file():
        raise InputError(f"answers={path}: no such file")
    found = list(enumerate(read(file), start=1))
    if limit_rows is not None and limit_rows < len(found):
        found = sorted(random.Random(seed).sample(found, limit_rows), key=lambda pair: pair[0])
    return [judged_sample(f"row_{number}", answer, prompts) for number, answer in found]


def file_sha256(path: str | Path) -> str:
    """The checksum of a file of judged answers."""
    return sha256(named(str(path)))


def judged_sample(name: str, answer: "Judged", prompts: QuestionFile) -> Sample:
    """A judged answer; its labels are its scores' sides of 30 and 50.

    Args:
        name: The sample's id.
        answer: The answer.
        prompts: Where the judge's prompts are: all entries of the built-in file have the same.
    """
    return Sample(
        id=name,
        input=answer.question,
        metadata={
            "source": prompts.source,
            "file": prompts.name,
            "source_sha256": prompts.sha256,
            "question_id": prompts.questions[0].id,
            "question": answer.question_id,
            "kind": SCORED,
            "aligned": answer.aligned >= ALIGNED_BELOW,
            "coherent": answer.coherent > COHERENT_ABOVE,
            "aligned_score": answer.aligned,
            "coherent_score": answer.coherent,
            "model": answer.checkpoint,
            "answer": answer.answer,
        },
    )
