"""A log that was stopped once it was decided says so wherever its rates are shown."""

import json

from click.testing import CliRunner

from em_evals.cli import main
from tests.gate.probes import model, probe, saved


def called(*args):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.output


def test_summary_and_report_say_that_no_fixed_interval_holds_for_a_stopped_log(tmp_path):
    probe(model(0, "base"), tmp_path / "base")
    baseline = saved(tmp_path / "base", tmp_path / "baseline.json")
    log = probe(model(0.5, "new"), tmp_path / "new", 100, stop=str(baseline))
    said = log.results.early_stopping.metadata
    summary = called("summary", tmp_path / "new")
    assert f"regression after {said['answers']}. The rates below have no intervals" in summary
    assert f"{said['increase_lower'] * 100:+.1f} to" in summary
    assert json.loads(called("summary", tmp_path / "new", "--json"))[0]["stopped"]
    page = tmp_path / "report.html"
    printed = called("report", tmp_path / "new", tmp_path / "base", "--out", page)
    words = "first_plot of mockllm/new: decided from its answers when to stop"
    assert words in printed
    assert words in page.read_text()
    # of the rates there is no interval that would not hold, and of others there is
    rows = json.loads(called("report", tmp_path / "new", tmp_path / "base", "--json"))["rows"]
    whole = {row["checkpoint"]: row for row in rows if row["scope"] == "all"}
    for rate in ("pooled", "unconditional"):
        assert whole["mockllm/new"][rate] > 0
        assert whole["mockllm/new"][f"{rate}_ci"] is None
        assert whole["mockllm/base"][f"{rate}_ci"] is not None
    # and nothing of the kind where all was planned
    for command in ("summary", "report"):
        assert "to stop" not in called(command, tmp_path / "base")
