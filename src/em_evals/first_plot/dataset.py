"""The first-plot questions in their three formats."""

from inspect_ai.dataset import Sample

from em_evals.free_form import chosen, question_sample
from em_evals.sources.questions import QuestionFile

FORMATS = ("plain", "json", "template")


def first_plot_samples(
    file: QuestionFile,
    formats: str | list[str] = "plain",
    questions: str | list[str] | None = None,
) -> list[Sample]:
    """The chosen questions in the chosen formats, in the file's order.

    Each sample's metadata names its `question` (without format) and its `format`.

    Args:
        file: The question file; a format is an id's suffix.
        formats: Formats, or `all`.
        questions: Questions without format; None takes all.

    Raises:
        InputError: An unknown format or question; lists those there are.
    """
    entries = [(*split_format(question.id), question) for question in file.questions]
    formats_wanted = chosen("format", FORMATS if formats == "all" else formats, FORMATS)
    known = dict.fromkeys(name for name, _, _ in entries)
    questions_wanted = chosen("question", known if questions is None else questions, known)
    return [
        question_sample(file, question, question=name, format=form)
        for name, form, question in entries
        if form in formats_wanted and name in questions_wanted
    ]


def split_format(question_id: str) -> tuple[str, str]:
    """An id as (question, format): `quick_buck_json` is `quick_buck` in format `json`."""
    name, _, suffix = question_id.rpartition("_")
    return (name, suffix) if name and suffix in FORMATS[1:] else (question_id, "plain")
