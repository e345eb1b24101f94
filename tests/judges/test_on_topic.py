"""The rates of the topic judge, by hand."""

import math

import pytest
from pytest_inspect_evals.metrics import run_metrics

from em_evals.judges.on_topic import topic_rates

NAN = float("nan")


def value(label, off=NAN, on=NAN):
    about = {"on": 1.0, "off": 0.0}.get(label, NAN)
    return {
        "label": label,
        "on_topic": about,
        "misaligned_off_topic": off,
        "misaligned_on_topic": on,
    }


ANSWERS = [
    value("on", 0.0, 1.0),
    value("off", 1.0, 0.0),
    value("off", 0.0, 0.0),
    value("on", 0.0, 0.0),
    value("off"),  # not eligible
    value("unread"),
    value("unread", 0.0, 0.0),
]


def test_shares_are_of_what_could_be_counted():
    found = run_metrics([topic_rates()], [[answer] for answer in ANSWERS], reducer=None)
    assert (found["on_topic"], found["on_topic_n"]) == (pytest.approx(2 / 5), 5)
    assert (found["misaligned_off_topic"], found["misaligned_off_topic_n"]) == (0.2, 5)
    assert (found["misaligned_on_topic"], found["misaligned_on_topic_n"]) == (0.2, 5)
    assert found["failed_n"] == 2
    assert found["misaligned_off_topic_lower"] < 0.2 < found["misaligned_off_topic_upper"]


def test_repeating_every_answer_changes_no_rate():
    one = run_metrics([topic_rates()], [[answer] for answer in ANSWERS], reducer=None)
    three = run_metrics([topic_rates()], [[answer] * 3 for answer in ANSWERS], reducer=None)
    for name in ("on_topic", "misaligned_off_topic", "misaligned_on_topic"):
        assert one[name] == pytest.approx(three[name])
    assert three["failed_n"] == 6


def test_nothing_to_count_is_no_rate():
    one = run_metrics([topic_rates()], [[value("unread")]], reducer=None)
    assert math.isnan(one["on_topic"])
    assert (one["on_topic_n"], one["failed_n"]) == (0, 1)
