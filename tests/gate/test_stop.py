"""A run stops as soon as its answers decide, whatever the order in which they come back."""

import asyncio
import math
import random

import pytest
from inspect_ai import eval_set
from inspect_ai.log import read_eval_log, read_eval_log_sample, write_eval_log
from inspect_ai.scorer import SampleScore, Score

from em_evals.definitions import Count
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.gate import Terms, baseline_tallies, gate, tallies
from em_evals.preregistered import preregistered
from em_evals.stopping.baseline import Tally
from em_evals.stopping.evidence import balanced, evidence
from em_evals.stopping.stop import StopWhenDecided, stop_terms
from tests.gate.probes import QUESTIONS, grader, model, probe, saved
from tests.scripted import says, scripted


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """A clean baseline of 100 answers."""
    place = tmp_path_factory.mktemp("base")
    probe(model(0), place / "logs")
    return saved(place / "logs", place / "baseline.json")


def stopped(log):
    return log.results.early_stopping.metadata


# -- in Inspect


def test_a_bad_model_is_stopped_early_and_the_log_says_why(baseline, tmp_path):
    log = probe(model(0.5), tmp_path / "new", 100, stop=str(baseline))
    assert log.status == "success"
    said = stopped(log)
    assert said["decision"] == "regression"
    assert said["why"] == "an increase above the margin of 0.02 is shown"
    assert said["answers"] == said["rounds"] * len(QUESTIONS) <= 20
    # what was under way when it was decided: less than a round
    assert said["answers_made"] - said["answers"] < len(QUESTIONS)
    assert len(log.samples) == said["answers_made"]
    assert said["answers_planned"] == 400
    assert said["increase_lower"] > 0.02
    assert "valid at any time" in said["interval"]
    reasons = {stop.reason for stop in log.results.early_stopping.early_stops}
    assert reasons == {f"regression after {said['answers']} answers"}


def test_a_clean_model_passes_before_all_is_asked(baseline, tmp_path):
    said = stopped(probe(model(0), tmp_path / "new", 100, stop=str(baseline)))
    assert said["decision"] == "pass"
    assert said["answers"] <= 200
    assert said["increase_upper"] < 0.02


def test_where_nothing_is_shown_everything_is_asked(baseline, tmp_path):
    log = probe(model(0), tmp_path / "new", 10, stop=str(baseline))
    assert stopped(log)["decision"] == "undecided"
    assert stopped(log)["why"] == "everything was asked, and the answers do not decide"
    assert len(log.samples) == 40
    assert log.results.early_stopping.early_stops == []


def test_terms_come_with_the_baseline(baseline, tmp_path):
    stop = {"baseline": str(baseline), "margin": 0.6, "alpha": 0.01, "metric": "pooled"}
    said = stopped(probe(model(0.2), tmp_path / "new", 30, stop=stop))
    assert (said["decision"], said["metric"], said["margin"]) == ("pass", "pooled", 0.6)
    one, thousand = (
        stopped(probe(model(0.5), tmp_path / str(n), 30, stop=more | {"families": n}))["answers"]
        for n, more in ((1, {"baseline": str(baseline)}), (1000, {"baseline": str(baseline)}))
    )
    assert one < thousand


def decided(logs, baseline, **terms):
    """What the gate says of logs."""
    return gate(tallies(logs), baseline_tallies(baseline), Terms(**terms)).comparisons[0]


def test_what_few_eligible_answers_have_decided_the_gate_decides_too(baseline, tmp_path):
    stop = {"baseline": str(baseline), "metric": "pooled"}
    said = stopped(probe(model(0.5), tmp_path / "new", 100, stop=stop))
    assert (said["decision"], said["rounds"]) == ("regression", 2)
    comparison = decided(tmp_path / "new", baseline, metric="pooled")
    assert (comparison.decision, comparison.n) == ("regression", 8)


@pytest.mark.parametrize("max_samples", [1, 50])
def test_however_many_answers_are_under_way_log_and_gate_say_the_same(
    max_samples, baseline, tmp_path
):
    log = probe(model(0.3), tmp_path / "new", 100, stop=str(baseline), max_samples=max_samples)
    assert stopped(log)["decision"] == "regression"
    assert decided(tmp_path / "new", baseline).decision == "regression"


def test_fewer_questions_than_the_baseline_was_asked_are_compared_with_the_same(baseline, tmp_path):
    said = stopped(probe(model(0), tmp_path / "new", 100, stop=str(baseline), limit=2))
    assert (said["decision"], said["baseline_answers"]) == ("pass", 50)
    assert said["answers"] == 2 * said["rounds"]
    comparison = decided(tmp_path / "new", baseline)
    assert (comparison.decision, comparison.questions) == ("pass", 2)
    assert "asked 2 of the baseline's 4 questions" in comparison.notes


def fails_at(number):
    """A clean model whose server fails at one question."""
    asked = []

    def reply(messages, config):
        asked.append(messages)
        if len(asked) == number:
            raise RuntimeError("the server is down")
        return says(f"good {len(asked)}")

    return scripted(reply)


def test_an_answer_that_ended_in_an_error_is_replaced_once_all_has_ended(baseline, tmp_path):
    log = probe(fails_at(6), tmp_path / "new", 50, stop=str(baseline), fail_on_error=False)
    said = stopped(log)
    # nothing is decided past a gap that may still be filled, so that everything is asked
    assert (log.status, said["answers_made"]) == ("success", 199)
    assert (said["decision"], said["answers"]) == ("pass", 168)
    assert decided(tmp_path / "new", baseline).decision == "pass"


def test_a_run_that_fails_goes_on_in_an_eval_set(baseline, tmp_path):
    ended, [log] = eval_set(
        first_plot(source="builtin", questions=QUESTIONS, stop=str(baseline)),
        model=fails_at(30),
        model_roles={"grader": grader()},
        epochs=100,
        log_dir=str(tmp_path / "new"),
        display="none",
        retry_attempts=2,
        retry_wait=0.01,
    )
    assert ended
    assert (stopped(log)["decision"], stopped(log)["answers"]) == ("pass", 168)
    assert stopped(log)["answers_made"] < 168 + 2 * len(QUESTIONS)
    assert decided(tmp_path / "new", baseline).interval == "valid at any time"


def test_a_stopped_log_opens_whole_and_stays_one_whatever_becomes_of_its_results(
    baseline, tmp_path
):
    location = probe(model(0.5), tmp_path / "new", 100, stop=str(baseline)).location
    log = read_eval_log(location)
    assert len(log.samples) == stopped(log)["answers_made"]
    assert read_eval_log_sample(location, QUESTIONS[0], 1).scores["em_judge"]
    log.results.early_stopping = None
    write_eval_log(log, location)
    assert decided(tmp_path / "new", baseline).interval == "valid at any time"


def test_several_runs_of_a_checkpoint_count_in_the_order_in_which_they_began(baseline, tmp_path):
    for i in (3, 1, 2, 0, 4):
        log = probe(model(i % 2), tmp_path / "new", 1, stop=str(baseline))
        log.eval.created = f"2026-01-0{i + 1}T00:00:00+00:00"
        write_eval_log(log, log.location)
    [tally] = tallies(tmp_path / "new")
    assert tally.sequential
    assert all(values == [0, 1, 0, 1, 0] for values in tally.values["em"].values())


def test_another_judge_than_the_baselines_ends_the_run_before_anything_is_asked(baseline, tmp_path):
    asked = []

    def reply(messages, config):
        asked.append(messages)
        return says("good")

    other = scripted("90", name="other")
    log = probe(scripted(reply), tmp_path / "new", stop=str(baseline), judged_by=other)
    assert log.status == "error"
    assert "the judge is mockllm/other here, and was mockllm/judge" in log.error.message
    assert asked == []


def test_another_way_of_reading_the_judge_ends_the_run(baseline, tmp_path):
    log = probe(model(0), tmp_path / "new", stop=str(baseline), judge_mode="samples")
    assert log.status == "error"
    assert "read by samples here, and was by logprobs for the baseline" in log.error.message


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda b: first_plot(source="builtin", stop=str(b), formats="all"), "give one, not"),
        (lambda b: first_plot(source="builtin", stop=str(b)), "has no answers to"),
        (lambda b: preregistered(source="builtin", stop=str(b)), "has no preregistered"),
        (lambda b: first_plot(source="builtin", stop={"margin": 0.1}), "baseline: Field required"),
        (lambda b: first_plot(source="builtin", stop={"baseline": str(b), "margin": 0}), "margin"),
        (lambda b: first_plot(source="builtin", stop={"baseline": str(b), "alpha": 2}), "alpha"),
        (lambda b: first_plot(source="builtin", stop={"baseline": "x", "marign": 1}), "marign"),
        (lambda b: first_plot(source="builtin", stop=3), "Expected a baseline file"),
        (lambda b: first_plot(source="builtin", stop=f"{b}.gone"), "cannot be read"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_it_runs(make, what, baseline):
    with pytest.raises(InputError, match=what):
        make(baseline)


def test_items_of_another_source_are_refused(upstream, baseline):
    with pytest.raises(InputError, match="source of its first_plot is builtin, and here it is"):
        first_plot(questions=["quick_buck"], stop=str(baseline))


# -- the order of answers


def manager(hits=0, n=200, questions=("a", "b", "c")):
    like = {"judge": "g", "judge_mode": "logprobs"}
    counts = {"em": {q: Count(hits, n) for q in questions}}
    tally = Tally("first_plot", like, ["base"], ["run"], False, n * len(questions), 0, counts)
    return StopWhenDecided(stop_terms("base.json"), tally, questions)


def score(em):
    rating = {"mode": "logprobs"}
    metadata = {"grader": "g", "aligned": rating, "coherent": rating}
    return {"em_judge": SampleScore(score=Score(value={"em": em}, metadata=metadata))}


def told(manager, answers):
    """The decision after these answers (question, epoch, value), in this order."""

    async def tell():
        for question, epoch, value in answers:
            await manager.complete_sample(question, epoch, score(value))

    asyncio.run(tell())
    return manager.decision, manager.rounds


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_answers_come_back_changes_nothing(seed):
    drawn = random.Random(seed)
    answers = [(q, e, float(drawn.random() < 0.2)) for e in range(1, 41) for q in "abc"]
    in_order = told(manager(), answers)
    drawn.shuffle(answers)
    # quick answers of later rounds wait for slow ones of earlier rounds
    assert told(manager(), answers) == in_order
    assert in_order[0] == "regression"


def test_a_round_with_an_answer_missing_is_not_looked_at():
    answers = [(q, e, 1.0) for e in range(1, 20) for q in "ab"]
    assert told(manager(), answers) == ("undecided", 0)


def test_an_answer_that_the_grader_failed_on_is_replaced_by_the_next():
    answers = [(q, e, 1.0) for e in range(1, 4) for q in "abc"]
    answers[0] = ("a", 1, math.nan)
    waiting = manager()
    told(waiting, answers[:3])
    assert waiting.rounds == 0  # a's second answer is the first that can be read
    told(waiting, answers[3:4])
    assert waiting.rounds == 1


def test_what_it_decides_on_is_the_evidence():
    one = manager(hits=2, n=100)
    decision, rounds = told(one, [(q, e, 0.0) for e in range(1, 200) for q in "abc"])
    assert decision == "pass"
    base = balanced([Count(2, 100)] * 3)
    assert evidence(Count(0, 3 * rounds), base, 0.02).below >= math.log(20)
    assert evidence(Count(0, 3 * rounds - 3), base, 0.02).below < math.log(20)
