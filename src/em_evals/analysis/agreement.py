"""How far two judges of the same answers agree, and what that does to the rates."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from em_evals.analysis.rates import FREE_FORM, Floats, numbered, quantiles, thresholds, verdicts
from em_evals.definitions import MISSING, wilson
from em_evals.errors import InputError

NOWHERE = "no answer on which the rates differ"

ANSWER = ("run", "sample", "epoch", "scorer")
"""What tells judged answers apart."""


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of judges that have answers in common, in the frame's order.

    Args:
        frame: Answers.
    """
    judged = frame[frame["judge"] != ""]
    answer, first = numbered(judged, ANSWER)
    judge, names = pd.factorize(judged["judge"])
    has = np.zeros((len(first), len(names)), dtype=bool)
    has[answer, judge] = True
    return [
        (str(names[i]), str(names[j]))
        for i, j in combinations(range(len(names)), 2)
        if (has[:, i] & has[:, j]).any()
    ]


def agreement(
    frame: pd.DataFrame,
    a: str,
    b: str,
    *,
    aligned_below: float | None = None,
    coherent_above: float | None = None,
) -> pd.DataFrame:
    """Judge b against judge a on the answers that both have judged: one row per task.

    Columns:

    - `task`, `scorer`, `a`, `b`, `n` (answers that both judged).
    - `pearson`, `spearman` (-1 to 1; `scores_n` answers with both scores): of `aligned`, for
      families that are not free-form of `outcome`; `pearson_coherent`, `spearman_coherent`.
    - `auc` (0-1, 0.5 is chance): how often b scores an answer that a finds bad as worse than one
      that a finds good.
    - `kappa` (Cohen's: 1 is agreement throughout, 0 what chance would give; `verdicts_n` answers
      with both verdicts): on misaligned or not, among answers eligible to both; else on the
      outcome (StrongREJECT: refused or not).
    - `rate_a`, `rate_b` (0-1, high is bad): over these answers, each judge by its own filter, which
      leaves `rate_a_n` and `rate_b_n` of them; `difference`, b less a, with `lower` and `upper`,
      its paired 95% interval, and `interval`, what that is of. Answers are clustered by question,
      and each pair is one answer, so what makes both judges' rates vary cancels out. Where all
      answers differ alike, or none does, the bounds lie as far off as Wilson's interval leaves for
      a share of answers that do otherwise.

    A measure is NaN where it is not defined: fewer than two scores, no spread, one kind of verdict.

    Args:
        frame: Answers, with `a` and `b` in the column `judge`.
        a: The judge to compare with.
        b: The judge that is compared.
        aligned_below: Misaligned is strictly below this; None is what the log was judged with.
        coherent_above: Coherent is strictly above this; None is what the log was judged with.

    Raises:
        InputError: No such judge, or no answer that both have judged; answers judged with
            different thresholds and none given.
    """
    limits = thresholds(frame, aligned_below, coherent_above)
    known = [str(judge) for judge in frame["judge"].unique() if judge]
    for judge in (a, b):
        if judge not in known:
            found = ", ".join(known) or "none"
            raise InputError(f"no judge {judge!r} in these logs: found {found}")
    code, _ = numbered(frame, ANSWER)
    rows_a, rows_b = (np.flatnonzero((frame["judge"] == judge).to_numpy()) for judge in (a, b))
    _, at_a, at_b = np.intersect1d(code[rows_a], code[rows_b], return_indices=True)
    if not len(at_a):
        raise InputError(
            f"no answer was judged by both {a} and {b}: judge the same log again "
            "(em-evals rejudge) to compare judges"
        )
    first, second = frame.iloc[rows_a[at_a]], frame.iloc[rows_b[at_b]]
    task, at = numbered(first, ["task", "scorer"])
    rows = []
    for place, row in enumerate(at):
        inside = task == place
        names = {name: str(first[name].iloc[row]) for name in ("task", "scorer")}
        measures = _compare(first[inside], second[inside], names["scorer"], *limits)
        rows.append({**names, "a": a, "b": b, "n": int(inside.sum()), **measures})
    return pd.DataFrame(rows)


def _compare(
    first: pd.DataFrame, second: pd.DataFrame, scorer: str, below: float, above: float
) -> dict[str, Any]:
    one, two = (_judged(frame, scorer, below, above) for frame in (first, second))
    both = ~np.isnan(one["bad"]) & ~np.isnan(two["bad"])
    coherent = [frame["coherent"].to_numpy(dtype=float) for frame in (first, second)]
    known = ~np.isnan(one["verdict"]) & ~np.isnan(two["verdict"])
    ranked = ~np.isnan(one["verdict"]) & ~np.isnan(two["bad"])
    question, _ = numbered(first, ["question"])
    return {
        "scores_n": int(both.sum()),
        "pearson": correlation(one["bad"], two["bad"]),
        "spearman": rank_correlation(one["bad"], two["bad"]),
        "pearson_coherent": correlation(*coherent),
        "spearman_coherent": rank_correlation(*coherent),
        "auc": auc(two["bad"][ranked], one["verdict"][ranked]),
        "verdicts_n": int(known.sum()),
        "kappa": kappa(one["verdict"][known], two["verdict"][known]),
        **_paired(one, two, question),
    }


def _judged(frame: pd.DataFrame, scorer: str, below: float, above: float) -> dict[str, Floats]:
    """How bad each answer is (NaN: not scored), the verdict on it, and what its rate counts."""
    outcome = frame["outcome"].to_numpy(dtype=float)
    if scorer == FREE_FORM:
        aligned, coherent = (frame[k].to_numpy(dtype=float) for k in ("aligned", "coherent"))
        failed = (frame["label"] == "failed").to_numpy()
        _, verdict, _ = verdicts(aligned, coherent, failed, below, above)
        return {"bad": -aligned, "verdict": verdict, "counted": verdict}
    refused = frame["refused"].to_numpy(dtype=float)
    verdict = outcome if np.isnan(refused).all() else 1 - refused
    return {"bad": outcome, "verdict": verdict, "counted": outcome}


def _paired(one: dict[str, Floats], two: dict[str, Floats], question: Any) -> dict[str, Any]:
    """Both rates, and their difference with its interval (Taylor linearisation)."""
    rates, counted, linear = [], [], []
    for judged in (one, two):
        counts = ~np.isnan(judged["counted"])
        hits, n = np.nan_to_num(judged["counted"]), counts.sum()
        rate = hits.sum() / n if n else MISSING
        rates.append(float(rate))
        counted.append(int(n))
        linear.append((hits - rate * counts) / n if n else np.full(len(hits), MISSING))
    parts = linear[1] - linear[0]
    answers = len(parts)
    out = {
        "rate_a": rates[0],
        "rate_a_n": counted[0],
        "rate_b": rates[1],
        "rate_b_n": counted[1],
        "difference": rates[1] - rates[0],
    }
    if math.isnan(out["difference"]):
        nothing = "none: nothing to count"
        return {**out, "lower": MISSING, "upper": MISSING, "interval": nothing}
    by_question = np.bincount(question, weights=parts)
    for clusters, interval in (
        (by_question, "answers clustered by question"),
        (parts, "answers"),
    ):
        k = len(clusters)
        variance = float((clusters**2).sum() * k / (k - 1)) if k > 1 else 0.0
        if variance > 1e-24:  # else rounding
            half = float(quantiles(np.array([k]))[0]) * math.sqrt(variance)
            lower, upper = out["difference"] - half, out["difference"] + half
            return {
                **out,
                "lower": max(lower, -1.0),
                "upper": min(upper, 1.0),
                "interval": interval,
            }
    bound = wilson(0.0, 0.0, answers, len(by_question))[1]
    return {
        **out,
        "lower": max(out["difference"] - bound, -1.0),
        "upper": min(out["difference"] + bound, 1.0),
        "interval": NOWHERE if math.isclose(*rates) else "answers that all differ alike",
    }


# -- measures


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's correlation over the places where both have a value; NaN without spread.

    Args:
        x: Values or NaN.
        y: Values or NaN, in the same order.
    """
    both = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return MISSING
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's correlation, ties at their mean rank; otherwise as `correlation`.

    Args:
        x: Values or NaN.
        y: Values or NaN, in the same order.
    """
    both = ~np.isnan(x) & ~np.isnan(y)
    return correlation(_ranks(x[both]), _ranks(y[both]))


def auc(bad: Floats, verdict: Floats) -> float:
    """How often an answer with verdict 1 is worse than one with verdict 0; ties are one half.

    Args:
        bad: How bad each answer is; no NaN.
        verdict: 1 or 0 for each.

    Returns:
        0-1; NaN unless there are both verdicts.
    """
    hits = verdict == 1
    n1, n0 = int(hits.sum()), int((~hits).sum())
    if not n1 or not n0:
        return MISSING
    return float((_ranks(bad)[hits].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def kappa(x: Floats, y: Floats) -> float:
    """Cohen's kappa of two judges' verdicts.

    Args:
        x: 1 or 0 for each answer.
        y: 1 or 0 for each, in the same order.

    Returns:
        Up to 1; NaN without answers, or where chance alone would give agreement throughout.
    """
    if not len(x):
        return MISSING
    chance = x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
    return float(((x == y).mean() - chance) / (1 - chance)) if chance < 1 else MISSING


def _ranks(values: Floats) -> Floats:
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)
