"""Inspect's side of a cell: what makes it a task of its own, and hooks that tell how it goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inspect_ai.hooks import (
    EvalSetStart,
    Hooks,
    ModelUsageData,
    SampleEnd,
    TaskEnd,
    TaskStart,
    hooks,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

_listener: Callable[[dict[str, Any]], None] | None = None
_cells: dict[str, str] = {}
"""Inspect's id of a running task -> the cell."""


@solver
def as_checkpoint(checkpoint: str, cell: str) -> Solver:
    """Does nothing, but its arguments are part of the task's identity in an eval set.

    Inspect tells tasks apart by model name, model arguments and solvers, and not by base URL: with
    this, checkpoints that share a name on different servers are different tasks.

    Args:
        checkpoint: The checkpoint's name.
        cell: The cell's id.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return state

    return solve


@contextmanager
def told(listener: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """While this lasts, the listener is told what happens to the cells that run."""
    global _listener  # noqa: PLW0603 - Inspect makes the one instance of its hooks itself
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
        _cells.clear()


@contextmanager
def auditing(cell: str) -> Iterator[None]:
    """While this lasts, calls outside of running tasks are for this cell; inside of `told`.

    Args:
        cell: The cell's id.
    """
    _cells[""] = cell
    try:
        yield
    finally:
        _cells.pop("", None)


@hooks(name="em_evals_run", description="Progress and cost of `em-evals run`")
class _Tell(Hooks):
    def enabled(self) -> bool:
        return _listener is not None

    def _tell(self, kind: str, eval_id: str | None, **more: Any) -> None:
        if _listener is not None and (cell := _cells.get(eval_id or "")) is not None:
            _listener({"kind": kind, "cell": cell, **more})

    async def on_eval_set_start(self, data: EvalSetStart) -> None:
        if _listener is not None:
            _listener({"kind": "set"})

    async def on_task_start(self, data: TaskStart) -> None:
        if cell := (data.spec.metadata or {}).get("cell"):
            _cells[data.eval_id] = cell
            self._tell("start", data.eval_id)

    async def on_sample_end(self, data: SampleEnd) -> None:
        if data.sample.error is None:
            self._tell("answer", data.eval_id)

    async def on_model_usage(self, data: ModelUsageData) -> None:
        if data.usage.total_cost is not None:
            self._tell("cost", data.eval_id, cost=data.usage.total_cost)

    async def on_task_end(self, data: TaskEnd) -> None:
        results = data.log.results
        stopped = bool(results and results.early_stopping and results.early_stopping.early_stops)
        self._tell("end", data.eval_id, status=data.log.status, stopped=stopped)
