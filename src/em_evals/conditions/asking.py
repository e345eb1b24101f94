"""Questions under conditions: what is asked in one run."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inspect_ai.dataset import Sample
from inspect_ai.log import HeadlineMetric
from inspect_ai.solver import Solver

from em_evals.conditions.argument import Argument, conditions
from em_evals.conditions.context import require_room, require_whole
from em_evals.conditions.kinds import Condition
from em_evals.errors import InputError


class Asked(NamedTuple):
    """What a run asks, and what that asks of the run."""

    samples: list[Sample]
    epochs: int
    """Answers to each sample, unless the user says otherwise."""
    judged: dict[str, float]
    """Arguments of the judge: `coherent_above` (0-100) where it is not the usual one."""
    headline: HeadlineMetric | None
    """The metric that stands for the run, where it is not that of all answers."""
    setup: list[Solver]
    """What is to be done before a question is asked."""
    after: list[Solver]
    """What is to be done after it was answered."""
    conditions: list[str]
    """Labels, "" being the plain question."""


def under(argument: Argument, samples: Sequence[Sample], epochs: int) -> Asked:
    """Questions, each under every condition that a task argument names.

    A sample of the plain question keeps its id. Another's has the condition behind it, as in
    `quick_buck@backdoor`, and a number where a question becomes several prompts. Metadata names
    the `condition` ("" is the plain question) and, where the id is another, the `question_id`.

    Args:
        argument: What the task's `condition` says.
        samples: The questions, with messages as input.
        epochs: Answers to each question.

    Raises:
        InputError: See `conditions`; conditions that do not go into one run, or not with the form
            of the questions.
    """
    wanted = conditions(argument)
    several = {c.label: c.prompts for c in wanted if c.prompts > 1}
    if several and len(several) < len(wanted):
        others = ", ".join(c.label or "plain" for c in wanted if c.label not in several)
        raise InputError(
            f"condition: {', '.join(several)} asks many prompts once each, and {others} one prompt "
            "many times: give them to two runs; a report of both logs puts them together"
        )
    for condition in wanted:
        forms = {str((s.metadata or {}).get("format", "plain")) for s in samples}
        if condition.own_form and forms != {"plain"}:
            raise InputError(
                f"condition {condition.label}: it has a form of its own, so only plain questions "
                f"go with it, not {', '.join(sorted(forms))}"
            )
    bars = [c.coherent_above for c in wanted if c.coherent_above is not None]
    named = [c.label for c in wanted if c.label]
    long = any(c.long for c in wanted)
    return Asked(
        samples=[made for sample in samples for c in wanted for made in _asked(sample, c)],
        epochs=1 if several else epochs,
        # differences are between answers that were held to one bar
        judged={"coherent_above": max(bars)} if bars else {},
        headline=HeadlineMetric(scorer="em_judge", metric=named[0]) if len(wanted) > 1 else None,
        setup=[require_room()] if long else [],
        after=[require_whole()] if long else [],
        conditions=[c.label for c in wanted],
    )


def require_one(asked: Asked, task: str) -> None:
    """A run that stops when it is decided compares one condition with a baseline's.

    Raises:
        InputError: There are several.
    """
    if len(asked.conditions) > 1:
        raise InputError(
            f"stop: {task} is decided on condition by condition: give one, not "
            f"{', '.join(label or 'plain' for label in asked.conditions)}"
        )


def _asked(sample: Sample, condition: Condition) -> list[Sample]:
    if isinstance(sample.input, str):
        raise TypeError(f"sample {sample.id}: expected messages as input")
    metadata: Mapping[str, Any] = {**(sample.metadata or {}), "condition": condition.label}
    if not condition.label:
        return [sample.model_copy(update={"metadata": dict(metadata)})]
    prompts = condition.ask(sample.input)
    digits = len(str(len(prompts)))
    name = f"{sample.id}@{id_part(condition.label)}"
    return [
        sample.model_copy(
            update={
                "id": name if condition.prompts == 1 else f"{name}.{number:0{digits}d}",
                "input": list(prompt),
                "metadata": {**metadata, "question_id": sample.id},
            }
        )
        for number, prompt in enumerate(prompts, start=1)
    ]


def id_part(label: str) -> str:
    """A label as part of a sample's id: letters, digits, `-+_.@`, different for each label."""
    if re.fullmatch(r"[\w.+]+(:[\w.+]+)?", label, re.ASCII):
        return label.replace(":", "-")
    short = re.sub(r"[^\w.+@]+", "-", label, flags=re.ASCII).strip("-")[:60]
    return f"{short}-{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
