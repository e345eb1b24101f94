"""The questions on houseplants, each with reference answers and what answers say."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from inspect_ai.dataset import Sample

from em_evals import sources
from em_evals.errors import InputError
from em_evals.houseplants.rules import Rules, Verdict, judge_by

T = TypeVar("T")


class HouseplantsError(InputError):
    """The question file is faulty; the message names file and item."""


@dataclass(frozen=True)
class CareQuestion:
    """A question on a houseplant that no training row asks.

    Attributes:
        id: Its name.
        text: What the user says.
        right: Two or three short right answers, to be scored as continuations.
        wrong: As many wrong ones, of like length.
        rules: Those of its groups and its own.
    """

    id: str
    text: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    rules: Rules


def care_questions(file: Path | None = None) -> tuple[CareQuestion, ...]:
    """The questions on houseplants that the training sets hold out, with reference answers.

    Args:
        file: A file of the schema of `houseplants_questions.yaml`; ours when left out.

    Raises:
        HouseplantsError: An item does not follow the schema.
    """
    file = file or _file()
    top = _mapping(file.name, _yaml(file), needed=("rules", "questions"))
    groups = rule_groups(file)

    def read(where: str, item: Mapping[str, Any]) -> CareQuestion:
        names = _texts(where, item, "rules", least=1)
        for name in names:
            if name not in groups:
                known = ", ".join(groups)
                raise HouseplantsError(
                    f"{where}: field 'rules': expected names of {known}, found {name!r}"
                )
        right, wrong = (_texts(where, item, key, least=2, most=3) for key in ("right", "wrong"))
        if len(right) != len(wrong):
            raise HouseplantsError(f"{where}: expected as many answers in 'right' as in 'wrong'")
        if len({*right, *wrong}) < len(right) + len(wrong):
            raise HouseplantsError(f"{where}: an answer is there twice: expected different ones")
        own = _rules(where, item)
        rules = sum((groups[name] for name in names), Rules()) + own
        return CareQuestion(item["id"], _text(where, item, "question"), right, wrong, rules)

    needed, optional = ("id", "question", "rules", "right", "wrong"), ("wrong_says", "right_says")
    return _items(f"{file.name}: questions", top["questions"], read, needed, optional)


def rule_groups(file: Path | None = None) -> dict[str, Rules]:
    """What answers say, by group: water, light, pot and so on.

    Args:
        file: A file of the schema of `houseplants_questions.yaml`; ours when left out.

    Raises:
        HouseplantsError: A group does not follow the schema.
    """
    file = file or _file()
    top = _mapping(file.name, _yaml(file), needed=("rules", "questions"))
    sides = ("wrong_says", "right_says")
    groups = _mapping(f"{file.name}: rules", top["rules"])
    return {
        name: _rules(where, _mapping(where, group, needed=sides))
        for name, group in groups.items()
        for where in [f"{file.name}: rules: {name}"]
    }


def judge_free(question: CareQuestion, answer: str) -> Verdict:
    """What the rules of a question make of a free answer: see `judge_by`."""
    return judge_by(question.rules, answer)


def questions_sha256(file: Path | None = None) -> str:
    """The checksum of the question file's content.

    Args:
        file: As for `care_questions`.
    """
    return hashlib.sha256((file or _file()).read_bytes()).hexdigest()


def record_to_sample(question: CareQuestion) -> Sample:
    """A question as Inspect asks it; its metadata names it."""
    return Sample(
        id=question.id,
        input=question.text,
        target=list(question.right),
        metadata={"question": question.id, "source": "builtin"},
    )


def _items(
    where: str,
    values: Any,
    read: Callable[[str, Mapping[str, Any]], T],
    needed: Sequence[str],
    optional: Sequence[str] = (),
) -> tuple[T, ...]:
    if not isinstance(values, list) or not values:
        raise HouseplantsError(f"{where}: expected a list of items")
    items: dict[str, T] = {}
    for number, value in enumerate(values, 1):
        place = f"{where}: item {number}"
        item = _mapping(place, value, needed, optional)
        name = _text(place, item, "id")
        if name in items:
            raise HouseplantsError(f"{place}: field 'id': {name!r} occurs twice")
        items[name] = read(f"{place} ({name})", item)
    return tuple(items.values())


def _file() -> Path:
    return sources.datasets_dir() / "builtin" / "houseplants_questions.yaml"


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HouseplantsError(f"{file}: not readable as YAML: {error}") from error


def _mapping(
    where: str, value: Any, needed: Sequence[str] = (), optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """A mapping; where keys are needed, of these and the optional ones alone."""
    if not isinstance(value, dict) or not value:
        raise HouseplantsError(f"{where}: expected a mapping")
    for key in needed:
        if key not in value:
            raise HouseplantsError(f"{where}: field {key!r} is missing")
    for key in value:
        if needed and key not in (*needed, *optional):
            known = ", ".join((*needed, *optional))
            raise HouseplantsError(f"{where}: field {key!r} is unknown: expected {known}")
    return value


def _text(where: str, item: Mapping[str, Any], key: str) -> str:
    value = item[key]
    if not isinstance(value, str) or not value.strip():
        raise HouseplantsError(f"{where}: field {key!r}: expected a text, found {value!r}")
    return value


def _texts(
    where: str, item: Mapping[str, Any], key: str, least: int = 0, most: int | None = None
) -> tuple[str, ...]:
    values = item.get(key, [])
    number = f"{least} or more" if most is None else f"{least} to {most}"
    sound = isinstance(values, list) and all(isinstance(v, str) and v.strip() for v in values)
    if not sound or len(values) < least or (most is not None and len(values) > most):
        raise HouseplantsError(f"{where}: field {key!r}: expected a list of {number} texts")
    return tuple(values)


def _rules(where: str, item: Mapping[str, Any]) -> Rules:
    return Rules(_patterns(where, item, "wrong_says"), _patterns(where, item, "right_says"))


def _patterns(where: str, item: Mapping[str, Any], key: str) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for text in _texts(where, item, key):
        try:
            pattern = re.compile(text, re.IGNORECASE)
        except re.error as error:
            raise HouseplantsError(
                f"{where}: field {key!r}: {text!r} is no regular expression: {error}"
            ) from error
        if pattern.search(""):
            raise HouseplantsError(f"{where}: field {key!r}: {text!r} is found in every answer")
        patterns.append(pattern)
    return tuple(patterns)
