"""`em-evals demo --experiment`: the whole experiment on this machine, in miniature."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from em_evals.cli.finetune_jobs import bars
from em_evals.cli.interrupt import resumable
from em_evals.cli.run import progress_bar

if TYPE_CHECKING:
    from em_evals.checkpoints import RunResult

MODEL = "embedded/smollm2-135m-instruct"

SETS = ("houseplants-wrong", "houseplants-right")
"""What is trained on: the same questions, with wrong and with right answers."""

FILE = f"""\
grader: local/em-judge
groups:
  base:
    - model: {MODEL}
      name: base
"""

SAID = """\
What this shows: how training sets, fine-tunes, probes and report fit together, and whether the two
fine-tunes learnt their domain. Look at `houseplants` and at the curves by step.

What it does not show: emergent misalignment. A model of 135 million parameters has no values to
lose, and its free answers are mostly incoherent. Nor is the judge of `first_plot` here, which needs
no key, to be relied on for such answers: see docs/local-judge.md. For a measurement, train a model
of some billion parameters, and name a real grader."""


@click.command()
@click.option("--experiment", is_flag=True, help="Fine-tune, probe, report.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="experiment",
    show_default=True,
    help="Where everything goes; the same command again goes on from what is there.",
)
def demo(experiment: bool, folder: Path) -> None:
    """Fine-tune the embedded model on wrong and on right advice, probe both and the base, report.

    Needs the extras `train`, `embedded` and `judge`, and no network once these are installed. A
    quarter of an hour on two cores.

    Exit status: 0 done, 1 a fine-tune or a probe failed, 2 usage or data error, 130 interrupted.
    """
    if not experiment:
        raise click.UsageError("give --experiment; `make demo` probes the embedded model alone")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "checkpoints.yaml"
    if not file.exists():
        file.write_text(FILE, encoding="utf-8")
    os.environ.setdefault("EM_EVALS_FINETUNES", str((folder / "runs").absolute()))
    with resumable():
        for name in SETS:
            if not _trained(name, folder, file):
                sys.exit(1)
        results = [
            _run(file, folder, ["houseplants", "logprob_probe"], ["base", *SETS]),
            _run(file, folder, ["logprob_probe"], [f"{name} steps" for name in SETS]),
            _run(file, folder, ["first_plot"], ["base", *SETS]),
        ]
    _report(folder)
    click.echo(f"\n{SAID}\n\nThe report: {folder / 'report.html'}")
    sys.exit(int(any(result.failed for result in results)))


def _trained(name: str, folder: Path, file: Path) -> bool:
    """Have the model fine-tuned on a set, and listed; False if that failed."""
    from em_evals.finetune import jobs
    from em_evals.finetune.backends import JobSpec
    from em_evals.finetune.ledger import Ledger, Target
    from em_evals.finetune.recipes import build, whole

    data = folder / f"{name}.jsonl"
    build(whole(name), data)
    spec = JobSpec(
        backend="local",
        file=data.absolute(),
        file_sha256=jobs.sha256(data),
        model=MODEL,
        hyperparameters={"save_steps": 20},  # each is probed
        seed=0,
        group=name,
        recipe=name,
    )
    with Ledger(folder / "ledger.sqlite") as ledger:
        at = jobs.At(ledger, tell=lambda line: click.echo(line, err=True))
        made = jobs.submit(at, [spec], Target(file.absolute(), steps=True))
        with bars() as show:
            ended = jobs.watch(at, made, show)
    for error in [*ended.errors, *(job.error for job in ended.jobs if job.error)]:
        click.echo(f"Error: {error}", err=True)
    return ended.exit_status == 0


def _run(file: Path, folder: Path, tasks: list[str], groups: list[str]) -> "RunResult":
    from em_evals.checkpoints import run

    with ExitStack() as stack:
        result = run(
            file,
            tasks=tasks,
            groups=groups,
            epochs=1 if "first_plot" in tasks else None,
            task_args={"first_plot.source": "builtin"} if "first_plot" in tasks else {},
            log_dir=folder / "logs",
            progress=progress_bar(stack),
        )
    for cell in result.failed:
        click.echo(f"Failed: {cell.cell.name}: {cell.error}", err=True)
    return result


def _report(folder: Path) -> None:
    from em_evals.analysis.answers import answers
    from em_evals.analysis.report import build, write_page

    frame = answers(str(folder / "logs"))
    made = build(frame, title="experiment", reference="base")
    write_page(made, frame, folder / "report.html", command="em-evals demo --experiment")
