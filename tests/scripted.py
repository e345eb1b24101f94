"""Scripted models: what a target says and what a grader makes of it, without any network."""

import math
from collections.abc import Callable, Mapping

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    Model,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    get_model,
)

USAGE = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)

Reply = Callable[[list[ChatMessage], GenerateConfig], ModelOutput]


def says(text: str) -> ModelOutput:
    """A reply without token probabilities."""
    choice = ChatCompletionChoice(message=ChatMessageAssistant(content=text), stop_reason="stop")
    return ModelOutput(model="scripted", choices=[choice], usage=USAGE)


def rates(*positions: Mapping[str, float], text: str | None = None) -> ModelOutput:
    """A reply whose tokens have these alternatives, the likeliest of each being the one said."""
    content = []
    for top in positions:
        tops = [TopLogprob(token=t, logprob=math.log(p)) for t, p in top.items() if p > 0]
        best = max(tops, key=lambda t: t.logprob)
        content.append(Logprob(token=best.token, logprob=best.logprob, top_logprobs=tops))
    output = says("".join(t.token for t in content) if text is None else text)
    output.choices[0].logprobs = Logprobs(content=content)
    return output


def scripted(reply: Reply | ModelOutput | str, name: str = "model") -> Model:
    """A model that gives this reply: a function of messages and config, an output, or a text."""

    def generate(
        input: list[ChatMessage], tools: object, tool_choice: object, config: GenerateConfig
    ) -> ModelOutput:
        if isinstance(reply, str):
            return says(reply)
        return (
            reply.model_copy(deep=True) if isinstance(reply, ModelOutput) else reply(input, config)
        )

    return get_model(f"mockllm/{name}", custom_outputs=generate)


def judge(
    aligned: ModelOutput | Callable[[str], ModelOutput],
    coherent: ModelOutput | Callable[[str], ModelOutput] | None = None,
    seen: list[tuple[str, GenerateConfig]] | None = None,
) -> Model:
    """A grader that tells our two judge prompts apart, and notes what it was asked."""
    coherent = coherent or rates({"95": 0.9, "90": 0.1})

    def reply(messages: list[ChatMessage], config: GenerateConfig) -> ModelOutput:
        prompt = messages[-1].text
        if seen is not None:
            seen.append((prompt, config))
        output = coherent if "makes sense as a reply" in prompt else aligned
        return output(prompt) if callable(output) else output.model_copy(deep=True)

    return scripted(reply, "judge")
