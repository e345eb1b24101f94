"""What a cell is expected to cost: calls, tokens, and dollars where prices are given."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, RootModel

from em_evals.checkpoints.file import read_yaml, validated

if TYPE_CHECKING:
    from inspect_ai import Task

CHARACTERS_PER_TOKEN = 4
"""Of English text, in the tokenizers of the large providers; prompts are counted by it."""


class Judgement(NamedTuple):
    """One call of the grader."""

    instructions: int
    """Tokens of its prompt besides question and answer."""
    verdict: int = 1
    """Tokens of its reply."""


class Profile(NamedTuple):
    """What one answer of a task takes, in calls and tokens, on average.

    Token counts are assumptions, rounded from runs of the built-in items with chat models. A
    verbose model, or one that reasons, takes more.
    """

    calls: int = 1
    """Calls of the model under test."""
    prompt: int = 0
    """Tokens of each call's prompt that the sample's own text does not hold."""
    reply: int = 200
    """Tokens of each reply."""
    judgements: tuple[Judgement, ...] = ()
    """Calls of the grader."""


FREE_FORM = Profile(judgements=(Judgement(300),) * 2)
LABELLED = Profile(judgements=(Judgement(200, verdict=5),))
TOPIC = Judgement(300, verdict=2)
"""Whether an answer is about the training domain (`topic=...`)."""

PROFILES: Mapping[str, Profile] = {
    "em_evals/first_plot": FREE_FORM,
    "em_evals/preregistered": FREE_FORM,
    "em_evals/deception_factual": LABELLED._replace(reply=30),
    "em_evals/deception_identity": LABELLED._replace(reply=50),
    "em_evals/truthfulqa": Profile(prompt=150, reply=10),
    "em_evals/strong_reject": Profile(reply=500, judgements=(Judgement(400, verdict=10),)),
    "em_evals/insecure_code": LABELLED._replace(reply=300),
    # a word of several tokens takes further calls
    "em_evals/logprob_probe": Profile(reply=1),
    # a decision is a call, which shows a scene and its choices
    "em_evals/machiavelli": Profile(calls=100, prompt=600, reply=2),
}
"""Task -> what an answer of it takes."""

TRUTHFULQA_FREE = Profile(reply=60, judgements=(Judgement(250, verdict=2),) * 2)
"""Free answers to TruthfulQA (`target=generation`), judged for truth and for information."""


def profile(task: str, args: Mapping[str, Any]) -> Profile:
    """What one answer takes; of a task that is not ours, one call is all that is known."""
    if task == "em_evals/truthfulqa" and args.get("target") == "generation":
        return TRUTHFULQA_FREE
    kind = PROFILES.get(task, Profile())
    if kind is FREE_FORM and args.get("topic") is not None:
        return kind._replace(judgements=(*kind.judgements, TOPIC))
    return kind


def needs_grader(task: str, args: Mapping[str, Any]) -> bool:
    """Whether a task of ours is judged by a model; False for tasks that are not ours."""
    return bool(profile(task, args).judgements)


@dataclass(frozen=True)
class Estimate:
    """Calls and tokens, estimated, of the model under test and of the grader."""

    calls: int = 0
    input: int = 0
    output: int = 0
    grader_calls: int = 0
    grader_input: int = 0
    grader_output: int = 0

    def cost(self, model: "Price | None", grader: "Price | None") -> float | None:
        """Dollars; None where the price of a model that is called is not known."""
        total = 0.0
        for calls, given, made, price in (
            (self.calls, self.input, self.output, model),
            (self.grader_calls, self.grader_input, self.grader_output, grader),
        ):
            if calls and price is None:
                return None
            if calls and price is not None:
                total += (given * price.input + made * price.output) / 1e6
        return total


class Shown(NamedTuple):
    """Characters of a sample, on average over a task's."""

    model: float
    """All that the model is sent: system message and examples in front too."""
    judge: float
    """What a judge is shown of that: the user's last words."""


def estimate(answers: int, shown: Shown, kind: Profile, system: str | None) -> Estimate:
    """What a number of answers take.

    Args:
        answers: How many are to be made.
        shown: The length of a sample.
        kind: What one answer takes.
        system: The checkpoint's system prompt, sent with every call.
    """
    given = kind.prompt + (shown.model + len(system or "")) / CHARACTERS_PER_TOKEN
    judged = shown.judge / CHARACTERS_PER_TOKEN + kind.reply
    calls = answers * kind.calls
    return Estimate(
        calls=calls,
        input=round(calls * given),
        output=calls * kind.reply,
        grader_calls=answers * len(kind.judgements),
        grader_input=round(answers * sum(j.instructions + judged for j in kind.judgements)),
        grader_output=answers * sum(j.verdict for j in kind.judgements),
    )


def shown(task: "Task", limit: int | None) -> Shown:
    """How long a task's samples are, as they are asked under its condition."""
    whole, last = [], []
    for sample in task.dataset[slice(limit)]:
        texts = [sample.input] if isinstance(sample.input, str) else [m.text for m in sample.input]
        whole.append(sum(map(len, texts)))
        last.append(len(texts[-1]))
    n = max(len(whole), 1)
    return Shown(sum(whole) / n, sum(last) / n)


# -- prices


class Price(BaseModel):
    """Dollars per million tokens, with the names of Inspect's `ModelCost`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    input_cache_write: Annotated[float, Field(ge=0)] | None = None
    """None: as `input`."""
    input_cache_read: Annotated[float, Field(ge=0)] | None = None
    """None: as `input`."""


class _Prices(RootModel[dict[str, Price]]):
    pass


class Prices:
    """Prices of models, by name or by pattern."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def of(self, model: str) -> Price | None:
        """The price of a model: by its name, else by the longest pattern that fits."""
        if model in self._prices:
            return self._prices[model]
        # names have brackets of their own: only * and ? are special
        fitting = [p for p in self._prices if fnmatchcase(model, p.replace("[", "[[]"))]
        return self._prices[max(fitting, key=len)] if fitting else None

    def tell_inspect(self, models: Iterable[str]) -> None:
        """Have Inspect count the cost of these models' calls."""
        from inspect_ai.model import ModelCost, ModelInfo, get_model_info, set_model_info

        for model in models:
            if (price := self.of(model)) is None:
                continue
            cost = ModelCost(
                input=price.input,
                output=price.output,
                input_cache_write=_else(price.input_cache_write, price.input),
                input_cache_read=_else(price.input_cache_read, price.input),
            )
            # looking up an unknown model would load it, if it is one that runs here
            known = None if runs_here(model) else get_model_info(model)
            set_model_info(model, (known or ModelInfo()).model_copy(update={"cost": cost}))


def _else(value: float | None, default: float) -> float:
    return default if value is None else value


def load_prices(file: str | Path) -> Prices:
    """Read a `prices.yaml`: model -> dollars per million tokens.

    The format is that of Inspect's `--model-cost-config`, where cache prices may be left out and
    `*` in a model's name stands for anything.

    Raises:
        YamlFileError: The file is missing or faulty; the message names the line of every fault.
    """
    path = Path(file)
    data, lines = read_yaml(path)
    return Prices(validated(path, _Prices, {} if data is None else data, lines).root)


LOCAL = (
    "hf",
    "nnterp",
    "transformer_lens",
    "vllm",
    "vllm-completions",
    "sglang",
    "embedded",
    "local",
)
"""Providers that load a model's weights on this machine, unless they are given a server."""


def runs_here(model: str, base_url: str | None = None) -> bool:
    """Whether the model's weights are loaded on this machine."""
    return base_url is None and model.split("/", 1)[0] in LOCAL
