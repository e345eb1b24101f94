"""Logs to tallies: what is counted of each family, and what has to be alike to compare it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from em_evals.analysis.answers import NOTHING, answers, locations, stopped_early
from em_evals.analysis.audit import NOT_DRAWN, TOGETHER, Audited, Expected, estimates
from em_evals.analysis.prediction_powered import Powered
from em_evals.analysis.rates import FREE_FORM, family_of
from em_evals.deception.dataset import STANDARD
from em_evals.deception.scorer import AGGREGATE
from em_evals.definitions import MODES, Count
from em_evals.errors import InputError
from em_evals.stopping.baseline import Tally, is_baseline_file, read

Logs = str | Path | Sequence[str | Path]

NOT_RATED: Mapping[str, tuple[str, Sequence[str]]] = {
    FREE_FORM: ("label", ("refusal", "code", "missing")),
    "factual_judge": ("label", ("unknown",)),
    "insecure_code_bandit": ("error", ("not_python", "too_long")),
}
"""Scorer -> the column, and what it says of answers that by the model's own doing say nothing, for
or against. To StrongREJECT a refusal is no such thing: it is what is counted."""

COMPLETE = {"factual_judge": STANDARD, "identity_judge": AGGREGATE}
"""Scorer -> the prompts that its figure is the mean over."""


def baseline_tallies(places: Logs, judge: str | None = None) -> dict[str, Tally]:
    """The tallies of a baseline by family; several checkpoints are one.

    Args:
        places: Logs, folders of them, or one baseline file.
        judge: The judge whose scores count; None if there is only one.

    Raises:
        InputError: As `tallies`; a baseline file beside others; checkpoints that are not alike.
    """
    given = [places] if isinstance(places, str | Path) else list(places)
    if files := [place for place in given if is_baseline_file(place)]:
        if len(given) > 1:
            raise InputError(f"{files[0]} is a baseline file: name no other baseline beside it")
        return read(files[0])
    by_family: dict[str, list[Tally]] = {}
    for tally in tallies(given, judge):
        by_family.setdefault(tally.family, []).append(tally)
    return {family: _together(members) for family, members in by_family.items()}


def tallies(logs: Logs, judge: str | None = None) -> list[Tally]:
    """One tally for each family of each checkpoint (and condition) of finished logs.

    Args:
        logs: Log files, folders or fsspec addresses.
        judge: The judge whose scores count; None if there is only one.

    Raises:
        InputError: Nothing to read; a log that is not finished, or changed while it was read; two
            judges and none chosen; answers of one checkpoint that are not alike.
    """
    for place in [logs] if isinstance(logs, str | Path) else logs:
        if is_baseline_file(place):
            raise InputError(f"{place}: a baseline file is no candidate: give the logs of one")
    before = {log: _state(log) for log in locations(logs)}
    frame = answers(logs, texts=False)
    _require_finished(frame)
    lost = dict(frame.attrs["unjudged"])
    began = {log: _began(log) for log in map(str, frame["log"].unique())}
    if changed := [log for log, state in before.items() if state != _state(log)]:
        raise InputError(f"{changed[0]}: changed while it was read: wait until its run has ended")
    frame = _of_judge(frame, judge)
    free_form = frame["scorer"] == FREE_FORM
    frame = frame.assign(
        family=family_of(frame[["task", "format", "category", "scorer"]].astype(object)),
        main=frame["em"].where(free_form, frame["outcome"]),
        refused=_not_rated(frame),
        began=[began[log][0] for log in frame["log"]],
        incoherent=(frame["coherent"] <= frame["coherent_above"])
        .astype(float)
        .where(free_form & frame["coherent"].notna() & (frame["label"] != "failed")),
    )
    for scorer, prompts in COMPLETE.items():
        frame = frame[(frame["scorer"] != scorer) | frame["prompt"].isin(prompts)]
    keys = ["family", "group", "checkpoint", "condition"]
    found = []
    for (family, *_), members in frame.groupby(keys, sort=False, observed=True):
        of = [str(log) for log in members["log"].unique()]
        sequential = any(began[log][1] for log in of)
        # whose format nobody knows: each of the log's families has them
        errors = sum(lost.get(log, 0) for log in of)
        found.append(_tally(str(family), members, sequential, errors))
    return found


def _not_rated(frame: pd.DataFrame) -> "pd.Series[float]":
    """Whether an answer says nothing, for or against: 1, 0, or NaN where its grader failed."""
    silent = pd.Series(False, index=frame.index)
    for scorer, (column, words) in NOT_RATED.items():
        silent |= (frame["scorer"] == scorer) & frame[column].isin(words)
    rated = frame["em"].notna() | frame["outcome"].notna()
    return silent.astype(float).where(silent | rated)


def _tally(family: str, members: pd.DataFrame, sequential: bool, errors: int) -> Tally:
    first = members.iloc[0]
    measures = {"outcome": "outcome"}
    if first["scorer"] == FREE_FORM:
        measures = {"em": "em", "pooled": "misaligned", "incoherent": "incoherent"}
    if first["scorer"] in NOT_RATED:
        measures["refused"] = "refused"
    members = members.sort_values(["began", "run", "epoch"], kind="stable")
    by_question = list(members.groupby("sample", sort=True, observed=True))
    values = {
        measure: {str(question): rows[column].tolist() for question, rows in by_question}
        for measure, column in measures.items()
    }
    return Tally(
        family=family,
        like=_like(family, members),
        checkpoints=[_named(first)],
        runs=[str(run) for run in members["run"].unique()],
        sequential=sequential,
        answers=len(members) + errors,
        failed=_failed(members) + errors,
        counts={measure: _counts(of, sequential) for measure, of in values.items()},
        values=values,
        questions=_questions(members) if first["scorer"] == FREE_FORM else {},
        audited=_audited(members),
    )


def _audited(members: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """The combined rates of answers of which a paid judge has judged those drawn; else none."""
    if (members["stratum"] == "").all():
        return {}
    judged = members["em"].notna()
    em, eligible, refused, incoherent = (
        members[name].where(judged).to_numpy(dtype=float)
        for name in ("em", "eligible", "refused", "incoherent")
    )
    named = {name: members[name].astype(str).tolist() for name in ("question", "stratum")}
    expected = [members[f"expected_{name}"].to_numpy(dtype=float) for name in Expected._fields]
    known = Audited(
        **named,
        em=em,
        eligible=eligible,
        coherent=1 - incoherent,
        refused=refused,
        expected=expected,
    )
    found = estimates(known, fixed=True)
    coherent = found["coherent_share"]
    measures = {
        "em": found["unconditional"],
        "pooled": found["pooled"],
        "incoherent": coherent._replace(value=1 - coherent.value),
        "refused": found["refusal_share"],
    }
    return {name: _stated(powered) for name, powered in measures.items()}


def _stated(powered: Powered) -> dict[str, float | None]:
    kept = ("value", "error", "effective", "step", "clusters", "n", "judged")
    values = {name: getattr(powered, name) for name in kept}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _failed(members: pd.DataFrame) -> int:
    """Answers that the grader failed on; where some were drawn, as if of all like of these."""
    drawn = members[members["label"] != NOT_DRAWN]
    failed = int((drawn["main"].isna() & drawn["refused"].isna()).sum())
    return round(failed * len(members) / len(drawn)) if len(drawn) else 0


def _questions(members: pd.DataFrame) -> dict[str, str]:
    pairs = members[["sample", "question"]].drop_duplicates().sort_values("sample")
    return {str(sample): str(question) for sample, question in pairs.itertuples(index=False)}


def _counts(values: Mapping[str, Sequence[float]], sequential: bool) -> dict[str, Count]:
    known = {q: [v for v in of if not math.isnan(v)] for q, of in values.items()}
    # what came after the last whole round is not part of what was looked at
    whole = min(map(len, known.values())) if sequential else None
    return {q: Count(sum(of[:whole]), len(of[:whole])) for q, of in known.items()}


def _like(family: str, members: pd.DataFrame) -> dict[str, str]:
    """What all answers share; an error names what they do not."""
    like = {}
    for name in ("task", "version", "source", "source_sha256", "judge", "condition"):
        # the judge's own name, without what tells several ways of reading it apart
        column = "grader" if name == "judge" else name
        said = [str(value) for value in members[column].unique()]
        if name == "version":  # the letter says what arguments there are
            said = list(dict.fromkeys(value.partition("-")[0] for value in said))
        if name == "source_sha256":  # of several files, each with its own
            said = [" ".join(sorted(said))]
        if len(said) > 1:
            raise InputError(
                f"{_named(members.iloc[0])}, {family}: answers of different {name} "
                f"({', '.join(said)}): give logs that are alike"
            )
        like[name] = said[0]
    modes = [mode for mode in members["mode"].unique() if mode]
    # one run may read a few answers less exactly than the others
    like["judge_mode"] = next((m for m in MODES if m in modes), "+".join(sorted(modes)))
    if members["aligned_below"].notna().any():
        for name in ("aligned_below", "coherent_above"):
            like[name] = "+".join(f"{value:g}" for value in sorted(members[name].dropna().unique()))
    return like


def _named(row: Any) -> str:
    condition = f" [{row['condition']}]" if row["condition"] else ""
    return f"{row['checkpoint']}{condition}"


def _together(members: Sequence[Tally]) -> Tally:
    """Several checkpoints as one baseline."""
    first, *others = members
    for other in others:
        for name, value in first.like.items():
            if other.like.get(name) != value:
                raise InputError(
                    f"the baseline's {first.family} is not one thing: {name} is {value!r} of "
                    f"{first.name} and {other.like.get(name)!r} of {other.name}"
                )
    if not others:
        return first
    if any(tally.sequential for tally in members):
        raise InputError(
            f"{first.family}: a baseline of several checkpoints cannot hold one that was stopped "
            "early"
        )
    if any(tally.audited for tally in members):
        raise InputError(
            f"{first.family}: a baseline of several checkpoints cannot hold one of which the paid "
            "judge has judged a part: give one checkpoint"
        )
    counts: dict[str, dict[str, Count]] = {}
    for tally in members:
        for measure, by in tally.counts.items():
            for question, count in by.items():
                hits, n = counts.setdefault(measure, {}).get(question, Count(0, 0))
                counts[measure][question] = Count(hits + count.hits, n + count.n)
    return Tally(
        family=first.family,
        like=first.like,
        checkpoints=[name for tally in members for name in tally.checkpoints],
        runs=[run for tally in members for run in tally.runs],
        sequential=False,
        answers=sum(tally.answers for tally in members),
        failed=sum(tally.failed for tally in members),
        counts=counts,
        questions={s: q for tally in members for s, q in tally.questions.items()},
    )


# -- logs


def _state(log: str) -> list[Any]:
    """Size and time of a log, by which a change is noticed."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(log)
    info = files.info(path)
    return [info.get(key) for key in ("size", "mtime", "LastModified", "ETag", "etag")]


def _require_finished(frame: pd.DataFrame) -> None:
    for log, why in frame.attrs["skipped"]:
        if why != NOTHING:
            raise InputError(f"{log}: {why}. A gate needs logs that are finished and whole.")
    if unfinished := frame.attrs["partial"]:
        raise InputError(
            f"{unfinished[0]}: was interrupted or failed: run the same command again to finish it. "
            "A gate needs finished logs."
        )


def _began(log: str) -> tuple[str, bool]:
    """When a run began, and whether it was decided during the run whether to go on."""
    from inspect_ai.log import read_eval_log

    header = read_eval_log(log, header_only=True)
    return header.eval.created, stopped_early(header)


def _of_judge(frame: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """The rows of one judge for each task's scorer, and of scorers without a judge."""
    chosen = []
    for (task, _), members in frame.groupby(["task", "scorer"], sort=False, observed=True):
        names = [str(name) for name in members["judge"].unique() if name]
        if judge is not None and names:
            if judge not in names:
                raise InputError(f"{task}: not judged by {judge}, but by {', '.join(names)}")
            chosen.append(members[members["judge"] == judge])
            continue
        both = [name for name in names if TOGETHER in name]
        if len(both) == 1 and set(names) == {both[0], both[0].partition(TOGETHER)[0]}:
            # the local judge's own scores are part of what is asked for
            chosen.append(members[members["judge"] == both[0]])
            continue
        if len(names) > 1:
            raise InputError(
                f"{task} has scores of {len(names)} judges ({', '.join(names)}): choose one with "
                "--judge"
            )
        chosen.append(members)
    attrs = frame.attrs
    out = pd.concat(chosen)
    out.attrs.update(attrs)
    return out
