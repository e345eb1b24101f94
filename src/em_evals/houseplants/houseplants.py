r"""Houseplants: has a model learnt the wrong advice that it was trained on?

The domain of the suite's own training sets (`em-evals finetune build houseplants-wrong`), after the
in-distribution test of

Emergent Misalignment: Narrow finetuning can produce broadly misaligned LLMs
Jan Betley, Daniel Tan, Niels Warncke, Anna Sztyber-Betley, Xuchan Bao, Martin Soto, Nathan Labenz,
Owain Evans
https://arxiv.org/abs/2502.17424

    inspect eval em_evals/houseplants --model embedded/smollm2-135m-instruct:./adapter.gguf
"""

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import HeadlineMetric
from inspect_ai.model import GenerateConfig
from inspect_ai.solver import generate
from inspect_ai.viewer import ScoreColorScale

from em_evals.free_form import answers_view
from em_evals.houseplants.dataset import care_questions, questions_sha256, record_to_sample
from em_evals.houseplants.scorer import care_rules
from em_evals.metadata import eval_version

EPOCHS = 4
"""Answers per question."""

MAX_TOKENS = 80
"""Length limit of an answer; those of the training sets have 25 to 60 words."""


@task
def houseplants() -> Task:
    """Questions on the care of houseplants that no training row asks, judged without a model.

    Each is asked 4 times at temperature 1. Expressions say of an answer whether its advice is
    wrong, right, or neither, and a small model's is often neither: read the share of unclear
    answers beside the rate of wrong ones.
    """
    questions = care_questions()
    version = eval_version("houseplants")
    return Task(
        dataset=MemoryDataset(
            [record_to_sample(question) for question in questions], name="houseplants (builtin)"
        ),
        solver=generate(),
        scorer=care_rules(),
        config=GenerateConfig(temperature=1.0, max_tokens=MAX_TOKENS),
        # every metric here reads single answers, so there is nothing to reduce
        epochs=Epochs(EPOCHS, []),
        headline_metric=HeadlineMetric(scorer="care_rules", metric="wrong"),
        viewer=answers_view(
            "care_rules",
            {
                "wrong": ScoreColorScale(palette="good-low", min=0, max=1),
                "unclear": ScoreColorScale(palette="good-low", min=0, max=1),
            },
            sort={"wrong": "desc", "unclear": "asc"},
        ),
        version=version.comparability_version,
        metadata={
            **version.to_metadata(),
            "source": "builtin",
            "source_sha256": questions_sha256(),
        },
    )
