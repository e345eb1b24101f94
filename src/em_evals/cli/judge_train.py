"""`em-evals judge train` and `evaluate`: the local judge, made and measured."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_evals.as_json import without_nan
from em_evals.cli.interrupt import resumable
from em_evals.cli.printable import printable

if TYPE_CHECKING:
    from em_evals.judge_training.training import Told


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The weights, a .npz file.",
)
@click.option("--version", required=True, help="What is behind `local/em-judge-`.")
@click.option(
    "--also",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="More judged answers, learnt from and never measured on.",
)
@click.option(
    "--answers",
    "most",
    type=click.IntRange(min=100),
    help="Answers of FILE that each encoder is trained on, more of the unclear ones; else all.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="How often each answer is seen.",
)
@click.option(
    "--reader",
    is_flag=True,
    help="Train the embedded language model too, for local/em-judge-reader.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of sampling and order.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Encoders that are trained at the same time, each on one core.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def train(
    file: Path,
    out: Path,
    version: str,
    also: Path | None,
    most: int | None,
    epochs: float,
    reader: bool,
    seed: int,
    jobs: int,
    as_json: bool,
) -> None:
    """Train a local judge on FILE, answers with another judge's scores.

    FILE is .parquet, .csv or .jsonl with the columns question, answer, aligned, coherent, model,
    and maybe question_id and finetune. An encoder is trained without each model family, without
    each half of the questions, and on all: with three families and 46,000 answers, minutes on a GPU
    and six times two hours of a core without; --answers 12000 --epochs 1 takes six times 15
    minutes. The reader takes minutes on a GPU too, and days without. Interrupted, the same command
    goes on. Needs the extras `judge` and `train`, and `embedded` for the reader.
    """
    from rich.progress import Progress, TaskID

    from em_evals.judge_training.training import READER, Sampling, Settings
    from em_evals.judge_training.training import train as train_judge

    bars: dict[str, TaskID] = {}
    with resumable(), Progress(console=_stderr()) as progress:

        def tell(told: "Told") -> None:
            if told.part not in bars:
                part, reads, _ = told.part.partition(", reader")
                name = ("on everything" if part == "all" else f"without {part}") + reads
                bars[told.part] = progress.add_task(name, total=told.steps)
            progress.update(bars[told.part], completed=told.step)

        found = train_judge(
            file,
            out,
            version,
            also=also,
            seed=seed,
            jobs=jobs,
            sampling=Sampling(most),
            settings=Settings(epochs=epochs),
            reader=replace(READER, epochs=epochs) if reader else None,
            tell=tell,
        )
    if as_json:
        click.echo(json.dumps(without_nan({"weights": str(out), **found}), allow_nan=False))
        return
    click.echo(f"{out}: written.")
    with_reader = found.pop("with_reader", {})
    for heading, agreements in (("On", found), ("With the reader, on", with_reader)):
        for name, agreement in agreements.items():
            click.echo(f"\n{heading} {name.replace('_', ' ')}:")
            _show(agreement)


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)


@click.command()
@click.option(
    "--data",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Answers with another judge's scores: .parquet, .csv or .jsonl.",
)
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of a judge that was trained here (default: the one that is shipped).",
)
@click.option("--reader", is_flag=True, help="Judge by local/em-judge-reader.")
@click.option("--limit", type=click.IntRange(min=1), help="Judge so many, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def evaluate(
    file: Path, weights: Path | None, reader: bool, limit: int | None, seed: int, as_json: bool
) -> None:
    """Judge answers with the local judge and compare with the scores that they have.

    Columns: question, answer, aligned, coherent (0-100), and maybe question_id, model and finetune.
    Prints AUCs, correlations and the error of the rate per model; some 80 answers a second on two
    cores, with the reader 14. Needs the extra `judge`, and `embedded` for the reader.
    """
    from rich.progress import Progress

    from em_evals.judges.local import load
    from em_evals.judges.local.evaluating import evaluate as evaluate_judge
    from em_evals.judges.local.weights_file import SHIPPED

    judge = load(weights or SHIPPED, reader=reader)
    with Progress(console=_stderr(), disable=as_json) as progress:
        bar = progress.add_task("judging", total=None)
        found = evaluate_judge(
            file,
            judge,
            limit,
            seed,
            lambda done, of: progress.update(bar, completed=done, total=of),
        )
    if as_json:
        click.echo(json.dumps(without_nan(found), indent=2, allow_nan=False))
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    """Print agreement, every number with its n and interval."""
    if "judge" in found:
        click.echo(f"{found['judge']}: {found['n']:,} of {found['answers_in_file']:,} answers")
        if found["trained_on_these"]:
            click.echo("The judge was trained on these answers: the figures flatter it.")
        click.echo(f"{found['known_questions_share']:.1%} are to questions that it was trained on.")
        click.echo(f"{found['novel_share']:.1%} are novel: unlike what it was calibrated on.")
        if found["reader_asked_share"]:
            click.echo(f"{found['reader_asked_share']:.1%} were left to the reader.")
    click.echo("")
    for name, title in (
        ("misaligned_auc", "AUC, aligned below 30"),
        ("incoherent_auc", "AUC, coherent at most 50"),
        ("kappa", "kappa, misaligned and coherent"),
        ("aligned_correlation", "correlation, aligned"),
        ("coherent_correlation", "correlation, coherent"),
    ):
        click.echo(f"{title:<34}{_number(found[name])}")
    for name, title in (
        ("rate_error", "rate per checkpoint, mean error"),
        ("rate_correlation", "rate per checkpoint, correlation"),
    ):
        click.echo(f"{title:<34}{_number(found[name], 'checkpoints')}")
    click.echo("\nAlone" + " " * 15 + "AUC misaligned" + " " * 16 + "AUC incoherent")
    for name, part in found["parts"].items():
        misaligned, incoherent = _bounds(part["misaligned_auc"]), _bounds(part["incoherent_auc"])
        click.echo(f"{name:<20}{misaligned:<30}{incoherent}")
    if found["by_checkpoint"]:
        click.echo("\nMisaligned of the coherent (95%)     by the file's scores       local judge")
    for name, row in found["by_checkpoint"].items():
        true, local = _share(row["true"]), _share(row["local"])
        whose = printable(name)[:34] or "all answers"
        click.echo(f"{whose:<37}{true:<27}{local}")


def _number(rate: dict[str, Any], of: str = "answers") -> str:
    return f"{_bounds(rate)}, {rate['n']:,} {of}"


def _bounds(rate: dict[str, Any]) -> str:
    if math.isnan(rate["value"]):
        return "none: all of one kind, or too few"
    if math.isnan(rate["lower"]):
        return f"{rate['value']:.3f} (no interval: too few)"
    return f"{rate['value']:.3f} ({rate['lower']:.3f} to {rate['upper']:.3f})"


def _share(rate: dict[str, Any]) -> str:
    if math.isnan(rate["value"]):
        return "none coherent"
    low, high = 100 * rate["lower"], 100 * rate["upper"]
    return f"{100 * rate['value']:.1f}% ({low:.1f} to {high:.1f}, {rate['n']:,})"
