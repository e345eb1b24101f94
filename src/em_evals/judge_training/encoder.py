"""The reader of the local judge, trained: all layers of the encoder and four outputs on top.

Needs the extras `judge` and `train`. Training begins with the shipped encoder's own 8-bit weights
and ends in such: what was learnt is written back tensor by tensor.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertModel

from em_evals.judge_training.training import Settings
from em_evals.judges.local.data import Judged
from em_evals.judges.local.encoder import base_file, tokenizer, tokens

MATRICES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
"""The matrices of a layer, in the order of the encoder's file, where they have no names."""

LAYERS, WIDTH = 6, 384

STEP = 16
"""Batches are padded to a multiple of this many tokens: few shapes are computed faster."""


@dataclass(frozen=True)
class Read:
    """Answers as the encoder reads them."""

    ids: list[list[int]]
    asked: list[int]
    """Tokens of the question's side."""


def reads(judged: Sequence[Judged]) -> Read:
    """Answers, ready for training."""
    made = tokenizer()
    found = [tokens(made, one.question, one.answer) for one in judged]
    return Read([ids for ids, _ in found], [asked for _, asked in found])


def targets(judged: Sequence[Judged], below: float, above: float) -> "np.ndarray[Any, Any]":
    """What is learnt of each answer: both verdicts, and both scores as shares of 100."""
    return np.array(
        [
            [a.aligned < below, a.coherent > above, a.aligned / 100, a.coherent / 100]
            for a in judged
        ],
        dtype=np.float32,
    )


class Network(nn.Module):  # type: ignore[misc]  # torch is no dependency
    """The encoder with four outputs on its first vector and the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = BertModel(
            BertConfig(
                vocab_size=30522,
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=12,
                intermediate_size=4 * WIDTH,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        self.head = nn.Linear(2 * WIDTH, 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.encoder.load_state_dict(_shipped(), strict=False)
        # the words' vectors stay those of the encoder's file
        self.encoder.embeddings.requires_grad_(False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Logits, a row for each answer and a column for each output."""
        out = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
        vectors = out.last_hidden_state.float()
        weight = mask[..., None].float()
        mean = (vectors * weight).sum(1) / weight.sum(1)
        logits: torch.Tensor = self.head(torch.cat([vectors[:, 0], mean], 1))
        return logits


def train(
    read: Read,
    wanted: "np.ndarray[Any, Any]",
    weights: "np.ndarray[Any, Any]",
    settings: Settings,
    seed: int,
    state: Path,
    tell: Callable[[int, int, float], None],
) -> Network:
    """Train on answers, from the saved state if there is one.

    Args:
        read: The answers.
        wanted: What is to be said of each; see `targets`.
        weights: What each counts.
        settings: How.
        seed: Of the order of the batches.
        state: A file for what has been learnt so far; it is there while training is unfinished.
        tell: Is told step, steps and loss.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Network().to(device)
    plan = _plan(read, settings, seed)
    learnt = [p for p in network.encoder.parameters() if p.requires_grad]
    groups = [
        {"params": learnt, "factor": 1.0},
        {"params": list(network.head.parameters()), "factor": 5.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=0.01)
    parameters = [p for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    done = _restored(state, network, optimizer, parameters)
    criterion, loss = nn.BCEWithLogitsLoss(reduction="none"), math.nan
    weights = (weights / weights.mean()).astype(np.float32)
    network.train()
    for step in range(done, len(plan)):
        rate = _rate(step, len(plan), settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with _half(device):
            out = network(*_padded(read, plan[step], device))
        errors = criterion(out, torch.from_numpy(wanted[plan[step]]).to(device))
        error = (errors * torch.from_numpy(weights[plan[step], None]).to(device)).mean()
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        loss = error.item() if math.isnan(loss) else 0.97 * loss + 0.03 * error.item()
        tell(step + 1, len(plan), loss)
        if (step + 1) % settings.save_steps == 0:
            _save(state, network, optimizer, parameters, step + 1)
    trained: Network = network.eval()
    return trained


@torch.no_grad()  # type: ignore[untyped-decorator]
def predict(network: Network, read: Read) -> "np.ndarray[Any, Any]":
    """The logits of answers, a row for each."""
    device = next(network.parameters()).device.type
    found = np.zeros((len(read.ids), 4), dtype=np.float64)
    order = np.argsort([len(ids) for ids in read.ids], kind="stable")
    for at in range(0, len(order), 32):
        places = order[at : at + 32]
        with _half(device):
            found[places] = network(*_padded(read, places, device)).float().cpu().numpy()
    return found


def patches(network: Network) -> dict[int, bytes]:
    """What was learnt, as bytes by their place in the encoder's file.

    The matrices become 8-bit numbers with a scale per output, as they are there.
    """
    file = base_file()
    content = file.read_bytes()
    learnt = {k: v.detach().cpu().numpy() for k, v in network.encoder.state_dict().items()}
    found: dict[int, bytes] = {}

    def put(old: bytes, new: bytes) -> None:
        if len(old) != len(new) or content.count(old) != 1:
            raise ValueError(f"{file}: a tensor of {len(new)} bytes has no one place")
        found[content.index(old)] = new

    graph = onnx.load_from_string(content).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for name, tensor in tensors.items():
        if (own := learnt.get(name.removeprefix("inner."))) is not None and ".layer." in name:
            put(tensor.raw_data, own.astype(np.float32).tobytes())
    for layer, matrix, name in _matrices(graph):
        weight = learnt[f"encoder.layer.{layer}.{matrix}.weight"].T
        scale = np.maximum(np.abs(weight).max(axis=0, keepdims=True), 1e-8) / 127
        put(tensors[f"{name}_q"].raw_data, np.rint(weight / scale).astype(np.int8).tobytes())
        put(tensors[f"{name}_scale"].raw_data, scale.astype(np.float32).tobytes())
    return found


def head(network: Network) -> "np.ndarray[Any, Any]":
    """The outputs' weights with the bias as last row, 769 by 4."""
    weight = network.head.weight.detach().cpu().numpy().T
    return np.concatenate([weight, network.head.bias.detach().cpu().numpy()[None]])


def precision() -> str:
    """What is computed in: `bfloat16` where the machine is made for it."""
    cpu = torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if cpu or torch.cuda.is_available() else "float32"


def _half(device: str) -> Any:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision() == "bfloat16")


def _shipped() -> dict[str, torch.Tensor]:
    """The encoder's weights as its file has them."""
    graph = onnx.load(str(base_file())).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {
        name.removeprefix("inner."): array
        for name, array in arrays.items()
        if name.startswith("inner.") and name.endswith((".weight", ".bias"))
    }
    for part in ("word", "position"):
        name = f"embeddings.{part}_embeddings.weight"
        found[name] = arrays[f"inner.{name}_q"] * arrays[f"inner.{name}_scale"]
    for layer, matrix, name in _matrices(graph):
        weight = arrays[f"{name}_q"] * arrays[f"{name}_scale"]
        found[f"encoder.layer.{layer}.{matrix}.weight"] = weight.T
    return {k: torch.tensor(np.asarray(v, dtype=np.float32)) for k, v in found.items()}


def _matrices(graph: Any) -> list[tuple[int, str, str]]:
    """Layer, matrix and the name in the encoder's file of all that is multiplied with."""
    names = [
        tensor.name.removesuffix("_q")
        for tensor in graph.initializer
        if tensor.name.endswith("_q") and not tensor.name.startswith("inner.")
    ]
    order = sorted(names, key=lambda name: int(name.removeprefix("val_")))
    places = [(layer, matrix) for layer in range(LAYERS) for matrix in MATRICES]
    return [(*place, name) for place, name in zip(places, order, strict=True)]


def _plan(read: Read, settings: Settings, seed: int) -> list["np.ndarray[Any, Any]"]:
    """Which answers are in which batch: those of like length together, in random order."""
    draw = np.random.default_rng(seed)
    lengths = np.array([len(ids) for ids in read.ids])
    plan: list[Any] = []
    for _ in range(math.ceil(settings.epochs)):
        order = np.argsort(lengths + draw.normal(0, 8, len(lengths)), kind="stable")
        batches, at = [], 0
        while at < len(order):
            longest = -(-lengths[order[min(at + 20, len(order) - 1)]] // STEP) * STEP
            size = int(np.clip(settings.batch_tokens // longest, 8, 64))
            batches.append(order[at : at + size])
            at += size
        plan += [batches[i] for i in draw.permutation(len(batches))]
    return plan[: math.ceil(len(plan) * settings.epochs / math.ceil(settings.epochs))]


def _padded(
    read: Read, places: "np.ndarray[Any, Any]", device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = -(-max(len(read.ids[i]) for i in places) // STEP) * STEP
    ids, mask, kinds = (np.zeros((len(places), longest), dtype=np.int64) for _ in range(3))
    for row, i in enumerate(places):
        length = len(read.ids[i])
        ids[row, :length] = read.ids[i]
        mask[row, :length] = 1
        kinds[row, read.asked[i] : length] = 1
    return tuple(torch.from_numpy(a).to(device) for a in (ids, mask, kinds))


def _rate(step: int, steps: int, settings: Settings) -> float:
    rise = min(1.0, (step + 1) / max(1.0, steps * settings.warmup))
    return settings.learning_rate * rise * max(0.02, 1 - step / steps)


def _save(state: Path, network: Network, optimizer: Any, parameters: list[Any], done: int) -> None:
    """Write all that training goes on from, whole or not at all."""
    kept = {"done": torch.tensor(done)}
    for i, parameter in enumerate(parameters):
        moments = optimizer.state[parameter]
        kept |= {
            f"{i}.value": parameter.detach().contiguous(),
            f"{i}.mean": moments["exp_avg"],
            f"{i}.square": moments["exp_avg_sq"],
        }
    part = state.with_name(f"{state.name}.part")
    save_file(kept, part)
    part.replace(state)


def _restored(state: Path, network: Network, optimizer: Any, parameters: list[Any]) -> int:
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
