"""Runs the matrix on Inspect's `eval_set`, in this process or in several."""

import contextlib
import copy
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from em_evals.checkpoints.cost import Estimate, Prices, load_prices, runs_here
from em_evals.checkpoints.file import Checkpoint, Grader, canonical
from em_evals.checkpoints.logs import Logged, gather, logged, said, sweep
from em_evals.checkpoints.matrix import (
    LOCAL_JUDGE,
    LOCAL_READER,
    Cell,
    Matrix,
    MatrixError,
    Options,
    State,
    base_of,
    matrix,
    shares,
    states,
    task_function,
)

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import Model

RETRIES = 2
"""How often a cell that fails is tried again, keeping the answers that it has. Calls that fail in
passing are retried by Inspect long before."""

Event = dict[str, Any]
"""What happens while cells run: `kind` (matrix, start, answer, cost, end, error), `cell`, and more.

Between processes also: set (the directory is an eval set), next (may I go on?), exit."""

Outcome = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class CellResult:
    """What became of a cell."""

    cell: Cell
    outcome: Outcome
    """`stopped`: at the maximal cost, with the answers that it has kept."""
    answers: int
    """Answers that its log has."""
    new: bool
    """Whether this command had to do anything for it."""
    log: str | None
    error: str | None
    audited: int | None = None
    """Answers that the paid judge has judged, where there is a judge budget."""

    def to_json(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        return {
            "task": self.cell.task,
            "args": dict(self.cell.args),
            **self.cell.checkpoint.metadata,
            "cell": self.cell.id,
            "outcome": self.outcome,
            "answers": self.answers,
            "planned": self.cell.answers,
            "new": self.new,
            "audited": self.audited,
            "log": self.log,
            "error": self.error,
        }


@dataclass(frozen=True)
class RunResult:
    """What became of a matrix."""

    cells: tuple[CellResult, ...]
    cost: float | None
    """Dollars that this command spent; None without prices."""
    stopped: bool
    """Whether it stopped at the maximal cost."""

    @property
    def failed(self) -> list[CellResult]:
        """The cells that failed."""
        return [result for result in self.cells if result.outcome == "failed"]

    @property
    def exit_status(self) -> int:
        """0 all done, 1 a cell failed, 3 stopped at the maximal cost."""
        return 3 if self.stopped else 1 if self.failed else 0


class Watch:
    """Is told what happens, by Inspect's hooks or by other processes; adds up cost."""

    def __init__(
        self, stop: Callable[[], None], max_cost: float | None, show: Callable[[Event], None]
    ) -> None:
        self.cost = 0.0
        self.stopped = False
        self.errors: dict[str, str] = {}
        self.stop, self._max_cost, self._show = stop, max_cost, show

    def __call__(self, event: Event) -> None:
        """Take note, show it, and stop everything once the maximal cost is reached."""
        if event["kind"] == "cost":
            self.cost += event["cost"]
            event = {**event, "total": self.cost}
        elif event["kind"] == "error":
            self.errors[event["cell"]] = event["error"]
        self._show(event)
        if self._max_cost is not None and self.cost >= self._max_cost and not self.stopped:
            self.stopped = True
            self.stop()


def run(
    file: str | Path,
    *,
    tasks: Sequence[str] = (),
    groups: Sequence[str] = (),
    checkpoints: Sequence[str] = (),
    epochs: int | None = None,
    limit: int | None = None,
    task_args: Mapping[str, Any] | None = None,
    log_dir: str | Path = "logs",
    processes: int = 1,
    max_cost: float | None = None,
    prices: str | Path | None = None,
    judge_budget: int | None = None,
    judge_reader: bool = False,
    progress: Callable[[Event], None] | None = None,
) -> RunResult:
    """Run every task on every checkpoint; what the log directory already has is not run again.

    Called again after an interruption it goes on where it was: finished cells are left alone, and
    of partial ones the answers that were written are kept. With more checkpoints, tasks or epochs
    than before, only what is new is run.

    Args:
        file: A `checkpoints.yaml`.
        tasks: Names of ours, or PACKAGE/TASK of an installed package; none: all of ours.
        groups: Only these groups.
        checkpoints: Only these checkpoints, by name.
        epochs: Answers per sample; None: as many as each task says.
        limit: Samples per task, from the first; None: all.
        task_args: Task argument -> value, given to the tasks that have it; TASK.ARGUMENT is for
            one task.
        log_dir: A directory, or an address that fsspec knows. Other logs in it do no harm.
        processes: Over how many processes to spread the cells. One cell is never split.
        max_cost: Dollars that this call may spend. Calls that are under way when it is reached
            still cost something. From another thread than the main one, use `processes=2`.
        prices: A `prices.yaml`.
        judge_budget: The local judge judges all answers, and the file's grader so many of each
            cell, drawn at random (docs/local-judge.md); None: the grader judges all.
        judge_reader: The local judge of the budget is the slower one, `local/em-judge-reader`.
        progress: Is told of everything that happens.

    Raises:
        InputError: Nothing can be run as asked; nothing was.
        KeyboardInterrupt: The user's; what was answered is in the logs.
    """
    options = Options(
        file=str(file),
        tasks=tuple(tasks),
        groups=tuple(groups),
        checkpoints=tuple(checkpoints),
        epochs=epochs,
        limit=limit,
        task_args=dict(task_args or {}),
        log_dir=str(log_dir),
        prices=None if prices is None else str(prices),
        judge_budget=judge_budget,
        judge_reader=judge_reader,
    )
    with crew(processes) as workers:  # they import while this process lays out the matrix
        return run_matrix(matrix(options), workers, max_cost, progress)


def run_matrix(
    plan: Matrix,
    workers: "Crew | None" = None,
    max_cost: float | None = None,
    progress: Callable[[Event], None] | None = None,
) -> RunResult:
    """Run a matrix that is laid out.

    Args:
        plan: The matrix.
        workers: The processes to run it in; None: this one.
        max_cost: As for `run`.
        progress: As for `run`.
    """
    listed = None if plan.options.prices is None else load_prices(plan.options.prices)
    _require_prices(plan, listed, max_cost)
    began = time.time()
    logs = logged(plan.options.log_dir)
    before = states(plan.cells, logs)
    show = progress or (lambda event: None)
    show({"kind": "matrix", "cells": plan.cells, "states": before})
    pending = [cell for cell in plan.cells if before[cell.id].status != "done"]
    for cell in pending:
        gather(logs.get(cell.id, []))
    parts = shares(pending, before, len(workers.processes) if workers else 1)
    try:
        if workers and len(parts) > 1:
            watch = _in_processes(plan, parts, workers, max_cost, show)
        else:
            watch = _in_this_process(plan, pending, listed, max_cost, show)
    finally:
        logs = logged(plan.options.log_dir)
        if plan.auditor is not None:
            _carry_over(plan.cells, logs, plan.auditor)
        # all of them: what finished a cell may have been killed before it came to this
        sweep([cell.id for cell in plan.cells], logs, began)
    after = states(plan.cells, logs)
    results = tuple(_result(cell, before[cell.id], after[cell.id], watch) for cell in plan.cells)
    if plan.auditor is not None:
        results = _audited(plan, plan.auditor, results, listed, watch, show)
    stopped = watch.stopped and any(result.outcome == "stopped" for result in results)
    return RunResult(results, None if listed is None else watch.cost, stopped)


def _require_prices(plan: Matrix, prices: Prices | None, max_cost: float | None) -> None:
    if max_cost is None:
        return
    if max_cost <= 0:
        raise MatrixError(f"a maximal cost of {max_cost} dollars: expected more than 0")
    if prices is None:
        raise MatrixError("a maximal cost needs prices: --prices prices.yaml")
    priced = [model for model in models_of(plan) if model not in (LOCAL_JUDGE, LOCAL_READER)]
    if missing := [model for model in priced if prices.of(model) is None]:
        raise MatrixError(
            f"a maximal cost needs the price of every model; {plan.options.prices} has none for "
            f"{', '.join(missing)}"
        )


def models_of(plan: Matrix) -> list[str]:
    """The names of all models that a matrix calls, the graders last."""
    names = dict.fromkeys(cell.checkpoint.model for cell in plan.cells)
    for grader in filter(None, (plan.grader, plan.auditor)):
        names[grader.model] = None
    return list(names)


def _result(cell: Cell, before: State, after: State, watch: Watch) -> CellResult:
    outcome: Outcome = "done"
    error = None
    if after.status != "done":
        error = watch.errors.get(cell.id) or after.error
        outcome = "failed" if error or not watch.stopped else "stopped"
        if outcome == "failed" and error is None:
            error = "it ended without a word in its log"
    return CellResult(cell, outcome, after.done, before.status != "done", after.log, error)


# -- the paid judge's share, where there is a judge budget


def _audited(
    plan: Matrix,
    auditor: Grader,
    results: Sequence[CellResult],
    prices: Prices | None,
    watch: Watch,
    show: Callable[[Event], None],
) -> tuple[CellResult, ...]:
    """The results once the paid judge has judged its part of every cell that is done."""
    from em_evals.analysis.rejudge import audit, audit_left
    from em_evals.checkpoints import identity

    watch.stop = _interrupt  # the other processes have ended
    grader: Model | None = None
    out = []
    for result in results:
        if result.outcome != "done" or result.log is None:
            out.append(result)
            continue
        file = _local(result.log)
        try:
            # a cell that costs nothing any more is done at any cost
            if watch.stopped and audit_left(
                file, auditor.model, _budget(plan, file, auditor.model)
            ):
                out.append(replace(result, outcome="stopped"))
                continue
            with (
                contextlib.redirect_stdout(sys.stderr),
                _heeding_interrupts(),
                identity.told(watch),
                identity.auditing(result.cell.id),
            ):
                if grader is None:
                    if prices:
                        prices.tell_inspect([auditor.model])
                    grader = _model(auditor, {})
                budget = _budget(plan, file, str(grader))
                [done] = audit([file], grader, budget, quiet=True)
        except KeyboardInterrupt:
            if not watch.stopped:
                raise
            out.append(replace(result, outcome="stopped", new=True))
        except Exception as error:  # whatever a provider raises; the other cells can go on
            out.append(replace(result, outcome="failed", error=said(error), new=True))
            watch({"kind": "error", "cell": result.cell.id, "error": said(error)})
        else:
            judged = done.judged + done.already
            new = result.new or done.judged > 0
            out.append(replace(result, audited=judged, new=new))
            show({"kind": "audited", "cell": result.cell.id, "now": done.judged, "all": judged})
    return tuple(out)


def _carry_over(
    cells: Sequence[Cell], logs: Mapping[str, Sequence[Logged]], auditor: Grader
) -> None:
    """Keep what interrupted audits paid for where a newer log has the answers now."""
    from em_evals.analysis.rejudge import carry_over

    for cell in cells:
        headers = [
            log.header.model_copy(update={"location": str(_local(log.name))})
            for log in logs.get(cell.id, ())
            if log.header.status != "started"
        ]
        for old in headers[1:]:
            carry_over(old, headers[0], auditor.model)


def _budget(plan: Matrix, file: Path, auditor: str) -> int:
    """The budget that was asked for, or the larger one that the log has been audited with."""
    from inspect_ai.log import read_eval_log

    results = read_eval_log(str(file), header_only=True).results
    audits = [(score.metadata or {}).get("audit") for score in results.scores] if results else []
    had = [a["budget"] for a in audits if a and a["paid"] == auditor]
    return int(max([plan.options.judge_budget or 0, *had]))


def _local(log: str) -> Path:
    return Path(log.removeprefix("file://"))


# -- the cells as Inspect's tasks


def _task(cell: Cell, model: "Model", roles: Mapping[str, "Model"]) -> "Task":
    """A cell's task: the family's own, with the checkpoint's model, prompt and name."""
    from inspect_ai import task_with
    from inspect_ai.model import GenerateConfig

    from em_evals.checkpoints.identity import as_checkpoint

    task = task_function(cell.task)(**cell.args)
    checkpoint = cell.checkpoint
    setup = task.setup if isinstance(task.setup, list) else [task.setup] if task.setup else []
    # Inspect puts it in front of every call of the model under test, and nowhere else: not into
    # the messages that a judge is shown
    own = GenerateConfig(**checkpoint.config, system_message=checkpoint.system_prompt)
    return task_with(
        task,
        model=model,
        model_roles=dict(roles),
        config=task.config.merge(own),
        setup=[as_checkpoint(checkpoint.name, cell.id), *setup],
        metadata={**(task.metadata or {}), **checkpoint.metadata, "cell": cell.id},
        tags=[*(task.tags or []), *_tags(checkpoint)],
    )


def _tags(checkpoint: Checkpoint) -> list[str]:
    said = {"group": checkpoint.group, "checkpoint": checkpoint.name} | dict(checkpoint.run)
    if checkpoint.condition:
        said["condition"] = checkpoint.condition
    return [f"{key}:{value}" for key, value in said.items()]


def _model(entry: Checkpoint | Grader, loaded: dict[str, "Model"]) -> "Model":
    """The model of a checkpoint, or the grader: weights are loaded once, the object is its own.

    A grader that is the same model as the one under test must not be the same object: Inspect
    would take the task's configuration, system prompt included, for the grader's too.
    """
    from inspect_ai.model import GenerateConfig, get_model

    key = canonical([entry.model, dict(entry.args), entry.base_url])
    if key not in loaded:
        loaded[key] = get_model(
            entry.model, base_url=entry.base_url, memoize=False, **dict(entry.args)
        )
    model = copy.copy(loaded[key])
    if isinstance(entry, Grader):
        model.config = model.config.merge(GenerateConfig(**entry.config))
    return model


def _batches(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that may run at once: all behind an API, and one by one what is loaded here."""
    batches: dict[str, list[Cell]] = {}
    for cell in cells:
        c = cell.checkpoint
        batches.setdefault(base_of(c) if runs_here(c.model, c.base_url) else "", []).append(cell)
    return list(batches.values())


def _eval(
    plan: Matrix,
    cells: Sequence[Cell],
    watch: Callable[[Event], None],
    may_go_on: Callable[[], bool],
) -> None:
    """Run these cells; what becomes of them is in their logs, and failures are told to the watch.

    Args:
        plan: The matrix.
        cells: Some of it.
        watch: Is told what happens.
        may_go_on: Is asked before each batch.

    Raises:
        KeyboardInterrupt: Stopped, by the user or at the maximal cost.
    """
    from inspect_ai import eval_set

    if plan.options.prices is None:
        _tell_inspect_of_weights(models_of(plan))
    for batch in _batches(cells):
        if not may_go_on():
            return
        # prints of libraries must not get between the lines of --json
        with contextlib.redirect_stdout(sys.stderr):
            loaded: dict[str, Model] = {}
            ready = _tasks(plan.grader, batch, loaded, watch)
            # only now, as Inspect announces the hooks that are there before its first model
            from em_evals.checkpoints import identity

            if not ready:
                continue
            try:
                with identity.told(watch):
                    _, logs = eval_set(
                        ready,
                        log_dir=plan.options.log_dir,
                        log_dir_allow_dirty=True,
                        epochs=plan.options.epochs,
                        limit=plan.options.limit,
                        retry_attempts=RETRIES,
                        retry_cleanup=False,
                        display="none",
                        score_display=False,
                        # as `em-evals eval`: half the CPU time per answer
                        log_realtime=False,
                        ctl_server=False,
                    )
            except Exception as error:
                for cell in batch:
                    watch({"kind": "error", "cell": cell.id, "error": said(error)})
                continue
            finally:
                _free(loaded)
            if len(logs) < len(ready):  # Inspect took the interrupt for itself
                raise KeyboardInterrupt


def _tasks(
    grader: Grader | None,
    cells: Sequence[Cell],
    loaded: dict[str, "Model"],
    watch: Callable[[Event], None],
) -> "list[Task]":
    ready: list[Task] = []
    for cell in cells:
        try:
            roles = {"grader": _model(grader, loaded)} if grader and cell.graded else {}
            ready.append(_task(cell, _model(cell.checkpoint, loaded), roles))
        except Exception as error:  # such as a missing key: the other cells can go on
            watch({"kind": "error", "cell": cell.id, "error": said(error)})
    return ready


def _tell_inspect_of_weights(models: Sequence[str]) -> None:
    """Have Inspect know of models whose weights are here, as it loads those that it looks up."""
    from inspect_ai.model import ModelInfo, set_model_info

    for model in models:
        if runs_here(model):
            set_model_info(model, ModelInfo())


def _free(loaded: Mapping[str, "Model"]) -> None:
    """Let go of weights on this machine, which the next batch's would come on top of."""
    for model in loaded.values():
        if runs_here(str(model)):
            with contextlib.suppress(RuntimeError):  # a provider that closes in another way
                model.api.close()


# -- in this process


def _in_this_process(
    plan: Matrix,
    cells: Sequence[Cell],
    prices: Prices | None,
    max_cost: float | None,
    show: Callable[[Event], None],
) -> Watch:
    # what Ctrl-C does: Inspect writes what there is into the logs
    watch = Watch(_interrupt, max_cost, show)
    if prices and cells:
        prices.tell_inspect(models_of(plan))
    try:
        with contextlib.nullcontext() if max_cost is None else _heeding_interrupts():
            _eval(plan, cells, watch, lambda: not watch.stopped)
    except KeyboardInterrupt:
        if not watch.stopped:
            raise
    return watch


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """What a script starts in the background ignores interrupts; the maximal cost is one."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


# -- in several processes


@dataclass(frozen=True)
class Crew:
    """Processes that wait for their cells, and what all of them tell."""

    processes: list[subprocess.Popen[str]]
    events: "queue.Queue[tuple[int, Event]]"


@contextlib.contextmanager
def crew(processes: int) -> Iterator[Crew | None]:
    """So many processes, which are gone when this ends; None for one, as that is this one."""
    if processes < 1:
        raise MatrixError(f"processes={processes}: expected 1 or more")
    if processes == 1:
        yield None
        return
    events: queue.Queue[tuple[int, Event]] = queue.Queue()
    workers: list[subprocess.Popen[str]] = []
    try:
        for i in range(processes):
            workers.append(_start(i, events))
        yield Crew(workers, events)
    finally:
        for worker in workers:
            worker.kill()  # those that ended by themselves do not mind
            worker.wait()


def _start(i: int, events: "queue.Queue[tuple[int, Event]]") -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "em_evals.checkpoints.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for this process, which tells the others
    )

    def read(stream: IO[str]) -> None:
        for line in stream:
            events.put((i, json.loads(line)))
        events.put((i, {"kind": "exit", "code": worker.wait()}))

    assert worker.stdout is not None
    threading.Thread(target=read, args=(worker.stdout,), daemon=True).start()
    return worker


def _in_processes(
    plan: Matrix,
    parts: Sequence[Sequence[Cell]],
    workers: Crew,
    max_cost: float | None,
    show: Callable[[Event], None],
) -> Watch:
    working = workers.processes[: len(parts)]

    def stop() -> None:
        for worker in working:
            _tell(worker, {"stop": True})

    watch = Watch(stop, max_cost, show)
    jobs = [
        {"options": asdict(plan.options), "cells": [cell.id for cell in part]} for part in parts
    ]
    # the first makes the directory an eval set; the others are to find it so
    _tell(working[0], jobs[0])
    waiting, running = jobs[1:], set(range(len(working)))
    try:
        while running:
            i, event = workers.events.get()
            if event["kind"] == "exit":
                running.discard(i)
                _name_the_dead(parts[i], event["code"], watch)
            elif event["kind"] == "next":  # all that it spent before is counted
                _tell(working[i], {"go": not watch.stopped})
            elif event["kind"] != "set":
                watch(event)
            if waiting and i == 0 and event["kind"] in ("set", "exit"):
                for worker, job in zip(working[1:], waiting, strict=True):
                    _tell(worker, job)
                waiting = []
    except KeyboardInterrupt:
        stop()  # the user's: let them write their logs
        for worker in working:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(60)
        raise
    return watch


def _tell(worker: subprocess.Popen[str], message: Mapping[str, Any]) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended
        worker.stdin.write(json.dumps(message) + "\n")
        worker.stdin.flush()


def _name_the_dead(cells: Sequence[Cell], code: int, watch: Watch) -> None:
    """A process that died has not said what became of its cells; those that are done, are done."""
    if code == 0:
        return
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    for cell in cells:
        if cell.id not in watch.errors:
            watch({"kind": "error", "cell": cell.id, "error": f"its process ended with {how}"})


def work(stdin: IO[str], events: IO[str]) -> int:
    """One of several processes: is told its cells in a line, and tells what happens in lines.

    Ends at once when the line to the parent is cut: a parent that was killed must not leave
    processes behind that go on spending.
    """
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")
            events.flush()

    job = json.loads(stdin.readline() or "null")
    if job is None or job.get("stop"):
        return 0

    allowed: queue.Queue[bool] = queue.Queue()

    def listen() -> None:
        for line in stdin:
            message = json.loads(line)
            if message.get("stop"):
                os.kill(os.getpid(), signal.SIGINT)
            else:
                allowed.put(message["go"])
        os._exit(1)

    def may_go_on() -> bool:
        tell({"kind": "next"})
        return allowed.get()

    # the parent's interrupts, even where those of the terminal are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        _work(job, tell, may_go_on)
    return 0


def _work(
    job: Mapping[str, Any], tell: Callable[[Event], None], may_go_on: Callable[[], bool]
) -> None:
    options = job["options"]
    for name in ("tasks", "groups", "checkpoints"):
        options[name] = tuple(options[name])
    plan = matrix(Options(**options))
    wanted = set(job["cells"])
    if plan.options.prices is not None:
        load_prices(plan.options.prices).tell_inspect(models_of(plan))
    _eval(plan, [cell for cell in plan.cells if cell.id in wanted], tell, may_go_on)


# -- what it would take


@dataclass(frozen=True)
class Forecast:
    """What is left of one cell."""

    cell: Cell
    state: State
    left: Estimate
    cost: float | None
    """Dollars; None where a price is missing."""

    def to_json(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        return {
            "task": self.cell.task,
            "args": dict(self.cell.args),
            **self.cell.checkpoint.metadata,
            "cell": self.cell.id,
            "status": self.state.status,
            "answers": self.cell.answers,
            "done": self.state.done,
            **asdict(self.left),
            "cost": self.cost,
        }


def forecast(plan: Matrix) -> list[Forecast]:
    """What is left of every cell: calls, tokens (estimated), dollars where prices are given."""
    prices = None if plan.options.prices is None else load_prices(plan.options.prices)

    def price(model: str | None) -> Any:
        return prices.of(model) if prices and model else None

    now = states(plan.cells, logged(plan.options.log_dir))
    out = []
    paid = plan.auditor or plan.grader
    for cell in plan.cells:
        state = now[cell.id]
        left = cell.left(state.done)
        if plan.auditor is not None:
            drawn = _to_audit(plan, cell, state, plan.auditor)
            judged = cell.left(cell.answers - drawn)
            left = replace(
                left,
                grader_calls=judged.grader_calls,
                grader_input=judged.grader_input,
                grader_output=judged.grader_output,
            )
            if drawn and state.status == "done":
                state = state._replace(status="partial")
        cost = left.cost(price(cell.checkpoint.model), price(paid.model if paid else None))
        out.append(Forecast(cell, state, left, cost))
    return out


def _to_audit(plan: Matrix, cell: Cell, state: State, auditor: Grader) -> int:
    """Answers that the paid judge is still to be asked about."""
    from em_evals.analysis.rejudge import audit_left

    if state.status != "done" or state.log is None:
        return min(plan.options.judge_budget or 0, cell.answers)
    file = _local(state.log)
    return audit_left(file, auditor.model, _budget(plan, file, auditor.model))


def total(parts: Sequence[Forecast]) -> tuple[Estimate, float | None]:
    """The sum of all cells; no cost where one cell has none."""
    added = Counter[str]()
    for part in parts:
        added.update(asdict(part.left))
    costs = [part.cost for part in parts]
    known = [cost for cost in costs if cost is not None]
    return Estimate(**added), sum(known) if len(known) == len(costs) else None


def commands(plan: Matrix) -> Iterator[str]:
    """A shell command for every cell."""
    return (plan.command(cell) for cell in plan.cells)
