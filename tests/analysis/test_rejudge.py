"""Old answers judged by another grader: paid for once, and both graders' scores kept."""

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import includes

from em_evals.analysis.importing import Stated, import_file
from em_evals.analysis.rejudge import rejudge
from em_evals.deception import deception_factual
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.sources.questions import question_file
from tests.analysis.stopped import read_only, room_for, stopped_run
from tests.scripted import judge, rates, says, scripted


@pytest.fixture
def logs(tmp_path):
    """A folder with one log: 3 questions, two different answers each, all rated misaligned."""
    said = []

    def answer(messages, config):
        said.append(1)
        return says(f"Answer {len(said)}.")

    eval(
        first_plot(source="builtin"),
        model=scripted(answer),
        model_roles={"grader": judge(rates({"10": 1.0}))},
        epochs=2,
        limit=3,
        log_dir=str(tmp_path / "logs"),
    )
    return tmp_path / "logs"


def only(folder):
    [file] = folder.glob("*.eval")
    return read_eval_log(str(file))


def other(seen=None, aligned=None):
    """Another grader, who finds nothing wrong."""
    grader = judge(aligned or rates({"90": 1.0}), seen=seen)
    grader.api.model_name = "other"
    return grader


def test_both_graders_scores_stand_side_by_side(logs, tmp_path):
    old = only(logs)
    [result] = rejudge([logs], other(), tmp_path / "new", quiet=True)
    assert (result.scorer, result.judged, result.already) == ("em_judge1", 6, 0)
    log = only(tmp_path / "new")
    for sample in log.samples:
        first, second = sample.scores["em_judge"], sample.scores["em_judge1"]
        assert (first.value["misaligned"], second.value["misaligned"]) == (1, 0)
        assert (first.metadata["grader"], second.metadata["grader"]) == (
            "mockllm/judge",
            "mockllm/other",
        )
        assert second.metadata["aligned"]["mode"] == "logprobs"
    pooled = {s.name: s.metrics["pooled"].value for s in log.results.scores}
    assert pooled == {"em_judge": 1.0, "em_judge1": 0.0}
    assert log.results.scores[0] == old.results.scores[0]
    assert [s.events for s in log.samples] == [s.events for s in old.samples]
    assert list(only(logs).samples[0].scores) == ["em_judge"]


def test_an_answer_is_paid_for_once(logs, tmp_path):
    seen = []
    rejudge([logs], other(seen), quiet=True)
    assert len(seen) == 12  # 6 answers, two ratings each
    [again] = rejudge([logs], other(seen), quiet=True)
    assert (again.judged, again.already, again.scorer) == (0, 6, "em_judge1")
    assert len(seen) == 12
    [first] = rejudge([logs], judge(rates({"10": 1.0}), seen=seen), quiet=True)
    assert (first.judged, first.scorer) == (0, "em_judge")
    assert len(seen) == 12


def test_another_way_of_rating_is_another_judgement(logs):
    rejudge([logs], other(), quiet=True)
    [sampled] = rejudge([logs], other(), judge_mode="samples", quiet=True)
    assert (sampled.scorer, sampled.judged) == ("em_judge2", 6)
    [again] = rejudge([logs], other(), judge_mode="samples", quiet=True)
    assert (again.scorer, again.judged) == ("em_judge2", 0)


def test_an_interrupted_call_goes_on_where_it_stopped(logs, tmp_path):
    [file] = logs.glob("*.eval")
    before = file.read_bytes()
    seen = []

    def breaks(prompt):
        if len({text for text, _ in seen}) > 6:
            raise RuntimeError("no more credit")
        return rates({"90": 1.0})

    with pytest.raises(InputError, match=r"no more credit.*the same command goes on"):
        rejudge([logs], other(seen, breaks), quiet=True)
    assert file.read_bytes() == before
    assert not list(logs.glob("*.part"))
    [kept] = logs.glob("*.judged.jsonl")
    with kept.open("ab") as stream:
        stream.write(b'\n["cut off in the mid')
    seen_then = len(seen)
    [result] = rejudge([logs], other(seen), quiet=True)
    assert 0 < result.already < 6
    assert result.judged == 6 - result.already
    assert len(seen) - seen_then == 2 * result.judged
    assert all(len(sample.scores) == 2 for sample in only(logs).samples)
    assert [path.suffix for path in logs.iterdir()] == [".eval"]


def test_imported_answers_are_judged_again_once_their_questions_are_known(tmp_path):
    entry = question_file("first_plot_questions", "builtin").questions[0]
    header = "question_id,question,answer,aligned,coherent\n"
    text = f'{header}{entry.id},"{entry.wordings[0]}",Sure.,5,95\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    import_file(tmp_path / "t.csv", tmp_path / "unknown", Stated(judge="mockllm/other"))
    with pytest.raises(InputError, match="--source"):
        rejudge([tmp_path / "unknown"], other(), quiet=True)
    known = Stated(judge="mockllm/other", source="builtin")
    import_file(tmp_path / "t.csv", tmp_path / "known", known)
    # the file does not say which prompts were used, so its scores are not this judge's
    [result] = rejudge([tmp_path / "known"], other(), quiet=True)
    assert (result.judged, result.scorer) == (1, "em_judge1")
    [sample] = only(tmp_path / "known").samples
    assert [score.value["aligned"] for score in sample.scores.values()] == [5, 90]


def test_other_judges_judge_again_too(tmp_path):
    eval(
        deception_factual(source="builtin"),
        model=scripted("A reply."),
        model_roles={"grader": scripted("FALSE", "judge")},
        epochs=1,
        limit=2,
        log_dir=str(tmp_path / "logs"),
    )
    [result] = rejudge([tmp_path / "logs"], scripted("TRUE", "other"), quiet=True)
    assert (result.scorer, result.judged) == ("factual_judge1", 2)
    log = only(tmp_path / "logs")
    assert [s.scores["factual_judge1"].value["label"] for s in log.samples] == ["true", "true"]
    deceptive = {s.name: s.metrics["deceptive"].value for s in log.results.scores}
    assert deceptive == {"factual_judge": 1.0, "factual_judge1": 0.0}


def test_a_run_that_failed_before_it_asked_anything_is_left_alone(tmp_path):
    eval(
        first_plot(source="builtin"),
        model="mockllm/model",
        epochs=1,
        limit=1,
        log_dir=str(tmp_path / "logs"),
    )
    [file] = (tmp_path / "logs").glob("*.eval")
    before = file.read_bytes()
    [result] = rejudge([tmp_path / "logs"], other(), quiet=True)
    assert (result.judged, result.already) == (0, 0)
    assert file.read_bytes() == before


def test_a_log_of_another_suite_is_refused_before_anything_is_asked(logs):
    task = Task(dataset=[Sample(input="x", target="x")], scorer=includes(), name="theirs")
    eval(task, model="mockllm/model", log_dir=str(logs))
    seen = []
    with pytest.raises(InputError, match="no judge of em-evals has scored it"):
        rejudge([logs], other(seen), quiet=True)
    assert seen == []


@pytest.mark.parametrize("how", ["crashed", "cancelled"])
def test_of_a_run_that_did_not_end_well_the_answers_are_judged_that_it_has(tmp_path, how):
    file = stopped_run(tmp_path / "logs", how)
    before = read_eval_log(str(file))
    [result] = rejudge([file], other(), quiet=True)
    assert (result.judged, result.scorer) == (3, "em_judge1")
    after = read_eval_log(str(file))
    assert after.status == before.status
    judged = [s for s in after.samples if s.scores]
    assert [list(s.scores) for s in judged] == [["em_judge", "em_judge1"]] * 3
    assert len(after.samples) == len(before.samples)


def test_a_log_that_is_still_being_written_is_refused_before_anything_is_asked(logs):
    file = stopped_run(logs.parent / "running", "started")
    seen = []
    with pytest.raises(InputError, match=f"{file.name}: still being written"):
        rejudge([logs, file], other(seen), quiet=True)
    assert seen == []


def test_a_full_disk_leaves_the_old_log_and_what_was_judged(logs):
    [file] = logs.glob("*.eval")
    before = file.read_bytes()
    with room_for(len(before) // 2), pytest.raises(InputError, match="File too large"):
        rejudge([logs], other(), quiet=True)
    assert file.read_bytes() == before
    assert not list(logs.glob("*.part"))
    [result] = rejudge([logs], other(), quiet=True)
    assert result.judged + result.already == 6
    assert all(len(sample.scores) == 2 for sample in only(logs).samples)


def test_a_folder_that_is_read_only_is_named_before_anything_is_asked(logs, tmp_path):
    folder = read_only(tmp_path / "new")
    seen = []
    with pytest.raises(InputError, match=rf"{folder}/.*: cannot be written: "):
        rejudge([logs], other(seen), folder, quiet=True)
    assert seen == []
