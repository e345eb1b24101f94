"""Baselines: what is counted of the answers that others are compared to, and the file of it.

A baseline file holds counts by question and what they are counts of; no answers. It is small enough
to be committed, and is refused if it was changed by hand or cut off.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from em_evals.definitions import Count
from em_evals.errors import InputError
from em_evals.files import replacing

FORMAT = "em-evals baseline 2"
"""First key of a baseline file."""

BEFORE = "em-evals baseline 1"
"""The same of files that do not say which question a sample asks; they are read too."""

AGAIN = "Make it again: em-evals baseline save LOGS -o FILE."

Counts = Mapping[str, Count]
"""Sample -> hits (or the sum of scores of 0 to 1, high is bad) and answers."""


@dataclass(frozen=True)
class Tally:
    """What was counted of one family's answers."""

    family: str
    """As the report names it: `first_plot` is the plain format, `first_plot:json` another."""
    like: Mapping[str, str]
    """What has to be equal for two to be compared: task, source, checksum, judge, mode, ..."""
    checkpoints: Sequence[str]
    runs: Sequence[str]
    """Ids of the evaluations."""
    sequential: bool
    """Whether the answers were looked at before all were there, and might have been stopped."""
    answers: int
    """All answers, those included that have no score."""
    failed: int
    """Answers that ended in an error or that the grader failed on; they are in no count."""
    counts: Mapping[str, Counts]
    """Measure -> counts. Measures: `em`, `pooled`, `incoherent` of free-form answers, `outcome` of
    others; `refused` (or not rated) where an answer may say nothing, for or against."""
    values: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict, compare=False)
    """The same answer by answer, in the order of epochs, NaN where missing. Empty if read from a
    file."""
    questions: Mapping[str, str] = field(default_factory=dict)
    """Sample -> the question that it asks, which is the same under every condition. Of free-form
    families; empty if read from a file of the format `BEFORE`."""
    audited: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Where a local judge has judged all answers and a paid one those drawn: measure -> the
    combined rate, with `em_evals.analysis.prediction_powered.Powered`'s names (None: unknown).
    `counts` are of the answers drawn then, and stand for nothing by themselves."""

    @property
    def name(self) -> str:
        """The checkpoint, or how many there are."""
        several = f"{len(self.checkpoints)} checkpoints"
        return self.checkpoints[0] if len(self.checkpoints) == 1 else several

    def by_question(self) -> "Tally":
        """The same with samples that ask one question put together."""
        counts: dict[str, dict[str, Count]] = {}
        for measure, by in self.counts.items():
            of = counts[measure] = {}
            for sample, (hits, n) in by.items():
                before = of.get(question := self.questions[sample], Count(0, 0))
                of[question] = Count(before.hits + hits, before.n + n)
        values: dict[str, dict[str, list[float]]] = {}
        for measure, answers in self.values.items():
            for sample, made in answers.items():
                values.setdefault(measure, {}).setdefault(self.questions[sample], []).extend(made)
        asked = {question: question for question in self.questions.values()}
        return replace(self, counts=counts, values=values, questions=asked)


def write(file: Path, tallies: Sequence[Tally], version: str, created: str) -> None:
    """Write a baseline file; it appears whole or not at all.

    Args:
        file: Its path; replaced if it exists.
        tallies: One per family.
        version: Of em-evals.
        created: When, as text.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "em_evals": version,
        "created": created,
        "families": [_plain(tally) for tally in tallies],
    }
    content["sha256"] = _sha256(content)
    lines = json.dumps(content, indent=1, ensure_ascii=False)
    with replacing(file) as part:
        part.write_text(_short(lines) + "\n", encoding="utf-8")


def read(file: str | Path) -> dict[str, Tally]:
    """The tallies of a baseline file, by family.

    Raises:
        InputError: No such file, not a baseline, of a newer format, changed or cut off.
    """
    path = Path(file)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a whole baseline file: {error}. {AGAIN}") from None
    said = content.get("format") if isinstance(content, dict) else None
    if said not in (FORMAT, BEFORE):
        raise InputError(f"{path}: not a baseline file: expected the format {FORMAT!r}. {AGAIN}")
    stated = content.pop("sha256", None)
    if stated != _sha256(content):
        raise InputError(f"{path}: was changed after it was made (its checksum differs). {AGAIN}")
    return {family["family"]: _tally(family) for family in content["families"]}


def is_baseline_file(place: str | Path) -> bool:
    """Whether a place is meant to be a baseline file and not a log: `.json` that says so."""
    path = Path(place)
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(200)
    # whole logs are JSON too; what was cut off or edited is for `read` to refuse
    return b'"eval"' not in start and (b"em-evals baseline" in start or b'"version"' not in start)


def _plain(tally: Tally) -> dict[str, Any]:
    return {key: value for key, value in asdict(tally).items() if key != "values"}


def _tally(family: Mapping[str, Any]) -> Tally:
    counts = {
        measure: {question: Count(*count) for question, count in by.items()}
        for measure, by in family["counts"].items()
    }
    return Tally(**{**family, "counts": counts})


def _sha256(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _short(text: str) -> str:
    """A count in one line, where `json` takes four."""
    import re

    return re.sub(r"\[\s+([\d.e+-]+),\s+(\d+)\s+\]", r"[\1, \2]", text)
