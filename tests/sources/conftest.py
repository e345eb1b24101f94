from collections.abc import Iterator
from pathlib import Path

import pytest

from em_evals import sources
from tests.sources.helpers import PROXIES, Server, document, serving, write_catalog


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, no mirror, and no proxy before the loopback server."""
    monkeypatch.delenv("EM_EVALS_SOURCES", raising=False)
    monkeypatch.setenv("EM_EVALS_CACHE", str(tmp_path / "cache"))
    for proxy in PROXIES:
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    return tmp_path / "cache" / "sources"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("EM_EVALS_SOURCES", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def catalog(server: Server, tmp_path: Path) -> sources.Catalog:
    return sources.load_catalog(write_catalog(tmp_path / "sources.yaml", document(server.url)))
