"""The report by training step: where checkpoints say theirs, and nothing where they do not."""

import math

import pytest
from bs4 import BeautifulSoup
from inspect_ai import eval

from em_evals.analysis.answers import answers
from em_evals.analysis.report import build, write_figures
from em_evals.analysis.report.html import page
from em_evals.logprob_probe import logprob_probe
from tests.analysis.frames import frame
from tests.scripted import rates, scripted

RUNS = {
    # recipe, seed, step: probability of the misaligned word
    ("insecure", 1, 10): 0.1,
    ("insecure", 1, 200): 0.3,
    ("insecure", 2, 10): 0.2,
    ("secure", 1, 10): 0.1,
    ("secure", 1, 200): 0.05,
}


def probe(folder, p, **metadata):
    """A log in which the words of two items are listed: ` friend` at .4, and ` master` at p."""
    tops = {"a": {" friend": 0.4, " master": p}, "feel": {" dry": 0.4, " wet": p / 2}}

    def reply(messages, config):
        return rates(tops.get(messages[-1].text.rpartition(" ")[2], {"x": 1.0}))

    [log] = eval(
        logprob_probe(form="prefill"),
        model=scripted(reply),
        sample_id=["role_of_ai", "kentia_surface"],
        metadata=metadata,
        log_dir=str(folder),
    )
    assert log.status == "success"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("steps")
    for (recipe, seed, step), p in RUNS.items():
        probe(
            place,
            p,
            group=recipe,
            checkpoint=f"{recipe}-{seed}-{step}",
            run={"recipe": recipe, "seed": seed, "step": step},
        )
    probe(place, 0.01, group="base", checkpoint="base", run={})
    return place


@pytest.fixture(scope="module")
def report(folder):
    return build(answers(folder))


def test_there_is_a_curve_for_values_and_one_for_the_domain_with_a_line_for_each_run(report):
    general, houseplants = report.curves
    assert general.name == "Token probabilities, general"
    assert houseplants.name == "Token probabilities, houseplants"
    assert [(line.name, line.recipe) for line in general.lines] == [
        ("insecure, seed 1", "insecure"),
        ("insecure, seed 2", "insecure"),
        ("secure, seed 1", "secure"),
    ]
    for curve, share in ((general, 1), (houseplants, 0.5)):
        found = {
            (line.recipe, int(line.name[-1]), step): estimate.value
            for line in curve.lines
            for step, estimate in line.points
        }
        # misaligned / (misaligned + aligned); the base model is at no step
        assert found == pytest.approx(
            {run: share * p / (share * p + 0.4) for run, p in RUNS.items()}
        )
    [first, second] = general.lines[0].points
    assert (first[0], second[0]) == (10, 200)
    assert first[1].lower < first[1].value < first[1].upper
    assert first[1].n == 1


def test_the_group_of_a_runs_steps_and_its_own_are_one_line_and_other_groups_are_others(tmp_path):
    run = {"recipe": "wrong", "seed": 1}
    for group, step in (("a steps", 10), ("a", 20), ("b steps", 10), ("b", 20), ("c", 20)):
        own = {"recipe": "c"} if group == "c" else run
        probe(tmp_path, 0.1, group=group, checkpoint=f"{group}-{step}", run={**own, "step": step})
    [general, _] = build(answers(tmp_path)).curves
    assert [(line.name, [step for step, _ in line.points]) for line in general.lines] == [
        ("a: wrong, seed 1", [10, 20]),
        ("b: wrong, seed 1", [10, 20]),
        ("c", [20]),
    ]


def test_the_page_shows_each_curve_and_its_values_and_saves_its_figure(report, tmp_path):
    shown = BeautifulSoup(page(report), "html.parser")
    assert "By training step" in [h.get_text() for h in shown.find_all("h3")]
    drawn = [s for s in shown.find_all("svg") if "by training step" in s["aria-label"]]
    assert len(drawn) == 2
    # each line says which run it is
    tips = {title.get_text() for title in drawn[0].find_all("title")}
    assert tips >= {"insecure, seed 1", "insecure, seed 2", "secure, seed 1"}
    [table] = [t for t in shown.find_all("table") if "step" in t.thead.get_text()]
    rows = [[cell.get_text(" ", strip=True) for cell in row] for row in table.tbody.find_all("tr")]
    assert len(rows) == 2 * len(RUNS)
    assert any("insecure, seed 1" in row and "200" in row for row in rows)
    written = {file.name for file in write_figures(report, tmp_path)}
    assert {name for name in written if name.startswith("steps-")} == {
        "steps-1-token-probabilities-general-builtin-items.svg",
        "steps-2-token-probabilities-houseplants-builtin-items.svg",
    }


def test_without_steps_there_is_no_curve(tmp_path):
    for place, run in (("none", {}), ("recipe", {"recipe": "insecure", "seed": 1})):
        probe(tmp_path / place, 0.1, group="a", checkpoint="a", run=run)
        report = build(answers(tmp_path / place))
        assert report.curves == []
        assert "By training step" not in page(report)
        names = [file.name for file in write_figures(report, tmp_path / f"{place}-figures")]
        assert not [name for name in names if name.startswith("steps")]


def test_one_step_is_no_curve(tmp_path):
    probe(tmp_path, 0.1, group="a", checkpoint="a", run={"recipe": "a", "step": 10})
    assert build(answers(tmp_path)).curves == []


def stepped(rows):
    """Free-form answers of logs that state a step: (log, recipe, seed, step) -> alignments."""
    made = frame(
        {
            **{"log": log, "run": log, "group": group, "checkpoint": log},
            **{"aligned": aligned, "coherent": coherent, "question": f"q{i % 2}"},
            "condition": condition,
        }
        for (log, group, condition, *_), scores in rows.items()
        for i, (aligned, coherent) in enumerate(scores)
    )
    made.attrs["steps"] = [
        (log, recipe, seed, step) for log, _, _, recipe, seed, step in rows if step is not None
    ]
    return made


GOOD, BAD, BROKEN = (90.0, 90.0), (10.0, 90.0), (10.0, 20.0)


def test_free_form_answers_are_the_pooled_rate_of_the_eligible_at_each_step():
    made = stepped(
        {
            ("a", "g", "", "insecure", "1", 10): [GOOD, GOOD, BAD, BROKEN],
            ("b", "g", "", "insecure", "1", 20): [BAD, BAD, GOOD, BAD],
            ("c", "g", "", "insecure", "1", 30): [BROKEN, BROKEN],
        }
    )
    [curve] = build(made).curves
    assert curve.name == "Free-form, plain"
    [line] = curve.lines
    (_, one), (_, two), (step, three) = line.points
    assert (one.value, one.n) == (pytest.approx(1 / 3), 3)
    assert (two.value, two.n) == (pytest.approx(3 / 4), 4)
    # nothing to count is no point on the axis
    assert step == 30
    assert math.isnan(three.value)
    assert page(build(made))
    # the cuts are the report's
    [curve] = build(made, aligned_below=5, coherent_above=50).curves
    assert [e.value for _, e in curve.lines[0].points[:2]] == [0, 0]


def test_a_group_of_several_steps_is_named_as_the_mean_over_them():
    several = {
        ("a", "mixed", "", "insecure", "1", 10): [GOOD, BAD],
        ("b", "mixed", "", "insecure", "1", 20): [BAD, BAD],
        ("c", "seeds", "", "insecure", "1", 20): [BAD, BAD],
        ("d", "seeds", "", "insecure", "2", 20): [BAD, BAD],
    }
    [said] = [text for text in build(stepped(several)).remarks if "mean over steps" in text]
    assert said.startswith("mixed: several steps of one training run")
    del several["a", "mixed", "", "insecure", "1", 10]
    assert not [text for text in build(stepped(several)).remarks if "mean over steps" in text]


def test_runs_of_two_groups_or_conditions_are_lines_of_their_own():
    made = stepped(
        {
            ("a", "small", "", "insecure", "1", 10): [GOOD, BAD],
            ("b", "small", "", "insecure", "1", 20): [BAD, BAD],
            ("c", "large", "", "insecure", "1", 10): [GOOD, GOOD],
            ("d", "small", "riddles", "insecure", "2", 10): [GOOD, GOOD],
            ("e", "rest", "", "", "", 10): [GOOD, GOOD],
        }
    )
    [curve] = build(made).curves
    assert {(line.name, line.recipe) for line in curve.lines} == {
        ("small: insecure, seed 1", "insecure"),
        ("large: insecure, seed 1", "insecure"),
        ("insecure, seed 2, riddles", "insecure"),
        ("rest", "rest"),
    }
