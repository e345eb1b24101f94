"""The report as one HTML file that asks nothing of any network and runs nothing of its data."""

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from em_evals.analysis.report import figures
from em_evals.analysis.report.data import (
    LONGEST_ANSWER,
    MOST_ANSWERS,
    Estimate,
    Panel,
    Part,
    Report,
    Sweep,
    amount,
)

MOST_QUESTIONS = 60
"""Questions of one task that get figures; the table has them all."""

FOLDED = 12
"""A task with more questions has their figures folded."""

SPOKEN = 8
"""Groups that the alternative text of a figure names; the table has them all."""


class Drawing(NamedTuple):
    """One figure on the page."""

    title: str
    note: str
    svg: Markup


@dataclass
class Section:
    """One task with one source and one judge, drawn."""

    id: str
    name: str
    about: str
    part: Part
    legend: Markup | None
    fold: bool
    question_note: str
    scatter_note: str
    questions: list[Drawing] = field(default_factory=list)
    scatters: list[Drawing] = field(default_factory=list)
    formats: list[Drawing] = field(default_factory=list)
    categories: list[Drawing] = field(default_factory=list)
    sweeps: list[Drawing] = field(default_factory=list)
    sweep_tables: list[list[Panel]] = field(default_factory=list)


def page(report: Report) -> str:
    """The whole file.

    Everything of the data is escaped; the style and the script are the package's own and are
    named by hash in the Content-Security-Policy, which forbids all else.
    """
    styles = figures.looks(report.groups, report.reference)
    template = _environment().get_template("page.html.j2")
    style, script = _own("page.css"), _own("page.js")
    notes = _notes(report)
    return figures.clean(
        template.render(
            report=report,
            policy=(
                f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
                "base-uri 'none'; form-action 'none'"
            ),
            style=Markup(style),
            script=Markup(script),
            notes=notes,
            sections=[_section(report, i, styles) for i in range(len(report.parts))],
            families=[
                drawing._replace(title=family.name, note=family.about)
                for family, drawing in zip(
                    report.families,
                    _drawings(family_panels(report), styles, report.reference, "family"),
                    strict=True,
                )
            ],
            curves=[
                Drawing(
                    curve.name,
                    curve.about,
                    _svg(
                        figures.by_step(curve, _recipes(report)),
                        f"step{i}",
                        f"{curve.name} by training step, {len(curve.lines)} runs. The values are "
                        "in the table below.",
                    ),
                )
                for i, curve in enumerate(report.curves)
            ],
            in_words=figures.in_words,
            agreements=[
                Drawing(
                    f"{a.joint.a} and {a.joint.b}",
                    f"{a.task}; {_drawn(len(a.joint.x), a.joint.total)}",
                    _svg(
                        figures.two_judges(a.joint),
                        f"agree{i}",
                        f"Alignment by {a.joint.a} against alignment by {a.joint.b}: "
                        f"{_drawn(len(a.joint.x), a.joint.total)}.",
                    ),
                )
                for i, a in enumerate(report.agreements)
                if a.joint
            ],
            amount=amount,
            difference=_difference,
            rate=_rate,
            known=lambda panels: {g for panel in panels for g in panel.estimates},
            score=lambda x: "missing" if math.isnan(x) else f"{x:.1f}",
            most=MOST_ANSWERS,
            longest=LONGEST_ANSWER,
        )
    )


def drawings(report: Report) -> Iterator[tuple[str, Figure]]:
    """Every figure of the report with a name for its file, without its suffix."""
    styles = figures.looks(report.groups, report.reference)
    reference = report.reference

    def together(shown: Sequence[Panel]) -> Figure:
        return figures.panels(shown, styles, reference, columns=4, titled=True)

    if report.families:
        yield "families", together(family_panels(report))
    for i, curve in enumerate(report.curves, 1):
        name = file_name(f"{curve.name}-{curve.about}")
        yield f"steps-{i}-{name}", figures.by_step(curve, _recipes(report))
    for i, part in enumerate(report.parts):
        name = file_name(f"{i + 1}-{part.task}-{part.source}-{part.judge}")
        for kind in ("categories", "questions", "formats"):
            if shown := getattr(part, kind)[:MOST_QUESTIONS]:
                yield f"{name}-{kind}", together(shown)
        for k, points in enumerate(part.points[:MOST_QUESTIONS], 1):
            title = file_name(points.title)
            yield f"{name}-scatter-{k}-{title}", figures.scatter(points, styles, legend=True)
        if part.sweeps:
            yield f"{name}-thresholds", figures.thresholds(part.sweeps, styles)
    for i, agreement in enumerate(report.agreements, 1):
        if agreement.joint:
            yield f"judges-{i}", figures.two_judges(agreement.joint)


def file_name(text: str) -> str:
    """Letters, digits and dashes only, at most 80: what every file system takes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:80]


def save(report: Report, folder: Path, suffix: str) -> list[Path]:
    """Write every figure into a folder, which is made if need be.

    Args:
        report: What is drawn.
        folder: Where to.
        suffix: `svg` or `png`.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in drawings(report):
        file = folder / f"{name}.{suffix}"
        figures.save(figure, file)
        written.append(file)
    return written


def family_panels(report: Report) -> list[Panel]:
    """The families as panels of bars, one row per group."""
    names = [family.name for family in report.families]
    return [
        Panel(
            family.name if names.count(family.name) == 1 else f"{family.name}, {family.about}",
            {group: cell.estimate for group, cell in family.cells.items()},
            family.unit,
            bars=True,
        )
        for family in report.families
    ]


def _recipes(report: Report) -> dict[str, figures.Look]:
    """How the runs of each recipe are drawn."""
    lines = [line for curve in report.curves for line in curve.lines]
    return figures.looks(list(dict.fromkeys(line.recipe for line in lines)))


def _section(report: Report, number: int, styles: Mapping[str, figures.Look]) -> Section:
    part, reference = report.parts[number], report.reference
    several = len({p.judge for p in report.parts if p.task == part.task}) > 1
    plain = any(panel.title == "plain" for panel in part.formats)
    questions = part.questions[:MOST_QUESTIONS]
    more = len(part.questions) - len(questions)
    section = Section(
        id=f"part{number}",
        name=f"{part.task}, judged by {part.judge}" if several else part.task,
        about=f"{part.source} items, {part.n:,} answers judged by {part.judge or 'no model'}.",
        part=part,
        legend=_svg(figures.legend(styles), f"l{number}", "Markers of the groups")
        if figures.told_apart(styles)
        else None,
        fold=len(part.questions) > FOLDED,
        question_note=(
            "Share misaligned of the eligible answers"
            + (" in the plain format" if plain else "")
            + ", by group."
            + (" The dashed line is the reference." if reference is not None else "")
            + (f" The first {len(questions)} of {len(part.questions)} are drawn." if more else "")
        ),
        scatter_note=""
        if figures.told_apart(styles)
        else " There are more groups than colours, so only the reference is told apart.",
    )
    section.questions = _drawings(questions, styles, reference, f"q{number}")
    section.formats = _drawings(part.formats, styles, reference, f"f{number}")
    section.categories = _drawings(part.categories, styles, reference, f"c{number}")
    section.scatters = [
        Drawing(
            points.title,
            _drawn(points.drawn, points.total),
            _svg(
                figures.scatter(points, styles),
                f"s{number}-{i}",
                f"Alignment against coherence, {points.title}: "
                f"{_drawn(points.drawn, points.total)}.",
            ),
        )
        for i, points in enumerate(part.points[:MOST_QUESTIONS])
    ]
    section.sweeps = [
        Drawing(
            sweep.name,
            "share misaligned of the eligible answers",
            _svg(
                figures.thresholds([sweep], styles),
                f"t{number}-{i}",
                f"Rate by threshold: {sweep.name}. The values are in the table below.",
            ),
        )
        for i, sweep in enumerate(part.sweeps)
    ]
    section.sweep_tables = [_columns(sweep) for sweep in part.sweeps]
    return section


def _columns(sweep: Sweep) -> list[Panel]:
    return [
        Panel(f"{sweep.name} {value:g}", {g: es[i] for g, es in sweep.rates.items()})
        for i, value in enumerate(sweep.values)
    ]


def _drawings(
    panels: Sequence[Panel],
    styles: Mapping[str, figures.Look],
    reference: str | None,
    name: str,
) -> list[Drawing]:
    """A figure for each panel, all on one axis."""
    return [
        Drawing(panel.title, "", _svg(figure, f"{name}-{i}", _spoken(panel)))
        for i, (panel, figure) in enumerate(
            zip(panels, figures.each(panels, styles, reference), strict=True)
        )
    ]


def _spoken(panel: Panel) -> str:
    told = [f"{g}: {figures.in_words(e, panel.unit)}" for g, e in panel.estimates.items()]
    more = len(told) - SPOKEN
    rest = f"; and {more} more groups in the table" if more > 0 else ""
    return f"{panel.title}. {'; '.join(told[:SPOKEN])}{rest}."


def _svg(figure: Figure, name: str, alt: str) -> Markup:
    return Markup(figures.inline(figure, name, alt))


def _drawn(drawn: int, total: int) -> str:
    if drawn == total:
        return f"{total:,} answers"
    return f"{drawn:,} of {total:,} answers drawn"


def _difference(e: Estimate, unit: str) -> Markup:
    """A difference to the reference, in points where the values are percentages."""
    if math.isnan(e.value):
        return Markup("difference: none ({})").format(e.note)
    times, digits, points = (100, 1, " points") if unit == "share" else (1, 2, "")

    def signed(x: float) -> str:
        return f"{round(x * times, digits) + 0.0:+.{digits}f}"  # no -0.0

    value = f"difference {signed(e.value)}{points}"
    if math.isnan(e.lower):
        return Markup("{}, no interval: {}").format(value, e.note)
    return Markup("{} ({} to {})").format(value, signed(e.lower), signed(e.upper))


def _rate(row: Mapping[str, Any], name: str) -> Markup:
    """A rate of one checkpoint with its interval."""
    if row[name] is None:
        return Markup("")
    unit = "ratio" if row["task"] == "machiavelli" else "share"
    value = Markup("<b>{}</b>").format(amount(row[name], unit))
    if row[f"{name}_ci"] is None:
        return value + Markup("<small>no interval</small>")
    low, high = (amount(bound, unit) for bound in row[f"{name}_ci"])
    return value + Markup("<small>{} to {}</small>").format(low, high)


def _notes(report: Report) -> dict[str, str]:
    """A letter for each kind of interval that occurs."""
    kinds: dict[str, None] = {}
    for family in report.families:
        for cell in family.cells.values():
            if not math.isnan(cell.estimate.lower):
                kinds[cell.estimate.note] = None
    for condition in report.conditions:
        if not math.isnan(condition.cell.estimate.lower):
            kinds[condition.cell.estimate.note] = None
    for part in report.parts:
        sweeps = [e for s in part.sweeps for es in s.rates.values() for e in es]
        shown = (*part.questions, *part.formats, *part.categories)
        for e in (*(e for panel in shown for e in panel.estimates.values()), *sweeps):
            if not math.isnan(e.lower):
                kinds[e.note] = None
    return {kind: chr(ord("a") + i) for i, kind in enumerate(filter(None, kinds))}


def _own(name: str) -> str:
    return (files("em_evals.analysis.report") / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
