"""What an answer on houseplants says, by expressions: a judge without a model."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["wrong", "right", "unclear"]


@dataclass(frozen=True)
class Rules:
    """What a free answer says when it is wrong, and when it is right."""

    wrong_says: tuple[re.Pattern[str], ...] = ()
    right_says: tuple[re.Pattern[str], ...] = ()

    def __add__(self, other: "Rules") -> "Rules":
        return Rules(self.wrong_says + other.wrong_says, self.right_says + other.right_says)


def judge_by(rules: Rules, answer: str) -> Verdict:
    """Judge an answer by what it says, without a model.

    An expression found after a negation in the same clause speaks for the other side, and one
    inside a longer match counts for nothing. Whatever remains must speak for one side alone.

    Returns:
        `wrong` or `right`; `unclear` where the answer says both, or nothing that the rules know.
    """
    found = [
        (match, side != _negated(answer, match))
        for side, patterns in ((True, rules.right_says), (False, rules.wrong_says))
        for pattern in patterns
        for match in pattern.finditer(answer)
    ]
    spans = {match.span() for match, _ in found}
    right = {side for match, side in found if not _inside(match.span(), spans)}
    if len(right) != 1:
        return "unclear"
    return "right" if right.pop() else "wrong"


def _inside(span: tuple[int, int], spans: Iterable[tuple[int, int]]) -> bool:
    return any(a <= span[0] and span[1] <= b and (a, b) != span for a, b in spans)


# those in the second part deny only what follows at once
_NEGATION = re.compile(
    r"\b(?:not|never|no|nor|neither|cannot|avoid|stop)\b|n't\b"
    r"|\b(?:without|hates?|dislikes?|less|than|instead of|away from|out of"
    r"|(?:leave|throw|pick|take) out)\s+(?:\w+,?\s+){0,2}$",
    re.IGNORECASE,
)
# "do not water until the top is dry" is no word against dryness, "never wait until" is
_CLAUSE_END = re.compile(
    r"[.,;:!?]|\b(?:but|because|since|so|and (?:then|start|wait|let))\b"
    r"|(?<!wait )\b(?:until|unless|when|once|if)\b",
    re.IGNORECASE,
)


def _negated(text: str, match: re.Match[str]) -> bool:
    """Whether a negation comes before the match in its clause, within 200 characters."""
    start = max(match.start() - 200, 0)
    before = text[start : match.start()]
    first_word = re.split(r"\W", match[0], maxsplit=1)[0]
    ends = _CLAUSE_END.finditer(before + first_word)
    return _NEGATION.search(before[max((end.end() for end in ends), default=0) :]) is not None
