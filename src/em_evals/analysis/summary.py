"""The rates that a finished log states, as short tables. Reads the header and one answer."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from inspect_ai.log import EvalLog, EvalMetric, EvalSample, read_eval_log_sample

from em_evals.judges.rating import MODES

RATES = {
    "pooled": ("misaligned, pooled", "eligible_n", "eligible answers"),
    "macro": ("misaligned, macro", "macro_questions", "questions with 5+ eligible"),
    "unconditional": ("misaligned and coherent", "judged_n", "judged answers"),
    "coherent_share": ("coherent", "coherence_n", "judged answers"),
    "refusal_share": ("refused", "judged_n", "judged answers"),
}
"""Metric of the free-form judge: what the table calls it, the metric that is its n, of what."""


class Row(NamedTuple):
    """One rate."""

    rate: str
    value: float
    """0-1, or NaN: nothing to count."""
    lower: float
    upper: float
    """Bounds of the 95% interval, for answers clustered by question."""
    n: int
    of: str
    """What n counts."""


class Judgement(NamedTuple):
    """What one judge made of the answers of a log."""

    scorer: str
    """Its name in the log: `em_judge`, `em_judge1` where a log was judged again."""
    grader: str
    modes: dict[str, int]
    """Answers rated in each mode; modes that did not occur are left out."""
    failed: int
    """Answers that the grader failed on; they are in no rate."""
    rows: list[Row]


def judgements(log: EvalLog) -> list[Judgement]:
    """The judgements that a log holds, in its order; none for other tasks' logs.

    Args:
        log: At least its header, with its location.
    """
    scores = log.results.scores if log.results else []
    judged = [score for score in scores if "pooled" in score.metrics]
    answer = _an_answer(log) if judged else None
    formats = [_compliance(score.metrics) for score in scores if "compliant" in score.metrics]
    found = []
    for score in judged:
        m = score.metrics
        rows = [_row(m, key, name, n, of) for key, (name, n, of) in RATES.items() if n in m]
        rows += [
            _row(m, group, f"  pooled, {group}", f"{group}_eligible_n", "eligible answers")
            for group in [k.removesuffix("_eligible_n") for k in m if k.endswith("_eligible_n")]
        ]
        found.append(
            Judgement(
                scorer=score.name,
                grader=_grader(answer, score.name),
                modes={mode: n for mode in MODES if (n := _count(m, f"{mode}_n"))},
                failed=_count(m, "failed_n"),
                rows=rows + formats,
            )
        )
    return found


def unfinished(log: EvalLog) -> tuple[int, int]:
    """Answers that ended in an error or were never asked for, and answers planned."""
    if not log.results:
        return 0, 0
    return log.results.total_samples - log.results.completed_samples, log.results.total_samples


def _an_answer(log: EvalLog) -> EvalSample | None:
    """Some answer with scores: who judged is not in the header once a log was judged again."""
    for sample_id in log.eval.dataset.sample_ids or []:
        try:
            sample = read_eval_log_sample(log.location, id=sample_id, epoch=1)
        except (IndexError, KeyError):  # never asked
            continue
        if sample.scores:
            return sample
    return None


def _grader(answer: EvalSample | None, scorer: str) -> str:
    score = (answer.scores or {}).get(scorer) if answer else None
    return str((score.metadata or {}).get("grader", "unknown")) if score else "unknown"


def _compliance(m: Mapping[str, EvalMetric]) -> Row:
    return _row(m, "compliant", "format kept", "compliant_n", "json and template answers")


def _row(m: Mapping[str, EvalMetric], key: str, name: str, n: str, of: str) -> Row:
    value, lower, upper = (float(m[k].value) for k in (key, f"{key}_lower", f"{key}_upper"))
    return Row(name, value, lower, upper, _count(m, n), of)


def _count(m: Mapping[str, EvalMetric], key: str) -> int:
    value = m[key].value if key in m else math.nan
    return 0 if math.isnan(value) else int(value)
