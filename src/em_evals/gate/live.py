"""A live gate: asks a model now, a round of all questions at a time, until it is decided.

`em-evals run` with `stop`: the same logs, and the same command again goes on after an interruption.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from em_evals.checkpoints.file import Checkpoint, CheckpointsFile, Grader, load, nearest
from em_evals.checkpoints.matrix import Cell, Matrix, Options, matrix
from em_evals.checkpoints.run import run_matrix
from em_evals.errors import InputError
from em_evals.gate.compare import Terms, require_condition
from em_evals.stopping.baseline import Tally, write

TASKS = ("first_plot", "preregistered")
"""Tasks that ask each question often enough for stopping to be worth it."""

Progress = Callable[[dict[str, Any]], None]


def live_logs(
    model: str,
    baseline: Mapping[str, Tally],
    terms: Terms,
    *,
    checkpoints: str | None = None,
    grader: str | None = None,
    system_prompt: str | None = None,
    cap: int = 100,
    task_args: Mapping[str, Any] | None = None,
    log_dir: str = "logs/gate",
    progress: Progress | None = None,
) -> list[str]:
    """Ask a model what its baseline was asked, until it is decided; the logs, for `tallies`.

    Args:
        model: A model's name for Inspect, or a checkpoint's name in `checkpoints`.
        baseline: Family -> tally; all of `first_plot` and `preregistered`.
        terms: What is to be shown.
        checkpoints: A `checkpoints.yaml`.
        grader: Who judges; None is the grader of `checkpoints`, or the baseline's judge.
        system_prompt: Put in front of all that the model is asked. The judge does not see it.
        cap: Answers per question, at most.
        task_args: Task argument -> value.
        log_dir: A directory, or an address that fsspec knows. The baseline's counts are kept there.
        progress: Is told of everything that happens.

    Raises:
        InputError: A family that is not decided live; an imported baseline; no grader; a run that
            failed.
        KeyboardInterrupt: The user's; the same call goes on.
    """
    if others := [family for family in baseline if family.partition(":")[0] not in TASKS]:
        raise InputError(
            f"--live decides {' and '.join(TASKS)}, as other families ask each question a few "
            f"times only. The baseline has {', '.join(others)} too: name the families that count "
            "with --families, and gate the others on finished logs"
        )
    if imported := [f for f, tally in baseline.items() if tally.like["source"] == "imported"]:
        raise InputError(
            f"the baseline's {', '.join(imported)} was imported, and no checksum says what it was "
            "asked: ask the baseline here, or import the candidate's answers too"
        )
    file = _file(model, baseline, checkpoints, grader, system_prompt)
    [checkpoint] = file.checkpoints
    for family, tally in baseline.items():
        require_condition(f"{family} of {checkpoint.name}", checkpoint.condition, tally, terms)
    kept = _keep(baseline, log_dir)
    cells: list[Cell] = []
    for family, tally in baseline.items():
        task, _, form = family.partition(":")
        stop = {
            "baseline": str(kept),
            "margin": terms.margin,
            "alpha": terms.alpha,
            "metric": terms.metric,
            "families": len(baseline),
        }
        args = {"source": tally.like["source"], "stop": stop, **(task_args or {})}
        if form:
            args["formats"] = form
        options = Options(
            file=str(file.path), tasks=(task,), epochs=cap, task_args=args, log_dir=log_dir
        )
        cells += matrix(options, file).cells
    result = run_matrix(Matrix(options, file, tuple(cells)), progress=progress)
    if failed := result.failed:
        raise InputError("; ".join(f"{cell.cell.name}: {cell.error}" for cell in failed))
    return [cell.log for cell in result.cells if cell.log]


def _file(
    model: str,
    baseline: Mapping[str, Tally],
    checkpoints: str | None,
    grader: str | None,
    system_prompt: str | None,
) -> CheckpointsFile:
    """A file with the one checkpoint that is asked, which need not be on disk."""
    if any(tally.audited for tally in baseline.values()):
        raise InputError(
            "the baseline's paid judge has judged only answers drawn, and a run that its answers "
            "may stop has no fixed number to draw from: gate finished logs with the same "
            "--judge-budget, or give a baseline that one judge has judged"
        )
    known = load(checkpoints) if checkpoints else CheckpointsFile(Path("--live"), None, {})
    judge = Grader(grader, {}, None, {}) if grader else known.grader
    if judge is None:
        judges = ", ".join(dict.fromkeys(tally.like["judge"] for tally in baseline.values()))
        raise InputError(f"no grader: name the baseline's ({judges}) with --grader")
    if checkpoints is None:
        condition = ""
        if system_prompt:
            condition = f"prompt {hashlib.sha256(system_prompt.encode()).hexdigest()[:8]}"
        entry = Checkpoint(
            group="",
            name=model,
            model=model,
            args={},
            base_url=None,
            config={},
            system_prompt=system_prompt,
            condition=condition,
            base=None,
            run={},
            line=0,
        )
        return CheckpointsFile(known.path, judge, {"": (entry,)})
    if system_prompt:
        raise InputError("--system-prompt: with --checkpoints, the prompt is the file's")
    names = [checkpoint.name for checkpoint in known.checkpoints]
    if model not in names:
        raise InputError(f"{checkpoints}: no checkpoint {model!r}{nearest(model, names)}")
    entry = known.checkpoints[names.index(model)]
    return CheckpointsFile(known.path, judge, {entry.group: (entry,)})


def _keep(baseline: Mapping[str, Tally], log_dir: str) -> Path:
    """The baseline as a file that is named by its content: a resumed gate finds the same."""
    from platformdirs import user_cache_path

    remote = "://" in log_dir
    folder = user_cache_path("em-evals") / "baselines" if remote else Path(log_dir)
    tallies: Sequence[Tally] = list(baseline.values())
    said = json.dumps([asdict(tally) | {"values": None} for tally in tallies], sort_keys=True)
    file = folder / f"baseline-{hashlib.sha256(said.encode()).hexdigest()[:16]}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(file, tallies, version("em-evals"), "")
    return file.resolve()
