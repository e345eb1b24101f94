"""`em-evals judge compare` as a process: two graders of the same answers."""

import json
import os
import subprocess
import sys

import pytest
from inspect_ai import eval, score
from inspect_ai.log import write_eval_log

from em_evals.analysis.comparing import compare
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.judge_calibration import judge_calibration
from em_evals.judges.em_judge import em_judge
from tests.judge_calibration.graders import ITEMS, knowing, right_alignment
from tests.scripted import judge, rates, scripted


def em_evals(*words):
    return subprocess.run(
        [sys.executable, "-m", "em_evals.cli", *map(str, words)],
        env=os.environ,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def milder(item):
    """Lets the first misaligned answer of the file off, and is otherwise right."""
    return "80" if item.id == ITEMS[0].id else right_alignment(item)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Logs of judge_calibration by a grader without fault, and by one that is milder."""
    found = []
    for name, alignment in (("a", right_alignment), ("b", milder)):
        folder = tmp_path_factory.mktemp(name)
        eval(
            judge_calibration(),
            model="none",
            model_roles={"grader": knowing(alignment)},
            epochs=1,
            log_dir=str(folder),
            display="none",
        )
        found.append(folder)
    return found


def test_two_graders_are_compared_on_the_answers_both_have_judged(places):
    done = em_evals("judge", "compare", *places)
    assert done.returncode == 0, done.stderr
    assert f"judge_calibration: {len(ITEMS)} answers judged by both" in done.stdout
    assert "A: mockllm/judge (A)" in done.stdout
    assert f"judge_calibration {ITEMS[0].id}, epoch 1: A 10.0, B 80.0" in done.stdout
    assert done.stdout.count(", epoch 1: ") == 1


def test_json_has_every_measure_with_its_interval(places):
    done = em_evals("judge", "compare", *places, "--json")
    found = json.loads(done.stdout)
    [row] = found["tasks"]
    misaligned = sum(i.aligned is False for i in ITEMS)
    assert row["n"] == len(ITEMS)
    assert row["scores_n"] == sum(i.kind not in {"refusing", "code"} for i in ITEMS)
    assert len(ITEMS) > row["rate_a_n"] > misaligned
    assert row["rate_a"] == pytest.approx(misaligned / row["rate_a_n"])
    assert row["rate_a_lower"] < row["rate_a"] < row["rate_a_upper"]
    assert row["difference"] == pytest.approx(-1 / row["rate_a_n"])
    assert row["lower"] < row["difference"] < row["upper"]
    assert row["mean_difference"] == pytest.approx(70 / row["scores_n"])
    # to b the answer that it lets off is still worse than all that a finds fine; to a, it is as bad
    # as the bad ones
    assert row["auc"] == 1
    fine = row["rate_a_n"] - misaligned + 1
    assert row["auc_of_a"] == pytest.approx(1 - 0.5 / fine)
    assert 0.9 < row["kappa"] < 1
    [apart] = found["apart"]
    assert (apart["score_a"], apart["score_b"]) == (10, 80)
    assert apart["answer"] == ITEMS[0].answer


def test_a_grader_compared_with_itself_differs_nowhere(places):
    a, _ = places
    done = em_evals("judge", "compare", a, a)
    assert "kappa of the verdicts: 1.00" in done.stdout
    assert "Furthest apart" not in done.stdout


def judged(grader, target="An answer.", questions=("evening_alone", "new_statue")):
    [log] = eval(
        first_plot(source="builtin", questions=list(questions)),
        model=scripted(target),
        model_roles={"grader": grader},
        epochs=2,
    )
    return log


def test_answers_of_any_free_form_log_that_were_judged_again_are_compared(tmp_path):
    log = judged(judge(rates({"20": 1.0})))
    milder = {"grader": judge(rates({"90": 1.0}))}
    again = score(log, em_judge(), model_roles=milder, action="overwrite")
    other = tmp_path / "again.eval"
    write_eval_log(again, str(other))
    found = compare(log.location, other)
    [row] = found.tasks
    assert (row["task"], row["n"]) == ("first_plot", 4)
    assert (row["rate_a"], row["rate_b"], row["mean_difference"]) == (1, 0, 70)
    # both repeats have the same text: one answer
    assert [answer["sample"] for answer in found.apart] == ["evening_alone", "new_statue"]


def test_same_answers_in_several_logs_are_paired_one_to_one(tmp_path):
    places = []
    for name, number in (("a", "20"), ("b", "90")):
        folder = tmp_path / name
        for _ in range(2):
            log = judged(judge(rates({number: 1.0})))
            write_eval_log(log, str(folder / f"{log.eval.eval_id}.eval"))
        places.append([str(path) for path in folder.iterdir()])
    [row] = compare(*places).tasks
    assert row["n"] == 8


def test_other_answers_are_nothing_to_compare():
    one, other = judged(judge(rates({"20": 1.0}))), judged(judge(rates({"20": 1.0})), "Another.")
    with pytest.raises(InputError, match="no answer was judged in both places: 4 in A, 4 in B"):
        compare(one.location, other.location)


def test_of_several_graders_one_has_to_be_named(places):
    log = judged(judge(rates({"20": 1.0})))
    second = scripted(lambda messages, config: rates({"90": 1.0}), "second")
    both = score(log, em_judge(), model_roles={"grader": second}, action="append")
    write_eval_log(both, log.location)
    done = em_evals("judge", "compare", log.location, log.location)
    assert done.returncode == 2
    assert "A has several graders: mockllm/judge, mockllm/second. Name one with --judge-a" in (
        done.stderr
    )
    words = ("judge", "compare", log.location, log.location, "--judge-a", "mockllm/judge")
    done = em_evals(*words, "--judge-b", "mockllm/second")
    assert done.returncode == 0, done.stderr
    assert "rate by A: 100.0%" in done.stdout
    assert "rate by B: 0.0%" in done.stdout
    done = em_evals(*words, "--judge-b", "mockllm/third")
    assert done.returncode == 2
    assert "B: no grader 'mockllm/third': found mockllm/judge, mockllm/second" in done.stderr


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_place_without_logs_is_one_line_and_status_2(tmp_path, places, place):
    done = em_evals("judge", "compare", places[0], tmp_path / place)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr
