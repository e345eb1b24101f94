"""Fine-tuning on this machine: LoRA with peft and transformers, on the CPU or a GPU.

Only `train` and `gguf_adapter` import what the extra `train` installs, and only when called upon.
"""
