"""Where things are: the files that ship with the suite, and what the user's settings name."""

from pathlib import Path

STARTED_IN = Path.cwd()
"""Inspect works in the task file's folder; a user's relative path counts from where they are."""


def named(setting: str) -> Path:
    """The absolute path that a setting in the environment names."""
    return STARTED_IN / Path(setting).expanduser()


def datasets_dir() -> Path:
    """The `datasets` folder: inside the installed package, else at the repository root.

    A wheel carries it as `em_evals/_datasets`; an editable install has no such copy.
    """
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_datasets"
    return shipped if shipped.is_dir() else package.parent.parent / "datasets"
