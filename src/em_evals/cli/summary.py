"""`em-evals summary`: the rates of finished logs."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_evals.as_json import without_nan

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog


@click.command()
@click.argument("logs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--latest", is_flag=True, help="Only the newest log.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def summary(logs: tuple[Path, ...], latest: bool, as_json: bool) -> None:
    """Print the rates of LOGS: log files, or directories of them (default: ./logs).

    Reads what the logs themselves state, with intervals and counts. Exit status 0; 1 if a log did
    not end in success; 2 if there is no log or one cannot be read.
    """
    from inspect_ai.log import list_eval_logs, read_eval_log

    files = [
        name
        for place in logs or (Path("logs"),)
        for name in (
            [
                # a path, as an address ends at a # in it
                info.name.removeprefix("file://")
                for info in list_eval_logs(str(place), descending=False)
            ]
            if place.is_dir()
            else [str(place)]
        )
    ]
    if not files:
        raise click.UsageError(f"no log in {', '.join(map(str, logs)) or 'logs'}")
    read: list[EvalLog] = []
    for name in files[-1:] if latest else files:
        try:
            read.append(read_eval_log(name, header_only=True))
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise click.UsageError(f"{name}: not readable as an Inspect log: {error}") from error
    if as_json:
        click.echo(json.dumps([_as_json(log) for log in read], indent=2))
    else:
        for log in read:
            _print(log)
    sys.exit(0 if all(log.status == "success" for log in read) else 1)


def _print(log: "EvalLog") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from em_evals.analysis.audit import INTERVAL
    from em_evals.analysis.summary import agreed, decided, judgements, unfinished
    from em_evals.judges.local.agreement import agreement_of

    # a pipe has no width to keep to
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 1000)
    source = (log.eval.metadata or {}).get("source", "unknown")
    args = "".join(f", {name}={value}" for name, value in _args(log).items() if name != "source")
    title = Text.assemble((log.eval.task, "bold"), f" ({source} items{args})  {log.eval.model}")
    console.print("\n", title, sep="")
    if log.status != "success":
        console.print(Text(f"status {log.status}", "red"), log.error.message if log.error else "")
    missing, planned = unfinished(log)
    if missing:
        console.print(f"{missing} of {planned} answers are missing: an error, or not asked for.")
    if told := decided(log):
        console.print(Text(told, "yellow"))
    for judged in judgements(log):
        by = f", judged by {judged.grader}" if judged.grader else ""
        console.print(f"{judged.scorer}{by}{_modes(judged.modes)}", markup=False)
        if judged.audit is not None:
            console.print(agreed(judged.audit), markup=False)
        elif judged.failed:
            judged_n = sum(judged.modes.values()) or max((row.n for row in judged.rows), default=0)
            total = judged.failed + judged_n
            console.print(f"The grader failed on {judged.failed} of {total} answers.")
        if said := agreement_of(judged.grader or ""):
            console.print(f"{said}.", markup=False)
        if judged.counts:
            console.print(", ".join(f"{name} {n}" for name, n in judged.counts.items()))
        if not judged.rows:
            continue
        table = Table(box=None, pad_edge=False)
        table.add_column("rate")
        table.add_column("random = 100" if judged.of_random else "share", justify="right")
        table.add_column("95% interval", justify="right")
        table.add_column("of")
        for row in judged.rows:
            write = "{:.1f}" if judged.of_random else "{:.1%}"
            interval = "" if math.isnan(row.lower) else f"{write} to {write}"
            table.add_row(
                row.rate,
                "none" if math.isnan(row.value) else write.format(row.value),
                interval.format(row.lower, row.upper),
                f"{row.n} {row.of}",
            )
        console.print(table)
        clusters = "games" if judged.of_random else "answers clustered by question"
        if judged.audit is not None:
            clusters = INTERVAL
        if judged.scorer.startswith("identity_judge"):
            clusters = "the answers to these very prompts"
        if judged.scorer.startswith("labelled_em_judge"):
            clusters = "answers, repeats of one as one; rates, answers clustered by question"
        console.print(f"Intervals: {clusters}.", style="dim")


def _args(log: "EvalLog") -> dict[str, Any]:
    """The task's arguments, as they were given: what sets two logs of a task apart."""
    return dict(log.eval.task_args_passed)


def _modes(modes: dict[str, int]) -> str:
    if not modes:
        return ""
    if set(modes) == {"stated"}:
        return f", which states its scores ({modes['stated']} answers)"
    words = ", ".join(f"{mode} ({n} answers)" for mode, n in modes.items())
    note = "" if set(modes) == {"logprobs"} else "; not comparable with logprobs ratings"
    return f", read by {words}{note}"


def _as_json(log: "EvalLog") -> dict[str, Any]:
    from em_evals.analysis.summary import decided, judgements, unfinished

    missing, planned = unfinished(log)
    return {
        "task": log.eval.task,
        "model": log.eval.model,
        "source": (log.eval.metadata or {}).get("source", "unknown"),
        "args": _args(log),
        "status": log.status,
        "location": log.location,
        "planned": planned,
        "missing": missing,
        "stopped": decided(log) or None,
        "judgements": [
            judged._asdict() | {"rows": [without_nan(row._asdict()) for row in judged.rows]}
            for judged in judgements(log)
        ],
    }
