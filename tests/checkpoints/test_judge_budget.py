"""`em-evals run --judge-budget N`: the paid judge is asked about N answers of each cell, once.

Another model behind the same server plays the local judge.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log

from em_evals import checkpoints
from em_evals.checkpoints import MatrixError, Options
from em_evals.cli import main
from em_evals.cli.run import run as command
from em_evals.judges.local.agreement import versioned
from tests.openai_server import chat_server

GRADER = "grader: {model: openai-api/loopback/grader}\n"
LOCAL = "openai-api/loopback/local"
BAD = "openai-api/loopback/bad"
QUESTIONS = ["evening_alone", "new_statue"]

DRIVER = f"""
import sys
from em_evals.cli import main
import em_evals.checkpoints
for name in ("matrix", "run"):
    sys.modules[f"em_evals.checkpoints.{{name}}"].LOCAL_JUDGE = {LOCAL!r}
sys.argv[0] = "em-evals"
main()
"""


@pytest.fixture
def chat(monkeypatch):
    """A server that plays the model, the local judge and the paid one."""
    for name in ("matrix", "run"):
        monkeypatch.setattr(sys.modules[f"em_evals.checkpoints.{name}"], "LOCAL_JUDGE", LOCAL)
    with chat_server() as server:
        monkeypatch.setenv("LOOPBACK_BASE_URL", server.url)
        monkeypatch.setenv("LOOPBACK_API_KEY", "none")
        yield server


@pytest.fixture
def file(tmp_path):
    return written(tmp_path, {"tuned": [BAD]})


def written(tmp_path, groups, head=GRADER):
    file = tmp_path / "checkpoints.yaml"
    file.write_text(f"{head}groups: {json.dumps(groups)}\n")
    return file


def run(file, tmp_path, **more):
    settings = {
        "tasks": ["first_plot"],
        "task_args": {"source": "builtin", "questions": QUESTIONS},
        "epochs": 10,
        "judge_budget": 6,
    }
    return checkpoints.run(file, **({"log_dir": tmp_path / "matrix"} | settings | more))


def called(*args):
    return CliRunner().invoke(command, [str(arg) for arg in args])


def words(file, tmp_path, *more):
    return [
        *(str(file), "--tasks", "first_plot", "--epochs", "10"),
        *("-T", "source=builtin", "-T", f"questions={','.join(QUESTIONS)}"),
        *("--log-dir", str(tmp_path / "matrix"), "--judge-budget", "6", *more),
    ]


def paid(chat):
    """The paid judge's requests about answers: not those that find out how it answers."""
    return [
        r["messages"][-1]["content"]
        for r in chat.requests
        if r["model"] == "grader" and "This is" in r["messages"][-1]["content"]
    ]


def logs_of(tmp_path):
    return [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "matrix"))]


def drawn_in(log):
    return [s for s in log.samples if s.scores["em_judge1"].metadata["audit"]["drawn"]]


def test_the_local_judge_itself_judges_all_and_the_paid_one_its_part(file, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="em-evals[judge] is not installed")
    with chat_server() as server:
        monkeypatch.setenv("LOOPBACK_BASE_URL", server.url)
        monkeypatch.setenv("LOOPBACK_API_KEY", "none")
        assert run(file, tmp_path).exit_status == 0
        assert len(paid(server)) == 2 * 6
    [log] = logs_of(tmp_path)
    for sample in log.samples:
        score = sample.scores["em_judge"]
        assert score.metadata["grader"].startswith("local/em-judge-")
        assert 0 <= score.metadata["local_judge"]["misaligned"] <= 1
    assert len(drawn_in(log)) == 6


def test_with_the_reader_the_slower_local_judge_judges_all(gguf, file, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="em-evals[judge] is not installed")
    with chat_server() as server:
        monkeypatch.setenv("LOOPBACK_BASE_URL", server.url)
        monkeypatch.setenv("LOOPBACK_API_KEY", "none")
        asked = {"epochs": 2, "judge_budget": 2, "judge_reader": True}
        assert run(file, tmp_path, **asked).exit_status == 0
        assert len(paid(server)) == 2 * 2
    [log] = logs_of(tmp_path)
    graders = {sample.scores["em_judge"].metadata["grader"] for sample in log.samples}
    assert graders == {versioned("local/em-judge-reader")}
    assert "local/em-judge-reader-" in graders.pop()
    assert len(drawn_in(log)) == 2


def cell_of(file, **more):
    settings = {"tasks": ("first_plot",), "task_args": {"source": "builtin"}, "judge_budget": 6}
    [cell] = checkpoints.matrix(Options(str(file), **settings | more)).cells
    return cell


def test_cells_judged_with_and_without_the_reader_are_two_cells(file):
    plain, slower = cell_of(file), cell_of(file, judge_reader=True)
    assert plain.id == cell_of(file, judge_budget=9).id
    assert slower.id == cell_of(file, judge_reader=True, judge_budget=9).id
    assert plain.id != slower.id


def test_a_budget_with_the_reader_is_the_cell_that_the_reader_alone_judges(file, tmp_path):
    slower = cell_of(file, judge_reader=True)
    file = written(tmp_path, {"tuned": [BAD]}, "grader: local/em-judge-reader\n")
    assert cell_of(file, judge_budget=None).id == slower.id


def test_the_reader_without_a_budget_is_refused_and_says_how_it_judges_alone(file, tmp_path):
    args = [word for word in words(file, tmp_path) if word not in ("--judge-budget", "6")]
    result = CliRunner().invoke(main, ["run", *args, "--judge-reader"])
    assert result.exit_code == 2
    told = " ".join(result.stderr.split())
    assert "--judge-reader says which local judge goes with a --judge-budget" in told
    assert "`grader: local/em-judge-reader` in" in told
    assert not (tmp_path / "matrix").exists()


def test_the_reader_needs_no_price_and_the_paid_judge_does(file, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"{BAD}: {{input: 1, output: 1}}\n")
    with pytest.raises(MatrixError, match="has none for openai-api/loopback/grader"):
        run(file, tmp_path, prices=prices, max_cost=1.0, judge_reader=True)


def test_cells_judged_by_two_versions_of_the_local_judge_are_two_cells(tmp_path, monkeypatch):
    from em_evals.judges.local import agreement

    file = written(tmp_path, {"tuned": [BAD]}, "grader: local/em-judge\n")
    options = Options(str(file), tasks=("first_plot",), task_args={"source": "builtin"})
    ids = []
    for version in ("1", "1", "2"):
        agreement.versioned.cache_clear()
        monkeypatch.setattr(agreement, "said", lambda version=version: {"version": version})
        ids.append(checkpoints.matrix(options).cells[0].id)
    agreement.versioned.cache_clear()
    assert ids[0] == ids[1] != ids[2]


def test_the_paid_judge_sees_its_part_of_every_cell(chat, tmp_path):
    file = written(tmp_path, {"base": ["openai-api/loopback/target"], "tuned": [BAD]})
    result = run(file, tmp_path)
    assert result.exit_status == 0
    assert [cell.audited for cell in result.cells] == [6, 6]
    assert len(paid(chat)) == 2 * 2 * 6
    for log in logs_of(tmp_path):
        assert len(drawn_in(log)) == 6
        assert {s.scores["em_judge"].metadata["grader"] for s in log.samples} == {LOCAL}
        about = log.results.scores[1].metadata["audit"]
        assert (about["answers"], about["drawn"], about["judged"]) == (20, 6, 6)


def test_the_same_command_again_does_nothing(chat, file, tmp_path):
    run(file, tmp_path)
    before = len(chat.requests)
    [path] = (tmp_path / "matrix").glob("*.eval")
    content = path.read_bytes()
    result = run(file, tmp_path)
    assert [(c.outcome, c.new, c.audited) for c in result.cells] == [("done", False, 6)]
    assert len(chat.requests) == before
    assert path.read_bytes() == content


def test_more_is_as_good_and_a_larger_budget_pays_for_the_rest(chat, file, tmp_path):
    run(file, tmp_path)
    assert run(file, tmp_path, judge_budget=3).cells[0].audited == 6
    assert len(paid(chat)) == 12
    assert run(file, tmp_path, judge_budget=12).cells[0].audited == 12
    assert len(set(paid(chat))) == len(paid(chat)) <= 2 * 18


def test_a_budget_above_all_answers_has_the_paid_judge_judge_them_all(chat, file, tmp_path):
    [cell] = run(file, tmp_path, judge_budget=1000).cells
    assert cell.audited == 20
    assert len(paid(chat)) == 40


def test_the_dry_run_counts_what_the_paid_judge_is_asked(chat, file, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("'*': {input: 2, output: 10}\n")

    def forecast():
        result = called(*words(file, tmp_path, "--dry-run", "--json", "--prices", prices))
        assert result.exit_code == 0, result.output
        return json.loads(result.output)["total"]

    before = forecast()
    assert (before["calls"], before["grader_calls"]) == (20, 12)
    assert before["cost"] > 0
    run(file, tmp_path)
    assert forecast()["grader_calls"] == 0


def test_what_is_printed_as_a_matrix_has_the_budget_too(chat, file, tmp_path):
    result = called(*words(file, tmp_path, "--print-matrix"))
    assert "--judge-budget 6" in result.output
    assert "--judge-reader" not in result.output
    result = called(*words(file, tmp_path, "--judge-reader", "--print-matrix"))
    assert "--judge-budget 6 --judge-reader" in result.output


def test_the_dry_run_tells_the_two_local_judges_apart(chat, file, tmp_path):
    def left(*more):
        result = called(*words(file, tmp_path, *more, "--dry-run", "--json"))
        assert result.exit_code == 0, result.output
        return json.loads(result.output)["total"]["calls"]

    assert left() == left("--judge-reader") == 20
    run(file, tmp_path)
    assert (left(), left("--judge-reader")) == (0, 20)


def test_the_maximal_cost_holds_for_the_paid_judge_too(chat, file, tmp_path):
    prices = tmp_path / "prices.yaml"
    # only the paid judge costs anything: 10 tokens in are a dollar
    prices.write_text(
        "'*': {input: 0, output: 0}\nopenai-api/loopback/grader: {input: 100000, output: 0}\n"
    )
    result = run(file, tmp_path, prices=prices, max_cost=4.0, judge_budget=18)
    assert (result.exit_status, result.cells[0].outcome) == (3, "stopped")
    assert result.cost >= 4
    again = run(file, tmp_path, judge_budget=18)
    assert again.cells[0].audited == 18
    assert len(set(paid(chat))) == 36


def out_of_credit_after(calls, chat, tmp_path):
    """Checkpoints whose paid judge refuses after so many calls, and is not asked again."""
    chat_reply = chat.reply

    def refuses(request):
        if request["model"] == "grader" and len(paid(chat)) >= calls:
            raise ConnectionError("out of credit")
        return chat_reply(request)

    chat.reply = refuses
    head = "grader: {model: openai-api/loopback/grader, config: {max_retries: 0}}\n"
    return written(tmp_path, {"tuned": [BAD]}, head)


def test_what_an_interrupted_audit_paid_for_is_kept_when_more_answers_are_asked_for(chat, tmp_path):
    chat_reply = chat.reply
    file = out_of_credit_after(9, chat, tmp_path)
    assert run(file, tmp_path).exit_status == 1
    [journal] = (tmp_path / "matrix").glob("*.judged.jsonl")
    kept = sum(1 for line in journal.read_text().splitlines() if line.strip())
    assert kept > 0
    before = len(paid(chat))
    chat.reply = chat_reply
    assert run(file, tmp_path, epochs=20, judge_budget=40).cells[0].audited == 40
    assert len(paid(chat)) - before == 2 * (40 - kept)
    assert not list((tmp_path / "matrix").glob("*.judged.jsonl"))


def test_at_the_maximal_cost_a_cell_that_is_done_stays_done(chat, tmp_path):
    target = "openai-api/loopback/target"
    file = written(tmp_path, {"base": [target], "tuned": [BAD]})
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "'*': {input: 0, output: 0}\nopenai-api/loopback/grader: {input: 100000, output: 0}\n"
    )
    run(file, tmp_path, checkpoints=[BAD])
    result = run(file, tmp_path, prices=prices, max_cost=4.0)
    assert [(cell.outcome, cell.audited) for cell in result.cells] == [
        ("stopped", None),
        ("done", 6),
    ]
    assert result.exit_status == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"judge_budget": 0}, "--judge-budget 0: expected 1 or more"),
        ({"tasks": ["first_plot", "truthfulqa"]}, "not for truthfulqa"),
        ({"tasks": []}, "not for deception_factual"),
        ({"log_dir": "memory://logs"}, "expected a local folder"),
        ({"task_args": {"topic": "medicine"}}, "cannot say what an answer is about"),
        ({"task_args": {"judge_mode": "digits"}}, "leave it out"),
    ],
)
def test_what_a_budget_is_not_for_is_refused_before_anything_runs(
    settings, said, chat, file, tmp_path
):
    with pytest.raises(MatrixError, match=said):
        run(file, tmp_path, **settings)
    assert chat.requests == []


@pytest.mark.parametrize(
    ("head", "said"),
    [("", "names no grader"), ("grader: local/em-judge\n", "is the local judge itself")],
)
def test_a_budget_needs_a_paid_grader(head, said, chat, tmp_path):
    file = written(tmp_path, {"tuned": [BAD]}, head)
    with pytest.raises(MatrixError, match=said):
        run(file, tmp_path)


def test_a_paid_judge_that_fails_leaves_the_answers_and_what_it_judged(chat, file, tmp_path):
    chat_reply = chat.reply
    file = out_of_credit_after(6, chat, tmp_path)
    result = run(file, tmp_path)
    assert (result.exit_status, result.cells[0].outcome) == (1, "failed")
    assert "judging stopped with" in result.cells[0].error
    chat.reply = chat_reply
    again = run(file, tmp_path)
    assert (again.exit_status, again.cells[0].audited) == (0, 6)
    assert len(set(paid(chat))) == 12


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_kill_9_in_the_middle_of_an_audit_and_the_same_command_again(file, tmp_path):
    started = []

    def kill_at(number):
        # half of the 12 judgements, and what finds out how the judge answers
        if len(paid(server)) == 7 and len(started) == 1:
            started[0].send_signal(signal.SIGKILL)

    def start(url):
        env = os.environ | {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "none"}
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, "run", *words(file, tmp_path, "--json")],
            env=env,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    with chat_server(kill_at) as server:
        assert start(server.url).wait(120) == -signal.SIGKILL
        [kept] = (tmp_path / "matrix").glob("*.judged.jsonl")
        answers = [json.loads(line)[:2] for line in kept.read_bytes().splitlines() if line.strip()]
        answered = len(server.answered)
        out, err = start(server.url).communicate(timeout=120)
        assert started[1].returncode == 0, err.decode()
        [cell] = json.loads(out)["cells"]
    assert cell["audited"] == 6
    assert len(server.answered) == answered  # no answer was made again
    [log] = logs_of(tmp_path)
    drawn = drawn_in(log)
    assert len(drawn) == 6
    # what was kept is not paid for again; what was under way is
    by_prompt = [prompt for prompt in paid(server) if paid(server).count(prompt) > 1]
    kept_texts = {
        s.output.completion for s in drawn if [str(s.id), s.epoch] in [list(a) for a in answers]
    }
    assert not [p for p in by_prompt if any(text in p for text in kept_texts)]
    assert len(set(paid(server))) == 12
    assert not list((tmp_path / "matrix").glob("*.judged.jsonl"))
