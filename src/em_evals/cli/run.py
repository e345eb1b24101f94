"""`em-evals run`: every task on every checkpoint, resumable."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from em_evals.cli.interrupt import resumable

if TYPE_CHECKING:
    from em_evals.checkpoints.run import Forecast, RunResult


def names(context: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for part in value.split(",") if (name := part.strip()))


def arguments(
    context: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """KEY=VALUE, the value as YAML, or a list with commas, as in `inspect eval -T`."""
    from em_evals.checkpoints.file import read_value

    found = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{value!r}: expected KEY=VALUE", context, param)
        read = read_value(text)
        if isinstance(read, str) and "," in read and read == text:  # not in quotes
            read = [part.strip() for part in read.split(",")]
        found[key] = read
    return found


def pairs(*names: str, help: str) -> Callable[[Any], Any]:
    """An option that takes KEY=VALUE, any number of times."""
    return click.option(*names, multiple=True, metavar="KEY=VALUE", callback=arguments, help=help)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--tasks",
    callback=names,
    metavar="NAME,...",
    default="",
    help="Default: all families of the suite.",
)
@click.option("--groups", callback=names, metavar="NAME,...", default="", help="Only these groups.")
@click.option(
    "--checkpoints", callback=names, metavar="NAME,...", default="", help="Only these checkpoints."
)
@click.option(
    "--epochs", type=click.IntRange(1), help="Answers per question. Default: each task's own."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first questions of each task.")
@pairs(
    "-T",
    "task_args",
    help="Argument for the tasks that have it, such as source=builtin; TASK.KEY=VALUE for one.",
)
@click.option("--log-dir", default="logs", show_default=True, help="Directory or fsspec address.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Spread the cells over processes: one manages about 20 judged answers a second.",
)
@click.option("--dry-run", is_flag=True, help="Print what is left to do and what it may cost.")
@click.option("--print-matrix", is_flag=True, help="Print a shell command for each cell.")
@click.option("--max-cost", type=float, metavar="USD", help="Stop when this much is spent.")
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False),
    help="Dollars per million tokens, as in Inspect's --model-cost-config.",
)
@click.option(
    "--judge-budget",
    type=int,
    metavar="N",
    help="The local judge judges all answers, and the file's grader N of each cell, drawn at "
    "random; rates are made of both. For first_plot and preregistered.",
)
@click.option(
    "--judge-reader",
    is_flag=True,
    help="With a budget: let local/em-judge-reader judge all, slower and right more often.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def run(
    file: str,
    tasks: tuple[str, ...],
    groups: tuple[str, ...],
    checkpoints: tuple[str, ...],
    epochs: int | None,
    limit: int | None,
    task_args: dict[str, Any],
    log_dir: str,
    processes: int,
    dry_run: bool,
    print_matrix: bool,
    max_cost: float | None,
    prices: str | None,
    judge_budget: int | None,
    judge_reader: bool,
    as_json: bool,
) -> None:
    """Run every task on every checkpoint of FILE, a checkpoints.yaml.

    The same command again goes on where the last one was stopped, whatever stopped it; with more
    checkpoints, tasks or epochs it runs only what is new. Tasks are the suite's, by name, or those
    of other packages, such as inspect_evals/mmlu_0_shot.

    Exit status: 0 all cells done, 1 a cell failed, 2 usage or data error, 3 stopped at the
    maximal cost, 130 interrupted.
    """
    from em_evals.checkpoints.matrix import Options, matrix
    from em_evals.checkpoints.run import commands, crew, forecast, run_matrix
    from em_evals.cli.evaluate import collect_garbage_rarely

    options = Options(
        file=file,
        tasks=tasks,
        groups=groups,
        checkpoints=checkpoints,
        epochs=epochs,
        limit=limit,
        task_args=task_args,
        log_dir=log_dir,
        prices=prices,
        judge_budget=judge_budget,
        judge_reader=judge_reader,
    )
    if print_matrix:
        lines = list(commands(matrix(options)))
        click.echo(json.dumps(lines, indent=2) if as_json else "\n".join(lines))
        return
    if dry_run:
        _print_forecast(forecast(matrix(options)), as_json)
        return
    with resumable(), ExitStack() as stack:
        workers = stack.enter_context(crew(processes))
        plan = matrix(options)
        if workers is None:
            collect_garbage_rarely()
        result = run_matrix(plan, workers, max_cost, progress_bar(stack))
    _print_result(result, as_json)
    sys.exit(result.exit_status)


def progress_bar(stack: ExitStack) -> Callable[[dict[str, Any]], None]:
    """One progress bar for the matrix, and a line for every cell that ends, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    bar = stack.enter_context(
        Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("answers {task.fields[spent]}", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
    )
    row = bar.add_task("", total=0, spent="")
    cells: dict[str, Any] = {}
    answers: dict[str, int] = {}
    planned: dict[str, int] = {}
    ended: set[str] = set()
    begun: set[str] = set()

    def describe() -> None:
        running = len(begun - ended)
        now = f", {running} running" if running else ""
        bar.update(
            row,
            description=f"{len(ended)} of {len(cells)} cells{now}",
            completed=sum(answers.values()),
        )

    def show(event: dict[str, Any]) -> None:
        kind, cell = event["kind"], event.get("cell", "")
        if kind == "matrix":
            cells.update({cell.id: cell for cell in event["cells"]})
            answers.update({id: state.done for id, state in event["states"].items()})
            planned.update({id: cell.answers for id, cell in cells.items()})
            ended.update(id for id, state in event["states"].items() if state.status == "done")
            bar.update(row, total=sum(planned.values()))
            if ended:
                console.print(f"{len(ended)} of {len(cells)} cells are done already")
            for id, state in event["states"].items():
                for what in state.says:
                    console.print(f"note: the log of {cells[id].name} says {what}", markup=False)
        elif kind == "start":
            begun.add(cell)
        elif kind == "answer":
            answers[cell] = min(answers[cell] + 1, cells[cell].answers)
        elif kind == "cost":
            bar.update(row, spent=f"${event['total']:.2f}")
        elif kind == "end" and event["status"] == "success":
            ended.add(cell)
            if event.get("stopped"):  # it was decided: no more will be asked
                planned[cell] = answers[cell]
                bar.update(row, total=sum(planned.values()))
            answers[cell] = planned[cell]
            console.print(f"[{len(ended)}/{len(cells)}] {cells[cell].name}", markup=False)
        elif kind == "audited" and event["now"]:
            console.print(
                f"{cells[cell].name}: the paid judge has judged {event['all']} answers, "
                f"{event['now']} of them now",
                markup=False,
            )
        elif kind == "error":
            console.print(f"failed: {cells[cell].name}", style="red", markup=False)
        describe()

    return show


def _print_result(result: "RunResult", as_json: bool) -> None:
    if as_json:
        cells = [cell.to_json() for cell in result.cells]
        summary = {"stopped": result.stopped, "cost": result.cost, "cells": cells}
        click.echo(json.dumps(summary, indent=2, default=str))
    done = sum(cell.outcome == "done" for cell in result.cells)
    spent = "" if result.cost is None else f", ${result.cost:.4f} spent"
    click.echo(f"{done} of {len(result.cells)} cells are done{spent}.", err=True)
    for cell in result.failed:
        click.echo(f"Failed: {cell.cell.name}: {cell.error}", err=True)
    if result.stopped:
        click.echo(
            "Stopped at the maximal cost. The answers so far are in the logs; the same command "
            "again goes on, and may spend as much again.",
            err=True,
        )


def _print_forecast(parts: "list[Forecast]", as_json: bool) -> None:
    from dataclasses import asdict

    from em_evals.checkpoints.run import total

    left, cost = total(parts)
    if as_json:
        cells = [part.to_json() for part in parts]
        whole = {"estimated": True, "cells": cells, "total": {**asdict(left), "cost": cost}}
        click.echo(json.dumps(whole, indent=2, default=str))
        return
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="What is left to do; tokens are estimates")
    for name in ("task", "group", "checkpoint", "condition", "state"):
        table.add_column(name)
    numbers = ("answers", "calls", "in", "out", "grader calls", "in", "out", "cost")
    for name in numbers:
        table.add_column(name, justify="right")

    def figures(e: Any, cost: float | None) -> list[str]:
        counts = (e.calls, e.input, e.output, e.grader_calls, e.grader_input, e.grader_output)
        return [*(f"{n:,}" for n in counts), "unknown" if cost is None else f"${cost:.4f}"]

    for part in parts:
        c = part.cell.checkpoint
        table.add_row(
            part.cell.task.removeprefix("em_evals/"),
            *(c.group, c.name, c.condition, part.state.status),
            f"{part.cell.answers - part.state.done:,}",
            *figures(part.left, part.cost),
        )
    answers = sum(part.cell.answers - part.state.done for part in parts)
    table.add_section()
    table.add_row("total", "", "", "", "", f"{answers:,}", *figures(left, cost))
    console = Console(highlight=False)
    # a table that does not fit is for the terminal to wrap, or for `less -S`: no figure is cut
    width = Measurement.get(console, console.options.update(width=10_000), table).maximum
    Console(highlight=False, markup=False, width=width).print(table, soft_wrap=True)
