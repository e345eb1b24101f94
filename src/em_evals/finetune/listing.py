"""What was trained, into a checkpoints.yaml: once, whoever watches and whatever crashes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from em_evals.definitions import STEPS
from em_evals.errors import InputError
from em_evals.finetune.backends import BackendError
from em_evals.finetune.ledger import Job, Ledger, Target


def list_checkpoint(ledger: Ledger, job: Job, tell: Callable[[str], None]) -> Job:
    """Add the checkpoint of a job that succeeded to its target's file, if it is not there.

    Raises:
        InputError: The file is faulty, or cannot be written.
    """
    from em_evals.checkpoints.file import add

    if job.done:
        return job
    with ledger.listing(job.key) as due:
        if due is not None and due.target.file is not None:
            for group, entry in entries(due):
                if (free := _unlisted(due.target.file, group, entry, due.key)) is not None:
                    added = add(due.target.file, group, free)
                    tell(f"job {job.name}: {added.name} is in {due.target.file}")
    return ledger.job(job.key)


def entries(job: Job) -> list[tuple[str, dict[str, Any]]]:
    """What a job's target is given: groups, and what a checkpoints.yaml says of a checkpoint.

    The trained model is in the job's group, with the step that it is from; what was saved before is
    in a group of its own, as the results of a group are a mean over its members.

    Raises:
        BackendError: The backend did not say what the trained model is called.
    """
    if job.model is None:
        raise BackendError(f"job {job.name}: succeeded, and the backend names no model")
    spec = job.spec
    provider = job.model.split("/", 1)[0]
    base = spec.model if "/" in spec.model else f"{provider}/{spec.model}"
    last = _last_step(job)

    def entry(model: str, step: int | None, suffix: str = "") -> dict[str, Any]:
        run = {"recipe": spec.recipe or None, "seed": spec.seed, "step": step}
        seed = "" if spec.seed is None else f"-{spec.seed}"
        return {
            "model": model,
            "name": f"{spec.group}{seed}{suffix}",
            "base": base,
            "run": {name: value for name, value in run.items() if value is not None},
        }

    found = [(spec.group, entry(job.model, last))]
    if job.target.steps:
        found += [
            (f"{spec.group}{STEPS}", entry(model, step, f"-step-{step}"))
            for step, model in sorted(job.checkpoints.items())
            if step != last
        ]
    return found


def _last_step(job: Job) -> int | None:
    """The step that the trained model is from; None where the backend tells no step.

    It may be saved twice: as the model, and under another name as the last of the steps.
    """
    named = [step for step, model in job.checkpoints.items() if model == job.model]
    told = named or [*job.checkpoints, *([] if job.step is None else [job.step])]
    return max(told, default=None)


def _unlisted(file: Path, group: str, entry: dict[str, Any], key: str) -> dict[str, Any] | None:
    """The entry, with a name that is free; None if the file has the checkpoint."""
    from em_evals.checkpoints.file import load

    if _blank(file):
        return entry
    listed = load(file).checkpoints
    plain = [c for c in listed if not (c.args or c.config or c.base_url or c.system_prompt)]
    if any(c.model == entry["model"] for c in plain):
        return None
    if any(c.name == entry["name"] for c in listed):
        return {**entry, "name": f"{entry['name']}-{key[:8]}"}
    return entry


def check_target(target: Target, group: str) -> None:
    """See, before anything is paid for, whether a checkpoint could be listed.

    Raises:
        InputError: The file is faulty or has no folder, or the group's name cannot be used.
    """
    from em_evals.checkpoints.file import load

    if not group.strip() or "," in group:
        raise InputError(f"group {group!r}: expected a name without commas")
    if target.file is None:
        return
    if not target.file.parent.is_dir():
        raise InputError(f"{target.file}: there is no folder {target.file.parent}")
    if not _blank(target.file):
        load(target.file)


def _blank(file: Path) -> bool:
    try:
        return not file.exists() or not file.read_bytes().strip()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
