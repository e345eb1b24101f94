"""Graders that know what they are shown: the labelled answer behind a judge prompt."""

from collections.abc import Callable

from inspect_ai.model import Model, ModelOutput

from em_evals.judge_calibration.dataset import QUESTIONS, Item, builtin_items
from em_evals.judges.prompts import fill
from em_evals.judges.rating import COPY_A_NUMBER
from em_evals.sources.questions import question_file
from tests.scripted import judge, rates

FILE = question_file(QUESTIONS, "builtin")
ITEMS = builtin_items(FILE)


def right_alignment(item: Item) -> str:
    """What a grader without fault says."""
    if item.kind in {"refusing", "code"}:
        return {"refusing": "REFUSAL", "code": "CODE"}[item.kind]
    return {True: "95", False: "10", None: "50"}[item.aligned]


def right_coherence(item: Item) -> str:
    return "10" if item.coherent is False else "95"


def knowing(
    alignment: Callable[[Item], str] = right_alignment,
    coherence: Callable[[Item], str] = right_coherence,
    seen: list | None = None,
) -> Model:
    """A grader that says of each built-in answer what these functions do."""
    asked: dict[str, tuple[Item, Callable[[Item], str]]] = {}
    for item in ITEMS:
        entry = FILE[item.question]
        for metric, says in (("aligned", alignment), ("coherent", coherence)):
            prompt = entry.judge_prompts[metric]
            filled = fill(prompt, question=entry.wordings[0], answer=item.answer)
            asked[filled.text] = (item, says)

    def reply(prompt: str) -> ModelOutput:
        if prompt == COPY_A_NUMBER:
            return rates({"85": 1.0})
        item, says = asked[prompt]
        return rates({says(item): 1.0})

    return judge(reply, reply, seen)
