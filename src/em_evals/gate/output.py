"""A gate's decision for people and for CI: words, Markdown and JUnit."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from em_evals.gate.compare import WORDS, Check, Comparison, Gate

UndecidedIs = Literal["pass", "fail"] | None

MEASURES = {
    "em": "misaligned and coherent, of all answers",
    "pooled": "misaligned, of eligible answers",
    "outcome": "the family's own figure",
}


class Line(NamedTuple):
    """One comparison in words, in the order of `COLUMNS`."""

    decision: str
    family: str
    checkpoint: str
    increase: str
    interval: str
    candidate: str
    baseline: str
    answers: str
    questions: str


COLUMNS = Line(
    "decision",
    "family",
    "checkpoint",
    "increase",
    "interval",
    "candidate",
    "baseline",
    "answers",
    "questions",
)


def lines(found: Gate) -> list[Line]:
    """The comparisons in words; increases in points."""
    return [
        Line(
            c.decision,
            c.family,
            c.checkpoint,
            _points(c.increase),
            "none" if math.isnan(c.lower) else f"{_points(c.lower)} to {_points(c.upper)}",
            _share(c.candidate_value),
            _share(c.baseline_value),
            f"{c.n:,} and {c.baseline_n:,}",
            str(c.questions),
        )
        for c in found.comparisons
    ]


def headline(found: Gate) -> str:
    """The decision in a few words."""
    return {
        "pass": "pass: no increase above the margin, as far as was asked",
        "regression": f"regression; the worst is {found.worst}",
        "undecided": f"undecided: {_undecided(found)}",
    }[found.decision]


def _undecided(found: Gate) -> str:
    if all(c.decision == "pass" for c in found.comparisons):
        return "no increase above the margin, but the model may be broken otherwise"
    return "the answers do not show whether the increase is above or below the margin"


def remarks(found: Gate) -> Iterator[str]:
    """What has to be said beside the table."""
    terms = found.terms
    yield (
        f"Increases are in points, over the same questions; the margin is {terms.margin * 100:g}. "
        f"Each bound of an interval errs with a chance of at most {terms.alpha:g}."
    )
    for how in dict.fromkeys(c.interval for c in found.comparisons):
        yield f"Intervals: {how}."
    for measure in dict.fromkeys(c.measure for c in found.comparisons):
        yield f"Rates ({measure}): {MEASURES[measure]}, mean over questions."
    for note in dict.fromkeys(note for c in found.comparisons for note in c.notes):
        about = [f"{c.family} of {c.checkpoint}" for c in found.comparisons if note in c.notes]
        everywhere = len(about) == len(found.comparisons)
        yield f"{note[0].upper()}{note[1:]}." if everywhere else f"{'; '.join(about)}: {note}."


class CheckLine(NamedTuple):
    """One check in words."""

    state: str
    check: str
    family: str
    checkpoint: str
    candidate: str
    baseline: str
    rise: str
    limit: str


CHECK_COLUMNS = CheckLine(
    "state", "check", "family", "checkpoint", "candidate", "baseline", "rise", "limit"
)


def check_lines(found: Gate) -> list[CheckLine]:
    """The checks in words."""
    return [
        CheckLine(
            check.state,
            WORDS[check.name],
            c.family,
            c.checkpoint,
            _share(check.candidate),
            _share(check.baseline),
            _rise(check),
            f"{check.limit:.0%}" if check.name == "failed" else _points(check.limit),
        )
        for c in found.comparisons
        for check in c.checks
    ]


def _rise(check: Check) -> str:
    if check.name == "failed":
        return "its share counts"
    if math.isnan(check.rise):
        return "unknown"
    bounds = ""
    if not math.isnan(check.lower):
        bounds = f" ({_points(check.lower)} to {_points(check.upper)})"
    return f"{_points(check.rise)}{bounds}"


def _points(value: float) -> str:
    return "none" if math.isnan(value) else f"{value * 100:+.1f}"


def _share(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.1%}"


# -- Markdown


def markdown(found: Gate) -> str:
    """The decision as Markdown, for the page of a CI job; names from logs are escaped."""
    parts = [f"## em-evals gate: {_escaped(headline(found))}", ""]
    parts += [f"- {_escaped(reason)}" for reason in found.reasons]
    parts += ["", *_table(COLUMNS, lines(found)), ""]
    parts += [f"{_escaped(remark)}  " for remark in remarks(found)]
    parts += ["", "Checks apart from misalignment:", ""]
    parts += [*_table(CHECK_COLUMNS, check_lines(found)), ""]
    return "\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(map(_escaped, row))} |" for row in rows),
    ]


def _escaped(text: str) -> str:
    """Text that Markdown takes as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~&@!$])", r"\\\1", " ".join(printable(text).split()))


# -- JUnit


def junit(found: Gate, undecided_is: UndecidedIs = None) -> str:
    """The decision as JUnit XML: a test for each family, and for each check of it.

    A regression is a failure. What is undecided is an error, or a failure or a pass if it is to
    count as one.
    """
    root = ElementTree.Element("testsuites", name="em-evals gate")
    suite = ElementTree.SubElement(root, "testsuite", name="em-evals gate")
    for c, line in zip(found.comparisons, lines(found), strict=True):
        case = _case(suite, c, "increase")
        told = f"increase {line.increase} ({line.interval}) points, margin {_limit(found)}"
        if c.decision == "regression" or (c.decision == "undecided" and undecided_is == "fail"):
            _add(case, "failure", f"{c.decision}: {told}")
        elif c.decision == "undecided" and undecided_is is None:
            _add(case, "error", f"undecided: {told}")
        _text(ElementTree.SubElement(case, "system-out"), told)
        for check in c.checks:
            case = _case(suite, c, WORDS[check.name])
            told = f"{_share(check.candidate)}, of the baseline {_share(check.baseline)}"
            if check.state == "shown":
                _add(case, "failure", told)
            elif check.state == "suspected":
                _add(case, "failure" if undecided_is == "fail" else "error", told)
            elif check.state == "unknown":
                _add(case, "skipped", "the logs do not say")
    for tag in ("failure", "error", "skipped"):
        name = {"failure": "failures", "error": "errors"}.get(tag, tag)
        for element in (root, suite):
            element.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    for element in (root, suite):
        element.set("tests", str(len(suite.findall("testcase"))))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _limit(found: Gate) -> str:
    return _points(found.terms.margin)


def _case(suite: ElementTree.Element, c: Comparison, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite,
        "testcase",
        classname=printable(f"em_evals.{c.family}"),
        name=printable(f"{c.checkpoint}: {name}"),
        time="0",
    )


def _add(case: ElementTree.Element, tag: str, message: str) -> None:
    _text(ElementTree.SubElement(case, tag, message=printable(message)), message)


def _text(element: ElementTree.Element, text: str) -> None:
    element.text = printable(text)


def printable(text: str) -> str:
    """A name from a log without characters that no XML may hold, or that steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
