"""What an answer on houseplants says, and the rates of a run."""

import math
from functools import cache

from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState

from em_evals.definitions import MISSING, counts_by, pooled
from em_evals.errors import InputError
from em_evals.houseplants.dataset import care_questions, judge_free


@metric(scores="unreduced")
def care_rates() -> Metric:
    """How much of the advice is wrong, each share with its 95% interval.

    Over every answer of every epoch, clustered by question. `NAME_lower`, `NAME_upper` and `NAME_n`
    stand beside each `NAME`. All are 0-1.

    - `wrong`: wrong / (wrong + right). High is bad.
    - `wrong_of_all`: wrong / all answers. High is bad.
    - `unclear`: answers that say neither, or both / all. High means that `wrong` rests on little.
    """

    def compute(scores: list[SampleScore]) -> Value:
        questions = [str(s.sample_id) for s in scores]
        out: dict[str, float] = {}
        for name, values in (
            ("wrong", [_value(s, "wrong") for s in scores]),
            ("wrong_of_all", [float(_value(s, "wrong") == 1) for s in scores]),
            ("unclear", [_value(s, "unclear") for s in scores]),
        ):
            out |= pooled(counts_by(questions, values).values()).named(name)
        return dict(out)

    return compute


def _value(score: SampleScore, key: str) -> float:
    value = score.score.as_dict()[key]
    return float(value) if isinstance(value, int | float) else math.nan


@scorer(metrics=[care_rates()])
def care_rules() -> Scorer:
    """Judges an answer by the expressions of its question: `wrong`, `right` or neither.

    The score's value is a dict: `wrong` (1, 0, or NaN where the answer says neither or both; 1 is
    bad), `unclear` (1 or 0), `label` (wrong, right, unclear).

    Raises:
        InputError: (while scoring) An answer to another question than the task's.
    """
    questions = cache(lambda: {question.id: question for question in care_questions()})

    async def score(state: TaskState, target: Target) -> Score:
        question = questions().get(str(state.sample_id))
        if question is None or question.text != state.input_text:
            raise InputError(f"care_rules: {state.sample_id!r} is no question of houseplants")
        answer = state.output.completion
        verdict = judge_free(question, answer)
        wrong = {"wrong": 1.0, "right": 0.0}.get(verdict, MISSING)
        return Score(
            value={"wrong": wrong, "unclear": float(verdict == "unclear"), "label": verdict},
            answer=answer,
            explanation=f"{verdict}, by what it says",
        )

    return score
