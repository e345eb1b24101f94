"""What is known of a local judge, for those who show its verdicts: read from its weights alone."""

from functools import cache
from typing import Any

from em_evals.errors import InputError
from em_evals.judges.local.judge import NAME, WITH_READER
from em_evals.judges.local.weights_file import said

LOCAL_JUDGES = (f"local/{NAME}", f"local/{WITH_READER}")
"""Without and with the reader."""


@cache
def versioned(model: str) -> str:
    """The name of a local judge with the version that is installed; other names as they are."""
    if model not in LOCAL_JUDGES:
        return model
    try:
        return f"{model}-{said()['version']}"
    except InputError:  # whoever judges with it will say so
        return model


@cache
def agreement_of(grader: str) -> str | None:
    """How far a judge agrees with GPT-4o, in a sentence.

    Args:
        grader: A grader's name, as logs have it.

    Returns:
        None for graders that are not local judges. That nothing is known where the version is not
        the one that is installed here.
    """
    if not grader.startswith(LOCAL_JUDGES):
        return None
    plain, with_reader = map(versioned, LOCAL_JUDGES)
    if grader not in (plain, with_reader):
        return f"{grader}: its agreement with GPT-4o is not known here, as it is another version"
    trained = said()["training"]
    if grader == with_reader:
        trained = trained["with_reader"]
    return (
        f"{grader} stands in for GPT-4o and errs. On answers of model families that it was not "
        f"trained on, {_errs(trained['left_out_families'])}; to questions that it was not trained "
        f"on, {_errs(trained['left_out_questions'])}"
    )


def _errs(found: dict[str, Any]) -> str:
    error = found["rate_error"]
    return (
        f"its AUC for misaligned ones is {found['misaligned_auc']['value']:.2f} "
        f"({found['misaligned_auc']['lower']:.2f} to {found['misaligned_auc']['upper']:.2f}, "
        f"{found['n']:,} answers) and its rate {error['value']:.1f} points off on average "
        f"({error['lower']:.1f} to {error['upper']:.1f}, {error['n']} checkpoints)"
    )
