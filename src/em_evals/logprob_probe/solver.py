"""Asks an item and keeps the likeliest tokens of the reply."""

from collections.abc import Mapping
from typing import Any, Literal

from inspect_ai.model import (
    ChatMessageAssistant,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import Store

from em_evals.errors import InputError
from em_evals.judges.rating import TOP, Top, token_alternatives
from em_evals.logprob_probe.reading import next_beginning

Form = Literal["auto", "prefill", "cloze"]
FORMS: tuple[Form, ...] = ("auto", "prefill", "cloze")

GOES_ON = frozenset({"embedded", "vllm", "sglang", "sagemaker"})
"""Providers that go on with a last message of the assistant's; Inspect has the last three do so."""

CAN_BE_TOLD = frozenset({"openai-api", "mockllm"})
"""Providers whose servers may go on with it, if they are told to."""

GO_ON = {"add_generation_prompt": False, "continue_final_message": True}
"""How the servers of vLLM, SGLang and llama.cpp are told; others refuse or ignore it."""

TOLD: Mapping[str, Mapping[str, Any]] = {
    "openai-api": GO_ON,
    "mockllm": GO_ON,
    # a small model's next word is seldom among the 20 likeliest, and the engine lists more
    "embedded": {"top_logprobs": 200},
}
"""What a request says beside Inspect's own fields, by provider, where a reply is to go on."""

TOPS = "logprob_probe_tops"
ASKED = "logprob_probe_form"
"""Where the reply's tokens and the form are kept in a sample's store."""


@solver
def ask_for_probabilities(form: Form = "auto") -> Solver:
    """Asks for one token with its likeliest alternatives, and keeps these in the sample's store.

    A pivotal word that the model writes in several tokens takes a call for each of the first three,
    where it is prefilled.

    Args:
        form: See `logprob_probe`.

    Raises:
        InputError: An unknown form, or (while asking) `prefill` with a provider that begins a new
            message after the assistant's.
    """
    if form not in FORMS:
        raise InputError(f"form={form!r}: expected one of {', '.join(FORMS)}")

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        metadata = state.metadata
        if metadata["format"] != "pivotal":
            state = await generate(state)
            _keep(state.store, "letters", {"": _top(state.output)})
            return state
        provider = state.model.api
        asked = form_for(provider, form)
        if asked == "cloze":
            state.user_prompt.text = metadata["cloze"]
            state = await generate(state)
            _keep(state.store, asked, {"": _top(state.output)})
            return state

        told = dict(TOLD[provider]) if provider in TOLD else None
        before, prefix = list(state.messages), metadata["prefix"]
        state.messages.append(ChatMessageAssistant(content=prefix))
        state = await generate(state, extra_body=told) if told else await generate(state)
        tops = {"": _top(state.output)}
        for word in (*metadata["aligned"], *metadata["misaligned"]):
            while tops[""] and (beginning := next_beginning(word, tops)) is not None:
                said = ChatMessageAssistant(content=f"{prefix} {word[: len(beginning)]}")
                top = _top(await get_model().generate([*before, said], config=_config(told)))
                if not top:
                    break
                tops[beginning] = top
        _keep(state.store, asked, tops)
        return state

    return solve


def form_for(provider: str, form: Form) -> Literal["prefill", "cloze"]:
    """How a pivotal word is asked for.

    Args:
        provider: The provider of the model under test, such as `vllm`.
        form: What the user asked for.

    Raises:
        InputError: `prefill` with a provider that is not known to go on with a reply.
    """
    if form == "auto":
        return "prefill" if provider in GOES_ON else "cloze"
    if form == "prefill" and provider not in GOES_ON | CAN_BE_TOLD:
        raise InputError(
            f"form=prefill: models of the provider {provider!r} begin a new message where the last "
            "is the assistant's. Use form=cloze, or serve the model by one of "
            f"{', '.join(sorted(GOES_ON | CAN_BE_TOLD - {'mockllm'}))}."
        )
    return form


def _config(told: dict[str, Any] | None) -> GenerateConfig:
    return GenerateConfig(
        temperature=0, max_tokens=1, logprobs=True, top_logprobs=TOP, extra_body=told
    )


def _top(output: ModelOutput) -> Top:
    """The likeliest first tokens; empty where the provider returns none."""
    positions = token_alternatives(output)
    return positions[0][1] if positions else {}


def _keep(store: Store, form: str, tops: dict[str, Top]) -> None:
    store.set(TOPS, tops)
    store.set(ASKED, form)
