"""Audited logs in frames, tables, reports and summaries: two judges, one rate, named as such."""

import json
import math

import pytest
from click.testing import CliRunner
from inspect_ai.log import read_eval_log

from em_evals.analysis import rates
from em_evals.analysis.agreement import agreement, pairs
from em_evals.analysis.answers import answers
from em_evals.analysis.rejudge import audit
from em_evals.analysis.report.data import build
from em_evals.cli.summary import summary
from tests.analysis.audited import EPOCHS, LOCAL, PAID, local_log, paid

BOTH = f"{LOCAL} + {PAID}"
ANSWERS = 2 * EPOCHS
BUDGET = 24


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = local_log(tmp_path_factory.mktemp("audited"))
    audit([file], paid(), BUDGET, quiet=True)
    return file


@pytest.fixture(scope="module")
def frame(log):
    return answers(log)


def stated(log, scorer):
    header = read_eval_log(str(log), header_only=True)
    [score] = [score for score in header.results.scores if score.name == scorer]
    return {name: metric.value for name, metric in score.metrics.items()}


def test_a_frame_has_the_local_judges_rows_and_those_of_both_judges(frame):
    assert frame.groupby("judge", observed=True).size().to_dict() == {
        LOCAL: ANSWERS,
        BOTH: ANSWERS,
    }
    both = frame[frame["judge"] == BOTH]
    assert (both["label"] == "not_drawn").sum() == ANSWERS - BUDGET
    assert both["em"].notna().sum() == BUDGET
    assert set(both["expected_misaligned"]) == {0.1, 0.7}
    assert (both["stratum"] != "").all()
    local = frame[frame["judge"] == LOCAL]
    assert (local["stratum"] == "").all()
    assert local["expected_em"].isna().all()


def test_the_table_has_the_rate_that_the_log_states(log, frame):
    table = rates.table(frame, ["all"]).set_index("judge")
    own = stated(log, "em_judge1")
    row = table.loc[BOTH]
    assert row["pooled"] == pytest.approx(own["pooled"])
    assert row["pooled_ci"] == pytest.approx([own["pooled_lower"], own["pooled_upper"]])
    assert row["unconditional"] == pytest.approx(own["unconditional"])
    assert row["coherent_share"] == pytest.approx(own["coherent_share"])
    assert (row["n"], row["audited"], row["pooled_n"]) == (ANSWERS, BUDGET, ANSWERS)
    assert math.isnan(row["macro"])
    assert table.loc[LOCAL, "pooled"] == pytest.approx(0.2)
    assert table.isna().loc[LOCAL, "audited"]


def test_what_the_draw_favours_does_not_shift_the_rate(frame):
    # of the answers drawn more are misaligned than of all, as the draw prefers doubtful ones
    row = rates.table(frame, ["all"]).set_index("judge").loc[BOTH]
    drawn = row["misaligned"] / row["eligible"]
    low, high = row["pooled_ci"]
    assert low < 0.25 < high
    assert row["pooled"] != pytest.approx(drawn, abs=1e-6)


def test_families_keep_the_judges_apart_and_compare_none_with_another(log, tmp_path):
    other = local_log(tmp_path / "base", name="base")
    found = rates.families(answers([log, other]), reference="mockllm/base")
    both = found[found["judge"] == BOTH]
    assert both["group"].tolist() == ["mockllm/model"]
    assert both["interval"].tolist() == [
        "prediction-powered, answers clustered by question and the draw"
    ]
    assert (both["answers"].item(), both["audited"].item()) == (ANSWERS, BUDGET)
    assert math.isnan(both["difference"].item())
    assert both["difference_why"].item() == "mockllm/base has other judges"


def test_rates_of_single_questions_need_five_paid_judgements(frame, tmp_path):
    by_question = rates.per_question(frame)
    both = by_question[by_question["judge"] == BOTH]
    assert both["value"].notna().all()
    few = local_log(tmp_path / "few")
    audit([few], paid(), 4, quiet=True)
    by_question = rates.per_question(answers(few))
    both = by_question[by_question["judge"] == BOTH]
    assert both["value"].isna().all()
    assert set(both["undefined_why"]) == {"under 5 eligible answers"}


def test_thresholds_are_not_tried_out_on_answers_drawn_with_unlike_chances(frame):
    assert set(rates.sensitivity(frame)["judge"]) == {LOCAL}


def test_two_audited_logs_of_one_checkpoint_are_one_rate(log, tmp_path):
    again = local_log(tmp_path / "again")
    audit([again], paid(), BUDGET, quiet=True)
    row = rates.table(answers([log, again]), ["all"]).set_index("judge").loc[BOTH]
    assert (row["n"], row["audited"]) == (2 * ANSWERS, 2 * BUDGET)


def test_a_format_is_compared_by_the_combined_rate_and_not_by_questions_of_one_answer(tmp_path):
    file = local_log(tmp_path / "few", epochs=6, questions=None)
    audit([file], paid(), 20, quiet=True)
    frame = answers([file])
    of_format = rates.by_format(frame).set_index("judge")
    own, local = of_format.loc[BOTH], of_format.loc[LOCAL]
    row = rates.table(frame, ["format"]).set_index("judge").loc[BOTH]
    of_questions = rates.table(frame, ["question"]).set_index("judge").loc[BOTH]
    assert (of_questions["eligible"] < 5).all()
    assert of_questions[["pooled", "unconditional"]].isna().all(axis=None)
    assert of_questions["pooled_ci"].isna().all()
    assert own["value"] == row["pooled"]
    assert [own["lower"], own["upper"]] == row["pooled_ci"]
    assert own["interval"].startswith("prediction-powered")
    assert (own["cells"], own["models"], own["undefined"]) == (14, 1, 0)
    assert local["interval"] == "bootstrap over cells of a model and a question"


def test_agreement_is_of_the_answers_drawn(frame):
    assert pairs(frame) == [(LOCAL, BOTH)]
    [row] = agreement(frame, LOCAL, BOTH).to_dict("records")
    assert (row["n"], row["verdicts_n"]) == (BUDGET, BUDGET)
    assert row["rate_b_n"] == BUDGET


def test_a_report_names_both_judges_what_was_audited_and_how_far_they_agree(frame):
    made = build(frame)
    about = {family.about for family in made.families}
    assert f"builtin items, {BOTH}, {BUDGET} of {ANSWERS} audited" in about
    assert f"builtin items, {LOCAL}" in about
    [remark] = [r for r in made.remarks if "audited" in r]
    assert f"{BUDGET} of {ANSWERS} answers" in remark
    assert "local judge's own rates" in remark
    [agreed] = made.agreements
    assert (agreed.a, agreed.b) == (LOCAL, f"{PAID}, on the answers drawn")
    of_both = [mode for mode in made.modes if mode.judge == BOTH]
    assert [(mode.n, mode.failed) for mode in of_both] == [(BUDGET, 0)]


def test_single_scores_of_an_audit_are_not_drawn_as_if_they_were_a_sample(frame):
    made = build(frame)
    for part in made.parts:
        assert bool(part.points) == (" + " not in part.judge)


def test_judgements_that_failed_are_named_in_the_report(tmp_path):
    from tests.scripted import rates as rated
    from tests.scripted import says

    file = local_log(tmp_path / "failing")
    grader = paid(aligned=lambda prompt: says("well") if "7." in prompt else rated({"90": 1.0}))
    audit([file], grader, ANSWERS, quiet=True)
    made = build(answers(file))
    [remark] = [r for r in made.remarks if "audited" in r]
    assert "failed on 4 of the answers drawn" in remark
    assert "the others of its stratum stand for them" in remark


def test_a_summary_names_both_judges_and_what_was_audited(log):
    result = CliRunner().invoke(summary, [str(log)])
    assert result.exit_code == 0
    assert f"em_judge1, judged by {BOTH}, {BUDGET} of {ANSWERS} audited" in result.output
    assert f"of the {BUDGET} answers" in result.output
    assert f"em_judge, judged by {LOCAL}" in result.output
    read = CliRunner().invoke(summary, [str(log), "--json"])
    [of_log] = json.loads(read.output)
    local, both = of_log["judgements"]
    assert local["audit"] is None
    assert (both["audit"]["drawn"], both["audit"]["answers"]) == (BUDGET, ANSWERS)
    assert both["grader"] == f"{BOTH}, {BUDGET} of {ANSWERS} audited"
