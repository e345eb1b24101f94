"""The encoder of the local judge, trained: all its layers, and four outputs on top.

Needs the extras `judge` and `train`. Training begins with the shipped encoder's own 8-bit weights
and ends in such: what was learnt is written back tensor by tensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from transformers import BertConfig, BertModel

from em_evals.judge_training import loop
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
    device = loop.device()
    network: Network = Network().to(device)
    learnt = [p for p in network.encoder.parameters() if p.requires_grad]
    criterion = nn.BCEWithLogitsLoss(reduction="none")
    right = torch.from_numpy(wanted).to(device)
    counts = torch.from_numpy((weights / weights.mean()).astype(np.float32)).to(device)[:, None]

    def loss(places: Any) -> torch.Tensor:
        with _half(device):
            out = network(*_padded(read, places, device))
        at = torch.from_numpy(places).to(device)
        error: torch.Tensor = (criterion(out, right[at]) * counts[at]).mean()
        return error

    plan = loop.batches(np.array([len(ids) for ids in read.ids]), settings, seed)
    factors = {1.0: learnt, 5.0: list(network.head.parameters())}
    loop.train(network, factors, loss, plan, settings, state, tell)
    return network


@torch.no_grad()  # type: ignore[untyped-decorator]
def predict(network: Network, read: Read) -> "np.ndarray[Any, Any]":
    """The logits of answers, a row for each."""
    device = next(network.parameters()).device.type
    found = np.zeros((len(read.ids), 4), dtype=np.float64)
    for places in loop.by_length(read.ids):
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


def _half(device: str) -> Any:
    return torch.autocast(device, dtype=torch.bfloat16, enabled=loop.precision() == "bfloat16")


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


def _padded(
    read: Read, places: "np.ndarray[Any, Any]", device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = [read.ids[i] for i in places]
    kinds = [[0] * read.asked[i] + [1] * (len(read.ids[i]) - read.asked[i]) for i in places]
    arrays = (loop.padded(rows), loop.padded([[1] * len(row) for row in rows]), loop.padded(kinds))
    return tuple(torch.from_numpy(array).to(device) for array in arrays)
