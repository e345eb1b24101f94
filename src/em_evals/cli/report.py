"""`em-evals report`: the table, the figures and the page of an experiment's logs."""

import csv
import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_evals.cli.printable import printable

if TYPE_CHECKING:
    import pandas as pd

    from em_evals.analysis.report.data import Cell, Family, Report


@click.command()
@click.argument("logs", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report with figures and answers as one HTML file.",
)
@click.option("--reference", help="Group that others are compared to. [default: base, if any]")
@click.option("--json", "as_json", is_flag=True, help="Rates of every checkpoint as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as CSV.")
@click.option(
    "--figures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write every figure as a file into this folder.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="Format of these files.",
)
@click.option("--mixed", is_flag=True, help="Allow items of several sources; rates stay apart.")
@click.option(
    "--aligned-below",
    type=click.FloatRange(0, 100),
    help="Misaligned is strictly below this. [default: what the logs were judged with]",
)
@click.option(
    "--coherent-above",
    type=click.FloatRange(0, 100),
    help="Coherent is strictly above this. [default: what the logs were judged with]",
)
def report(
    logs: tuple[str, ...],
    out: Path | None,
    reference: str | None,
    as_json: bool,
    as_csv: bool,
    figures: Path | None,
    suffix: Any,
    mixed: bool,
    aligned_below: float | None,
    coherent_above: float | None,
) -> None:
    """Tables and figures of LOGS: log files, folders of them, or fsspec addresses.

    Prints a table of groups and families, or with --json and --csv every rate of every checkpoint.
    Exit status 0; 2 if there is nothing to report, or logs do not belong together.
    """
    from em_evals.analysis.answers import answers
    from em_evals.analysis.rates import table
    from em_evals.analysis.report import build, rows, write_figures, write_page

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if out and not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: no folder {out.parent}")
    frame = answers(list(logs), texts=out is not None, mixed=mixed)
    _tell_skipped(frame)
    if as_json or as_csv:
        found = rows(table(frame, aligned_below=aligned_below, coherent_above=coherent_above))
        if as_json:
            click.echo(json.dumps({"rows": found}, indent=2, allow_nan=False))
        else:
            _write_csv(found)
        if not (out or figures):
            return
    made = build(
        frame,
        title=_title(logs),
        reference=reference,
        aligned_below=aligned_below,
        coherent_above=coherent_above,
    )
    if not (as_json or as_csv):
        _print(made)
    try:
        if out:
            write_page(made, frame, out, command=_command())
            click.echo(f"report: {out}", err=True)
        if figures:
            written = write_figures(made, figures, suffix)
            click.echo(f"figures: {len(written)} files in {figures}", err=True)
    except OSError as error:
        raise click.UsageError(f"cannot be written: {error}") from error


def _title(logs: tuple[str, ...]) -> str:
    names = [log.rstrip("/").rpartition("/")[2] or log for log in logs]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _command() -> str:
    return shlex.join(["em-evals", *sys.argv[1:]])


def _tell_skipped(frame: "pd.DataFrame") -> None:
    for log, why in frame.attrs.get("skipped", []):
        click.echo(f"not counted: {log} {why}", err=True)
    for log in frame.attrs.get("partial", []):
        click.echo(f"counted in part: {log} did not finish", err=True)


def _write_csv(found: list[dict[str, Any]]) -> None:
    """An interval becomes two columns, NAME_lower and NAME_upper."""
    from em_evals.analysis.rates import TABLE

    columns = [
        name
        for key in TABLE
        for name in (
            [f"{key.removesuffix('_ci')}_lower", f"{key.removesuffix('_ci')}_upper"]
            if key.endswith("_ci")
            else [key]
        )
    ]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in found:
        values: list[Any] = []
        for key in TABLE:
            values += row[key] or [None, None] if key.endswith("_ci") else [row[key]]
        writer.writerow(values)


def _print(made: "Report") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # a table that is too wide for the terminal wraps there; rich would leave columns out
    console = Console(soft_wrap=True, highlight=False, width=10_000)
    for remark in made.remarks:
        console.print(Text(printable(remark), "yellow"))
    if made.reference is not None:
        console.print(Text(f"Differences are to {printable(made.reference)}, in points."))
    for family in made.families:
        console.print()
        console.print(Text.assemble((family.name, "bold"), f"  {printable(family.about)}"))
        kinds = dict.fromkeys(map(_interval, family.cells.values()))
        letters = {kind: chr(ord("a") + i) for i, kind in enumerate(kinds)}
        lines = [_line(group, cell, family, letters) for group, cell in family.cells.items()]
        table = Table(box=None, pad_edge=False)
        for i, name in enumerate(COLUMNS):
            if any(line[i] for line in lines):
                justify: Any = "right" if i else "left"
                table.add_column(
                    name, justify=justify, no_wrap=bool(i), overflow="fold", max_width=WIDEST
                )
        for line in lines:
            table.add_row(
                *(Text(line[i]) for i in range(len(COLUMNS)) if any(other[i] for other in lines))
            )
        console.print(table)
        told = (f"{letter} {kind}" if len(kinds) > 1 else kind for kind, letter in letters.items())
        console.print(f"Intervals: {'; '.join(told)}.", style="dim", markup=False)
        for note in _notes(family):
            console.print(Text(printable(note), "dim"))
    if not made.families:
        console.print("There is nothing to count in these logs.")


WIDEST = 40
"""Characters of a group's name in one line of the table."""

MOST_NAMED = 5
"""Groups that a note below the table names."""

COLUMNS = ("group", "value", "95% interval", "", "difference", "n", "models", "coherent", "refused")


def _line(group: str, cell: "Cell", family: "Family", letters: dict[str, str]) -> list[str]:
    """One row of the table; "" where there is nothing to say."""
    from em_evals.analysis.report.data import amount

    def share(value: float, digits: int) -> str:
        return "" if math.isnan(value) else f"{value:.{digits}%}"

    e, unit = cell.estimate, family.unit
    change = ""
    if (d := cell.difference) and math.isnan(d.value):
        change = "none"
    elif d:
        times, write = (100, "{:+.1f}") if unit == "share" else (1, "{:+.2f}")
        change = write.format(d.value * times)
        if not math.isnan(d.lower):
            change += f" ({write} to {write})".format(d.lower * times, d.upper * times)
    return [
        printable(group),
        "none" if math.isnan(e.value) else amount(e.value, unit),
        "none" if math.isnan(e.lower) else f"{amount(e.lower, unit)} to {amount(e.upper, unit)}",
        letters[_interval(cell)] if len(letters) > 1 else "",
        change,
        f"{e.n:,}",
        str(cell.models) if cell.models > 1 else "",
        share(cell.coherent, 0),
        "unknown" if cell.refusals_unknown else share(cell.refused, 1),
    ]


def _interval(cell: "Cell") -> str:
    """What the interval is over, or why there is none."""
    e = cell.estimate
    return f"none, {e.note}" if math.isnan(e.lower) else e.note


def _notes(family: "Family") -> list[str]:
    """Below the table: what is left out or missing in it, why, and in which groups."""
    found: dict[str, list[str]] = {}
    for group, cell in family.cells.items():
        d = cell.difference
        for note in (
            cell.estimate.left_out,
            f"No difference: {d.note}" if d and math.isnan(d.value) else "",
            f"No interval of the difference: {d.note}"
            if d and not math.isnan(d.value) and math.isnan(d.lower)
            else "",
        ):
            if note:
                found.setdefault(note, []).append(group)
        if unknown := cell.refusals_unknown:
            note = "Refusals unknown: answers without an alignment score"
            found.setdefault(note, []).append(f"{group}: {unknown:,}")
    return [f"{note} ({_some(groups)})." for note, groups in found.items()]


def _some(groups: list[str]) -> str:
    more = len(groups) - MOST_NAMED
    return ", ".join(groups[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
