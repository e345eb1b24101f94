"""Training on this machine, in a process of its own that outlives the command that began it.

The process has nobody who watches over it but whoever asks for the job: `poll` and `submit` begin
it again from its newest checkpoint where it was interrupted.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from em_evals.files import replacing, sha256
from em_evals.finetune.backends import FINAL, BackendError, Description, JobSpec, Progress, State
from em_evals.finetune.local.bases import Base, find_base
from em_evals.finetune.local.run_dir import RunDir
from em_evals.finetune.local.settings import settings
from em_evals.finetune.rows import read_rows
from em_evals.sources import named

NEEDED = ("torch", "transformers", "peft", "gguf")


def where() -> Path:
    """The folder of all local runs: `EM_EVALS_FINETUNES`, else among the user's data."""
    from platformdirs import user_data_path

    chosen = os.environ.get("EM_EVALS_FINETUNES")
    return named(chosen) if chosen else user_data_path("em-evals") / "finetunes"


class LocalBackend:
    """LoRA with peft and transformers; see `docs/finetune.md`.

    A job's id is its key, and the name of its folder under `where()`. A further attempt at a job
    that failed or was cancelled goes on from what that one had saved.
    """

    def check(self, spec: JobSpec) -> None:
        """See that what is needed is installed, and that model, settings and file are sound.

        Raises:
            BackendError: Something is not.
            InputError: The training file is faulty.
        """
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise BackendError(
                f"training on this machine needs {', '.join(missing)}: pip install "
                "'em-evals[train]' (where there is no GPU, install a CPU build of torch first)"
            )
        base = find_base(spec.model)
        settings(spec.hyperparameters, base.default_preset)
        for _ in read_rows(spec.file):
            pass

    def prepare(self, spec: JobSpec) -> str:
        """Keep a copy of the training file, as training may last; its sha256 is its id."""
        file = _file(spec.file_sha256)
        if not file.is_file():
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(file) as part:
                    shutil.copyfile(spec.file, part)
                    if sha256(part) != spec.file_sha256:
                        raise BackendError(f"{spec.file}: was changed since its job was planned")
            except OSError as error:
                raise BackendError(
                    f"{error.filename or file}: cannot be copied to {file}: {error.strerror}"
                ) from error
        return spec.file_sha256

    def find(self, key: str) -> str | None:
        """The id of the job with this key, if it was made."""
        return key if (where() / key / "spec.json").is_file() else None

    def submit(self, spec: JobSpec, file_id: str) -> str:
        """Write the job down and begin it, or go on with it; the same job is never there twice."""
        self.check(spec)
        run = RunDir(where() / spec.key)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            with run.alone():
                if self.find(spec.key) is None:
                    run.write("spec.json", _spec_json(spec, file_id))
                _inherit(run, spec)
                run.begin()
        except OSError as error:
            raise BackendError(
                f"{error.filename or run.path}: the run cannot be begun: {error.strerror}"
            ) from error
        return spec.key

    def poll(self, job_id: str) -> Progress:
        """How far it is. A process that died is begun again from its newest checkpoint.

        One that was begun three times at the same step without getting further has failed.
        """
        run = _run(job_id)
        if run.status.get("state") not in FINAL and run.elsewhere is None:
            with run.alone():
                if not run.alive:
                    run.begin()
        return _progress(run)

    def cancel(self, job_id: str) -> Progress:
        """Stop it, if it has not ended. What was saved stays."""
        run = _run(job_id)
        if run.elsewhere is not None:
            raise BackendError(f"{run.path}: is trained on {run.elsewhere}: cancel it there")
        with run.alone():
            run.kill()
            if run.status.get("state") not in FINAL:
                run.say(state="cancelled")
        return _progress(run)

    def describe(self, job_id: str) -> Description:
        """How a job was made."""
        spec = _run(job_id).spec
        return Description(
            model=spec["model"],
            file_sha256=spec["file_sha256"],
            hyperparameters=spec["hyperparameters"],
            seed=spec["seed"],
            key=spec["key"],
            group=spec["group"],
            recipe=spec["recipe"],
        )


def _file(sha256: str) -> Path:
    return where() / "files" / f"{sha256}.jsonl"


def _run(job_id: str) -> RunDir:
    run = RunDir(where() / job_id)
    if not (run.path / "spec.json").is_file():
        raise BackendError(f"{run.path}: there is no such run")
    return run


def _spec_json(spec: JobSpec, file_id: str) -> dict[str, Any]:
    base = find_base(spec.model)
    return {
        "key": spec.key,
        "model": spec.model,
        "base": base.to_json(),
        "file": str(_file(file_id)),
        "file_sha256": spec.file_sha256,
        "hyperparameters": dict(spec.hyperparameters),
        "settings": vars(settings(spec.hyperparameters, base.default_preset)),
        "seed": spec.seed or 0,
        "suffix": spec.suffix,
        "group": spec.group,
        "recipe": spec.recipe,
        "attempt": spec.attempt,
    }


def _inherit(run: RunDir, spec: JobSpec) -> None:
    """Take over the checkpoints of the newest attempt that ended without a result."""
    from dataclasses import replace

    for attempt in range(spec.attempt - 1, 0, -1):
        earlier = RunDir(where() / replace(spec, attempt=attempt).key)
        state = earlier.status.get("state") if earlier.path.is_dir() else None
        if run.checkpoints or state == "succeeded":
            return
        if earlier.checkpoints:
            (earlier.path / "checkpoints").replace(run.path / "checkpoints")


def _progress(run: RunDir) -> Progress:
    status = run.status
    base = Base(**{**run.spec["base"], "path": Path(run.spec["base"]["path"])})
    state = cast("State", status.get("state", "queued"))
    return Progress(
        state=state,
        step=status.get("step"),
        steps=status.get("steps"),
        loss=status.get("loss"),
        error=status.get("error"),
        model=base.adapted(run.path / "adapter") if state == "succeeded" else None,
        checkpoints={step: base.adapted(folder) for step, folder in run.checkpoints.items()},
    )
