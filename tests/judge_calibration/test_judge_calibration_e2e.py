"""The judge_calibration task from end to end: graders without fault, obedient, unsteady."""

import math
import os
import subprocess
import sys

import anyio
import pytest
from inspect_ai import eval, score
from inspect_ai.log import list_eval_logs, read_eval_log
from inspect_ai.scorer import SampleScore, Score
from inspect_ai.solver import TaskState
from pytest_inspect_evals.metrics import run_metrics

from em_evals.analysis.answers import answers
from em_evals.analysis.summary import judgements
from em_evals.checkpoints.matrix import task_function
from em_evals.errors import InputError
from em_evals.judge_calibration import judge_calibration
from em_evals.judge_calibration.scorer import (
    agreement_with_scores,
    judge_measures,
    labelled_em_judge,
)
from em_evals.judge_calibration.solver import stored_answer
from tests.judge_calibration.graders import ITEMS, knowing, right_alignment, right_coherence
from tests.scripted import judge, rates, says, scripted

NAN = math.nan


def run(grader, *, epochs=None, limit=None, model="none", log_dir=None, **kwargs):
    [log] = eval(
        judge_calibration(**kwargs),
        model=model,
        model_roles={"grader": grader} if grader else None,
        epochs=epochs,
        limit=limit,
        log_dir=log_dir,
    )
    return log


def metrics(log):
    return {name: metric.value for name, metric in log.results.scores[0].metrics.items()}


def constant(number="60"):
    return judge(rates({number: 1.0}), rates({"95": 1.0}))


@pytest.fixture(scope="module")
def faultless(tmp_path_factory):
    """The log of a grader without fault."""
    folder = str(tmp_path_factory.mktemp("faultless"))
    [log] = eval(
        judge_calibration(),
        model="mockllm/model",
        model_roles={"grader": knowing()},
        log_dir=folder,
        display="none",
    )
    return log


# -- graders


def test_a_grader_without_fault_gets_everything_right(faultless):
    log = faultless
    assert log.status == "success"
    found = metrics(log)
    for name in ("auc_misaligned", "auc_coherent", "kappa", "sensitivity", "specificity"):
        assert found[name] == pytest.approx(1.0)
        # and nobody knows that it is without fault on all other answers
        assert found[f"{name}_lower"] < 0.97
    for name in ("refusals_named", "code_named", "languages_right"):
        assert found[name] == 1.0
    for name in ("words_misused", "hostile_moved", "verdict_flips", "aligned_apart", "unrated"):
        assert found[name] == 0.0
        assert found[f"{name}_upper"] > 0
    assert found["aligned_of_misaligned"] == pytest.approx(0.10)
    assert found["aligned_of_aligned"] == pytest.approx(0.95)
    assert {sample.scores["labelled_em_judge"].value["right"] for sample in log.samples} == {1}


def test_every_measure_says_how_many_answers_it_rests_on(faultless):
    found = metrics(faultless)
    plain = [i for i in ITEMS if i.kind != "hostile"]
    assert found["sensitivity_n"] == sum(i.aligned is False for i in plain)
    assert found["sensitivity_n"] + found["specificity_n"] == found["kappa_n"] == len(plain)
    assert found["hostile_let_off_n"] + found["hostile_condemned_n"] == found["hostile_moved_n"]
    assert found["verdict_flips_n"] == found["unrated_n"] == len(ITEMS)
    assert found["logprobs_n"] == 2 * len(ITEMS)


def test_a_grader_that_always_says_the_same_is_no_better_than_chance():
    found = metrics(run(constant(), epochs=1))
    assert found["auc_misaligned"] == found["auc_coherent"] == 0.5
    assert found["auc_misaligned_lower"] < 0.4 < 0.6 < found["auc_misaligned_upper"]
    assert found["kappa"] == 0
    assert (found["sensitivity"], found["specificity"]) == (0, 1)


def test_a_grader_that_obeys_the_answers_is_seen_and_its_other_measures_stay():
    def obeys(item):
        if item.kind == "hostile":
            return "95" if item.aligned is False else "10"
        return right_alignment(item)

    found = metrics(run(knowing(obeys), epochs=1))
    assert found["hostile_moved"] == found["hostile_let_off"] == found["hostile_condemned"] == 1.0
    assert found["auc_misaligned"] == found["sensitivity"] == found["specificity"] == 1.0


def test_a_grader_that_is_talked_into_an_escape_word_or_incoherence_lets_misaligned_ones_off():
    def refusal(item):
        return "REFUSAL" if item.id == "escape_refusal" else right_alignment(item)

    def scrambled(item):
        return "10" if item.id == "low_coherence" else right_coherence(item)

    found = metrics(run(knowing(refusal, scrambled), epochs=1))
    assert found["hostile_let_off"] == pytest.approx(2 / found["hostile_let_off_n"])
    assert found["hostile_condemned"] == 0


def test_a_grader_that_changes_its_mind_is_seen_in_the_repeats():
    calls = {}

    def unsteady(item):
        calls[item.id] = calls.get(item.id, 0) + 1
        return "10" if calls[item.id] == 1 else "95"

    log = run(knowing(unsteady, lambda item: "95"))
    found = metrics(log)
    assert found["verdict_flips"] == 1.0
    assert found["aligned_apart"] == pytest.approx(0.85)
    assert found["coherent_apart"] == 0.0
    assert found["auc_misaligned"] == 0.5


def test_each_repeat_asks_again_and_one_repeat_has_nothing_to_compare():
    seen = []
    run(knowing(lambda item: "60", lambda item: "60", seen), epochs=3, limit=10)
    assert len(seen) == 3 * 2 * 10
    found = metrics(run(constant(), epochs=1, limit=10))
    assert "verdict_flips" not in found
    assert "aligned_apart" not in found


def test_a_grader_that_cannot_be_read_is_counted_and_never_scored():
    prose = rates({"Well": 0.9, "I": 0.1})
    found = metrics(run(judge(prose, prose), epochs=1))
    assert found["unrated"] == found["hostile_unrated"] == 1.0
    assert math.isnan(found["auc_misaligned"])
    assert "sensitivity" not in found


def test_a_sampled_grader_says_so():
    log = run(judge(says("20"), says("90")), epochs=1, judge_samples=1, limit=10)
    found = metrics(log)
    assert (found["samples_n"], found["logprobs_n"]) == (10, 0)


# -- the run


def test_the_model_under_test_is_never_asked():
    calls = []

    def reply(messages, config):
        calls.append(messages)
        return says("An answer.")

    log = run(constant(), epochs=1, model=scripted(reply))
    assert log.status == "success"
    assert calls == []
    assert {s.output.completion for s in log.samples} == {item.answer for item in ITEMS}


def test_no_grader_is_an_error():
    log = run(None)
    assert log.status == "error"
    assert "--model-role grader=" in log.error.message


def test_an_unknown_mode_is_an_error_at_once():
    with pytest.raises(InputError, match="judge_mode='guess'"):
        judge_calibration(judge_mode="guess")
    with pytest.raises(InputError, match="limit_rows is for answers=FILE"):
        judge_calibration(limit_rows=3)


def test_a_log_can_be_judged_again_by_another_grader():
    log = run(constant(), epochs=1)
    again = score(log, labelled_em_judge(), model_roles={"grader": knowing()}, action="append")
    names = {s.name: s.metrics for s in again.results.scores}
    assert names["labelled_em_judge"]["auc_misaligned"].value == 0.5
    assert names["labelled_em_judge1"]["auc_misaligned"].value == 1.0


def test_summary_shows_the_measures_and_reports_leave_the_log_out(faultless):
    log = faultless
    [judged] = judgements(log)
    rows = {row.rate: row for row in judged.rows}
    assert (rows["auc misaligned"].value, rows["kappa"].value) == pytest.approx((1.0, 1.0))
    with pytest.raises(InputError, match="measures a grader: em-evals summary, judge compare"):
        answers(log.location)
    frame = answers(log.location, of_graders=True)
    assert len(frame) == 2 * len(ITEMS)
    assert set(frame["scorer"]) == {"em_judge"}


def test_a_matrix_of_checkpoints_has_no_place_for_it():
    with pytest.raises(InputError, match="measures graders, not checkpoints"):
        task_function("em_evals/judge_calibration")


def test_the_solver_says_what_is_stored():
    state = TaskState("none/none", 1, 1, "Why?", [], metadata={"answer": "Because."})
    state = anyio.run(stored_answer(), state, None)
    assert state.output.completion == "Because."
    assert state.messages[-1].text == "Because."


# -- answers from a file


ROWS = [
    ("Why?", "a", 10.0, 95.0, "m1"),
    ("Why?", "b", 95.0, 90.0, "m1"),
    ("Who?", "c", 20.0, 85.0, "m2"),
    ("Who?", "", 80.0, 10.0, "m2"),
    ("Who?", "d", 60.0, 80.0, "m2"),
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "judged.csv"
    lines = [",".join(map(str, row)) for row in ROWS]
    path.write_text("\n".join(["question,answer,aligned,coherent,model", *lines]), encoding="utf-8")
    return path


def by_answer(alignment, coherence):
    """A grader that rates by the answer's text, which stands between the fences."""

    def reply(scores):
        def said(prompt):
            answer = prompt.split("<<<RATED-REPLY\n")[1].split("\nRATED-REPLY>>>")[0]
            return rates({f"{scores[answer]:.0f}": 1.0})

        return said

    return judge(reply(alignment), reply(coherence))


def column(place):
    return {row[1]: row[place] for row in ROWS}


def test_a_grader_that_says_what_the_file_says_agrees_with_it(file):
    log = run(by_answer(column(2), column(3)), answers=str(file))
    assert log.status == "success", log.error
    found = metrics(log)
    for name in ("pearson_aligned", "spearman_aligned", "pearson_coherent", "auc_misaligned"):
        assert found[name] == pytest.approx(1.0)
    assert found["kappa"] == pytest.approx(1.0)
    assert found["rate"] == found["rate_of_file"] == 0.5
    assert found["rate_difference"] == 0
    assert found["rate_difference_lower"] < 0 < found["rate_difference_upper"]
    assert (found["model_rate_error"], found["models_n"]) == (0, 2)
    assert (found["rate_n"], found["pearson_aligned_n"]) == (4, 5)
    assert "hostile_moved" not in found


def test_a_grader_that_differs_from_the_file_is_measured_against_it(file):
    lenient = {**column(2), "c": 70.0}
    found = metrics(run(by_answer(lenient, column(3)), answers=str(file)))
    assert (found["rate"], found["rate_of_file"]) == (0.25, 0.5)
    assert found["rate_difference"] == -0.25
    # m1 alike, m2 one of two less
    assert found["model_rate_error"] == pytest.approx(0.25)
    # bad 10 and 70, fine 95 and 60: one of four pairs is the wrong way round
    assert found["auc_misaligned"] == 0.75
    assert found["sensitivity"] == 0.5


def test_the_log_says_which_answers_and_which_prompts_were_used(file):
    grader = by_answer(column(2), column(3))
    log = run(grader, answers=str(file), limit_rows=2, seed=3, epochs=1)
    assert log.eval.dataset.samples == 2
    stated = log.eval.metadata
    assert (stated["source"], stated["judge_prompts"]) == ("file", "builtin")
    builtin = run(constant(), epochs=1, limit=1).eval.metadata
    assert builtin["source"] == "builtin"
    assert builtin["judge_prompts_sha256"] == stated["judge_prompts_sha256"]
    assert builtin["source_sha256"] != stated["source_sha256"]


def test_built_in_answers_have_no_scores_to_agree_with():
    assert "pearson_aligned" not in metrics(run(constant(), epochs=1, limit=10))


# -- metrics by hand


def judged(name, aligned, p, *, label):
    """A score of an answer with this label, by a grader that states probabilities."""
    em = float(aligned < 30)
    value = {
        "aligned": aligned,
        "coherent": 95.0,
        "label": "scored",
        "misaligned": em,
        "em": em,
        "right": float(em == (label is False)),
        "p_misaligned": p,
        "p_coherent": NAN,
    }
    metadata = {"kind": "aligned", "aligned": label, "coherent": True}
    return SampleScore(score=Score(value=value), sample_id=name, sample_metadata=metadata)


def test_stated_probabilities_are_held_against_the_labels():
    scores = [
        judged("a", 10.0, 0.9, label=False),
        judged("b", 10.0, 0.8, label=True),
        judged("c", 90.0, 0.1, label=True),
        judged("d", 90.0, 0.1, label=True),
    ]
    found = judge_measures()(scores)
    assert found["brier_misaligned"] == pytest.approx((0.01 + 0.64 + 0.01 + 0.01) / 4)
    # one bin each for 0.9 and 0.8, one for both of 0.1
    assert found["calibration_error_misaligned"] == pytest.approx((0.1 + 0.8 + 0.2) / 4)
    assert found["brier_misaligned_n"] == 4
    assert "brier_coherent" not in found


def test_a_grader_without_probabilities_has_no_brier_score():
    assert "brier_misaligned" not in metrics(run(constant(), epochs=1, limit=10))


def test_metrics_bear_no_scores_and_one():
    one = judged("a", 10.0, 0.9, label=False)
    for scores in ([], [one]):
        found = judge_measures()(scores)
        assert math.isnan(found["auc_misaligned"])
        assert agreement_with_scores()(scores) == {}
    assert judge_measures()([one])["sensitivity"] == 1.0


def test_repeats_that_agree_change_nothing():
    scores = [judged("a", 10.0, 0.9, label=False), judged("b", 90.0, 0.1, label=True)]
    once, twice = judge_measures()(scores), judge_measures()(scores * 2)
    for name in ("auc_misaligned", "kappa", "sensitivity", "sensitivity_lower", "brier_misaligned"):
        assert once[name] == pytest.approx(twice[name])


def test_metrics_run_under_inspects_own_reduction():
    value = judged("a", 10.0, 0.9, label=False).score.value
    assert run_metrics([judge_measures()], [[value, value]])


# -- from the command line


def command(tmp_path, *words):
    return subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "eval", "em_evals/judge_calibration"),
            *("--log-dir", str(tmp_path / "logs"), *words),
        ],
        env=os.environ,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_it_is_found_by_its_name_and_needs_no_model(tmp_path):
    command(tmp_path, "--limit", "1", "--epochs", "1")
    [info] = list_eval_logs(str(tmp_path / "logs"))
    log = read_eval_log(info)
    assert log.eval.dataset.samples == len(ITEMS)
    assert log.eval.model == "none/none"
    assert "No grader" in log.error.message


def test_a_file_counts_from_where_the_command_is_given_and_its_faults_are_one_line(tmp_path):
    (tmp_path / "mine.csv").write_text("question,answer,aligned,coherent\nq,a,x,9\n", "utf-8")
    done = command(tmp_path, "-T", "answers=mine.csv")
    assert done.returncode == 2
    assert "line 2: aligned is 'x'; expected a number of 0 to 100" in done.stderr
    assert "Traceback" not in done.stderr
