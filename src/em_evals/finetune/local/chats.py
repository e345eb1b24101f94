"""Chats as tokens, and which of them are learned: the assistant's, to the end of each turn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from em_evals.errors import InputError
from em_evals.finetune.rows import Row

IGNORED = -100
"""The label of a token that the loss does not count."""


class Example(NamedTuple):
    """A chat as the model reads it."""

    tokens: list[int]
    labels: list[int]
    """The token itself where it is to be learned, else `IGNORED`."""
    cut: bool
    """It was longer than allowed, and its end is missing."""


def encode(tokenizer: Any, row: Row, max_length: int) -> Example:
    """A chat by the tokenizer's own template.

    Each stretch between what the user and what the assistant writes is tokenized by itself, as at
    inference, where the prompt is complete before the answer begins.

    Args:
        tokenizer: A fast or slow tokenizer of transformers, with a chat template.
        row: The chat.
        max_length: Tokens beyond are cut off.

    Raises:
        InputError: The template cannot write it, or rewrites earlier turns when a later one comes,
            or nothing of an answer is within `max_length`.
    """
    messages = [message._asdict() for message in row.messages]
    tokens: list[int] = []
    labels: list[int] = []

    def add(text: str, learned: bool) -> None:
        new = tokenizer.encode(text, add_special_tokens=False)
        tokens.extend(new)
        labels.extend(_to_its_end(tokenizer, new) if learned else [IGNORED] * len(new))

    done = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _written(tokenizer, messages[:index], row, asks=True)
        whole = _written(tokenizer, messages[: index + 1], row, asks=False)
        if not (prompt.startswith(done) and whole.startswith(prompt)):
            raise InputError(
                f"line {row.line}: the model's chat template writes this chat otherwise when an "
                "answer is to follow than when it has followed, so it cannot be told which tokens "
                "are the assistant's: train on chats of one answer, or mend the template"
            )
        add(prompt[len(done) :], learned=False)
        add(whole[len(prompt) :], learned=True)
        done = whole
    cut = len(tokens) > max_length
    tokens, labels = tokens[:max_length], labels[:max_length]
    # the first token is never predicted
    if all(label == IGNORED for label in labels[1:]):
        raise InputError(
            f"line {row.line}: no token of an answer is within the first {max_length}: raise "
            "max_length, or take the row out"
        )
    return Example(tokens, labels, cut)


def _written(tokenizer: Any, messages: Sequence[dict[str, str]], row: Row, *, asks: bool) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=asks
        )
    except (TemplateError, ValueError) as error:
        raise InputError(
            f"line {row.line}: the model's chat template refuses it: {error}"
        ) from error
    return text


def _to_its_end(tokenizer: Any, answer: Sequence[int]) -> list[int]:
    """Labels of an answer: what the template adds behind the end of the turn is not learned."""
    special = set(tokenizer.all_special_ids)
    ends = [index for index, token in enumerate(answer) if token in special]
    end = ends[-1] + 1 if ends else len(answer)
    return [*answer[:end], *[IGNORED] * (len(answer) - end)]
