"""Audits: the paid judge sees the answers drawn, once, and the log says what its rates rest on."""

import csv
import math

import pytest
from inspect_ai.log import read_eval_log, write_eval_log

from em_evals.analysis.answers import answers
from em_evals.analysis.exporting import export_logs
from em_evals.analysis.log_files import samples
from em_evals.analysis.rates import table
from em_evals.analysis.rejudge import audit, audit_left, rejudge
from em_evals.deception import deception_factual
from em_evals.errors import InputError
from tests.analysis.audited import EPOCHS, LOCAL, PAID, local_log, named, number_in, paid, rewritten
from tests.scripted import judge, rates, says, scripted

ANSWERS = 2 * EPOCHS


@pytest.fixture(scope="module")
def _judged(tmp_path_factory):
    return local_log(tmp_path_factory.mktemp("judged"))


@pytest.fixture
def log(_judged, tmp_path):
    """A log of 40 answers that a local judge has judged."""
    file = tmp_path / "logs" / _judged.name
    file.parent.mkdir()
    file.write_bytes(_judged.read_bytes())
    return file


def marks_of(file, slot="em_judge1"):
    found = [s["scores"][slot] for s in samples(file)]
    return [(score, score["metadata"]["audit"]) for score in found]


def stated(file, slot="em_judge1"):
    header = read_eval_log(str(file), header_only=True)
    [score] = [score for score in header.results.scores if score.name == slot]
    return score


def test_the_paid_judge_is_asked_about_the_answers_drawn_and_no_other(log):
    seen = []
    [result] = audit([log], paid(seen), 12, quiet=True)
    assert (result.judged, result.already, result.scorer) == (12, 0, "em_judge1")
    assert len(seen) == 24  # two ratings each
    marked = marks_of(log)
    assert len(marked) == ANSWERS
    for score, mark in marked:
        assert (mark["budget"], mark["seed"], mark["local"]) == (12, 0, LOCAL)
        assert 0 < mark["probability"] <= 1
        if mark["drawn"]:
            assert score["metadata"]["grader"] == PAID
            assert score["value"]["em"] in (0, 1)
        else:
            assert math.isnan(score["value"])
            assert score["reason"] == "not_drawn"
    assert sum(mark["drawn"] for _, mark in marked) == 12
    assert sum(mark["probability"] for _, mark in marked) == pytest.approx(12)


def test_a_log_states_the_combined_rate_and_what_it_rests_on(log):
    audit([log], paid(), 20, quiet=True)
    score = stated(log)
    about = score.metadata["audit"]
    assert (about["local"], about["paid"]) == (LOCAL, PAID)
    assert (about["answers"], about["drawn"], about["judged"]) == (ANSWERS, 20, 20)
    assert about["agreement"]["n"] == 20
    value, lower, upper = (
        score.metrics[name].value for name in ("pooled", "pooled_lower", "pooled_upper")
    )
    assert lower < value < upper
    assert lower < 0.25 < upper  # what the paid judge would say of all
    assert "macro" not in score.metrics
    # the local judge's own figure stands beside it, under its own name
    assert stated(log, "em_judge").metrics["pooled"].value == pytest.approx(0.2)


def test_the_same_audit_again_does_nothing(log):
    seen = []
    audit([log], paid(seen), 12, quiet=True)
    before = log.read_bytes()
    [again] = audit([log], paid(seen), 12, quiet=True)
    assert (again.judged, again.already) == (0, 12)
    assert len(seen) == 24
    assert log.read_bytes() == before


def test_a_larger_budget_pays_for_what_is_new_alone(log):
    seen = []
    audit([log], paid(seen), 12, quiet=True)
    left = audit_left(log, PAID, 24)
    [more] = audit([log], paid(seen), 24, quiet=True)
    assert more.judged + more.already == 24
    assert more.judged == left
    assert more.already > 0
    assert len(seen) == 24 + 2 * more.judged
    assert {mark["budget"] for _, mark in marks_of(log)} == {24}


def test_an_interrupted_audit_goes_on_with_nothing_paid_twice(log):
    before = log.read_bytes()
    seen = []

    def breaks(prompt):
        if len({text for text, _ in seen}) > 10:
            raise RuntimeError("no more credit")
        return rates({"90": 1.0})

    with pytest.raises(InputError, match=r"no more credit.*the same command goes on"):
        audit([log], paid(seen, breaks), 12, quiet=True)
    assert log.read_bytes() == before
    left = audit_left(log, PAID, 12)
    assert 0 < left < 12
    seen_then = len(seen)
    [result] = audit([log], paid(seen), 12, quiet=True)
    assert (result.judged, result.already) == (left, 12 - left)
    assert len(seen) - seen_then == 2 * left
    assert audit_left(log, PAID, 12) == 0


def test_what_was_paid_for_before_an_interruption_is_kept_under_another_budget(log):
    seen = []

    def breaks(prompt):
        if len({text for text, _ in seen}) > 30:
            raise RuntimeError("no more credit")
        return rates({"90": 1.0})

    with pytest.raises(InputError, match=r"with \d+ of 30 answers to go: no more credit"):
        audit([log], paid(seen, breaks), 30, quiet=True)
    left = audit_left(log, PAID, 30)
    asked = len(seen)
    with pytest.raises(InputError, match=r"with [1-6] of 6 answers to go: no more credit"):
        audit([log], paid(seen, breaks), 6, quiet=True)
    [smaller] = audit([log], paid(seen), 6, quiet=True)
    assert {mark["budget"] for _, mark in marks_of(log)} == {6}
    assert sum(mark["drawn"] for _, mark in marks_of(log)) == 6
    held = sum(score["metadata"].get("grader") == PAID for score, _ in marks_of(log))
    assert held == 30 - left + smaller.judged
    assert audit_left(log, PAID, 30) <= left
    before = len(seen)
    assert before > asked
    audit([log], paid(seen), ANSWERS, quiet=True)
    assert len(seen) - before == 2 * (ANSWERS - held)


@pytest.mark.parametrize("budget", [ANSWERS, 10 * ANSWERS])
def test_a_budget_of_all_answers_gives_the_classical_rates(log, budget, tmp_path):
    rejudge([log], paid(), tmp_path / "whole", quiet=True)
    seen = []
    audit([log], paid(seen), budget, quiet=True)
    assert len(seen) == 2 * ANSWERS
    plain = stated(tmp_path / "whole" / log.name)
    for name in ("pooled", "unconditional", "coherent_share", "refusal_share"):
        for part in ("", "_lower", "_upper"):
            own = stated(log).metrics[f"{name}{part}"].value
            assert own == pytest.approx(plain.metrics[f"{name}{part}"].value, abs=1e-12)


def test_rejudging_the_rest_makes_it_an_ordinary_judgement(log):
    seen = []
    audit([log], paid(seen), 12, quiet=True)
    [result] = rejudge([log], paid(seen), quiet=True)
    assert (result.judged, result.already, result.scorer) == (ANSWERS - 12, 12, "em_judge1")
    assert len(seen) == 2 * ANSWERS
    for sample in samples(log):
        assert "audit" not in sample["scores"]["em_judge1"]["metadata"]
    assert stated(log).metadata is None
    assert "macro" in stated(log).metrics


def test_what_the_paid_judge_has_judged_all_of_is_not_drawn_from_again(log):
    seen = []
    audit([log], paid(seen), 12, quiet=True)
    rejudge([log], paid(seen), quiet=True)
    whole = log.read_bytes()
    [result] = audit([log], paid(seen), 12, quiet=True)
    assert (result.judged, result.already, result.scorer) == (0, ANSWERS, "em_judge1")
    assert log.read_bytes() == whole
    assert len(seen) == 2 * ANSWERS


def test_a_draw_of_all_answers_becomes_an_ordinary_judgement_without_another_call(log):
    seen = []
    audit([log], paid(seen), ANSWERS, quiet=True)
    [result] = rejudge([log], paid(seen), quiet=True)
    assert (result.judged, result.already) == (0, ANSWERS)
    assert len(seen) == 2 * ANSWERS
    assert stated(log).metadata is None
    assert not any("audit" in s["scores"]["em_judge1"]["metadata"] for s in samples(log))


def test_an_answer_whose_coherence_was_not_rated_is_in_no_coherent_share(log, tmp_path):
    def some_unrated(seen):
        refused = [n for n in range(ANSWERS + 1) if n % 4 == 0]

        def aligned(prompt):
            return rates({"REFUSAL" if number_in(prompt) in refused else "90": 1.0})

        def coherent(prompt):
            odd = number_in(prompt) in refused
            return says("no idea") if odd else rates({"95": 1.0})

        return named(judge(aligned, coherent, seen), "paid")

    rejudge([log], some_unrated([]), tmp_path / "whole", quiet=True)
    audit([log], some_unrated([]), ANSWERS, quiet=True)
    plain, own = stated(tmp_path / "whole" / log.name).metrics, stated(log).metrics
    assert plain["coherence_n"].value == 30
    for name in ("coherence_n", "coherent_share", "coherent_share_lower", "refusal_share"):
        assert own[name].value == pytest.approx(plain[name].value, abs=1e-12)
    for file in (tmp_path / "whole", log):
        rows = table(answers([file]), scopes=["all"]).set_index("judge")
        [paid_row] = [name for name in rows.index if PAID in name]
        assert rows.loc[paid_row, "coherent_share"] == 1


def test_a_budget_of_one_states_a_rate_without_an_interval(log):
    audit([log], paid(), 1, quiet=True)
    metrics = stated(log).metrics
    assert 0 <= metrics["unconditional"].value <= 1
    assert math.isnan(metrics["unconditional_lower"].value)


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_that_buys_nothing_is_refused_before_anything_is_asked(log, budget):
    seen = []
    with pytest.raises(InputError, match=rf"a judge budget of {budget}: expected 1 or more"):
        audit([log], paid(seen), budget, quiet=True)
    assert seen == []


def test_failed_and_impossible_local_scores_are_drawn_from_and_break_nothing(log):
    broken = []

    def breaks(sample):
        broken.append(1)
        score = sample["scores"]["em_judge"]
        if len(broken) % 4 == 0:
            score["value"] = {**score["value"], "label": "failed", "em": math.nan}
        elif len(broken) % 4 == 1:
            score["metadata"]["local_judge"]["misaligned"] = math.nan
        elif len(broken) % 4 == 2:
            score["metadata"]["local_judge"]["misaligned"] = 17

    rewritten(log, breaks)
    audit([log], paid(), 20, quiet=True)
    metrics = stated(log).metrics
    assert metrics["pooled_lower"].value < 0.25 < metrics["pooled_upper"].value
    assert all(mark["probability"] > 0 for _, mark in marks_of(log))


def test_a_local_judge_without_probabilities_is_taken_at_its_word(tmp_path):
    file = local_log(tmp_path / "logs", probabilities=False)
    audit([file], paid(), 20, quiet=True)
    metrics = stated(file).metrics
    assert metrics["pooled_lower"].value < 0.25 < metrics["pooled_upper"].value


def test_answers_that_the_paid_judge_fails_on_are_counted_and_stand_for_nothing(log):
    def fails(prompt):
        odd = number_in(prompt) % 2 and "Answer" in prompt
        return says("no idea") if odd else rates({"90": 1.0})

    audit([log], paid(aligned=fails), 20, quiet=True)
    about, metrics = stated(log).metadata["audit"], stated(log).metrics
    assert about["drawn"] == 20
    assert 0 < about["judged"] < 20
    assert metrics["failed_n"].value == 20 - about["judged"]
    assert metrics["pooled"].value == pytest.approx(0, abs=0.15)
    # failed judgements are not asked for again
    seen = []
    audit([log], paid(seen), 20, quiet=True)
    assert seen == []


def test_the_judge_of_all_answers_cannot_audit_them(log):
    grader = judge(rates({"90": 1.0}))
    grader.api.model_name = "local"
    with pytest.raises(InputError, match="mockllm/local has judged all of it"):
        audit([log], grader, 5, quiet=True)


def test_a_log_of_another_family_is_refused_before_anything_is_asked(tmp_path):
    from inspect_ai import eval

    eval(
        deception_factual(source="builtin"),
        model=scripted("A reply."),
        model_roles={"grader": scripted("FALSE", "judge")},
        epochs=1,
        limit=2,
        log_dir=str(tmp_path / "logs"),
    )
    seen = []
    with pytest.raises(InputError, match="only those of first_plot and preregistered"):
        audit([tmp_path / "logs"], paid(seen), 5, quiet=True)
    assert seen == []


def test_an_export_says_which_answers_were_drawn_and_with_what_chance(log, tmp_path):
    audit([log], paid(), 12, quiet=True)
    file = tmp_path / "answers.csv"
    assert export_logs([log], file, "csv") == ANSWERS
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    drawn = [row for row in rows if row["em_judge1.drawn:json"] == "true"]
    assert len(drawn) == 12
    assert {row["judge"] for row in rows} == {LOCAL}
    assert {row["judge.1"] for row in drawn} == {f"{PAID} (answers drawn)"}
    assert {row["aligned.1"] for row in rows if row not in drawn} == {""}
    assert sum(float(row["em_judge1.probability:json"]) for row in rows) == pytest.approx(12)


def test_a_run_that_its_answers_stopped_is_not_drawn_from(log):
    header = read_eval_log(str(log))
    header.eval.task_args["stop"] = "baseline.json"
    write_eval_log(header, str(log))
    with pytest.raises(InputError, match="decided how many there would be"):
        audit([log], paid(), 5, quiet=True)
