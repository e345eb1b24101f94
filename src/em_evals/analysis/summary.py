"""The rates that a finished log states, as short tables. Reads the header and one answer."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, EvalMetric, EvalSample, EvalScore, read_eval_log_sample

from em_evals.analysis.answers import stopped_early
from em_evals.analysis.audit import pair
from em_evals.definitions import MODES

RATES = {
    "pooled": ("misaligned, pooled", "eligible_n", "eligible answers"),
    "macro": ("misaligned, macro", "macro_questions", "questions with 5+ eligible"),
    "unconditional": ("misaligned and coherent", "judged_n", "judged answers"),
    "coherent_share": ("coherent", "coherence_n", "judged answers"),
    "refusal_share": ("refused", "judged_n", "judged answers"),
}
"""Metric of the free-form judge: what the table calls it, the metric that is its n, of what."""

AUDITED = {
    "pooled": ("misaligned, pooled", "eligible_n", "eligible answers, estimated"),
    "unconditional": ("misaligned and coherent", "answers_n", "answers"),
    "coherent_share": ("coherent", "answers_n", "answers"),
    "refusal_share": ("refused", "answers_n", "answers"),
}
"""The same of two judges together."""

PER_GAME = "machiavelli_scores"
"""The scorer whose figures are percentages of a random agent's, with games as what was sampled."""


NOT_OF_RANDOM = {"points": "points (% of the game's)"}
"""Of `PER_GAME`, what is no percentage of the random agent's, and what the table calls it."""


class Row(NamedTuple):
    """One rate."""

    rate: str
    value: float
    """0-1, or a percentage, of the random agent's where `rate` says nothing else, or NaN: nothing
    to count."""
    lower: float
    upper: float
    """Bounds of the 95% interval, as the scorer's metrics define it."""
    n: int
    of: str
    """What n counts."""


class Judgement(NamedTuple):
    """What one judge made of the answers of a log."""

    scorer: str
    """Its name in the log: `em_judge`, `em_judge1` where a log was judged again."""
    grader: str | None
    """None where the scorer needs none."""
    modes: dict[str, int]
    """Answers rated in each mode; modes that did not occur are left out."""
    failed: int
    """Answers that the grader failed on; they are in no rate."""
    rows: list[Row]
    counts: dict[str, int]
    """What else the scorer counted: replies that could not be read, prompts that were asked."""
    audit: dict[str, Any] | None
    """What `em_evals.analysis.audit_log.stated` says of an audit; None: one judge judged all."""
    of_random: bool
    """Whether the values are percentages of a random agent's instead of shares of 1."""


def judgements(log: EvalLog) -> list[Judgement]:
    """The judgements that a log of this suite holds, in its order; none for other tasks' logs.

    Args:
        log: At least its header, with its location.
    """
    scores = log.results.scores if log.results else []
    judged = [score for score in scores if _is_ours(score)]
    answer = _an_answer(log) if judged else None
    formats = [_compliance(score.metrics) for score in scores if "compliant" in score.metrics]
    found = []
    for score in judged:
        if "pooled" not in score.metrics:
            found.append(_stated(score, _grader(answer, score.name)))
            continue
        m = score.metrics
        audit = (score.metadata or {}).get("audit")
        of_all = RATES if audit is None else AUDITED
        rows = [_row(m, key, name, n, of) for key, (name, n, of) in of_all.items() if n in m]
        rows += [
            _row(m, group, f"  pooled, {group}", f"{group}_eligible_n", "eligible answers")
            for group in [k.removesuffix("_eligible_n") for k in m if k.endswith("_eligible_n")]
        ]
        found.append(
            Judgement(
                scorer=score.name,
                grader=_grader(answer, score.name) if audit is None else _both(audit),
                modes={mode: n for mode in MODES if (n := _count(m, f"{mode}_n"))},
                failed=_count(m, "failed_n"),
                rows=rows + formats,
                counts={"unlike what it learnt from": n} if (n := _count(m, "novel_n")) else {},
                audit=audit,
                of_random=False,
            )
        )
    if stopped_early(log):  # the intervals that it states are for a planned number of answers
        found = [j._replace(rows=[_without_interval(row) for row in j.rows]) for j in found]
    return found


def _without_interval(row: Row) -> Row:
    return row._replace(lower=math.nan, upper=math.nan)


def _is_ours(score: EvalScore) -> bool:
    m = score.metrics
    if "compliant" in m:  # shown with the answers' rates
        return False
    return "plays_n" in m or any(key.removesuffix("_lower") in m for key in _bounds(m))


def _bounds(m: Mapping[str, EvalMetric]) -> list[str]:
    return [key for key in m if key.endswith("_lower")]


def _stated(score: EvalScore, grader: str | None) -> Judgement:
    """What a scorer states by the suite's convention: NAME, its bounds and NAME_n; and counts."""
    m = score.metrics
    names = [key.removesuffix("_lower") for key in _bounds(m)]
    per_game = score.name.startswith(PER_GAME)
    of = "games" if per_game else "answers"
    called = NOT_OF_RANDOM if per_game else {}
    stated = {f"{name}{part}" for name in names for part in ("", "_lower", "_upper", "_n")}
    return Judgement(
        scorer=score.name,
        grader=grader,
        modes={},
        failed=_count(m, "failed_n"),
        rows=[
            _row(m, name, called.get(name, name.replace("_", " ")), f"{name}_n", of)
            for name in names
        ],
        counts={
            key.removesuffix("_n").replace("_", " "): _count(m, key)
            for key in m
            # a mean that has no interval is no count
            if key not in stated and key != "failed_n" and float(m[key].value).is_integer()
        },
        audit=None,
        of_random=per_game,
    )


def _both(audit: Mapping[str, Any]) -> str:
    judged = pair(audit["local"], audit["paid"])
    return f"{judged}, {audit['judged']} of {audit['answers']} audited"


def agreed(audit: Mapping[str, Any]) -> str:
    """How far the judges of an audited log agree, in words, and what the paid one failed on.

    Args:
        audit: See `Judgement.audit`.
    """
    found, drawn = audit["agreement"], audit["drawn"]
    words = ""
    if found["n"]:
        kappa = "" if found["kappa"] is None else f" (kappa {found['kappa']:.2f})"
        words = (
            f"Whether an answer is misaligned and coherent: of the {found['n']} answers that both "
            f"judged, they agree on {found['same']:.0%}{kappa}."
        )
    if failed := drawn - audit["judged"]:
        words += (
            f" {audit['paid']} failed on {failed} of the {drawn} answers drawn: the others of its "
            "stratum stand for them."
        )
    return words.strip()


def unfinished(log: EvalLog) -> tuple[int, int]:
    """Answers that ended in an error or were never asked for, and answers planned."""
    if not log.results:
        return 0, 0
    return log.results.total_samples - log.results.completed_samples, log.results.total_samples


def decided(log: EvalLog) -> str:
    """What a log that might stop early decided, and which interval holds for it; "" for others."""
    if not stopped_early(log):
        return ""
    summary = log.results.early_stopping if log.results else None
    said = summary.metadata if summary else {}
    words = "Its answers were looked at to decide when to stop"
    if "decision" in said:
        words += f": {said['decision']} after {said['answers']}"
    words += ". The rates below have no intervals, as those for planned answers do not hold."
    if "increase_lower" in said:
        value, lower, upper = (
            f"{float(str(said[name])) * 100:+.1f}"
            for name in ("increase", "increase_lower", "increase_upper")
        )
        words += (
            f" Increase over {said['baseline']} ({said['metric']}, in points): {value}, {lower} to "
            f"{upper} ({said['interval']})."
        )
    return words


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


def _grader(answer: EvalSample | None, scorer: str) -> str | None:
    score = (answer.scores or {}).get(scorer) if answer else None
    grader = (score.metadata or {}).get("grader") if score else None
    return None if grader is None else str(grader)


def _compliance(m: Mapping[str, EvalMetric]) -> Row:
    return _row(m, "compliant", "format kept", "compliant_n", "json and template answers")


def _row(m: Mapping[str, EvalMetric], key: str, name: str, n: str, of: str) -> Row:
    value, lower, upper = (float(m[k].value) for k in (key, f"{key}_lower", f"{key}_upper"))
    return Row(name, value, lower, upper, _count(m, n), of)


def _count(m: Mapping[str, EvalMetric], key: str) -> int:
    value = m[key].value if key in m else math.nan
    return 0 if math.isnan(value) else int(value)
