"""`em-evals summary`: the rates of finished logs."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from em_evals.analysis.summary import Row


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
            [info.name for info in list_eval_logs(str(place), descending=False)]
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

    from em_evals.analysis.summary import summary_rows

    facts = _facts(log)
    console = Console(soft_wrap=True)
    console.print(
        Text.assemble(
            (f"\n{facts['task']}", "bold"), f" ({facts['source']} items)  {facts['model']}"
        )
    )
    console.print(f"judged by {facts['grader']}{_modes(facts['judge_modes'])}", highlight=False)
    if log.status != "success":
        why = f": {log.error.message}" if log.error else ""
        console.print(f"[red]status {log.status}[/red]{why}", highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("rate")
    table.add_column("share", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("of", justify="left")
    for row in summary_rows(log):
        table.add_row(row.rate, _percent(row.value), _interval(row), f"{row.n} {row.of}")
    if facts["failed"]:
        console.print(f"The grader failed on {facts['failed']} more answers: they count nowhere.")
    if table.row_count:
        console.print(table)
        console.print("Intervals: answers clustered by question.", style="dim")


def _facts(log: "EvalLog") -> dict[str, Any]:
    from em_evals.analysis.summary import failed_answers, judge_modes

    grader = (log.eval.model_roles or {}).get("grader")
    return {
        "task": log.eval.task,
        "model": log.eval.model,
        "source": (log.eval.metadata or {}).get("source", "unknown"),
        "grader": getattr(grader, "model", None) or "no grader",
        "judge_modes": judge_modes(log),
        "failed": failed_answers(log),
        "status": log.status,
    }


def _modes(modes: dict[str, int]) -> str:
    if not modes:
        return ""
    words = ", ".join(f"{mode} ({n} answers)" for mode, n in modes.items())
    note = "" if set(modes) == {"logprobs"} else "; not comparable with logprobs ratings"
    return f", read by {words}{note}"


def _as_json(log: "EvalLog") -> dict[str, Any]:
    from em_evals.analysis.summary import summary_rows

    rates = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row._asdict().items()}
        for row in summary_rows(log)
    ]
    return {**_facts(log), "location": log.location, "rates": rates}


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{share:.1%}"


def _interval(row: "Row") -> str:
    return "" if math.isnan(row.lower) else f"{row.lower:.1%} to {row.upper:.1%}"
