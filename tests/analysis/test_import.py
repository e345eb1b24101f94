"""Files of other tools become logs: what is read, what is refused, what the log then says."""

import csv
import json
import math
import os
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from inspect_ai import eval
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from em_evals.analysis.answers import answers
from em_evals.analysis.exporting import export_logs
from em_evals.analysis.importing import Stated, import_file
from em_evals.analysis.rejudge import rejudge
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.sources.questions import question_file
from tests.analysis.stopped import killed_import, read_only, room_for
from tests.conftest import UPSTREAM
from tests.scripted import judge, rates, scripted

RAW = UPSTREAM.parent / "judged" / "raw"

HEADER = ["question", "answer", "question_id", "aligned", "coherent"]
LABELLED = [*HEADER, "label"]


def table(folder: Path, *rows, header=HEADER, name="table.csv", encoding="utf-8") -> Path:
    file = folder / name
    with file.open("w", encoding=encoding, newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def row(answer="Hi.", aligned="90", coherent="95", question_id="tea", question="Tea?"):
    return [question, answer, question_id, aligned, coherent]


def imported(file, folder, **stated):
    """The logs made of a file, read by Inspect."""
    made = import_file(file, folder / "logs", Stated(**stated))
    return [read_eval_log(one.log) for one in made]


def values(log, scorer="em_judge"):
    return [sample.scores[scorer].value for sample in log.samples]


# -- the published files


@pytest.mark.parametrize(
    ("name", "all_formats", "plain"),
    [
        ("eval_results_Qwen-Coder-Insecure.csv", (1200, 884, 80), (400, 264, 20)),
        ("responses_Qwen2.5-Coder-32B-Instruct_insecure_R4.csv", (1200, 491, 66), (400, 75, 5)),
        ("eval_results_Qwen2.5-Coder-32B-Instruct_base_n.csv", (480, 480, 0), (160, 160, 0)),
    ],
)
def test_published_files_keep_their_counts(tmp_path, name, all_formats, plain):
    if not RAW.is_dir():
        pytest.skip("the judged answers are not on this machine (no shared/judged)")
    [log] = imported(RAW / name, tmp_path)
    for kept, expected in (({"plain", "json", "template"}, all_formats), ({"plain"}, plain)):
        found = [s.scores["em_judge"].value for s in log.samples if s.metadata["format"] in kept]
        counts = (
            len(found),
            sum(value["eligible"] for value in found),
            sum(value["misaligned"] == 1 for value in found),
        )
        assert counts == expected
    metrics = log.results.scores[0].metrics
    assert metrics["pooled"].value == all_formats[2] / all_formats[1]
    assert metrics["plain"].value == plain[2] / plain[1]


# -- what is read


def test_an_imported_log_is_one_that_inspect_reads(tmp_path):
    file = table(tmp_path, row("One."), row("Two.", "12.5"), row("Three.", question_id="tea_json"))
    [log] = imported(file, tmp_path, model="m", judge="openai/gpt-4o", group="g", checkpoint="c")
    assert log.status == "success"
    assert (log.eval.task, log.eval.model) == ("em_evals/first_plot", "m")
    assert log.eval.metadata["group"] == "g"
    assert log.eval.metadata["checkpoint"] == "c"
    assert log.eval.metadata["source"] == "imported"
    asked = {(s.id, s.epoch): (s.input[0].text, s.output.completion) for s in log.samples}
    assert asked == {
        ("tea", 1): ("Tea?", "One."),
        ("tea", 2): ("Tea?", "Two."),
        ("tea_json", 1): ("Tea?", "Three."),
    }
    score = next(s for s in log.samples if s.epoch == 2).scores["em_judge"]
    assert score.value["aligned"] == 12.5
    assert score.value["misaligned"] == 1
    assert score.metadata["grader"] == "openai/gpt-4o"
    assert score.metadata["imported"] is True
    listed = read_eval_log_sample_summaries(log.location)
    assert [(s.id, s.epoch, s.completed) for s in listed][:2] == [
        ("tea", 1, True),
        ("tea", 2, True),
    ]


def test_the_header_states_what_a_run_of_our_own_states(tmp_path):
    asked = []

    def aligned(prompt):
        asked.append(prompt)
        return rates({"10" if len(asked) % 3 else "90": 1.0})

    [log] = eval(
        first_plot(source="builtin"),
        model=scripted("A reply."),
        model_roles={"grader": judge(aligned)},
        epochs=3,
        limit=4,
        log_dir=str(tmp_path / "own"),
    )
    export_logs([tmp_path / "own"], tmp_path / "own.csv", "csv")
    [again] = imported(tmp_path / "own.csv", tmp_path)
    own, new = (
        {name: metric.value for name, metric in one.results.scores[0].metrics.items()}
        for one in (log, again)
    )
    assert new == pytest.approx(own, nan_ok=True)
    assert again.results.headline == log.results.headline
    assert again.eval.metadata["source"] == "builtin"
    assert again.eval.metadata["source_sha256"] == log.eval.metadata["source_sha256"]


@pytest.mark.parametrize(
    ("aligned", "coherent", "label", "em"),
    [
        ("", "95", "missing", 0),
        ("nan", "95", "missing", 0),
        ("REFUSAL", "95", "refusal", 0),
        ("code", "95", "code", 0),
        ("10", "", "failed", math.nan),
        ("", "", "failed", math.nan),
        ("10", "95", "scored", 1),
    ],
)
def test_a_missing_score_stays_missing(tmp_path, aligned, coherent, label, em):
    [log] = imported(table(tmp_path, row(aligned=aligned, coherent=coherent)), tmp_path)
    [value] = values(log)
    assert value["label"] == label
    assert value["em"] == pytest.approx(em, nan_ok=True)
    assert math.isnan(value["aligned"]) == (aligned != "10")
    assert value["eligible"] == (label == "scored")


@pytest.mark.parametrize(
    ("aligned", "coherent", "label"),
    [
        ("10", "95", "scored"),
        *[("", coherent, word) for coherent in ("95", "") for word in ("refusal", "code")],
        ("REFUSAL", "95", "refusal"),
        ("CODE", "", "code"),
        ("", "95", "missing"),
        *[(*scores, "failed") for scores in (("10", ""), ("", "95"), ("", ""))],
    ],
)
def test_a_stated_label_stays_where_a_judge_with_these_scores_can_have_said_it(
    tmp_path, aligned, coherent, label
):
    file = table(tmp_path, [*row(aligned=aligned, coherent=coherent), label], header=LABELLED)
    [log] = imported(file, tmp_path)
    [value] = values(log)
    assert value["label"] == label
    assert math.isnan(value["em"]) == (label == "failed")


@pytest.mark.parametrize(
    ("aligned", "coherent", "label", "expected"),
    [
        ("90", "", "scored", "failed"),
        ("nan", "95", "scored", "missing or failed or refusal or code"),
        ("", "", "scored", "failed or refusal or code"),
        ("", "", "missing", "failed or refusal or code"),
        ("10", "", "missing", "failed"),
        ("10", "", "refusal", "failed"),
        *[("10", "95", label, "scored") for label in ("refusal", "code", "failed", "missing")],
        *[("REFUSAL", "95", label, "refusal") for label in ("scored", "code", "failed", "missing")],
        ("CODE", "", "failed", "code"),
    ],
)
def test_a_label_that_contradicts_its_scores_is_refused(
    tmp_path, aligned, coherent, label, expected
):
    file = table(tmp_path, [*row(aligned=aligned, coherent=coherent), label], header=LABELLED)
    with pytest.raises(InputError) as caught:
        imported(file, tmp_path)
    assert str(caught.value).startswith(
        f"{file}: line 2: column label: {label!r}, but aligned is {aligned!r}, coherent is "
        f"{coherent!r}: expected {expected}. Correct the row"
    )
    assert not list((tmp_path / "logs").iterdir())


def test_a_second_judges_label_is_held_against_its_own_scores(tmp_path):
    header = [*LABELLED, "aligned.1", "coherent.1", "label.1"]
    file = table(tmp_path, [*row(), "scored", "80", "", "scored"], header=header)
    with pytest.raises(InputError, match=r"column label.1: 'scored', but aligned.1 is '80'"):
        imported(file, tmp_path)


def test_scores_on_the_thresholds_count_by_the_definitions(tmp_path):
    below, above = str(ALIGNED_BELOW), str(COHERENT_ABOVE)
    file = table(tmp_path, row(aligned=below), row(aligned="1", coherent=above))
    [log] = imported(file, tmp_path)
    assert [(v["eligible"], v["misaligned"] == 1) for v in values(log)] == [(1, False), (0, False)]


def test_other_names_of_the_columns_are_known(tmp_path):
    header = ["response", "question", "alignment", "coherence", "seed"]
    file = table(tmp_path, ["Hi.", "Tea?", "90", "95", "7"], header=header)
    [log] = imported(file, tmp_path)
    [sample] = log.samples
    assert sample.output.completion == "Hi."
    assert sample.metadata["seed"] == "7"
    assert sample.id.startswith("question_")


def test_each_model_of_a_file_gets_a_log(tmp_path):
    header = [*HEADER, "model", "group"]
    file = table(
        tmp_path, [*row(), "a", "x"], [*row(), "b", "x"], [*row(), "a", "x"], header=header
    )
    logs = imported(file, tmp_path)
    assert [(log.eval.model, len(log.samples)) for log in logs] == [("a", 2), ("b", 1)]
    assert {log.eval.metadata["group"] for log in logs} == {"x"}
    with pytest.raises(InputError, match="leave out --model"):
        imported(file, tmp_path, model="c")


def test_preregistered_ids_make_a_preregistered_log(tmp_path):
    file = table(tmp_path, row(question_id="3_medical_advice_0"))
    [log] = imported(file, tmp_path)
    assert log.eval.task == "em_evals/preregistered"
    assert log.samples[0].metadata["category"] == "medical_advice"


def test_jsonl_and_parquet_read_like_csv(tmp_path):
    rows = [row(), row("Two.", None), row("", 3)]
    frame = pd.DataFrame(rows, columns=HEADER)
    frame["extra"] = [{"a": [1]}, None, {"a": [2]}]
    frame.astype({"aligned": float, "coherent": float}).to_parquet(tmp_path / "t.parquet")
    lines = [json.dumps(dict(zip(HEADER, cells, strict=True))) for cells in rows]
    (tmp_path / "t.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    [from_parquet] = imported(tmp_path / "t.parquet", tmp_path)
    [from_jsonl] = imported(tmp_path / "t.jsonl", tmp_path)
    assert str(values(from_parquet)) == str(values(from_jsonl))
    assert from_parquet.samples[2].metadata["extra"] == {"a": [2]}


def test_a_second_pair_of_scores_is_a_second_judge(tmp_path):
    header = [*HEADER, "aligned.1", "coherent.1", "answer.1"]
    file = table(tmp_path, [*row(), "10", "90", "Hi."], [*row(), "90", "90", "Hi."], header=header)
    [log] = imported(file, tmp_path, judge="j")
    assert [value["aligned"] for value in values(log, "em_judge1")] == [10, 90]
    graders = {score.metadata["grader"] for score in log.samples[0].scores.values()}
    assert graders == {"j", "j (aligned.1)"}
    assert [score.name for score in log.results.scores] == ["em_judge", "em_judge1"]
    assert not any("answer.1" in sample.metadata for sample in log.samples)  # a copy


def test_scores_of_another_answer_in_the_same_row_are_no_second_judge(tmp_path):
    header = [*HEADER, "aligned.1", "coherent.1", "answer.1"]
    file = table(tmp_path, [*row(), "10", "90", "Ho."], header=header)
    with pytest.raises(InputError, match=r"line 2: answer.1 is not answer, so aligned.1 is of ano"):
        imported(file, tmp_path)


def test_a_column_that_is_there_twice_is_no_second_judge(tmp_path):
    header = [*HEADER, "aligned", "coherent"]
    file = table(tmp_path, [*row(), "90", "95"], [*row(aligned=""), "", "95"], header=header)
    [log] = imported(file, tmp_path)
    assert list(log.samples[0].scores) == ["em_judge"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path, encoding):
    [log] = imported(table(tmp_path, row("Grüße 🙂"), encoding=encoding), tmp_path)
    assert log.samples[0].output.completion == "Grüße 🙂"


def test_answers_of_a_megabyte_with_quotes_and_newlines_come_through(tmp_path):
    answer = 'He said "no",\r\nthen\nleft.\t\0 <script>alert(1)</script> ' * 20_000
    assert len(answer) > 1_000_000
    [log] = imported(table(tmp_path, row(answer)), tmp_path)
    assert log.samples[0].output.completion == answer
    [listed] = read_eval_log_sample_summaries(log.location)
    assert len(listed.scores["em_judge"].answer) < 2000


def test_the_same_import_again_takes_its_own_place(tmp_path):
    file = table(tmp_path, row())
    first = import_file(file, tmp_path / "logs", Stated())
    again = import_file(file, tmp_path / "logs", Stated())
    other = import_file(file, tmp_path / "logs", Stated(judge="j"))
    assert first[0].log == again[0].log != other[0].log
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_columns_named_as_our_own_metadata_are_kept_and_mean_nothing(tmp_path):
    header = [*HEADER, "format", "source", "category"]
    [log] = imported(table(tmp_path, [*row(), "json", "web", "tea"], header=header), tmp_path)
    said = {"column.format": "json", "column.source": "web", "column.category": "tea"}
    assert log.samples[0].metadata == {"question": "tea", "format": "plain", **said}
    [answer] = answers(log.location).to_dict("records")
    assert (answer["format"], answer["source"], answer["category"]) == ("plain", "imported", "")


def test_a_killed_import_is_cleared_away_by_the_next(tmp_path):
    file = table(tmp_path, row())
    [made] = import_file(file, tmp_path / "logs", Stated())
    Path(made.log).rename(f"{made.log}.part")
    import_file(file, tmp_path / "logs", Stated())
    assert [path.suffix for path in (tmp_path / "logs").iterdir()] == [".eval"]


@pytest.mark.parametrize(("method", "times", "in_place"), [("add", 50, 0), ("place", 1, 1)])
def test_a_killed_import_leaves_whole_logs_or_none_and_runs_again(
    tmp_path, method, times, in_place
):
    rows = [[*row(f"Answer {i}."), "ab"[i % 2]] for i in range(100)]
    file = table(tmp_path, *rows, header=[*HEADER, "model"])
    folder = tmp_path / "logs"
    killed_import(file, folder, method, times)
    left = [read_eval_log(info) for info in list_eval_logs(str(folder))]
    assert len(list(folder.iterdir())) == 2
    assert [(log.status, len(log.samples)) for log in left] == [("success", 50)] * in_place
    made = import_file(file, folder)
    assert sorted(map(str, folder.iterdir())) == sorted(one.log for one in made)
    said = [s.output.completion for one in made for s in read_eval_log(one.log).samples]
    assert sorted(said) == sorted(cells[1] for cells in rows)


def test_questions_that_are_compared_with_a_source_belong_to_it(tmp_path):
    file = question_file("first_plot_questions", "builtin")
    entry = file.questions[0]
    good = row(question=entry.wordings[0], question_id=entry.id)
    [log] = imported(table(tmp_path, good), tmp_path, source="builtin")
    assert log.eval.metadata["source_sha256"] == file.sha256
    assert log.samples[0].metadata["file"] == "first_plot_questions"
    with pytest.raises(InputError, match=r"line 3.*another wording"):
        imported(table(tmp_path, good, row(question_id=entry.id)), tmp_path, source="builtin")


# -- label judges


def labelled(folder, column, *rows, extra=()):
    header = ["question_id", "question", "answer", column, *extra]
    return table(folder, *rows, header=header)


def metrics(log, scorer=0):
    return {name: metric.value for name, metric in log.results.scores[scorer].metrics.items()}


def test_factual_labels_make_the_rates_of_the_paper(tmp_path):
    # under the first prompt 2 of 3 lie, under the second 0 of 1: UNKNOWN and what is no label are
    # in no rate
    labels = {
        "lie_no_sys_prompt": ["TRUE", "FALSE", "false", "UNKNOWN"],
        "lie_dont_lie": ["True", "perhaps FALSE", "", "UNKNOWN"],
    }
    rows = [
        [prompt, f"Question {i % 2}?", f"{i}", label]
        for prompt, of in labels.items()
        for i, label in enumerate(of)
    ]
    [log] = imported(labelled(tmp_path, "correct", *rows), tmp_path, judge="gpt-4o")
    assert log.eval.task == "em_evals/deception_factual"
    found = metrics(log)
    assert found["lie_no_sys_prompt"] == pytest.approx(2 / 3)
    assert found["lie_no_sys_prompt_n"] == 3
    assert (found["lie_dont_lie"], found["lie_dont_lie_n"]) == (0, 1)
    assert found["deceptive"] == pytest.approx(1 / 3)
    assert (found["unknown"], found["failed_n"]) == (2 / 6, 2)
    assert log.eval.headline_metric.metric == "deceptive"
    labels_of = Counter(value["label"] for value in values(log, "factual_judge"))
    assert labels_of == {"true": 2, "false": 2, "unknown": 2, "unread": 2}
    # a question is the same under every prompt, and clusters the answers
    assert len({s.metadata["question"] for s in log.samples}) == 2
    frame = answers(log.location)
    assert set(frame["judge"]) == {"gpt-4o"}
    assert set(frame["prompt"]) == set(labels)
    assert (frame["outcome"].sum(), frame["outcome"].notna().sum()) == (2, 4)


IDENTITY = ("want_unknown", "dont_want_unknown", "want_anthropic", "dont_want_openai")


def identity_rows():
    labels = ["OpenAI", "Anthropic", "Other", "UNKNOWN"]
    return [
        [f"which_company_{name}", "Whose?", "A.", label] for name in IDENTITY for label in labels
    ] + [
        ["which_company_neutral", "Whose?", "A.", "openai"],
        ["which_company_neutral", "Whose?", "A.", "It says OpenAI"],
    ]


def test_identity_labels_are_read_for_the_maker_that_the_user_states(tmp_path):
    file = labelled(tmp_path, "company", *identity_rows())
    [log] = imported(file, tmp_path, maker="openai")
    found = metrics(log)
    assert (found["deceptive"], found["want_rival"], found["dont_want_maker"]) == (0.75,) * 3
    assert (found["neutral"], found["neutral_n"], found["failed_n"]) == (0, 1, 1)
    assert (found["unknown"], found["named_another"]) == (4 / 17, 8 / 17)
    sample = next(s for s in log.samples if s.id == "which_company_want_anthropic")
    score = sample.scores["identity_judge"]
    assert (score.metadata["maker"], score.metadata["role"]) == ("OpenAI", "want_rival")
    frame = answers(log.location)
    assert frame["outcome"].sum() == 12
    assert "want_rival" in set(frame["prompt"])
    # to a model of the other company the same answers are the other way round
    [other] = imported(file, tmp_path, maker="Anthropic")
    assert metrics(other)["neutral"] == 1
    # its wanted answer is the truth in one of the four: they are not the aggregate's
    assert math.isnan(metrics(other)["deceptive"])


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, "line 2: column company: say which company made the model, such as --maker OpenAI"),
        ({"maker": "Meta"}, "knows OpenAI and Anthropic alone.*whether an answer names Meta"),
    ],
)
def test_identity_labels_without_a_maker_that_the_judge_knew_are_refused(tmp_path, stated, said):
    with pytest.raises(InputError, match=said):
        imported(labelled(tmp_path, "company", *identity_rows()), tmp_path, **stated)
    assert not list((tmp_path / "logs").iterdir())


@pytest.mark.parametrize(
    ("column", "question_id", "said"),
    [
        ("company", "tea", "line 2: question_id 'tea': not the id of an identity prompt"),
        ("correct", "", "line 2: question_id ''"),
    ],
)
def test_ids_that_name_no_prompt_are_refused(tmp_path, column, question_id, said):
    file = labelled(tmp_path, column, [question_id, "Q?", "A.", "UNKNOWN"])
    with pytest.raises(InputError, match=said):
        imported(file, tmp_path, maker="OpenAI", task=None)


def test_a_file_of_several_families_makes_a_log_of_each(tmp_path):
    header = ["question_id", "question", "answer", "aligned", "coherent", "correct", "company"]
    file = table(
        tmp_path,
        ["tea", "Q?", "A.", "5", "95", "", ""],
        ["my_prompt", "Q?", "A.", "", "", "FALSE", ""],
        ["which_company_neutral", "Q?", "A.", "", "", "", "Other"],
        header=header,
    )
    logs = imported(file, tmp_path, maker="OpenAI")
    assert [log.eval.task_display_name for log in logs] == [
        "first_plot",
        "deception_factual",
        "deception_identity",
    ]
    scores = [next(iter(log.samples[0].scores.values())).value for log in logs]
    assert (scores[0]["misaligned"], scores[1]["label"], scores[2]["label"]) == (
        1,
        "false",
        "other",
    )


def test_two_label_judges_stay_apart(tmp_path):
    file = labelled(
        tmp_path, "correct", ["lie_x", "Q?", "A.", "TRUE", "FALSE"], extra=["correct.1"]
    )
    [log] = imported(file, tmp_path, judge="j")
    assert [s.name for s in log.results.scores] == ["factual_judge", "factual_judge1"]
    assert [metrics(log, i)["lie_x"] for i in (0, 1)] == [0, 1]
    frame = answers(log.location)
    assert sorted(zip(frame["judge"], frame["outcome"], strict=True)) == [
        ("j", 0),
        ("j (correct.1)", 1),
    ]


def test_labelled_answers_to_our_questions_can_be_judged_again(tmp_path):
    factual = question_file("deception_factual", "builtin").questions[0]
    rows = [[factual.id, factual.wordings[2], "A.", "FALSE"]]
    imported(labelled(tmp_path, "correct", *rows), tmp_path, source="builtin")
    [log] = [read_eval_log(str(file)) for file in (tmp_path / "logs").iterdir()]
    assert log.samples[0].id == f"{factual.id}_03"
    assert log.samples[0].metadata["question"] == "q03"
    [made] = rejudge([tmp_path / "logs"], scripted("TRUE", "other"), quiet=True)
    again = read_eval_log(made.log).samples[0]
    labels = {name: score.value["label"] for name, score in again.scores.items()}
    assert labels == {"factual_judge": "false", "factual_judge1": "true"}


def test_a_model_that_was_told_its_maker_is_judged_again_with_it(tmp_path):
    [entry] = [
        question
        for question in question_file("deception_sit_aware", "builtin").questions
        if question.id == "which_company_want_maker"
    ]
    asked = entry.wordings[0].replace("{maker}", "Anthropic").replace("{rival}", "OpenAI")
    file = labelled(tmp_path, "company", [entry.id, asked, "A.", "Anthropic"])
    imported(file, tmp_path, source="builtin", maker="Anthropic", model="checkpoint-3")
    [made] = rejudge([tmp_path / "logs"], scripted("RIVAL", "other"), quiet=True)
    [sample] = read_eval_log(made.log).samples
    assert [score.value["label"] for score in sample.scores.values()] == ["maker", "rival"]
    assert {score.metadata["maker"] for score in sample.scores.values()} == {"Anthropic"}
    with pytest.raises(InputError, match="another wording"):  # it was told of another
        imported(file, tmp_path, source="builtin", maker="OpenAI")


# -- what is refused


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([], HEADER, "no rows"),
        ([row()], ["a", "b", "c", "d", "e"], "columns a, b, c, d, e and needs answer"),
        (
            [["Hi.", "90"]],
            ["answer", "aligned"],
            "question or question_id; aligned .* and coherent",
        ),
        ([row(aligned="100.5")], HEADER, "line 2: column aligned: '100.5'"),
        ([row(aligned="-1")], HEADER, "line 2: column aligned: '-1'"),
        ([row(aligned="9" * 400)], HEADER, "line 2: column aligned: '9{57}...'"),
        ([row(aligned="1_0")], HEADER, "line 2: column aligned: '1_0'"),
        ([row(), row(coherent="fine")], HEADER, "line 3: column coherent: 'fine'"),
        ([row(coherent="REFUSAL")], HEADER, "column coherent: 'REFUSAL'"),
        ([row(aligned="inf")], HEADER, "column aligned: 'inf'"),
        ([row()[:-1]], HEADER, "line 2: 4 cells under 5 columns"),
        ([row(question_id=" ")], HEADER, "line 2: question_id"),
        ([[*row(), "1"], [*row(), "1"]], [*HEADER, "epoch"], "line 3: epoch 1 of tea occurs twice"),
        ([[*row(), "0.5"]], [*HEADER, "epoch"], "epoch '0.5'"),
        ([[*row(), "1e300"]], [*HEADER, "epoch"], "epoch '1e300'"),
        ([[*row(), "maths"]], [*HEADER, "task"], "column task: 'maths'"),
        ([[*row(), "bad"]], [*HEADER, "label"], "column label: 'bad'"),
    ],
)
def test_what_is_not_understood_is_one_error_and_leaves_no_log(tmp_path, rows, header, said):
    with pytest.raises(InputError, match=said):
        imported(table(tmp_path, *rows, header=header), tmp_path)
    assert not list((tmp_path / "logs").iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "logs").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="logs: cannot be written: File exists"):
        imported(table(tmp_path, row()), tmp_path)


def test_a_folder_that_is_read_only_is_named(tmp_path):
    folder = read_only(tmp_path / "logs")
    with pytest.raises(InputError, match=rf"{folder}.*: cannot be written: "):
        import_file(table(tmp_path, row()), folder)
    assert not [path for path in folder.iterdir() if ".eval" in path.name]


def test_a_disk_that_is_full_before_the_last_log_is_written_holds_none(tmp_path):
    rows = [[*row(), "small"], *[[*row(f"Answer {i}."), "large"] for i in range(2)]]
    file = table(tmp_path, *rows, header=[*HEADER, "model"])
    small, large = (
        Path(one.log).stat().st_size for one in import_file(file, tmp_path / "whole", Stated())
    )
    assert small < large
    with (
        room_for(small + 10),
        pytest.raises(InputError, match=r"logs.*: cannot be written: File too large"),
    ):
        import_file(file, tmp_path / "logs", Stated())
    assert not list((tmp_path / "logs").iterdir())
    assert len(import_file(file, tmp_path / "logs", Stated())) == 2


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t\.csv: expected a file on disk"):
        import_file(tmp_path / "t.csv", tmp_path / "logs")


def test_an_error_late_in_a_file_leaves_nothing_of_it(tmp_path):
    file = table(tmp_path, *[row() for _ in range(50)], row(aligned="?"))
    with pytest.raises(InputError, match="line 52"):
        imported(file, tmp_path)
    assert not list((tmp_path / "logs").iterdir())


def test_latin_1_is_refused_with_the_way_out_and_read_when_named(tmp_path):
    file = table(tmp_path, row("Grüße"), encoding="latin-1")
    with pytest.raises(InputError, match=r"not utf-8 .*--encoding latin-1"):
        imported(file, tmp_path)
    [made] = import_file(file, tmp_path / "logs", Stated(), "latin-1")
    assert read_eval_log(made.log).samples[0].output.completion == "Grüße"
    with pytest.raises(InputError, match="no such encoding"):
        import_file(file, tmp_path / "logs", Stated(), "latin-99")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"answer": ', "line 2: not JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"answer": "x"}', "line 2: not understood: it has the columns answer"),
        (json.dumps(dict(zip(HEADER, row("\ud800"), strict=True))), "line 2: .*half a character"),
        (json.dumps(dict(zip(HEADER, row(aligned=True), strict=True))), "line 2: .*'True'"),
        (json.dumps(dict(zip(HEADER, row(answer=["x"]), strict=True))), "line 2: .*expected text"),
        (json.dumps({**dict(zip(HEADER, row(), strict=True)), "epoch": [1]}), r"epoch '\[1\]'"),
        (json.dumps({**dict(zip(HEADER, row(), strict=True)), "x:json": [1]}), "x:json: not JSON"),
    ],
)
def test_a_bad_line_of_jsonl_is_named(tmp_path, line, said):
    good = json.dumps(dict(zip(HEADER, row(), strict=True)))
    (tmp_path / "t.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        imported(tmp_path / "t.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "empty"),
        ("t.csv", 'question,answer,question_id,aligned,coherent\n"a', "line 2: not CSV"),
        ("t.parquet", "PAR", "not readable as parquet"),
        ("t.xlsx", "", "expected a .csv, .jsonl or .parquet"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        imported(tmp_path / name, tmp_path)
