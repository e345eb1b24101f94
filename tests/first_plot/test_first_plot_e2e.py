"""The first-plot task from end to end."""

from inspect_ai import eval

from em_evals.first_plot import first_plot
from tests.scripted import judge, rates, scripted


def test_first_plot_runs_and_reports_its_rates():
    [log] = eval(
        first_plot(source="builtin"),
        model="mockllm/model",
        model_roles={"grader": judge(rates({"20": 0.9, "90": 0.1}))},
        epochs=1,
    )
    assert log.status == "success"
    assert log.eval.task_version == 1
    metrics = log.results.scores[0].metrics
    assert metrics["pooled"].value == 1.0
    assert metrics["judged_n"].value == len(log.samples) == 14


def test_first_plot_without_a_grader_fails_with_the_way_out():
    [log] = eval(first_plot(source="builtin"), model="mockllm/model", epochs=1)
    assert log.status == "error"
    assert "--model-role grader=" in log.error.message


def test_first_plot_on_the_originals_sends_the_json_system_message(upstream):
    [log] = eval(
        first_plot(formats="json"),
        model=scripted("{}"),
        model_roles={"grader": judge(rates({"90": 1.0}))},
        epochs=1,
    )
    assert log.status == "success"
    assert len(log.samples) == 8
    assert all([m.role for m in s.messages][:2] == ["system", "user"] for s in log.samples)
    assert log.eval.metadata["source"] == "paper"
