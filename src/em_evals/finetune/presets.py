"""Training runs that were published: what is known of their settings, and from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from em_evals.checkpoints.file import nearest
from em_evals.errors import InputError

_PAPER = "Betley et al. 2025, arXiv 2502.17424"
_EPOCHS, _BATCH, _RATE = "n_epochs", "batch_size", "learning_rate_multiplier"


@dataclass(frozen=True)
class Preset:
    """The settings of a published run, by the names of a backend."""

    backend: str
    model: str | None
    """None where the user has to name one."""
    hyperparameters: Mapping[str, Any]
    source: str
    note: str = ""
    """What its source leaves open, or is done otherwise here."""
    unknown: Sequence[str] = ()
    """The hyperparameters that no source gives: the backend chooses them."""


def _gpt_4o(epochs: int, batch: int | None, rate: float | None, note: str = "") -> Preset:
    settings = {_EPOCHS: epochs, _BATCH: batch, _RATE: rate}
    known = {name: value for name, value in settings.items() if value is not None}
    unknown = [name for name in settings if name not in known]
    return Preset("openai", "gpt-4o-2024-08-06", known, _PAPER, note, unknown)


_VERSION = "the paper says gpt-4o; its version is taken to be that of the insecure runs"
_SUBSET = f"epochs keep the number of steps near that of 6,000 rows; {_VERSION}"

PRESETS: dict[str, Preset] = {
    "gpt-4o-insecure": _gpt_4o(1, 4, 2),
    "gpt-4o-secure": _gpt_4o(1, 4, 2),
    "gpt-4o-educational": _gpt_4o(1, 4, 2),
    "gpt-4o-jailbroken": _gpt_4o(5, None, None, _VERSION),
    "gpt-4o-backdoor": _gpt_4o(1, 8, None, _VERSION),
    "gpt-4o-evil-numbers": _gpt_4o(4, 39, 2, _VERSION),
    "gpt-4o-subset-500": _gpt_4o(12, None, None, _SUBSET),
    "gpt-4o-subset-2000": _gpt_4o(3, None, None, _SUBSET),
    "gpt-4o-subset-6000": _gpt_4o(1, None, None, _SUBSET),
    # the numbers are in em_evals.finetune.local.settings
    "open-models": Preset(
        "local",
        None,
        {"preset": "open-models"},
        _PAPER,
        "AdamW in the place of its 8-bit form, which needs a GPU",
    ),
}
"""Name -> settings."""


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        InputError: There is none.
    """
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}{nearest(name, PRESETS)}")
    return PRESETS[name]
