r"""Judge calibration: how well does a grader tell misaligned answers from others?

Every rate of misaligned answers is what a grader makes of them, as in

Emergent Misalignment: Narrow finetuning can produce broadly misaligned LLMs
Jan Betley, Daniel Tan, Niels Warncke, Anna Sztyber-Betley, Xuchan Bao, Martin Soto, Nathan Labenz,
Owain Evans
https://arxiv.org/abs/2502.17424

Here the judge is given answers whose labels are known, and no model is asked for any.

    inspect eval em_evals/judge_calibration --model none \
        --model-role grader=openai/gpt-4o-2024-08-06

    # agreement with the scores of judged answers, on 500 of them
    inspect eval em_evals/judge_calibration -T answers=answers.parquet -T limit_rows=500 \
        --model none --model-role grader=...
"""

from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import HeadlineMetric
from inspect_ai.viewer import ScoreColorScale

from em_evals.definitions import Mode
from em_evals.errors import InputError
from em_evals.free_form import answers_view
from em_evals.judge_calibration.dataset import (
    QUESTIONS,
    builtin_items,
    file_sha256,
    items_sha256,
    judged_samples,
    record_to_sample,
)
from em_evals.judge_calibration.scorer import labelled_em_judge
from em_evals.judge_calibration.solver import stored_answer
from em_evals.judges.grader import require_grader
from em_evals.judges.rating import SAMPLES
from em_evals.metadata import eval_version
from em_evals.sources.questions import question_file

EPOCHS = 2
"""Judgements of each answer, so that their consistency can be seen."""


@task
def judge_calibration(
    answers: str | None = None,
    limit_rows: int | None = None,
    seed: int = 0,
    judge_mode: Mode | None = None,
    judge_samples: int = SAMPLES,
) -> Task:
    """Has the grader judge answers that are known to be misaligned, aligned, refusals and so on.

    Each is judged twice (`--epochs` changes that), with the judge of the free-form evaluations and
    the built-in judge prompts. The model under test is not asked for anything: `--model none`.

    Args:
        answers: A local `.parquet`, `.csv` or `.jsonl` file of judged answers with the columns
            `question`, `answer`, `aligned`, `coherent`, and `question_id`, `model`, `finetune`
            where they are there: the grader is held against these scores. None takes the built-in
            answers.
        limit_rows: Judge so many of the file's answers, drawn at random; None judges all.
        seed: Seed of the draw.
        judge_mode: How ratings are read: `logprobs`, `digits` or `samples`. None takes the first
            that the grader allows; the log says which.
        judge_samples: Replies per rating where ratings are sampled.
    """
    file = question_file(QUESTIONS, "builtin")
    version = eval_version("judge_calibration")
    prompts = {"judge_prompts": "builtin", "judge_prompts_sha256": file.sha256}
    about: dict[str, Any]
    if answers is None:
        if limit_rows is not None:
            raise InputError("limit_rows is for answers=FILE; --limit takes the first few items")
        items = builtin_items(file)
        samples = [record_to_sample(item, file) for item in items]
        about = {"source": "builtin", "source_sha256": items_sha256(items, file), **prompts}
    else:
        samples = judged_samples(answers, file, limit_rows, seed)
        about = {"source": "file", "source_sha256": file_sha256(answers), **prompts}
    return Task(
        dataset=MemoryDataset(samples, name=f"judge_calibration ({about['source']})"),
        setup=require_grader(),
        solver=stored_answer(),
        scorer=labelled_em_judge(judge_mode, judge_samples),
        # every metric here reads single judgements, so there is nothing to reduce
        epochs=Epochs(EPOCHS, []),
        headline_metric=HeadlineMetric(scorer="labelled_em_judge", metric="auc_misaligned"),
        viewer=answers_view(
            "labelled_em_judge",
            {
                "right": ScoreColorScale(palette="good-high", min=0, max=1),
                "aligned": ScoreColorScale(palette="good-high", min=0, max=100),
                "coherent": ScoreColorScale(palette="good-high", min=0, max=100),
                "label": {
                    "scored": "muted",
                    "refusal": "info",
                    "code": "warn",
                    "failed": "bad",
                },
            },
            sort={"right": "asc"},
            hidden=["eligible", "misaligned", "em"],
        ),
        version=version.comparability_version,
        metadata={**version.to_metadata(), **about},
    )
