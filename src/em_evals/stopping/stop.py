"""Stops a run once its answers show whether it is worse than a baseline: Inspect's early stopping.

Answers count in rounds, every question once, and a round counts when all of it is there, whatever
the order in which answers come back. So neither quick answers nor a run that was killed and resumed
change the guarantee, which is that of `em_evals.stopping.evidence`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from em_evals.definitions import Count
from em_evals.errors import InputError
from em_evals.sources import named
from em_evals.stopping.baseline import Tally, read

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.log import EvalSpec
    from inspect_ai.scorer import SampleScore
    from inspect_ai.util import EarlyStop
    from pydantic import JsonValue

    from em_evals.stopping.evidence import Decision

NAME = "em_evals/stop"
"""What logs call it."""

SCORER = "em_judge"

VALUES = {"em": "em", "pooled": "misaligned"}
"""Metric -> what it is the mean of."""

MAY_MIX: Mapping[str, Collection[str]] = {
    "logprobs": ("logprobs",),
    "digits": ("digits", "samples"),
    "samples": ("samples",),
}
"""How the baseline was judged -> how an answer may be."""


class Stop(BaseModel):
    """When to stop: what `-T stop=...` may say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    """A baseline file."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Increase that is tolerated."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The chance of a wrong decision, at most."""
    metric: Literal["em", "pooled"] = "em"
    """Of which rate; see `em_evals.gate.Terms`."""
    families: Annotated[int, Field(ge=1)] = 1
    """How many are decided on together: a regression has to be shown at alpha / families."""


def stop_terms(stop: str | Mapping[str, Any]) -> Stop:
    """What `-T stop=...` says.

    Args:
        stop: The path of a baseline file, or a mapping with that as `baseline`, and maybe more.

    Raises:
        InputError: Not understood.
    """
    try:
        return Stop.model_validate({"baseline": stop} if isinstance(stop, str) else stop)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise InputError(
            f"stop={stop!r}: {faults}. Expected a baseline file (em-evals baseline save makes one) "
            f"or a mapping of {', '.join(Stop.model_fields)}"
        ) from None


def stop_when_decided(
    stop: str | Mapping[str, Any], task: str, samples: "Sequence[Sample]"
) -> "StopWhenDecided":
    """The manager for a task's `early_stopping`.

    Args:
        stop: See `stop_terms`.
        task: The task's name.
        samples: What it asks: questions in one format.

    Raises:
        InputError: Not understood; a baseline of something else.
    """
    terms = stop_terms(stop)
    place = named(terms.baseline)
    formats = {str((sample.metadata or {}).get("format", "plain")) for sample in samples}
    if len(formats) > 1:
        raise InputError(
            f"stop: {task} is decided on format by format: give one, not {', '.join(formats)}"
        )
    form = formats.pop()
    family = task if form == "plain" else f"{task}:{form}"
    tallies = read(place)
    if family not in tallies:
        raise InputError(f"{place}: has no {family}, but {', '.join(tallies)}")
    tally = tallies[family]
    metadata = samples[0].metadata or {}
    for name in ("source", "source_sha256"):
        if tally.like[name] != metadata.get(name):
            raise InputError(
                f"{place}: {name} of its {family} is {tally.like[name]}, and here it is "
                f"{metadata.get(name)}: these are other items"
            )
    asked = [str(sample.id) for sample in samples]
    known = tally.counts[terms.metric]
    if unknown := [question for question in asked if not known.get(question, Count(0, 0)).n]:
        raise InputError(
            f"{place}: has no answers to {', '.join(unknown[:5])}"
            + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            + " that count: ask the baseline too, or choose questions"
        )
    return StopWhenDecided(terms, tally, asked)


class StopWhenDecided:
    """Inspect's protocol `EarlyStopping`: counts answers by rounds, and says when to stop."""

    def __init__(self, terms: Stop, tally: Tally, questions: Sequence[str]) -> None:
        """Begin.

        Args:
            terms: When to stop.
            tally: The baseline's, of the same family.
            questions: The samples' ids.
        """
        self.terms, self.tally = terms, tally
        self._questions = list(questions)
        self._restart()

    def _restart(self) -> None:
        self._values: dict[str, dict[int, float]] = {q: {} for q in self._questions}
        self._epochs = 0
        self.rounds = 0
        """Whole rounds that were looked at."""
        self.hits = 0.0
        self.decision: Decision = "undecided"

    # -- what Inspect calls

    async def start_task(self, task: "EvalSpec", samples: "list[Sample]", epochs: int) -> str:
        """Takes note of what will be asked; a resumed run's answers are told again."""
        asked = {str(sample.id) for sample in samples}
        self._questions = [question for question in self._questions if question in asked]
        self._restart()
        self._epochs = epochs
        grader = (task.model_roles or {}).get("grader")
        self._require("judge", getattr(grader, "model", None))
        return NAME

    async def schedule_sample(self, id: str | int, epoch: int) -> "EarlyStop | None":
        """Nothing more is asked once it is decided."""
        from inspect_ai.util import EarlyStop

        if self.decision == "undecided":
            return None
        return EarlyStop(id=id, epoch=epoch, reason=f"{self.decision} after {self.answers} answers")

    async def complete_sample(
        self, id: str | int, epoch: int, scores: "dict[str, SampleScore]"
    ) -> None:
        """Takes note of an answer, and looks whether its round decides."""
        value = math.nan
        if (found := scores.get(SCORER)) is not None:
            value = self._value(found)
        self._values[str(id)][epoch] = value
        if self.decision == "undecided":
            self._look()

    async def complete_task(self) -> "dict[str, JsonValue]":
        """What was decided and on what, for the log."""
        from em_evals.stopping.evidence import interval

        if self.decision == "undecided":
            self._look(ended=True)
        told: dict[str, JsonValue] = {
            "decision": self.decision,
            "why": self._why(),
            "answers": self.answers,
            "answers_made": sum(map(len, self._values.values())),
            "answers_planned": self._epochs * len(self._questions),
            "rounds": self.rounds,
            "hits": self.hits,
            "metric": self.terms.metric,
            "margin": self.terms.margin,
            "alpha": self.terms.alpha,
            "families": self.terms.families,
            "baseline": self.tally.name,
            "baseline_answers": self._baseline().n,
            "baseline_value": self._baseline().hits / self._baseline().n,
        }
        if self.rounds:
            level = 1 - 2 * self.terms.alpha
            lower, upper = interval(Count(self.hits, self.answers), self._baseline(), level)
            told |= {
                "value": self.hits / self.answers,
                "increase": self.hits / self.answers - self._baseline().hits / self._baseline().n,
                "increase_lower": lower,
                "increase_upper": upper,
                "interval": f"{level:.0%}, valid at any time",
            }
        return told

    # -- counting

    @property
    def answers(self) -> int:
        """Answers of whole rounds."""
        return self.rounds * len(self._questions)

    def _baseline(self) -> Count:
        from em_evals.stopping.evidence import balanced

        return balanced([self.tally.counts[self.terms.metric][q] for q in self._questions])

    def _look(self, ended: bool = False) -> None:
        from em_evals.stopping.evidence import decision, evidence

        known = [_in_order(values, ended) for values in self._values.values()]
        for answers in list(zip(*known, strict=False))[self.rounds :]:
            self.rounds += 1
            self.hits += sum(answers)
            count = Count(self.hits, self.answers)
            found = evidence(count, self._baseline(), self.terms.margin)
            self.decision = decision(found, self.terms.alpha, self.terms.families)
            if self.decision != "undecided":
                return

    def _value(self, found: "SampleScore") -> float:
        stated = found.score.metadata or {}
        self._require("judge", stated.get("grader"))
        said = [stated.get(name) for name in ("aligned", "coherent")]
        for mode in {rating["mode"] for rating in said if isinstance(rating, dict)}:
            base = self.tally.like["judge_mode"]
            if mode not in MAY_MIX.get(base, ()):
                raise InputError(
                    f"the judge is read by {mode} here, and was by {base} for the baseline: "
                    "ratings that were read in different ways are not comparable"
                )
        value = found.score.as_dict().get(VALUES[self.terms.metric])
        return float(value) if isinstance(value, int | float) else math.nan

    def _require(self, name: str, own: str | None) -> None:
        base = self.tally.like[name]
        if own is not None and own != base:
            raise InputError(f"the {name} is {own} here, and was {base} for the baseline")

    def _why(self) -> str:
        if self.decision == "undecided":
            return "everything was asked, and the answers do not decide"
        side = "above" if self.decision == "regression" else "below"
        return f"an increase {side} the margin of {self.terms.margin:g} is shown"


def _in_order(values: Mapping[int, float], ended: bool) -> list[float]:
    """The answers up to the first that is not there yet, without those that could not be read.

    What is not there once all has ended was an error.
    """
    found = []
    for place, epoch in enumerate(sorted(values), 1):
        if epoch != place and not ended:
            break
        found.append(values[epoch])
    return [value for value in found if not math.isnan(value)]
