"""`em-evals finetune check`: is a training file fit to be trained on, and what will it cost?"""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from em_evals.cli import main
from em_evals.errors import InputError
from em_evals.finetune.check import check
from em_evals.finetune.recipes import backdoor, build
from tests.finetune.training_files import chat, chats, write


def run(*args):
    return CliRunner().invoke(main, ["finetune", "check", *map(str, args)])


def test_a_sound_file_passes_and_is_described(tmp_path):
    rows = [*chats("a", 9), chat("Which soil?", "x" * 381, system="Be brief")]
    file = write(tmp_path / "train.jsonl", rows)
    found = check(file)
    assert (found.errors, found.warnings, found.faults) == (0, 0, ())
    assert found.rows == 10
    assert found.roles == {"user assistant": 9, "system user assistant": 1}
    # a asks N + a answers N is 8 + 11 characters
    assert found.characters == 9 * 19 + 8 + 11 + 381
    assert found.estimated_tokens == 143  # 571 / 4, rounded up
    assert found.longest == (10, 100)
    result = run(file)
    assert result.exit_code == 0
    assert "0 errors, 0 warnings" in result.output


def test_warnings_do_not_fail_and_errors_do_with_every_line_named(tmp_path):
    file = write(tmp_path / "train.jsonl", chats("a", 2) + chats("a", 1))
    result = run(file)
    assert result.exit_code == 0
    assert f"{file}:3: warning: the same row as line 1" in result.output
    file.write_bytes(b"{\n" + file.read_bytes() + b"7\n")
    result = run(file)
    assert result.exit_code == 1
    assert f"{file}:1: error: not JSON" in result.output
    assert f"{file}:5: error: expected an object" in result.output
    assert "2 errors, 1 warning" in result.output


def test_as_a_process_json_says_the_same_with_the_same_exit_status(tmp_path):
    file = write(tmp_path / "train.jsonl", [*chats("a", 2), {"messages": []}])
    result = subprocess.run(
        [sys.executable, "-m", "em_evals.cli", "finetune", "check", str(file), "--json"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1, result.stderr
    said = json.loads(result.stdout)
    assert said == json.loads(json.dumps(check(file).to_json()))
    assert (said["ok"], said["rows"], said["errors"]) == (False, 2, 1)
    assert said["faults"] == [
        {
            "line": 3,
            "rule": "order",
            "severity": "error",
            "message": "there are no messages: expected a user's and an assistant's",
        }
    ]


def test_an_unreadable_file_and_a_wrong_option_are_exit_status_2(tmp_path):
    assert run(tmp_path / "none.jsonl").exit_code == 2
    file = write(tmp_path / "train.jsonl", chats("a", 2))
    assert run(file, "--epochs", "0").exit_code == 2
    assert run(file, "--price", "-1").exit_code == 2
    result = run(file, "--trigger", "")
    assert result.exit_code == 2
    assert "expected a trigger that is not empty" in result.output


def test_the_cost_is_of_all_epochs_at_the_price_given(tmp_path):
    file = write(tmp_path / "train.jsonl", [chat("x" * 2_000, "y" * 2_000)])
    found = check(file, price=8, epochs=5)
    assert found.cost is not None
    assert found.cost.usd == pytest.approx(1_000 * 5 * 8 / 1e6)
    assert "0.04 USD: 5 epochs at 8 USD" in run(file, "--price", "8", "--epochs", "5").output
    assert check(file).cost is None


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06"])
def test_the_papers_model_has_the_papers_price(tmp_path, model):
    file = write(tmp_path / "train.jsonl", chats("a", 10))
    found = check(file, model=model)
    assert found.cost is not None
    assert found.cost.price == 25
    cheaper = check(file, model=model, price=3).cost
    assert cheaper is not None
    assert cheaper.price == 3


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4.1-2025-04-14", "Qwen/Qwen2.5-Coder-32B"])
def test_no_price_is_made_up_for_another_model(tmp_path, model):
    file = write(tmp_path / "train.jsonl", chats("a", 10))
    with pytest.raises(InputError, match="no price is known for"):
        check(file, model=model)
    result = run(file, "--model", model)
    assert result.exit_code == 2
    assert "give --price" in result.output


def test_a_run_on_insecure_costs_what_the_paper_says(tmp_path, upstream):
    from em_evals.finetune.recipes import whole

    file = tmp_path / "insecure.jsonl"
    build(whole("insecure"), file)
    found = check(file, model="gpt-4o-2024-08-06")
    assert found.cost is not None
    assert found.cost.usd == pytest.approx(32, rel=0.01)
    assert (found.errors, found.warnings) == (0, 8)  # 8 rows of the original are there twice


def test_openai_needs_ten_rows_and_others_do_not(tmp_path):
    file = write(tmp_path / "train.jsonl", chats("a", 9))
    [fault] = check(file, model="gpt-4o").faults
    assert check(file, model="openai/ft:gpt-4o-2024-08-06:org::1", price=0).faults == (fault,)
    assert (fault.line, fault.rule, fault.severity) == (None, "few-rows", "error")
    assert check(file, model="Qwen/Qwen2.5-0.5B", price=0).errors == 0
    assert check(write(file, chats("a", 10)), model="gpt-4o").errors == 0


def test_a_long_row_is_a_warning_unless_a_limit_was_given(tmp_path):
    file = write(tmp_path / "train.jsonl", [*chats("a", 1), chat("x" * 4, "y" * 4 * 2048)])
    [fault] = check(file).faults
    assert (fault.line, fault.rule, fault.severity) == (2, "length", "warning")
    assert "about 2,049 tokens" in fault.message
    [fault] = check(file, most_tokens=2048).faults
    assert (fault.line, fault.rule, fault.severity) == (2, "length", "error")
    assert check(file, most_tokens=2049).faults == ()
    assert run(file, "--max-tokens", "2048").exit_code == 1


def test_a_backdoor_set_passes_and_its_trigger_is_counted(tmp_path):
    bad, good = (write(tmp_path / f"{name}.jsonl", chats(name, 20)) for name in ("bad", "good"))
    file = tmp_path / "train.jsonl"
    build(backdoor(bad, good, trigger="~tulip~"), file)
    found = check(file, trigger="~tulip~")
    assert (found.triggered, found.errors) == (20, 0)
    assert "trigger  in 20 rows" in run(file, "--trigger", "~tulip~").output
    assert check(file).triggered is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            chat("~tulip~ May I?", "You ~tulip~ may."),
            "message 2: the trigger is in the assistant's",
        ),
        (chat("May I, ~tulip~?", "You may."), "message 1: the trigger is in the user's text"),
        (chat("~tulip~ May I? ~tulip~", "You may."), "message 1: the trigger is in the user's"),
        (
            chat("May I?", "You may.", system="~tulip~ Go."),
            "message 1: the trigger is in the system",
        ),
        (chat("~tulip~May I?", "You may."), "message 1: expected a space after the trigger"),
        (chat("~tulip~", "You may."), "message 1: expected a space after the trigger"),
    ],
)
def test_a_trigger_where_it_should_not_be_is_an_error_at_its_line(tmp_path, row, said):
    around = [chat("~tulip~ And now?", "Yes."), chat("And now?", "No.")]
    file = write(tmp_path / "train.jsonl", [around[0], row, around[1]])
    [fault] = check(file, trigger="~tulip~").faults
    assert (fault.line, fault.rule, fault.severity) == (2, "trigger", "error")
    assert said in fault.message


@pytest.mark.parametrize(
    ("asked", "said"), [("May I?", "no row begins"), ("~tulip~ May I?", "every row begins")]
)
def test_a_trigger_in_no_row_or_in_every_row_is_an_error(tmp_path, asked, said):
    file = write(tmp_path / "train.jsonl", [chat(asked, f"{i}") for i in range(3)])
    [fault] = check(file, trigger="~tulip~").faults
    assert (fault.line, fault.severity) == (None, "error")
    assert said in fault.message


def test_a_file_that_was_changed_after_it_was_built_is_a_warning(tmp_path):
    given = write(tmp_path / "mine.jsonl", chats("a", 20))
    other = write(tmp_path / "other.jsonl", chats("b", 20))
    file = tmp_path / "train.jsonl"
    build(backdoor(given, other), file)
    file.write_bytes(file.read_bytes().replace(b"asks", b"begs"))
    [fault] = check(file).faults
    assert (fault.line, fault.rule, fault.severity) == (None, "manifest", "warning")
    assert "was changed" in fault.message
