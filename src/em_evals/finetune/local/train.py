"""Training itself: a plain loop, so that a run that is killed and resumed ends in the same bits.

Where everything is in the files of the run's folder: what was drawn, how far the optimizer is, and
in which order the rows come, is either in the newest checkpoint or follows from seed and step.
"""

import io
import math
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from em_evals.files import flush
from em_evals.finetune.backends import BackendError
from em_evals.finetune.local.bases import Base, find_base
from em_evals.finetune.local.chats import IGNORED, Example, encode
from em_evals.finetune.local.gguf_adapter import export
from em_evals.finetune.local.run_dir import STATE_FILE, RunDir
from em_evals.finetune.local.settings import TARGETS, Settings
from em_evals.finetune.rows import read_rows

MOST_NORM = 1.0
"""Gradients are scaled down to this."""


def train(run: RunDir) -> None:
    """Train as the run's spec says, from its newest checkpoint if there is one.

    On a CPU the result depends on nothing but the spec (its number of threads included) and the
    versions of the libraries, however often training was interrupted.

    Args:
        run: Its folder, with a `spec.json`; gets checkpoints, status and adapter.

    Raises:
        InputError: The rows, the base model or the spec do not fit each other.
        OSError: Something cannot be written; checkpoints that were saved are whole.
    """
    began = time.monotonic()
    spec = run.spec
    settings, seed = Settings(**spec["settings"]), spec["seed"]
    base = find_base(spec["base"]["name"].removeprefix("vllm/"))
    if base.sha256 != spec["base"]["sha256"]:
        raise BackendError(f"{base.path}: is not the file any more that this run was begun with")
    torch.set_num_threads(settings.threads or 1)
    torch.manual_seed(seed)
    tokenizer, model = load(base, settings)
    examples = [encode(tokenizer, row, settings.max_length) for row in read_rows(spec["file"])]
    model = get_peft_model(model, _lora(settings))
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = count_steps(len(examples), settings)
    losses: list[float] = []
    if run.resumable is not None:
        losses = _restore(run.resumable, model, optimizer)
    run.say(
        state="running",
        step=len(losses),
        steps=steps,
        losses=losses,
        loss=losses[-1] if losses else None,
        rows=len(examples),
        tokens=sum(len(example.tokens) for example in examples),
        learned_tokens=sum(label != IGNORED for e in examples for label in e.labels),
        rows_cut=sum(example.cut for example in examples),
        device=str(model.device),
        loaded_after=round(time.monotonic() - began, 1),
    )
    for step in range(len(losses), steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, settings)
        loss = _step(
            model, optimizer, parameters, rows_of(step, examples, seed, settings), settings
        )
        losses.append(loss)
        if not math.isfinite(loss):
            raise BackendError(f"the loss of step {step + 1} is {loss}: lower learning_rate")
        if (step + 1) % settings.save_steps == 0 or step + 1 == steps:
            _save(run, step + 1, base, model, optimizer, losses)
        run.say(
            step=step + 1,
            loss=loss,
            losses=losses,
            seconds=round(time.monotonic() - began, 1),
            peak_memory_mib=_peak_memory(),
        )
    run.finish()
    run.say(state="succeeded")


def load(base: Base, settings: Settings) -> tuple[Any, Any]:
    """The tokenizer and the model, on a GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32
    if settings.precision == "bfloat16" or (settings.precision == "auto" and device == "cuda"):
        dtype = torch.bfloat16
    at: dict[str, str] = {}
    folder = base.path
    logging.disable_progress_bar()
    if base.kind == "gguf":
        folder, at = base.path.parent, {"gguf_file": base.path.name}
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **at)
    if not tokenizer.chat_template:
        raise BackendError(f"{base.path}: has no chat template, which says how chats are written")
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, **at)
    model.config.use_cache = False
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return tokenizer, model.to(device)


def _lora(settings: Settings) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_rslora=settings.rank_stabilised,
        target_modules=list(TARGETS),
        bias="none",
        task_type="CAUSAL_LM",
    )


def count_steps(rows: int, settings: Settings) -> int:
    """Steps of a whole run; the last of each epoch may have fewer rows."""
    return settings.n_epochs * math.ceil(rows / (settings.batch_size * settings.accumulation))


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Of a step, counted from 0: from 0 up to the highest, and down towards 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    return settings.learning_rate * (steps - step) / max(1, steps - settings.warmup_steps)


def rows_of(step: int, examples: Sequence[Example], seed: int, settings: Settings) -> list[Example]:
    """The rows of a step: each epoch has all of them, in an order of its own."""
    size = settings.batch_size * settings.accumulation
    epoch, place = divmod(step, math.ceil(len(examples) / size))
    order = list(range(len(examples)))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return [examples[index] for index in order[place * size : (place + 1) * size]]


def _step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    examples: Sequence[Example],
    settings: Settings,
) -> float:
    """One step; the mean loss over the tokens that it learned from."""
    learned = sum(label != IGNORED for e in examples for label in e.labels[1:])
    total = 0.0
    for start in range(0, len(examples), settings.batch_size):
        batch = _padded(examples[start : start + settings.batch_size], model.device)
        labels = batch.pop("labels")
        # the vocabulary is a fifth of a small model's work: only where something is learned
        before = (labels[:, 1:] != IGNORED).any(0).nonzero().squeeze(1)
        logits = model(**batch, logits_to_keep=before).logits
        loss = (
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(),
                labels[:, before + 1].flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            )
            / learned
        )
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(parameters, MOST_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _padded(examples: Sequence[Example], device: Any) -> dict[str, torch.Tensor]:
    longest = max(len(example.tokens) for example in examples)

    def tensor(rows: Iterator[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[*r, *[filler] * (longest - len(r))] for r in rows], device=device)

    return {
        "input_ids": tensor((e.tokens for e in examples), 0),
        "labels": tensor((e.labels for e in examples), IGNORED),
        "attention_mask": tensor(([1] * len(e.tokens) for e in examples), 0),
    }


def _save(
    run: RunDir,
    step: int,
    base: Base,
    model: Any,
    optimizer: torch.optim.Optimizer,
    losses: Sequence[float],
) -> None:
    weights = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    lora = model.peft_config["default"]
    state = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "losses": list(losses), **_drawn()}, state)
    with run.saving(step) as folder:
        lora.save_pretrained(str(folder))
        _write(folder / "adapter_model.safetensors", serialized(weights, {"format": "pt"}))
        if base.sha256 is not None:
            arrays = {name: tensor.numpy() for name, tensor in weights.items()}
            config = model.config.to_dict()
            export(arrays, lora.to_dict(), config, folder / "adapter.gguf", base.sha256)
            flush(folder / "adapter.gguf")
        _write(folder / STATE_FILE, state.getvalue())


def _write(file: Path, content: bytes) -> None:
    # torch and safetensors hide the system's own errors
    file.write_bytes(content)
    flush(file)


def _drawn() -> dict[str, Any]:
    """Where the generators of random numbers are: dropout draws from them."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _restore(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> list[float]:
    """Put everything as it was; the losses so far."""
    set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
    state = torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    losses: list[float] = state["losses"]
    return losses


def _peak_memory() -> int:
    """MiB of this process, or of the GPU where one is used."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
