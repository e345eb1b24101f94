"""The report's page: one file that runs nothing of its data, at any size."""

import base64
import hashlib
import math
import re
from collections import Counter

import numpy as np
import pytest
from bs4 import BeautifulSoup

from em_evals.analysis.report import build, write_figures
from em_evals.analysis.report.data import LONGEST_ANSWER, MOST_ANSWERS
from em_evals.analysis.report.figures import LONGEST, labels, looks
from em_evals.analysis.report.html import page
from tests.analysis.synthetic import GROUPS, frame

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "]]><img src=x onerror=alert(1)>",
    "\"' onmouseover=alert(1) x='",
    "<svg/onload=alert(1)>",
    "</title></svg></pre></style><iframe src=javascript:alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "$\\frac{1}{",
    "a\x00b\x1b[31m\u202egnihton",
)


def drawn(**options):
    answers = frame(**({"epochs": 3} | options))
    return BeautifulSoup(page(build(answers, title="exp1")), "html.parser")


@pytest.fixture(scope="module")
def usual():
    return drawn(epochs=6)


def test_it_has_every_part(usual):
    headings = [h.get_text(" ", strip=True) for h in usual.find_all(["h1", "h2", "h3"])]
    for heading in (
        "Emergent misalignment: exp1",
        "Summary",
        "Families",
        "first_plot",
        "By question",
        "Alignment and coherence",
        "By format",
        "Sensitivity to the thresholds",
        "preregistered",
        "By category",
        "Judges",
        "Agreement",
        "The most misaligned answers",
        "Provenance",
        "Items",
    ):
        assert heading in headings


def test_the_summary_has_groups_by_families_with_difference_interval_and_counts(usual):
    rows = usual.select("#summary table")[0].select("tbody tr")
    assert [row.th.get_text(strip=True) for row in rows] == list(GROUPS)
    insecure = rows[1].td.get_text(" ", strip=True)
    assert re.search(r"^\d+\.\d% \d+\.\d% to \d+\.\d% a ", insecure)
    assert re.search(r"difference \+\d+\.\d points \([+-]\d+\.\d to [+-]\d+\.\d\)", insecure)
    assert re.search(r"n \d+, 2 models, coherent \d+%, refused \d+\.\d%", insecure)
    assert "difference" not in rows[0].get_text()  # the reference itself


def test_nothing_is_asked_of_a_network(usual):
    allowed = {"main", "summary", "judges", "answers", "provenance", "part0", "part1"}
    for tag in usual.find_all(True):
        for name, value in tag.attrs.items():
            if name in {"href", "xlink:href"}:
                assert value.startswith("#")
                if tag.name == "a":
                    assert value[1:] in allowed
            assert name not in {"src", "srcset", "action", "data", "style"}, tag
            assert not name.startswith("on"), tag
    assert "@import" not in usual.style.string
    assert "url(" not in usual.style.string
    assert {tag.name for tag in usual.find_all(True)}.isdisjoint(
        {"link", "img", "iframe", "object", "embed", "base", "form"}
    )


def test_the_policy_allows_the_own_style_and_script_alone(usual):
    [policy] = [m["content"] for m in usual.find_all("meta") if m.get("http-equiv")]
    [style], [script] = usual.find_all("style"), usual.find_all("script")

    def named(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    assert policy == (
        f"default-src 'none'; style-src {named(style.string)}; script-src {named(script.string)}; "
        "base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    soup = BeautifulSoup(
        page(
            build(
                frame(
                    epochs=6,
                    models=1,
                    tasks=("first_plot",),
                    groups={"base": 0.0, f"group {text}": 0.9},
                    questions=(f"question {text}", "other"),
                    judges=(f"judge {text}",),
                    answer=text,
                ),
                title=text,
            )
        ),
        "html.parser",
    )
    assert len(soup.find_all("script")) == 1
    assert len(soup.find_all("style")) == 1
    assert not soup.find_all(["img", "iframe"])
    known = {"class", "role", "d", "x", "y", "id", "href", "fill", "stroke", "transform"}
    for tag in soup.find_all("svg"):
        assert tag.find_parent("figure")
        for inner in tag.find_all(True):
            extra = set(inner.attrs) - known
            assert all(re.fullmatch(r"[a-z-]+", name) for name in extra)
            assert not any(name.startswith("on") for name in extra)
    readable = re.sub(r"[\x00-\x08\x0b-\x1f]", "\N{REPLACEMENT CHARACTER}", text)
    shown = [answer.pre.get_text() for answer in soup.select(".answer")]
    assert shown
    assert all(readable in answer for answer in shown)
    assert "\x00" not in str(soup)


def test_ids_are_unique_and_references_meet_them(usual):
    ids = Counter(tag["id"] for tag in usual.find_all(id=True))
    assert [name for name, n in ids.items() if n > 1] == []
    for tag in usual.find_all(href=True):
        assert tag["href"][1:] in ids
    for name in re.findall(r"url\(#([^)]+)\)", str(usual)):
        assert name in ids


def test_figures_speak_and_have_the_colours_of_the_page(usual):
    figures = usual.select("svg.figure")
    assert len(figures) > 40
    for figure in figures:
        assert figure["role"] == "img"
        assert len(figure["aria-label"]) > 10
        assert not re.search("#[0-9a-f]{6}", str(figure).replace('href="#', ""))
    spoken = usual.select("#summary svg.figure")[0]["aria-label"]
    assert re.search(r"insecure: \d+\.\d% \(\d+\.\d% to \d+\.\d%\), n \d+", spoken)
    assert "prefers-color-scheme: dark" in usual.style.string
    assert "@media print" in usual.style.string


def test_each_checkpoint_is_shown_with_its_group(usual):
    table = usual.select("#summary details table")[0]
    heads = [th.get_text(strip=True) for th in table.select("thead th")]
    assert heads[:3] == ["checkpoint", "group", "task"]
    rows = [[cell.get_text(" ", strip=True) for cell in row] for row in table.select("tbody tr")]
    assert {(name, group) for name, group, *_ in rows} == {
        (f"{group}-{i}", group) for group in GROUPS for i in range(2)
    }
    assert {len(row) for row in rows} == {len(heads)}


def test_no_two_groups_have_the_same_label_in_figures():
    names = [f"openai/ft:gpt-4o-2024-08-06:org:seed-{i}:final-checkpoint-of-the-run" for i in "12"]
    names += [f"{'a' * 60}{i}{'b' * 60}" for i in range(12)]
    names += ["x\x00", "x\x01", "short"]
    found = labels(names)
    assert len(set(found.values())) == len(names)
    assert all(len(label) <= LONGEST for label in found.values())
    assert found["short"] == "short"
    assert ["d-1:" in found[names[0]], "d-2:" in found[names[1]]] == [True, True]
    soup = drawn(groups=dict.fromkeys(names[:2], 0.2), models=1)
    shown = {text.get_text() for text in soup.select("#summary svg")[0].find_all("text")}
    assert {found[name] for name in names[:2]} <= shown


def test_panels_side_by_side_have_the_rows_that_the_first_one_names(tmp_path):
    answers = frame(epochs=3, models=1, tasks=("truthfulqa", "strong_reject"))
    some = build(answers[(answers["group"] != "base") | (answers["task"] != "strong_reject")])
    [file] = [f for f in write_figures(some, tmp_path, "svg") if f.stem == "families"]
    text = file.read_text(encoding="utf-8")
    assert text.count(">no answers</text>") == 1  # base was not asked for StrongREJECT
    assert text.count(">base</text>") == 1


def test_a_group_is_told_by_name_or_marker_as_well_as_by_colour(usual):
    texts = [text.get_text() for text in usual.select("#part0 figure")[1].find_all("text")]
    assert set(GROUPS) <= set(texts)
    assert len({look.marker for look in looks(list(GROUPS), "base").values()}) == len(GROUPS)


def test_sixty_checkpoints_are_all_named():
    groups = {f"run-{i:02}": 0.01 * i for i in range(60)}
    answers = frame(
        groups=groups, models=1, epochs=2, questions=("one", "two", "three"), formats=("plain",),
        tasks=("first_plot",),
    )  # fmt: skip
    text = page(build(answers, reference="run-00"))
    soup = BeautifulSoup(text, "html.parser")
    assert [th.get_text() for th in soup.select("#summary table")[0].select("tbody th")] == list(
        groups
    )
    assert set(groups) <= {text.get_text() for text in soup.select("#part0 text")}
    assert "only the reference is told apart" in soup.get_text()
    assert len(text) < 1_000_000


def test_long_and_many_answers_are_cut_and_it_says_so():
    answers = frame(epochs=60, tasks=("first_plot",), groups={"bad": 0.9}, models=1)
    answers["answer"] = answers["answer"].astype(object)
    worst = answers["aligned"].where(answers["misaligned"] == 1).idxmin()
    answers.loc[worst, "answer"] = "x" * 1_000_000
    text = page(build(answers))
    soup = BeautifulSoup(text, "html.parser")
    shown = soup.select(".answer")
    misaligned = int((answers["misaligned"] == 1).sum())
    assert len(shown) == MOST_ANSWERS < misaligned
    assert f"Show {MOST_ANSWERS} of {misaligned:,} misaligned answers" in soup.get_text()
    assert shown[0].pre.get_text() == "x" * LONGEST_ANSWER
    assert "the answer has 1,000,000 characters" in shown[0].get_text()
    assert len(text) < 2_000_000


def test_marks_are_sampled_and_their_number_is_stated():
    soup = drawn(epochs=400, questions=("one",), tasks=("first_plot",), formats=("plain",))
    note = soup.select("#part0 details figure figcaption small")[0].get_text()
    assert re.fullmatch(r"600 of 3,\d{3} answers drawn", note)


def test_answers_are_folded_and_come_with_a_warning(usual):
    folded = usual.select("#answers details")[0]
    assert not folded.has_attr("open")
    assert "Content warning" in usual.select("#answers .warning")[0].get_text()
    assert folded.find("input", type="search")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one question", {"questions": ("only",)}),
        ("one model", {"groups": {"alone": 0.5}, "models": 1}),
        ("one answer", {"groups": {"a": 0.5}, "models": 1, "questions": ("q",), "epochs": 1}),
        ("no group", {"groups": {"": 0.5}}),
    ],
)
def test_little_data_is_shown_for_what_it_is(name, options):
    soup = drawn(**options)
    assert not re.search(r"\bnan\b", soup.get_text().lower())
    assert soup.select("#summary table")


def test_an_empty_frame_is_said_to_be_empty():
    soup = BeautifulSoup(page(build(frame(epochs=1, models=1).iloc[:0])), "html.parser")
    assert "There is nothing to count" in soup.get_text()
    assert not soup.select("svg")


def test_nothing_eligible_is_said_and_never_zero():
    answers = frame(epochs=3, tasks=("first_plot",), models=1)
    answers["coherent"] = 10.0
    answers["aligned"] = np.where(answers["aligned"] < 50, 5.0, 95.0)
    soup = BeautifulSoup(page(build(answers)), "html.parser")
    cells = [td.get_text(" ") for td in soup.select("#summary table")[0].select("tbody td")]
    assert all("none no eligible answer" in " ".join(cell.split()) for cell in cells)
    assert "No answer counts as misaligned." in soup.get_text()


def test_nan_everywhere_is_said_and_never_zero():
    answers = frame(epochs=3, models=1)
    for column in ("aligned", "coherent", "misaligned", "em", "outcome"):
        answers[column] = math.nan
    answers["label"] = "failed"
    soup = BeautifulSoup(page(build(answers)), "html.parser")
    cells = [td.get_text(" ") for td in soup.select("#summary table")[0].select("tbody td")]
    reasons = r"none no (eligible answer|answer that could be scored)"
    assert all(re.match(reasons, " ".join(cell.split())) for cell in cells)
    assert not re.search(r"\bnan\b", soup.get_text().lower())


def test_two_judges_have_columns_and_figures_of_their_own():
    soup = drawn(judges=("openai/gpt-4o", "local/small"), tasks=("first_plot",))
    heads = [th.get_text(" ") for th in soup.select("#summary table")[0].select("thead th")]
    assert sum("gpt-4o" in head for head in heads) == sum("local" in head for head in heads) == 3
    assert [s.h2.get_text() for s in soup.select("section")][1:3] == [
        "first_plot, judged by openai/gpt-4o",
        "first_plot, judged by local/small",
    ]
    measures = soup.select("#judges table")[1].get_text(" ")
    for measure in ("Pearson", "Spearman", "AUC", "Cohen's kappa", "difference of the rates"):
        assert measure in measures
    assert soup.select("#judges svg")
    # both judges' scores of one answer, side by side
    scores = soup.select(".answer p")[0].get_text(" ")
    assert "gpt-4o" in scores
    assert "local/small" in scores


def test_a_way_of_reading_that_nobody_stated_is_said_not_to_be():
    answers = frame(tasks=("first_plot", "truthfulqa"), epochs=2).assign(mode="")
    soup = BeautifulSoup(page(build(answers)), "html.parser")
    rows = soup.select("#judges table")[0].select("tbody tr")
    modes = {row.td.get_text(): row.select("td")[3].get_text() for row in rows}
    assert modes == {"first_plot": "not stated", "truthfulqa": ""}


def test_every_figure_is_also_a_file(tmp_path):
    made = build(frame(epochs=3, questions=("a/../b", "<c>"), models=1))
    files = write_figures(made, tmp_path / "figures", "svg")
    names = {file.name for file in files}
    assert "families.svg" in names
    assert len(names) == len(files)
    assert all(re.fullmatch(r"[a-z0-9-]+\.svg", name) for name in names)
    text = (tmp_path / "figures" / "families.svg").read_text(encoding="utf-8")
    assert ">insecure</text>" in text  # text as text
    assert "var(--" not in text  # every programme knows the colours
    [png] = [f for f in write_figures(made, tmp_path / "png", "png") if f.stem == "families"]
    assert png.read_bytes().startswith(b"\x89PNG")
    # figures do not depend on when they are drawn
    again = write_figures(made, tmp_path / "again", "svg")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in files]
