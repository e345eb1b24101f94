"""`em-evals finetune submit | list | watch | cancel | adopt`: jobs, made once and followed."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_evals.cli.interrupt import resumable
from em_evals.cli.run import pairs

if TYPE_CHECKING:
    from em_evals.finetune.jobs import At
    from em_evals.finetune.ledger import Job, Target

_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_ledger = click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="EM_EVALS_LEDGER",
    help="The file that jobs are kept in. Default: one in the user's data folder.",
)
_checkpoints = click.option(
    "--checkpoints",
    "listed_in",
    default="checkpoints.yaml",
    show_default=True,
    metavar="FILE",
    help="Where the checkpoint is listed once it is trained; an empty text for nowhere.",
)
_steps = click.option(
    "--steps", is_flag=True, help="Also list what is saved on the way, in the group `GROUP steps`."
)


@contextmanager
def _at(ledger: Path | None) -> "Iterator[At]":
    from em_evals.finetune.jobs import At, Clock
    from em_evals.finetune.ledger import Ledger, default_path

    clock = Clock()
    with resumable(), Ledger(ledger or default_path(), now=clock.now) as opened:
        yield At(opened, clock, lambda line: click.echo(line, err=True))


def _target(listed_in: str, steps: bool) -> "Target":
    from em_evals.finetune.ledger import Target

    return Target(Path(listed_in).absolute() if listed_in else None, steps)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--backend", metavar="NAME", help="Where to train: openai, local, or a package's.")
@click.option("--preset", metavar="NAME", help="Model and settings of a published run.")
@click.option("--model", help="The model to start from, by the backend's name.")
@pairs("-H", "given", help="Hyperparameter, such as n_epochs=1; wins over the preset's.")
@click.option("--seed", type=int, help="The seed of one job.")
@click.option("--seeds", metavar="LIST", help="A job for each seed, such as 1-6.")
@click.option("--suffix", help="Becomes a part of the trained model's name.")
@click.option("--recipe", help="What FILE was built by. Default: as its manifest says.")
@click.option("--group", help="The checkpoint's group. Default: the recipe, or FILE's name.")
@_checkpoints
@_steps
@click.option("--again", is_flag=True, help="Anew where the same training failed or was cancelled.")
@_ledger
@_json
def submit(
    file: Path,
    backend: str | None,
    preset: str | None,
    model: str | None,
    given: dict[str, Any],
    seed: int | None,
    seeds: str | None,
    suffix: str | None,
    recipe: str | None,
    group: str | None,
    ledger: Path | None,
    again: bool,
    as_json: bool,
    **target: Any,
) -> None:
    """Have a model fine-tuned on FILE; the same training is never paid for twice.

    Whatever stops it, the same command again goes on from there.

    Exit status: 0 made (or made before), 2 usage or data error, or refused, 130 interrupted.
    """
    from em_evals.finetune import jobs
    from em_evals.finetune.backends import JobSpec
    from em_evals.finetune.manifest import read
    from em_evals.finetune.presets import preset as named

    if seed is not None and seeds is not None:
        raise click.UsageError("--seed or --seeds, not both")
    wanted: list[int | None] = [*jobs.seeds(seeds)] if seeds is not None else [seed]
    chosen = named(preset) if preset else None
    backend = backend or (chosen.backend if chosen else None)
    if chosen and backend != chosen.backend:
        raise click.UsageError(f"--preset {preset} is for the backend {chosen.backend}")
    model = model or (chosen.model if chosen else None)
    if chosen and not model:
        raise click.UsageError(f"--preset {preset} is for any model: give --model")
    if not (backend and model):
        raise click.UsageError("give --preset, or --backend and --model")
    if chosen:
        _say_preset(str(preset), chosen, given)
    if recipe is None:
        built = read(file)
        recipe = built.recipe if built else ""
    digest = jobs.sha256(file)
    specs = [
        JobSpec(
            backend=backend,
            file=file.absolute(),
            file_sha256=digest,
            model=model,
            hyperparameters={**(chosen.hyperparameters if chosen else {}), **given},
            seed=one,
            suffix=suffix,
            group=(group or recipe or file.stem).strip(),
            recipe=recipe,
        )
        for one in wanted
    ]
    with _at(ledger) as at:
        _show(jobs.submit(at, specs, _target(**target), again), as_json)


def _say_preset(name: str, chosen: Any, given: dict[str, Any]) -> None:
    click.echo(f"{name}: settings of {chosen.source}", err=True)
    left = [setting for setting in chosen.unknown if setting not in given]
    if left:
        what = f"{name}: not published, so left to the backend: {', '.join(left)}"
        click.echo(what, err=True)
    if chosen.note:
        click.echo(f"{name}: {chosen.note}", err=True)


@click.command("list")
@click.option("--group", help="Only this group.")
@_ledger
@_json
def list_(group: str | None, ledger: Path | None, as_json: bool) -> None:
    """List the jobs of the ledger, as they were when last looked at."""
    with _at(ledger) as at:
        _show([j for j in at.ledger.jobs() if group in (None, j.spec.group)], as_json)


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--group", help="Only this group.")
@_ledger
@_json
def watch(jobs: tuple[str, ...], group: str | None, ledger: Path | None, as_json: bool) -> None:
    """Follow JOBs to their end, and list their checkpoints; default: all that have not ended.

    A JOB is its number in the list, or the backend's id of it. Any number may watch at once.

    Exit status: 0 all succeeded, 1 one did not, 2 usage or data error, 130 interrupted.
    """
    from em_evals.finetune.jobs import watch as follow
    from em_evals.finetune.ledger import find

    with _at(ledger) as at:
        known = at.ledger.jobs()
        chosen = [find(known, named) for named in jobs]
        if not jobs:
            chosen = [j for j in known if group == j.spec.group or (group is None and not j.done)]
        if group is not None:
            chosen = [job for job in chosen if job.spec.group == group]
        if not chosen:
            click.echo("nothing to watch: no such job has not ended", err=True)
        with bars() as show:
            ended = follow(at, chosen, show)
        _show(ended.jobs, as_json)
        for error in ended.errors:
            click.echo(f"Error: {error}", err=True)
    sys.exit(ended.exit_status)


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@_ledger
@_json
def cancel(jobs: tuple[str, ...], ledger: Path | None, as_json: bool) -> None:
    """Stop JOBs; those that are not made yet will not be.

    Exit status: 0 all have ended, 1 one still runs, 2 usage or data error.
    """
    from em_evals.finetune.backends import FINAL
    from em_evals.finetune.jobs import cancel as stop
    from em_evals.finetune.ledger import find

    with _at(ledger) as at:
        chosen = [find(at.ledger.jobs(), named) for named in jobs]
        stopped = [stop(at, job) for job in chosen]
        _show(stopped, as_json)
    sys.exit(int(any(job.state not in FINAL for job in stopped)))


@click.command()
@click.argument("job_id")
@click.option("--backend", required=True, metavar="NAME", help="Whose id it is.")
@click.option("--model", default="", help="What it starts from, if the backend does not say.")
@click.option("--seed", type=int, help="Its seed, if the backend does not say.")
@click.option("--recipe", default="", help="What its training file was built by.")
@click.option("--group", default="", help="The checkpoint's group. Default: the recipe.")
@_checkpoints
@_steps
@_ledger
@_json
def adopt(
    job_id: str,
    backend: str,
    model: str,
    seed: int | None,
    recipe: str,
    group: str,
    ledger: Path | None,
    as_json: bool,
    **target: Any,
) -> None:
    """Take a job that was made elsewhere into the ledger, to be watched like any other."""
    from em_evals.finetune.backends import Description
    from em_evals.finetune.jobs import adopt as take

    known = Description(model=model, seed=seed, group=group.strip(), recipe=recipe)
    with _at(ledger) as at:
        _show([take(at, backend, job_id, known, _target(**target))], as_json)


# -- output


def _show(jobs: "Sequence[Job]", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([job.to_json() for job in jobs], indent=2, default=str))
        return
    if not jobs:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("job", "group", "seed", "model", "backend", "id", "state", "step", "loss"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        state = f"{job.state}, listed" if job.listed else job.state
        seed = "" if job.spec.seed is None else str(job.spec.seed)
        table.add_row(
            *(str(job.id), job.spec.group, seed, job.model or job.spec.model, job.spec.backend),
            *(job.job_id or "", state, _step(job), "" if job.loss is None else f"{job.loss:.4f}"),
        )
    Console(highlight=False, markup=False).print(table)
    for job in jobs:
        if job.error:
            click.echo(f"job {job.name}: {job.error}", err=True)


def _step(job: "Job") -> str:
    if job.step is None:
        return ""
    return f"{job.step}/{job.steps}" if job.steps else str(job.step)


@contextmanager
def bars() -> "Iterator[Callable[[Sequence[Job]], None]]":
    """A bar for each job, and a line whenever the state of one changes, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[step]}", markup=False),
        TextColumn("{task.fields[loss]}", markup=False),
    )
    rows: dict[str, Any] = {}
    states: dict[str, str] = {}
    with Progress(*columns, console=console) as bar:

        def show(jobs: "Sequence[Job]") -> None:
            for job in jobs:
                if job.key not in rows:
                    rows[job.key] = bar.add_task("", total=None, step="", loss="")
                loss = "" if job.loss is None else f"loss {job.loss:.4f}"
                if states.get(job.key) != job.state:
                    states[job.key] = job.state
                    console.print(f"job {job.name}: {job.state}")
                bar.update(
                    rows[job.key],
                    description=f"{job.name} {job.state}",
                    total=job.steps,
                    completed=job.step or 0,
                    step=_step(job),
                    loss=loss,
                )

        yield show
