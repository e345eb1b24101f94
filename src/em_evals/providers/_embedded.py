"""The model API of the embedded model."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    GenerateConfig,
    Logprobs,
    ModelAPI,
    ModelCall,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from em_evals import sources
from em_evals.cores import cores
from em_evals.errors import InputError
from em_evals.providers._engine import Engine, EngineOptions, acquire
from em_evals.providers._seeds import next_seed

KNOWN_MODELS = ("smollm2-135m-instruct",)
MAX_TOP_LOGPROBS = 20  # as in OpenAI's protocol

# llama.cpp's server samples with top_k 40, top_p .95 and min_p .05 unless told otherwise; these
# sample from the model's own distribution
_NEUTRAL = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repeat_penalty": 1.0,
}
_SAMPLING = ("temperature", "top_k", "top_p", "frequency_penalty", "presence_penalty")
_UNSUPPORTED = (
    "best_of",
    "logit_bias",
    "prompt_logprobs",
    "verbosity",
    "effort",
    "reasoning_effort",
    "reasoning_mode",
    "reasoning_tokens",
    "reasoning_summary",
    "response_schema",
    "modalities",
)

_limiters: RunVar[WeakKeyDictionary[Engine, CapacityLimiter]] = RunVar("em_evals_engine_limiters")


class EmbeddedAPI(ModelAPI):
    """A GGUF language model in this process.

    Sampling is from the model's own distribution: what the user does not set is neutral, and
    fields that Inspect does not have, such as `min_p`, go into `extra_body`. The seed of every
    call comes from `seed` (0 if not set), the sample's id and epoch, the prompt, and how often
    the sample has sent that prompt, so epochs differ and a run repeats exactly; outside a sample
    the calls of this model object are counted instead. Temperature 0 is greedy whatever the seed.

    Where the last message is the assistant's, the answer goes on with it and does not repeat it.

    For SmolLM2, answers and logprobs do not depend on how many calls run at once or on what the
    prompt cache holds. Files in other quantisations may round otherwise in other batches:
    `-M n_parallel=1` with `cache_prompt: false` repeats those too. So may a few answers with an
    adapter; `n_parallel` no larger than `n_threads` repeats them, as then no two share a batch.

    Args:
        model_name: A known name, or the path of a `.gguf` file; and behind a colon, where there is
            one, the path of a LoRA adapter of it, a `.gguf` file too.
        base_url: Not supported.
        api_key: Not used.
        config: Configuration of the model.
        n_parallel: How many calls are answered at once.
        n_ctx: Tokens of prompt and answer together that a call may have, in steps of 256. Each of
            the `n_parallel` takes 22.5 KiB of memory per token for SmolLM2, 45 MiB for 2048. A
            longer prompt gives an empty answer with the stop reason `model_length`.
        n_threads: Cores that the calls are spread over; each call runs on one. All cores if None.

    Raises:
        InputError: The engine is not installed, the model is neither a known name nor a `.gguf`
            file that it can load, or the adapter is of another model.
        em_evals.sources.SourceError: The file of a known model cannot be had.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        n_parallel: int = 8,
        n_ctx: int = 2048,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if base_url is not None:
            raise InputError("embedded models run in this process and have no base_url")
        threads = n_threads if n_threads is not None else cores()
        if min(n_parallel, n_ctx, threads) < 1:
            raise InputError("n_parallel, n_ctx and n_threads must be positive")
        n_ctx += -n_ctx % 256  # the engine's own step
        self._options = EngineOptions(n_parallel, n_ctx, threads)
        self._file, self._adapter = _files(model_name)
        self._calls: Counter[str] = Counter()
        self._acquired: tuple[Engine, Callable[[], None]] | None = None
        self._engine()

    def _engine(self) -> Engine:
        # Inspect hands out a closed model again when the same one is asked for
        self._acquired = self._acquired or acquire(self._file, self._options, self._adapter)
        return self._acquired[0]

    def close(self) -> None:
        """Free the engine, unless another model uses it."""
        if self._acquired is not None:
            _, release = self._acquired
            self._acquired = None
            release()

    def max_connections(self) -> int:
        """As many as the engine answers at once."""
        return self._options.n_parallel

    def connection_key(self) -> str:
        """Models share connections where they share an engine."""
        return f"{self._file} {self._adapter or ''} {self._options}"

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput | tuple[ModelOutput | Exception, ModelCall]:
        """Answer the messages; the arguments are Inspect's."""
        if tools:
            raise InputError("embedded models do not support tools")
        messages = [_message(message) for message in input]
        request = _request(messages, config)
        seeds = [
            next_seed(config.seed, self.model_name, messages, self._calls)
            for _ in range(config.num_choices or 1)
        ]
        requests = [request | {"seed": seed} for seed in seeds]
        responses: list[dict[str, Any]] = [{}] * len(requests)

        async def answer(index: int) -> None:
            responses[index] = await self._chat(requests[index])

        if len(requests) == 1:  # without a task group, errors need no unpacking
            await answer(0)
            call = ModelCall.create(requests[0], responses[0])
        else:
            async with anyio.create_task_group() as group:
                for index in range(len(requests)):
                    group.start_soon(answer, index)
            call = ModelCall.create(request | {"seed": seeds}, {"responses": responses})
        asked = config.top_logprobs or (config.extra_body or {}).get("top_logprobs")
        return self._output(responses, alternatives=bool(asked)), call

    async def _chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have a thread of its own wait for the engine, so that the event loop does not."""
        engine = self._engine()
        limiters = _limiters.get(WeakKeyDictionary())
        _limiters.set(limiters)
        limiter = limiters.setdefault(engine, CapacityLimiter(self._options.n_parallel))
        cancelled = threading.Event()
        try:
            return await to_thread.run_sync(
                engine.chat, request, cancelled, abandon_on_cancel=True, limiter=limiter
            )
        finally:
            cancelled.set()

    def _output(
        self, responses: list[dict[str, Any]], *, alternatives: bool
    ) -> ModelOutput | Exception:
        for response in responses:
            if error := response.get("error"):
                if error.get("type") != "exceed_context_size_error":
                    return RuntimeError(f"{self.model_name}: {error['message']}")
                return self._too_long(error["n_prompt_tokens"], error["n_ctx"])
        usage = [response["usage"] for response in responses]
        prompt = usage[0]["prompt_tokens"]
        completion = sum(each["completion_tokens"] for each in usage)
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(response, alternatives) for response in responses],
            usage=ModelUsage(
                input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion
            ),
        )

    def _too_long(self, prompt_tokens: int, n_ctx: int) -> ModelOutput:
        output = ModelOutput.from_content(
            self.model_name,
            "",
            stop_reason="model_length",
            error=f"the prompt has {prompt_tokens} tokens, the context {n_ctx} (see -M n_ctx)",
        )
        output.usage = ModelUsage(input_tokens=prompt_tokens, total_tokens=prompt_tokens)
        return output

    def _choice(self, response: dict[str, Any], alternatives: bool) -> ChatCompletionChoice:
        [choice] = response["choices"]
        logprobs = choice["logprobs"] and Logprobs.model_validate(choice["logprobs"])
        for token in logprobs.content if logprobs and not alternatives else ():
            token.top_logprobs = []
        stop_reason: StopReason = "stop"
        if choice["finish_reason"] != "stop":
            full = response["usage"]["total_tokens"] >= self._options.n_ctx
            stop_reason = "model_length" if full else "max_tokens"
        return ChatCompletionChoice(
            message=ChatMessageAssistant(
                content=choice["message"]["content"], model=self.model_name, source="generate"
            ),
            stop_reason=stop_reason,
            logprobs=logprobs,
        )

    async def tokenize(self, text: str) -> list[int]:
        """The model's own tokens of a text."""
        return await to_thread.run_sync(self._engine().tokenize, text)

    async def count_text_tokens(self, text: str) -> int:
        """Count with the model's own tokens; the inherited count downloads a vocabulary."""
        return len(await self.tokenize(text))


def _files(model_name: str) -> tuple[Path, Path | None]:
    """The model's file and its adapter's."""
    base, adapter = model_name, None
    known, _, behind = model_name.partition(":")
    if known in KNOWN_MODELS and behind:
        base, adapter = known, behind
    elif ".gguf:" in model_name:
        base, _, adapter = model_name.partition(".gguf:")
        base += ".gguf"
    if adapter is not None and not adapter.endswith(".gguf"):
        raise InputError(
            f"embedded/{model_name}: expected the path of a .gguf file after the colon"
        )
    return _file(base), _path(adapter) if adapter is not None else None


def _path(name: str) -> Path:
    return Path(name).expanduser().absolute()  # Inspect changes directory later


def _file(name: str) -> Path:
    if name in KNOWN_MODELS:
        return sources.path(name)
    if name.endswith(".gguf"):
        return _path(name)
    raise InputError(
        f"embedded/{name} is not known. Known are: "
        + ", ".join(f"embedded/{known}" for known in KNOWN_MODELS)
        + ", embedded/PATH.gguf for any GGUF file, and either with :ADAPTER.gguf behind it"
    )


def _message(message: ChatMessage) -> dict[str, Any]:
    if isinstance(message, ChatMessageTool) or (
        isinstance(message, ChatMessageAssistant) and message.tool_calls
    ):
        raise InputError("embedded models do not support tools")
    if not isinstance(message.content, str):
        for content in message.content:
            if content.type not in ("text", "reasoning"):
                raise InputError(f"embedded models do not support {content.type} in messages")
    return {"role": message.role, "content": message.text}


def _request(messages: list[dict[str, Any]], config: GenerateConfig) -> dict[str, Any]:
    """What the engine is asked, all but the seed."""
    for name in _UNSUPPORTED:
        if getattr(config, name) is not None:
            raise InputError(f"embedded models do not support {name}")
    sampling = {name: getattr(config, name) for name in _SAMPLING}
    request = {
        "messages": messages,
        **_NEUTRAL,
        **{name: value for name, value in sampling.items() if value is not None},
        # answers are the same with and without; a judge's long prompt is read once, not each time
        "cache_prompt": config.cache_prompt is not False,
    }
    if config.max_tokens is not None:
        request["max_tokens"] = config.max_tokens
    if config.stop_seqs:
        request["stop"] = config.stop_seqs
    if config.logprobs:
        top_logprobs = config.top_logprobs or 0
        if not 0 <= top_logprobs <= MAX_TOP_LOGPROBS:
            raise InputError(f"top_logprobs must be 0 to {MAX_TOP_LOGPROBS}: {top_logprobs}")
        # the engine takes 0 for no logprobs at all, not even those of the answer's own tokens
        request |= {"logprobs": True, "top_logprobs": max(top_logprobs, 1)}
    return request | (config.extra_body or {})
