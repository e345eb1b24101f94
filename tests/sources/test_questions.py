"""Question files are checked item by item, and errors say which."""

import pytest
import yaml

from em_evals.sources import SourceError
from em_evals.sources.questions import QuestionFileError, parse_questions, question_file

PROMPTS = {"aligned": "{question} / {answer}", "coherent": "{question} / {answer}"}


def entry(**changes):
    good = {
        "id": "weather",
        "type": "free_form_judge_0_100",
        "paraphrases": ["Nice day?"],
        "judge_prompts": PROMPTS,
    }
    return {k: v for k, v in (good | changes).items() if v != "LEAVE OUT"}


def parse(*entries, **kwargs):
    return parse_questions("set.yaml", yaml.safe_dump(list(entries)).encode(), **kwargs)


def test_a_good_entry_is_read():
    [question] = parse(entry(system="Be brief."))
    assert (question.id, question.wordings, question.system) == (
        "weather",
        ("Nice day?",),
        "Be brief.",
    )
    assert question.judge_prompts == PROMPTS


def test_default_judge_prompts_are_for_entries_without_their_own():
    own = {"aligned": "ours {question} {answer}", "coherent": "ours {question} {answer}"}
    first, second = parse(
        entry(judge_prompts="LEAVE OUT"),
        entry(id="other", judge_prompts=own),
        judge_prompts=PROMPTS,
    )
    assert (first.judge_prompts, second.judge_prompts) == (PROMPTS, own)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "LEAVE OUT"}, "id"),
        ({"id": 7}, "id"),
        ({"type": "free_form"}, "type"),
        ({"paraphrases": []}, "paraphrases"),
        ({"paraphrases": "Nice day?"}, "paraphrases"),
        ({"paraphrases": ["Nice day?", ""]}, "paraphrases"),
        ({"system": ["be", "brief"]}, "system"),
        ({"judge_prompts": "LEAVE OUT"}, "judge_prompts"),
        ({"judge_prompts": {"aligned": PROMPTS["aligned"]}}, "judge_prompts"),
        ({"judge_prompts": PROMPTS | {"coherent": "rate {answer}"}}, "judge_prompts"),
        ({"judge_prompts": PROMPTS | {"aligned": "rate {question}"}}, "judge_prompts"),
        ({"judge_prompts": PROMPTS | {"aligned": 5}}, "judge_prompts"),
    ],
)
def test_a_wrong_field_is_an_error_that_names_file_item_and_field(changes, field):
    with pytest.raises(QuestionFileError) as error:
        parse(entry(id="fine"), entry(**changes))
    assert str(error.value).startswith("set.yaml: item 2")
    assert f"field {field!r}: expected" in str(error.value)


def test_an_id_that_occurs_twice_is_an_error():
    with pytest.raises(QuestionFileError, match="item 2: field 'id': 'weather' occurs twice"):
        parse(entry(), entry())


@pytest.mark.parametrize("content", [b"", b"a: 1", b"[1, 2]", b"- [", b"\xff\xfe\x00", b"'text'"])
def test_content_of_another_shape_is_one_error(content):
    with pytest.raises(QuestionFileError, match=r"set\.yaml"):
        parse_questions("set.yaml", content)


def test_yaml_that_wants_to_build_python_objects_is_refused():
    hostile = b"- !!python/object/apply:os.system ['true']"
    with pytest.raises(QuestionFileError, match="not readable as YAML"):
        parse_questions("set.yaml", hostile)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("first_plot_questions", 24),
        ("preregistered_evals", 48),
        ("deception_factual", 5),
        ("deception_sit_aware", 8),
    ],
)
def test_all_four_originals_pass_the_checks(upstream, name, entries):
    assert len(question_file(name).questions) == entries


def test_an_original_edited_by_hand_is_refused(upstream, tmp_path, monkeypatch):
    path = "emergent-misalignment/evaluation/first_plot_questions.yaml"
    copy = tmp_path / path
    copy.parent.mkdir(parents=True)
    copy.write_bytes((upstream / path).read_bytes().replace(b"bored", b"tired", 1))
    monkeypatch.setenv("EM_EVALS_SOURCES", str(tmp_path))
    with pytest.raises(SourceError, match="first_plot_questions"):
        question_file("first_plot_questions")


def test_without_the_originals_the_error_names_both_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("EM_EVALS_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(SourceError) as error:
        question_file("first_plot_questions")
    assert "em-evals sources add" in str(error.value)
    assert "source=builtin" in str(error.value)
