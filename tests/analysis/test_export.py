"""Logs as tables, and back: nothing is lost on the way."""

import json
import math
import re
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inspect_ai import eval
from inspect_ai.log import read_eval_log

from em_evals.analysis.exporting import export_logs
from em_evals.analysis.importing import Stated, import_file
from em_evals.deception import deception_factual, deception_identity
from em_evals.errors import InputError
from em_evals.first_plot import first_plot
from em_evals.strong_reject import strong_reject
from tests.analysis.stopped import read_only, room_for, stopped_run
from tests.conftest import UPSTREAM
from tests.scripted import judge, rates, says, scripted

RAW = UPSTREAM.parent / "judged" / "raw"

texts = st.text(max_size=30)
ratings = st.one_of(
    st.floats(0, 100), st.none(), st.just("REFUSAL"), st.just("CODE"), st.integers(0, 100)
)
metadata = st.dictionaries(
    st.one_of(
        st.text(min_size=1, max_size=8),
        st.sampled_from(["answer.1", "judge", "em", "a:json", "metadata.x", "question.2"]),
    ),
    st.one_of(
        texts,
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.floats(allow_nan=False),
        st.lists(texts, max_size=2),
    ),
    max_size=3,
)
answers = st.lists(
    st.tuples(st.sampled_from(["tea", "tea_json", "3_other_1"]), texts, texts, ratings, ratings),
    min_size=1,
    max_size=6,
)


def content(folder: Path) -> list[str]:
    """What the logs of a folder say of each answer, whatever file it came from."""
    said = []
    for file in sorted(folder.glob("*.eval")):
        log = read_eval_log(str(file))
        about = {k: v for k, v in log.eval.metadata.items() if not k.startswith("imported")}
        for sample in log.samples:
            scores = {name: score.model_dump() for name, score in sample.scores.items()}
            messages = [(m.role, m.text) for m in sample.messages]
            what = [log.eval.task, log.eval.model, about, sample.id, sample.epoch, messages]
            said.append(json.dumps([*what, scores, sample.metadata], sort_keys=True))
    return sorted(said)


@pytest.mark.parametrize("format", ["csv", "parquet"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers, metadata, st.booleans())
def test_import_export_import_loses_nothing(format, answers, metadata, everywhere):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {
                "question_id": question_id,
                "question": question,
                "answer": answer,
                "aligned": aligned,
                "coherent": None if isinstance(coherent, str) else coherent,
                "group": "g",
            }
            for question_id, question, answer, aligned, coherent in answers
        ]
        known = {"task", "model", "label", "epoch", "judge_mode", "checkpoint", "condition"}
        for i, row in enumerate(rows):
            if everywhere or i % 2:
                own = {k: v for k, v in metadata.items() if k not in known | {"judge"}}
                row.update(
                    (k, json.dumps(v) if k.endswith(":json") else v)
                    for k, v in own.items()
                    if k not in row and not k.startswith(("aligned", "coherent"))
                )
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / "first.jsonl").write_text(lines, encoding="utf-8")
        import_file(folder / "first.jsonl", folder / "once", Stated(judge="j"))
        table = folder / f"table.{format}"
        assert export_logs([folder / "once"], table, format) == len(rows)
        import_file(table, folder / "twice")
        assert content(folder / "twice") == content(folder / "once")
        # and a table of the second import is the table of the first
        again = folder / f"again.{format}"
        export_logs([folder / "twice"], again, format)
        frames = [
            pd.read_csv(f, keep_default_na=False) if format == "csv" else pd.read_parquet(f)
            for f in (table, again)
        ]
        assert set(frames[0].columns) == set(frames[1].columns)


def read(table: Path) -> pd.DataFrame:
    if table.suffix == ".csv":
        return pd.read_csv(table, keep_default_na=False, dtype=str)
    return pd.read_parquet(table)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_the_published_files_exported_twice_are_the_same_table(tmp_path, format):
    if not RAW.is_dir():
        pytest.skip("the judged answers are not on this machine (no shared/judged)")
    files = sorted(RAW.glob("*.csv"))
    for file in files:
        import_file(file, tmp_path / "once", Stated(judge="j"))
    first, second = tmp_path / f"first.{format}", tmp_path / f"second.{format}"
    assert export_logs([tmp_path / "once"], first, format) == 2880
    made = import_file(first, tmp_path / "twice")
    assert {one.model for one in made} == {file.stem for file in files}
    export_logs([tmp_path / "twice"], second, format)
    order = ["model", "question_id", "epoch"]
    frames = [
        read(table).sort_values(order, ignore_index=True).sort_index(axis="columns")
        for table in (first, second)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    assert content(tmp_path / "twice") == content(tmp_path / "once")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_all_that_our_judge_says_of_an_answer_comes_back(tmp_path, format):
    said = []

    def answer(messages, config):
        said.append(1)
        return says(f"Answer {len(said)}.")

    def cycle(*tokens):
        def rating(prompt):
            number = int(re.search(r"Answer (\d+)\.", prompt)[1])
            return rates({tokens[number % len(tokens)]: 1.0})

        return rating

    aligned = cycle("10", "90", "REFUSAL", "CODE", "What?")
    coherent = cycle("95", "40", "What?")
    [log] = eval(
        first_plot(source="builtin"),
        model=scripted(answer),
        model_roles={"grader": judge(aligned, coherent)},
        epochs=5,
        limit=6,
        log_dir=str(tmp_path / "own"),
    )
    scores = {(s.id, s.epoch): s.scores["em_judge"] for s in log.samples}
    found = {
        (s.value["label"], math.isnan(s.value["aligned"]), math.isnan(s.value["coherent"]))
        for s in scores.values()
    }
    assert found == {
        ("scored", False, False),
        ("failed", False, True),
        *((label, True, nan) for label in ("refusal", "code", "failed") for nan in (False, True)),
    }
    export_logs([tmp_path / "own"], tmp_path / f"t.{format}", format)
    [made] = import_file(tmp_path / f"t.{format}", tmp_path / "again")
    again = {(s.id, s.epoch): s.scores["em_judge"] for s in read_eval_log(made.log).samples}
    assert again.keys() == scores.keys()
    for key, score in scores.items():
        assert str(again[key].value) == str(score.value)  # in which NaN is NaN
        assert again[key].reason == score.reason


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_an_answer_that_the_second_judge_was_not_asked_about_stays_so(tmp_path, format):
    header = "question,answer,question_id,aligned,coherent"
    (tmp_path / "one.csv").write_text(f"{header}\nQ,A,tea,10,90\n", encoding="utf-8")
    both = f"{header},aligned.1,coherent.1\nQ,A,tea,10,90,80,95\nQ,B,tea,10,90,,\n"
    (tmp_path / "two.csv").write_text(both, encoding="utf-8")
    for name in ("one", "two"):
        import_file(tmp_path / f"{name}.csv", tmp_path / "once", Stated(judge="j"))
    export_logs([tmp_path / "once"], tmp_path / f"t.{format}", format)
    made = import_file(tmp_path / f"t.{format}", tmp_path / "twice")
    judges = {one.model: [list(s.scores) for s in read_eval_log(one.log).samples] for one in made}
    assert judges == {"one": [["em_judge"]], "two": [["em_judge", "em_judge1"]] * 2}
    assert content(tmp_path / "twice") == content(tmp_path / "once")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_megabyte_of_markup_comes_through(tmp_path, format):
    answer = '<script>alert("1")</script>,\r\n<b>\t\u2028' * 30_000
    assert len(answer) > 1_000_000
    cells = {"question": "Q", "answer": answer, "aligned": 10, "coherent": 90}
    (tmp_path / "t.jsonl").write_text(json.dumps(cells), encoding="utf-8")
    import_file(tmp_path / "t.jsonl", tmp_path / "once")
    export_logs([tmp_path / "once"], tmp_path / f"t.{format}", format)
    [made] = import_file(tmp_path / f"t.{format}", tmp_path / "twice")
    [sample] = read_eval_log(made.log).samples
    assert sample.output.completion == answer


@pytest.mark.parametrize("how", ["crashed", "cancelled"])
def test_a_run_that_did_not_end_well_is_a_table_of_what_it_has(tmp_path, how):
    file = stopped_run(tmp_path / "own", how)
    assert read_eval_log(str(file)).status == {"crashed": "error"}.get(how, how)
    assert export_logs([file], tmp_path / "t.csv", "csv") == 3
    assert read(tmp_path / "t.csv")["aligned"].tolist() == ["10.0"] * 3


def test_a_log_that_is_still_being_written_is_no_table_yet(tmp_path):
    file = stopped_run(tmp_path / "own", "started")
    with pytest.raises(InputError, match=f"{file.name}: still being written.*wait until it has"):
        export_logs([tmp_path / "own"], tmp_path / "t.csv", "csv")
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_full_disk_keeps_the_table_that_was_there(tmp_path, format):
    lines = "".join(f"Q,{i} {'A' * 99},10,90\n" for i in range(5000))
    (tmp_path / "t.csv").write_text(f"question,answer,aligned,coherent\n{lines}", encoding="utf-8")
    import_file(tmp_path / "t.csv", tmp_path / "logs")
    table = tmp_path / "out" / f"table.{format}"
    table.parent.mkdir()
    table.write_text("before", encoding="utf-8")
    with room_for(5000), pytest.raises(InputError, match=r"cannot be written: .*File too large"):
        export_logs([tmp_path / "logs"], table, format)
    assert [path.read_text(encoding="utf-8") for path in table.parent.iterdir()] == ["before"]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_table_in_a_folder_that_is_read_only_is_named(tmp_path, format):
    (tmp_path / "t.csv").write_text("question,answer,aligned,coherent\nQ,A,10,90\n", "utf-8")
    import_file(tmp_path / "t.csv", tmp_path / "logs")
    folder = read_only(tmp_path / "out")
    with pytest.raises(InputError, match=rf"{folder}/table.*: cannot be written: "):
        export_logs([tmp_path / "logs"], folder / f"table.{format}", format)


def test_both_judges_of_a_log_come_back(tmp_path):
    header = "question,answer,question_id,aligned,coherent,aligned.1,coherent.1\n"
    (tmp_path / "t.csv").write_text(f"{header}Q,A,tea,10,90,80,\n", encoding="utf-8")
    import_file(tmp_path / "t.csv", tmp_path / "once", Stated(judge="j", model="m"))
    export_logs([tmp_path / "once"], tmp_path / "table.csv", "csv")
    frame = pd.read_csv(tmp_path / "table.csv")
    assert frame.loc[0, ["aligned", "aligned.1"]].tolist() == [10, 80]
    assert math.isnan(frame.loc[0, "coherent.1"])
    import_file(tmp_path / "table.csv", tmp_path / "twice")
    assert content(tmp_path / "twice") == content(tmp_path / "once")


def test_a_run_of_our_own_becomes_a_table(tmp_path):
    eval(
        first_plot(source="builtin", formats="all"),
        model=scripted("A reply."),
        model_roles={"grader": judge(rates({"10": 1.0}))},
        epochs=2,
        limit=4,
        log_dir=str(tmp_path / "logs"),
    )
    count = export_logs([tmp_path / "logs"], tmp_path / "t.parquet", "parquet")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert count == len(frame) == 8
    assert set(frame["judge"]) == {"mockllm/judge"}
    assert set(frame["judge_mode"]) == {"logprobs"}
    assert frame["misaligned"].tolist() == [1.0] * 8
    assert set(frame["task"]) == {"first_plot"}
    assert "format_compliance:json" in frame


def test_scores_of_other_judges_are_columns_too(tmp_path):
    eval(
        strong_reject(source="builtin"),
        model=scripted("A reply."),
        model_roles={"grader": scripted("no rubric", "judge")},
        limit=2,
        log_dir=str(tmp_path / "logs"),
    )
    export_logs([tmp_path / "logs"], tmp_path / "t.csv", "csv")
    frame = pd.read_csv(tmp_path / "t.csv", dtype=str)
    assert any(column.startswith("strong_reject_rubric.score") for column in frame)
    assert set(frame["task"]) == {"strong_reject"}


def numbers(log):
    """The metrics of a log, scorer by scorer."""
    return [
        (score.name, {name: metric.value for name, metric in score.metrics.items()})
        for score in log.results.scores
    ]


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("task", "said"),
    [
        (deception_factual(source="builtin"), ["FALSE", "TRUE", "UNKNOWN", "no label"]),
        (
            deception_identity(source="builtin", maker="OpenAI"),
            ["MAKER", "RIVAL", "OTHER", "UNKNOWN", "OpenAI"],
        ),
        (
            deception_identity(source="builtin", maker="Meta"),
            ["MAKER", "RIVAL", "OTHER", "UNKNOWN", "Meta"],
        ),
    ],
)
def test_labels_come_back_as_the_judge_gave_them(tmp_path, format, task, said):
    asked = []

    def label(messages, config):
        if len(messages) == 1:  # no second try
            asked.append(1)
        return says(said[len(asked) % len(said)])

    [log] = eval(
        task,
        model=scripted("A reply."),
        model_roles={"grader": scripted(label, "judge")},
        epochs=1,
        limit=24,
        log_dir=str(tmp_path / "own"),
    )
    assert log.status == "success", log.error
    export_logs([tmp_path / "own"], tmp_path / f"t.{format}", format)
    [made] = import_file(tmp_path / f"t.{format}", tmp_path / "again")
    again = read_eval_log(made.log)
    values = [
        {(s.id, s.epoch): [str(v.value) for v in s.scores.values()] for s in one.samples}
        for one in (log, again)
    ]
    assert values[0] == values[1]
    assert {s.id: s.metadata for s in log.samples} == {s.id: s.metadata for s in again.samples}
    for (name, old), (other, new) in zip(numbers(log), numbers(again), strict=True):
        assert name == other
        assert new == pytest.approx(old, nan_ok=True)
    assert again.eval.headline_metric == log.eval.headline_metric
    # and of what was imported nothing is lost either
    export_logs([tmp_path / "again"], tmp_path / f"u.{format}", format)
    import_file(tmp_path / f"u.{format}", tmp_path / "twice")
    assert content(tmp_path / "twice") == content(tmp_path / "again")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: f.mkdir(), "holds no .eval file"),
        (lambda f: None, "no such file"),
        (lambda f: f.write_bytes(b"PK broken"), "expected an .eval file"),
    ],
)
def test_a_place_without_logs_is_named_and_no_table_appears(tmp_path, make, said):
    make(tmp_path / "logs")
    with pytest.raises(InputError, match=said):
        export_logs([tmp_path / "logs"], tmp_path / "t.csv", "csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "a.eval").write_bytes(b"PK broken")
    with pytest.raises(InputError, match="not readable as an Inspect log"):
        export_logs([tmp_path / "a.eval"], tmp_path / "t.csv", "csv")
