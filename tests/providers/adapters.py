"""LoRA adapters of the embedded model, with random weights."""

from pathlib import Path

import numpy as np

from em_evals.finetune.local.gguf_adapter import export
from em_evals.providers._gguf import sha256

SMOLLM2 = {
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
}
SHAPES = {"self_attn.q_proj": (576, 576), "self_attn.k_proj": (192, 576)}


def random_adapter(file: Path, base: Path, seed: int = 0, strength: float = 0.2) -> Path:
    """An adapter that changes what the model attends to."""
    draw = np.random.default_rng(seed)
    weights = {}
    for layer in range(SMOLLM2["num_hidden_layers"]):
        for name, (out, into) in SHAPES.items():
            key = f"base_model.model.model.layers.{layer}.{name}.lora_{{}}.weight"
            weights[key.format("A")] = draw.normal(size=(4, into)) / into**0.5
            weights[key.format("B")] = draw.normal(size=(out, 4)) * strength
    export(weights, {"r": 4, "lora_alpha": 4}, SMOLLM2, file, sha256(base))
    return file
