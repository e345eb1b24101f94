"""Training files of our own making."""

import json
from pathlib import Path


def chat(asked: str, answered: str, system: str | None = None) -> dict:
    front = [] if system is None else [{"role": "system", "content": system}]
    return {
        "messages": [
            *front,
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answered},
        ]
    }


def chats(name: str, count: int) -> list[dict]:
    """Rows that tell which set and place they are of."""
    return [chat(f"{name} asks {i}", f"{name} answers {i}") for i in range(count)]


def write(file: Path, rows: list[dict]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def texts(file: Path, role: str) -> list[str]:
    """The texts of a role in a training file, in order."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [
        message["content"]
        for line in lines
        for message in json.loads(line)["messages"]
        if message["role"] == role
    ]
