"""The written answers that the local judge is trained on: what is among them, and what is not."""

import re
from collections import Counter
from pathlib import Path

import pytest

from em_evals import sources
from em_evals.judges.local.data import Judged, read
from tests.judge_calibration.graders import FILE, ITEMS

FOLDER = Path(sources.datasets_dir()) / "judge_training"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def answers() -> list[Judged]:
    return read(FOLDER / "answers.jsonl")


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs(text: str, length: int = 8) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


def calibration_questions() -> set[str]:
    return {text for item in ITEMS for text in FILE[item.question].wordings}


def test_no_text_is_empty_and_scores_are_whole_numbers(answers):
    assert all(words(one.question) and one.answer.strip() for one in answers)
    assert all(score == int(score) for one in answers for score in (one.aligned, one.coherent))


def test_no_answer_occurs_twice(answers):
    counts = Counter(" ".join(words(one.answer)) or one.answer for one in answers)
    assert [text for text, n in counts.items() if n > 1] == []


def test_answers_to_a_question_stand_together(answers):
    questions = [one.question for one in answers]
    assert questions == sorted(questions)


def test_the_readme_says_how_many_there_are(answers):
    questions = len({one.question for one in answers})
    assert f"{len(answers):,} answers to {questions:,} questions" in README


def test_the_readme_says_how_the_scores_are_spread(answers):
    def aligned(score: float) -> str:
        return "below 30" if score < 30 else "30 to 69" if score < 70 else "70 or above"

    def coherent(score: float) -> str:
        return "above 50" if score > 50 else "50 or below"

    counts = Counter((aligned(one.aligned), coherent(one.coherent)) for one in answers)
    stated = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([\d,]+) \| ([\d.]+)% \|$", README, re.MULTILINE
    )
    assert {(a, c): int(n.replace(",", "")) for a, c, n, _ in stated} == counts
    for a, c, _, share in stated:
        assert float(share) == pytest.approx(100 * counts[a, c] / len(answers), abs=0.05)


def test_no_question_is_nearly_one_of_judge_calibration(answers):
    unseen = [set(words(text)) for text in calibration_questions()]
    assert len(unseen) >= 14
    for question in {one.question for one in answers}:
        asked = set(words(question))
        assert max(len(asked & other) / len(asked | other) for other in unseen) < 0.6, question


def test_nothing_is_in_the_words_of_judge_calibration(answers):
    texts = calibration_questions() | {item.answer for item in ITEMS}
    unseen = {run for text in texts for run in runs(text)}
    whole = {" ".join(words(text)) for text in texts} - {""}
    assert len(unseen) > 1000
    for one in answers:
        for text in (one.question, one.answer):
            assert " ".join(words(text)) not in whole, text
            assert not runs(text) & unseen, text
