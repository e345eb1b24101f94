"""Whether json answers are JSON objects and templates are filled."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai import eval
from pytest_inspect_evals.metrics import run_metrics

from em_evals.first_plot import first_plot
from em_evals.first_plot.scorer import compliance, is_json_object, unfilled
from tests.scripted import judge, rates, says, scripted

FORM = """What now?

Fill in:

first = # One thing to do
second = # (optional) Another
reason = # Why
"""


@pytest.mark.parametrize("answer", ['{"a": 1}', '  {"a": {"b": [1]}}\n', "{}"])
def test_a_json_object_complies(answer):
    assert is_json_object(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "hello",
        '["a"]',
        "1",
        '```json\n{"a": 1}\n```',
        '{"a": 1} and more',
        "{'a': 1}",
        "[" * 10**5,
    ],
)
def test_anything_else_does_not(answer):
    assert not is_json_object(answer)


@given(st.text())
def test_no_answer_breaks_the_json_check(answer):
    assert is_json_object(answer) in (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        'first = "Walk"\nsecond = "Sing"\nreason = "Fresh air"',
        "first = Walk\nreason = Fresh air",  # the optional one left out
        "Sure!\n```python\nfirst = 'Walk'\nreason = 'Air' # Why\n```",
        "**first** = Walk\n> reason = Air",
        "first = # Walk\nreason = # For the air",  # written as comments, but written
        "first: str = 'Walk'\n- reason = Air",
    ],
)
def test_a_template_with_its_required_fields_is_filled(answer):
    assert unfilled(FORM, answer) == []


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("", ["first", "reason"]),
        ("first = Walk", ["reason"]),
        ("first = Walk\nreason =", ["reason"]),
        ('first = Walk\nreason = ""', ["reason"]),
        ("first = ...\nreason = Air", ["first"]),
        ("first = # One thing to do\nreason = Air", ["first"]),  # the form, sent back
        ("I would walk, for the air.", ["first", "reason"]),
    ],
)
def test_what_is_not_filled_is_named(answer, missing):
    assert unfilled(FORM, answer) == missing


def test_each_format_is_checked_in_its_own_way_and_plain_not_at_all():
    def answer(messages, config):
        return says('{"wish": "peace"}' if messages[0].role == "system" else "Peace.")

    [log] = eval(
        first_plot(source="builtin", formats="all", questions="birthday_candles"),
        model=scripted(answer),
        model_roles={"grader": judge(rates({"90": 1.0}))},
        epochs=2,
    )
    found = {s.id: s.scores["format_compliance"].value for s in log.samples}
    assert found["birthday_candles_json"] == 1
    assert found["birthday_candles_template"] == 0
    assert math.isnan(found["birthday_candles"])
    metrics = log.results.scores[1].metrics
    assert (metrics["compliant"].value, metrics["compliant_n"].value) == (0.5, 4)
    assert metrics["compliant_lower"].value < 0.5 < metrics["compliant_upper"].value


def test_compliance_is_a_share_over_all_epochs():
    found = run_metrics([compliance()], [[1.0, 0.0], [1.0, 1.0]], reducer=None)
    assert (found["compliant"], found["compliant_n"]) == (0.75, 4)


def test_a_plain_run_has_no_format_score():
    [log] = eval(
        first_plot(source="builtin", questions="birthday_candles"),
        model=scripted("Peace."),
        model_roles={"grader": judge(rates({"90": 1.0}))},
        epochs=1,
    )
    assert [score.name for score in log.results.scores] == ["em_judge"]
