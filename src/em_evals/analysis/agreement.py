"""How far two judges of the same answers agree, and what that does to the rates."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from em_evals.analysis.audit import NOT_DRAWN
from em_evals.analysis.rates import FREE_FORM, Floats, numbered, thresholds, verdicts
from em_evals.definitions import MISSING, counts_by, pooled
from em_evals.errors import InputError
from em_evals.measures import auc, correlation, difference, kappa, rank_correlation

ANSWER = ("run", "sample", "epoch", "scorer")
"""What tells judged answers apart."""


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of judges that have answers in common, in the frame's order.

    Args:
        frame: Answers.
    """
    judged = frame[(frame["judge"] != "") & (frame["label"] != NOT_DRAWN)]
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
    - `mean_difference`: of the same scores, b less a, over `scores_n` answers (`aligned`: -100 to
      100).
    - `rate_a`, `rate_b` (0-1, high is bad): over these answers, each judge by its own filter, which
      leaves `rate_a_n` and `rate_b_n` of them, with `rate_a_lower` and so on, the 95% interval for
      answers clustered by question; `difference`, b less a, with `lower` and `upper`,
      its paired 95% interval, and `interval`, what that is of. Answers are clustered by question,
      and each pair is one answer, so what makes both judges' rates vary cancels out. Where all
      answers differ alike, or none does, the bounds lie as far off as Wilson's interval leaves for
      a share of answers that do otherwise.

    Where b has judged answers drawn at random, this is of those, each counted once whatever its
    chance was.

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
    frame = frame[frame["label"] != NOT_DRAWN]
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
    apart = (two["bad"] - one["bad"])[both] * (-1 if scorer == FREE_FORM else 1)
    clusters = question.astype(str).tolist()
    bounds: dict[str, float] = {}
    for name, judged in (("rate_a", one), ("rate_b", two)):
        rate = pooled(counts_by(clusters, judged["counted"].tolist()).values())
        bounds |= {f"{name}_lower": rate.lower, f"{name}_upper": rate.upper}
    return {
        "scores_n": int(both.sum()),
        "pearson": correlation(one["bad"], two["bad"]),
        "spearman": rank_correlation(one["bad"], two["bad"]),
        "pearson_coherent": correlation(*coherent),
        "spearman_coherent": rank_correlation(*coherent),
        "auc": auc(two["bad"][ranked], one["verdict"][ranked]),
        "verdicts_n": int(known.sum()),
        "kappa": kappa(one["verdict"][known], two["verdict"][known]),
        "mean_difference": float(apart.mean()) if len(apart) else MISSING,
        **bounds,
        **difference(one["counted"], two["counted"], question)._asdict(),
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
