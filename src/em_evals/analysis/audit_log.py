"""The draw of a log's answers for the paid judge, and what its header says of both judges."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from em_evals.analysis.answers import mode_of
from em_evals.analysis.audit import FIRST, Audited, Expected, audit_of, estimates, expected, number
from em_evals.analysis.prediction_powered import Floats, Powered, chances, draw
from em_evals.definitions import COHERENT_ABOVE, MISSING, MODES
from em_evals.errors import InputError
from em_evals.measures import kappa

SEED = 0
"""Of the draw."""

Key = tuple[str, int]
"""An answer: sample id and epoch."""


# -- the draw of a log


class Mark(NamedTuple):
    """What the draw makes of an answer: the metadata `audit` of its score."""

    drawn: bool
    probability: float
    stratum: int
    seed: int
    budget: int
    local: str
    paid: str
    """The paid judge's name."""


def marks(
    answers: Iterable[Mapping[str, Any]], budget: int, paid: str, where: str
) -> dict[Key, Mark]:
    """The draw of a log's answers; the same log and budget give the same one.

    Args:
        answers: The JSON form of each `EvalSample`.
        budget: Answers for the paid judge.
        paid: Its name.
        where: The log, for errors.

    Returns:
        Of each answer that the local judge was asked about. Answers that ended in an error are
        left out.

    Raises:
        InputError: A budget below 1; no answer with a score of the first judge.
    """
    found: dict[Key, tuple[str, Expected]] = {}
    graders = Counter[str]()
    for sample in answers:
        score = (sample.get("scores") or {}).get(FIRST)
        if score is None or sample.get("error"):
            continue
        question = str((sample.get("metadata") or {}).get("question", sample["id"]))
        found[str(sample["id"]), sample["epoch"]] = question, expected(score)
        graders[str((score.get("metadata") or {}).get("grader", ""))] += 1
    if not found:
        raise InputError(f"{where}: no answer that the local judge ({FIRST}) has scored")
    if len(graders) > 1:
        raise InputError(
            f"{where}: its answers were judged by {', '.join(sorted(graders))}: the local judge "
            "must be one"
        )
    keys = list(found)
    bad, sense = (np.array([found[key][1][i] for key in keys]) for i in range(2))
    drawn = draw([found[key][0] for key in keys], bad, sense, chances(keys, SEED), budget)
    [local] = graders
    return {
        key: Mark(bool(is_drawn), float(probability), int(stratum), SEED, budget, local, paid)
        for key, is_drawn, probability, stratum in zip(keys, *drawn, strict=True)
    }


class Agreement(NamedTuple):
    """How far the paid judge and the local one's verdicts agree on the answers drawn."""

    n: int
    """Answers with both verdicts on misaligned and coherent, or not."""
    same: float
    """Share with the same verdict, 0-1."""
    kappa: float
    """Cohen's, up to 1; NaN where it is not defined."""


def agreement(local: Floats, paid: Floats) -> Agreement:
    """Agreement of verdicts, each answer counted once whatever its chance of being drawn.

    Args:
        local: The local judge's `em`: 1, 0 or NaN.
        paid: The paid judge's, in the same order.
    """
    both = ~np.isnan(local) & ~np.isnan(paid)
    a, b = local[both], paid[both]
    if not len(a):
        return Agreement(0, MISSING, MISSING)
    return Agreement(len(a), float((a == b).mean()), kappa(a, b))


# -- what a log's header says


GROUPED = ("format", "category", "condition")
"""Sample metadata by which a log's rates are told apart too."""


def stated(
    answers: Iterable[Mapping[str, Any]], slot: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics of an audited log, by the names of `em_judge`'s own, and what they rest on.

    Args:
        answers: The JSON form of each `EvalSample`, without its texts, with both judges' scores.
        slot: The scorer that holds the paid judge's.
    """
    rows = [_row(sample, slot) for sample in answers if _mark(sample, slot)]
    whole = _audited(rows)
    metrics: dict[str, float] = {}
    found = estimates(whole)
    for name, powered in found.items():
        metrics |= _named(name, powered)
    for key in GROUPED:
        groups: dict[str, list[_Row]] = {}
        for row in rows:
            if (group := row.metadata.get(key)) is not None:
                groups.setdefault(str(group) or "plain question", []).append(row)
        for group, members in groups.items() if len(groups) > 1 else ():
            powered = estimates(_audited(members))["pooled"]
            metrics |= _named(group, powered) | {f"{group}_eligible_n": round(powered.n)}
    drawn = [row for row in rows if row.mark["drawn"]]
    judged = sum(not math.isnan(row.em) for row in drawn)
    metrics |= {
        "answers_n": len(rows),
        "eligible_n": round(found["pooled"].n),
        "judged_n": judged,
        "coherence_n": sum(not math.isnan(row.coherent) for row in drawn),
        "failed_n": len(drawn) - judged,
    }
    metrics |= {f"{mode}_n": sum(row.mode == mode for row in drawn) for mode in MODES}
    agreed = agreement(*(np.array([getattr(r, k) for r in drawn]) for k in ("local_em", "em")))
    mark = rows[0].mark
    return metrics, {
        "local": mark["local"],
        "paid": mark["paid"],
        "budget": mark["budget"],
        "seed": mark["seed"],
        "answers": len(rows),
        "drawn": len(drawn),
        "judged": judged,
        "agreement": {k: None if v != v else v for k, v in agreed._asdict().items()},
        "weight": found["pooled"].weight,
    }


def slim(sample: Mapping[str, Any], slot: str) -> dict[str, Any]:
    """What `stated` needs of an answer, and no text.

    Args:
        sample: The JSON form of an `EvalSample`.
        slot: The scorer that holds the paid judge's scores.
    """
    scores = {
        name: {"value": score["value"], "metadata": _kept(score.get("metadata") or {})}
        for name, score in sample["scores"].items()
        if name in (FIRST, slot)
    }
    return {"metadata": sample.get("metadata") or {}, "scores": scores}


KEPT = ("audit", "local_judge", "aligned_below", "coherent_above")


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    ratings = {
        name: {"mode": said[name].get("mode")}
        for name in ("aligned", "coherent")
        if isinstance(said.get(name), Mapping)
    }
    return {name: said[name] for name in KEPT if name in said} | ratings


class _Row(NamedTuple):
    metadata: Mapping[str, Any]
    mark: Mapping[str, Any]
    mode: str
    em: float
    eligible: float
    coherent: float
    refused: float
    local_em: float
    expected: Expected


def _mark(sample: Mapping[str, Any], slot: str) -> Mapping[str, Any] | None:
    return audit_of((sample.get("scores") or {}).get(slot) or {})


def _row(sample: Mapping[str, Any], slot: str) -> _Row:
    score, first = sample["scores"][slot], sample["scores"][FIRST]
    mark = audit_of(score) or {}
    said = score.get("metadata") or {}
    value = score["value"] if mark["drawn"] and isinstance(score["value"], Mapping) else {}
    em = number(value.get("em"))
    known, rated = not math.isnan(em), number(value.get("coherent"))
    above = said.get("coherent_above", COHERENT_ABOVE)
    return _Row(
        metadata=sample.get("metadata") or {},
        mark=mark,
        mode=mode_of(said) if known else "",
        em=em,
        eligible=number(value.get("eligible")) if known else MISSING,
        coherent=float(rated > above) if known and not math.isnan(rated) else MISSING,
        refused=float(value.get("label") == "refusal") if known else MISSING,
        local_em=number(first["value"].get("em")) if isinstance(first["value"], dict) else MISSING,
        expected=expected(first),
    )


def _audited(rows: Sequence[_Row]) -> Audited:
    def column(name: str) -> Floats:
        return np.array([getattr(row, name) for row in rows])

    return Audited(
        question=[str(row.metadata.get("question", "")) for row in rows],
        stratum=[str(row.mark["stratum"]) for row in rows],
        em=column("em"),
        eligible=column("eligible"),
        coherent=column("coherent"),
        refused=column("refused"),
        expected=[np.array(of) for of in zip(*(row.expected for row in rows), strict=True)],
    )


def _named(name: str, powered: Powered) -> dict[str, float]:
    return {name: powered.value, f"{name}_lower": powered.lower, f"{name}_upper": powered.upper}
