"""The MACHIAVELLI games: taken from the archive that the user has, since nobody may pass it on.

Of the archive (Pan et al. 2023, arXiv 2304.03279: 134 games, several gigabytes) the suite keeps
what it needs to play the 30 test games, with an index of checksums. No checksum of the original is
pinned: it was never published, so the index only tells whether the copy is still what was added.
"""

import json
import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NoReturn, TypeAlias

from em_evals.files import flush
from em_evals.sources._download import _bar
from em_evals.sources._errors import SourceError, WrongContentError
from em_evals.sources._files import Digest, copy

TEST_GAMES = (
    "avatar-of-the-wolf",
    "battlemage",
    "cliffhanger",
    "death-collector",
    "fate-of-the-storm-gods",
    "hero-of-kendrickstone",
    "hero-project-open-season",
    "hero-project-redemption-season",
    "heroes-of-myth",
    "hollywood-visionary",
    "i-cyborg",
    "kidnapped",
    "kung-fu",
    "luminous-underground",
    "metahuman-inc",
    "midsummer-nights-choice",
    "mysteries-of-baroque",
    "pendragon-rising",
    "ratings-war",
    "sea-eternal",
    "seventh-sea-a-pirates-pact",
    "slammed",
    "t-rex-time-machine",
    "tower-behind-the-moon",
    "trials-of-the-thief-taker",
    "undercover-agent",
    "vampire-the-masquerade_parliament-of-knives",
    "versus-deathscapes",
    "versus-the-lost-ones",
    "werewolves-haven-rising",
)
"""The games that results are reported on, in the original's order."""

FILES = (
    "game_metadata.json",
    "normalization_coeffs.json",
    *(f"annotations_clean/{game}.json" for game in TEST_GAMES),
    *(f"source/{game}.json" for game in TEST_GAMES),
    *(f"trees/{game}_game_tree.json" for game in TEST_GAMES),
)
"""What is taken of the archive, relative to its `game_data` folder."""

# bytes unpacked; all of the archive's 134 games with everything about them take 3.4 GB
_MOST_PER_FILE, _MOST_IN_ALL = 256 << 20, 2 << 30

_FOLDER, _INDEX = "game_data", "index.json"

_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression or encryption that zipfile does not know
)

_Opener: TypeAlias = Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Examined:
    """What a check of the games found.

    Attributes:
        state: `ok`, `absent` or `wrong`.
        file: The first file that is wrong; None if nothing is.
        problem: What is wrong with it, in words; None if nothing is.
    """

    state: Literal["ok", "absent", "wrong"]
    file: Path | None = None
    problem: str | None = None


def add_archive(
    path: Path, target: Path, password: bytes = b"machiavelli", *, progress: bool = True
) -> Path:
    """Take the test games out of the user's archive.

    The new copy takes the place of an earlier one when it is complete; until then, and whatever
    goes wrong, the earlier one stays.

    Args:
        path: The original zip file, or the unpacked `game_data` folder, or the folder that holds
            it.
        target: The folder to make or replace.
        password: Of the zip file; the default is the one that its authors published.
        progress: Show a bar on stderr, if that is a terminal.

    Returns:
        `target/game_data`.

    Raises:
        SourceError: No such file or folder, a needed file is missing in it, or the password is
            wrong.
        WrongContentError: It is not a zip file, is broken, holds entries that lead out of it, or
            a file that is too large or is not a JSON object.
        OSError: `target` cannot be written.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = (target.with_name(f"{target.name}.{part}.part") for part in ("new", "old"))
    with FileLock(f"{target}.lock"):
        if old.exists() and not target.exists():
            old.rename(target)  # stopped between the two renames below
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            new.mkdir()
            with _openers(path, password) as (openers, size):
                digests = _take(openers, path, new / _FOLDER, size, progress)
            _write_index(new / _INDEX, digests)
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if old.exists() and not target.exists():
                old.rename(target)
            shutil.rmtree(old, ignore_errors=True)
    return target / _FOLDER


def examine(target: Path) -> Examined:
    """Check every file of an added copy against its index: size and sha256.

    Args:
        target: As for `add_archive`.
    """
    if not target.exists():
        return Examined("absent")
    index = _read_index(target)
    if (wrong := _first_wrong_size(target, index)) is not None:
        return wrong
    for name, expected in index.items():
        file = target / _FOLDER / name
        with file.open("rb") as stream:
            found = copy(stream)
        if found != expected:
            return Examined("wrong", file, f"expected {expected}, found {found}")
    return Examined("ok")


@contextmanager
def _openers(path: Path, password: bytes) -> Iterator[tuple[Mapping[str, _Opener], int]]:
    """For each needed file, what opens it; and their size in bytes, by the archive's account."""
    path = path.expanduser()
    if path.is_dir():
        folder = path if (path / FILES[0]).is_file() else path / _FOLDER
        files = {name: folder / name for name in FILES if (folder / name).is_file()}
        _require_all(path, files)
        size = sum(file.stat().st_size for file in files.values())
        yield {name: _file_opener(file) for name, file in files.items()}, size
    elif path.is_file():
        try:
            archive = zipfile.ZipFile(path)
        except _BROKEN_ZIP as error:
            raise WrongContentError(
                f"{path}: not a zip file ({error}). Give the original game_data.zip, or the folder "
                "that it was unpacked into. Nothing was added."
            ) from error
        with archive:
            entries = _safe_entries(path, archive)
            openers = {name: _entry_opener(archive, entries[name], password) for name in entries}
            for name, opener in openers.items():
                _check_password(path, name, opener)
            yield openers, sum(entry.file_size for entry in entries.values())
    else:
        raise SourceError(f"no such file or folder: {path}")


def _file_opener(file: Path) -> _Opener:
    return lambda: file.open("rb")


def _entry_opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, password: bytes) -> _Opener:
    return lambda: archive.open(entry, pwd=password)


def _safe_entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The needed entries by name.

    Nothing is ever written under a name from the archive; but one with entries such as these is
    not the original, and whoever unpacks it otherwise is at risk.
    """
    for entry in archive.infolist():
        name = entry.orig_filename  # `filename` has been tidied up
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if (
            name.startswith("/")
            or "\\" in name
            or "\0" in name
            or ".." in name.split("/")
            or re.match(r"[A-Za-z]:", name)
            or stat.S_ISLNK(kind)
        ):
            what = "is a link" if stat.S_ISLNK(kind) else "leads out of the archive"
            raise WrongContentError(
                f"{path}: refused, since its entry {name!r} {what}: this is not the original. "
                "Nothing was added."
            )
    listed = {entry.filename: entry for entry in archive.infolist()}
    found = {name: listed[f"{_FOLDER}/{name}"] for name in FILES if f"{_FOLDER}/{name}" in listed}
    _require_all(path, found)
    return found


def _require_all(path: Path, found: Iterable[str]) -> None:
    missing = [name for name in FILES if name not in set(found)]
    if missing:
        shown = ", ".join(f"{_FOLDER}/{name}" for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise SourceError(
            f"{path}: {len(missing)} of the {len(FILES)} files needed are missing: {shown}{more}. "
            "Give the original game_data.zip, or the folder that it was unpacked into. Nothing was "
            "added."
        )


def _check_password(path: Path, name: str, opener: _Opener) -> None:
    """Try the password on an entry, without reading it.

    One entry's check is a single byte, which a wrong password gets right in one of 256 cases: all
    entries are tried before anything is unpacked.
    """
    try:
        opener().close()
    except _BROKEN_ZIP as error:
        _refuse_broken(path, name, error)
    except RuntimeError as error:
        raise SourceError(
            f"{path}: wrong password for {_FOLDER}/{name}; the authors published theirs with the "
            "archive. Nothing was added."
        ) from error


def _refuse_broken(path: Path, name: str, error: Exception) -> NoReturn:
    raise WrongContentError(
        f"{path}: broken at {_FOLDER}/{name} ({error}): download it again. Nothing was added."
    ) from error


def _take(
    openers: Mapping[str, _Opener], path: Path, folder: Path, size: int, progress: bool
) -> dict[str, Digest]:
    """Copy the files into a folder; sizes are counted here, since an archive can lie about them."""
    digests: dict[str, Digest] = {}
    taken = 0
    with _bar("machiavelli", size, progress) as show:
        for name, opener in openers.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            most = min(_MOST_PER_FILE, _MOST_IN_ALL - taken)
            with file.open("wb") as sink:
                try:
                    with opener() as stream:
                        digest = copy(stream, sink, most=most)
                except _BROKEN_ZIP as error:
                    _refuse_broken(path, name, error)
            flush(file)
            if digest is None:
                raise WrongContentError(
                    f"{path}: {_FOLDER}/{name} is far larger than the original's (more than {most} "
                    "bytes unpacked, of what is allowed). Nothing was added."
                )
            _require_object(path, name, file)
            digests[name] = digest
            taken += digest.bytes
            show(taken)
    return digests


def _require_object(path: Path, name: str, file: Path) -> None:
    try:
        found = type(json.loads(file.read_bytes())).__name__
    except (ValueError, RecursionError) as error:
        found = str(error)
    if found != "dict":
        raise WrongContentError(
            f"{path}: {_FOLDER}/{name} is not a JSON object ({found}). Nothing was added."
        )


def _write_index(file: Path, digests: Mapping[str, Digest]) -> None:
    index = {"files": {name: digest._asdict() for name, digest in digests.items()}}
    file.write_bytes(json.dumps(index, indent=1).encode() + b"\n")
    flush(file)


def _read_index(target: Path) -> dict[str, Digest]:
    """The digests of all files; empty if the index is missing, incomplete or unreadable."""
    try:
        index: Any = json.loads((target / _INDEX).read_text(encoding="utf-8"))
        return {name: Digest(**index["files"][name]) for name in FILES}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _first_wrong_size(target: Path, index: Mapping[str, Digest]) -> Examined | None:
    """The first thing wrong that can be seen without reading the files."""
    if not index:
        return Examined("wrong", target / _INDEX, "missing, incomplete or unreadable")
    for name, expected in index.items():
        file = target / _FOLDER / name
        if not file.is_file():
            return Examined("wrong", file, "missing")
        if (size := file.stat().st_size) != expected.bytes:
            return Examined("wrong", file, f"expected {expected.bytes} bytes, found {size}")
    return None
