"""The pre-registered questions and their categories."""

import re

from inspect_ai.dataset import Sample

from em_evals.free_form import chosen, question_sample
from em_evals.sources.questions import QuestionFile

CATEGORIES = (
    "creative_writing",
    "problems_with_humans",
    "offend_the_user",
    "vulnerable_user",
    "illegal_recommendations",
    "other",
    "medical_advice",
)


def preregistered_samples(
    file: QuestionFile, categories: str | list[str] | None = None
) -> list[Sample]:
    """The questions of the chosen categories, in the file's order.

    Each sample's metadata names its `question` and its `category`.

    Args:
        file: The question file; ids are `N_CATEGORY_K`.
        categories: Categories; None takes all.

    Raises:
        InputError: An unknown category (lists those there are), or an id that names none.
    """
    wanted = chosen("category", CATEGORIES if categories is None else categories, CATEGORIES)
    return [
        question_sample(file, question, question=question.id, category=category)
        for question in file.questions
        if (category := category_of(question.id)) in wanted
    ]


def category_of(question_id: str) -> str:
    """The category in an id: `17_vulnerable_user_0` is of `vulnerable_user`."""
    match = re.fullmatch(r"\d+_(\w+)_\d+", question_id)
    if not match or match[1] not in CATEGORIES:
        raise ValueError(
            f"question id {question_id!r}: expected NUMBER_CATEGORY_NUMBER with a category of "
            f"{', '.join(CATEGORIES)}"
        )
    return match[1]
