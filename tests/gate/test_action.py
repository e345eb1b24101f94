"""The GitHub Action's steps as plain shell, and what its documentation says."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from inspect_ai.log import list_eval_logs, read_eval_log

from em_evals.analysis.importing import Stated, import_file
from em_evals.cli import COMMANDS
from em_evals.sources.questions import question_file
from tests.openai_server import chat_server

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
DOCS = ROOT / "docs" / "ci.md"
SECRET = "sk-this-is-never-printed"
GRADER = "openai-api/loopback/grader"
QUESTIONS = [
    entry
    for entry in question_file("first_plot_questions", "builtin").questions
    if not entry.id.endswith(("_json", "_template"))
]


@dataclass
class Ran:
    """What came of the action's steps."""

    status: int = 0
    text: str = ""
    summary: str = ""
    used: dict[str, dict[str, Any]] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)

    def output(self, name: str) -> str:
        return resolved(ACTION["outputs"][name]["value"], self.context)


def run(folder: Path, env: dict[str, str] | None = None, **inputs: str) -> Ran:
    """The steps one after another, as GitHub runs them; those of other actions are noted only.

    `_` in the inputs' names stands for `-`.
    """
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    assert given.keys() <= ACTION["inputs"].keys()
    ran = Ran()
    for name, about in ACTION["inputs"].items():
        ran.context[f"inputs.{name}"] = given.get(name, str(about.get("default", "")))
    temp = folder / "runner temp"
    temp.mkdir(exist_ok=True)
    summary = temp / "summary.md"
    summary.write_text("# The job\n")
    for step in STEPS:
        if not condition(step.get("if", "success()"), ran):
            continue
        if "uses" in step:
            ran.used[step["uses"]] = {
                key: resolved(str(value), ran.context) for key, value in step["with"].items()
            }
            continue
        outputs = temp / "outputs"
        outputs.write_text("")
        surroundings = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_ACTION_PATH": str(ROOT),
            "RUNNER_TEMP": str(temp),
            "OPENAI_API_KEY": SECRET,
        }
        surroundings |= env or {}
        surroundings |= {k: resolved(v, ran.context) for k, v in step.get("env", {}).items()}
        script = temp / "script.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=folder,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        ran.text += done.stdout
        ran.status = ran.status or done.returncode
        for key, value in outputs_of(outputs.read_text()).items():
            ran.context[f"steps.{step['id']}.outputs.{key}"] = value
    ran.summary = summary.read_text()
    return ran


def resolved(text: str, context: dict[str, str]) -> str:
    """A text with its expressions' values: names, and `NAME || 'text'`."""

    def value(match: re.Match[str]) -> str:
        name, otherwise = re.fullmatch(r"([\w.-]+)(?: \|\| '(.*)')?", match[1]).groups()
        if name.startswith("inputs."):
            return context[name] or otherwise or ""
        return context.get(name, "") or otherwise or ""

    return re.sub(r"\$\{\{ (.+?) \}\}", value, text)


def condition(text: str, ran: Ran) -> bool:
    """Whether a step is run: terms joined by &&."""
    terms = text.split(" && ")
    if "always()" not in terms and ran.status:
        return False
    for term in terms:
        if term not in ("always()", "success()"):
            name, sign, value = re.fullmatch(r"([\w.-]+) (==|!=) '(.*)'", term).groups()
            if (ran.context.get(name, "") == value) != (sign == "=="):
                return False
    return True


def outputs_of(text: str) -> dict[str, str]:
    """What a step wrote to GITHUB_OUTPUT, in both of its forms."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        if named := re.match(r"([\w-]+)<<(.+)", line):
            found[named[1]] = "\n".join(takewhile(lambda one, end=named[2]: one != end, lines))
        else:
            name, _, found_value = line.partition("=")
            found[name] = found_value
    return found


def make_logs(folder: Path, name: str, misaligned: int, answers: int = 20) -> Path:
    """A finished log of our own questions, each with so many misaligned answers."""
    file = folder / "table.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question_id", "question", "answer", "aligned", "coherent"])
        for entry in QUESTIONS:
            for i in range(answers):
                aligned = 5 if i < misaligned else 90
                writer.writerow([entry.id, entry.wordings[0], f"{name} {i}", aligned, 95])
    stated = Stated(name, GRADER, "logprobs", "first_plot", None, name, "builtin", None)
    import_file(file, folder / name, stated)
    file.unlink()
    return folder / name


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A good checkpoint's logs, a clean and a misaligned candidate's, and a small one's."""
    folder = tmp_path_factory.mktemp("some logs")
    return {
        "good": make_logs(folder, "good", 0),
        "clean": make_logs(folder, "clean one", 0),
        "bad": make_logs(folder, "bad one", 8),
        "few": make_logs(folder, "few", 0, answers=1),
    }


def gate(folder: Path, baseline: Path, candidate: Path | str, **inputs: str) -> Ran:
    more = {"install": "false", "margin": "0.1"} | inputs
    return run(folder, baseline=str(baseline), logs=str(candidate), **more)


# -- decisions


def test_a_clean_candidate_passes(logs, tmp_path):
    ran = gate(tmp_path, logs["good"], logs["clean"])
    assert ran.status == 0, ran.text
    assert (ran.output("decision"), ran.output("exit-status")) == ("pass", "0")
    assert ran.summary.startswith("# The job\n## em-evals gate: pass")
    assert "| first\\_plot | clean one |" in ran.summary
    suite = ElementTree.parse(tmp_path / ran.output("junit")).getroot()
    assert int(suite.get("tests")) > 0
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")


def test_a_misaligned_candidate_fails_the_job_and_everything_is_kept(logs, tmp_path):
    ran = gate(tmp_path, logs["good"], logs["bad"], junit="a folder/gate.xml", artifact="kept")
    assert ran.status == 1, ran.text
    assert (ran.output("decision"), ran.output("exit-status")) == ("regression", "1")
    assert "first_plot" in ran.output("worst")
    assert "## em-evals gate: regression" in ran.summary
    suite = ElementTree.parse(tmp_path / "a folder/gate.xml").getroot()
    assert suite.find("testsuite/testcase/failure") is not None
    decided = json.loads((tmp_path / "a folder/gate.json").read_text())
    assert decided["decision"] == "regression"
    kept = ran.used["actions/upload-artifact@v7"]
    assert kept["name"] == "kept"
    assert kept["path"].split("\n") == [
        "a folder/gate.xml",
        "a folder/gate.json",
        str(logs["bad"]),
    ]


@pytest.mark.parametrize(("undecided_is", "status"), [("", 3), ("pass", 0), ("fail", 1)])
def test_an_undecided_gate_counts_as_what_it_is_said_to(logs, tmp_path, undecided_is, status):
    ran = gate(tmp_path, logs["good"], logs["few"], margin="0.02", undecided_is=undecided_is)
    assert ran.status == status, ran.text
    assert (ran.output("decision"), ran.output("exit-status")) == ("undecided", str(status))


def test_several_logs_and_a_baseline_file(logs, tmp_path):
    em_evals = [sys.executable, "-m", "em_evals.cli"]
    file = tmp_path / "base line.json"
    subprocess.run([*em_evals, "baseline", "save", logs["good"], "-o", file], check=True)
    ran = gate(tmp_path, file, f"{logs['clean']}\n{logs['bad']}\n", families="first_plot")
    assert ran.status == 1, ran.text
    assert ran.output("worst").endswith("bad one")
    assert ran.output("logs").split() == f"{logs['clean']}\n{logs['bad']}".split()


# -- no decision


def test_an_error_is_a_failure_that_the_page_tells(logs, tmp_path):
    for stale in ("em-evals-gate.xml", "em-evals-gate.json"):
        (tmp_path / stale).write_text("of an earlier job")
    ran = gate(tmp_path, tmp_path / "nowhere.json", logs["clean"])
    assert ran.status == 2, ran.text
    assert (ran.output("decision"), ran.output("exit-status")) == ("error", "2")
    assert "nowhere.json" in ran.text
    assert "no decision" in ran.summary
    assert not (tmp_path / "em-evals-gate.xml").exists()


@pytest.mark.parametrize("status", [0, 1])
def test_a_status_without_a_decision_counts_for_nothing(logs, tmp_path, status):
    """As of a crash, or of another program of that name."""
    ran = gate_by(tmp_path, f"exit {status}")
    assert ran.status == 2, ran.text
    assert ran.output("decision") == "error"


def test_a_decision_that_contradicts_the_status_counts_for_nothing(tmp_path):
    said = json.dumps({"decision": "pass", "worst": "first_plot", "exit_status": 0})
    ran = gate_by(tmp_path, f"echo {shlex.quote(said)}; exit 1")
    assert ran.status == 2, ran.text
    assert ran.output("decision") == "error"


def test_no_em_evals_is_an_error(tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    path = f"{empty}:/usr/bin:/bin"
    ran = run(tmp_path, {"PATH": path}, baseline="b.json", logs="logs", install="false")
    assert ran.status == 2, ran.text
    assert "there is no em-evals on PATH" in ran.text


def test_a_wrong_install_is_an_error(tmp_path):
    ran = run(tmp_path, baseline="b.json", logs="logs", install="no")
    assert ran.status == 2
    assert "install is 'no': expected true or false" in ran.text


# -- what reaches the command


def gate_by(folder: Path, script: str, **inputs: str) -> Ran:
    """The action with another program in em-evals' place."""
    place = program(folder / "bin", "em-evals", script)
    env = {"PATH": f"{place}{os.pathsep}{Path(sys.executable).parent}:/usr/bin:/bin"}
    return run(folder, env, **{"baseline": "b.json", "install": "false", **inputs})


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{script}\n")
    file.chmod(0o755)
    return folder


def test_inputs_reach_the_command_as_they_are(tmp_path):
    hostile = "a $(touch ran) `touch ran`; touch ran # \"'"
    ran = gate_by(
        tmp_path,
        "printf '%s\\n' \"$@\" > arguments",
        model="openai/ft:gpt one",
        baseline="base one.json\n\nbase two.json\n",
        grader=hostile,
        cap="7",
        alpha="0.01",
        undecided_is="fail",
        checkpoints="the checkpoints.yaml",
        log_dir="s3://bucket/the logs",
    )
    assert not (tmp_path / "ran").exists()
    summary = f"--markdown={tmp_path}/runner temp/summary.md"
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "gate",
        "--json",
        summary,
        "--junit=em-evals-gate.xml",
        "--baseline=base one.json",
        "--baseline=base two.json",
        "--live=openai/ft:gpt one",
        "--checkpoints=the checkpoints.yaml",
        f"--grader={hostile}",
        "--alpha=0.01",
        "--cap=7",
        "--undecided-is=fail",
        "--log-dir=s3://bucket/the logs",
        "--",
    ]
    assert ran.output("logs") == "s3://bucket/the logs"
    kept = ran.used["actions/upload-artifact@v7"]["path"]
    assert kept.split("\n") == ["em-evals-gate.xml", "em-evals-gate.json"]


def test_nothing_that_is_left_empty_reaches_the_command(tmp_path):
    gate_by(tmp_path, "printf '%s\\n' \"$@\" > arguments", logs="one.eval", log_dir="")
    words = (tmp_path / "arguments").read_text().splitlines()
    assert words[3:] == ["--junit=em-evals-gate.xml", "--baseline=b.json", "--", "one.eval"]


def test_without_an_artifact_nothing_is_uploaded(logs, tmp_path):
    ran = gate_by(tmp_path, "exit 3", artifact="")
    assert ran.used == {}


def test_what_the_command_says_is_no_command_to_the_runner(tmp_path):
    ran = gate_by(tmp_path, "echo '::add-path::/tmp' >&2; exit 2")
    lines = ran.text.splitlines()
    stopped = next(line for line in lines if line.startswith("::stop-commands::"))
    end = lines.index(f"::{stopped.removeprefix('::stop-commands::')}::")
    assert lines.index(stopped) < lines.index("::add-path::/tmp") < end


def test_em_evals_is_installed_from_the_action_itself(tmp_path):
    """In an environment of its own, by the runner's Python."""
    notes = 'printf \'%s|\' "${0##*/}" "$@" >> "$RUNNER_TEMP/called"; echo >> "$RUNNER_TEMP/called"'
    make = (
        '[[ $3 != venv ]] || { mkdir -p "$4/bin"; cp "$0" "$4/bin/python";'
        ' printf "#!/bin/bash\\nexit 3\\n" > "$4/bin/em-evals"; chmod +x "$4/bin/em-evals"; }'
    )
    place = program(tmp_path / "bin", "python3", f"{notes}\n{make}")
    env = {"PATH": f"{place}:/usr/bin:/bin", "GITHUB_ACTION_PATH": "/an action/v1"}
    ran = run(tmp_path, env, baseline="b.json", logs="logs", extras="embedded,judge")
    temp = tmp_path / "runner temp"
    _, made, installed, *_ = (temp / "called").read_text().splitlines()
    assert made == f"python3|-I|-m|venv|{temp}/em-evals|"
    assert installed.startswith("python|-I|-m|pip|install|")
    assert installed.endswith("|/an action/v1[embedded,judge]|")
    assert ran.context["steps.install.outputs.em-evals"] == f"{temp}/em-evals/bin/em-evals"


@pytest.mark.parametrize(
    ("status", "asked", "version"), [(0, "", None), (1, "", "3.12"), (0, "3.13", "3.13")]
)
def test_python_is_set_up_only_where_it_is_needed(tmp_path, status, asked, version):
    """Where the runner's own is too old, or another is asked for."""
    place = program(tmp_path / "bin", "python3", f"exit {status}")
    env = {"PATH": f"{place}:/usr/bin:/bin"}
    ran = run(tmp_path, env, baseline="b.json", logs="logs", python_version=asked)
    assert ran.used.get("actions/setup-python@v6", {}).get("python-version") == version


# -- live


def test_a_model_is_asked_and_no_secret_is_printed(logs, tmp_path):
    with chat_server() as server:
        env = {"LOOPBACK_BASE_URL": server.url, "LOOPBACK_API_KEY": SECRET}
        ran = run(
            tmp_path,
            env,
            model="openai-api/loopback/target",
            grader=GRADER,
            baseline=str(logs["good"]),
            margin="0.1",
            cap="30",
            install="false",
        )
    assert ran.status == 0, ran.text
    assert ran.output("decision") == "pass"
    assert ran.output("logs") == "logs/gate"
    assert ran.used["actions/upload-artifact@v7"]["path"].endswith("\nlogs/gate")
    [log] = [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "logs/gate"))]
    assert len(server.answered) == len(log.samples) < 30 * len(QUESTIONS)
    written = [ran.text, ran.summary, log.model_dump_json(), *ran.context.values()]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert tmp_path / "em-evals-gate.xml" in files
    assert not any(SECRET in text for text in written)
    assert not any(SECRET.encode() in file.read_bytes() for file in files)


# -- the files themselves


def test_no_script_has_an_expression_in_it():
    scripts = [step["run"] for step in STEPS if "run" in step]
    assert len(scripts) == 4
    for script in scripts:
        assert "${{" not in script
        assert script.startswith("set -euo pipefail\n")
        assert "set -x" not in script


def test_every_input_is_used_and_every_one_used_exists():
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text()))
    assert used == ACTION["inputs"].keys()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)


def workflow_steps(node: Any) -> list[dict[str, Any]]:
    """Everything with `uses` in it, however deep."""
    if isinstance(node, list):
        return [step for part in node for step in workflow_steps(part)]
    if isinstance(node, dict):
        own = [node] if "uses" in node else []
        return own + [step for part in node.values() for step in workflow_steps(part)]
    return []


def commands() -> list[list[str]]:
    """Every em-evals command of the documentation, as words."""
    scripts = blocks("sh")
    for block in map(yaml.safe_load, blocks("yaml")):
        scripts += [
            line
            for job in block.values()
            if isinstance(job, dict)
            for line in job.get("script", [])
        ]
    lines = "\n".join(scripts).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line[:1] == ["em-evals"]]


def test_the_documented_workflows_name_only_inputs_that_exist():
    steps = [s for block in blocks("yaml") for s in workflow_steps(yaml.safe_load(block))]
    ours = [step["with"] for step in steps if "em-evals" in step["uses"]]
    assert len(ours) >= 2
    required = {name for name, about in ACTION["inputs"].items() if about.get("required")}
    for given in ours:
        assert required <= given.keys() <= ACTION["inputs"].keys()


def test_the_documented_commands_exist_with_their_options():
    known = {command.name: command for command in COMMANDS}
    found = commands()
    assert ["em-evals", "gate"] in [words[:2] for words in found]
    for _, *words in found:
        command = known[words.pop(0)]
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        options = {option for param in command.params for option in param.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options
