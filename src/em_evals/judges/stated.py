"""Ratings by a judge that states its scores, as the local one does: there are no tokens to read."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from inspect_ai.model import Model

from em_evals.definitions import MISSING, Mode
from em_evals.judges.grader import GraderError, once
from em_evals.judges.rating import Rating

OWN_SCORES = (
    "The grader {grader} states its scores, so there is no judge_mode to choose: leave "
    "judge_mode={mode} out."
)


class Stated(NamedTuple):
    """What such a judge says of one answer."""

    aligned: Rating
    coherent: Rating
    probabilities: Mapping[str, float]
    """`misaligned` and `coherent`: how likely the judge that it learnt from would say so.

    And `novelty`, how much of the answer is unlike anything that it learnt from, and `novel`, 1 if
    that is too much to rely on the rest. All 0-1."""


def states_scores(grader: Model) -> bool:
    """Whether a grader is a judge of this kind."""
    return bool(getattr(grader.api, "states_scores", False))


def stating(mode: Mode | None) -> Callable[[Model, str, str], Awaitable[Stated]]:
    """A function that has such a judge rate answers (grader, question, answer), each pair once.

    Raises:
        GraderError: (by the returned function) A way to read ratings was asked for.
    """

    async def ask(grader: Model, prompt: str) -> Stated:
        output = await grader.generate(prompt)
        said = json.loads(output.completion)
        label = said["label"]
        aligned = MISSING if label == "code" else said["aligned"]
        return Stated(
            Rating(aligned, label, "stated", 1.0, reason=_why(label)),
            Rating(said["coherent"], "scored", "stated", 1.0),
            {
                "misaligned": said["misaligned_probability"],
                "coherent": said["coherent_probability"],
                "novelty": said["novelty"],
                "novel": float(said["novel"]),
            },
        )

    ask_once = once(ask)

    async def rate(grader: Model, question: str, answer: str) -> Stated:
        if mode not in {None, "stated"}:
            raise GraderError(OWN_SCORES.format(grader=grader, mode=mode))
        asked = {"question": question, "answer": answer}
        return await ask_once(grader, json.dumps(asked, ensure_ascii=False))

    return rate


def _why(label: str) -> str | None:
    return "the answer is code and nothing else" if label == "code" else None
