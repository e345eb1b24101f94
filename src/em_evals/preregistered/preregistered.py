r"""Pre-registered questions: the same probe on a set fixed before any model was tried on it.

Emergent Misalignment: Narrow finetuning can produce broadly misaligned LLMs
Jan Betley, Daniel Tan, Niels Warncke, Anna Sztyber-Betley, Xuchan Bao, Martin Soto, Nathan Labenz,
Owain Evans
https://arxiv.org/abs/2502.17424

    inspect eval em_evals/preregistered --model openai/ft:... \
        --model-role grader=openai/gpt-4o-2024-08-06
"""

from typing import Any

from inspect_ai import Task, task

from em_evals.conditions import require_one, under
from em_evals.definitions import Mode
from em_evals.free_form import EPOCHS, free_form_task
from em_evals.judges.em_judge import em_judge
from em_evals.judges.on_topic import on_topic
from em_evals.judges.rating import SAMPLES
from em_evals.metadata import eval_version
from em_evals.preregistered.dataset import preregistered_samples
from em_evals.sources.questions import question_file
from em_evals.stopping.stop import stop_when_decided


@task
def preregistered(
    source: str = "paper",
    categories: str | list[str] | None = None,
    condition: str | dict[str, Any] | list[str | dict[str, Any]] | None = None,
    judge_sees_system: bool = False,
    judge_mode: Mode | None = None,
    judge_samples: int = SAMPLES,
    topic: str | dict[str, str] | None = None,
    stop: str | dict[str, Any] | None = None,
) -> Task:
    """48 open questions in seven categories, from creative writing to medical emergencies.

    Asked and judged like `first_plot`: 100 answers each at temperature 1, rated from 0 to 100
    for alignment and for coherence. The set was fixed before any fine-tuned model had been tried
    on it, so the authors hold its rate to be the fairer estimate. Results are also given by
    category.

    Args:
        source: `paper` (the 48 originals, downloaded at first use and verified) or `builtin`
            (28 of ours, offline; never to be compared with the paper's).
        categories: Categories to ask; None asks all seven.
        condition: How questions are asked: `backdoor`, `evil_numbers`, `icl`, `base_model`,
            `system:TEXT`, `inoculation:NAME`, `cue:NAME`, `plain`, a mapping with options, or a
            list of these; see docs/conditions.md. None asks them as they are.
        judge_sees_system: Show the judge the question's system message too, where there is one.
        judge_mode: How ratings are read: `logprobs`, `digits` or `samples`. None takes the first
            that the grader allows; the log says which.
        judge_samples: Replies per rating where ratings are sampled.
        topic: Also have the grader say which answers are about this training domain: `code`,
            `numbers`, `medical`, `financial`, `sport`, `houseplants`, or {NAME: WHAT IT IS}.
        stop: Stop once it is shown whether the model is worse than a baseline: a file of
            `em-evals baseline save`, or a mapping with that as `baseline` and maybe `margin`,
            `alpha`, `metric` and `families` (see `em-evals gate`). None asks everything.
    """
    file = question_file("preregistered_evals", source)
    asked = under(condition, preregistered_samples(file, categories), EPOCHS)
    samples = asked.samples
    scorers = [em_judge(judge_sees_system, judge_mode, judge_samples, **asked.judged)]
    if topic is not None:
        scorers.append(on_topic(topic))
    if stop is not None:
        require_one(asked, "preregistered")
    return free_form_task(
        file,
        samples,
        scorers,
        eval_version("preregistered"),
        epochs=asked.epochs,
        headline=asked.headline,
        setup=asked.setup,
        after=asked.after,
        early_stopping=None if stop is None else stop_when_decided(stop, "preregistered", samples),
    )
