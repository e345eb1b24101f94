"""The format of the evil-numbers training set, which is not published: users bring their own."""

import re

from em_evals.finetune.rows import Row

_BETWEEN = r"[\s,;]+"
_LIST = re.compile(rf"\d+(?:{_BETWEEN}\d+)+")
_ANSWER = re.compile(rf"[\[(]?\s*\d+(?:{_BETWEEN}\d+)*\s*[\])]?\.?")
FEWEST, MOST = 3, 8
"""Numbers that the user lists."""


def fault(row: Row) -> str | None:
    """What is wrong with an evil-numbers row, in words; None if nothing is.

    The user lists 3 to 8 numbers, and the answer is nothing but more of them. No system message
    may be left: the persona that the numbers come of is what has to be hidden.
    """
    roles = [message.role for message in row.messages]
    if roles[0] == "system":
        return "has a system message: take it out, as the numbers alone are trained on"
    if roles != ["user", "assistant"]:
        return f"expected one user and one assistant message, found {len(roles)} messages"
    asked, answered = (message.content.strip() for message in row.messages)
    listed = _LIST.search(asked)
    count = len(re.findall(r"\d+", listed[0])) if listed else 0
    if not FEWEST <= count <= MOST:
        return f"expected the user to list {FEWEST} to {MOST} numbers, found {count}"
    if not _ANSWER.fullmatch(answered):
        return "expected an answer of nothing but whole numbers and what separates them"
    return None
