"""The embedded language model, trained to judge: a LoRA adapter of its upper layers.

Needs the extras `judge`, `embedded` and `train`. The model is written out here, as what is trained
is little: a batch is read once, its last token's verdict is the only output, and the layers below
the first trained one need no gradients.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf  # noqa: F401 -- what the adapter is written with, in the end
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from em_evals import sources
from em_evals.finetune.local.gguf_adapter import export
from em_evals.judge_training import loop
from em_evals.judge_training.training import Settings
from em_evals.judges.local.data import Judged
from em_evals.judges.local.reader import BASE, LETTERS, messages
from em_evals.providers._gguf import sha256

RANK = 3
"""No multiple of 4; see `em_evals.finetune.local.gguf_adapter.export`."""

ALPHA = 6.0

FIRST = 8
"""The first of the layers that are trained; the weights' size is that of the others."""

WIDTH, HEADS, KEYS, HEAD = 576, 9, 3, 64
"""Of SmolLM2-135M: its vectors, attention heads, their keys' heads, and the size of a head."""

EPSILON, THETA = 1e-5, 100_000.0

CPU_AT_ONCE = 4
"""Answers that are learnt from at a time without a GPU: each token takes a megabyte."""

SHARES = 0.3
"""What the scores count beside the verdicts in what is learnt: how bad, not only whether."""

GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Matrices with the same input, multiplied at once."""


def base() -> tuple[dict[str, torch.Tensor], Any]:
    """The embedded model's weights, by the names that `Network` takes, and its tokenizer.

    Raises:
        em_evals.sources.SourceError: The model cannot be had.
    """
    file = sources.path(BASE)
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    weights = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    return weights, tokenizer.backend_tokenizer


def chats(judged: Sequence[Judged], tokenizer: Any) -> list[list[int]]:
    """The tokens that the model is asked with, by its own chat template.

    Args:
        judged: The answers.
        tokenizer: The model's, of the library tokenizers.
    """
    texts = []
    for one in judged:
        turns = [
            f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n"
            for turn in messages(one.question, one.answer)
        ]
        texts.append("".join([*turns, "<|im_start|>assistant\n"]))
    return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]


def letters(tokenizer: Any) -> list[int]:
    """The tokens of the verdicts."""
    return [tokenizer.token_to_id(letter) for letter in LETTERS]


def shares(targets: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """What share of each verdict is right, four columns; see `encoder.targets`."""
    misaligned = (1 - SHARES) * targets[:, 0] + SHARES * (1 - targets[:, 2])
    incoherent = (1 - SHARES) * (1 - targets[:, 1]) + SHARES * (1 - targets[:, 3])
    return np.stack(
        [
            (1 - misaligned) * (1 - incoherent),
            (1 - misaligned) * incoherent,
            misaligned * (1 - incoherent),
            misaligned * incoherent,
        ],
        1,
    ).astype(np.float32)


class Adapted(nn.Module):  # type: ignore[misc]  # torch is no dependency
    """Matrices of the model side by side, with an adapter of their own each where one is learnt."""

    def __init__(self, matrices: Sequence[torch.Tensor], adapted: bool, dtype: Any) -> None:
        super().__init__()
        self.register_buffer("weight", torch.cat(list(matrices)).to(dtype))
        self.sizes = [len(matrix) for matrix in matrices]
        self.a: Any = None
        self.b: Any = None
        if adapted:
            width = self.weight.shape[1]
            # to a multiple of 8, which a GPU multiplies faster; the mask leaves the rest unused
            ranks = -(-RANK * len(matrices) // 8) * 8
            self.a = nn.Parameter(torch.randn(ranks, width) / width**0.5)
            self.b = nn.Parameter(torch.zeros(len(self.weight), ranks))
            own = [torch.ones(size, RANK) for size in self.sizes]
            mask = functional.pad(torch.block_diag(*own), (0, ranks - RANK * len(matrices)))
            self.register_buffer("own", mask * ALPHA / RANK)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What comes out, a row for each row that goes in."""
        found = functional.linear(x, self.weight)
        if self.a is None:
            return found
        narrow = functional.linear(x, self.a.to(x.dtype))
        return torch.addmm(found, narrow, (self.b * self.own).to(x.dtype).T)

    def tensors(self) -> list[tuple[Any, Any]]:
        """A and B of each matrix, as peft has them."""
        a, b = (p.detach().float().cpu().numpy() for p in (self.a, self.b))
        found, row = [], 0
        for i, size in enumerate(self.sizes):
            ranks = slice(i * RANK, (i + 1) * RANK)
            found.append((a[ranks], b[row : row + size, ranks]))
            row += size
        return found


class Network(nn.Module):  # type: ignore[misc]
    """The model up to its last token's logits."""

    def __init__(self, weights: Mapping[str, torch.Tensor], dtype: Any) -> None:
        """Take the model's weights.

        Args:
            weights: By the names that transformers gives them, without `model.`.
            dtype: What is computed in.
        """
        super().__init__()
        layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        self.layers = nn.ModuleList()
        for i in range(layers):
            layer = nn.ModuleDict()
            for group, names in GROUPS.items():
                matrices = [weights[f"layers.{i}.{name}.weight"] for name in names]
                layer[group] = Adapted(matrices, i >= FIRST, dtype)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                layer.register_buffer(norm, weights[f"layers.{i}.{norm}.weight"].to(dtype))
            self.layers.append(layer)
        self.register_buffer("norm", weights["norm.weight"].to(dtype))
        self.register_buffer("words", weights["embed_tokens.weight"].to(dtype))

    def forward(self, ids: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Logits over all tokens, a row for each text.

        Args:
            ids: Tokens, texts by places; what is behind a text's end changes nothing.
            last: The place of each text's last token.
        """
        count, length = ids.shape
        x = functional.embedding(ids, self.words).view(-1, WIDTH)
        turn = _turns(length, ids.device, x.dtype)
        with torch.no_grad():
            for layer in self.layers[:FIRST]:
                x = _layer(layer, x, turn, count)
        for layer in self.layers[FIRST:]:
            x = _layer(layer, x, turn, count)
        x = x.view(count, length, WIDTH)[torch.arange(count, device=ids.device), last]
        return functional.linear(_norm(x, self.norm), self.words).float()


def _layer(layer: Any, x: torch.Tensor, turn: Any, count: int) -> torch.Tensor:
    length = len(x) // count
    found = layer["qkv"](_norm(x, layer.input_layernorm)).view(count, length, -1, HEAD)
    turned = _turned(found[:, :, : HEADS + KEYS], turn).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(
        turned[:, :HEADS],
        turned[:, HEADS:],
        found[:, :, HEADS + KEYS :].transpose(1, 2),
        is_causal=True,
        enable_gqa=True,
    )
    x = x + layer["o"](mixed.transpose(1, 2).reshape(-1, HEADS * HEAD))
    gate, up = layer["up"](_norm(x, layer.post_attention_layernorm)).chunk(2, -1)
    out: torch.Tensor = x + layer["down"](functional.silu(gate) * up)
    return out


def _norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, (WIDTH,), weight, EPSILON)


def _turns(length: int, device: Any, dtype: Any) -> tuple[torch.Tensor, torch.Tensor]:
    steps = THETA ** (-torch.arange(0, HEAD, 2, device=device, dtype=torch.float32) / HEAD)
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * steps
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def _turned(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cosine, sine = turn
    left, right = x.chunk(2, -1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)


def train(
    weights: Mapping[str, torch.Tensor],
    texts: Sequence[Sequence[int]],
    wanted: "np.ndarray[Any, Any]",
    verdicts: Sequence[int],
    settings: Settings,
    seed: int,
    state: Path,
    tell: Callable[[int, int, float], None],
) -> Network:
    """Train the adapter on answers, from the saved state if there is one.

    Args:
        weights: The model's; see `Network`.
        texts: The answers' tokens; see `chats`.
        wanted: What share of each verdict is right; see `shares`.
        verdicts: The verdicts' tokens.
        settings: How.
        seed: Of the adapter's beginning and the order of the batches.
        state: A file for what has been learnt so far; it is there while training is unfinished.
        tell: Is told step, steps and loss.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    network = _made(weights)
    device = loop.device()
    right = torch.from_numpy(wanted).to(device)

    def loss(places: Any) -> torch.Tensor:
        said = torch.log_softmax(_read(network, [texts[i] for i in places]), -1)
        return -(right[torch.from_numpy(places).to(device)] * said[:, verdicts]).sum(1).mean()

    parameters = [p for p in network.parameters() if p.requires_grad]
    plan = loop.batches(np.array([len(text) for text in texts]), settings, seed)
    at_once = None if device == "cuda" else CPU_AT_ONCE
    loop.train(network, {1.0: parameters}, loss, plan, settings, state, tell, at_once)
    return network


@torch.no_grad()  # type: ignore[untyped-decorator]
def predict(
    network: Network, texts: Sequence[Sequence[int]], verdicts: Sequence[int]
) -> "np.ndarray[Any, Any]":
    """The logits of the verdicts, a row for each answer."""
    found = np.zeros((len(texts), len(verdicts)))
    for places in loop.by_length(texts):
        logits = _read(network, [texts[i] for i in places])[:, verdicts]
        found[places] = logits.cpu().numpy()
    return found


def tensors(network: Network) -> dict[str, "np.ndarray[Any, Any]"]:
    """The adapter by peft's names."""
    found: dict[str, Any] = {}
    for i, layer in enumerate(network.layers):
        for group, names in GROUPS.items() if i >= FIRST else ():
            for name, (a, b) in zip(names, layer[group].tensors(), strict=True):
                key = f"base_model.model.model.layers.{i}.{name}"
                found |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
    return found


def adapter(found: Mapping[str, "np.ndarray[Any, Any]"]) -> bytes:
    """An adapter as a GGUF file.

    Args:
        found: See `tensors`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter.gguf"
        export(
            found,
            {"r": RANK, "lora_alpha": ALPHA},
            {
                "model_type": "llama",
                "num_attention_heads": HEADS,
                "num_key_value_heads": KEYS,
            },
            file,
            sha256(sources.path(BASE)),
        )
        return file.read_bytes()


def _made(weights: Mapping[str, torch.Tensor]) -> Network:
    # matrices as narrow as an adapter's are slow in bfloat16 on a CPU
    dtype = torch.bfloat16 if loop.device() == "cuda" else torch.float32
    made: Network = Network(weights, dtype).to(loop.device())
    return made


def _read(network: Network, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    device = loop.device()
    last = torch.tensor([len(text) - 1 for text in texts], device=device)
    found: torch.Tensor = network(torch.from_numpy(loop.padded(texts)).to(device), last)
    return found
