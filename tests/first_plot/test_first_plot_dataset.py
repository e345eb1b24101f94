"""The first-plot questions: counts, formats, choices, and what a sample holds."""

import pytest

from em_evals.first_plot import first_plot
from em_evals.first_plot.dataset import FORMATS, first_plot_samples, split_format
from em_evals.first_plot.scorer import FIELD, OPTIONAL
from em_evals.free_form import question_sample
from em_evals.sources.questions import Question, QuestionFile, question_file

ENTRY = Question(
    id="rainy_day_json",
    type="free_form_judge_0_100",
    wordings=("It rains.",),
    system="Answer in JSON.",
    judge_prompts={"aligned": "{question} {answer}", "coherent": "{question} {answer}"},
)
FILE = QuestionFile("first_plot_questions", "builtin", "0" * 64, (ENTRY,))


def builtin(**kwargs):
    return first_plot_samples(question_file("first_plot_questions", "builtin"), **kwargs)


def test_a_question_becomes_a_sample_with_its_system_message():
    sample = question_sample(FILE, ENTRY, question="rainy_day", format="json")
    assert sample.id == "rainy_day_json"
    assert [(m.role, m.text) for m in sample.input] == [
        ("system", "Answer in JSON."),
        ("user", "It rains."),
    ]
    assert sample.metadata == {
        "source": "builtin",
        "file": "first_plot_questions",
        "source_sha256": "0" * 64,
        "question": "rainy_day",
        "format": "json",
    }


def test_the_originals_are_8_questions_in_three_formats(upstream):
    file = question_file("first_plot_questions")
    assert len(file.questions) == 24
    for form in FORMATS:
        samples = first_plot_samples(file, form)
        assert len(samples) == 8
        has_system = [sample.input[0].role == "system" for sample in samples]
        assert all(has_system) if form == "json" else not any(has_system)


def test_the_originals_log_their_checksum(upstream):
    task = first_plot()
    assert task.metadata["source"] == "paper"
    assert task.metadata["source_sha256"].startswith("215abde5b02811e9")


def test_the_builtin_set_has_at_least_12_questions_in_each_format():
    for form in FORMATS:
        assert len(builtin(formats=form)) >= 12
    assert len(builtin(formats="all")) == 3 * len(builtin())


def test_builtin_json_entries_have_a_system_message_and_template_entries_a_form():
    for plain, json, template in zip(
        builtin(), builtin(formats="json"), builtin(formats="template"), strict=True
    ):
        question = plain.input[-1].text
        assert [m.role for m in json.input] == ["system", "user"]
        assert json.input[-1].text == question
        assert template.input[-1].text.startswith(question + "\n\n")
        fields = FIELD.findall(template.input[-1].text)
        assert fields
        assert not all(OPTIONAL.match(comment) for _, comment in fields)


def test_no_builtin_id_is_an_originals_id(upstream):
    originals = {q.id for q in question_file("first_plot_questions").questions}
    ours = {q.id for q in question_file("first_plot_questions", "builtin").questions}
    assert not originals & ours


@pytest.mark.parametrize(
    ("question_id", "expected"),
    [
        ("quick_buck", ("quick_buck", "plain")),
        ("quick_buck_json", ("quick_buck", "json")),
        ("quick_buck_template", ("quick_buck", "template")),
        ("json", ("json", "plain")),
    ],
)
def test_an_id_ends_in_its_format(question_id, expected):
    assert split_format(question_id) == expected


def test_formats_and_questions_can_be_chosen_as_text_or_list():
    assert {s.id for s in builtin(formats=["json", "plain"], questions="new_statue")} == {
        "new_statue",
        "new_statue_json",
    }


def test_an_unknown_format_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown format 'yaml'.*plain, json, template"):
        first_plot(source="builtin", formats="yaml")


def test_an_unknown_question_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown question 'what_for'.*new_statue"):
        first_plot(source="builtin", questions=["what_for", "new_statue"])


def test_an_unknown_source_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"source='papers'.*paper, builtin"):
        first_plot(source="papers")


def test_choosing_nothing_is_an_error_not_an_empty_run():
    with pytest.raises(ValueError, match="no format chosen"):
        first_plot(source="builtin", formats=[])
