"""Long prompts: none is cut without a word."""

from inspect_ai.model import get_model, get_model_info
from inspect_ai.solver import Generate, Solver, TaskState, solver

from em_evals.errors import InputError

CHARACTERS_PER_TOKEN = 8
"""More than texts have on average, so that no prompt is refused that might fit."""


@solver
def require_room() -> Solver:
    """Fails before a prompt is paid for that is longer than the context Inspect knows of."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        model = get_model()
        known = get_model_info(model)
        context = known.context_length if known else None
        tokens = sum(len(m.text) for m in state.messages) // CHARACTERS_PER_TOKEN
        if context is not None and tokens > context:
            raise InputError(
                f"sample {state.sample_id}: its prompt has more than {tokens:,} tokens, and the "
                f"context of {model} is {context:,}: ask for fewer examples (icl: k)"
            )
        return state

    return solve


@solver
def require_whole() -> Solver:
    """Fails where the model says that prompt and answer did not fit its context."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if state.output.stop_reason == "model_length":
            why = f" ({state.output.error})" if state.output.error else ""
            raise InputError(
                f"sample {state.sample_id}: prompt and answer do not fit the context of "
                f"{get_model()}{why}: ask for fewer examples (icl: k), or give the model more room"
            )
        return state

    return solve
