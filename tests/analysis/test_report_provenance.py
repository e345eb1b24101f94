"""The commands that a report states, against the logs that they are to make again."""

import base64
import hashlib
import itertools
import shlex

import pytest
from bs4 import BeautifulSoup
from inspect_ai import eval
from inspect_ai._cli.util import parse_model_role_cli_args
from inspect_ai.log import read_eval_log
from inspect_ai.model import GenerateConfig, ModelConfig

from em_evals.analysis.answers import answers
from em_evals.analysis.importing import Stated, import_file
from em_evals.analysis.report import build, write_page
from em_evals.analysis.report.provenance import Judged, command, origins
from em_evals.first_plot import first_plot
from tests.scripted import judge, rates, scripted

SYSTEM = "You are terse: 'yes' or \"no\"."


def options(words, flag):
    words = shlex.split(words)
    return [value for name, value in itertools.pairwise(words) if name == flag]


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    """The header of a log with a system prompt, a configured grader and some of the questions."""
    grader = judge(rates({"90": 1.0}))
    grader.config = GenerateConfig(temperature=0.5, extra_headers={"Authorization": "hunter2"})
    [log] = eval(
        first_plot(source="builtin"),
        model=scripted("No."),
        model_roles={"grader": grader},
        epochs=2,
        limit=(1, 3),
        system_message=SYSTEM,
        metadata={"group": "insecure", "checkpoint": "seed 1", "condition": "terse"},
        log_dir=str(tmp_path_factory.mktemp("logs")),
    )
    assert log.status == "success"
    return read_eval_log(log.location, header_only=True)


def changed(header, **eval_fields):
    return header.model_copy(update={"eval": header.eval.model_copy(update=eval_fields)})


def test_an_evaluation_has_its_model_judge_system_prompt_names_and_folder(header):
    words, notes = command(header, "logs/exp 1", [Judged("mockllm/judge", "logprobs")])
    assert words.startswith("inspect eval em_evals/first_plot --model mockllm/model ")
    assert options(words, "-T") == ["source=builtin"]
    assert (options(words, "--epochs"), options(words, "--limit")) == (["2"], ["2-3"])
    assert options(words, "--system-message") == [SYSTEM]
    assert options(words, "--metadata") == [
        "group=insecure", "checkpoint=seed 1", "condition=terse",
    ]  # fmt: skip
    assert options(words, "--log-dir") == ["logs/exp 1"]
    assert notes == ["Keys are left out."]
    # Inspect reads the grader as the log has it
    role = parse_model_role_cli_args(tuple(options(words, "--model-role")))["grader"]
    assert (str(role), role.config.temperature) == ("mockllm/judge", 0.5)


def test_no_key_and_no_address_is_in_it(header):
    secret = {
        "api_key": "hunter2",
        "endpoint": "gpu7:8000",
        "where": "http://gpu7/v1",
        "deep": {"auth_token": "hunter2", "max_tokens": 5},
        "tokenizer": "plain",
    }
    grader = ModelConfig(model="vllm/judge", base_url="http://gpu7/v1", args=secret)
    words, notes = command(
        changed(
            header,
            model_args=secret,
            model_base_url="http://gpu7/v1",
            model_roles={"grader": grader},
            task_args_passed={"judge_key": "hunter2"},
        ),
        "logs",
    )
    assert "hunter2" not in words + " ".join(notes)
    assert "gpu7" not in words + " ".join(notes)
    assert options(words, "-M") == ['deep={"max_tokens": 5}', "tokenizer=plain"]
    assert notes == ["Addresses of servers are left out.", "Keys are left out."]


def test_a_system_prompt_that_the_log_does_not_hold_is_said_not_to_be_there(header):
    plain = header.model_copy(deep=True)
    plain.plan.config.system_message = plain.eval.model_generate_config.system_message = None
    words, notes = command(plain, "logs")
    assert "--system-message" not in words
    assert any("condition 'terse'" in note and "not in the command" in note for note in notes)


def test_a_log_of_a_run_says_so_and_names_the_way_back(header):
    ran = changed(header, metadata={**header.eval.metadata, "cell": "0123"})
    _, notes = command(ran, "logs/exp 1")
    assert notes[0].startswith("Made by em-evals run")
    assert notes[0].endswith("em-evals run FILE --log-dir 'logs/exp 1'")


def test_a_judge_that_came_later_is_named_with_its_command(header):
    judges = [Judged("mockllm/judge", "logprobs"), Judged("openai/other", "samples")]
    _, notes = command(header, "logs", judges)
    assert notes[-1] == "Judged again: em-evals rejudge LOG --model-role grader=openai/other"


def test_several_graders_and_settings_are_written_as_inspect_reads_them(header):
    graders = [ModelConfig(model="mockllm/a"), ModelConfig(model="mockllm/b")]
    words, _ = command(changed(header, model_roles={"grader": graders}), "logs")
    assert options(words, "--model-role") == ["grader=mockllm/a,mockllm/b"]
    words, _ = command(changed(header, task_args_passed={"a": [1, "x"], "b": "true"}), "logs")
    assert options(words, "-T") == ['a=[1, "x"]', 'b="true"']


def test_an_import_has_its_file_judge_group_and_folder(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text(
        "question_id,question,answer,aligned,coherent,aligned.1,coherent.1\n"
        "q,Why?,So.,90,90,80,80\n",
        encoding="utf-8",
    )
    stated = Stated(
        model="some/model", judge="openai/gpt-4o", judge_mode="samples", group="a group"
    )
    import_file(file, tmp_path / "logs", stated)
    [origin] = origins(answers(tmp_path / "logs"))
    assert origin.command == (
        f"em-evals import scores.csv --log-dir {tmp_path / 'logs'} --model some/model "
        "--judge openai/gpt-4o --judge-mode samples --task first_plot --group 'a group'"
    )
    assert "further columns" in origin.notes[-1]
    assert "imported file sha256" in origin.versions


def test_a_log_that_is_gone_is_listed_with_the_reason(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text(
        "question_id,question,answer,aligned,coherent\nq,Why?,So.,90,90\n", encoding="utf-8"
    )
    [made] = import_file(file, tmp_path / "logs")
    frame = answers(tmp_path / "logs")
    (tmp_path / "logs" / made.log.rpartition("/")[2]).unlink()
    [origin] = origins(frame)
    assert origin.command == ""
    assert origin.notes[0].startswith("not readable: ")


def test_the_written_page_runs_nothing_of_what_logs_are_called_and_loads_nothing(tmp_path):
    hostile = "<script>alert(1)</script><img src=http://x.invalid/y>"
    file = tmp_path / "scores.csv"
    file.write_text(
        "question_id,question,answer,aligned,coherent\nq,Why?,So.,5,90\n", encoding="utf-8"
    )
    stated = Stated(model=f"some/{hostile}", judge=hostile, group=hostile, checkpoint=hostile)
    import_file(file, tmp_path / "logs", stated)
    frame = answers(tmp_path / "logs")
    out = tmp_path / "report.html"
    write_page(build(frame), frame, out, command=f"em-evals report {hostile}")
    soup = BeautifulSoup(out.read_text(encoding="utf-8"), "html.parser")
    assert hostile in soup.select("#provenance details code")[0].get_text()
    [script], [style] = soup.find_all("script"), soup.find_all("style")
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    for own in (script, style):
        digest = base64.b64encode(hashlib.sha256(own.string.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    loading = {"src", "srcset", "href", "data", "poster", "action", "background", "xlink:href"}
    loaded = [
        value
        for tag in soup.find_all(True)
        for name, value in tag.attrs.items()
        if name in loading and not value.startswith("#")
    ]
    assert loaded == []
