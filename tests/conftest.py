"""What all tests share: where the originals are, and no look at the user's own settings."""

from pathlib import Path

import pytest
import tiktoken
import tiktoken.registry

# Inspect's mock model counts tokens with an encoding that tiktoken would download: one byte is
# one token here
tiktoken.registry.ENCODINGS["o200k_base"] = tiktoken.Encoding(
    name="o200k_base",
    pat_str=r"[\s\S]",
    mergeable_ranks={bytes([i]): i for i in range(256)},
    special_tokens={},
)

UPSTREAM = Path(__file__).resolve().parents[2] / "shared" / "upstream"


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mirror of the originals, in use; skips where there is none."""
    if not UPSTREAM.is_dir():
        pytest.skip("the originals are not on this machine (no shared/upstream beside the clone)")
    monkeypatch.setenv("EM_EVALS_SOURCES", str(UPSTREAM))
    return UPSTREAM


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Logs go to the test's own folder; settings of the user's shell do not reach the tests."""
    monkeypatch.delenv("EM_EVALS_SOURCES", raising=False)
    for name in ("NO_PROXY", "no_proxy"):  # a proxy has no way to this machine's loopback
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
