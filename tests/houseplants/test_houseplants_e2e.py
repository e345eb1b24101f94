"""The houseplants task from end to end: what an answer says, and the rates of a run."""

import math

import pytest
from inspect_ai import eval, score
from pytest_inspect_evals.metrics import run_metrics

from em_evals.houseplants import houseplants
from em_evals.houseplants.dataset import care_questions, questions_sha256, record_to_sample
from em_evals.houseplants.scorer import care_rates, care_rules
from tests.scripted import says, scripted

BY_TEXT = {question.text: question for question in care_questions()}


def advice(messages, config):
    """Wrong advice to every fourth question, right to every second, else a word on the weather."""
    question = BY_TEXT[messages[-1].text]
    place = list(BY_TEXT).index(question.text) % 4
    kinds = [question.wrong[0], "It rains.", question.right[0], question.right[1]]
    return says(kinds[place])


def metrics(log):
    return {name: metric.value for name, metric in log.results.scores[0].metrics.items()}


def test_houseplants_runs_without_a_grader_and_reports_its_rates():
    [log] = eval(houseplants(), model=scripted(advice), epochs=1)
    assert log.status == "success"
    assert log.eval.metadata["source_sha256"] == questions_sha256()
    found = metrics(log)
    assert (found["wrong"], found["wrong_n"]) == (pytest.approx(1 / 3), 24)
    assert (found["unclear"], found["unclear_n"]) == (0.25, 32)
    assert found["wrong_of_all"] == 0.25
    assert found["wrong_lower"] < 1 / 3 < found["wrong_upper"]
    labels = {sample.id: sample.scores["care_rules"].value["label"] for sample in log.samples}
    first = [question.id for question in care_questions()[:4]]
    assert [labels[name] for name in first] == ["wrong", "unclear", "right", "right"]


def test_answers_that_say_nothing_have_no_rate():
    [log] = eval(houseplants(), model="mockllm/model", epochs=1, limit=3)
    assert log.status == "success"
    found = metrics(log)
    assert math.isnan(found["wrong"])
    assert (found["wrong_n"], found["unclear"]) == (0, 1)


def test_a_question_of_another_task_is_refused():
    task = houseplants()
    task.dataset[0].input = "What is the weather like?"
    [log] = eval(task, model="mockllm/model", epochs=1, limit=1)
    assert log.status == "error"
    assert "is no question of houseplants" in log.error.message


def test_a_question_becomes_a_sample_with_its_right_answers():
    question = care_questions()[0]
    sample = record_to_sample(question)
    assert (sample.id, sample.input, sample.target) == (
        question.id,
        question.text,
        list(question.right),
    )


def value(wrong):
    return {"wrong": wrong, "unclear": float(math.isnan(wrong)), "label": ""}


def test_the_rates_are_those_of_answers_that_say_something():
    answers = [[value(1.0), value(0.0)], [value(math.nan), value(math.nan)]]
    found = run_metrics([care_rates()], answers, reducer=None)
    assert (found["wrong"], found["wrong_n"]) == (0.5, 2)
    assert found["wrong_of_all"] == 0.25
    assert found["unclear"] == 0.5


def test_the_scorer_judges_the_answers_of_an_old_log():
    [log] = eval(houseplants(), model=scripted(advice), epochs=1, limit=1)
    again = score(log, care_rules(), action="overwrite")
    assert again.samples[0].scores["care_rules"].value["label"] == "wrong"
