"""Inspect's `.eval` files, answer by answer: written and read without the whole log in memory.

A `.eval` file is a zip of JSON: `header.json`, `summaries.json` and one member per answer.
Inspect's own writer wants all samples at once and takes time that grows with their square.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inspect_ai.log import (
    EvalLog,
    EvalSample,
    EvalStats,
    list_eval_logs,
    read_eval_log,
    recompute_metrics,
)
from inspect_ai.scorer import Score

from em_evals.errors import InputError
from em_evals.files import flush

HEADER, SUMMARIES = "header.json", "summaries.json"

SHOWN = 1000
"""Characters of a text that the list of answers keeps, as Inspect does."""

_BLANK = EvalSample(id="", epoch=1, input="", target="")
"""Copied, as making a sample costs a hundred times more."""


class LogWriter:
    """Writes a log answer by answer; the file appears, whole, when it is finished.

    As a context manager it removes what it has written unless `finish` was called.
    """

    def __init__(self, file: Path) -> None:
        """Begin a log.

        Args:
            file: Where it will be; replaced if it exists.
        """
        self.file = file
        self._part = file.with_name(f"{file.name}.part")
        self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._summaries: list[bytes] = []

    def add(self, sample: Mapping[str, Any], summary: Mapping[str, Any] | None = None) -> None:
        """Write one answer.

        Args:
            sample: The JSON form of an `EvalSample`.
            summary: That of its `EvalSampleSummary`; None makes it from the sample.

        Raises:
            UnicodeEncodeError: A text holds half a character, which no file can.
        """
        content, listed = _bytes(sample), _bytes(summary or _summary(sample))
        self._zip.writestr(member(sample["id"], sample["epoch"]), content)
        self._summaries.append(listed)

    def finish(self, log: EvalLog) -> None:
        """Write the header and put the file in its place.

        Args:
            log: The header: `eval`, `plan`, `results`, `stats` and `status`.
        """
        self.complete(log)
        self.place()

    def complete(self, log: EvalLog) -> None:
        """Write the header; the file is whole then, and on the disk, but not yet in its place.

        Args:
            log: As for `finish`.
        """
        apart = {"samples", "reductions", "location", "etag"}
        self._zip.writestr(HEADER, log.model_dump_json(exclude_none=True, exclude=apart))
        self._zip.writestr(SUMMARIES, b"[" + b",".join(self._summaries) + b"]")
        self._zip.close()
        flush(self._part)
        log.location = str(self.file)

    def place(self) -> None:
        """Put the file, once complete, in its place."""
        self._part.replace(self.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._zip.close()  # which writes, and fails where the disk is full
        finally:
            self._part.unlink(missing_ok=True)


def scored(sample: Mapping[str, Any], scores: Mapping[str, Any]) -> EvalSample:
    """What metrics need of an answer, and no text.

    Args:
        sample: The JSON form of an `EvalSample`.
        scores: Scorer -> JSON form of its `Score`.
    """
    update = {
        "id": sample["id"],
        "epoch": sample["epoch"],
        "scores": {
            name: Score(value=score["value"], metadata=_scalars(score.get("metadata") or {}))
            for name, score in scores.items()
        },
        "metadata": _scalars(sample["metadata"]),
    }
    return _BLANK.model_copy(update=update)


def set_results(log: EvalLog, answers: list[EvalSample]) -> None:
    """Have Inspect compute the metrics of the header's scorers and put them into the header.

    Args:
        log: The header.
        answers: Made by `scored`.
    """
    log.samples = answers
    recompute_metrics(log)
    log.samples = None
    log.reductions = None


def member(sample_id: str | int, epoch: int) -> str:
    """The name of an answer inside the zip."""
    return f"samples/{sample_id}_epoch_{epoch}.json"


def samples(file: str | Path) -> Iterator[dict[str, Any]]:
    """The answers of a local `.eval` file in their JSON form, in the file's order.

    An answer that was written twice comes once, as it was last.
    """
    with zipfile.ZipFile(file) as archive:
        for name in dict.fromkeys(archive.namelist()):
            if name.startswith("samples/"):
                yield json.loads(archive.read(name))


def finished_logs(places: Sequence[str | Path]) -> list[EvalLog]:
    """The headers of the `.eval` files in these places, the oldest first.

    Args:
        places: Files, and directories that are searched with all below them.

    Raises:
        InputError: A place that is not there or holds no `.eval` file, or a file that is not a
            finished log.
    """
    files: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise InputError(f"{place}: no such file or directory")
        found = [place]
        if place.is_dir():
            infos = list_eval_logs(str(place), formats=["eval"], descending=False)
            found = [Path(info.name.removeprefix("file://")) for info in infos]
        if not found:
            raise InputError(f"{place}: holds no .eval file")
        files += found
    logs = []
    for file in dict.fromkeys(path.resolve() for path in files):
        if file.suffix != ".eval":
            raise InputError(f"{file}: expected an .eval file; `inspect log convert` makes one")
        try:
            log = read_eval_log(str(file), header_only=True)
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise InputError(f"{file}: not readable as an Inspect log: {error}") from error
        if log.status == "started":
            raise InputError(
                f"{file}: still being written, or its run was killed: wait until it has ended, or "
                "leave the file out"
            )
        log.location = str(file)
        logs.append(log)
    return logs


def now() -> str:
    """This moment, as logs write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stats() -> EvalStats:
    """The statistics of a log that called no model."""
    return EvalStats(started_at=now(), completed_at=now())


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What Inspect's list of answers shows of one: no lists, and long texts cut."""
    scores = {
        name: {key: _cut(value) for key, value in score.items()}
        | {"metadata": _scalars(score.get("metadata") or {})}
        for name, score in sample["scores"].items()
    }
    return {
        "id": sample["id"],
        "epoch": sample["epoch"],
        "input": [message | {"content": _cut(message["content"])} for message in sample["input"]],
        "target": sample["target"],
        "metadata": _scalars(sample["metadata"]),
        "scores": scores,
        "uuid": sample["uuid"],
        "completed": True,
        "message_count": len(sample["messages"]),
    }


def _scalars(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata and what it nests, without lists and with long texts cut."""
    return {
        key: _scalars(value) if isinstance(value, dict) else _cut(value)
        for key, value in metadata.items()
        if not isinstance(value, list)
    }


def _cut(value: Any) -> Any:
    long = isinstance(value, str) and len(value) > SHOWN
    return f"{value[:SHOWN]}..." if long else value
