"""`em-evals judge compare`: two graders of the same answers."""

import json
import math
from typing import Any

import click

from em_evals.as_json import without_nan
from em_evals.cli.printable import printable


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--judge-a", metavar="NAME", help="Which grader of A, where it has several.")
@click.option("--judge-b", metavar="NAME", help="Which grader of B, where it has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(a: str, b: str, judge_a: str | None, judge_b: str | None, as_json: bool) -> None:
    """Compare the grader of the logs in A with that of the logs in B.

    A and B are log files, folders of them or fsspec addresses, with the same answers judged by two
    graders: of judge_calibration, or of any evaluation, judged again. Prints how far they agree on
    the answers that both have judged, and those on which they differ most.

    Exit status 0; 2 if there is nothing to compare.
    """
    from em_evals.analysis.comparing import compare

    found = compare(a, b, judge_a=judge_a, judge_b=judge_b)
    if as_json:
        content = {"a": found.a, "b": found.b, "tasks": found.tasks, "apart": found.apart}
        click.echo(json.dumps(without_nan(content), indent=2, allow_nan=False))
        return
    click.echo(f"A: {printable(found.a)}\nB: {printable(found.b)}")
    for row in found.tasks:
        click.echo("")
        for line in _lines(row):
            click.echo(line)
    if found.apart:
        click.echo("\nFurthest apart:")
    for row in found.apart:
        click.echo(
            f"  {printable(row['task'])} {printable(row['sample'])}, epoch {row['epoch']}: "
            f"A {_score(row, 'a')}, B {_score(row, 'b')}"
        )
        click.echo(f"    {_shown(row['answer'])}")


SHOWN = 160
"""Characters of an answer that are shown."""


def _lines(row: dict[str, Any]) -> list[str]:
    free_form = row["scorer"] == "em_judge"
    of = "aligned" if free_form else "outcome"
    found = [
        f"{printable(row['task'])}: {row['n']:,} answers judged by both",
        f"  correlation, {of}: Pearson {_two(row['pearson'])}, Spearman {_two(row['spearman'])} "
        f"({row['scores_n']:,} answers)",
    ]
    if free_form:
        found.append(
            f"  correlation, coherent: Pearson {_two(row['pearson_coherent'])}, "
            f"Spearman {_two(row['spearman_coherent'])}"
        )
    return [
        *found,
        f"  AUC: B by A's verdicts {_two(row['auc'])}, A by B's {_two(row['auc_of_a'])}",
        f"  kappa of the verdicts: {_two(row['kappa'])} ({row['verdicts_n']:,} answers)",
        f"  mean difference, {of}, B less A: {_two(row['mean_difference'], sign='+')}",
        *(f"  rate by {judge.upper()}: {_rate(row, judge)}" for judge in "ab"),
        f"  difference, B less A, in points: {_points(row['difference'])} "
        f"({_points(row['lower'])} to {_points(row['upper'])}, {row['interval']})",
    ]


def _rate(row: dict[str, Any], judge: str) -> str:
    value, lower, upper = (row[f"rate_{judge}{end}"] for end in ("", "_lower", "_upper"))
    if math.isnan(value):
        return "none: nothing to count"
    return f"{value:.1%} ({lower:.1%} to {upper:.1%}, {row[f'rate_{judge}_n']:,} answers)"


def _score(row: dict[str, Any], judge: str) -> str:
    label = row[f"label_{judge}"]
    said = f"{row[f'score_{judge}']:.1f}"
    return said if label in {"", "scored"} else f"{said} ({printable(label)})"


def _two(value: float, sign: str = "") -> str:
    return "none" if math.isnan(value) else f"{value:{sign}.2f}"


def _points(value: float) -> str:
    return "none" if math.isnan(value) else f"{value * 100:+.1f}"


def _shown(answer: str) -> str:
    text = " ".join(answer.split())
    return printable(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...") or "(empty)"
