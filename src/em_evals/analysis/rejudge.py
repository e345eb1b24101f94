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
from inspect_ai.log import EvalLog, EvalMetric, EvalResults, EvalSample, EvalScore, EvalSpec
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer

from em_evals.analysis.answers import stopped_early
from em_evals.analysis.audit import FIRST, NOT_DRAWN, audit_of
from em_evals.analysis.audit_log import Key, Mark, marks, slim, stated
from em_evals.analysis.importing import SOURCE
from em_evals.analysis.log_files import (
    SUMMARIES,
    LogWriter,
    finished_logs,
    member,
    samples,
    scored,
    set_results,
)
from em_evals.deception.scorer import factual_judge, identity_judge
from em_evals.definitions import Mode
from em_evals.errors import InputError
from em_evals.files import writing
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


def audit(
    places: Sequence[str | Path], grader: Model, budget: int, *, quiet: bool = False
) -> list[Rejudged]:
    """Have the paid grader judge `budget` answers of each log, drawn at random.

    The logs' own judge, a local one, has judged all answers; which of them are drawn is decided by
    its scores and the answers' ids (`em_evals.analysis.audit_log.marks`). Otherwise as `rejudge`:
    nothing is paid for twice, and a log that holds this audit is left as it is.

    Args:
        places: Local `.eval` files of free-form tasks, and directories of them.
        grader: Who judges the answers drawn.
        budget: How many of each log; if it has fewer, all of them.
        quiet: Show no progress.

    Returns:
        Of each log what became of it; `judged` and `already` count answers drawn.

    Raises:
        InputError: As `rejudge`; a budget below 1; a log that `em_judge` has not scored, or that
            this grader has judged all of.
    """
    jobs = [_audit_job(log, grader, budget) for log in finished_logs(places)]
    done = []
    for job in jobs:
        with writing(job.out):
            done.append(_rejudge(*job, quiet=quiet))
    return done


def audit_left(file: Path, grader: str, budget: int) -> int:
    """Answers of a log that an audit would still have to pay for.

    Args:
        file: A finished `.eval` file.
        grader: The paid grader's name.
        budget: As for `audit`.

    Raises:
        InputError: As `audit`.
    """
    drawn = marks(samples(file), budget, grader, str(file))
    _, todo, _, _ = _look(file, FIRST, grader, None)
    [log] = finished_logs([file])
    done = dict(_kept(_journal(file, log, FIRST, grader, _audit_args(log))))
    return sum(drawn[key].drawn and key not in done for key in todo if key in drawn)


def carry_over(old: EvalLog, new: EvalLog, grader: str) -> None:
    """Keep what an interrupted audit paid for, for a log that has taken the old one's answers over.

    Args:
        old: Header of the log that was audited, with its local path as location.
        new: The same of the newer log.
        grader: The paid grader's name.
    """
    if not all(FIRST in [s.name for s in log.eval.scorers or []] for log in (old, new)):
        return
    was, now = (
        _journal(Path(log.location), log, FIRST, grader, _audit_args(log)) for log in (old, new)
    )
    if not was.exists() or was == now:
        return
    before, after = (
        {(str(s["id"]), s["epoch"]): s.get("uuid") for s in samples(Path(log.location))}
        for log in (old, new)
    )
    lines = [
        json.dumps([*key, score])
        for key, score in _kept(was)
        if before.get(key) is not None and before[key] == after.get(key)
    ]
    with now.open("a", encoding="utf-8") as journal:
        journal.writelines(f"\n{line}" for line in lines)
    was.unlink()


class _Job(NamedTuple):
    log: EvalLog
    out: Path
    scorer: str
    args: dict[str, Any]
    grader: Model
    budget: int | None = None
    """Answers to draw; None: all are judged."""


def _audit_job(log: EvalLog, grader: Model, budget: int) -> _Job:
    file = Path(log.location)
    if FIRST not in [s.name for s in log.eval.scorers or []]:
        raise InputError(
            f"{file}: no answers to free-form questions, judged by {FIRST}: only those of "
            "first_plot and preregistered can be judged in part"
        )
    _require_prompts(log, file)
    if stopped_early(log):
        raise InputError(
            f"{file}: its answers decided how many there would be, so that no draw from them gives "
            "a rate with an interval: judge all of it (em-evals rejudge)"
        )
    marks(samples(file), budget, str(grader), str(file))  # before anything is paid for
    return _Job(log, file, FIRST, _audit_args(log), grader, budget)


def _audit_args(log: EvalLog) -> dict[str, Any]:
    """The local judge's settings, but for how it was read."""
    options = next(dict(s.options or {}) for s in log.eval.scorers or [] if s.name == FIRST)
    return options | {"judge_mode": None}


def _jobs(log: EvalLog, grader: Model, log_dir: Path | None, mode: Mode | None) -> Iterator[_Job]:
    file = Path(log.location)
    names = dict.fromkeys(s.name for s in log.eval.scorers or [] if s.name in JUDGES)
    if not names:
        raise InputError(
            f"{file}: no judge of em-evals has scored it; judges are {', '.join(JUDGES)}"
        )
    _require_prompts(log, file)
    out = file if log_dir is None else log_dir / file.name
    for name in names:
        args = next(dict(s.options or {}) for s in log.eval.scorers or [] if s.name == name)
        if name == "em_judge":
            args["judge_mode"] = mode
        # the second judge of a log finds the first one's scores there
        yield _Job(log, out, name, args, grader)


def _require_prompts(log: EvalLog, file: Path) -> None:
    if (log.eval.metadata or {}).get("source") == SOURCE:
        raise InputError(
            f"{file}: imported without saying which questions these are, so no judge prompts go "
            "with them. Import it with --source paper or --source builtin."
        )


def _rejudge(
    log: EvalLog,
    out: Path,
    name: str,
    args: dict[str, Any],
    grader: Model,
    budget: int | None,
    *,
    quiet: bool,
) -> Rejudged:
    file = out if out.exists() else Path(log.location)
    out.parent.mkdir(parents=True, exist_ok=True)
    [log] = finished_logs([file])
    before, unjudged, taken, slot = _look(file, name, str(grader), args.get("judge_mode"))
    todo = unjudged
    drawn = None
    if budget is not None:
        if slot == FIRST:
            raise InputError(
                f"{file}: {grader} has judged all of it: there is nothing to draw. A judge budget "
                "is for logs that another judge, a local one, has judged"
            )
        if not unjudged and slot and not _is_audited(file, slot):
            return Rejudged(str(out), slot, str(grader), 0, len(before))  # it has judged all
        drawn = marks(samples(file), budget, str(grader), str(file))
        before, todo = (
            [k for k in keys if k in drawn and drawn[k].drawn] for keys in (before, unjudged)
        )
        if not todo and slot and _is_marked(file, slot, drawn):
            return Rejudged(str(out), slot, str(grader), 0, len(before))
    kept = _journal(out, log, name, str(grader), args)
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
                to_go = sum(key not in done for key in todo)
                raise InputError(
                    f"{file}: judging stopped with {to_go} of {len(todo)} answers "
                    f"to go: {_cause(error)}. What was judged is kept: the same command goes on."
                ) from error
        done = dict(_kept(kept))
    slot = slot or _free(name, taken)
    if todo or drawn or _is_audited(file, slot):
        # what was paid for before another draw is kept, too
        new = {key: done[key] for key in unjudged if key in done or key in todo}
        _merge(log, file, out, name, slot, args, new, drawn)
    kept.unlink(missing_ok=True)
    return Rejudged(str(out), slot, str(grader), len(left), len(before) + len(todo) - len(left))


def _journal(out: Path, log: EvalLog, name: str, grader: str, args: Mapping[str, Any]) -> Path:
    """Where judgements are kept until the log is whole."""
    what = json.dumps([log.eval.eval_id, name, grader, args], sort_keys=True, default=str)
    return out.with_name(f"{out.name}.{hashlib.sha256(what.encode()).hexdigest()[:8]}.judged.jsonl")


def _is_marked(file: Path, slot: str, drawn: Mapping[Key, Mark]) -> bool:
    """Whether a log's scores say of every answer what this draw makes of it."""
    said = {
        (str(sample["id"]), sample["epoch"]): audit_of((sample.get("scores") or {}).get(slot) or {})
        for sample in samples(file)
    }
    return all(said.get(key) == mark._asdict() for key, mark in drawn.items())


def _is_audited(file: Path, slot: str) -> bool:
    """Whether a draw has decided which answers a log's scores in this slot count for."""
    return any(audit_of((s.get("scores") or {}).get(slot) or {}) for s in samples(file))


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
    drawn: Mapping[Key, Mark] | None,
) -> None:
    """Write the log again with the new scores beside the old.

    Args:
        log: Its header.
        file: Where it is.
        out: Where it will be.
        name: The scorer.
        slot: The new scores' name.
        args: The scorer's arguments.
        judged: The new scores.
        drawn: What the draw made of the answers, if they were drawn.
    """
    with zipfile.ZipFile(file) as archive:
        listed = json.loads(archive.read(SUMMARIES))
    summaries = {(str(summary["id"]), summary["epoch"]): summary for summary in listed}
    all_of_slot = []
    audited: list[dict[str, Any]] = []
    with LogWriter(out) as writer:
        for sample in samples(file):
            key = (str(sample["id"]), sample["epoch"])
            summary = summaries[key]
            score = _with_mark(judged.get(key), (sample.get("scores") or {}).get(slot), key, drawn)
            if score is not None:
                sample["scores"] = (sample.get("scores") or {}) | {slot: score}
                short = {k: v for k, v in score.items() if k != "metadata"}
                said = (score.get("metadata") or {}).items()
                short["metadata"] = {k: v for k, v in said if not isinstance(v, dict | list)}
                summary["scores"] = (summary.get("scores") or {}) | {slot: short}
            if slot in (sample.get("scores") or {}):
                if drawn is None:
                    all_of_slot.append(scored(sample, {name: sample["scores"][slot]}))
                else:
                    audited.append(slim(sample, slot))
            writer.add(sample, summary)
        scorers = log.eval.scorers or []
        of_judge = next(s for s in scorers if s.name == name).model_copy(
            update={"options": dict(args)}
        )
        results = log.results or EvalResults(
            total_samples=len(listed), completed_samples=len(all_of_slot) or len(audited)
        )
        if drawn is None:
            spec = log.eval.model_copy(update={"scorers": [of_judge]})
            new = _results(log, spec, all_of_slot, slot)
        else:
            new = [_audited(audited, slot, name)]
        if not any(entry.name == slot for entry in results.scores):
            log.eval.scorers = [*scorers, of_judge]
        results.scores = [entry for entry in results.scores if entry.name != slot] + new
        log.results = results
        writer.finish(log)


def _results(log: EvalLog, spec: EvalSpec, answers: list[EvalSample], slot: str) -> list[EvalScore]:
    """What a judge's own metrics make of its scores."""
    alone = log.model_copy(update={"eval": spec, "results": None})
    set_results(alone, answers)
    scores = alone.results.scores if alone.results else []
    return [entry.model_copy(update={"name": slot}) for entry in scores]


def _audited(answers: list[dict[str, Any]], slot: str, name: str) -> EvalScore:
    """What both judges' scores make together: no metric of one judge holds for answers drawn."""
    metrics, about = stated(answers, slot)
    return EvalScore(
        name=slot,
        scorer=name,
        metrics={key: EvalMetric(name=key, value=value) for key, value in metrics.items()},
        metadata={"audit": about},
        scored_samples=about["judged"],
        unscored_samples=about["answers"] - about["judged"],
    )


def _with_mark(
    new: dict[str, Any] | None,
    old: dict[str, Any] | None,
    key: Key,
    drawn: Mapping[Key, Mark] | None,
) -> dict[str, Any] | None:
    """An answer's score, which says what the draw made of it; None if it stays as it is.

    A judgement that was paid for is kept even where a draw with another budget leaves it out.
    """
    if drawn is None:
        if new is None and old is not None and audit_of(old):  # all are judged now
            said = {k: v for k, v in old["metadata"].items() if k != "audit"}
            return {**old, "metadata": said}
        return new
    if (mark := drawn.get(key)) is None:
        return None
    score = new or old or Score.unscored(reason=NOT_DRAWN).model_dump()
    return {**score, "metadata": {**(score.get("metadata") or {}), "audit": mark._asdict()}}
