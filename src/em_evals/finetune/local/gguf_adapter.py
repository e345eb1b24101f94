"""A LoRA adapter of peft as a GGUF file, which llama.cpp loads beside the base model's."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from em_evals.errors import InputError
from em_evals.providers._gguf import BASE_SHA256

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.+)\.lora_([AB])\.weight")

ARCHITECTURES = ("llama", "qwen2")
"""The `model_type`s whose layers are named as above, in both formats."""

_ROTATES_PAIRS = ("llama",)
"""llama.cpp's files have the rows of these models' q and k in another order than transformers':
what is rotated together is neighbouring there, and half a head apart here."""


def export(
    weights: Mapping[str, Any],
    lora: Mapping[str, Any],
    base: Mapping[str, Any],
    file: Path,
    base_sha256: str,
) -> None:
    """Write an adapter as GGUF.

    It is in bfloat16, with a rank that is no multiple of 4: for two tokens or more, but not for
    one, llama.cpp multiplies other matrices in another order of sums, so that nearly every answer
    would depend on what else is in the batch. This way few do.

    Args:
        weights: Name, as peft has it, -> array of numpy. All of the adapter's.
        lora: peft's configuration of it: `r`, `lora_alpha`, `use_rslora`.
        base: The base model's configuration: `model_type`, `num_attention_heads`, ...
        file: Where to.
        base_sha256: Of the GGUF file that it belongs to; the provider refuses it on another.

    Raises:
        InputError: The base is of an architecture that is not known here, or the adapter has
            weights for something else than the seven projections.
    """
    import gguf

    bfloat16 = gguf.GGMLQuantizationType.BF16
    architecture = base["model_type"]
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"adapters of {architecture} models cannot be written as GGUF: expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    rank = int(lora["r"])
    scale = lora["lora_alpha"] / (math.sqrt(rank) if lora.get("use_rslora") else rank)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    # llama.cpp multiplies by alpha / rank, by the rank of the matrices, whatever the training did
    writer.add_float32("adapter.lora.alpha", scale * (rank + _extra(rank)))
    writer.add_string(BASE_SHA256, base_sha256)
    for name, array in _tensors(weights, base):
        writer.add_tensor(name, gguf.quants.quantize(array, bfloat16), raw_dtype=bfloat16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(weights: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    import numpy as np

    heads = {
        "attn_q": base["num_attention_heads"],
        "attn_k": base.get("num_key_value_heads") or base["num_attention_heads"],
    }
    for key in sorted(weights):
        match = _KEY.fullmatch(key)
        if match is None or match[2] not in _NAMES:
            raise InputError(f"the adapter changes {key}, which cannot be written as GGUF")
        layer, part, half = match[1], _NAMES[match[2]], match[3]
        array = np.ascontiguousarray(weights[key], dtype=np.float32)
        if half == "B" and part in heads and base["model_type"] in _ROTATES_PAIRS:
            array = _paired(array, heads[part])
        extra = _extra(array.shape[half == "B"])
        array = np.pad(array, ((0, 0), (0, extra)) if half == "B" else ((0, extra), (0, 0)))
        yield f"blk.{layer}.{part}.weight.lora_{half.lower()}", array


def _extra(rank: int) -> int:
    """Zeros that are added to the rank, which change no product: see `export`."""
    return 1 if rank % 4 == 0 else 0


def _paired(rows: Any, heads: int) -> Any:
    """Rows in llama.cpp's order: of each head, the two halves interleaved."""
    out, rank = rows.shape
    return rows.reshape(heads, 2, out // heads // 2, rank).swapaxes(1, 2).reshape(out, rank)
