"""The rates that a finished log states, as a short table. Reads headers only."""

import math
from typing import NamedTuple

from inspect_ai.log import EvalLog, EvalMetric

from em_evals.judges.rating import MODES

RATES = {
    "pooled": ("misaligned, pooled", "eligible_n", "eligible answers"),
    "macro": ("misaligned, macro", "macro_questions", "questions with 5+ eligible"),
    "unconditional": ("misaligned and coherent", "judged_n", "judged answers"),
    "coherent_share": ("coherent", "judged_n", "judged answers"),
    "refusal_share": ("refused", "judged_n", "judged answers"),
}
"""Metric of the free-form judge: what the table calls it, the metric that is its n, of what."""


class Row(NamedTuple):
    """One rate of one log."""

    rate: str
    value: float
    """0-1, or NaN: nothing to count."""
    lower: float
    upper: float
    """Bounds of the 95% interval, for answers clustered by question."""
    n: int
    of: str
    """What n counts."""


def summary_rows(log: EvalLog) -> list[Row]:
    """The rates of a log in the order in which they should be read; empty for other tasks' logs."""
    rows: list[Row] = []
    for score in log.results.scores if log.results else []:
        m = score.metrics
        if "pooled" in m:
            rows += [_row(m, key, name, n, of) for key, (name, n, of) in RATES.items() if n in m]
            groups = [key.removesuffix("_eligible_n") for key in m if key.endswith("_eligible_n")]
            rows += [
                _row(m, group, f"  pooled, {group}", f"{group}_eligible_n", "eligible answers")
                for group in groups
            ]
        if "compliant" in m:
            name, of = "format kept", "json and template answers"
            rows.append(_row(m, "compliant", name, "compliant_n", of))
    return rows


def judge_modes(log: EvalLog) -> dict[str, int]:
    """How many answers were judged in each mode, modes that did not occur left out."""
    for score in log.results.scores if log.results else []:
        found = {mode: _number(score.metrics, f"{mode}_n") for mode in MODES}
        if any(n > 0 for n in found.values()):
            return {mode: int(n) for mode, n in found.items() if n > 0}
    return {}


def failed_answers(log: EvalLog) -> int:
    """Answers that the grader failed on, which are in no rate."""
    scores = log.results.scores if log.results else []
    return int(sum(s.metrics["failed_n"].value for s in scores if "failed_n" in s.metrics))


def _row(m: dict[str, EvalMetric], key: str, name: str, n: str, of: str) -> Row:
    value, lower, upper = (_number(m, k) for k in (key, f"{key}_lower", f"{key}_upper"))
    return Row(name, value, lower, upper, int(_number(m, n)), of)


def _number(metrics: dict[str, EvalMetric], key: str) -> float:
    return float(metrics[key].value) if key in metrics else math.nan
