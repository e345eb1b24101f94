"""Answers judged elsewhere, as Inspect logs: what the original scripts and `llmcomp` wrote.

A log that was made so reads like one of the suite's own: the same task names, the same scores, the
same metrics. Each score's metadata says `imported`, and the log's metadata names the file.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalPlan, EvalSample, EvalSpec

from em_evals.analysis.columns import OF_RUN, Stated, copies_in, planner
from em_evals.analysis.log_files import LogWriter, now, scored, set_results, stats
from em_evals.analysis.row_answers import TASKS, Answer, compare, derived, read_answer
from em_evals.errors import InputError
from em_evals.files import sha256, writing
from em_evals.sources.questions import question_file
from em_evals.table_files import Row, rows

__all__ = ["Imported", "Run", "Stated", "import_file", "run_of"]

METRICS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "em_judge": (
        {"name": "em_evals/rates", "options": {}},
        {"name": "em_evals/rates_by", "options": {"key": "format"}},
        {"name": "em_evals/rates_by", "options": {"key": "category"}},
    ),
    "factual_judge": ({"name": "em_evals/factual_rates", "options": {}},),
    "identity_judge": ({"name": "em_evals/identity_rates", "options": {}},),
}
"""What a header computes of each scorer's scores."""

SOURCE = "imported"
"""The source of answers whose questions nobody has compared with a question file."""

MOST_LOGS = 500
"""More logs than this from one file means that a column is not what its name says."""


class Imported(NamedTuple):
    """A log made from a file, and what is in it."""

    log: str
    """Where it is."""
    file: str
    task: str
    model: str
    group: str
    checkpoint: str
    judge: str
    answers: int
    unscored: int
    """Answers without an alignment score, or without a label that can be read."""
    eligible: int
    """Answers that the rate is of: of factual deception, those that are TRUE or FALSE."""
    misaligned: int
    """Those of them that are misaligned, or deceptive."""


def import_file(
    file: Path, log_dir: Path, stated: Stated | None = None, encoding: str = "utf-8"
) -> list[Imported]:
    """Make logs of a file's answers and scores, one for each model in it.

    Answers to one question are numbered in the file's order: its epochs. What has no meaning
    here becomes sample metadata. A missing score stays missing: where there is a coherence score
    and no alignment score, the label is `missing` (the answer counts as not misaligned among all
    answers, and is not eligible), or `refusal` or `code` if the cell says so; without a coherence
    score it is `failed`. A column `label` may say more (which of the words, or that the judge
    failed) and nothing that contradicts the scores. Of label judges, a word that is no label is
    `unread`, and in no rate. The same file imported again in the same way replaces its logs, and
    what an import that was killed has left.

    Args:
        file: CSV, JSONL or parquet, with the columns `answer` (or `response`), `question` or
            `question_id`, and a judge's: `aligned` (or `alignment`) and `coherent` (or
            `coherence`); or `correct` (TRUE, FALSE, UNKNOWN); or `company` (OpenAI, Anthropic,
            Other, UNKNOWN).
        log_dir: Where the logs go.
        stated: What is said of the file. `model` is for files without a column of that name;
            without either, the file's name is the model's. The others take the columns' place.
            `source` has each question compared with that of `paper` or `builtin`, which lets the
            answers be judged again and be compared with the suite's own; without it the source
            is `imported`. An original question's system message is not added: the scripts sent
            none. `maker` is the company that made the model, needed for `company`.
        encoding: Of CSV and JSONL.

    Raises:
        InputError: The file or a line of it is not understood or contradicts itself, or the logs
            cannot be written. No log appears then.
    """
    stated = stated or Stated()
    if stated.task is not None and stated.task not in TASKS:
        raise InputError(f"task {stated.task!r}: expected one of {', '.join(TASKS)}")
    if file.exists() and not file.is_file():
        raise InputError(f"{file}: expected a file on disk: it is read more than once")
    logs: dict[Run, _Log] = {}
    planned = planner(file)
    questions = cache(question_file)
    copies: frozenset[tuple[str, int]] | None = None
    with writing(log_dir), ExitStack() as unfinished:
        log_dir.mkdir(parents=True, exist_ok=True)
        for row in rows(file, encoding):
            plan = planned(row)
            if copies is None and any(len(judges) > 1 for judges in plan.judges.values()):
                copies = copies_in(file, encoding)
            answer = read_answer(row, plan, copies or frozenset(), stated)
            run = run_of(row, answer, file, stated)
            if run not in logs:
                if len(logs) == MOST_LOGS:
                    raise InputError(
                        f"{row.where}: more than {MOST_LOGS} logs from one file; each value of "
                        f"{', '.join(OF_RUN)} makes one. Rename the column that is something else."
                    )
                logs[run] = log = _Log(run, file, log_dir, stated)
                unfinished.enter_context(log.writer)
            log = logs[run]
            if stated.source is not None:
                compare(row, answer, stated.source, questions)
            log.add(row, answer)
        if not logs:
            raise InputError(f"{file}: no rows, so there is no answer to import")
        done = [log.finish() for log in logs.values()]
        for log in logs.values():  # all of them are on the disk
            log.writer.place()
        return done


class Run(NamedTuple):
    """What tells the logs of one file apart."""

    task: str
    model: str
    group: str
    checkpoint: str
    condition: str
    maker: str
    source: str
    source_sha256: str


def run_of(row: Row, answer: Answer, file: Path, stated: Stated) -> Run:
    """Which log an answer belongs to.

    Args:
        row: Where the answer stands.
        answer: What the row says.
        file: Its name is the model's where nothing else names it.
        stated: What the user says of the file.

    Raises:
        InputError: Both the row and the user name the model.
    """

    def cell(name: str) -> str:
        value = row.cells.get(name)
        return "" if value is None else str(value)

    model = cell("model")
    if model and stated.model:
        raise InputError(
            f"{row.where}: the column model names the model ({model}): leave out --model"
        )
    return Run(
        task=answer.task,
        model=model or stated.model or file.stem,
        group=stated.group or cell("group"),
        checkpoint=stated.checkpoint or cell("checkpoint"),
        condition=cell("condition"),
        maker=answer.first["metadata"].get("maker", ""),
        source=stated.source or answer.source.get("source", SOURCE),
        source_sha256=answer.source.get("source_sha256", "") if not stated.source else "",
    )


@dataclass
class _Log:
    """A log that is being written."""

    run: Run
    file: Path
    log_dir: Path
    stated: Stated
    answers: list[EvalSample] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    seen: set[tuple[str, int]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    judge: str = ""
    scorers: int = 1
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = json.dumps([self.run, self.stated, str(self.file.resolve())])
        told = said + _file_sha256(self.file)
        self.id = hashlib.sha256(told.encode()).hexdigest()[:22]
        self.created = now()
        stamp = self.created.replace(":", "-").replace("+", "-")
        name = f"{stamp}_{self.run.task.replace('_', '-')}_{self.id}.eval"
        # the same import again takes its own place, and that of one that was killed
        before = sorted(self.log_dir.glob(f"*_{self.id}.eval"))
        before += [part.with_suffix("") for part in self.log_dir.glob(f"*_{self.id}.eval.part")]
        self.writer = LogWriter(before[0] if before else self.log_dir / name)

    def add(self, row: Row, answer: Answer) -> None:
        self.asked[answer.id] += 1
        epoch = answer.epoch or self.asked[answer.id]
        if (answer.id, epoch) in self.seen:
            raise InputError(
                f"{row.where}: epoch {epoch} of {answer.id} occurs twice for one model. Rename "
                "the column epoch if it is not the answer's number."
            )
        self.seen.add((answer.id, epoch))
        sample = _sample(self.run, answer, epoch, f"{self.id}{len(self.seen)}")
        self.writer.add(sample)
        self.answers.append(scored(sample, sample["scores"]))
        value = answer.first["value"]
        if "em" in value:
            unscored, eligible = math.isnan(value["aligned"]), value["eligible"] == 1
            bad = value["misaligned"] == 1
        else:
            unscored, eligible = value["label"] == "unread", not math.isnan(value["deceptive"])
            bad = value["deceptive"] == 1
        self.counts.update(unscored=int(unscored), eligible=int(eligible), misaligned=int(bad))
        self.judge, self.source = answer.first["metadata"]["grader"], answer.source
        self.scorers = max(self.scorers, len(answer.scores))

    def finish(self) -> Imported:
        log = self._header()
        set_results(log, self.answers)
        self.writer.complete(log)
        return Imported(
            log=str(self.writer.file),
            file=str(self.file),
            task=self.run.task,
            model=self.run.model,
            group=self.run.group,
            checkpoint=self.run.checkpoint or self.run.model,
            judge=self.judge,
            answers=len(self.answers),
            unscored=self.counts["unscored"],
            eligible=self.counts["eligible"],
            misaligned=self.counts["misaligned"],
        )

    def _header(self) -> EvalLog:
        run, family = self.run, TASKS[self.run.task]
        task = family.task(source="builtin")  # for what does not depend on the questions
        scorer = {"options": {}, "metrics": METRICS[family.scorer]}
        described = {name: getattr(run, name) for name in ("group", "checkpoint", "condition")}
        spec = EvalSpec.model_validate(
            {
                "eval_id": self.id,
                "run_id": self.id,
                "task_id": self.id,
                "created": self.created,
                "task": f"em_evals/{run.task}",
                "task_display_name": run.task,
                "task_registry_name": f"em_evals/{run.task}",
                "task_version": task.version,
                "task_args": {"maker": run.maker} if run.maker else {},
                "dataset": EvalDataset(
                    name=f"{family.files[0]} ({run.source})",
                    samples=len(self.asked),
                    sample_ids=list(self.asked),
                ),
                "model": run.model,
                "config": EvalConfig(epochs=max(self.asked.values()), epochs_reducer=[]),
                "metadata": {
                    **(task.metadata or {}),
                    "source": run.source,
                    "source_sha256": self.source.get("source_sha256", ""),
                    **{name: value for name, value in described.items() if value},
                    "imported_from": self.file.name,
                    "imported_sha256": _file_sha256(self.file),
                },
                "viewer": task.viewer,
                "scorers": [
                    scorer | {"name": f"{family.scorer}{i or ''}"} for i in range(self.scorers)
                ],
                "headline_metric": task.headline_metric,
            }
        )
        return EvalLog(eval=spec, plan=EvalPlan(), stats=stats(), status="success")


def _sample(run: Run, answer: Answer, epoch: int, uuid: str) -> dict[str, Any]:
    """The JSON form of an answer's `EvalSample`."""
    asked = [{"role": "user", "content": answer.question}]
    if answer.system:
        asked.insert(0, {"role": "system", "content": answer.system})
    said = {"role": "assistant", "content": answer.text, "source": "generate"}
    return {
        "id": answer.id,
        "epoch": epoch,
        "input": asked,
        "target": "",
        "messages": [*asked, said],
        "output": {
            "model": run.model,
            "choices": [{"message": said, "stop_reason": "stop"}],
            "completion": answer.text,
        },
        "scores": answer.scores,
        "metadata": {**derived(run.task, answer.id), **answer.metadata, **answer.source},
        "store": {},
        "events": [],
        "model_usage": {},
        "role_usage": {},
        "uuid": uuid,
        "attachments": {},
    }


_file_sha256 = cache(sha256)
