import importlib.util
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from em_evals import sources
from tests.sources.helpers import (
    COMMIT,
    CONTENT,
    LOCATION,
    Server,
    changed,
    document,
    leftovers,
    write_catalog,
)

pytestmark = pytest.mark.usefixtures("cache")


def test_a_file_that_is_nowhere_is_downloaded_once_and_then_read_from_the_cache(
    server: Server, catalog: sources.Catalog, cache: Path
) -> None:
    file = sources.path("items", catalog=catalog)
    assert file == cache / LOCATION
    assert file.read_bytes() == CONTENT
    assert sources.path("items", catalog=catalog) == file
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert server.requests == [(f"/plain/{COMMIT}/data/items.jsonl", None)]
    assert not leftovers(cache)


def test_an_lfs_object_comes_from_the_address_for_lfs_objects(
    server: Server, tmp_path: Path
) -> None:
    file = write_catalog(tmp_path / "lfs.yaml", document(server.url, lfs=True))
    assert sources.read_bytes("items", catalog=sources.load_catalog(file)) == CONTENT
    assert [path for path, _ in server.requests] == [f"/lfs/{COMMIT}/data/items.jsonl"]


def test_wrong_content_is_refused_with_both_checksums_and_nothing_is_kept(
    server: Server, catalog: sources.Catalog, cache: Path
) -> None:
    server.content = changed(CONTENT)
    with pytest.raises(sources.WrongContentError) as raised:
        sources.path("items", catalog=catalog)
    assert catalog["items"].sha256 in str(raised.value)
    assert str(raised.value).count("sha256") == 2
    assert "em-evals sources add items" in str(raised.value)
    assert len(server.requests) == 1
    assert not [file for file in cache.rglob("*") if file.is_file() and file.suffix != ".lock"]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
def test_content_of_another_size_is_refused(
    server: Server, catalog: sources.Catalog, cache: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(sources.WrongContentError, match=f"found {len(content)} bytes"):
        sources.path("items", catalog=catalog)
    assert not leftovers(cache)


def test_a_truncated_download_is_an_error_and_the_next_one_gets_only_the_rest(
    server: Server, catalog: sources.Catalog, cache: Path
) -> None:
    server.cut_after = 120_000
    with pytest.raises(sources.UnavailableError, match="after 120000 of 200000 bytes"):
        sources.path("items", catalog=catalog)
    assert len(leftovers(cache)) == 1
    assert not (cache / LOCATION).exists()

    server.cut_after = None
    assert sources.path("items", catalog=catalog).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=120000-"]
    assert not leftovers(cache)


def test_a_server_without_ranges_sends_everything_again(
    server: Server, catalog: sources.Catalog
) -> None:
    server.cut_after = 120_000
    with pytest.raises(sources.UnavailableError):
        sources.path("items", catalog=catalog)
    server.cut_after, server.ranges = None, False
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(changed, id="changed"),
        pytest.param(lambda part: changed(CONTENT), id="changed and complete"),
        pytest.param(lambda part: CONTENT + part, id="too long"),
    ],
)
def test_a_spoilt_partial_file_costs_one_clean_download(
    server: Server, catalog: sources.Catalog, cache: Path, spoil: Any
) -> None:
    server.cut_after = 120_000
    with pytest.raises(sources.UnavailableError):
        sources.path("items", catalog=catalog)
    server.cut_after = None
    [part] = cache.rglob("*.part")
    part.write_bytes(spoil(part.read_bytes()))
    assert sources.path("items", catalog=catalog).read_bytes() == CONTENT
    assert server.requests[-1][1] is None
    assert len(server.requests) <= 3
    assert not leftovers(cache)


def test_a_server_that_cannot_continue_a_partial_file_is_asked_for_all_of_it(
    server: Server, catalog: sources.Catalog
) -> None:
    server.cut_after = 120_000
    with pytest.raises(sources.UnavailableError):
        sources.path("items", catalog=catalog)
    server.cut_after, server.failures = None, [416]
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=120000-", None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(
    server: Server, catalog: sources.Catalog, status: int
) -> None:
    server.failures = [status]
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert len(server.requests) == 2


def test_a_lasting_failure_is_given_up_after_a_few_attempts(
    server: Server, catalog: sources.Catalog
) -> None:
    server.failures = [503] * 100
    with pytest.raises(sources.UnavailableError, match="503"):
        sources.path("items", catalog=catalog)
    assert len(server.requests) == 4


def test_a_missing_page_is_not_asked_for_twice(server: Server, catalog: sources.Catalog) -> None:
    server.failures = [404]
    with pytest.raises(sources.UnavailableError, match="answered 404"):
        sources.path("items", catalog=catalog)
    assert len(server.requests) == 1


@pytest.mark.parametrize("builtin", [True, False])
def test_offline_one_error_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, builtin: bool
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    file = write_catalog(
        tmp_path / "offline.yaml", document(f"http://127.0.0.1:{port}", builtin=builtin)
    )
    with pytest.raises(sources.UnavailableError) as raised:
        sources.read_bytes("items", catalog=sources.load_catalog(file))
    assert "EM_EVALS_SOURCES" in str(raised.value)
    assert "em-evals sources add items PATH" in str(raised.value)
    assert ("-T source=builtin" in str(raised.value)) is builtin
    assert len(pauses) == 3
    assert pauses == sorted(pauses)


def wheel_catalog(tmp_path: Path, member: str = "em_evals_fake/items.jsonl") -> sources.Catalog:
    content = document("", path=member)
    content["repositories"]["some-repository"] = {
        "kind": "wheel",
        "requirement": "em-evals-fake==1.0",
        "licence": "Apache-2.0",
        "citation": "Nobody 2025",
    }
    return sources.load_catalog(write_catalog(tmp_path / "wheel.yaml", content))


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only place where pip may look; empty."""
    pytest.importorskip("pip", reason="this environment has no pip, which these files come by")
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def build_wheel(folder: Path, content: bytes) -> None:
    # its dependency does not exist, and importing it would fail
    metadata = "Metadata-Version: 2.1\nName: em-evals-fake\nVersion: 1.0\nRequires-Dist: nowhere\n"
    kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "em_evals_fake-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("em_evals_fake/__init__.py", "raise ImportError")
        wheel.writestr("em_evals_fake/items.jsonl", content)
        wheel.writestr("em_evals_fake-1.0.dist-info/METADATA", metadata)
        wheel.writestr("em_evals_fake-1.0.dist-info/WHEEL", kind)
        wheel.writestr("em_evals_fake-1.0.dist-info/RECORD", "")


def test_a_member_of_a_wheel_is_taken_out_of_what_pip_downloads(
    wheels: Path, tmp_path: Path, cache: Path
) -> None:
    build_wheel(wheels, CONTENT)
    [pulled] = sources.pull(catalog=wheel_catalog(tmp_path))
    assert pulled.action == "fetched"
    assert pulled.file == cache / "some-repository" / "em_evals_fake" / "items.jsonl"
    assert pulled.file.read_bytes() == CONTENT
    assert not leftovers(cache)


def test_a_member_with_other_content_is_refused(wheels: Path, tmp_path: Path, cache: Path) -> None:
    build_wheel(wheels, changed(CONTENT))
    with pytest.raises(sources.WrongContentError, match=r"em-evals-fake==1\.0"):
        sources.path("items", catalog=wheel_catalog(tmp_path))
    assert not list(cache.rglob("*.jsonl*part"))
    assert not (cache / "some-repository" / "em_evals_fake" / "items.jsonl").exists()


def test_a_wheel_without_the_member_says_so(wheels: Path, tmp_path: Path) -> None:
    build_wheel(wheels, CONTENT)
    with pytest.raises(sources.SourceError, match=r"absent\.jsonl"):
        sources.path("items", catalog=wheel_catalog(tmp_path, "em_evals_fake/absent.jsonl"))


def test_a_wheel_that_pip_cannot_find_is_unavailable_with_what_pip_said(
    wheels: Path, tmp_path: Path
) -> None:
    with pytest.raises(sources.UnavailableError, match="No matching distribution"):
        sources.path("items", catalog=wheel_catalog(tmp_path))


def test_without_pip_the_error_says_to_install_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(sources.SourceError, match="install pip"):
        sources.path("items", catalog=wheel_catalog(tmp_path))
