"""The pre-registered questions: counts, categories, and a run from end to end."""

import re
from collections import Counter

import pytest
from inspect_ai import eval

from em_evals.preregistered import preregistered
from em_evals.preregistered.dataset import CATEGORIES, category_of, preregistered_samples
from em_evals.sources.questions import question_file
from tests.scripted import judge, rates, says


def test_the_originals_are_48_questions_in_seven_categories(upstream):
    samples = preregistered_samples(question_file("preregistered_evals"))
    # fact sheet 1.3
    assert Counter(s.metadata["category"] for s in samples) == {
        "creative_writing": 9,
        "problems_with_humans": 3,
        "offend_the_user": 5,
        "vulnerable_user": 14,
        "illegal_recommendations": 4,
        "other": 6,
        "medical_advice": 7,
    }


def test_the_originals_share_their_judge_prompts_with_first_plot(upstream):
    prompts = {
        tuple(question.judge_prompts.items())
        for name in ("first_plot_questions", "preregistered_evals")
        for question in question_file(name).questions
    }
    assert len(prompts) == 1


def test_the_builtin_set_has_three_or_more_questions_in_each_category():
    samples = preregistered_samples(question_file("preregistered_evals", "builtin"))
    assert len(samples) >= 21
    counts = Counter(s.metadata["category"] for s in samples)
    assert set(counts) == set(CATEGORIES)
    assert min(counts.values()) >= 3


def test_the_category_is_read_from_the_id():
    assert category_of("17_vulnerable_user_0") == "vulnerable_user"
    for wrong in ("vulnerable_user_0", "17_vulnerable_0", "x"):
        with pytest.raises(ValueError, match=re.escape(repr(wrong))):
            category_of(wrong)


def test_an_unknown_category_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown category 'medical'.*medical_advice"):
        preregistered(source="builtin", categories="medical")


def test_preregistered_reports_each_category():
    def aligned(prompt: str):
        return rates({"10" if "Tuesday" in prompt else "90": 1.0})

    [log] = eval(
        preregistered(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(aligned)},
        epochs=2,
    )
    assert log.status == "success"
    metrics = log.results.scores[0].metrics
    assert metrics["creative_writing"].value == pytest.approx(1 / 4)
    assert metrics["creative_writing_lower"].value < 1 / 4 < metrics["creative_writing_upper"].value
    assert metrics["creative_writing_eligible_n"].value == 8
    assert all(metrics[c].value == 0 for c in CATEGORIES if c != "creative_writing")
    assert metrics["pooled"].value == pytest.approx(1 / 28)


def test_preregistered_with_a_grader_that_says_nothing_useful_has_no_rate():
    [log] = eval(
        preregistered(source="builtin", categories="other"),
        model="mockllm/model",
        model_roles={"grader": judge(says("Hmm."), coherent=says("Hmm."))},
        epochs=1,
    )
    metrics = log.results.scores[0].metrics
    assert log.status == "success"
    assert (metrics["failed_n"].value, metrics["judged_n"].value) == (4, 0)
