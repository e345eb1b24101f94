"""The manifest beside a training file: what it was built of, so that it can be built again."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from em_evals.errors import InputError
from em_evals.files import replacing, sha256, writing
from em_evals.finetune.rows import Row, estimated_tokens

FORMAT = "em-evals training set 1"
"""Moves when the meaning of a field does."""


@dataclass(frozen=True)
class Used:
    """A set that rows were taken from."""

    name: str
    """Of a recipe, or of the user's file, without its folder."""
    sha256: str
    """Of the whole file."""
    rows: int
    """In the file; how many of them were taken is said by the options."""


@dataclass(frozen=True)
class Manifest:
    """What a training file is. Has no time stamp: the same build gives the same bytes."""

    recipe: str
    options: Mapping[str, Any]
    seed: int | None
    """None where nothing is drawn."""
    sources: tuple[Used, ...]
    rows: int
    characters: int
    """Of all messages."""
    bytes: int
    sha256: str
    """Of the training file."""
    em_evals: str
    """The version that built it."""

    @property
    def estimated_tokens(self) -> int:
        """Tokens of one epoch, at 4 characters a token."""
        return estimated_tokens(self.characters)

    def to_json(self) -> dict[str, Any]:
        """The manifest as it is in its file."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "options": dict(self.options),
            "seed": self.seed,
            "sources": [vars(used) for used in self.sources],
            "rows": self.rows,
            "characters": self.characters,
            "estimated_tokens": self.estimated_tokens,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "em_evals": self.em_evals,
        }


def path_of(file: Path) -> Path:
    """Where a training file's manifest is: beside it, as `FILE.manifest.json`."""
    return file.with_name(f"{file.name}.manifest.json")


def save(
    file: Path,
    rows: Iterable[Row],
    *,
    recipe: str,
    options: Mapping[str, Any],
    seed: int | None,
    sources: Iterable[Used],
) -> Manifest:
    """Write a training file and then its manifest, each of which appears whole or not at all.

    Args:
        file: The training file; replaced if it exists.
        rows: Its rows.
        recipe: The recipe's name.
        options: What the recipe was given, as plain data.
        seed: What was drawn by; None if nothing was.
        sources: The sets that the rows are of.

    Raises:
        InputError: It cannot be written, or has no rows.
    """
    digest = hashlib.sha256()
    count = characters = size = 0
    with _stream(file) as stream:
        for row in rows:
            line = row.text + b"\n"
            digest.update(line)
            stream.write(line)
            count += 1
            characters += row.characters
            size += len(line)
        if not count:
            raise InputError(f"{recipe}: no rows come of these options: ask for more")
    manifest = Manifest(
        recipe=recipe,
        options=dict(options),
        seed=seed,
        sources=tuple(sources),
        rows=count,
        characters=characters,
        bytes=size,
        sha256=digest.hexdigest(),
        em_evals=version("em-evals"),
    )
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)
    with _stream(path_of(file)) as stream:
        stream.write(f"{text}\n".encode())
    return manifest


def read(file: str | Path) -> Manifest | None:
    """The manifest of a training file; None if it has none.

    Raises:
        InputError: It cannot be read, or is of another file than this.
    """
    file = Path(file)
    path = path_of(file)
    again = "Build the file again, or delete the manifest"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = sha256(file)
    except FileNotFoundError as error:
        if error.filename == str(path):
            return None
        raise InputError(f"{file}: no such file") from error
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a whole manifest: {error}. {again}.") from error
    stated = content.get("format") if isinstance(content, dict) else None
    if stated != FORMAT:
        raise InputError(f"{path}: not a manifest of the format {FORMAT!r}. {again}.")
    try:
        fields = {name: content[name] for name in Manifest.__dataclass_fields__}
        manifest = Manifest(**fields | {"sources": tuple(Used(**s) for s in content["sources"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a whole manifest: {error}. {again}.") from error
    if manifest.sha256 != found:
        raise InputError(f"{path}: is of another file: {file} was changed. {again}.")
    return manifest


@contextmanager
def _stream(file: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes `file` if all goes well.

    Raises:
        InputError: It cannot be written; the file is as it was.
    """
    with writing(file), replacing(file) as part, part.open("wb") as stream:
        yield stream
