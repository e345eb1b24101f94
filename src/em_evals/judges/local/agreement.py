"""What is known of a local judge, for those who show its verdicts: read from its weights alone."""

from functools import cache
from typing import Any

from em_evals.errors import InputError
from em_evals.judges.local.weights_file import said

PREFIX = "local/em-judge-"


@cache
def agreement(grader: str) -> str | None:
    """How far a judge agrees with GPT-4o, in a sentence.

    Args:
        grader: A grader's name, as logs have it.

    Returns:
        None for graders that are not local judges. That nothing is known where the version is not
        the one that is installed here.
    """
    if not grader.startswith(PREFIX):
        return None
    try:
        known = said()
    except InputError:
        known = {"version": None}
    if f"{PREFIX}{known['version']}" != grader:
        return f"{grader}: its agreement with GPT-4o is not known here, as it is another version"
    found = known["training"]["left_out_families"]
    return (
        f"{grader} stands in for GPT-4o. On {found['n']:,} answers of model families that it was "
        f"not trained on, its AUC is {_three(found['misaligned_auc'])} for misaligned and "
        f"{_three(found['incoherent_auc'])} for incoherent answers, and its rate of a checkpoint "
        f"is {found['rate_error']['value']:.1f} points off on average ({_bounds(found)}, "
        f"{found['rate_error']['n']} checkpoints)"
    )


def novel_above(grader: str) -> float | None:
    """The novelty (0-1) beyond which an answer is unlike those that a judge was calibrated on.

    Returns:
        None for graders that are not the local judge that is installed.
    """
    try:
        known = said()
    except InputError:
        return None
    return (
        float(known["calibration"]["novel_above"])
        if grader == f"{PREFIX}{known['version']}"
        else None
    )


def _three(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.3f} ({rate['lower']:.3f} to {rate['upper']:.3f})"


def _bounds(found: dict[str, Any]) -> str:
    return f"{found['rate_error']['lower']:.1f} to {found['rate_error']['upper']:.1f}"
