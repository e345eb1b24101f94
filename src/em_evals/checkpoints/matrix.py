"""The matrix: every task on every checkpoint, what is done of it, and what is left."""

import hashlib
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from em_evals.checkpoints.cost import (
    Estimate,
    Shown,
    estimate,
    needs_grader,
    profile,
    runs_here,
    shown,
)
from em_evals.checkpoints.file import (
    Checkpoint,
    CheckpointsFile,
    Grader,
    canonical,
    load,
    nearest,
    read_value,
)
from em_evals.checkpoints.logs import Logged, held, said
from em_evals.errors import InputError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog

FAMILIES = (
    "first_plot",
    "preregistered",
    "deception_factual",
    "deception_identity",
    "truthfulqa",
    "strong_reject",
    "machiavelli",
    "insecure_code",
)
"""The tasks that run where none are named."""

ON_REQUEST = ("logprob_probe", "houseplants")
"""The other tasks of ours: one needs token probabilities, one is of our own fine-tunes' domain."""


AUDITED = ("em_evals/first_plot", "em_evals/preregistered")
"""The tasks whose answers a local judge can judge for a paid one to audit."""

LOCAL_JUDGE, LOCAL_READER = "local/em-judge", "local/em-judge-reader"
"""Who judges every answer where there is a judge budget: without and with the reader."""


class MatrixError(InputError):
    """The matrix cannot be laid out as asked."""


@dataclass(frozen=True)
class Options:
    """What is to be run; plain data, as it also goes to other processes."""

    file: str
    tasks: tuple[str, ...] = ()
    """Names of ours, or PACKAGE/TASK; empty: all of ours."""
    groups: tuple[str, ...] = ()
    """Empty: all."""
    checkpoints: tuple[str, ...] = ()
    """Empty: all."""
    epochs: int | None = None
    """Answers per sample; None: as many as each task says."""
    limit: int | None = None
    """Samples of each task, from the first; None: all."""
    task_args: Mapping[str, Any] = field(default_factory=dict)
    """Argument, or TASK.ARGUMENT, -> value; given to the tasks that have it."""
    log_dir: str = "logs"
    prices: str | None = None
    judge_budget: int | None = None
    """Answers of each cell that the file's grader judges, the local judge all; None: it judges all
    itself."""
    judge_reader: bool = False
    """Where there is a judge budget, the local judge is the slower one with the reader."""


@dataclass(frozen=True)
class Cell:
    """One task on one checkpoint: one log."""

    task: str
    """Its registry name, such as `em_evals/first_plot`."""
    args: Mapping[str, Any]
    checkpoint: Checkpoint
    id: str
    """Stands for all that the answers depend on. Kept in the log, and Inspect's own identity of a
    task includes it: a cell with the same id is the same measurement."""
    ids: tuple[str | int, ...]
    """Of the samples, in their order."""
    epochs: int
    shown: Shown
    """How long they are."""

    @property
    def samples(self) -> int:
        """How many it has."""
        return len(self.ids)

    @property
    def graded(self) -> bool:
        """Whether the grader may be called: always so for a task that is not ours."""
        return needs_grader(self.task, self.args) or not self.task.startswith("em_evals/")

    @property
    def answers(self) -> int:
        """How many answers it is to have."""
        return self.samples * self.epochs

    @property
    def name(self) -> str:
        """For people: task, arguments and checkpoint."""
        args = "".join(
            f" {key}={_shown(value)}" for key, value in self.args.items() if key != "stop"
        )
        return f"{self.task.removeprefix('em_evals/')}{args} on {self.checkpoint.name}"

    def left(self, done: int) -> Estimate:
        """What the answers take that are still to be made."""
        kind = profile(self.task, self.args)
        system = self.checkpoint.system_prompt
        return estimate(max(self.answers - done, 0), self.shown, kind, system)


@dataclass(frozen=True)
class Matrix:
    """All cells of one command."""

    options: Options
    file: CheckpointsFile
    cells: tuple[Cell, ...]

    @property
    def grader(self) -> Grader | None:
        """Who judges every answer."""
        return _judge(self.options, self.file)

    @property
    def auditor(self) -> Grader | None:
        """Who judges the answers drawn, where there is a judge budget."""
        return None if self.options.judge_budget is None else self.file.grader

    def command(self, cell: Cell) -> str:
        """A shell command that runs one cell, wherever it is given: paths are absolute."""
        o = self.options
        words = ["em-evals", "run", str(Path(o.file).resolve())]
        words += ["--checkpoints", cell.checkpoint.name]
        words += ["--tasks", cell.task.removeprefix("em_evals/")]
        words += ["--log-dir", o.log_dir if "://" in o.log_dir else str(Path(o.log_dir).resolve())]
        for key, value in cell.args.items():
            words += ["-T", f"{key}={_shown(value)}"]
        for option, given in (
            ("--epochs", o.epochs),
            ("--limit", o.limit),
            ("--judge-budget", o.judge_budget),
        ):
            if given is not None:
                words += [option, str(given)]
        if o.judge_reader:
            words += ["--judge-reader"]
        if o.prices is not None:
            words += ["--prices", str(Path(o.prices).resolve())]
        return shlex.join(words)


def matrix(options: Options, file: CheckpointsFile | None = None) -> Matrix:
    """Lay out the matrix: read the file, make every task once, count its samples.

    Tasks that read originals fetch them now, if need be, so that nothing is missing later.

    Args:
        options: What is to be run.
        file: What `options.file` would hold; None reads it.

    Raises:
        InputError: A faulty file, an unknown name, a task that cannot be made as asked, or a task
            that needs a grader where the file names none; a folder for logs that Inspect could
            not read them in.
    """
    file = file or load(options.file)
    chosen = _chosen_checkpoints(file, options)
    if not chosen:
        raise MatrixError(f"{options.file} has no checkpoint: em-evals checkpoints add")
    for name, value in (("epochs", options.epochs), ("limit", options.limit)):
        if value is not None and value < 1:
            raise MatrixError(f"{name}={value}: expected 1 or more")
    _require_readable(options.log_dir)
    tasks = {name: task_function(name) for name in map(_full_name, options.tasks or FAMILIES)}
    given = _args_by_task(tasks, options.task_args)
    if options.judge_budget is not None:
        _require_auditable(options, options.judge_budget, file, given)
    elif options.judge_reader:
        raise MatrixError(
            "--judge-reader says which local judge goes with a --judge-budget, and none is given. "
            f"To judge by it alone: `grader: {LOCAL_READER}` in {options.file}"
        )
    grader = _judge(options, file)
    made: dict[str, tuple[tuple[str | int, ...], int, Shown, str | int]] = {}
    cells = []
    for checkpoint, task in product(chosen, tasks):
        args = _for_checkpoint(given[task], tasks[task], checkpoint)
        if needs_grader(task, args) and file.grader is None:
            raise MatrixError(
                f"{task} is judged by a model, and {options.file} names none: add a line such as "
                "`grader: openai/gpt-4o-2024-08-06`"
            )
        key = canonical([task, args])
        if key not in made:
            one = _made(task, tasks[task], args)
            epochs = options.epochs or one.epochs or 1
            length = shown(one, options.limit)
            made[key] = _ids(one, options.limit), epochs, length, one.version
        ids, epochs, length, version = made[key]
        cell = Cell(task, args, checkpoint, "", ids, epochs, length)
        cells.append(replace(cell, id=_id(cell, version, grader)))
    return Matrix(options, file, tuple(cells))


def _require_readable(log_dir: str) -> None:
    """Refuse a folder in which Inspect writes logs and cannot read them, before any is paid for."""
    if "://" in log_dir:
        return
    place = Path(log_dir).absolute()
    # it reads by a file:// address, in which these end the path or stand for something else
    if found := re.search(r"[#?]|%[0-9a-fA-F]{2}", str(place)):
        raise MatrixError(
            f"--log-dir {log_dir}: Inspect cannot read logs in a folder with {found[0]!r} in its "
            f"path ({place}): choose another"
        )


def _judge(options: Options, file: CheckpointsFile) -> Grader | None:
    if options.judge_budget is None:
        return file.grader
    return Grader(LOCAL_READER if options.judge_reader else LOCAL_JUDGE, {}, None, {})


def _require_auditable(
    options: Options, budget: int, file: CheckpointsFile, args: Mapping[str, Mapping[str, Any]]
) -> None:
    if budget < 1:
        raise MatrixError(
            f"--judge-budget {budget}: expected 1 or more answers for the paid judge; without any, "
            f"let the local judge grade alone: `grader: {LOCAL_JUDGE}` in {options.file}"
        )
    if others := [task for task in args if task not in AUDITED]:
        names = ", ".join(task.removeprefix("em_evals/") for task in others)
        raise MatrixError(
            f"--judge-budget is for first_plot and preregistered, not for {names}: "
            "--tasks first_plot,preregistered"
        )
    if file.grader is None:
        raise MatrixError(
            f"--judge-budget: {options.file} names no grader to spend it on: add a line such as "
            "`grader: openai/gpt-4o-2024-08-06`"
        )
    if file.grader.model.startswith("local/"):
        raise MatrixError(
            f"--judge-budget: the grader of {options.file} is {file.grader.model}, which is the "
            "local judge itself: name the paid one, or leave the budget out"
        )
    if "://" in options.log_dir:
        raise MatrixError(f"--judge-budget: logs in {options.log_dir}: expected a local folder")
    for task, given in args.items():
        for name, why in NOT_AUDITED.items():
            if given.get(name) is not None:
                raise MatrixError(f"--judge-budget: {task} with {name}={given[name]}: {why}")


NOT_AUDITED = {
    "stop": "a run that its answers may stop has no fixed number to draw from",
    "topic": "the local judge cannot say what an answer is about",
    "judge_mode": "the two judges are not read in one way: leave it out",
}
"""Task arguments that do not go with a judge budget, and why."""


def _ids(task: "Task", limit: int | None) -> tuple[str | int, ...]:
    """The ids of the samples that are run; Inspect counts those that have none from 1."""
    samples = enumerate(task.dataset[slice(limit)], 1)
    return tuple(number if sample.id is None else sample.id for number, sample in samples)


def _id(cell: Cell, version: str | int, grader: Grader | None) -> str:
    c = cell.checkpoint
    parts: list[Any] = [cell.task, dict(cell.args), version, c.name, c.measured]
    if grader and cell.graded:
        parts.append([_versioned(grader.model), dict(grader.args), dict(grader.config)])
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def _versioned(model: str) -> str:
    """A grader's name; two versions of a local judge are two judges."""
    if model not in (LOCAL_JUDGE, LOCAL_READER):
        return model
    from em_evals.judges.local.agreement import versioned  # numpy

    return versioned(model)


def _chosen_checkpoints(file: CheckpointsFile, options: Options) -> list[Checkpoint]:
    names = [checkpoint.name for checkpoint in file.checkpoints]
    for kind, wanted, known in (
        ("group", options.groups, list(file.groups)),
        ("checkpoint", options.checkpoints, names),
    ):
        for name in wanted:
            if name not in known:
                raise MatrixError(f"{options.file}: no {kind} {name!r}{nearest(name, known)}")
    return [
        c
        for c in file.checkpoints
        if (not options.groups or c.group in options.groups)
        and (not options.checkpoints or c.name in options.checkpoints)
    ]


# -- tasks


def _full_name(task: str) -> str:
    return task if "/" in task else f"em_evals/{task}"


def task_function(name: str) -> Callable[..., "Task"]:
    """The `@task` function of a registry name, such as `inspect_evals/mmlu_0_shot`.

    Raises:
        MatrixError: No such package is installed, or it has no such task.
    """
    package, _, task = name.partition("/")
    installed = [e for e in entry_points(group="inspect_ai") if e.name == package]
    if not installed:
        raise MatrixError(
            f"no package {package!r} with Inspect tasks is installed, for the task {name!r}"
            + (": pip install 'em-evals[controls]'" if package == "inspect_evals" else "")
        )
    registry = installed[0].load()
    function = getattr(registry, task, None)
    ours = (*FAMILIES, *ON_REQUEST)
    if name == "em_evals/judge_calibration":
        raise MatrixError(
            "judge_calibration measures graders, not checkpoints: inspect eval "
            "em_evals/judge_calibration --model none --model-role grader=..."
        )
    if package == "em_evals" and task not in ours:
        raise MatrixError(f"no task {task!r}{nearest(task, ours)}")
    if not callable(function):
        raise MatrixError(f"{package} has no task {task!r}: expected one of its own tasks' names")
    return function  # type: ignore[no-any-return]


def _args_by_task(
    tasks: Mapping[str, Callable[..., "Task"]], given: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What each task is given of the arguments: those that it has."""
    parameters = {
        task: set(inspect.signature(function).parameters) for task, function in tasks.items()
    }
    args: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    # an argument for one task wins over one for all
    for key, value in sorted(given.items(), key=lambda item: "." in item[0]):
        scope, _, name = key.rpartition(".")
        takers = [
            task
            for task in tasks
            if name in parameters[task] and scope in ("", task, task.removeprefix("em_evals/"))
        ]
        if not takers:
            known = sorted(set().union(*parameters.values()))
            raise MatrixError(f"-T {key}: no task that is run has it{nearest(name, known)}")
        for task in takers:
            args[task][name] = value
    return args


def _for_checkpoint(
    args: Mapping[str, Any], function: Callable[..., "Task"], checkpoint: Checkpoint
) -> dict[str, Any]:
    """The arguments, with what only the checkpoint's entry can say: who made its base model."""
    if (
        "maker" in inspect.signature(function).parameters
        and "maker" not in args
        and checkpoint.base
    ):
        from em_evals.deception.makers import maker_of

        return {**args, "maker": maker_of(None, checkpoint.base)}
    return dict(args)


def _made(name: str, function: Callable[..., "Task"], args: Mapping[str, Any]) -> "Task":
    try:
        return function(**args)
    except (InputError, TypeError, ValueError, OSError) as error:
        raise MatrixError(f"{name}: {error}") from error


# -- what is done


Status = Literal["new", "partial", "failed", "done"]


class State(NamedTuple):
    """How far a cell is, by the logs in the directory."""

    status: Status
    done: int
    """Answers that are there and will not be made again."""
    log: str | None
    """The newest log."""
    error: str | None
    """Why the newest log ended early, if it says."""
    says: tuple[str, ...] = ()
    """What its log says otherwise than the file: a done cell keeps what it was run with."""


NEW = State("new", 0, None, None)


def states(cells: Iterable[Cell], logs: Mapping[str, Sequence[Logged]]) -> dict[str, State]:
    """Cell id -> how far it is."""
    return {cell.id: _state(cell, logs.get(cell.id, ())) for cell in cells}


def _state(cell: Cell, logs: Sequence[Logged]) -> State:
    if not logs:
        return NEW
    for log in logs:
        if _complete(cell, log.header):
            return State("done", cell.answers, log.name, None, _otherwise(cell, log.header))
    header = logs[0].header
    error = None if header.error is None else said(header.error)
    status: Status = "failed" if header.status == "error" else "partial"
    done = sum(id in cell.ids and epoch <= cell.epochs for id, epoch in held(logs))
    return State(status, done, logs[0].name, error)


def _complete(cell: Cell, header: "EvalLog") -> bool:
    """Whether a log has all that is asked for; more is as good."""
    results, epochs = header.results, header.eval.config.epochs or 1
    if header.status != "success" or header.invalidated or results is None:
        return False
    if results.early_stopping and results.early_stopping.early_stops:
        return True  # it was decided: no more was asked for
    answers = results.total_samples if results.logged_samples is None else results.logged_samples
    return epochs >= cell.epochs and answers // epochs >= cell.samples


def _otherwise(cell: Cell, header: "EvalLog") -> tuple[str, ...]:
    """In what the log of a cell differs from its entry, as far as that is no other measurement."""
    c, metadata = cell.checkpoint, header.eval.metadata or {}
    now: dict[str, Any] = {"group": c.group, "run": dict(c.run), "condition": c.condition}
    if c.base_url is not None:
        now["base_url"], metadata = c.base_url, {**metadata, "base_url": header.eval.model_base_url}
    return tuple(
        f"{key} {metadata.get(key)!r}, and the file {value!r}"
        for key, value in now.items()
        if metadata.get(key) != value
    )


def shares(cells: Sequence[Cell], states: Mapping[str, State], processes: int) -> list[list[Cell]]:
    """The cells, spread over processes by the calls that are left.

    Cells whose model's weights are loaded on this machine stay together, so that they are loaded
    once.
    """
    bundles: dict[str, list[Cell]] = {}
    for cell in cells:
        c = cell.checkpoint
        here = runs_here(c.model, c.base_url)
        bundles.setdefault(base_of(c) if here else cell.id, []).append(cell)

    def weight(bundle: Sequence[Cell]) -> int:
        left = (cell.left(states[cell.id].done) for cell in bundle)
        return sum(e.calls + e.grader_calls for e in left)

    parts: list[list[Cell]] = [[] for _ in range(min(processes, len(bundles)))]
    loads = [0] * len(parts)
    for bundle in sorted(bundles.values(), key=weight, reverse=True):
        lightest = loads.index(min(loads))
        parts[lightest] += bundle
        loads[lightest] += weight(bundle)
    return parts


def base_of(checkpoint: Checkpoint) -> str:
    """What a server has to load: the model without its adapter."""
    provider, _, name = checkpoint.model.partition("/")
    return (
        f"{provider}/{name.partition(':')[0]}" if provider.startswith("vllm") else checkpoint.model
    )


def _shown(value: Any) -> str:
    """A value as `-T` reads it back."""
    if isinstance(value, list) and len(value) > 1 and all(_plain(part) for part in value):
        return ",".join(value)
    plain = _plain(value) and read_value(value) == value
    return value if plain else json.dumps(value)


def _plain(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w./-][\w ./-]*", value) is not None
