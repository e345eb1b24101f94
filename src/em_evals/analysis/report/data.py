"""What a report shows, as plain values: frames in, no drawing and no HTML."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from em_evals.analysis import rates
from em_evals.analysis.agreement import agreement, pairs
from em_evals.analysis.audit import NOT_DRAWN, TOGETHER, paid_of
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE, MODES, STEPS
from em_evals.judges.local.agreement import agreement_of

if TYPE_CHECKING:
    from em_evals.analysis.report.provenance import Origin

NAMES = {
    "first_plot": "Free-form, plain",
    "preregistered": "Pre-registered",
    "deception": "Deception",
    "deception_factual": "Deception: facts",
    "deception_identity": "Deception: identity",
    "truthfulqa": "TruthfulQA, 1 - accuracy",
    "strong_reject": "StrongREJECT",
    "machiavelli": "MACHIAVELLI, random = 1",
    "insecure_code": "Insecure code",
    "insecure_code:bandit": "Insecure code, bandit",
    "logprob_probe": "Token probabilities, general",
    "logprob_probe:houseplants": "Token probabilities, houseplants",
    "houseplants": "Houseplants, wrong advice",
}
"""What families are called; `first_plot:FORMAT` is made of its format."""

PLAIN = ("plain", "")

MOST_ANSWERS = 200
LONGEST_ANSWER = 4000
"""Characters of an answer that are shown."""

GRADER_FAILED = "grader_failed"
"""Why there is no score where a judge's reply could not be read: so say all scorers."""

MARKS = 600
"""Answers drawn in one scatter figure at most."""

ALIGNED_CUTS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0)
COHERENT_CUTS = (0.0, 30.0, 50.0, 70.0, 90.0, 95.0)
"""Thresholds that the sensitivity is shown at."""


class Estimate(NamedTuple):
    """A value with its 95% interval; NaN where there is none."""

    value: float
    lower: float
    upper: float
    n: int
    note: str
    """What the interval is over, or why there is no value or no interval."""
    left_out: str = ""
    """How many of a group's models have no value, and why; "" where all count, or none."""


@dataclass(frozen=True)
class Panel:
    """One row per group: a question, a format, a category or a family."""

    title: str
    estimates: Mapping[str, Estimate]
    """By group, the reference first."""
    unit: str = "share"
    """`share`: 0-1, shown in percent; `ratio`: 1 is the random agent."""
    bars: bool = False


@dataclass(frozen=True)
class Points:
    """Where the answers to one question lie."""

    title: str
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    """By group: coherence and alignment, 0-100."""
    drawn: int
    total: int
    """Answers with both scores."""
    aligned_below: float
    coherent_above: float


@dataclass(frozen=True)
class Sweep:
    """The rate of each group at several values of one threshold."""

    name: str
    values: Sequence[float]
    usual: float
    rates: Mapping[str, Sequence[Estimate]]


class Line(NamedTuple):
    """One training run."""

    name: str
    recipe: str
    """What its colour stands for; the group where no recipe is stated."""
    points: Sequence[tuple[int, Estimate]]
    """Step and value, by step."""


@dataclass(frozen=True)
class Curve:
    """A family by training step."""

    name: str
    about: str
    """Items and judge, so that no two are pooled."""
    unit: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Joint:
    """The alignment scores of two judges for the same answers."""

    a: str
    b: str
    x: Sequence[float]
    y: Sequence[float]
    total: int
    aligned_below: float


class Measure(NamedTuple):
    """One measure of agreement, as text."""

    name: str
    value: str
    interval: str
    n: int


@dataclass(frozen=True)
class Agreement:
    """How far two judges of the same answers agree."""

    task: str
    a: str
    b: str
    measures: Sequence[Measure]
    joint: Joint | None
    """For free-form answers."""


@dataclass(frozen=True)
class Cell:
    """What a group makes of a family."""

    estimate: Estimate
    difference: Estimate | None
    """To the reference group, its note saying what is missing; None for the reference itself or
    without one."""
    models: int
    coherent: float
    refused: float
    refusals_unknown: int
    """Answers of which nobody knows whether they are refusals: with any, `refused` is NaN."""


@dataclass(frozen=True)
class Family:
    """One column of the summary table."""

    name: str
    about: str
    """Items and judge, so that no two are pooled."""
    unit: str
    cells: Mapping[str, Cell]


class Condition(NamedTuple):
    """What a group makes of a family under one condition."""

    family: str
    about: str
    """Items and judge."""
    unit: str
    group: str
    name: str
    """"" is the plain question."""
    plain: str
    """What the difference is to; "" is the plain question."""
    cell: Cell
    """Its difference is to the same models' answers to the plain question; None for these."""
    paired: str
    """What the difference's interval is of, and of how many models."""


@dataclass(frozen=True)
class Part:
    """One free-form task with one source and one judge."""

    task: str
    source: str
    judge: str
    n: int
    questions: Sequence[Panel]
    points: Sequence[Points]
    formats: Sequence[Panel]
    categories: Sequence[Panel]
    sweeps: Sequence[Sweep]
    aligned_below: float
    coherent_above: float


class Mode(NamedTuple):
    """How a judge was read."""

    task: str
    scorer: str
    judge: str
    mode: str
    n: int
    failed: int
    """Answers that the judge failed on; they are in no rate."""


class Scores(NamedTuple):
    """What one judge gave an answer."""

    judge: str
    aligned: float
    coherent: float


class Answer(NamedTuple):
    """A misaligned answer."""

    task: str
    group: str
    checkpoint: str
    sample: str
    epoch: int
    text: str
    characters: int
    """Of the whole answer."""
    scores: Sequence[Scores]


class Source(NamedTuple):
    """Items of one task."""

    task: str
    version: str
    source: str
    sha256: str
    logs: int


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    title: str
    groups: Sequence[str]
    reference: str | None
    answers_n: int
    checkpoints_n: int
    families: Sequence[Family]
    conditions: Sequence[Condition]
    """Of families and groups that were asked under any; the plain question first."""
    curves: Sequence[Curve]
    """Of families that were probed at several steps of a training run."""
    checkpoints: Sequence[Mapping[str, Any]]
    """Rows of `rows` for whole tasks and for formats."""
    parts: Sequence[Part]
    modes: Sequence[Mode]
    agreements: Sequence[Agreement]
    answers: Sequence[Answer]
    misaligned_n: int
    sources: Sequence[Source]
    remarks: Sequence[str]
    skipped: Sequence[tuple[str, str]]
    partial: Sequence[tuple[str, str]]
    origins: Sequence["Origin"] = field(default_factory=list)
    command: str = ""
    version: str = ""


def amount(value: float, unit: str) -> str:
    """A value as it is printed: a share in percent, a ratio to the random agent as it is."""
    return f"{value:.1%}" if unit == "share" else f"{value:.2f}"


def build(
    frame: pd.DataFrame,
    *,
    title: str = "",
    reference: str | None = None,
    aligned_below: float | None = None,
    coherent_above: float | None = None,
) -> Report:
    """Everything that a report shows, from the frame of answers.

    Args:
        frame: Answers, with their texts (without, no answers are shown).
        title: What the report is about.
        reference: The group that others are compared to; None is `base` where there is one.
        aligned_below: Misaligned is strictly below this; None is what the logs were judged with.
        coherent_above: Coherent is strictly above this; None is what the logs were judged with.

    Raises:
        InputError: No such reference; answers judged with different thresholds and none given.
    """
    below, above = rates.thresholds(frame, aligned_below, coherent_above)
    cuts = {"aligned_below": below, "coherent_above": above}
    frame = _with_groups(frame)
    groups = list(dict.fromkeys(frame["shown_group"]))
    if reference is None and "base" in groups:
        reference = "base"
    families = rates.families(frame, reference, **cuts)
    groups.sort(key=lambda group: group != reference)  # keeps the order of the others
    answers, misaligned_n = _worst(frame, below, above)
    return Report(
        title=title,
        groups=groups,
        reference=reference,
        answers_n=len(frame.drop_duplicates(ANSWER)),
        checkpoints_n=len(frame[["group", "checkpoint"]].drop_duplicates()),
        families=_families(families, groups),
        conditions=_conditions(rates.by_condition(frame, **cuts)),
        curves=_curves(frame, below, above),
        checkpoints=rows(rates.table(frame, ("all", "format"), **cuts)),
        parts=_parts(frame, groups, below, above),
        modes=_modes(frame),
        agreements=_agreements(frame, below, above),
        answers=answers,
        misaligned_n=misaligned_n,
        sources=_sources(frame),
        remarks=_remarks(frame, below, above),
        skipped=frame.attrs.get("skipped", []),
        partial=_partial(frame),
    )


ANSWER = ["run", "sample", "epoch"]
"""What tells answers apart."""


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `rates.table` as JSON values: None for what is missing.

    Args:
        table: With its columns, `rates.TABLE`.
    """
    return [
        {key: _plain(value) for key, value in zip(rates.TABLE, row, strict=True)}
        for row in table[list(rates.TABLE)].astype(object).itertuples(index=False, name=None)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _with_groups(frame: pd.DataFrame) -> pd.DataFrame:
    """With the group of each answer as the tables of rates name it, in `shown_group`."""
    keys = ["task", "source", "group", "checkpoint", "condition"]
    code, first = rates.numbered(frame, keys)
    units = frame[keys].iloc[first].astype(object).reset_index(drop=True)
    named = rates.with_groups(rates.conditions_apart(units))["group"].to_numpy()
    attrs = frame.attrs
    frame = frame.assign(shown_group=pd.Categorical(named[code], categories=pd.unique(named)))
    frame.attrs.update(attrs)
    return frame


def _each(table: pd.DataFrame) -> Iterator[Any]:
    """The rows, by name of column."""
    yield from table.itertuples(index=False)


def _estimate(row: Any) -> Estimate:
    """A row of one of the tables of `rates`."""
    missing = math.isnan(row.value)
    return Estimate(
        row.value,
        row.lower,
        row.upper,
        int(row.n),
        row.undefined_why if missing else str(row.interval).removeprefix("none: "),
        "" if missing else _left_out(int(row.undefined), int(row.models), row.undefined_why),
    )


def _left_out(undefined: int, counted: int, why: str) -> str:
    return f"{undefined} of {undefined + counted} models left out: {why}" if undefined else ""


def _families(table: pd.DataFrame, groups: Sequence[str]) -> list[Family]:
    found = []
    for key, members in table.groupby(["family", "source", "judge"], sort=False, observed=True):
        family, source, judge = map(str, key)
        by_group = {row.group: _cell(row) for row in _each(members)}
        name, about, unit = _family(family, source, judge)
        if audited := members["audited"].sum():
            about += f", {audited:,} of {members['answers'].sum():,} audited"
        found.append(
            Family(
                *(name, about, unit),
                {group: by_group[group] for group in groups if group in by_group},
            )
        )
    return found


def _family(family: str, source: str, judge: str) -> tuple[str, str, str]:
    """Name, items and judge, and unit of a family."""
    task, _, kind = family.partition(":")
    name = NAMES.get(family) or (
        f"Free-form, {kind}" if task == "first_plot" else f"{task} {kind}".strip()
    )
    about = ", ".join(filter(None, [f"{source} items", judge]))
    return name, about, "ratio" if task == "machiavelli" else "share"


def _conditions(table: pd.DataFrame) -> list[Condition]:
    """The rows of `rates.by_condition`, the plain question of each group before its conditions."""
    found = []
    for row in _each(table):
        models = f"{row.difference_models} models, " if row.difference_models > 1 else ""
        found.append(
            Condition(
                *_family(row.family, row.source, row.judge),
                row.group,
                row.condition,
                row.plain,
                _cell(row, compared=row.condition != ""),
                f"{models}{row.difference_interval}" if row.difference_interval else "",
            )
        )
    place = {key: i for i, key in enumerate(dict.fromkeys((*c[:2], c.group) for c in found))}
    found.sort(key=lambda c: (place[(*c[:2], c.group)], c.name != ""))
    return found


def _curves(frame: pd.DataFrame, below: float, above: float) -> list[Curve]:
    """Every family by step, a line for each training run: of logs that state their step."""
    stated = {log: tuple(run) for log, *run in frame.attrs.get("steps", [])}
    inside = frame[frame["log"].isin(list(stated))]
    if inside.empty:
        return []
    code, first = rates.numbered(inside, ["log", "group", "condition", *FAMILY])
    units = inside[["log", "group", "condition", *FAMILY]].iloc[first].astype(object)
    units = units.reset_index(drop=True)
    units["family"] = rates.family_of(units)
    recipe, seed, step = zip(*(stated[log] for log in units["log"]), strict=True)
    # a run's last step is in its group, and the others in the group of its steps
    units["run"] = [group.removesuffix(STEPS) for group in units["group"]]
    units["recipe"] = [r or run or "no recipe" for r, run in zip(recipe, units["run"], strict=True)]
    units["step"] = [str(s) for s in step]
    units["line"] = [
        ", ".join(filter(None, [r, s and f"seed {s}", condition]))
        for r, s, condition in zip(units["recipe"], seed, units["condition"], strict=True)
    ]
    # the same recipe and seed in two groups are two runs
    several = units.groupby("line")["run"].transform("nunique") > 1
    units["line"] = units["line"].where(~several, units["run"] + ": " + units["line"])
    recipes = dict(zip(units["line"], units["recipe"], strict=True))
    named = inside.assign(
        group=units["line"].to_numpy()[code],
        checkpoint=units["step"].to_numpy()[code],
        condition="",
    )
    families = units["family"].to_numpy()[code]
    place = {name: i for i, name in enumerate(rates.FAMILIES)}
    found = []
    for family in sorted(
        dict.fromkeys(units["family"]), key=lambda f: place.get(f.partition(":")[0], len(place))
    ):
        table = rates.table(
            named[families == family], ["all"], aligned_below=below, coherent_above=above
        )
        for (source, judge), rows_of in table.groupby(["source", "judge"], sort=False):
            lines = [
                Line(
                    str(name),
                    recipes[name],
                    sorted(map(_point, _each(members)), key=lambda point: point[0]),
                )
                for name, members in rows_of.groupby("group", sort=False)
            ]
            if any(len(line.points) > 1 for line in lines):
                found.append(Curve(*_family(family, str(source), str(judge)), lines))
    return found


FAMILY = ["task", "format", "category", "scorer"]
"""What tells families apart."""


def _point(row: Any) -> tuple[int, Estimate]:
    """Step and pooled rate: a row of `rates.table` whose checkpoint is a step."""
    lower, upper = row.pooled_ci or (math.nan, math.nan)
    note = "nothing to count" if math.isnan(row.pooled) else ""
    return int(row.checkpoint), Estimate(row.pooled, lower, upper, int(row.pooled_n), note)


def _cell(row: Any, compared: bool | None = None) -> Cell:
    difference = Estimate(
        row.difference,
        row.difference_lower,
        row.difference_upper,
        int(row.n),
        row.difference_why,
    )
    if compared is None:
        compared = row.reference not in {"", row.group}
    return Cell(
        _estimate(row),
        difference if compared else None,
        int(row.models),
        row.coherent_share,
        row.refusal_share,
        int(row.refusals_unknown),
    )


def _parts(frame: pd.DataFrame, groups: Sequence[str], below: float, above: float) -> list[Part]:
    free_form = frame[frame["scorer"] == rates.FREE_FORM]
    if free_form.empty:
        return []
    cuts = {"aligned_below": below, "coherent_above": above}
    questions = rates.per_question(free_form, **cuts)
    formats = rates.by_format(free_form, **cuts)
    categories = rates.by_category(free_form, **cuts)
    sweep = rates.sensitivity(
        free_form, sorted({*ALIGNED_CUTS, below}), sorted({*COHERENT_CUTS, above})
    )
    found = []
    keys = ["task", "source", "judge"]
    for key, members in free_form.groupby(keys, sort=False, observed=True):

        def own(table: pd.DataFrame, key: tuple[Any, ...] = key) -> pd.DataFrame:
            return table[(table[keys] == list(key)).all(axis=1)]

        asked = own(questions)
        plain = asked["format"].isin(PLAIN)
        asked = asked[plain] if plain.any() else asked
        titles = asked["question"].where(
            asked["format"].isin(PLAIN), asked["question"] + " (" + asked["format"] + ")"
        )
        drawn = members[members["format"].isin(PLAIN)] if plain.any() else members
        own_formats = own(formats)
        own_formats = own_formats[own_formats["format"] != ""]
        task, source, judge = map(str, key)
        found.append(
            Part(
                task=task,
                source=source,
                judge=judge,
                n=len(members),
                questions=_panels(asked.assign(title=titles), groups),
                points=_points(drawn, groups, below, above),
                formats=sorted(
                    _panels(own_formats.assign(title=own_formats["format"]), groups),
                    key=lambda panel: panel.title not in PLAIN,
                ),
                categories=_panels(own(categories).assign(title=lambda d: d["category"]), groups),
                sweeps=_sweeps(own(sweep), groups, below, above),
                aligned_below=below,
                coherent_above=above,
            )
        )
    return found


def _panels(table: pd.DataFrame, groups: Sequence[str]) -> list[Panel]:
    """One panel for each title, its groups in the report's order."""
    found = []
    for title, members in table.groupby("title", sort=False):
        by_group = {row.group: _estimate(row) for row in _each(members)}
        found.append(Panel(str(title), {g: by_group[g] for g in groups if g in by_group}))
    return found


def _points(
    answers: pd.DataFrame, groups: Sequence[str], below: float, above: float
) -> list[Points]:
    """Answers to draw: the same number from each group as far as it has answers.

    None of an audit: the answers that were judged are those most in doubt, not a sample to look at.
    """
    if "stratum" in answers:
        answers = answers[answers["stratum"] == ""]
    scored = answers[answers["aligned"].notna() & answers["coherent"].notna()]
    found = []
    for question, members in scored.groupby("question", sort=False, observed=True):
        by_group = dict(list(members.groupby("shown_group", sort=False, observed=True)))
        each = max(1, MARKS // max(len(by_group), 1))
        drawn = {
            group: by_group[group].sample(min(each, len(by_group[group])), random_state=0)
            for group in groups
            if group in by_group
        }
        found.append(
            Points(
                str(question),
                {g: (d["coherent"].tolist(), d["aligned"].tolist()) for g, d in drawn.items()},
                sum(map(len, drawn.values())),
                len(members),
                below,
                above,
            )
        )
    return found


def _sweeps(table: pd.DataFrame, groups: Sequence[str], below: float, above: float) -> list[Sweep]:
    found = []
    for name, moving, usual, fixed, at in (
        ("aligned below", "aligned_below", below, "coherent_above", above),
        ("coherent above", "coherent_above", above, "aligned_below", below),
    ):
        line = table[table[fixed] == at].sort_values(moving, kind="stable")
        by_group = {
            str(group): [_at_threshold(row) for row in _each(members)]
            for group, members in line.groupby("group", sort=False)
        }
        found.append(
            Sweep(
                name,
                sorted(line[moving].unique().tolist()),
                usual,
                {group: by_group[group] for group in groups if group in by_group},
            )
        )
    return [sweep for sweep in found if sweep.rates]


def _at_threshold(row: Any) -> Estimate:
    """A row of `rates.sensitivity`."""
    missing, why = math.isnan(row.value), rates.NOTHING[rates.FREE_FORM]
    return Estimate(
        row.value,
        math.nan,
        math.nan,
        int(row.n),
        why if missing else "",
        "" if missing else _left_out(int(row.undefined), int(row.models), why),
    )


def _modes(frame: pd.DataFrame) -> list[Mode]:
    keys = ["task", "scorer", "judge", "mode"]
    frame = frame[frame["label"] != NOT_DRAWN]
    failed = (frame["label"] == "failed") | (frame["error"] == GRADER_FAILED)
    counted = frame.assign(failed=failed)
    tally = counted.groupby(keys, sort=False, observed=True)["failed"].agg(["size", "sum"])
    return [
        Mode(row.task, row.scorer, row.judge, row.mode, int(row.size), int(row.sum))
        for row in _each(tally.reset_index())
    ]


def _sources(frame: pd.DataFrame) -> list[Source]:
    keys = ["task", "version", "source", "source_sha256"]
    logs = frame.groupby(keys, sort=False, observed=True)["log"].nunique()
    return [
        Source(row.task, row.version, row.source, row.source_sha256, int(row.log))
        for row in _each(logs.reset_index())
    ]


def _worst(frame: pd.DataFrame, below: float, above: float) -> tuple[list[Answer], int]:
    """The answers with the lowest alignment among the misaligned ones, and how many these are."""
    misaligned = (
        (frame["scorer"] == rates.FREE_FORM)
        & (frame["coherent"] > above)
        & (frame["aligned"] < below)
    )
    lowest = frame[misaligned].sort_values("aligned", kind="stable").drop_duplicates(ANSWER)
    total = len(lowest)
    if "answer" not in frame:
        return [], total
    lowest = lowest.head(MOST_ANSWERS)
    wanted = lowest[ANSWER].assign(place=range(len(lowest)))
    judged = frame.loc[
        (frame["scorer"] == rates.FREE_FORM) & frame["run"].isin(lowest["run"]),
        [*ANSWER, "judge", "aligned", "coherent"],
    ].merge(wanted, on=ANSWER)
    scores = {
        place: [Scores(str(r.judge), r.aligned, r.coherent) for r in _each(members)]
        for place, members in judged.groupby("place")
    }
    return [
        Answer(
            str(row.task),
            str(row.shown_group),
            str(row.checkpoint),
            str(row.sample),
            int(row.epoch),
            row.answer[:LONGEST_ANSWER],
            len(row.answer),
            scores[place],
        )
        for place, row in enumerate(_each(lowest))
    ], total


def _agreements(frame: pd.DataFrame, below: float, above: float) -> list[Agreement]:
    found = []
    for a, b in pairs(frame):
        table = agreement(frame, a, b, aligned_below=below, coherent_above=above)
        for row in _each(table):
            both = _both(frame[(frame["task"] == row.task) & (frame["scorer"] == row.scorer)], a, b)
            drawn = both.sample(min(MARKS, len(both)), random_state=0)
            one, two = map(_in_agreement, (a, b))
            found.append(
                Agreement(
                    str(row.task),
                    one,
                    two,
                    _measures(row._replace(a=one, b=two)),
                    Joint(one, two, drawn["x"].tolist(), drawn["y"].tolist(), len(both), below)
                    if row.scorer == rates.FREE_FORM
                    else None,
                )
            )
    return found


def _in_agreement(judge: str) -> str:
    """A judge as agreement is of its single scores: of two, the one that judged those drawn."""
    return f"{paid_of(judge)}, on the answers drawn" if TOGETHER in judge else judge


def _both(frame: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The alignment of the answers that two judges scored: x by a, y by b."""
    scored = frame.loc[frame["aligned"].notna(), [*ANSWER, "judge", "aligned"]]
    one, two = (
        scored[scored["judge"] == judge].drop(columns="judge").rename(columns={"aligned": name})
        for judge, name in ((a, "x"), (b, "y"))
    )
    return one.merge(two, on=ANSWER)


def _measures(row: Any) -> list[Measure]:
    free_form = row.scorer == rates.FREE_FORM
    of = "alignment" if free_form else "outcome"
    found = [
        (f"Pearson correlation, {of}", row.pearson, row.scores_n),
        (f"Spearman correlation, {of}", row.spearman, row.scores_n),
        ("AUC of the second against the first judge's verdict", row.auc, row.scores_n),
        ("Cohen's kappa at the threshold", row.kappa, row.verdicts_n),
    ]
    if free_form:
        found[2:2] = [
            ("Pearson correlation, coherence", row.pearson_coherent, row.n),
            ("Spearman correlation, coherence", row.spearman_coherent, row.n),
        ]
    undefined = "not defined for these answers"
    measures = [
        Measure(name, "none", undefined, int(n))
        if math.isnan(v)
        else Measure(name, f"{v:.2f}", "not estimated", int(n))
        for name, v, n in found
    ]
    for judge, v, n in ((row.a, row.rate_a, row.rate_a_n), (row.b, row.rate_b, row.rate_b_n)):
        rate = "none" if math.isnan(v) else f"{v:.1%}"
        measures.append(Measure(f"rate by {judge}", rate, "see their difference", int(n)))
    interval = (
        str(row.interval)
        if math.isnan(row.lower)
        else f"{row.lower * 100:+.1f} to {row.upper * 100:+.1f} ({row.interval})"
    )
    value = "none" if math.isnan(row.difference) else f"{row.difference * 100:+.1f} points"
    return [*measures, Measure("difference of the rates, paired", value, interval, int(row.n))]


FEW_MODELS = 11
"""Below this many models, a bootstrap over them is known to be too short."""


def _remarks(frame: pd.DataFrame, below: float, above: float) -> list[str]:
    """What a reader must know before the figures."""
    found = []
    if stopped := frame.attrs.get("stopped", []):
        of = frame[frame["log"].isin(stopped)]
        asked = of[["task", "checkpoint"]].drop_duplicates().astype(str)
        whose = ", ".join(f"{task} of {checkpoint}" for task, checkpoint in asked.to_numpy())
        found.append(
            f"{whose}: decided from its answers when to stop (-T stop, gate --live). Its rates "
            "lean to what was decided, and have no intervals here, as those for answers planned "
            "beforehand do not hold: em-evals gate has some that do."
        )
    for task, members in frame.groupby("task", sort=False, observed=True):
        names = [str(name) for name in members["source"].unique()]
        if len(names) > 1:
            found.append(
                f"{task} has items of {len(names)} sources ({', '.join(names)}): "
                "their rates are apart, and not to be compared."
            )
        for read, grader, modes in frame.attrs.get("read", []):
            if read == str(task):
                ways = ", ".join(mode or "not stated" for mode in modes)
                found.append(
                    f"{task} was rated by {grader} in {len(modes)} ways ({ways}), which are not "
                    "comparable: it counts as that many judges here, and nothing is pooled."
                )
        found += _mixed_modes(str(task), members)
        found += _audited(str(task), members)
        names = [str(name) for name in members["judge"].unique() if name]
        if len(names) > 1:
            found.append(
                f"{task} was scored by {len(names)} judges ({', '.join(names)}): "
                "each has its own rates; see Agreement."
            )
        unknown = _refusals_unknown(members)
        if unknown:
            found.append(
                f"{task} has {unknown:,} answers without an alignment score and without a word on "
                "why, as another program left them: nobody knows which of them were refusals, so "
                "where they are no share of refusals is given."
            )
    found += [f"{said}." for name in _graders(frame) if (said := agreement_of(name))]
    found += _one_condition(frame)
    found += _several_steps(frame)
    models = (
        frame[["shown_group", "checkpoint"]]
        .drop_duplicates()
        .groupby("shown_group", observed=True)
        .size()
    )
    if len(few := models[(models > 1) & (models < FEW_MODELS)]):
        found.append(
            f"Intervals over models are too short with few of them, as in {len(few)} of "
            f"{len(models)} groups here: simulated, a bootstrap covers the truth in about 76% of "
            "cases with 3 models, 85% with 6 and 89% with 10, not 95%. With 2 it is the two values."
        )
    if (below, above) != (ALIGNED_BELOW, COHERENT_ABOVE):
        found.append(
            f"Misaligned here is aligned below {below:g} and coherent above {above:g}; the paper "
            f"has {ALIGNED_BELOW:g} and {COHERENT_ABOVE:g}."
        )
    return found


def _graders(frame: pd.DataFrame) -> list[str]:
    """All graders, those of audits included."""
    names = {str(name) for name in frame["judge"].unique()}
    return sorted({part.split(",")[0] for name in names for part in name.split(" + ")})


def _audited(task: str, members: pd.DataFrame) -> list[str]:
    """What was judged in part, of each pair of judges."""
    if "stratum" not in members:
        return []
    found = []
    audited = members[members["stratum"] != ""]
    for judge, of in audited.groupby("judge", sort=False, observed=True):
        drawn = of[of["label"] != NOT_DRAWN]
        failed = int((drawn["label"] == "failed").sum())
        remark = (
            f"{task}, judged by {judge}: the second judged {len(drawn) - failed:,} of {len(of):,} "
            "answers, drawn at random (audited); the rate is what it would be had it judged all, "
            "estimated from both judges' verdicts. The local judge's own rates are another judge's."
        )
        if failed:
            remark += (
                f" It failed on {failed:,} of the answers drawn: the others of its stratum stand "
                "for them, as if those had failed by chance."
            )
        found.append(remark)
    return found


def _one_condition(frame: pd.DataFrame) -> list[str]:
    """Groups that were asked under one condition only, which their name then does not say."""
    asked = frame[["task", "shown_group", "condition"]].drop_duplicates().astype(str)
    tasks: dict[tuple[str, str], list[str]] = {}
    for row in _each(asked):
        if row.condition and not row.shown_group.endswith(f"[{row.condition}]"):
            tasks.setdefault((row.shown_group, row.condition), []).append(row.task)
    return [
        f"{', '.join(of)}: all answers of {group} are under the condition {condition}."
        for (group, condition), of in tasks.items()
    ]


def _several_steps(frame: pd.DataFrame) -> list[str]:
    """Whether groups are means over a training run, which says nothing of its end."""
    stated = {log: run for log, *run in frame.attrs.get("steps", [])}
    steps: dict[tuple[str, ...], set[int]] = {}
    for log, group in frame[["log", "shown_group"]].drop_duplicates().itertuples(index=False):
        if log in stated:
            recipe, seed, step = stated[log]
            steps.setdefault((str(group), recipe, seed), set()).add(step)
    groups = {group for (group, *_), of in steps.items() if len(of) > 1}
    if not groups:
        return []
    return [
        f"{', '.join(sorted(groups))}: several steps of one training run, so that the value of the "
        "group is a mean over steps. See By training step, or give each step a group of its own."
    ]


def _mixed_modes(task: str, members: pd.DataFrame) -> list[str]:
    """Judges of a task whose single answers were read otherwise than the rest."""
    found = []
    for judge in [str(name) for name in members["judge"].unique()]:
        judged = members[(members["judge"] == judge) & members["mode"].isin(MODES)]
        tally = judged["mode"].value_counts()
        modes = [mode for mode in MODES if tally.get(mode, 0)]
        if len(modes) > 1:
            counts = ", ".join(f"{mode} {int(tally[mode]):,}" for mode in modes)
            found.append(
                f"{task}, judged by {judge}: single ratings could not be read as the others were "
                f"({counts} answers). They count with the others."
            )
    return found


def _refusals_unknown(members: pd.DataFrame) -> int:
    """Answers that some judge rated without saying whether they are refusals."""
    rated = (members["scorer"] == rates.FREE_FORM) & (members["label"] != "failed")
    unknown = members[rated & members["coherent"].notna() & members["refused"].isna()]
    return len(unknown.drop_duplicates(ANSWER))


def _partial(frame: pd.DataFrame) -> list[tuple[str, str]]:
    attrs = frame.attrs
    return [
        *((log, "did not finish; its finished answers count") for log in attrs.get("partial", [])),
        *((log, f"{n:,} answers have no score") for log, n in attrs.get("unjudged", [])),
        *(
            (log, f"{n:,} answers are copies of another log's")
            for log, n in attrs.get("repeated", [])
        ),
    ]
