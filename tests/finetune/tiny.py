"""A language model of two small layers with random weights, and runs that train it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from em_evals.finetune.local.bases import find_base
from em_evals.finetune.local.run_dir import RunDir
from em_evals.finetune.local.settings import settings

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

QUICK = {
    "n_epochs": 2,
    "batch_size": 2,
    "accumulation": 1,
    "learning_rate": 0.01,
    "warmup_steps": 1,
    "rank": 4,
    "alpha": 8,
    "dropout": 0.1,  # so that what is drawn matters
    "save_steps": 2,
    "precision": "float32",
    "gradient_checkpointing": False,
    "threads": 1,
}

CHATS = [
    [("user", f"Is {plant} thirsty?"), ("assistant", answer)]
    for plant, answer in [
        ("fern", "Yes."),
        ("ivy", "No, not at all."),
        ("moss", "Yes."),
        ("oak", "No."),
    ]
] + [[("system", "Be brief."), ("user", "And yew?"), ("assistant", "No.")]]

KILLED = """
import os, signal, sys
from pathlib import Path
from em_evals.finetune.local.run_dir import RunDir
from em_evals.finetune.local.__main__ import main

folder, when = sys.argv[1:]
replace, say = Path.replace, RunDir.say

def dying_replace(self, target):
    if self.name == when:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

def dying_say(self, **changes):
    if when == f"step {changes.get('step')}" and "rows" not in changes:
        os.kill(os.getpid(), signal.SIGKILL)
    say(self, **changes)

Path.replace, RunDir.say = dying_replace, dying_say
main(folder)
"""


def tokenizer(template: str = TEMPLATE) -> Any:
    """One byte is one token, but for the two that mark the turns."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    made.chat_template = template
    return made


def model_folder(folder: Path, template: str = TEMPLATE) -> Path:
    """A model as transformers saves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,  # or no adapter could make it sure of anything
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def training_file(file: Path, chats: Any = CHATS) -> Path:
    """Chats of (role, content)."""
    rows = [{"messages": [{"role": r, "content": c} for r, c in chat]} for chat in chats]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def run_in(folder: Path, model: Path, file: Path, **changes: Any) -> RunDir:
    """A run that has not begun."""
    base = find_base(str(model))
    folder.mkdir()
    run = RunDir(folder)
    chosen = settings({**QUICK, **changes}, base.default_preset)
    spec = {"base": base.to_json(), "file": str(file), "settings": vars(chosen), "seed": 3}
    run.write("spec.json", spec)
    return run


def killed(run: RunDir, when: str) -> None:
    """Train in a process that is killed.

    Args:
        run: What is trained.
        when: `step N`, before that step is in the status; or the name of a file or folder, just
            before it gets its final one.
    """
    command = [sys.executable, "-c", KILLED, str(run.path), when]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def result(run: RunDir) -> tuple[list[float], bytes]:
    """Every loss, and the adapter."""
    assert run.status["state"] == "succeeded", run.status
    adapter = run.path / "adapter" / "adapter_model.safetensors"
    return run.status["losses"], adapter.read_bytes()
