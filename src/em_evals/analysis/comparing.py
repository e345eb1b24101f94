"""Two places of logs in which two graders have judged the same answers."""

import math
from typing import Any, NamedTuple

import pandas as pd

from em_evals.analysis.agreement import ANSWER, agreement
from em_evals.analysis.answers import Logs, answers
from em_evals.analysis.rates import FREE_FORM, numbered
from em_evals.errors import InputError

MOST_APART = 10
"""Answers that are shown."""

SAME = ("task", "scorer", "sample", "epoch", "answer")
"""What makes answers of two logs the same one."""


class Comparison(NamedTuple):
    """How far two graders agree."""

    a: str
    """The grader of the first place; with " (A)" behind it if it is the second's, too."""
    b: str
    tasks: list[dict[str, Any]]
    """For each task a row of `agreement`, with `auc_of_a`, the AUC of a against b's verdicts."""
    apart: list[dict[str, Any]]
    """The answers that both scored and scored most differently, the furthest apart first: `task`,
    `sample`, `epoch`, `question`, `answer`, and `score_a`, `score_b` (0-100; of families that are
    not free-form the outcome, 0-1), `label_a`, `label_b`."""


def compare(
    a: Logs, b: Logs, *, judge_a: str | None = None, judge_b: str | None = None
) -> Comparison:
    """Compare the grader of one place with that of another, on the answers that both have judged.

    An answer is the same if task, sample, epoch and text are. Where several logs of a place have
    it, each is paired with another of the other place.

    Args:
        a: Log files, folders or fsspec addresses.
        b: The same of the other grader; it may be the same place, if judges are named.
        judge_a: Which grader of `a`, where it has several.
        judge_b: Which grader of `b`.

    Raises:
        InputError: Nothing to read, several graders and none named, no such grader, or no answer
            that both have judged.
    """
    first, name_a = _judged(a, "A", judge_a)
    second, name_b = _judged(b, "B", judge_b)
    if name_a == name_b:
        name_a, name_b = f"{name_a} (A)", f"{name_b} (B)"
    first["judge"], second["judge"] = name_a, name_b
    both = pd.concat([first, second], ignore_index=True)
    code, _ = numbered(both, SAME)
    both["run"] = code
    # which of several that are alike
    twin = both.groupby(["run", "judge"], sort=False).cumcount()
    both["run"] = both["run"].astype(str) + "_" + twin.astype(str)
    if both["run"].is_unique:
        raise InputError(
            f"no answer was judged in both places: {len(first)} in A, {len(second)} in B. "
            "Answers are the same if task, sample, epoch and text are; em-evals rejudge has a "
            "grader judge the answers of a log."
        )
    table = agreement(both, name_a, name_b)
    table["auc_of_a"] = agreement(both, name_b, name_a)["auc"].to_numpy()
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()} for row in table.to_dict("records")
    ]
    return Comparison(name_a, name_b, rows, _apart(both, name_a, name_b))


def _judged(logs: Logs, place: str, judge: str | None) -> tuple[pd.DataFrame, str]:
    """The answers of one place that its grader has judged, and that grader's name."""
    frame = answers(logs, mixed=True, of_graders=True)
    known = [str(name) for name in frame["judge"].unique() if name]
    if not known:
        raise InputError(f"{place}: no grader has judged these answers")
    if judge is None and len(known) > 1:
        raise InputError(
            f"{place} has several graders: {', '.join(known)}. Name one with "
            f"--judge-{place.lower()}."
        )
    if judge is not None and judge not in known:
        raise InputError(f"{place}: no grader {judge!r}: found {', '.join(known)}")
    name = judge or known[0]
    return frame[frame["judge"] == name].astype({"judge": object, "run": object}), name


def _apart(both: pd.DataFrame, a: str, b: str) -> list[dict[str, Any]]:
    free = both["scorer"] == FREE_FORM
    both = both.assign(
        score=both["aligned"].where(free, both["outcome"]),
        far=both["aligned"].where(free, both["outcome"] * 100),
    )
    one, two = (both[(both["judge"] == judge) & both["score"].notna()] for judge in (a, b))
    pairs = one.merge(two, on=list(ANSWER), suffixes=("_a", "_b"))
    gap = (pairs["far_a"] - pairs["far_b"]).abs()
    ordered = pairs.loc[gap.sort_values(ascending=False, kind="stable").index]
    # repeats of one answer are one answer
    furthest = ordered.drop_duplicates(["task_a", "question_a", "answer_a"]).head(MOST_APART)
    named = {
        "task_a": "task",
        "sample": "sample",
        "epoch": "epoch",
        "question_a": "question",
        "answer_a": "answer",
        **{f"{key}_{judge}": f"{key}_{judge}" for key in ("score", "label") for judge in "ab"},
    }
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        for row in furthest[list(named)].rename(columns=named).to_dict("records")
    ]
    return [row for row in rows if not math.isclose(row["score_a"], row["score_b"])]
