"""Puts the stored answer in the model's place: nothing is generated."""

from inspect_ai.model import ModelOutput
from inspect_ai.solver import Generate, Solver, TaskState, solver


@solver
def stored_answer() -> Solver:
    """Has a sample say the `answer` of its metadata."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = ModelOutput.from_content(str(state.model), state.metadata["answer"])
        state.messages.append(state.output.message)
        return state

    return solve
