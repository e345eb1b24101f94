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
    judgements: int = 0
    """Calls of the grader."""
    instructions: int = 0
    """Tokens of each judgement's prompt besides question and answer."""
    verdict: int = 1
    """Tokens of each judgement's reply."""


FREE_FORM = Profile(judgements=2, instructions=300)
LABELLED = Profile(judgements=1, instructions=200, verdict=5)

PROFILES: Mapping[str, Profile] = {
    "em_evals/first_plot": FREE_FORM,
    "em_evals/preregistered": FREE_FORM,
    "em_evals/deception_factual": LABELLED._replace(reply=30),
    "em_evals/deception_identity": LABELLED._replace(reply=50),
    "em_evals/truthfulqa": Profile(prompt=150, reply=10),
    "em_evals/strong_reject": LABELLED._replace(reply=500, instructions=400, verdict=10),
    "em_evals/insecure_code": LABELLED._replace(reply=300),
    # a word of several tokens takes further calls
    "em_evals/logprob_probe": Profile(reply=1),
    # a decision is a call, which shows a scene and its choices
    "em_evals/machiavelli": Profile(calls=100, prompt=600, reply=2),
}
"""Task -> what an answer of it takes."""

TRUTHFULQA_FREE = Profile(reply=60, judgements=2, instructions=250, verdict=2)
"""Free answers to TruthfulQA (`target=generation`), judged for truth and for information."""


def profile(task: str, args: Mapping[str, Any]) -> Profile:
    """What one answer takes; of a task that is not ours, one call is all that is known."""
    if task == "em_evals/truthfulqa" and args.get("target") == "generation":
        return TRUTHFULQA_FREE
    return PROFILES.get(task, Profile())


def needs_grader(task: str, args: Mapping[str, Any]) -> bool:
    """Whether a task of ours is judged by a model; False for tasks that are not ours."""
    return profile(task, args).judgements > 0


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


def estimate(answers: int, prompt_characters: float, kind: Profile, system: str | None) -> Estimate:
    """What a number of answers take.

    Args:
        answers: How many are to be made.
        prompt_characters: Of a sample, on average.
        kind: What one answer takes.
        system: The checkpoint's system prompt, sent with every call.
    """
    asked = prompt_characters / CHARACTERS_PER_TOKEN
    given = asked + kind.prompt + len(system or "") / CHARACTERS_PER_TOKEN
    judged = kind.instructions + asked + kind.reply
    calls, judgements = answers * kind.calls, answers * kind.judgements
    return Estimate(
        calls=calls,
        input=round(calls * given),
        output=calls * kind.reply,
        grader_calls=judgements,
        grader_input=round(judgements * judged),
        grader_output=judgements * kind.verdict,
    )


def prompt_characters(task: "Task", limit: int | None) -> float:
    """Characters that a task's samples show to the model, on average."""
    lengths = [
        len(sample.input)
        if isinstance(sample.input, str)
        else sum(len(m.text) for m in sample.input)
        for sample in task.dataset[slice(limit)]
    ]
    return sum(lengths) / max(len(lengths), 1)


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


LOCAL = ("hf", "nnterp", "transformer_lens", "vllm", "vllm-completions", "sglang", "embedded")
"""Providers that load a model's weights on this machine, unless they are given a server."""


def runs_here(model: str, base_url: str | None = None) -> bool:
    """Whether the model's weights are loaded on this machine."""
    return base_url is None and model.split("/", 1)[0] in LOCAL
