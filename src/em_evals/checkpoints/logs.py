"""The logs of a matrix: which cell has which, what answers are in them, and which are needed."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from inspect_ai.log import EvalError, EvalLog, EvalSample


class Logged(NamedTuple):
    """A log of the directory."""

    name: str
    mtime: float
    """In milliseconds."""
    header: "EvalLog"


Answer = tuple[str | int, int]
"""Question and epoch."""


def logged(log_dir: str) -> dict[str, list[Logged]]:
    """Cell id -> its logs, newest first. What cannot be read, and what is not ours, is left out."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    found: dict[str, list[Logged]] = {}
    if "://" not in log_dir and not Path(log_dir).is_dir():
        return found
    for info in list_eval_logs(log_dir):
        try:
            header = read_eval_log(info, header_only=True)
        except Exception:  # whatever a damaged file makes the reader raise
            continue
        if cell := (header.eval.metadata or {}).get("cell"):
            found.setdefault(cell, []).append(Logged(info.name, info.mtime or 0, header))
    for logs in found.values():
        logs.sort(key=lambda log: log.mtime, reverse=True)
    return found


def answered(log: Logged) -> set[Answer] | None:
    """The finished answers of a log; None if it cannot be read."""
    from inspect_ai.log import read_eval_log_sample_summaries

    try:
        return {
            (sample.id, sample.epoch)
            for sample in read_eval_log_sample_summaries(log.name)
            if sample.completed and sample.error is None
        } - _invalidated(log)
    except Exception:  # whatever a damaged file makes the reader raise
        return None


def _invalidated(log: Logged) -> set[Answer]:
    """The answers that someone has declared invalid, which are to be made again."""
    from inspect_ai.log import read_eval_log_samples

    if not log.header.invalidated:
        return set()
    samples = read_eval_log_samples(log.name, all_samples_required=False)
    return {(sample.id, sample.epoch) for sample in samples if sample.invalidation is not None}


def held(logs: Sequence[Logged]) -> dict[Answer, Logged]:
    """The finished answers in a cell's logs, each with the newest log that has it."""
    found: dict[Answer, Logged] = {}
    invalid: set[Answer] = set()
    for log in logs:  # newest first
        if (own := answered(log)) is None:
            continue
        for answer in own - invalid:
            found.setdefault(answer, log)
        invalid |= _invalidated(log)
    return found


def gather(logs: Sequence[Logged]) -> None:
    """Write a log with the answers of all logs of a cell, unless the newest has them all.

    Inspect goes on from a task's newest log alone, and that is not the fullest where a long run
    was stopped and a shorter one came after it. No log is removed.
    """
    from inspect_ai.log import read_eval_log, read_eval_log_sample, write_eval_log

    if len(logs) < 2 or (answers := held(logs)).keys() == answered(logs[0]):
        return
    fullest = max(logs, key=lambda log: len(answered(log) or ()))
    own = answered(fullest) or set()
    missing = answers.keys() - own
    # but for what a newer log has, or declares invalid
    dropped = missing | (own - answers.keys())
    log = read_eval_log(fullest.name)
    kept = [sample for sample in log.samples or [] if (sample.id, sample.epoch) not in dropped]
    added: list[EvalSample] = [
        read_eval_log_sample(answers[id, epoch].name, id, epoch) for id, epoch in missing
    ]
    log.samples = kept + added
    log.status, log.results, log.reductions, log.error = "cancelled", None, None, None
    log.eval.eval_id = uuid.uuid4().hex
    log.eval.config.epochs = max(each.header.eval.config.epochs or 1 for each in logs)
    folder, _, name = fullest.name.rpartition("/")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S+00-00")
    task = name.removesuffix(".eval").partition("_")[2]
    log.location = f"{folder}/{now}_{task}-{log.eval.eval_id[:8]}.eval"
    write_eval_log(log, log.location)


def sweep(cells: Iterable[str], logs: Mapping[str, list[Logged]], began: float) -> None:
    """Remove logs that a newer one of the same cell has taken over, so that none counts twice.

    A newer log starts from what the one before it had; a log with an answer that the newer one has
    not stays. So do logs that are not finished and were written to since this command began: their
    process may be alive.

    Args:
        cells: Their ids.
        logs: Cell id -> its logs, newest first; those that are removed are taken out.
        began: When this command began, in seconds.
    """
    from fsspec.core import url_to_fs

    for cell in cells:
        if not (found := logs.get(cell)):
            continue
        kept, *older = found
        for log in older:
            alive = log.header.status == "started" and log.mtime / 1000 >= began
            taken = log.header.eval.task_id == kept.header.eval.task_id
            finished = taken and not alive and kept.header.status != "started"
            if finished and _takes_over(kept, log):
                fs, path = url_to_fs(log.name)
                fs.rm(path)
                found.remove(log)


def _takes_over(kept: Logged, older: Logged) -> bool:
    has, had = answered(kept), answered(older)
    return has is not None and had is not None and had <= has


_RETRIED = re.compile(r"^RetryError[\[(]<Future at \S+ state=finished raised (\w+)>[\])]$")


def said(error: "EvalError | BaseException") -> str:
    """What went wrong, in one line; of calls that were retried in vain, how the last one failed."""
    from tenacity import RetryError

    if isinstance(error, RetryError) and (last := error.last_attempt.exception()):
        return said(last)
    text = str(getattr(error, "message", None) or str(error) or type(error).__name__)
    if retried := _RETRIED.match(text.strip()):
        raised = rf"^(?:[\w.]+\.)?{retried[1]}: (.+)$"
        if cause := re.search(raised, getattr(error, "traceback", ""), re.MULTILINE):
            text = f"{retried[1]}: {cause[1]}"
    # Inspect's own are marked up for the terminal
    text = re.sub(r"\[/?(?:bold|blue)(?: \w+)*\]", "", text).removeprefix("ERROR: ")
    return " ".join(text.split())
