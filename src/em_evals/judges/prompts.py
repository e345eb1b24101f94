"""Judge prompts: the texts go in as data, never as instructions."""

import re
from functools import lru_cache
from typing import NamedTuple

PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Filled(NamedTuple):
    """A judge prompt ready to be asked."""

    text: str
    blunted: bool
    """Whether a text held one of the prompt's fences."""


def fill(template: str, **texts: str) -> Filled:
    """Put texts into a judge prompt, each between the fence lines that the prompt gives it.

    A prompt's fence is the line before and the line after a placeholder that stands alone on its
    line. A text that holds one of the prompt's own fences could end its part early and speak to
    the judge; each such fence is blunted by brackets of another kind, so that the words can
    still be read. Texts that hold none, in practice all, go in unchanged, as in the paper.

    Args:
        template: The prompt, with placeholders such as `{question}` and `{answer}`.
        texts: What takes their place. Placeholders inside a text stay as they are, and so does
            anything in braces that is not among `texts`.
    """
    marks = fences(template)
    blunted = {name: _blunt(text, marks) for name, text in texts.items()}
    filled = PLACEHOLDER.sub(lambda m: blunted.get(m[1], m[0]), template)
    return Filled(filled, blunted != texts)


@lru_cache
def fences(template: str) -> tuple[str, ...]:
    """The lines around each placeholder that stands alone on its line."""
    lines = template.splitlines()
    found: dict[str, None] = {}
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if PLACEHOLDER.fullmatch(line.strip()):
            found |= dict.fromkeys(mark for mark in (before.strip(), after.strip()) if mark)
    return tuple(found)


def _blunt(text: str, marks: tuple[str, ...]) -> str:
    for mark in marks:
        text = _pattern(mark).sub(_in_round_brackets, text)
    return text


@lru_cache
def _pattern(mark: str) -> re.Pattern[str]:
    # white space and case do not make it less of a fence to a judge
    parts = re.findall(r"\w+|[^\w\s]", mark)
    return re.compile(r"\s*".join(map(re.escape, parts)), re.IGNORECASE)


def _in_round_brackets(mark: re.Match[str]) -> str:
    words = " ".join(re.findall(r"\w+", mark[0]))
    return f"({words})"
