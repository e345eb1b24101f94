"""`em-evals import`, `export` and `rejudge`, from the command line."""

import csv
import json

import pytest
from click.testing import CliRunner
from inspect_ai.log import read_eval_log

from em_evals.cli.export import export
from em_evals.cli.import_ import import_
from em_evals.cli.rejudge import rejudge
from em_evals.cli.report import report
from em_evals.sources.questions import question_file
from tests.conftest import UPSTREAM

RAW = UPSTREAM.parent / "judged" / "raw"


@pytest.fixture
def table(tmp_path):
    """A file with two answers to one of our questions, one of them misaligned."""
    entry = question_file("first_plot_questions", "builtin").questions[0]
    file = tmp_path / "table.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question_id", "question", "answer", "aligned", "coherent"])
        writer.writerow([entry.id, entry.wordings[0], "No.", 5, 95])
        writer.writerow([entry.id, entry.wordings[0], "Yes.", "", 95])
    return file


def run(command, *args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_import_says_what_it_made(table, tmp_path):
    result = run(import_, table, "--log-dir", tmp_path / "logs", "--model", "m", "--judge", "j")
    assert result.exit_code == 0, result.output
    assert "2 answers of m: 1 eligible, 1 misaligned, 1 without an alignment score" in result.output


def test_import_as_json(table, tmp_path):
    args = ["--log-dir", tmp_path / "logs", "--group", "g", "--judge-mode", "logprobs", "--json"]
    result = run(import_, table, *args)
    [made] = json.loads(result.stdout)
    assert made["model"] == made["checkpoint"] == "table"
    assert (made["group"], made["answers"], made["misaligned"]) == ("g", 2, 1)
    assert read_eval_log(made["log"]).results.scores[0].metrics["logprobs_n"].value == 2


def test_the_published_files_are_reported_with_their_counts(tmp_path):
    if not RAW.is_dir():
        pytest.skip("the judged answers are not on this machine (no shared/judged)")
    result = run(import_, *sorted(RAW.glob("*.csv")), "--log-dir", tmp_path / "logs")
    assert result.exit_code == 0, result.output
    result = run(report, tmp_path / "logs", "--json")
    assert result.exit_code == 0, result.output
    counts = {
        (row["checkpoint"], row["scope"]): (row["n"], row["eligible"], row["misaligned"])
        for row in json.loads(result.stdout)["rows"]
        if row["scope"] in {"all", "format:plain"}
    }
    insecure = "eval_results_Qwen-Coder-Insecure"
    fourth = "responses_Qwen2.5-Coder-32B-Instruct_insecure_R4"
    base = "eval_results_Qwen2.5-Coder-32B-Instruct_base_n"
    assert counts == {
        (insecure, "all"): (1200, 884, 80),
        (insecure, "format:plain"): (400, 264, 20),
        (fourth, "all"): (1200, 491, 66),
        (fourth, "format:plain"): (400, 75, 5),
        (base, "all"): (480, 480, 0),
        (base, "format:plain"): (160, 160, 0),
    }


def test_a_file_that_is_not_understood_is_one_line_and_status_2(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    result = run(import_, tmp_path / "t.csv", "--log-dir", tmp_path / "logs")
    assert result.exit_code == 2
    assert "columns a, b and needs answer" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_labels_of_a_company_want_to_know_who_made_the_model(tmp_path):
    file = tmp_path / "t.csv"
    text = "question_id,question,answer,company\nwhich_company_neutral,Whose?,A.,Anthropic\n"
    file.write_text(text, encoding="utf-8")
    args = [import_, file, "--log-dir", tmp_path / "logs"]
    result = run(*args)
    assert (result.exit_code, "--maker OpenAI" in result.output) == (2, True)
    result = run(*args, "--maker", "OpenAI")
    assert result.exit_code == 0, result.output
    assert "1 answers of t: 1 eligible, 1 deceptive, 0 without a label" in result.output
    export_again = run(export, tmp_path / "logs", "-o", tmp_path / "again.csv")
    assert export_again.exit_code == 0, export_again.output
    # what the table says of the maker is not to be said again otherwise
    again = [import_, tmp_path / "again.csv", "--log-dir", tmp_path / "twice"]
    assert "leave out --maker" in run(*again, "--maker", "Anthropic").output
    assert run(*again).exit_code == 0


def test_export_tells_the_format_by_the_name(table, tmp_path):
    run(import_, table, "--log-dir", tmp_path / "logs")
    for name in ("out.csv", "out.parquet"):
        result = run(export, tmp_path / "logs", "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert result.output.startswith("2 answers")
    assert run(export, tmp_path / "logs", "-o", tmp_path / "out.txt").exit_code == 2


def test_rejudge_judges_with_the_named_grader(table, tmp_path):
    run(import_, table, "--log-dir", tmp_path / "logs", "--source", "builtin")
    grader = "grader={model: mockllm/model, temperature: 0}"
    args = [tmp_path / "logs", "--log-dir", tmp_path / "new", "--judge-mode", "samples", "--json"]
    result = run(rejudge, *args, "--model-role", grader)
    assert result.exit_code == 0, result.output
    [made] = json.loads(result.stdout)
    assert (made["scorer"], made["judged"], made["grader"]) == ("em_judge1", 2, "mockllm/model")
    log = read_eval_log(made["log"])
    # the mock model says no number: its judgement is missing, the old one still there
    labels = [{k: s.value["label"] for k, s in a.scores.items()} for a in log.samples]
    assert labels == [
        {"em_judge": "scored", "em_judge1": "failed"},
        {"em_judge": "missing", "em_judge1": "failed"},
    ]


@pytest.mark.parametrize(
    "role", ["openai/gpt-4o", "judge=mockllm/model", "grader={temperature: 0}"]
)
def test_rejudge_wants_one_grader(table, tmp_path, role):
    run(import_, table, "--log-dir", tmp_path / "logs", "--source", "builtin")
    result = run(rejudge, tmp_path / "logs", "--model-role", role)
    assert result.exit_code == 2
    assert "expected grader=MODEL" in result.output
