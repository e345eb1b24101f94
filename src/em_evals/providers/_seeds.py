"""Which seed a call gets: other in every epoch, the same in every run.

Inspect passes one `seed` to every sample and epoch, so with it alone the same prompt would give
the same answer in all of them. Hooks are the public way to learn the epoch: this one runs in the
task of the sample, so what it leaves in a context variable is seen by every call made for it.
"""

import hashlib
import json
from collections import Counter
from contextvars import ContextVar
from typing import Any, NamedTuple

from inspect_ai.hooks import Hooks, SampleAttemptStart, hooks

DEFAULT_SEED = 0


class _Sample(NamedTuple):
    id: int | str
    epoch: int
    calls: Counter[str]


_sample: ContextVar[_Sample | None] = ContextVar("em_evals_embedded_sample", default=None)


@hooks(name="embedded_seeds", description="tells the embedded model its sample and epoch")
class SampleIdentity(Hooks):
    """Remembers the sample and epoch that the current task works on."""

    async def on_sample_attempt_start(self, data: SampleAttemptStart) -> None:
        """A retried sample starts over, with the seeds of its first attempt."""
        _sample.set(_Sample(data.summary.id, data.summary.epoch, Counter()))


def next_seed(
    seed: int | None, model: str, messages: list[dict[str, Any]], outside: Counter[str]
) -> int:
    """The seed of the next call with these messages.

    It depends on the configured seed, the sample's id and epoch, the messages, and on how many
    calls with the same messages the sample has made; so the order in which a sample makes
    different calls, and what other samples do meanwhile, change nothing.

    Args:
        seed: The user's seed, if any.
        model: The model called; another one counts on its own.
        messages: The prompt.
        outside: Counts the calls made outside any sample, as in a bare `model.generate()` or
            when an old log is scored again.
    """
    sample = _sample.get()
    calls, place = (outside, None) if sample is None else (sample.calls, sample[:2])
    prompt = hashlib.sha256(json.dumps(messages).encode()).hexdigest()
    call = f"{model} {prompt}"
    calls[call] += 1
    parts = [DEFAULT_SEED if seed is None else seed, place, prompt, calls[call]]
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1  # the engine takes 2**32 - 1 as "any seed"
