"""Text from logs as a terminal may have it."""


def printable(text: str) -> str:
    """Without control characters: names and answers come from logs and must not steer it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
