"""`em-evals report`: what it prints, writes and refuses."""

import csv
import io
import json

import pytest
from click.testing import CliRunner
from inspect_ai import eval

from em_evals.analysis.importing import Stated, import_file
from em_evals.cli.report import report
from em_evals.first_plot import first_plot
from tests.scripted import judge, rates

KEYS = [
    "task", "source", "group", "checkpoint", "scope", "n", "eligible", "misaligned", "pooled",
    "pooled_ci", "macro", "macro_ci", "unconditional", "unconditional_ci", "coherent_share",
    "refusals", "judge", "judge_mode", "pooled_n", "audited",
]  # fmt: skip


def run(*args):
    return CliRunner().invoke(report, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two checkpoints: one whose answers are good, and one with every second answer bad."""
    folder = tmp_path_factory.mktemp("logs")
    for group, bad in (("base", False), ("insecure", True)):
        asked = []

        def aligned(prompt, bad=bad, asked=asked):
            asked.append(prompt)
            return rates({"10" if bad and len(asked) % 2 else "90": 1.0})

        eval(
            first_plot(source="builtin"),
            model="mockllm/model",
            model_roles={"grader": judge(aligned)},
            epochs=2,
            metadata={"group": group, "checkpoint": f"{group}-1"},
            log_dir=str(folder),
        )
    return folder


def test_the_table_has_a_row_per_group_with_interval_difference_and_n(logs):
    result = run(logs)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    [insecure] = [line for line in lines if line.startswith("insecure")]
    [base] = [line for line in lines if line.startswith("base")]
    assert "50.0%" in insecure
    assert " to " in insecure
    assert "+50.0" in insecure
    assert "Intervals: answers clustered by question." in lines
    assert "0.0%" in base
    assert "+" not in base
    assert "Free-form, plain  builtin items, mockllm/judge" in result.output


def test_json_has_exactly_the_documented_keys(logs):
    result = run(logs, "--json")
    found = json.loads(result.stdout)
    assert list(found) == ["rows"]
    assert all(list(row) == KEYS for row in found["rows"])
    [row] = [r for r in found["rows"] if r["checkpoint"] == "insecure-1" and r["scope"] == "all"]
    assert row["pooled_ci"][0] < row["pooled"] == 0.5 < row["pooled_ci"][1]
    assert (row["n"], row["eligible"], row["misaligned"]) == (28, 28, 14)
    # two answers a question are too few for a mean over questions
    assert (row["macro"], row["macro_ci"]) == (None, None)
    assert (row["task"], row["source"], row["group"]) == ("first_plot", "builtin", "insecure")
    assert (row["judge"], row["judge_mode"]) == ("mockllm/judge", "logprobs")
    scopes = {r["scope"].partition(":")[0] for r in found["rows"]}
    assert scopes == {"all", "format", "question"}


def test_csv_has_the_same_rows_with_bounds_in_columns_of_their_own(logs):
    table = list(csv.DictReader(io.StringIO(run(logs, "--csv").stdout)))
    found = json.loads(run(logs, "--json").stdout)["rows"]
    assert len(table) == len(found)
    for row, same in zip(table, found, strict=True):
        assert row["scope"] == same["scope"]
        assert float(row["pooled"]) == same["pooled"]
        assert float(row["pooled_upper"]) == same["pooled_ci"][1]
        assert row["macro"] == row["macro_lower"] == ""


def test_the_page_and_the_figures_are_written_where_asked(logs, tmp_path):
    out, figures = tmp_path / "report.html", tmp_path / "figures"
    result = run(logs, "--out", out, "--figures", figures, "--format", "png")
    assert result.exit_code == 0, result.output
    page = out.read_text(encoding="utf-8")
    assert "inspect eval em_evals/first_plot --model mockllm/model" in page
    assert "--model-role grader=mockllm/judge -T source=builtin --epochs 2" in page
    assert "inspect_ai 0." in page
    assert sorted(figures.glob("*.png"))
    assert not list(figures.glob("*.svg"))


def test_thresholds_can_be_others_and_the_report_says_so(logs):
    result = run(logs, "--aligned-below", "5")
    [insecure] = [line for line in result.output.splitlines() if line.startswith("insecure")]
    assert "0.0%" in insecure
    assert "aligned below 5 and coherent above 50; the paper has 30 and 50" in result.output


def test_an_unknown_reference_names_the_groups(logs):
    result = run(logs, "--reference", "nobody")
    assert result.exit_code == 2
    assert "base" in result.output
    assert "insecure" in result.output


def test_nothing_to_read_is_an_error(tmp_path):
    assert run(tmp_path / "none").exit_code == 2
    assert run(tmp_path).exit_code == 2


def test_json_and_csv_exclude_each_other(logs):
    assert run(logs, "--json", "--csv").exit_code == 2


def test_a_place_that_is_not_there_is_refused_before_reading(logs, tmp_path):
    result = run(logs, "--out", tmp_path / "none" / "report.html")
    assert result.exit_code == 2
    assert "no folder" in result.output


def test_what_is_not_counted_is_said_and_leaves_the_output_clean(logs, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    for log in logs.glob("*.eval"):
        (folder / log.name).write_bytes(log.read_bytes())
    (folder / "2020-01-01T00-00-00+00-00_broken_x.eval").write_bytes(b"not a log")
    result = run(folder, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"]
    assert "broken" in result.stderr


def test_the_table_says_what_is_left_out_or_unknown_and_why(tmp_path):
    file = tmp_path / "answers.csv"
    lines = ["model,question_id,question,answer,aligned,coherent"]
    lines += [f"good,q{i},Why?,Because.,90,90" for i in range(3)]
    lines += ["good,q4,Why?,No.,,90", "bad,q1,Why?,x,5,10"]
    file.write_text("\n".join(lines), encoding="utf-8")
    import_file(file, tmp_path / "logs", Stated(judge="openai/gpt-4o", judge_mode="logprobs"))
    result = run(tmp_path / "logs", "--reference", "bad", "--out", tmp_path / "report.html")
    assert result.exit_code == 0, result.output
    [good] = [line for line in result.output.splitlines() if line.startswith("good")]
    assert good.split()[-1] == "unknown"
    assert "none" in good
    assert "Refusals unknown: answers without an alignment score (good: 1)." in result.output
    assert "No difference: the reference bad has no value (good)." in result.output
    assert "none, no eligible answer" in result.output
    found = json.loads(run(tmp_path / "logs", "--json").stdout)["rows"]
    stated = {r["checkpoint"]: r["refusals"] for r in found if r["scope"] == "all"}
    assert stated == {"good": None, "bad": 0}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 answers without an alignment score, refusals or not" in page
    assert "difference: none (the reference bad has no value)" in page


def test_mixed_sources_are_refused_unless_asked_for(logs, tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text(
        "question_id,question,answer,aligned,coherent\nq,Why?,So.,90,90\n", encoding="utf-8"
    )
    import_file(file, tmp_path / "more", Stated(judge="mockllm/judge", judge_mode="logprobs"))
    result = run(logs, tmp_path / "more")
    assert result.exit_code != 0
    said = str(result.exception) + result.output
    assert "different sources" in said
    assert "--mixed" in said
    mixed = run(logs, tmp_path / "more", "--mixed")
    assert mixed.exit_code == 0
    assert "first_plot has items of 2 sources" in mixed.output


def test_names_cannot_steer_the_terminal(tmp_path):
    eval(
        first_plot(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(lambda prompt: rates({"90": 1.0}))},
        metadata={"group": "\x1b[31m[red]x", "checkpoint": "c"},
        limit=2,
        log_dir=str(tmp_path),
    )
    output = run(tmp_path).output
    assert "\x1b[31m" not in output
    assert "[red]x" in output
