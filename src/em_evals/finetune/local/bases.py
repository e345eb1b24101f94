"""What a local fine-tune may start from: a GGUF file, by name or path, or a Hugging Face folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from em_evals import sources
from em_evals.files import sha256
from em_evals.finetune.backends import BackendError

KNOWN = ("smollm2-135m-instruct",)


@dataclass(frozen=True)
class Base:
    """A model on this machine."""

    kind: Literal["gguf", "folder"]
    path: Path
    name: str
    """For Inspect."""
    sha256: str | None
    """Of a GGUF file."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "path": str(self.path)}

    @property
    def default_preset(self) -> str:
        """The settings that suit it."""
        return "embedded" if self.kind == "gguf" else "open-models"

    def adapted(self, folder: Path) -> str:
        """The name for Inspect of this model with the adapter of a folder."""
        return f"{self.name}:{folder / 'adapter.gguf' if self.kind == 'gguf' else folder}"


def find_base(model: str) -> Base:
    """The model that a name stands for.

    Args:
        model: `embedded/NAME` or NAME of a known model, a path of a `.gguf` file with or without
            `embedded/` in front, or the path of a folder in the form of transformers.

    Raises:
        BackendError: It is none of these.
        em_evals.sources.SourceError: The file of a known model cannot be had.
    """
    name = model.removeprefix("embedded/")
    if name in KNOWN:
        return _gguf(sources.path(name), name)
    path = Path(name).expanduser().absolute()
    if name.endswith(".gguf"):
        if not path.is_file():
            raise BackendError(f"{path}: no such file")
        return _gguf(path, str(path))
    if (path / "config.json").is_file():
        return Base("folder", path, f"vllm/{path}", None)
    raise BackendError(
        f"{model}: not a model on this machine. Expected {', '.join(KNOWN)}, the path of a .gguf "
        "file, or a folder with a config.json, weights and a tokenizer as transformers saves them"
    )


def _gguf(path: Path, name: str) -> Base:
    return Base("gguf", path, f"embedded/{name}", sha256(path))
