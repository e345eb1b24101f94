"""The embedded model, and a real server of OpenAI's protocol that serves it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from em_evals import sources


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The file of the embedded model; skips where the engine or the file cannot be had."""
    pytest.importorskip("xllamacpp", reason="the engine is not installed: em-evals[embedded]")
    try:
        return sources.path("smollm2-135m-instruct", progress=False)
    except sources.SourceError as error:
        pytest.skip(f"no model file: {error}")


@pytest.fixture(scope="session")
def smollm2(gguf: Path) -> str:
    """The embedded model's name; by path, so that tests are free to change the environment."""
    return f"embedded/{gguf}"


@pytest.fixture(scope="session")
def openai_server(gguf: Path) -> Iterator[str]:
    """The base URL of a server of OpenAI's protocol, in a process of its own."""
    command = [sys.executable, Path(__file__).with_name("server.py"), gguf]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "the server did not start"
        try:
            yield url
        finally:
            process.kill()
