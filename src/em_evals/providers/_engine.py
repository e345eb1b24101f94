"""llama.cpp in this process, through xllamacpp: one loaded engine per file, adapter and options.

An engine is one single-threaded llama.cpp server per core, not one server with many threads.
llama.cpp's threads wait for each other by spinning, several times per layer, so a busy neighbour
slows them down tenfold; and with more than one thread, what a lone long sequence is rounded to
depends on their number. The servers map the same file, so the weights are in memory once.
"""

import atexit
import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from em_evals.errors import InputError
from em_evals.providers._gguf import BASE_SHA256, metadata, sha256

# llama.cpp has an attention kernel for 64 query tokens or more that rounds otherwise than the one
# for fewer, so an answer would depend on what else is in the batch. Below it, it does not.
_MAX_BATCH_TOKENS = 63
_CLOSED = {"error": {"message": "the engine was closed"}}


class EngineOptions(NamedTuple):
    """What an engine is loaded with; see `EmbeddedAPI`."""

    n_parallel: int
    n_ctx: int
    n_threads: int


def start_server(
    file: Path,
    n_parallel: int,
    n_ctx: int,
    api_key: str | None = None,
    adapter: Path | None = None,
) -> Any:
    """Load a GGUF file into a new llama.cpp server, which also listens on a free loopback port.

    Args:
        file: The GGUF file.
        n_parallel: How many requests it answers at once.
        n_ctx: Tokens that each of them may have.
        api_key: What the port asks for. None for a port open to every local process.
        adapter: A LoRA adapter of that file, in GGUF too; applies to every request.

    Raises:
        InputError: The engine is not installed, there is no such file, it is no GGUF, the engine
            cannot load it, or the adapter was made for another file.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise InputError(
            "The embedded model needs its engine: pip install 'em-evals[embedded]'"
        ) from error
    if not file.is_file():
        raise InputError(f"embedded model: {file} not found")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"embedded model: {file} is not a GGUF file")
    if adapter is not None:
        _refuse_foreign(adapter, file)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    params.n_parallel = n_parallel
    params.n_ctx = n_ctx * n_parallel  # shared out evenly
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_batch = n_parallel * _MAX_BATCH_TOKENS
    params.n_ubatch = _MAX_BATCH_TOKENS
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.fit_params = False  # would change the context size to fit the memory
    params.cache_ram_mib = 0  # would keep up to 8 GiB of old prompts
    # the text as it is, no reasoning taken out; `force_pure_content_parser` would do the
    # same, but drops a last message of the assistant in place of going on with it
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.warmup = False
    params.verbosity = -1
    params.ui = False
    if api_key is not None:
        params.api_keys = [api_key]
        params.n_threads_http = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        which = f"{file} with {adapter}" if adapter is not None else str(file)
        raise InputError(
            f"embedded model: {which} cannot be loaded: it is damaged, of an architecture that "
            f"xllamacpp {xllamacpp.__version__} does not know, or too large for the memory"
        ) from error


def _refuse_foreign(adapter: Path, file: Path) -> None:
    """An adapter on another base gives other answers, or nonsense, and no error.

    Raises:
        InputError: The file is no adapter, or says that it is for another base.
    """
    said = metadata(adapter)
    if said.get("general.type") != "adapter":
        raise InputError(f"embedded model: {adapter} is not an adapter, but a model of its own")
    trained_on = said.get(BASE_SHA256)
    if trained_on is not None and trained_on != (found := sha256(file)):
        raise InputError(
            f"embedded model: {adapter} was trained on another base: on a file of sha256 "
            f"{trained_on}, and {file} has {found}"
        )


class Engine:
    """A loaded model that answers several threads at once."""

    def __init__(self, file: Path, options: EngineOptions, adapter: Path | None = None) -> None:
        self.users = 0
        self._api_key = secrets.token_hex()
        n_servers = min(options.n_threads, options.n_parallel)
        self._servers = [
            start_server(
                file,
                # as many in all as asked for
                (options.n_parallel + index) // n_servers,
                options.n_ctx,
                self._api_key,
                adapter,
            )
            for index in range(n_servers)
        ]
        self._calls = [0] * n_servers
        self._unused = set(range(n_servers))
        self._changed = threading.Condition()
        self._closed = threading.Event()

    @contextmanager
    def _idlest(self) -> Iterator[Any]:
        """The server with the fewest calls; none if the engine is closed."""
        with self._changed:
            index = min(range(len(self._calls)), key=self._calls.__getitem__)
            self._calls[index] += 1
            self._unused.discard(index)
        try:
            yield self._servers[index] if self._servers else None
        finally:
            with self._changed:
                self._calls[index] -= 1
                self._changed.notify_all()

    def chat(self, request: dict[str, Any], cancelled: threading.Event) -> dict[str, Any]:
        """Answer one chat completion request; blocks.

        Args:
            request: As in OpenAI's protocol, plus llama.cpp's own fields.
            cancelled: Set it to have the engine drop the request at the next token.

        Returns:
            The completion, or `{"error": ...}`.
        """
        chunks: list[dict[str, Any]] = []

        def receive(chunk: dict[str, Any]) -> bool:
            chunks.append(chunk)
            return cancelled.is_set() or self._closed.is_set()

        # only a streamed request can be cancelled
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        with self._idlest() as server:
            if server is not None:
                server.handle_chat_completions(request | stream, receive)
        return _CLOSED if self._closed.is_set() else _joined(chunks)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text; blocks."""
        # the one thing here that only the engine's port can do
        address = self._servers[0].listening_address
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        try:
            headers = {
                "Authorization": f"Bearer {self._api_key}",
                "Content-Type": "application/json",
            }
            connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
            tokens: list[int] = json.loads(connection.getresponse().read())["tokens"]
            return tokens
        finally:
            connection.close()

    def close(self, timeout: float = 10) -> None:
        """Stop what runs and free the model.

        Args:
            timeout: Seconds to wait for calls, which end at their next token.
        """
        self._closed.set()
        with self._changed:
            self._changed.wait_for(lambda: not any(self._calls), timeout)
            # llama.cpp waits for ever for a server that is told to end before its loop has begun
            for index in self._unused:
                self._servers[index].handle_completions({"prompt": "a", "max_tokens": 1})
            self._unused.clear()
            self._servers.clear()


def _joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """A streamed completion as one that was not streamed."""
    completion: dict[str, Any] = {"usage": {}}
    content, finish_reason = "", None
    logprobs: list[dict[str, Any]] = []
    for chunk in chunks:
        if "error" in chunk:
            return chunk
        for choice in chunk["choices"]:
            content += choice["delta"].get("content") or ""
            logprobs += (choice.get("logprobs") or {}).get("content") or []
            finish_reason = choice["finish_reason"] or finish_reason
        completion |= {key: chunk[key] for key in ("id", "usage", "timings") if key in chunk}
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content},
        "logprobs": {"content": logprobs} if logprobs else None,
    }
    return completion | {"choices": [choice]}


_engines: dict[tuple[Path, EngineOptions, Path | None], Engine] = {}
_lock = threading.Lock()


def acquire(
    file: Path, options: EngineOptions, adapter: Path | None = None
) -> tuple[Engine, Callable[[], None]]:
    """The process's engine for a file, loaded if it is not, and what to call when done with it.

    A model and its adapters have an engine each: llama.cpp's cache of prompts does not tell apart
    which adapter a prompt was read with.

    Args:
        file: The GGUF file.
        options: What to load it with.
        adapter: A LoRA adapter of it.
    """
    key = (file.resolve(), options, adapter and adapter.resolve())
    with _lock:
        engine = _engines.get(key) or Engine(*key)
        _engines[key] = engine
        engine.users += 1

    def release() -> None:
        with _lock:
            engine.users -= 1
            if engine.users == 0:
                _engines.pop(key, None)
                engine.close()

    return engine, release


@atexit.register
def _close_all() -> None:
    # the engine's own threads must be gone before the C++ library is torn down
    for engine in _engines.values():
        engine.close()
