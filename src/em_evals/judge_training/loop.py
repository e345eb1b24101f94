"""One training loop for both of the judge's networks; what is interrupted goes on from a file."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from em_evals.files import replacing
from em_evals.judge_training.training import Settings

STEP = 16
"""Batches are padded to a multiple of this many tokens: few shapes are computed faster."""

PREDICTED_AT_ONCE = 32
"""Cases, in `by_length`."""


def train(
    network: nn.Module,
    factors: Mapping[float, Sequence[Any]],
    loss: Callable[[Any], torch.Tensor],
    plan: Sequence[Any],
    settings: Settings,
    state: Path,
    tell: Callable[[int, int, float], None],
    at_once: int | None = None,
) -> None:
    """Train a network, from the saved state if there is one.

    Args:
        network: It is left in its mode for predictions.
        factors: Its parameters by what their learning rate is multiplied with.
        loss: The mean loss of the cases at these places.
        plan: The places of each batch; see `batches`.
        settings: How.
        state: A file for what has been learnt so far; it is there while training is unfinished.
        tell: Is told step, steps and loss.
        at_once: Cases of a batch that are computed at a time, where memory is short; the steps are
            the same.
    """
    groups = [{"params": list(own), "factor": factor} for factor, own in factors.items()]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.01)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    done, mean = _restored(state, optimizer, parameters), math.nan
    network.train()
    for step in range(done, len(plan)):
        rate = _rate(step, len(plan), settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.zero_grad()
        error = _learn(loss, plan[step], at_once or len(plan[step]))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean = error if math.isnan(mean) else 0.97 * mean + 0.03 * error
        tell(step + 1, len(plan), mean)
        if (step + 1) % settings.save_steps == 0:
            _save(state, optimizer, parameters, step + 1)
    network.eval()


def batches(lengths: "np.ndarray[Any, Any]", settings: Settings, seed: int) -> list[Any]:
    """Which cases are in which batch: those of like length together, in random order."""
    draw = np.random.default_rng(seed)
    plan: list[Any] = []
    for _ in range(math.ceil(settings.epochs)):
        order = np.argsort(lengths + draw.normal(0, 8, len(lengths)), kind="stable")
        found, at = [], 0
        while at < len(order):
            longest = -(-lengths[order[min(at + 20, len(order) - 1)]] // STEP) * STEP
            size = int(np.clip(settings.batch_tokens // longest, 8, 256))
            found.append(order[at : at + size])
            at += size
        plan += [found[i] for i in draw.permutation(len(found))]
    return plan[: math.ceil(len(plan) * settings.epochs / math.ceil(settings.epochs))]


def by_length(rows: Sequence[Sequence[int]]) -> Iterator[Any]:
    """The places of rows of tokens, some at a time, those of like length together."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    for at in range(0, len(order), PREDICTED_AT_ONCE):
        yield order[at : at + PREDICTED_AT_ONCE]


def padded(rows: Sequence[Sequence[int]]) -> "np.ndarray[Any, Any]":
    """Rows of tokens as one array, zeros behind the shorter ones."""
    longest = -(-max(map(len, rows)) // STEP) * STEP
    found = np.zeros((len(rows), longest), dtype=np.int64)
    for into, row in zip(found, rows, strict=True):
        into[: len(row)] = row
    return found


def precision() -> str:
    """What is computed in: `bfloat16` where the machine is made for it."""
    cpu = torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if cpu or torch.cuda.is_available() else "float32"


def device() -> str:
    """Where is computed: on a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _learn(loss: Callable[[Any], torch.Tensor], places: Any, at_once: int) -> float:
    """Add a batch's gradients, and say its loss."""
    total = 0.0
    for at in range(0, len(places), at_once):
        some = places[at : at + at_once]
        error = loss(some) * (len(some) / len(places))
        error.backward()
        total += error.item()
    return total


def _rate(step: int, steps: int, settings: Settings) -> float:
    rise = min(1.0, (step + 1) / max(1.0, steps * settings.warmup))
    return settings.learning_rate * rise * max(0.02, 1 - step / steps)


def _save(state: Path, optimizer: Any, parameters: Sequence[Any], done: int) -> None:
    """Write all that training goes on from, whole or not at all."""
    kept = {"done": torch.tensor(done)}
    for i, parameter in enumerate(parameters):
        moments = optimizer.state[parameter]
        kept |= {
            f"{i}.value": parameter.detach().contiguous(),
            f"{i}.mean": moments["exp_avg"],
            f"{i}.square": moments["exp_avg_sq"],
        }
    with replacing(state) as part:
        save_file(kept, part)


def _restored(state: Path, optimizer: Any, parameters: Sequence[Any]) -> int:
    if not state.exists():
        return 0
    kept = load_file(state)
    done = int(kept["done"])
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(kept[f"{i}.value"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(done)),
                "exp_avg": kept[f"{i}.mean"].to(parameter.device),
                "exp_avg_sq": kept[f"{i}.square"].to(parameter.device),
            }
    return done
