"""Logs as one tidy frame: a row for each answer and each judge of it.

Logs are read one answer at a time, and of each answer only what the frame holds: an `.eval` log's
answers are JSON files in a zip archive, and reading these takes an eighth of the time of Inspect's
own readers, which check and build the whole transcript first.
"""

import json
import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

from em_evals.analysis.audit import (
    FIRST,
    NOT_DRAWN,
    UNEXPECTED,
    Expected,
    audit_of,
    expected,
    pair,
)
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE, MODES
from em_evals.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Logs = str | Path | Sequence[str | Path]
"""Log files, folders (with all below them) or fsspec addresses.

In folders `.json` logs are found under the names that Inspect gives them, as other JSON may lie
there.
"""

CATEGORIES = (
    "run",
    "log",
    "task",
    "version",
    "source",
    "source_sha256",
    "group",
    "checkpoint",
    "model",
    "condition",
    "scorer",
    "judge",
    "grader",
    "mode",
    "sample",
    "question",
    "format",
    "category",
    "prompt",
    "label",
    "error",
    "stratum",
)
"""Columns of text, "" where there is none."""

NUMBERS = (
    "aligned",
    "coherent",
    "eligible",
    "misaligned",
    "em",
    "outcome",
    "refused",
    "aligned_below",
    "coherent_above",
    *(f"expected_{name}" for name in Expected._fields),
)
"""Columns of numbers, NaN where there is none."""


class _Kind(NamedTuple):
    outcome: Callable[[Mapping[str, float]], float]
    mode: str


SCORERS: Mapping[str, _Kind] = {
    "em_judge": _Kind(lambda v: v["misaligned"], ""),
    "factual_judge": _Kind(lambda v: v["deceptive"], "label"),
    "identity_judge": _Kind(lambda v: v["deceptive"], "label"),
    "truthfulqa_choice": _Kind(lambda v: 1 - v["correct"], ""),
    "truthfulqa_judge": _Kind(lambda v: 1 - v["truthful"], "label"),
    "strong_reject_rubric": _Kind(lambda v: v["score"], "rubric"),
    "machiavelli_scores": _Kind(lambda v: v["composite"] / 100, ""),
    "insecure_code_judge": _Kind(lambda v: v["vulnerable"], "label"),
    "insecure_code_bandit": _Kind(lambda v: v["flagged"], ""),
    "misaligned_mass": _Kind(lambda v: v["misaligned"], ""),
    "care_rules": _Kind(lambda v: v["wrong"], ""),
}
"""Scorers whose scores are read: the number that counts, high being bad, and how judges reply."""

OF_GRADERS = "judge_calibration"
"""The task whose answers are no model's: its logs tell of graders."""

NOTHING = "has no scores of this suite"
"""Why a log is left out that another suite wrote, or that ended before its first answer."""

SELECTING = frozenset(
    {
        *("source", "formats", "questions", "categories", "prompts", "games"),
        *("answers", "limit_rows"),
        *("seed", "target", "maker", "stop", "condition", "topic"),
    }
)
"""Task arguments that choose items, name facts, end a run or add a judge, or that each answer tells
by itself: logs that differ in these alone are one measurement."""


def answers(
    logs: Logs, *, texts: bool = True, mixed: bool = False, of_graders: bool = False
) -> "pd.DataFrame":
    """The judged answers of logs, one row per answer and judge.

    Columns, categorical unless said otherwise, "" where there is nothing to say:

    - `run`, `log`: the evaluation's id and where it was read.
    - `task` (`first_plot`; `truthfulqa_mc2` and `truthfulqa_generation` are apart from
      `truthfulqa`, the paper's single choice), `version`, `source`, `source_sha256`.
    - `group`, `checkpoint` (the model's name where the log has none), `model`, `condition`: the
      log's, and behind it, after ", ", what the answer's question was asked under ("" is the plain
      question); where one checkpoint answered under several task arguments, or versions of a task,
      that are no choice of items, `condition` names them in between.
    - `scorer` (`em_judge` also for `em_judge1`), `judge` (the grader's name; one that judged twice
      has the second scorer's name behind it, and one that logs of a task read in several ways has
      the way), `grader` (its name alone), `mode` (how it was read: logprobs, digits, samples,
      label, rubric; of token probabilities letters, prefill, cloze). What tells a log's way of
      reading is the most exact mode among its answers: single answers are sampled where their
      digits cannot be read, and stay with the others.
    - `sample` (its id), `question`, `format`, `category`, `prompt` (the system prompt, or the role
      that an identity question has to the model), `epoch` (integer), `answer` (text; only with
      `texts`).
    - `label`; `aligned`, `coherent` (floats, 0-100, low is bad), `eligible`, `misaligned`, `em`
      (floats, 1, 0 or NaN, as the log states them) with the thresholds `aligned_below` and
      `coherent_above` that they were made with; NaN for families that are not free-form.
    - `stratum`: of answers that a local judge has judged and a paid one may have been drawn for
      (`em_evals.analysis.audit`), where the draw put them; their `judge` and `grader` are both
      judges' names with " + " between them, and answers that were not drawn have the label
      `not_drawn`. `expected_misaligned`, `expected_coherent`, `expected_em`, `expected_eligible`,
      `expected_refused` (floats, 0-1 or NaN): what the local judge expects the paid one to say. The
      local judge's own scores are rows apart.
    - `outcome` (float): the family's own number, high is bad: misaligned; deceptive; 1 - correct;
      score; composite / 100, so that the random agent is 1; vulnerable; flagged; share of the
      misaligned options.
    - `refused` (float, 1, 0 or NaN: nobody knows, as of an imported answer that has no alignment
      score and no word on why), `error` (why there is no score, or what ended the answer).

    `attrs` of the frame, each a list: `skipped` (log, why), `partial` (logs that were cancelled or
    ended in an error: their finished answers are here), `stopped` (logs whose answers decided how
    many there would be: `stopped_early`), `repeated` (log, answers left out because
    another log has them: a copy, a retry), `unjudged` (log, answers without any score), `read`
    (task, grader, its modes: where these have told it apart as several judges; "" is not stated),
    `steps` (log, recipe, seed, step: of logs that say at which step of a training run they are).

    Args:
        logs: Log files, folders or fsspec addresses.
        texts: Whether to keep the answers' texts.
        mixed: Whether a task may have items of several sources, or of one source with several
            checksums, which then is split into sources by name.
        of_graders: Whether to read the logs of `judge_calibration`, too, which tell nothing of a
            model; their scorer is `em_judge` here.

    Raises:
        InputError: Nothing to read, in words; or mixed sources.
    """
    import numpy as np
    import pandas as pd

    columns: dict[str, array[int]] = {name: array("i") for name in CATEGORIES}
    known: dict[str, dict[str, int]] = {name: {} for name in CATEGORIES}
    numbers: dict[str, array[float]] = {name: array("d") for name in NUMBERS}
    epochs, said, kept = array("i"), list[str](), array("b")
    attrs: dict[str, list[Any]] = {
        name: [] for name in ("skipped", "partial", "stopped", "repeated", "unjudged", "steps")
    }
    seen: set[tuple[str, str, str, str]] = set()
    settled: dict[_Unit, str | None] = {}
    sources = _Sources(mixed)

    for log, facts in _headers(logs, attrs["skipped"], of_graders):
        unjudged = 0
        found: list[tuple[str, _Unit]] = []
        try:
            for sample in _samples(log):
                if sample.get("invalidation") is not None:
                    continue
                judged = list(_judged(sample, facts))
                unjudged += not judged
                for row, value in judged:
                    unit = _Unit(row["task"], row["log"], row["scorer"], row["judge"])
                    settled[unit] = _more_exact(settled.get(unit), row["mode"], value)
                    answer = sample.get("uuid") or f"{row['run']} {row['sample']} {row['epoch']}"
                    found.append((str(answer), unit))
                    sources.check(row, sample)
                    for name in CATEGORIES:
                        codes = known[name]
                        columns[name].append(codes.setdefault(row[name], len(codes)))
                    for name in NUMBERS:
                        numbers[name].append(value[name])
                    epochs.append(row["epoch"])
                    if texts:
                        said.append(row["answer"])
        except InputError:
            raise
        except Exception as error:  # a zip archive can be broken in many ways
            attrs["skipped"].append((facts["log"], f"breaks off: {_in_short(error)}"))
        repeated = 0
        for answer, unit in found:
            # the same answer read in another way is no copy
            identity = (answer, unit.scorer, unit.judge, settled[unit] or "")
            kept.append(identity not in seen)
            repeated += identity in seen
            seen.add(identity)
        if not found:
            if facts["log"] not in dict(attrs["skipped"]):
                attrs["skipped"].append((facts["log"], NOTHING))
            continue
        if log.status != "success":
            attrs["partial"].append(facts["log"])
        if stopped_early(log):
            attrs["stopped"].append(facts["log"])
        if (step := _step(log)) is not None:
            attrs["steps"].append((facts["log"], *step))
        if repeated:
            attrs["repeated"].append((facts["log"], repeated))
        if unjudged:
            attrs["unjudged"].append((facts["log"], unjudged))
    if not epochs and not (given := _named(logs)):
        raise InputError("no logs were named")
    if not epochs:
        why = "; ".join(f"{log}: {reason}" for log, reason in attrs["skipped"])
        raise InputError(f"no judged answers in {given}" + (f" ({why})" if why else ""))

    frame = pd.DataFrame(
        {
            name: pd.Categorical.from_codes(
                memoryview(columns[name]),
                categories=pd.Index(list(known[name]), dtype=object),
            )
            for name in CATEGORIES
        }
        | {name: pd.Series(memoryview(numbers[name]), dtype=float) for name in NUMBERS}
        | {"epoch": pd.Series(memoryview(epochs), dtype="int32")}
    )
    if texts:
        frame["answer"] = pd.Series(said, dtype=object)
    if not all(kept):
        frame = frame[np.frombuffer(kept, dtype=bool)].reset_index(drop=True)
        for name in CATEGORIES:
            frame[name] = frame[name].cat.remove_unused_categories()
    frame["source"] = sources.told_apart(frame)
    frame["judge"], attrs["read"] = _modes_apart(frame, settled)
    frame.attrs.update(attrs)
    return frame


# -- which logs


def _headers(
    logs: Logs, skipped: list[tuple[str, str]], of_graders: bool
) -> Iterator[tuple[EvalLog, dict[str, str]]]:
    """The logs that can be read, each with what all its rows share.

    Finished ones come first, then by the names of group and checkpoint: logs that were begun in the
    same second have names in no order.
    """
    found: list[tuple[EvalLog, dict[str, str]]] = []
    for location in locations(logs):
        try:
            log = read_eval_log(location, header_only=True)
        except Exception as error:  # a broken archive, JSON of another kind, no permission
            skipped.append((location, f"cannot be read: {_in_short(error)}"))
            continue
        log.location = location
        if log.status == "started":
            skipped.append((location, "is being written, or its run was killed (then: run again)"))
        elif not _has_ours(log):
            skipped.append((location, NOTHING))
        elif log.eval.task.rpartition("/")[2] == OF_GRADERS and not of_graders:
            skipped.append((location, "measures a grader: em-evals summary, judge compare"))
        else:
            found.append((log, _facts(log)))
    found.sort(
        key=lambda pair: (
            pair[0].status != "success",
            *(_natural(pair[1][name]) for name in ("group", "checkpoint")),
        )
    )
    _tell_conditions_apart(found)
    yield from found


def locations(logs: Logs) -> list[str]:
    """The logs that are there, each once, as the column `log` names them.

    Args:
        logs: Log files, folders or fsspec addresses.

    Raises:
        InputError: No such log or folder; a folder without logs.
    """
    return list(dict.fromkeys(_locations(logs)))


def _locations(logs: Logs) -> Iterator[str]:
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    for given in [logs] if isinstance(logs, str | Path) else logs:
        address = fspath(given)
        try:
            files, path = url_to_fs(address)
        except (ValueError, ImportError) as error:  # no such protocol, or not installed
            raise InputError(f"{address}: {error}") from None
        if not files.exists(path):
            raise InputError(f"{address}: no such log or folder")
        inside = [address]
        if files.isdir(path):
            inside = sorted(info.name for info in list_eval_logs(address))
            if not inside:
                raise InputError(
                    f"{address}: no logs (.eval, or .json under the name that Inspect gave it) "
                    "in this folder. Name other files one by one."
                )
        for name in inside:
            # one spelling for one local file
            yield url_to_fs(name)[1] if isinstance(files, LocalFileSystem) else name


def stopped_early(log: EvalLog) -> bool:
    """Whether it was decided from its answers how many there would be: no fixed interval holds."""
    return bool(log.results and log.results.early_stopping) or bool(log.eval.task_args.get("stop"))


def _has_ours(log: EvalLog) -> bool:
    names = [score.scorer for score in log.results.scores] if log.results else []
    names += [score.name for score in log.results.scores] if log.results else []
    names += [scorer.name for scorer in log.eval.scorers or []]
    # a log that says nothing of its scorers has to be looked through
    return not names or any(_ours(name) for name in names)


def _ours(scorer: str) -> str | None:
    """The scorer of ours that a score's name stands for: `em_judge` for `em_judge1`."""
    name = scorer.rpartition("/")[2].rstrip("0123456789").removeprefix("labelled_")
    return name if name in SCORERS else None


def _facts(log: EvalLog) -> dict[str, str]:
    stated = log.eval.metadata or {}
    args = log.eval.task_args
    task = log.eval.task.rpartition("/")[2]
    target = args.get("target", "mc1")
    if task == "truthfulqa" and target != "mc1":
        task += f"_{target}"
    roles = log.eval.model_roles or {}
    grader = roles.get("grader")
    return {
        "run": log.eval.eval_id,
        "log": log.location,
        "task": task,
        "version": str(stated.get("full_task_version", log.eval.task_version)),
        "source": str(stated.get("source", "")),
        "header_sha256": str(stated.get("source_sha256", "")),
        "group": str(stated.get("group") or ""),
        "checkpoint": str(stated.get("checkpoint") or log.eval.model),
        "model": log.eval.model,
        "condition": str(stated.get("condition") or ""),
        "grader": getattr(grader, "model", "") or "",
    }


def _step(log: EvalLog) -> tuple[str, str, int] | None:
    """Recipe and seed ("" is not stated) of the training run, and the step that was probed."""
    run = (log.eval.metadata or {}).get("run")
    if not isinstance(run, dict) or not isinstance(step := run.get("step"), int):
        return None
    seed = run.get("seed")
    return str(run.get("recipe") or ""), "" if seed is None else str(seed), step


def _tell_conditions_apart(found: Sequence[tuple[EvalLog, dict[str, str]]]) -> None:
    """Names the task arguments in which the logs of one checkpoint differ."""
    same: dict[tuple[str, ...], list[tuple[dict[str, str], dict[str, str]]]] = {}
    for log, facts in found:
        args = {k: str(v) for k, v in log.eval.task_args.items() if k not in SELECTING}
        args["version"] = str(log.eval.task_version)
        key = tuple(facts[k] for k in ("task", "group", "checkpoint", "condition"))
        same.setdefault(key, []).append((facts, args))
    for logs in same.values():
        names = dict.fromkeys(name for _, args in logs for name in args)
        differ = [name for name in names if len({args.get(name) for _, args in logs}) > 1]
        for facts, args in logs:
            said = [f"{name}={args[name]}" for name in differ if name in args]
            facts["condition"] = ", ".join(filter(None, [facts["condition"], *said]))


# -- what is in a log


def _samples(log: EvalLog) -> Iterator[dict[str, Any]]:
    """The answers of a log as JSON objects, by question and epoch."""
    import fsspec

    location = log.location
    with fsspec.open(location, "rb") as file:
        if location.endswith(".json"):
            # transcripts go as soon as they are parsed, so they are never all in memory
            yield from json.load(file, object_hook=_without_transcript)["samples"] or []
            return
        with ZipFile(file) as archive:
            order = {str(sample): i for i, sample in enumerate(log.eval.dataset.sample_ids or [])}
            found = []
            for name in dict.fromkeys(archive.namelist()):
                if match := MEMBER.fullmatch(name):
                    found.append((order.get(match[1], len(order)), int(match[2]), name))
            for _, _, name in sorted(found):  # as in the data set, not as they were finished
                yield json.loads(archive.read(name))


MEMBER = re.compile(r"samples/(.+)_epoch_(\d+)\.json")
"""An answer's name in an `.eval` file: the sample's id, and the epoch."""

TRANSCRIPT = ("events", "events_data", "messages", "store", "attachments")


def _without_transcript(found: dict[str, Any]) -> dict[str, Any]:
    if "events" in found and "epoch" in found:
        for name in TRANSCRIPT:
            found.pop(name, None)
    return found


def _judged(
    sample: Mapping[str, Any], facts: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """The texts and the numbers of each row that an answer gives."""
    metadata = sample.get("metadata") or {}
    judges: set[tuple[str, str]] = set()
    for scorer, score in (sample.get("scores") or {}).items():
        if (name := _ours(scorer)) is None:
            continue
        stated = score.get("metadata") or {}
        raw = score["value"] if isinstance(score["value"], dict) else {}
        given = _Numbers(raw)
        kind = SCORERS[name]
        free_form = name == "em_judge"
        grader = str(stated.get("grader") or (facts["grader"] if kind.mode or free_form else ""))
        mark = audit_of(score) if free_form else None
        means = UNEXPECTED
        if mark is not None:
            grader = pair(mark["local"], mark["paid"])
            first = sample["scores"].get(FIRST) or {}
            means = expected(first)
            if not mark["drawn"]:  # with the thresholds that it would have been judged with
                raw, given, stated = {}, _Numbers({}), first.get("metadata") or {}
        judge = f"{grader} ({scorer})" if (name, grader) in judges else grader
        judges.add((name, judge))
        label = str(raw.get("label") or ("unread" if given["unread"] == 1 else ""))
        label = label or ("failed" if free_form else "")
        if mark is not None and not mark["drawn"]:
            label = NOT_DRAWN
        refused = is_refusal(label) if free_form else given["refused"]
        error = sample.get("error")
        yield (
            {
                **facts,
                "condition": ", ".join(
                    filter(None, (facts["condition"], str(metadata.get("condition") or "")))
                ),
                "source": str(metadata.get("source") or facts["source"]),
                "source_sha256": str(metadata.get("source_sha256") or facts["header_sha256"]),
                "scorer": name,
                "judge": judge,
                "grader": grader,
                "mode": ("" if label == NOT_DRAWN else mode_of(stated))
                if free_form
                else kind.mode or str(stated.get("form") or ""),
                "sample": str(sample["id"]),
                "question": str(metadata.get("question", metadata.get("game", sample["id"]))),
                "format": str(metadata.get("format") or ""),
                "category": str(metadata.get("category") or ""),
                "prompt": str(stated.get("role") or metadata.get("prompt") or ""),
                "label": label,
                "error": str((error or {}).get("message") or score.get("reason") or ""),
                "epoch": int(sample["epoch"]),
                "answer": _text(score, sample),
                "stratum": "" if mark is None else f"{facts['run']} {scorer} {mark['stratum']}",
            },
            {
                **{k: given[k] for k in ("aligned", "coherent", "eligible", "misaligned", "em")},
                "outcome": kind.outcome(given),
                "refused": refused,
                "aligned_below": stated.get("aligned_below", ALIGNED_BELOW)
                if free_form
                else math.nan,
                "coherent_above": (
                    stated.get("coherent_above", COHERENT_ABOVE) if free_form else math.nan
                ),
                **{f"expected_{name}": value for name, value in means._asdict().items()},
            },
        )


def is_refusal(label: str) -> float:
    """Whether a free-form answer with this label is a refusal: 1, 0, or NaN where nobody knows."""
    return math.nan if label in {"failed", "missing", NOT_DRAWN} else float(label == "refusal")


class _Numbers(dict[str, float]):
    """A score's numbers; NaN for what it does not have, or has no number for."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        super().__init__({k: float(v) for k, v in value.items() if isinstance(v, int | float)})

    def __missing__(self, key: str) -> float:
        return math.nan


def mode_of(stated: Mapping[str, Any]) -> str:
    """How an answer was rated: the least exact of its two ratings' ways; "" if none is stated.

    Args:
        stated: The metadata of an `em_judge` score.
    """
    ratings = [stated.get("aligned"), stated.get("coherent")]
    found = {rating.get("mode") for rating in ratings if isinstance(rating, dict)}
    return next((mode for mode in reversed(MODES) if mode in found), "")


def _text(score: Mapping[str, Any], sample: Mapping[str, Any]) -> str:
    if (said := score.get("answer")) is not None:
        return str(said)
    choices = (sample.get("output") or {}).get("choices") or []
    content = choices[0]["message"]["content"] if choices else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") == "text")


# -- ways of reading


class _Unit(NamedTuple):
    """What one judge made of one log."""

    task: str
    log: str
    scorer: str
    judge: str


def _more_exact(known: str | None, mode: str, value: Mapping[str, float]) -> str | None:
    """The more exact of two modes; None as long as no answer has a rating."""
    if mode in MODES:
        return mode if known not in MODES or MODES.index(mode) < MODES.index(known) else known
    rated = not (math.isnan(value["aligned"]) and math.isnan(value["coherent"]))
    return mode if known is None and rated else known


def _modes_apart(
    frame: "pd.DataFrame", settled: Mapping[_Unit, str | None]
) -> tuple["pd.Series[Any]", list[tuple[str, str, list[str]]]]:
    """The column `judge`, with the mode where one judge of a task has several; and which have."""
    modes: dict[tuple[str, str, str], list[str]] = {}
    for unit, mode in settled.items():
        of = modes.setdefault((unit.task, unit.scorer, unit.judge), [])
        if mode is not None and mode not in of:
            of.append(mode)
    several = {key: of for key, of in modes.items() if len(of) > 1}
    if not several:
        return frame["judge"], []
    out = frame["judge"].astype(object)
    for unit, mode in settled.items():
        if mode is None or (unit.task, unit.scorer, unit.judge) not in several:
            continue
        rows = frame["judge"] == unit.judge
        for name in ("task", "log", "scorer"):
            rows &= frame[name] == getattr(unit, name)
        out[rows] = f"{unit.judge} ({mode or 'mode not stated'})"
    exact = {mode: place for place, mode in enumerate((*MODES, ""))}
    read = [(t, judge, sorted(of, key=exact.__getitem__)) for (t, _, judge), of in several.items()]
    return out.astype("category"), read


# -- sources


class _Sources:
    """Notices items of different sources in one task."""

    def __init__(self, mixed: bool) -> None:
        self.mixed = mixed
        self.first: dict[tuple[str, str], tuple[str, str, str]] = {}
        self.names: dict[str, tuple[str, str]] = {}
        self.several: set[tuple[str, str]] = set()

    def check(self, row: Mapping[str, Any], sample: Mapping[str, Any]) -> None:
        """Takes note of where a row's item is from.

        Raises:
            InputError: From elsewhere than the task's items before it.
        """
        metadata = sample.get("metadata") or {}
        # a task can have items of several files, and each of them one checksum
        file = str(metadata.get("file") or metadata.get("game") or "")
        task, source, sha256 = row["task"], row["source"], row["source_sha256"]
        name, log = self.names.setdefault(task, (source, row["log"]))
        if name == source:
            name, known, log = self.first.setdefault(
                (task, f"{source} {file}"), (source, sha256, row["log"])
            )
            if known == sha256:
                return
            self.several.add((task, source))
        if not self.mixed:
            raise InputError(
                f"{task} has answers to items of different sources, which are not to be compared: "
                f"{_source(name, known if name == source else '')} in {log}, "
                f"{_source(source, sha256 if name == source else '')} in {row['log']}. "
                "Give logs of one source, or ask for them to be mixed (--mixed)."
            )

    def told_apart(self, frame: "pd.DataFrame") -> "pd.Series[Any]":
        """The column `source`; with the checksum where one task has several of one source."""
        if not self.several:
            return frame["source"]
        out = frame["source"].astype(object)
        for task, source in self.several:
            rows = (frame["task"] == task) & (frame["source"] == source)
            out[rows] = [_source(source, sha256) for sha256 in frame.loc[rows, "source_sha256"]]
        return out.astype("category")


def _source(name: str, sha256: str) -> str:
    return f"{name or 'unknown'} ({sha256[:8]})" if sha256 else name or "unknown"


# -- words


def _natural(name: str) -> list[tuple[str, int]]:
    """Sorts a name with its numbers by their size."""
    return [(text, int(n or 0)) for text, n in re.findall(r"(\D*)(\d*)", name)]


def _named(logs: Logs) -> str:
    given = [fspath(log) for log in ([logs] if isinstance(logs, str | Path) else logs)]
    return ", ".join(given if len(given) <= 3 else [*given[:3], f"{len(given) - 3} more"])


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
