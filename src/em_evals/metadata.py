"""Versions of the evaluations, from each family's eval.yaml."""

from importlib.resources import files
from typing import NamedTuple

import yaml


class EvalVersion(NamedTuple):
    """The version of one evaluation, written `N-X`."""

    comparability_version: int
    """Results are comparable only within one N."""
    interface_version: str
    """The letter moves when arguments change."""

    def to_metadata(self) -> dict[str, str]:
        """What the log records beside the task's own version."""
        return {"full_task_version": f"{self.comparability_version}-{self.interface_version}"}


def eval_version(family: str) -> EvalVersion:
    """The version that `family`'s eval.yaml states.

    Raises:
        ValueError: The file's `version` is not of the form `N-X`.
    """
    path = files("em_evals") / family / "eval.yaml"
    stated = str(yaml.safe_load(path.read_text(encoding="utf-8"))["version"])
    number, _, letter = stated.partition("-")
    if not (number.isdigit() and letter):
        raise ValueError(f"{path}: version {stated!r}: expected N-X, such as 1-A")
    return EvalVersion(int(number), letter)
