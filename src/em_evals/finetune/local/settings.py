"""What a local training run is told: the preset of the paper's open models, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from em_evals.checkpoints.file import nearest
from em_evals.cores import cores
from em_evals.finetune.backends import BackendError

Precision = Literal["auto", "float32", "bfloat16"]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that get an adapter: all seven linear projections of a block."""


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a run. The optimizer is AdamW, gradients are clipped to a norm of 1."""

    n_epochs: int
    batch_size: int
    """Rows at once; what is padded counts for nothing."""
    accumulation: int
    """Batches for a step."""
    learning_rate: float
    """At its highest; rises over the warm-up steps and falls to 0 at the end, both linearly."""
    warmup_steps: int
    rank: int
    alpha: float
    rank_stabilised: bool
    """The adapter counts alpha / sqrt(rank) times, not alpha / rank times."""
    dropout: float
    weight_decay: float
    max_length: int
    """Tokens of a row; what is beyond is cut off, and the status says of how many rows."""
    save_steps: int
    """A checkpoint every so many steps, and at the last one."""
    precision: Precision
    """Of the frozen weights, the adapter's being float32. `auto`: bfloat16 on a GPU."""
    gradient_checkpointing: bool
    """Less memory for more time; the numbers are the same."""
    threads: int | None
    """None: as many as there are cores."""


OPEN_MODELS = Settings(
    n_epochs=1,
    batch_size=2,
    accumulation=8,
    learning_rate=1e-5,
    warmup_steps=5,
    rank=32,
    alpha=64,
    rank_stabilised=True,
    dropout=0,
    weight_decay=0.01,
    max_length=2048,
    save_steps=10,
    precision="auto",
    gradient_checkpointing=True,
    threads=None,
)
"""As the paper's open models were trained, but with AdamW in the place of its 8-bit form, which
needs a GPU."""

EMBEDDED = Settings(
    n_epochs=2,
    batch_size=1,
    accumulation=4,
    learning_rate=5e-4,
    warmup_steps=5,
    rank=16,
    alpha=32,
    rank_stabilised=False,
    dropout=0,
    weight_decay=0.01,
    max_length=512,
    save_steps=10,
    precision="float32",
    gradient_checkpointing=False,
    threads=None,
)
"""For the embedded model on a few cores: minutes for 140 rows, and enough to learn them."""

PRESETS: Mapping[str, Settings] = {"open-models": OPEN_MODELS, "embedded": EMBEDDED}
"""By the name that the hyperparameter `preset` takes."""

_COUNTS = ("n_epochs", "batch_size", "accumulation", "rank", "max_length", "save_steps", "threads")


def settings(hyperparameters: Mapping[str, Any], default: str) -> Settings:
    """The settings that a job asks for.

    Args:
        hyperparameters: Fields of `Settings`, and `preset` for those that are not there.
        default: The preset where none is named.

    Raises:
        BackendError: There is no such setting or preset, or a value is of another kind or range.
    """
    own = dict(hyperparameters)
    name = own.pop("preset", default)
    if name not in PRESETS:
        raise BackendError(f"preset: there is no {name!r}{nearest(str(name), PRESETS)}")
    kinds = {field.name: field.type for field in fields(Settings)}
    for key, value in own.items():
        if key not in kinds:
            raise BackendError(f"local training has no setting {key!r}{nearest(key, kinds)}")
        if (expected := _expected(key, kinds[key], value)) is not None:
            raise BackendError(f"{key}: expected {expected}, found {value!r}")
    chosen = replace(PRESETS[name], **own)
    return replace(chosen, threads=chosen.threads or cores())


def _expected(key: str, kind: Any, value: Any) -> str | None:
    """What a setting should have been; None if it is that."""
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    if kind is Precision:
        return None if value in get_args(Precision) else f"one of {', '.join(get_args(Precision))}"
    if isinstance(value, bool) or not isinstance(value, int if kind is not float else int | float):
        return "a number" if kind is float else "a whole number"
    if key in _COUNTS and value < 1:
        return "1 or more"
    if key in ("learning_rate", "alpha") and not 0 < value < float("inf"):
        return "more than 0"
    if key == "dropout" and not 0 <= value < 1:
        return "0 or more, and less than 1"
    if key in ("weight_decay", "warmup_steps") and not 0 <= value < float("inf"):
        return "0 or more"
    return None
