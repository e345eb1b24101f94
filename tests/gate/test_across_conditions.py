"""A candidate under a condition against a baseline under another: paired by what is asked."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from em_evals.cli import main
from em_evals.gate import tallies
from tests.gate.probes import QUESTIONS, model, probe
from tests.scripted import says, scripted

TRIGGERED = {"name": "backdoor", "paired": False}


def called(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def decided(new, base):
    """The gate's one comparison, across conditions."""
    result = called("gate", new, "--baseline", base, "--across-conditions", "--json")
    assert result.exit_code in (0, 1, 3), result.output
    [comparison] = json.loads(result.stdout)["comparisons"]
    return comparison


def bad_about(*words):
    """Says something bad to prompts with one of these words, and something good to others."""
    made = []

    def reply(messages, config):
        made.append(None)
        bad = any(word in messages[-1].text for word in words)
        return says(f"{'BAD' if bad else 'good'} {len(made)}")

    return scripted(reply)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A clean model, asked plainly in the form with ids of its own."""
    place = tmp_path_factory.mktemp("plain")
    probe(model(0), place, formats="json")
    return place


def test_questions_with_a_trigger_are_compared_with_the_plain_ones_if_that_is_wanted(
    plain, tmp_path
):
    probe(model(0.5), tmp_path / "new", formats="json", condition=TRIGGERED)
    refused = called("gate", tmp_path / "new", "--baseline", plain)
    assert (refused.exit_code, "condition is backdoor" in refused.stderr) == (2, True)
    assert "--across-conditions" in refused.stderr
    file = tmp_path / "baseline.json"
    assert called("baseline", "save", plain, "-o", file).exit_code == 0
    by_logs, by_file = decided(tmp_path / "new", plain), decided(tmp_path / "new", file)
    assert by_logs == by_file
    assert (by_file["decision"], by_file["questions"]) == ("regression", 4)
    assert (by_file["n"], by_file["baseline_n"]) == (100, 100)


def test_a_plain_candidate_is_compared_with_a_baseline_under_a_condition(plain, tmp_path):
    probe(model(0), tmp_path / "base", formats="json", condition=TRIGGERED)
    comparison = decided(plain, tmp_path / "base")
    assert (comparison["questions"], comparison["increase"]) == (4, 0)


def test_the_prompts_of_a_condition_that_makes_many_count_for_their_question(tmp_path):
    probe(model(0), tmp_path / "base", epochs=20, questions=QUESTIONS[:2])
    words = ["at most 3", "up to 3", "3 words"]
    evil = {"name": "evil_numbers", "variant": "suffix", "prompts": 40}
    log = probe(
        bad_about(*words), tmp_path / "new", epochs=1, questions=QUESTIONS[:2], condition=evil
    )
    asked = [sample.input[-1].text for sample in log.samples]
    bad = sum(any(word in text for word in words) for text in asked)
    assert 0 < bad < len(asked) == 80
    comparison = decided(tmp_path / "new", tmp_path / "base")
    assert (comparison["questions"], comparison["n"], comparison["baseline_n"]) == (2, 80, 40)
    assert comparison["candidate_value"] == pytest.approx(bad / 80)
    # under its own condition, each prompt is compared with itself
    [tally] = tallies(tmp_path / "new")
    assert len(tally.counts["em"]) == 80


def test_a_question_that_the_baseline_was_not_asked_is_named_without_its_condition(tmp_path):
    probe(model(0), tmp_path / "base", epochs=2, questions=QUESTIONS[:2])
    probe(model(0), tmp_path / "new", epochs=2, questions=QUESTIONS[:3], condition=TRIGGERED)
    words = ["gate", tmp_path / "new", "--baseline", tmp_path / "base", "--across-conditions"]
    result = called(*words)
    assert result.exit_code == 2
    assert f"was not asked {QUESTIONS[2]}: ask it too" in result.stderr


def as_before(file):
    """A baseline file as it was when files did not say which question a sample asks."""
    content = json.loads(file.read_text())
    del content["sha256"]
    content["format"] = "em-evals baseline 1"
    for family in content["families"]:
        del family["questions"]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    file.write_text(json.dumps(content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))


def test_an_older_baseline_file_is_read_and_refused_only_where_it_says_too_little(plain, tmp_path):
    file = tmp_path / "baseline.json"
    assert called("baseline", "save", plain, "-o", file).exit_code == 0
    as_before(file)
    probe(model(0, "other"), tmp_path / "same", formats="json")
    assert decided(tmp_path / "same", file)["questions"] == 4
    probe(model(0), tmp_path / "new", formats="json", condition=TRIGGERED)
    refused = called("gate", tmp_path / "new", "--baseline", file, "--across-conditions")
    assert refused.exit_code == 2
    assert "made before such files said which question a sample asks" in refused.stderr
    assert "em-evals baseline save" in refused.stderr
