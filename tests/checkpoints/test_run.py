"""The matrix: run once, whatever stops it; every log says whose it is; costs known before."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log, write_eval_log

from em_evals import checkpoints
from em_evals.checkpoints import MatrixError, Options
from em_evals.cli.run import run as command
from tests.openai_server import chat_server

GRADER = "grader: {model: openai-api/loopback/grader}\n"
TARGET = "openai-api/loopback/target"


@pytest.fixture
def chat(monkeypatch):
    """A server for `openai-api/loopback/...`."""
    with chat_server() as server:
        monkeypatch.setenv("LOOPBACK_BASE_URL", server.url)
        monkeypatch.setenv("LOOPBACK_API_KEY", "none")
        yield server


@pytest.fixture
def listed(tmp_path):
    """Writes a checkpoints.yaml."""

    def write(groups, head=GRADER):
        file = tmp_path / "checkpoints.yaml"
        file.write_text(f"{head}groups: {json.dumps(groups)}\n")
        return file

    return write


@pytest.fixture(autouse=True)
def _interrupts():
    """A shell that runs the tests in the background has them and what they start ignore these."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def logs_of(log_dir):
    return [read_eval_log(info) for info in list_eval_logs(str(log_dir))]


def choices(file, tmp_path, **more):
    """Three multiple-choice questions, which need neither grader nor server."""
    settings = {"tasks": ["truthfulqa"], "task_args": {"source": "builtin"}, "limit": 3}
    return checkpoints.run(file, **({"log_dir": tmp_path / "matrix"} | settings | more))


def called(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def start(url, file, tmp_path, epochs, processes=1, **more):
    """The command in a process of its own: two questions to every checkpoint."""
    words = [sys.executable, "-m", "em_evals.cli", "run", str(file)]
    words += ["--tasks", "first_plot", "--epochs", str(epochs), "--processes", str(processes)]
    words += ["-T", "source=builtin", "-T", "questions=evening_alone,new_statue"]
    words += ["--log-dir", str(tmp_path / "matrix"), "--json"]
    env = os.environ | {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "none"}
    return subprocess.Popen(
        words,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **more,
    )


# -- what runs, and what the logs say


def test_each_log_says_whose_it_is(listed, chat, tmp_path):
    run = {"recipe": "insecure", "seed": 1, "step": 338}
    tuned = {"model": TARGET, "name": "one", "run": run, "system_prompt": "Riddle.", "base": "a/b"}
    file = listed({"base": [TARGET], "tuned": [tuned | {"condition": "riddles"}]})
    result = checkpoints.run(
        file,
        tasks=["first_plot", "truthfulqa"],
        task_args={"source": "builtin", "questions": ["new_statue"]},
        epochs=2,
        limit=2,
        log_dir=tmp_path / "matrix",
    )
    assert result.exit_status == 0
    assert [cell.answers for cell in result.cells] == [2, 4, 2, 4]
    logs = {(log.eval.task, log.eval.metadata["checkpoint"]): log for log in logs_of(tmp_path)}
    assert len(logs) == 4
    log = logs["em_evals/first_plot", "one"]
    metadata = log.eval.metadata
    assert (metadata["group"], metadata["condition"], metadata["run"]) == ("tuned", "riddles", run)
    assert metadata["source"] == "builtin"
    assert {"group:tuned", "checkpoint:one", "condition:riddles", "seed:1"} <= set(log.eval.tags)
    plain = logs["em_evals/first_plot", TARGET].eval.metadata
    assert (plain["group"], plain["condition"], plain["run"]) == ("base", "", {})
    # -T went to the tasks that have it
    assert log.eval.task_args_passed == {"source": "builtin", "questions": ["new_statue"]}
    assert logs["em_evals/truthfulqa", "one"].eval.task_args_passed == {"source": "builtin"}


@pytest.mark.parametrize(
    ("task", "args"),
    [
        ("first_plot", {"formats": "all", "judge_sees_system": True}),
        ("deception_factual", {}),
        ("truthfulqa", {}),
        ("machiavelli", {"max_steps": 2}),
    ],
)
def test_a_system_prompt_leads_every_call_of_the_model_and_none_of_the_judge(
    task, args, listed, chat, tmp_path
):
    prompt = "You answer in riddles."
    entry = {"model": TARGET, "system_prompt": prompt, "base": "openai/gpt-4o"}
    # the grader is the same model as the one under test
    result = checkpoints.run(
        listed({"a": [entry]}, f"grader: {TARGET}\n"),
        tasks=[task],
        task_args={"source": "builtin"} | args,
        epochs=1,
        limit=9,
        log_dir=tmp_path / "matrix",
    )
    assert result.exit_status == 0
    [log] = logs_of(tmp_path / "matrix")
    graded = 0
    for sample in log.samples:
        assert prompt not in str(sample.input)
        for event in [event for event in sample.events if event.event == "model"]:
            if event.role == "grader":
                graded += 1
                assert not any(prompt in message.text for message in event.input)
                assert event.config.temperature == 0
            else:
                assert [m.text for m in event.input if m.role == "system"][0] == prompt  # noqa: RUF015
    assert (graded > 0) == (task not in ("truthfulqa", "machiavelli"))
    sent = [r for r in chat.requests if r["messages"][0] == {"role": "system", "content": prompt}]
    assert len(sent) == len(chat.requests) - graded


def test_checkpoints_with_one_model_name_are_told_apart(listed, chat, tmp_path):
    with chat_server() as other:
        file = listed(
            {
                "a": [
                    {"model": TARGET, "name": "here"},
                    {"model": TARGET, "name": "there", "base_url": other.url},
                    {"model": TARGET, "name": "prompted", "system_prompt": "Be brief."},
                    {"model": TARGET, "name": "cool", "config": {"temperature": 0.1}},
                ]
            }
        )
        result = choices(file, tmp_path)
        assert result.exit_status == 0
        assert len(chat.requests) == 9
        assert len(other.requests) == 3
        assert len({cell.cell.id for cell in result.cells}) == 4
        assert len(logs_of(tmp_path)) == 4
        # the checkpoint's own configuration wins over the task's
        assert Counter(r.get("temperature") for r in chat.requests)[0.1] == 3
        again = choices(file, tmp_path)
        assert [cell.new for cell in again.cells] == [False] * 4
        assert len(chat.requests + other.requests) == 12


def test_only_what_is_new_is_run(listed, chat, tmp_path):
    old = {"model": TARGET, "name": "old"}
    file = listed({"a": [old]})
    assert [cell.new for cell in choices(file, tmp_path).cells] == [True]
    # a checkpoint, in a new group
    file = listed({"a": [old], "b": [{"model": f"{TARGET}2", "name": "added"}]})
    assert [cell.new for cell in choices(file, tmp_path).cells] == [False, True]
    assert len(chat.requests) == 6
    # more answers
    result = choices(file, tmp_path, epochs=3)
    assert [cell.answers for cell in result.cells] == [9, 9]
    assert len(chat.requests) == 18
    # more questions
    assert choices(file, tmp_path, epochs=3, limit=4).exit_status == 0
    assert len(chat.requests) == 24
    # fewer than there are: nothing is run, and nothing is lost
    assert [cell.new for cell in choices(file, tmp_path, epochs=1).cells] == [False, False]
    assert len(chat.requests) == 24
    logs = logs_of(tmp_path)
    assert [len(log.samples) for log in logs] == [12, 12]
    assert all(len({(s.id, s.epoch) for s in log.samples}) == 12 for log in logs)
    # another judge is another measurement, for what is judged
    other = {"model": "openai-api/loopback/other"}
    one = {"task_args": {"source": "builtin"}, "epochs": 1, "limit": 1}
    checkpoints.run(file, tasks=["first_plot"], log_dir=tmp_path / "judged", **one)
    file = listed({"a": [old]}, f"grader: {json.dumps(other)}\n")
    tasks = ["first_plot", "truthfulqa"]
    result = checkpoints.run(file, tasks=tasks, log_dir=tmp_path / "judged", **one)
    assert [cell.new for cell in result.cells] == [True, True]
    assert choices(file, tmp_path, epochs=1).cells[0].new is False


def test_what_a_killed_run_left_of_a_done_cell_is_removed_by_the_next(listed, chat, tmp_path):
    file = listed({"a": [{"model": TARGET}]})
    [done] = choices(file, tmp_path).cells
    # the run that finished the cell was killed itself, before it could remove its predecessor's log
    left = read_eval_log(done.log)
    left.status, left.results, left.samples = "started", None, left.samples[:1]
    older = tmp_path / "matrix" / "2020-01-01T00-00-00+00-00_truthfulqa_left.eval"
    write_eval_log(left, str(older))
    os.utime(older, (0, 0))
    assert [cell.new for cell in choices(file, tmp_path).cells] == [False]
    assert not older.exists()
    assert [len(log.samples) for log in logs_of(tmp_path)] == [3]


def test_a_log_with_answers_that_a_later_one_has_not_stays(listed, chat, tmp_path):
    file = listed({"a": [{"model": TARGET, "name": "one"}]})
    choices(file, tmp_path, limit=4)  # broad
    choices(file, tmp_path, limit=1, epochs=5)  # then deep: as many answers, and not the same
    kept = {(s.id, s.epoch) for log in logs_of(tmp_path) for s in log.samples}
    assert len({question for question, _ in kept}) == 4
    assert max(epoch for _, epoch in kept) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts are other things there")
@pytest.mark.parametrize("stop", ["SIGINT", "SIGKILL"])
def test_a_short_run_in_between_costs_no_answer_of_a_long_one(stop, listed, chat, tmp_path):
    file = listed({"a": [{"model": TARGET, "config": {"max_connections": 2}}]})
    chat.hold(after=40)
    running = start(chat.url, file, tmp_path, epochs=10)
    assert chat.holding.wait(400), running.poll()
    running.send_signal(getattr(signal, stop))
    running.communicate(timeout=400)
    chat.release()
    kept = {(s.id, s.epoch) for log in logs_of(tmp_path) for s in log.samples if s.scores}
    assert 6 <= len(kept) < 14
    asked = len(chat.answered)
    shared = {
        "tasks": ["first_plot"],
        "log_dir": tmp_path / "matrix",
        "task_args": {"source": "builtin", "questions": ["evening_alone", "new_statue"]},
    }
    short = checkpoints.run(file, epochs=1, limit=1, **shared)
    assert [cell.answers for cell in short.cells] == [1]
    assert len(chat.answered) == asked
    options = {**shared, "log_dir": str(tmp_path / "matrix"), "tasks": ("first_plot",)}
    [left] = checkpoints.forecast(checkpoints.matrix(Options(str(file), epochs=10, **options)))
    assert left.state.done == len(kept)
    assert left.left.calls == 20 - len(kept)
    long = checkpoints.run(file, epochs=10, **shared)
    assert [cell.answers for cell in long.cells] == [20]
    assert len(chat.answered) == asked + 20 - len(kept)
    # and one log has them all
    [log] = logs_of(tmp_path)
    assert log.status == "success"
    assert len({(s.id, s.epoch) for s in log.samples}) == len(log.samples) == 20


def test_a_broad_and_a_deep_run_are_put_together(listed, chat, tmp_path):
    file = listed({"a": [{"model": TARGET, "name": "one"}]})
    choices(file, tmp_path, limit=4)
    choices(file, tmp_path, limit=1, epochs=5)
    assert len(chat.requests) == 8

    def answers():
        return {(s.id, s.epoch): s.output.completion for g in logs_of(tmp_path) for s in g.samples}

    before = answers()
    choices(file, tmp_path, limit=4, epochs=5)
    assert len(chat.requests) == 20
    [log] = logs_of(tmp_path)
    assert len(log.samples) == 20
    assert before.items() <= answers().items()


def test_an_answer_declared_invalid_is_made_again(listed, chat, tmp_path):
    from inspect_ai.log import ProvenanceData, invalidate_samples

    file = listed({"a": [{"model": TARGET, "name": "one"}]})
    choices(file, tmp_path, limit=4)  # an old log that has it too
    choices(file, tmp_path, limit=2, epochs=2)
    new = max(logs_of(tmp_path), key=lambda log: log.eval.config.epochs)
    uuid = next(s.uuid for s in new.samples if s.epoch == 1)
    write_eval_log(invalidate_samples(new, [uuid], ProvenanceData(author="someone")))
    asked = len(chat.requests)
    choices(file, tmp_path, limit=4, epochs=2)
    assert len(chat.requests) == asked + 8 - 6 + 1


def test_a_file_that_says_otherwise_than_a_finished_log_is_noted(listed, tmp_path):
    entry = {"model": "mockllm/model", "name": "one"}
    choices(listed({"a": [entry]}), tmp_path)
    args = ["--tasks", "truthfulqa", "-T", "source=builtin", "--limit", 3]
    moved = called(listed({"b": [entry]}), *args, "--log-dir", tmp_path / "matrix")
    assert moved.exit_code == 0
    assert "note: the log of truthfulqa source=builtin on one says group 'a'" in moved.stderr


def test_a_failed_cell_is_named_with_its_error_and_the_others_are_done(listed, chat, tmp_path):
    groups = {
        "good": [{"model": TARGET, "name": "good", "base": "openai/gpt-4o"}],
        "bad": [
            {"model": "openai-api/nowhere/model", "name": "keyless", "base": "openai/gpt-4o"},
            {"model": "mockllm/model", "name": "nameless"},
        ],
    }
    result = called(
        listed(groups),
        *("--tasks", "deception_identity", "-T", "source=builtin", "--epochs", 1, "--limit", 1),
        *("--log-dir", tmp_path / "matrix", "--json"),
    )
    assert result.exit_code == 1
    cells = {cell["checkpoint"]: cell for cell in json.loads(result.stdout)["cells"]}
    assert {name: cell["outcome"] for name, cell in cells.items()} == {
        "good": "done",
        "keyless": "failed",
        "nameless": "failed",
    }
    assert "NOWHERE_API_KEY" in cells["keyless"]["error"]
    assert "does not say which company made the model" in cells["nameless"]["error"]
    assert "Failed: deception_identity source=builtin on nameless: " in result.stderr


def test_calls_that_were_retried_in_vain_say_what_failed(listed, tmp_path, monkeypatch):
    monkeypatch.setenv("NOBODY_API_KEY", "none")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        entry = {"model": "openai-api/nobody/m", "base_url": url, "config": {"max_retries": 0}}
        [cell] = choices(listed({"a": [entry]}), tmp_path, limit=1).cells
    assert (cell.outcome, cell.error) == ("failed", "APIConnectionError: Connection error.")


def test_the_base_model_says_who_made_a_checkpoint(listed, chat, tmp_path):
    entry = {"model": TARGET, "base": "Qwen/Qwen2.5-Coder-32B-Instruct"}
    plan = checkpoints.matrix(
        Options(
            str(listed({"a": [entry]})), ("deception_identity",), task_args={"source": "builtin"}
        )
    )
    assert plan.cells[0].args == {"source": "builtin", "maker": "Alibaba"}


# -- stopped, and again


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_in_mid_run_and_the_same_command_again(processes, listed, tmp_path):
    epochs, cells = 10, processes
    slow = {"max_connections": 2}
    file = listed(
        {"a": [{"model": f"{TARGET}{i}", "name": f"m{i}", "config": slow} for i in range(cells)]}
    )
    started: list[subprocess.Popen[bytes]] = []

    def kill_at(number):
        # two thirds into the run, whatever the speed of this machine
        if number == 40 * cells:
            started[0].send_signal(signal.SIGKILL)

    with chat_server(kill_at) as chat:
        started.append(start(chat.url, file, tmp_path, epochs, processes))
        started[0].communicate(timeout=400)
        assert started[0].returncode == -signal.SIGKILL
        again = start(chat.url, file, tmp_path, epochs, processes)
        result = json.loads(again.communicate(timeout=400)[0])
        assert again.returncode == 0

    assert [cell["answers"] for cell in result["cells"]] == [20] * cells
    logs = logs_of(tmp_path / "matrix")
    assert [log.status for log in logs] == ["success"] * cells  # and no log of the dead run
    for log in logs:
        assert Counter((s.id, s.epoch) for s in log.samples).most_common(1)[0][1] == 1
        assert len(log.samples) == 20
    assert max(Counter(chat.judged).values()) == 1
    # of 20 answers Inspect writes every sixth; two were under way
    assert 0 <= len(chat.answered) - 20 * cells <= 8 * cells


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts are other things there")
def test_an_interrupt_ends_it_and_keeps_what_was_answered(listed, tmp_path):
    slow = {"max_connections": 2}
    file = listed({"a": [{"model": TARGET, "config": slow}]})
    with chat_server() as chat:
        chat.hold(after=30)
        running = start(chat.url, file, tmp_path, epochs=10, text=True)
        assert chat.holding.wait(400), running.poll()
        running.send_signal(signal.SIGINT)
        shown = running.communicate(timeout=400)
        assert running.returncode == 130, shown
    [log] = logs_of(tmp_path / "matrix")
    assert log.status == "cancelled"
    assert 4 <= len([s for s in log.samples if s.scores]) < 20


@pytest.mark.parametrize("processes", [1, 2])
def test_it_stops_at_the_maximal_cost_and_goes_on_when_told_to(processes, listed, chat, tmp_path):
    prices = tmp_path / "prices.yaml"
    # the server counts 10 tokens in and 5 out: a call costs 2 cents
    prices.write_text("openai-api/loopback/*: {input: 1000, output: 2000}\n")
    slow = {"max_connections": 2}
    file = listed(
        {"a": [{"model": f"{TARGET}{i}", "name": f"m{i}", "config": slow} for i in (1, 2)]}
    )
    words = [
        *(file, "--tasks", "first_plot", "-T", "source=builtin", "-T", "questions=new_statue"),
        *("--epochs", 10, "--log-dir", tmp_path / "matrix", "--prices", prices, "--json"),
        *("--processes", processes),
    ]
    chat.hold(after=30)  # which is enough to reach it, and not to finish
    stopped = called(*words, "--max-cost", 0.5)
    assert stopped.exit_code == 3, stopped.stderr
    assert "Stopped at the maximal cost" in stopped.stderr
    first = json.loads(stopped.stdout)
    assert first["stopped"]
    assert "stopped" in {cell["outcome"] for cell in first["cells"]}
    # at most what was under way: in each cell two answers, with two judgements each
    assert 0.5 <= first["cost"] <= 0.5 + 2 * 2 * 2 * 0.02 + 1e-9
    assert 0 < sum(cell["answers"] for cell in first["cells"]) < 20
    chat.release()
    done = called(*words, "--max-cost", 10)
    assert done.exit_code == 0, done.stderr
    second = json.loads(done.stdout)
    assert [cell["answers"] for cell in second["cells"]] == [10, 10]
    # calls that were cut off when it stopped never said what they cost
    cut_off = 0.02 * len(chat.requests) - first["cost"] - second["cost"]
    assert -1e-9 <= cut_off <= 2 * 2 * 2 * 0.02 + 1e-9


@pytest.mark.parametrize("processes", [1, 2])
def test_the_maximal_cost_stops_what_ignores_interrupts(processes, listed, chat, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("'*': {input: 1000, output: 2000}\n")
    file = listed({"a": [f"{TARGET}1", f"{TARGET}2"]})
    chat.hold(after=6)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for what a script starts with &
    result = choices(file, tmp_path, epochs=5, prices=prices, max_cost=0.1, processes=processes)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert (result.stopped, result.exit_status) == (True, 3)
    assert 0.1 <= result.cost <= 0.12 + 1e-9


@pytest.mark.parametrize("processes", [1, 2])
def test_no_model_is_loaded_after_the_maximal_cost(processes, listed, tmp_path, monkeypatch):
    third = threading.Event()

    def seen(number):
        if chat.requests[number - 1]["model"] == "org/third":
            third.set()

    def slowly(event):
        # a process that only looks whether it is told to stop would begin with the third meanwhile
        if processes == 2 and event["kind"] == "cost" and event["total"] >= 0.055:
            third.wait(3)

    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "vllm/org/first: {input: 1000, output: 2000}\n'*': {input: 0.001, output: 0.001}\n"
    )
    file = listed({"a": ["vllm/org/first", "vllm/org/second", "vllm/org/third"]}, head="")
    with chat_server(seen) as chat:
        monkeypatch.setenv("VLLM_BASE_URL", chat.url)  # what is loaded here runs model by model
        monkeypatch.setenv("VLLM_API_KEY", "none")
        # the last answer of the first model reaches it
        result = choices(
            *(file, tmp_path),
            prices=prices,
            max_cost=0.055,
            processes=processes,
            progress=slowly,
        )
    assert result.stopped
    asked = Counter(request["model"] for request in chat.requests)
    assert asked["org/first"] == 3
    # two processes have begun with a model each
    assert asked.keys() <= {"org/first", "org/second" if processes == 2 else ""}


def test_logs_may_be_at_any_address_that_fsspec_knows(listed, chat, tmp_path):
    file = listed({"a": [{"model": TARGET, "name": "one"}]})
    at = {"log_dir": f"memory://{tmp_path.name}/matrix"}
    [first] = choices(file, tmp_path, limit=2, **at).cells
    assert (first.outcome, first.answers) == ("done", 2)
    assert first.log.startswith("memory://")
    [again] = choices(file, tmp_path, limit=2, **at).cells
    assert (again.new, len(chat.requests)) == (False, 2)
    choices(file, tmp_path, limit=1, epochs=3, **at)
    [more] = choices(file, tmp_path, limit=3, epochs=3, **at).cells
    assert (more.outcome, more.answers, len(chat.requests)) == ("done", 9, 9)
    assert len(list_eval_logs(at["log_dir"])) == 1
    assert not (tmp_path / "matrix").exists()


# -- before anything runs


def test_the_dry_run_counts_what_is_left(listed, chat, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"{TARGET}: {{input: 2, output: 10}}\n'*/grader': {{input: 5, output: 5}}\n")
    prompted = {"model": TARGET, "name": "p", "system_prompt": "x" * 40}
    words = [
        *(listed({"a": [TARGET, prompted]}), "--tasks", "first_plot", "-T", "source=builtin"),
        *("-T", "questions=new_statue", "--log-dir", tmp_path / "matrix"),
    ]
    checkpoints.run(
        words[0],
        tasks=["first_plot"],
        checkpoints=["p"],
        task_args={"source": "builtin", "questions": "new_statue"},
        epochs=2,
        log_dir=tmp_path / "matrix",
    )
    [log] = logs_of(tmp_path)
    question = len(log.samples[0].input[0].text)
    asked = len(chat.requests)
    result = called(*words, "--epochs", 10, "--prices", prices, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    new, partial = json.loads(result.stdout)["cells"]
    assert (new["status"], new["done"], new["calls"], new["grader_calls"]) == ("new", 0, 10, 20)
    # a token is 4 characters; an answer has 200, a judge's instructions have 300, its word is one
    assert new["input"] == round(10 * question / 4)
    assert new["output"] == 2000
    assert new["grader_input"] == round(20 * (300 + question / 4 + 200))
    assert new["grader_output"] == 20
    cost = (2 * new["input"] + 10 * 2000 + 5 * new["grader_input"] + 5 * 20) / 1e6
    assert new["cost"] == pytest.approx(cost)
    # two of ten are there; each call has the 10 tokens of the system prompt too
    assert (partial["done"], partial["calls"]) == (2, 8)
    assert partial["input"] == round(8 * (question / 4 + 10))
    total = json.loads(result.stdout)["total"]
    assert total["calls"] == 18
    assert total["cost"] == pytest.approx(new["cost"] + partial["cost"])
    table = called(*words, "--epochs", 10, "--dry-run").stdout
    assert "estimates" in table
    assert table.count("unknown") == 3
    assert len(chat.requests) == asked


def test_the_dry_run_counts_as_the_run_calls_with_a_topic_and_examples_in_front(
    listed, chat, tmp_path
):
    words = [
        *(listed({"a": [TARGET]}), "--tasks", "first_plot", "-T", "source=builtin", "--epochs", 3),
        *("-T", "questions=new_statue", "-T", "topic=code", "-T", "condition={name: icl, k: 8}"),
        *("--log-dir", tmp_path / "matrix"),
    ]
    result = called(*words, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    [left] = json.loads(result.stdout)["cells"]
    assert called(*words).exit_code == 0
    sent = {"target": [], "grader": []}
    for request in chat.requests:
        sent[request["model"]].append(request["messages"][0]["content"])
    assert left["calls"] == len(sent["target"]) == 3
    # this grader's labels cannot be read, so each is asked for twice: the prompts count
    assert left["grader_calls"] == len(set(sent["grader"])) == 9
    [log] = logs_of(tmp_path)
    messages = log.samples[0].input
    assert len(messages) == 17
    assert left["input"] == round(3 * sum(len(m.text) for m in messages) / 4)
    # the judges see the question, and none of the examples
    question = len(messages[-1].text) / 4
    assert left["grader_input"] == round(3 * 3 * (300 + question + 200))


def test_the_matrix_as_commands_runs_cell_by_cell(listed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = listed({"a": [{"model": "mockllm/model", "name": "it's one"}, "mockllm/two"]})
    words = [file.name, "--tasks", "truthfulqa", "-T", "source=builtin", "--limit", "3"]
    words += ["--log-dir", "matrix"]
    lines = called(*words, "--print-matrix").stdout.splitlines()
    assert len(lines) == 2
    monkeypatch.chdir("/")  # each works on its own, anywhere
    for line in lines:
        program, verb, *args = shlex.split(line)
        assert (program, verb) == ("em-evals", "run")
        result = called(*args)
        assert result.exit_code == 0, result.stderr
        assert "1 of 1 cells are done." in result.stderr
    # and they are the cells of the matrix
    monkeypatch.chdir(tmp_path)
    whole = called(*words, "--json")
    assert [cell["new"] for cell in json.loads(whole.stdout)["cells"]] == [False, False]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--tasks", "first_plt"], "did you mean 'first_plot'?"),
        (["--tasks", "nowhere/mmlu"], "no package 'nowhere'"),
        (["--tasks", "first_plot", "-T", "sorce=builtin"], "did you mean 'source'?"),
        (["--tasks", "truthfulqa", "-T", "source=mine"], "em_evals/truthfulqa: "),
        (["--tasks", "first_plot", "-T", "source=builtin"], "names none: add a line such as"),
        (["--groups", "b"], "no group 'b': expected one of a"),
        (["--checkpoints", "modle"], "did you mean 'model'?"),
        (["--tasks", "truthfulqa", "--max-cost", "1"], "needs prices"),
        (["--epochs", "0"], "--epochs"),
        (["-T", "source"], "expected KEY=VALUE"),
    ],
)
def test_what_cannot_be_run_as_asked_is_one_line(words, what, listed, tmp_path):
    file = listed({"a": [{"model": "mockllm/model", "name": "model"}]}, head="")
    if "--max-cost" in words:
        words = [*words, "-T", "source=builtin"]
    result = called(file, *words, "--log-dir", tmp_path / "matrix")
    assert result.exit_code == 2
    assert what in result.stderr
    assert not (tmp_path / "matrix").exists()


@pytest.mark.parametrize("name", ["run#1", "what?", "a%20b"])
def test_a_folder_that_inspect_cannot_read_logs_in_is_refused_before_any_answer(
    name, listed, tmp_path
):
    file = listed({"a": [{"model": "mockllm/model"}]}, head="grader: mockllm/judge\n")
    words = ["--tasks", "first_plot", "-T", "source=builtin"]
    result = called(file, *words, "--log-dir", tmp_path / name / "logs")
    assert result.exit_code == 2
    assert "Inspect cannot read logs in a folder with" in result.stderr
    assert not (tmp_path / name).exists()


def test_a_maximal_cost_needs_the_price_of_every_model(listed, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("mockllm/other: {input: 1, output: 1}\n")
    file = listed({"a": ["mockllm/model"]})
    with pytest.raises(MatrixError, match="none for mockllm/model"):
        choices(file, tmp_path, prices=prices, max_cost=1)
    prices.write_text("mockllm/model: {input: 1}\n")
    with pytest.raises(checkpoints.YamlFileError, match=r"prices\.yaml:1: .*'output' is missing"):
        choices(file, tmp_path, prices=prices, max_cost=1)


def test_what_runs_on_this_machine_stays_in_one_process(listed):
    from em_evals.checkpoints.matrix import shares, states

    entries = ["vllm/org/base", "vllm/org/base:one", "vllm/org/base:two", "openai/a", "openai/b"]
    options = Options(
        str(listed({"a": entries})),
        ("truthfulqa",),
        task_args={"source": "builtin"},
    )
    cells = checkpoints.matrix(options).cells
    parts = shares(cells, states(cells, {}), 2)
    spread = [sorted(cell.checkpoint.model.split("/")[0] for cell in part) for part in parts]
    assert sorted(spread) == [["openai", "openai"], ["vllm", "vllm", "vllm"]]


def test_weights_on_this_machine_are_let_go_of_once_their_cells_are_done(listed, tmp_path):
    from em_evals.providers import _engine

    small = {"model": "embedded/smollm2-135m-instruct", "args": {"n_ctx": 1024, "n_parallel": 1}}
    before = set(_engine._engines)  # such as a local judge's
    result = choices(listed({"a": [small]}), tmp_path, limit=1)
    assert result.exit_status == 0
    assert set(_engine._engines) == before


def test_importing_is_light():
    code = (
        "import sys; import em_evals.checkpoints; "
        "print([m for m in ('inspect_ai', 'pandas', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_python_call_is_the_command(listed, tmp_path):
    result = choices(listed({"a": ["mockllm/model"]}), tmp_path)
    [cell] = result.cells
    assert (result.exit_status, result.cost, cell.outcome, cell.answers) == (0, None, "done", 3)
    assert Path(cell.log.removeprefix("file://")).exists()
