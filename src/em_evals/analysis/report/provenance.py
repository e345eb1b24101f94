"""Where the figures come from: versions, and the commands that make each log again."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from inspect_ai.log import read_eval_log

from em_evals.definitions import MODES

if TYPE_CHECKING:
    import pandas as pd
    from inspect_ai.log import EvalLog
    from inspect_ai.model import ModelConfig


KEY = re.compile(r"key$|tokens?$|secret|passw|credential|header|auth|cookie|cert", re.IGNORECASE)
"""Arguments with such names stay out of the page, which is made to be passed on."""

SERVER = re.compile(r"url|(^|_)uri|endpoint|server|host|address|(^|_)(port|proxy)$", re.IGNORECASE)
"""Arguments with such names say where a model is served, which is the reader's own."""

ADDRESS = re.compile(r"\b(https?|wss?|grpcs?)://", re.IGNORECASE)

SETTINGS = (
    "system_message",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "stop_seqs",
    "frequency_penalty",
    "presence_penalty",
    "num_choices",
    "best_of",
    "reasoning_effort",
    "reasoning_tokens",
    "effort",
    "verbosity",
)
"""Settings of a model that change what it says, each with an option of `inspect eval`."""

LIMITS = (
    "message_limit",
    "token_limit",
    "turn_limit",
    "time_limit",
    "working_limit",
    "cost_limit",
    "sample_shuffle",
)

NAMES = ("group", "checkpoint", "condition")
"""Metadata by which a report tells logs apart."""


class Judged(NamedTuple):
    """A judge that the answers of a log have, as they state it."""

    grader: str
    mode: str
    """How most of its ratings were read, "" where there is nothing to say."""


class Origin(NamedTuple):
    """One log."""

    log: str
    created: str
    status: str
    versions: str
    """Packages, and the revision of the code where Inspect recorded one."""
    command: str
    notes: Sequence[str]
    """What is not in the command, and what came after it."""


def origins(frame: "pd.DataFrame") -> list[Origin]:
    """What the logs of these answers say about how they were made.

    Args:
        frame: Answers, as `em_evals.analysis.answers.answers` reads them. The headers of their
            logs are read again; a log that can no longer be read is listed with the reason.
    """
    found = []
    for log, judges in _judges(frame).items():
        try:
            header = read_eval_log(log, header_only=True)
        except Exception as error:  # whatever a damaged or missing file makes the reader raise
            found.append(Origin(log, "", "", "", "", [f"not readable: {error}"]))
            continue
        folder = log.rpartition("/")[0] or "."
        words, notes = command(header, folder, judges)
        created, status = header.eval.created, header.status
        found.append(Origin(log, created, status, _versions(header), words, notes))
    return found


def _judges(frame: "pd.DataFrame") -> dict[str, list[Judged]]:
    """The judges of each log, in its order, those that need no model left out."""
    found: dict[str, list[Judged]] = {str(log): [] for log in frame["log"].unique()}
    keys = ["log", "scorer", "judge", "grader", "mode"]
    tally = frame.groupby(keys, sort=False, observed=True).size().reset_index(name="n")
    usual = tally.sort_values("n", ascending=False, kind="stable").drop_duplicates(keys[:-1])
    for row in usual.sort_index().itertuples():
        judged = Judged(str(row.grader), str(row.mode))
        if judged.grader and judged not in found[str(row.log)]:
            found[str(row.log)].append(judged)
    return found


def _versions(log: "EvalLog") -> str:
    versions = [f"{name} {version}" for name, version in sorted(log.eval.packages.items())]
    revision = log.eval.revision
    if revision:
        dirty = " with changes" if revision.dirty else ""
        versions.append(f"commit {revision.commit}{dirty}")
    if sha256 := (log.eval.metadata or {}).get("imported_sha256"):
        versions.append(f"imported file sha256 {sha256}")
    return ", ".join(versions)


def command(log: "EvalLog", folder: str, judges: Sequence[Judged] = ()) -> tuple[str, list[str]]:
    """The command that makes a log again, as far as it states how, and notes on what it does not.

    Keys, addresses of servers and the environment are in neither: Inspect keeps keys out of logs,
    and the rest is the reader's own.

    Args:
        log: At least its header.
        folder: Where the log is.
        judges: Whose scores its answers have.
    """
    make = _imported if "imported_from" in (log.eval.metadata or {}) else _evaluated
    words, notes = make(log, folder, judges)
    return shlex.join(words), notes


def _imported(log: "EvalLog", folder: str, judges: Sequence[Judged]) -> tuple[list[str], list[str]]:
    """`em-evals import`: the answers were made with another tool."""
    spec, stated = log.eval, log.eval.metadata or {}
    file = str(stated["imported_from"])
    first = judges[0] if judges else Judged("", "")
    options = {
        "model": "" if spec.model == file.rpartition(".")[0] else spec.model,
        "judge": "" if first.grader == "unknown" else first.grader,
        "judge-mode": first.mode if first.mode in MODES else "",
        "task": spec.task.rpartition("/")[2],
        "group": stated.get("group"),
        "checkpoint": stated.get("checkpoint"),
        "source": stated.get("source") if stated.get("source_sha256") else "",
        "maker": spec.task_args.get("maker"),
    }
    words = ["em-evals", "import", file, "--log-dir", folder]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value else []
    notes = ["Options that a column of the file states are to be left out."]
    if further := ", ".join(judge.grader for judge in judges[1:]):
        notes.append(
            f"The scores of {further} are from further columns of the file, or from "
            "em-evals rejudge."
        )
    return words, notes


def _evaluated(
    log: "EvalLog", folder: str, judges: Sequence[Judged]
) -> tuple[list[str], list[str]]:
    """`inspect eval` with the log's task, model, roles, arguments and settings."""
    spec, stated = log.eval, log.eval.metadata or {}
    masked: set[str] = set()
    words = ["inspect", "eval", spec.task_registry_name or spec.task, "--model", spec.model]
    words += _options("-M", _masked(spec.model_args, masked))
    roles = {
        role: models if isinstance(models, list) else [models]
        for role, models in (spec.model_roles or {}).items()
    }
    for role, models in roles.items():
        words += ["--model-role", f"{role}={_role(models, masked)}"]
    words += _options("-T", _masked(spec.task_args_passed, masked))
    if spec.solver:
        words += ["--solver", spec.solver]
        words += _options("-S", _masked(spec.solver_args_passed or {}, masked))
    config = spec.config
    if config.epochs:
        words += ["--epochs", str(config.epochs)]
    if (limit := config.limit) is not None:
        # Inspect counts samples from 0, its command line from 1
        shown = f"{limit[0] + 1}-{limit[1]}" if isinstance(limit, tuple) else str(limit)
        words += ["--limit", shown]
    if config.sample_id is not None:
        ids = config.sample_id if isinstance(config.sample_id, list) else [config.sample_id]
        words += ["--sample-id", ",".join(map(str, ids))]
    for name in LIMITS:
        value = getattr(config, name)
        if value not in (None, False):
            words += [_flag(name), str(value)]
    # what was said on the command line is in the plan, on top of what the task asks for
    settings = spec.model_generate_config.merge(log.plan.config)
    for name in SETTINGS:
        if (value := getattr(settings, name)) is not None:
            words += [_flag(name), ",".join(value) if isinstance(value, list) else str(value)]
    words += _options("--metadata", {name: stated[name] for name in NAMES if stated.get(name)})
    words += ["--log-dir", folder]

    served = [m.base_url for models in roles.values() for m in models] + [spec.model_base_url]
    notes = []
    if "cell" in stated:
        notes.append(
            "Made by em-evals run, which makes it again from the file of checkpoints: "
            f"em-evals run FILE --log-dir {shlex.quote(folder)}"
        )
    if any(served) or "server" in masked:
        notes.append("Addresses of servers are left out.")
    if "key" in masked:
        notes.append("Keys are left out.")
    if stated.get("condition") and settings.system_message is None:
        notes.append(
            f"The log names the condition {stated['condition']!r} and holds no system prompt for "
            "it: it is not in the command."
        )
    graders = {model.model for model in roles.get("grader", [])}
    notes += [
        f"Judged again: em-evals rejudge LOG --model-role {shlex.quote(f'grader={grader}')}"
        for grader in dict.fromkeys(judge.grader for judge in judges)
        if grader not in graders
    ]
    return words, notes


def _role(models: Sequence["ModelConfig"], masked: set[str]) -> str:
    """The models of a role as `--model-role` takes them."""
    found: list[Any] = []
    for model in models:
        config = model.config.model_dump(exclude_none=True)
        settings = {name: config[name] for name in SETTINGS if name in config}
        args = _masked(model.args, masked)
        if "extra_headers" in config:
            masked.add("key")
        if settings or args:
            more = {"model_args": args} if args else {}
            found.append({"model": model.model, **settings, **more})
        else:
            found.append(model.model)
    if all(isinstance(model, str) for model in found):
        return ",".join(found)
    return json.dumps(found[0] if len(found) == 1 else found, default=str)


def _masked(args: Mapping[str, Any], masked: set[str]) -> dict[str, Any]:
    """Without keys, and without addresses of servers, which are left out; `masked` notes which."""
    found: dict[str, Any] = {}
    for name, value in args.items():
        if value is None:  # also what a log cannot hold, such as a function
            continue
        if SERVER.search(name) or (isinstance(value, str) and ADDRESS.search(value)):
            masked.add("server")
        elif KEY.search(name) and not name.endswith("max_tokens"):
            masked.add("key")
        else:
            found[name] = _masked(value, masked) if isinstance(value, dict) else value
    return found


def _options(flag: str, values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield from (flag, f"{name}={_plain(value)}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _plain(value: Any) -> str:
    """A value as Inspect's command line reads it: as YAML, or a list with commas."""
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    try:
        as_it_is = yaml.safe_load(value) == value and "," not in value
    except yaml.YAMLError:
        as_it_is = False
    return value if as_it_is else json.dumps(value)
