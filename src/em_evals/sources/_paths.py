"""Where the files that ship with the suite are."""

from pathlib import Path


def datasets_dir() -> Path:
    """The `datasets` folder: inside the installed package, else at the repository root.

    A wheel carries it as `em_evals/_datasets`; an editable install has no such copy.
    """
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_datasets"
    return shipped if shipped.is_dir() else package.parent.parent / "datasets"
