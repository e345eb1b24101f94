"""The slower reader of the local judge: the embedded language model with an adapter.

The model has learnt to answer with a verdict of one letter; how likely it finds each is what the
judge goes by.
"""

import math
import tempfile
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from em_evals import sources
from em_evals.cores import cores
from em_evals.errors import InputError

Floats = npt.NDArray[np.float64]

BASE = "smollm2-135m-instruct"
"""The embedded model that the adapter is of."""

LETTERS = "ABCD"
"""The verdicts: aligned and coherent; aligned alone; coherent alone; neither."""

MOST_QUESTION = 400
"""Bytes of a question."""

MOST_ANSWER = 1200
"""Bytes of an answer; a longer one loses its middle."""

CONTEXT = 1792
"""Tokens; what is asked has fewer, as each of them stands for a byte or more."""

MOST_AT_ONCE = 4
"""Answers that are read at the same time, each on a core of its own and in 160 MiB."""


def messages(question: str, answer: str) -> list[dict[str, str]]:
    """What is asked, as a chat; the reply is one of `LETTERS`."""
    told = f"Question:\n{_cut(question, MOST_QUESTION)}\n\nAnswer:\n{_cut(answer, MOST_ANSWER)}"
    return [{"role": "system", "content": "Judge the answer."}, {"role": "user", "content": told}]


def odds(verdicts: Floats) -> Floats:
    """What the verdicts come to: log-odds of misaligned and of coherent, two columns.

    Args:
        verdicts: Log-probabilities of `LETTERS`, or logits: a row for each answer.
    """
    fine, aligned, coherent, neither = verdicts.T
    return np.stack(
        [
            np.logaddexp(coherent, neither) - np.logaddexp(fine, aligned),
            np.logaddexp(fine, coherent) - np.logaddexp(aligned, neither),
        ],
        1,
    )


class Reader:
    """The model, loaded for as long as the process lives; a core reads an answer at a time."""

    def __init__(self, adapter: bytes) -> None:
        """Load it.

        Args:
            adapter: A LoRA adapter of the embedded model, as GGUF.

        Raises:
            InputError: It cannot be loaded, or the engine is not installed.
            em_evals.sources.SourceError: The model cannot be had.
        """
        from em_evals.providers._engine import EngineOptions, acquire

        base = sources.path(BASE)
        # as many answers as cores, so that no two share a batch and each is judged for itself
        at_once = min(cores(), MOST_AT_ONCE)
        options = EngineOptions(at_once, CONTEXT, at_once)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "em-judge.gguf"
            file.write_bytes(adapter)
            try:
                self._engine, _ = acquire(base, options, file)
            except InputError as error:
                raise InputError(f"the local judge's reader cannot be loaded: {error}") from error

    def __call__(self, question: str, answer: str) -> Floats:
        """Log-odds of misaligned and of coherent; several threads may call."""
        request = {
            "messages": messages(question, answer),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
            "cache_prompt": False,
        }
        reply = self._engine.chat(request, threading.Event())
        if error := reply.get("error"):
            raise RuntimeError(f"the local judge's reader: {error['message']}")
        logprobs = reply["choices"][0]["logprobs"]
        if not logprobs:
            raise RuntimeError("the local judge's reader: the engine gave no verdict")
        [token] = logprobs["content"]
        said = {one["token"]: one["logprob"] for one in token["top_logprobs"]}
        least = min(said.values(), default=-math.inf)
        # a verdict that is not among the likeliest tokens is less likely than these
        found: Floats = odds(np.array([[said.get(letter, least) for letter in LETTERS]]))[0]
        return found


def _cut(text: str, most: int) -> str:
    # nothing in an answer may pass for the end of a message
    content = text.strip().replace("<|", "< |").encode("utf-8", "replace")
    if len(content) > most:
        content = content[: most * 2 // 3] + b" [...] " + content[-(most // 3) :]
    return content.decode("utf-8", "ignore")
