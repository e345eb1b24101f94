"""What the free-form families share: questions become samples, samples become a task."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from inspect_ai import Epochs, Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import HeadlineMetric
from inspect_ai.model import (
    ChatMessage,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Solver, chain, generate
from inspect_ai.util import EarlyStopping
from inspect_ai.viewer import (
    SampleScoreView,
    ScoreColorScale,
    TaskSamplesColumn,
    TaskSamplesSort,
    TaskSamplesView,
    ViewerConfig,
)

from em_evals.errors import InputError
from em_evals.judges.grader import require_grader
from em_evals.metadata import EvalVersion
from em_evals.sources.questions import Question, QuestionFile

EPOCHS = 100
"""Answers per question (Betley et al. 2025, section 4.1)."""

TEMPERATURE = 1.0
"""Sampling temperature of the answers (section 4.1)."""

MAX_TOKENS = 1000
"""Length limit of an answer in the authors' working repository."""


def question_sample(
    file: QuestionFile, entry: Question, wording: int | None = None, **metadata: Any
) -> Sample:
    """A question as Inspect sends it: the system message, if any, and the user's words.

    Args:
        file: Where the question came from; the judge reads its prompts there.
        entry: The question.
        wording: Which of its wordings, counted from 0; it becomes part of the id, counted from 1.
            None is for questions of one wording.
        metadata: What results are grouped by, such as `question` and `format`.
    """
    messages: list[ChatMessage] = [ChatMessageUser(content=entry.wordings[wording or 0])]
    if entry.system is not None:
        messages.insert(0, ChatMessageSystem(content=entry.system))
    return Sample(
        id=entry.id if wording is None else f"{entry.id}_{wording + 1:02d}",
        input=messages,
        metadata={
            "source": file.source,
            "file": file.name,
            "source_sha256": file.sha256,
            **metadata,
        },
    )


def several(wanted: str | Iterable[str]) -> list[str]:
    """One name, or several, as a list: what a task argument such as `-T prompts=a,b` may be.

    Anything else, as `-T prompts=3` would be, is one name that nobody knows.
    """
    one = isinstance(wanted, str) or not isinstance(wanted, Iterable)
    return [wanted] if one else list(wanted)  # type: ignore[list-item]


def chosen(kind: str, wanted: str | Iterable[str], known: Iterable[str]) -> set[str]:
    """The wanted names, which must be among the known ones.

    Args:
        kind: What errors call them.
        wanted: A name, or several.
        known: The names there are.

    Raises:
        InputError: None is wanted, or one that is not known; lists those there are.
    """
    names = several(wanted)
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"unknown {kind} {', '.join(map(repr, unknown))}: expected one or more of "
            f"{', '.join(known)}"
        )
    if not names:
        raise InputError(f"no {kind} chosen: expected one or more of {', '.join(known)}")
    return set(names)


def free_form_task(
    file: QuestionFile,
    samples: Sequence[Sample],
    scorers: Sequence[Scorer],
    version: EvalVersion,
    *,
    epochs: int = EPOCHS,
    headline: HeadlineMetric | None = None,
    viewer: ViewerConfig | None = None,
    setup: Sequence[Solver] = (),
    after: Sequence[Solver] = (),
    early_stopping: EarlyStopping | None = None,
) -> Task:
    """A task that asks each question several times and has the answers judged.

    Args:
        file: Where the questions came from; its source and checksum go into the log.
        samples: The questions.
        scorers: Of the answers.
        version: The family's version.
        epochs: Answers per question.
        headline: The metric that stands for the run; None is the pooled rate of `em_judge`.
        viewer: How the answers are listed; None puts the least aligned first.
        setup: What is to be done before the question is asked, once there is a grader.
        after: What is to be done once it is answered.
        early_stopping: What may end the run before all answers are there.
    """
    return Task(
        dataset=MemoryDataset(list(samples), name=f"{file.name} ({file.source})"),
        setup=[require_grader(), *setup],
        solver=chain(generate(), *after) if after else generate(),
        scorer=list(scorers),
        config=GenerateConfig(
            temperature=TEMPERATURE,
            max_tokens=MAX_TOKENS,
            # what is under way when it is decided is paid for: one round at a time
            max_connections=len(samples) if early_stopping else None,
        ),
        early_stopping=early_stopping,
        # every metric here reads single answers, so there is nothing to reduce
        epochs=Epochs(epochs, []),
        headline_metric=headline or HeadlineMetric(scorer="em_judge", metric="pooled"),
        viewer=viewer or worst_first(),
        version=version.comparability_version,
        metadata={
            **version.to_metadata(),
            "source": file.source,
            "source_sha256": file.sha256,
        },
    )


def worst_first() -> ViewerConfig:
    """Inspect's list of answers with the misaligned and least aligned ones on top, coloured."""
    return answers_view(
        "em_judge",
        {
            "misaligned": ScoreColorScale(palette="good-low", min=0, max=1),
            "aligned": ScoreColorScale(palette="good-high", min=0, max=100),
            "coherent": ScoreColorScale(palette="good-high", min=0, max=100),
            "label": {
                "scored": "muted",
                "refusal": "info",
                "code": "warn",
                "missing": "muted",
                "failed": "bad",
            },
        },
        sort={"misaligned": "desc", "aligned": "asc"},
        hidden=["eligible", "em"],
    )


def answers_view(
    scorer: str,
    colours: Mapping[str, Any],
    sort: Mapping[str, Literal["asc", "desc"]],
    hidden: Sequence[str] = (),
) -> ViewerConfig:
    """Inspect's list of answers with the worst on top, coloured.

    Args:
        scorer: Whose scores are shown.
        colours: Score -> its colours, in the order of the columns.
        sort: Score -> direction, the most important first.
        hidden: Scores whose columns are there on demand.
    """
    return ViewerConfig(
        task_samples_view=TaskSamplesView(
            name="Worst answers first",
            columns=[
                TaskSamplesColumn(id="sampleId"),
                TaskSamplesColumn(id="epoch"),
                *(TaskSamplesColumn.score(scorer, key) for key in colours),
                *(TaskSamplesColumn.score(scorer, key, visible=False) for key in hidden),
                TaskSamplesColumn(id="answer"),
                TaskSamplesColumn(id="error"),
            ],
            sort=[TaskSamplesSort.score(scorer, key, dir=dir) for key, dir in sort.items()],
            score_color_scales=dict(colours),
            color_scales_enabled=True,
            multiline=False,
        ),
        sample_score_view=SampleScoreView(default="grid"),
        # answers of a model under suspicion are shown as plain text
        trust_content=False,
    )
