"""Old answers judged again by another grader, with both graders' scores side by side.

The asking is Inspect's re-scoring. What this adds: it goes on where it was interrupted, pays once
for an answer, reads answers one at a time, and leaves the old log alone until the new is whole.
"""

import hashlib
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from inspect_ai import score_async
from inspect_ai.log import EvalLog, EvalResults, EvalSample
from inspect_ai.model import Model
from inspect_ai.scorer import Scorer

from em_evals.analysis.importing import SOURCE
from em_evals.analysis.log_files import (
    SUMMARIES,
    LogWriter,
    finished_logs,
    member,
    samples,
    scored,
    set_results,
    writing,
)
from em_evals.deception.scorer import factual_judge, identity_judge
from em_evals.definitions import Mode
from em_evals.errors import InputError
from em_evals.insecure_code.scorer import insecure_code_judge
from em_evals.judges.em_judge import em_judge
from em_evals.strong_reject.scorer import strong_reject_rubric
from em_evals.truthfulqa.scorer import truthfulqa_judge

JUDGES: Mapping[str, Callable[..., Scorer]] = {
    "em_judge": em_judge,
    "factual_judge": factual_judge,
    "identity_judge": identity_judge,
    "insecure_code_judge": insecure_code_judge,
    "strong_reject_rubric": strong_reject_rubric,
    "truthfulqa_judge": truthfulqa_judge,
}
"""The scorers that ask a grader."""

AT_ONCE = 200
"""Answers that are in memory, their judgements under way; the grader's own limit is lower."""

Key = tuple[str, int]
"""An answer: sample id and epoch."""


class Rejudged(NamedTuple):
    """What became of one log."""

    log: str
    """The log that holds both graders' scores."""
    scorer: str
    """The new scores' name in it, such as `em_judge1`."""
    grader: str
    judged: int
    """Answers that the grader was asked about now."""
    already: int
    """Answers that it had judged before, with the same prompts."""


def rejudge(
    places: Sequence[str | Path],
    grader: Model,
    log_dir: Path | None = None,
    judge_mode: Mode | None = None,
    *,
    quiet: bool = False,
) -> list[Rejudged]:
    """Have a grader judge the answers of finished logs, beside the scores that they have.

    An answer that this grader has judged with the same prompts (and in `judge_mode`, if given) is
    not judged again. Judgements are kept in a file beside the log as they come in, so that after
    an interruption the same call goes on where it stopped. Answers that ended in an error are
    left out.

    Args:
        places: Local `.eval` files and directories of them. Logs of other suites are refused.
        grader: Who judges.
        log_dir: Where the new logs go, under the old names; None puts them in the old ones' place.
        judge_mode: How `em_judge` reads ratings; None takes the first that the grader allows.
        quiet: Show no progress.

    Raises:
        InputError: A log without judged answers of this suite, or one whose questions are not
            known; nothing has been asked then. The grader fails, or the logs cannot be written:
            what was judged is kept.
    """
    logs = finished_logs(places)
    jobs = [
        job for log in logs for job in _jobs(log, grader, log_dir, judge_mode)
    ]  # all of them, before anything is paid for
    done = []
    for job in jobs:
        with writing(job.out):
            done.append(_rejudge(*job, quiet=quiet))
    return done


class _Job(NamedTuple):
    log: EvalLog
    out: Path
    scorer: str
    args: dict[str, Any]
    grader: Model


def _jobs(log: EvalLog, grader: Model, log_dir: Path | None, mode: Mode | None) -> Iterator[_Job]:
    file = Path(log.location)
    names = dict.fromkeys(s.name for s in log.eval.scorers or [] if s.name in JUDGES)
    if not names:
        raise InputError(
            f"{file}: no judge of em-evals has scored it; judges are {', '.join(JUDGES)}"
        )
    if (log.eval.metadata or {}).get("source") == SOURCE:
        raise InputError(
            f"{file}: imported without saying which questions these are, so no judge prompts go "
            "with them. Import it with --source paper or --source builtin."
        )
    out = file if log_dir is None else log_dir / file.name
    for name in names:
        args = next(dict(s.options or {}) for s in log.eval.scorers or [] if s.name == name)
        if name == "em_judge":
            args["judge_mode"] = mode
        # the second judge of a log finds the first one's scores there
        yield _Job(log, out, name, args, grader)


def _rejudge(
    log: EvalLog, out: Path, name: str, args: dict[str, Any], grader: Model, *, quiet: bool
) -> Rejudged:
    file = out if out.exists() else Path(log.location)
    out.parent.mkdir(parents=True, exist_ok=True)
    [log] = finished_logs([file])
    before, todo, taken, slot = _look(file, name, str(grader), args.get("judge_mode"))
    what = json.dumps([log.eval.eval_id, name, str(grader), args], sort_keys=True, default=str)
    kept = out.with_name(f"{out.name}.{hashlib.sha256(what.encode()).hexdigest()[:8]}.judged.jsonl")
    done = dict(_kept(kept))
    left = [key for key in todo if key not in done]
    if left:
        # unbuffered: what a killed process has judged is there
        with kept.open("ab", buffering=0) as journal, zipfile.ZipFile(file) as archive:
            ask = partial(_ask, log, archive, left, name, args, grader, journal.write, quiet)
            try:
                anyio.run(ask, backend="asyncio")
            except Exception as error:
                done = dict(_kept(kept))
                raise InputError(
                    f"{file}: judging stopped with {len(todo) - len(done)} of {len(todo)} answers "
                    f"to go: {_cause(error)}. What was judged is kept: the same command goes on."
                ) from error
        done = dict(_kept(kept))
    slot = slot or _free(name, taken)
    if todo:
        _merge(log, file, out, name, slot, args, {key: done[key] for key in todo})
    kept.unlink(missing_ok=True)
    return Rejudged(str(out), slot, str(grader), len(left), len(before) + len(todo) - len(left))


def _cause(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__


def _look(
    file: Path, name: str, grader: str, mode: str | None
) -> tuple[list[Key], list[Key], set[str], str | None]:
    """Answers judged before, answers to judge, names taken, and the grader's name among them."""
    before: list[Key] = []
    todo: list[Key] = []
    taken: set[str] = set()
    slot = None
    for sample in samples(file):
        scores = sample.get("scores") or {}
        taken |= scores.keys()
        if sample.get("error"):
            continue
        key = (str(sample["id"]), sample["epoch"])
        found = [
            scorer
            for scorer, score in scores.items()
            if scorer.rstrip("0123456789") == name and _same(score, sample, grader, mode)
        ]
        slot = slot or next(iter(found), None)
        (before if found else todo).append(key)
    return before, todo, taken, slot


def _same(
    score: Mapping[str, Any], sample: Mapping[str, Any], grader: str, mode: str | None
) -> bool:
    """Whether a score is this grader's, with today's prompts and in this mode."""
    said = score.get("metadata") or {}
    prompts = sample["metadata"].get("source_sha256")
    known = said.get("source_sha256", None if said.get("imported") else prompts)
    modes = {(said.get(rated) or {}).get("mode") for rated in ("aligned", "coherent")}
    modes.add(said.get("asked_mode"))
    return said.get("grader") == grader and known == prompts and (mode is None or mode in modes)


def _free(name: str, taken: set[str]) -> str:
    number = 0
    while f"{name}{number or ''}" in taken:
        number += 1
    return f"{name}{number or ''}"


def _kept(file: Path) -> Iterator[tuple[Key, dict[str, Any]]]:
    """The judgements that were kept; a line that was cut off is not one."""
    if not file.exists():
        return
    for line in file.read_bytes().splitlines():
        try:
            sample_id, epoch, score = json.loads(line)
        except ValueError:
            continue
        yield (sample_id, epoch), score


async def _ask(
    log: EvalLog,
    archive: zipfile.ZipFile,
    keys: Sequence[Key],
    name: str,
    args: Mapping[str, Any],
    grader: Model,
    write: Callable[[bytes], object],
    quiet: bool,
) -> None:
    """Have Inspect score the answers, and write each judgement down as it comes in."""
    limit = anyio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def answer(index: int) -> AsyncIterator[EvalSample]:
        async with limit:
            content = json.loads(archive.read(member(*keys[index])))
            # what the judge does not read; the old scores stay in the log
            content |= {"scores": {}, "events": []}
            content.pop("events_data", None)
            sample = EvalSample.model_validate(content)
            yield sample
            [score] = (sample.scores or {}).values()
            if asked := args.get("judge_mode"):  # an answer may have had to be read otherwise
                score.metadata = (score.metadata or {}) | {"asked_mode": asked}
            line = json.dumps([*keys[index], score.model_dump()])
            write(f"\n{line}".encode())  # a line that was cut off before ends here

    # neither the model under test nor the old grader is needed, nor their keys
    spec = log.eval.model_copy(update={"model_roles": None})
    if "/" not in spec.model:
        spec.model = f"none/{spec.model}"
    header = EvalLog(
        eval=spec, plan=log.plan, status="success", results=EvalResults(total_samples=len(keys))
    )
    await score_async(
        header,
        JUDGES[name](**args),
        model="none/none",
        model_roles={"grader": grader},
        action="append",
        display="none" if quiet else None,
        copy=False,
        samples=answer,
    )


def _merge(
    log: EvalLog,
    file: Path,
    out: Path,
    name: str,
    slot: str,
    args: Mapping[str, Any],
    judged: Mapping[Key, dict[str, Any]],
) -> None:
    """Write the log again with the new scores beside the old."""
    with zipfile.ZipFile(file) as archive:
        listed = json.loads(archive.read(SUMMARIES))
    summaries = {(str(summary["id"]), summary["epoch"]): summary for summary in listed}
    all_of_slot = []
    with LogWriter(out) as writer:
        for sample in samples(file):
            key = (str(sample["id"]), sample["epoch"])
            summary = summaries[key]
            if (score := judged.get(key)) is not None:
                sample["scores"] = (sample.get("scores") or {}) | {slot: score}
                short = {k: v for k, v in score.items() if k != "metadata"}
                said = (score.get("metadata") or {}).items()
                short["metadata"] = {k: v for k, v in said if not isinstance(v, dict | list)}
                summary["scores"] = (summary.get("scores") or {}) | {slot: short}
            if slot in (sample.get("scores") or {}):
                all_of_slot.append(scored(sample, {name: sample["scores"][slot]}))
            writer.add(sample, summary)
        scorers = log.eval.scorers or []
        of_judge = next(s for s in scorers if s.name == name).model_copy(
            update={"options": dict(args)}
        )
        alone = log.model_copy(
            update={
                "eval": log.eval.model_copy(update={"scorers": [of_judge]}),
                "results": None,
            }
        )
        set_results(alone, all_of_slot)
        results = log.results or EvalResults(
            total_samples=len(listed), completed_samples=len(all_of_slot)
        )
        new = [
            entry.model_copy(update={"name": slot})
            for entry in (alone.results.scores if alone.results else [])
        ]
        if not any(entry.name == slot for entry in results.scores):
            log.eval.scorers = [*scorers, of_judge]
        results.scores = [entry for entry in results.scores if entry.name != slot] + new
        log.results = results
        writer.finish(log)
