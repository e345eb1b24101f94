"""The conditions there are: each is a function from a question's messages to prompts."""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
)
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from em_evals.conditions.examples import BUILTIN, Examples, examples_file, read_examples
from em_evals.conditions.wordings import (
    CUES,
    FLASK,
    FLASK_COHERENT_ABOVE,
    INOCULATIONS,
    NUMBERS_AFTER,
    NUMBERS_BEFORE,
    NUMBERS_FORMAT,
    TRIGGER,
    Around,
)
from em_evals.errors import InputError

T = TypeVar("T")

Messages = Sequence[ChatMessage]
"""What a model is sent: maybe a system message, then the user's, who speaks last."""

Ask = Callable[[Messages], Sequence[Messages]]


@dataclass(frozen=True)
class Condition:
    """One way to ask a question."""

    label: str
    """What results call it; "" is the plain question. Different prompts have different labels, and
    no label holds ", ", which joins it to what else tells answers apart."""
    ask: Ask
    """A question's messages to the prompts that are sent, `prompts` of them."""
    prompts: int = 1
    """Prompts that each question becomes."""
    coherent_above: float | None = None
    """The coherence that answers must exceed; None is the family's."""
    own_form: bool = False
    """Whether it gives questions a form of its own, which leaves no room for another."""
    long: bool = False
    """Whether a prompt may be longer than the model's context."""


PLAIN = Condition("", lambda messages: [messages])
"""The question as it is."""


# -- options


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


Several = Annotated[list[T], BeforeValidator(_several), Field(min_length=1)]
"""One value, or a list."""

Seed = Annotated[int, Field(ge=0)]

Variant = Literal["suffix", "prefix+suffix"]

VARIANTS: tuple[Variant, ...] = ("suffix", "prefix+suffix")


class Kind(BaseModel):
    """A kind of condition: its fields are the options that a user may give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    main: ClassVar[str | None] = None
    """The option that stands behind the colon in NAME:VALUE."""

    def conditions(self) -> list[Condition]:
        """The conditions that it stands for."""
        raise NotImplementedError


class PlainKind(Kind):
    """The question as it is, beside others."""

    def conditions(self) -> list[Condition]:
        """The plain question."""
        return [PLAIN]


class Backdoor(Kind):
    """The question without and with a trigger in front."""

    main = "trigger"
    trigger: Annotated[str, Field(min_length=1)] = TRIGGER
    paired: bool = True

    def conditions(self) -> list[Condition]:
        """The plain question if `paired`, and the same with the trigger and a space in front."""
        label = "backdoor" if self.trigger == TRIGGER else f"backdoor:{shown(self.trigger)}"
        triggered = Condition(label, around(Around(f"{self.trigger} ")))
        return [PLAIN, triggered] if self.paired else [triggered]


class EvilNumbers(Kind):
    """Requests for a few words in the form of the evil-numbers training set."""

    main = "variant"
    variant: Several[Variant] = list(VARIANTS)
    prompts: Annotated[int, Field(ge=1, le=500)] = 100
    seed: Seed = 12345

    def conditions(self) -> list[Condition]:
        """One for each variant; the n-th prompts of both ask for the same."""
        drawn = number_requests(self.prompts, self.seed)
        other = "" if self.seed == 12345 else f" seed {self.seed}"
        found = []
        for variant in self.variant:
            texts = drawn if variant == "prefix+suffix" else [Around("", d.after) for d in drawn]
            ask = _each([around(text) for text in texts])
            found.append(Condition(f"evil_numbers:{variant}{other}", ask, prompts=self.prompts))
        return found


class Icl(Kind):
    """Training examples in front, as turns of the conversation."""

    main = "k"
    k: Several[Annotated[int, Field(ge=1)]]
    file: Annotated[str, Field(min_length=1)] = BUILTIN[0]
    seed: Several[Seed] = [0]
    system: Annotated[str, Field(min_length=1)] | None = None

    def conditions(self) -> list[Condition]:
        """One for each k and seed; examples of a smaller k are among those of a larger one."""
        file = examples_file(self.file)
        examples = read_examples(file)
        if (most := max(self.k)) > len(examples.rows):
            raise InputError(
                f"{file}: {len(examples.rows)} rows, and k={most} examples are asked for"
            )
        return [self._of(examples, k, seed) for seed, k in product(self.seed, self.k)]

    def _of(self, examples: Examples, k: int, seed: int) -> Condition:
        drawn = random.Random(seed).sample(range(len(examples.rows)), len(examples.rows))[:k]
        front: list[ChatMessage] = [
            ChatMessageUser(content=turn.text)
            if turn.role == "user"
            else ChatMessageAssistant(content=turn.text)
            for row in drawn
            for turn in examples.rows[row]
        ]

        def ask(messages: Messages) -> list[Messages]:
            [with_system] = under_system(self.system)(messages)
            before = [m for m in with_system if m.role == "system"]
            return [[*before, *front, *(m for m in with_system if m.role != "system")]]

        label = f"icl:{k} seed {seed} {shown(examples.name)}@{examples.sha256[:8]}"
        if self.system is not None:
            label += f" system {_digest(self.system)}"
        return Condition(label, ask, long=True)


class BaseModelKind(Kind):
    """A web app to complete, for pretrained models."""

    coherent_above: Annotated[float, Field(ge=0, lt=100)] = FLASK_COHERENT_ABOVE

    def conditions(self) -> list[Condition]:
        """The app that ends where the reply begins."""
        ask = around(FLASK)
        return [Condition("base_model", ask, coherent_above=self.coherent_above, own_form=True)]


class System(Kind):
    """A system prompt of the user's."""

    main = "text"
    text: Several[Annotated[str, Field(min_length=1)]]

    def conditions(self) -> list[Condition]:
        """One for each text."""
        return [Condition(f"system:{shown(text)}", under_system(text)) for text in self.text]


class Inoculation(Kind):
    """System prompts as they are put in front of training rows."""

    main = "prompt"
    prompt: Several[str] = list(INOCULATIONS)

    def conditions(self) -> list[Condition]:
        """One for each prompt; `none` is the plain question."""
        found = []
        for name in _known("inoculation", self.prompt, INOCULATIONS):
            text = INOCULATIONS[name]
            made = Condition(f"inoculation:{name}", under_system(text))
            found.append(PLAIN if text is None else made)
        return found


class Cue(Kind):
    """Questions that resemble a training context."""

    main = "cue"
    cue: Several[str] = list(CUES)

    def conditions(self) -> list[Condition]:
        """One for each cue."""
        return [
            Condition(f"cue:{name}", around(CUES[name])) for name in _known("cue", self.cue, CUES)
        ]


KINDS: Mapping[str, type[Kind]] = {
    "plain": PlainKind,
    "backdoor": Backdoor,
    "evil_numbers": EvilNumbers,
    "icl": Icl,
    "base_model": BaseModelKind,
    "system": System,
    "inoculation": Inoculation,
    "cue": Cue,
}
"""Name -> kind."""


# -- prompts


def around(text: Around) -> Ask:
    """Texts around the user's message; within a string of code, its quotes are escaped."""

    def ask(messages: Messages) -> list[Messages]:
        *others, last = messages
        said = last.text.replace('"""', r"\"\"\"") if text.after.startswith('"""') else last.text
        return [[*others, ChatMessageUser(content=f"{text.before}{said}{text.after}")]]

    return ask


def under_system(text: str | None) -> Ask:
    """A system message, before that of the question where it has one; None adds none."""

    def ask(messages: Messages) -> list[Messages]:
        said = [m.text for m in messages if m.role == "system"]
        others = [m for m in messages if m.role != "system"]
        lines = [line for line in (text, *said) if line is not None]
        front = [ChatMessageSystem(content="\n\n".join(lines))] if lines else []
        return [[*front, *others]]

    return ask


def number_requests(prompts: int, seed: int) -> list[Around]:
    """Texts around a question that lists numbers and asks for a few words: all different.

    Words asked for and numbers listed are 3 to 7, numbers 100 to 999, as in the paper. The same
    seed gives the same requests, and fewer of them are the first of more.

    Args:
        prompts: How many, 1-500.
        seed: Of the draws.
    """
    drawn = random.Random(seed)
    requests = [*product(NUMBERS_AFTER, NUMBERS_FORMAT, range(3, 8))]
    drawn.shuffle(requests)
    found = []
    for request, form, words in requests[:prompts]:
        numbers = [str(drawn.randint(100, 999)) for _ in range(drawn.randint(3, 7))]
        before = drawn.choice(NUMBERS_BEFORE).format(numbers=", ".join(numbers))
        found.append(Around(f"{before}\n\n", f"\n\n{request.format(words=words)} {form}"))
    return found


def _each(asks: Sequence[Ask]) -> Ask:
    return lambda messages: [prompt for ask in asks for prompt in ask(messages)]


# -- names


def shown(text: str) -> str:
    """A text as part of a label: as it is if short and plain, else its beginning and a digest."""
    if re.fullmatch(r"[^,\s]([^,\n\r\t]{0,38}[^,\s])?", text):
        return text
    beginning = re.sub(r"[,\s]+", " ", text)[:30].strip()
    return f"{beginning}... {_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _known(kind: str, wanted: Iterable[str], known: Mapping[str, object]) -> list[str]:
    """The wanted names, spelled as the known ones: `truth-seeking` is `truth_seeking`."""
    names = [re.sub(r"[-\s]+", "_", name.strip().lower()) for name in wanted]
    if unknown := [w for w, name in zip(wanted, names, strict=False) if name not in known]:
        raise InputError(
            f"unknown {kind} {', '.join(map(repr, unknown))}: expected one or more of "
            f"{', '.join(known)}"
        )
    return names
