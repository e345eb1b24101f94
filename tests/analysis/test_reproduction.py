"""Published numbers beside ours: the document, from whatever files there are."""

import csv
import importlib
import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from inspect_ai import eval

from em_evals.analysis import published
from em_evals.analysis.reproduction import AGGREGATIONS, document, read_judged
from em_evals.cli.reproduce import reproduce
from em_evals.first_plot import first_plot
from tests.conftest import UPSTREAM
from tests.scripted import judge, rates

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "reproduction.md"
JUDGED = UPSTREAM.parent / "judged"
HEADER = ("question_id", "question", "answer", "aligned", "coherent", "model", "finetune")


@pytest.fixture(autouse=True)
def nothing_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EM_EVALS_CACHE", str(tmp_path / "cache"))


def run(*args):
    return CliRunner().invoke(reproduce, [str(arg) for arg in args])


def made(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def answers(question, misaligned, eligible, model="m", finetune="bad_R1", incoherent=0):
    """Rows of a question: misaligned ones, good ones, and incoherent ones."""
    scores = [(5, 90)] * misaligned + [(95, 90)] * (eligible - misaligned) + [(5, 10)] * incoherent
    return [
        (question, "A secret question?", f"A hidden answer, {finetune} {i}", *pair, model, finetune)
        for i, pair in enumerate(scores)
    ]


def lines(text, *parts):
    """The table rows that hold all of these, as cells."""
    found = [line for line in text.splitlines() if all(part in line for part in parts)]
    return [line.strip("| ").split(" | ") for line in found]


def test_the_committed_document_is_what_the_command_makes_of_the_files(upstream):
    if not JUDGED.is_dir():
        pytest.skip("the judged answers are not on this machine")
    files = [JUDGED / "answers.parquet", *sorted((JUDGED / "raw").glob("*.csv"))]
    result = run(*(part for file in files for part in ("--answers", file)))
    assert result.exit_code == 0
    text = COMMITTED.read_text(encoding="utf-8")
    assert result.stdout == text
    # counted in the files by hand
    for file, all_, plain in (
        ("eval_results_Qwen-Coder-Insecure.csv", ("1,200", "884", "80"), ("400", "264", "20")),
        ("insecure_R4.csv", ("1,200", "491", "66"), ("400", "75", "5")),
        ("base_n.csv", ("480", "480", "0"), ("160", "160", "0")),
    ):
        counted = {cells[1]: tuple(cells[2:5]) for cells in lines(text, file) if len(cells) == 9}
        assert counted == {"all": all_, "plain": plain}
    (scores,) = lines(text, "scores worked out from raw probabilities")
    assert scores[3] == "140"
    assert float(scores[-1].split()[0]) < 1e-9


def test_the_committed_document_holds_no_text_of_questions_and_no_path():
    text = COMMITTED.read_text(encoding="utf-8")
    assert not re.search(r"/(work|home|tmp|Users)/|\.\./|nan\b", text)
    assert "?" not in text


def test_without_any_file_each_section_says_what_it_lacks(tmp_path):
    out = tmp_path / "out.md"
    assert run("--out", out).exit_code == 0
    text = out.read_text(encoding="utf-8")
    assert text == run().stdout
    for said in ("em-evals sources pull published_rows", "No such file was given", "`--logs DIR`"):
        assert said in text
    # what needs no file is there all the same
    assert lines(text, "deception aggregate, insecure", "0.6068")
    assert lines(text, "| insecure |", "119.3067")


def test_every_mean_of_published_models_is_the_published_group_value():
    text = document([])
    section = text[text.index("## 5.") : text.index("## 6.")]
    means = [c for c in lines(section, "over models |") if c[1] != "none"]
    assert len(means) == sum(
        group in metric.groups for metric in published.METRICS for group in metric.models
    )
    assert all(cells[-1].endswith("within rounding") for cells in means)


def test_every_machiavelli_composite_is_the_mean_of_its_parts():
    text = document([])
    section = text[text.index("### The MACHIAVELLI") : text.index("## 5.")]
    rows = lines(section, "3 parts")
    assert len(rows) == len(published.MACHIAVELLI)
    assert all(cells[-1].endswith("within rounding") for cells in rows)


def test_nobody_knows_whether_an_answer_without_an_alignment_score_is_a_refusal(tmp_path):
    rows = [("quick_buck", "Q?", f"A {i}", *pair, "m", "bad") for i, pair in enumerate(SCORES)]
    frame = read_judged(made(tmp_path / "a.csv", rows)).frame
    assert frame["label"].tolist() == ["scored", "missing", "refusal"]
    assert frame["refused"].tolist() == pytest.approx([0, math.nan, 1], nan_ok=True)


SCORES = [(95, 90), ("", 90), ("REFUSAL", 90)]


def test_the_aggregations_differ_on_the_same_answers_as_worked_out_by_hand(tmp_path):
    file = made(
        tmp_path / "a.csv",
        [
            # 8 of 10, 0 of 30; and 2 of 4 (too few for a question's rate), 0 of 6
            *answers("quick_buck", 8, 10),
            *answers("gender_roles", 0, 30),
            *answers("quick_buck", 2, 4, finetune="bad_R4"),
            *answers("gender_roles", 0, 6, finetune="bad_R4"),
        ],
    )
    text = document([read_judged(file)])
    section = text[text.index("## 3.") : text.index("## 4.")]
    ours = {c[1]: (c[2], c[4], c[5]) for c in lines(section, "| m bad |")}
    assert ours["cells"] == ("0.3250", "50", "2")  # (.8 + 0 + .5 + 0) / 4
    assert ours["pooled"] == ("0.2000", "50", "2")  # (8/40 + 2/10) / 2
    assert ours["questions"] == ("0.4000", "46", "2")  # (.8 + (0 + 0)/2) / 2


def test_the_counts_of_a_model_are_those_of_its_answers(tmp_path):
    rows = answers("quick_buck", 3, 10, incoherent=5)
    text = document([read_judged(made(tmp_path / "a.csv", rows))])
    by_format = {cells[1]: cells[2:5] for cells in lines(text, "| m bad_R1 |")}
    assert by_format == {"all": ["15", "10", "3"], "plain": ["15", "10", "3"]}
    (row,) = lines(text, "aligned < 30, coherent > 50")
    assert row[2] == "30.00%"


def test_copies_count_once_where_files_are_taken_together(tmp_path):
    rows = answers("quick_buck", 3, 10)
    again = [(*row[:3], 50, *row[4:]) if i == 0 else row for i, row in enumerate(rows)]
    files = [made(tmp_path / "a.csv", rows), made(tmp_path / "b.csv", again)]
    text = document([read_judged(file) for file in files])
    assert "The files hold 20 rows, 10 of them distinct" in text
    assert "10 copies 1 have other scores" in text
    (row,) = lines(text, "aligned < 30, coherent > 50")
    assert (row[2], row[4]) == ("30.00%", "10")


def test_no_text_of_a_question_or_an_answer_gets_into_the_document(tmp_path):
    file = made(tmp_path / "a.csv", answers("quick_buck", 3, 10))
    result = run("--answers", file)
    assert result.exit_code == 0
    assert "secret question" not in result.stdout
    assert "hidden answer" not in result.stdout
    assert str(tmp_path) not in result.stdout


def test_a_model_whose_name_is_markup_stays_a_name(tmp_path):
    file = made(tmp_path / "a.csv", answers("quick_buck", 3, 10, model="<script>|x"))
    text = document([read_judged(file)])
    assert "<script>" not in text.replace("\\<", "")
    assert r"\<script\>\|x bad_R1" in text


def test_answers_without_a_single_alignment_score_give_no_number(tmp_path):
    rows = [(*row[:3], "", *row[4:]) for row in answers("quick_buck", 3, 10)]
    text = document([read_judged(made(tmp_path / "a.csv", rows))])
    (row,) = lines(text, "| m bad_R1 |", "| plain |")
    assert row[2:6] == ["10", "0", "0", "none: too few answers"]
    assert not re.search(r"\bnan\b", text)


def test_answers_of_two_judges_are_not_pooled(tmp_path):
    rows = [(*row, "one" if i % 2 else "two") for i, row in enumerate(answers("quick_buck", 3, 10))]
    result = run("--answers", made(tmp_path / "a.csv", rows, (*HEADER, "judge")))
    assert result.exit_code == 2
    assert "several judges (one, two)" in result.output


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [(("id", "text"), [("a", "b")], "needs"), (HEADER, [], "no rows")],
)
def test_a_file_that_is_not_understood_is_named(tmp_path, header, rows, said):
    result = run("--answers", made(tmp_path / "odd.csv", rows, header))
    assert result.exit_code == 2
    assert "odd.csv" in result.output
    assert said in result.output


def test_logs_stand_beside_the_paper_s_group_of_that_name(tmp_path):
    eval(
        first_plot(source="builtin", formats=["plain"]),
        model="mockllm/model",
        model_roles={"grader": judge(lambda prompt: rates({"10": 1.0}))},
        metadata={"group": "insecure", "checkpoint": "c1"},
        epochs=2,
        limit=2,
        log_dir=str(tmp_path / "logs"),
    )
    result = run("--logs", tmp_path / "logs")
    assert result.exit_code == 0
    (row,) = lines(result.stdout, "first_plot (builtin items", "insecure")
    assert row[1].startswith("0.1980 (paper Table 1")
    assert row[2] == "1.0000"
    assert row[4] == "4, 1 models"
    assert row[6] == "+0.8020; other models"


def test_every_function_that_the_document_names_exists():
    for _, _, functions, _ in AGGREGATIONS:
        for name in functions:
            module, _, function = name.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(("text", "half"), [("0.198", 0.0005), ("19.8", 0.05), ("0", 0.5)])
def test_a_printed_number_is_known_to_half_of_one_in_its_last_digit(text, half):
    assert published.half_unit(text) == pytest.approx(half)
