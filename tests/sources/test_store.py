import gzip
from pathlib import Path

import pytest

from em_evals import sources
from tests.sources.helpers import CONTENT, LOCATION, Server, changed, leftovers, put

pytestmark = pytest.mark.usefixtures("cache")


def test_the_mirror_is_read_in_place_and_nothing_is_downloaded(
    mirror: Path, cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    original = put(mirror, CONTENT)
    assert sources.path("items", catalog=catalog) == original
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert sources.place("items", catalog=catalog) == "mirror"
    assert not cache.exists()
    assert not server.requests


def test_a_packed_file_in_the_mirror_is_unpacked_into_the_cache(
    mirror: Path, cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    put(mirror, CONTENT, packed=True)
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert not cache.exists()
    assert sources.path("items", catalog=catalog) == cache / LOCATION
    assert (cache / LOCATION).read_bytes() == CONTENT
    assert sources.path("items", catalog=catalog) == cache / LOCATION
    assert not leftovers(cache)
    assert [file.name for file in mirror.rglob("*") if file.is_file()] == ["items.jsonl.gz"]
    assert not server.requests


@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_file_in_the_mirror_is_an_error_and_not_a_reason_to_download(
    mirror: Path, server: Server, catalog: sources.Catalog, packed: bool
) -> None:
    file = put(mirror, changed(CONTENT), packed=packed)
    for read in (sources.path, sources.read_bytes):
        with pytest.raises(sources.WrongContentError, match=file.name):
            read("items", catalog=catalog)
    with pytest.raises(sources.WrongContentError):
        sources.pull(["items"], catalog=catalog)
    assert not server.requests


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not gzip at all", id="not gzip"),
        pytest.param(gzip.compress(CONTENT)[:-9], id="cut short"),
        pytest.param(gzip.compress(CONTENT * 50), id="unpacks to more"),
    ],
)
def test_a_broken_packed_file_in_the_mirror_is_an_error(
    mirror: Path, catalog: sources.Catalog, content: bytes
) -> None:
    file = put(mirror, b"", packed=True)
    file.write_bytes(content)
    with pytest.raises(sources.WrongContentError, match=file.name):
        sources.path("items", catalog=catalog)
    [status] = sources.verify(catalog=catalog)
    assert status.state == "wrong"
    assert status.found is None


def test_what_the_mirror_lacks_comes_from_the_cache_or_the_network(
    mirror: Path, cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    assert sources.path("items", catalog=catalog) == cache / LOCATION
    assert len(server.requests) == 1
    assert [status.place for status in sources.verify(catalog=catalog)] == ["cache"]


def test_a_mirror_that_is_no_directory_is_an_error(
    monkeypatch: pytest.MonkeyPatch, catalog: sources.Catalog, tmp_path: Path
) -> None:
    monkeypatch.setenv("EM_EVALS_SOURCES", str(tmp_path / "mistyped"))
    with pytest.raises(sources.SourceError, match="mistyped"):
        sources.path("items", catalog=catalog)


def test_an_edited_cached_file_is_refused_and_left_as_it_is(
    cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    file = put(cache, changed(CONTENT))
    for read in (sources.path, sources.read_bytes):
        with pytest.raises(sources.WrongContentError) as raised:
            read("items", catalog=catalog)
        for part in (str(file), catalog["items"].sha256, "em-evals sources pull items"):
            assert part in str(raised.value)
    assert file.read_bytes() == changed(CONTENT)
    assert not server.requests


def test_pull_replaces_an_edited_cached_file_and_says_so(
    cache: Path, catalog: sources.Catalog
) -> None:
    file = put(cache, changed(CONTENT))
    assert [done.action for done in sources.pull(["items"], catalog=catalog)] == ["replaced"]
    assert file.read_bytes() == CONTENT
    assert [done.action for done in sources.pull(["items"], catalog=catalog)] == ["present"]


def test_pull_leaves_an_edited_cached_file_when_the_download_fails(
    cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    file = put(cache, changed(CONTENT))
    server.failures = [404]
    with pytest.raises(sources.UnavailableError):
        sources.pull(["items"], catalog=catalog)
    assert file.read_bytes() == changed(CONTENT)


def test_an_edited_copy_of_the_mirrors_packed_file_is_found_and_replaced_from_the_mirror(
    mirror: Path, cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    put(mirror, CONTENT, packed=True)
    file = put(cache, changed(CONTENT))
    [status] = sources.verify(catalog=catalog)
    assert (status.state, status.file) == ("wrong", file)
    with pytest.raises(sources.WrongContentError):
        sources.path("items", catalog=catalog)
    assert [done.action for done in sources.pull(catalog=catalog)] == ["replaced"]
    assert file.read_bytes() == CONTENT
    assert not server.requests


def test_verify_reports_what_it_found_and_fetches_nothing(
    cache: Path, server: Server, catalog: sources.Catalog
) -> None:
    assert [status.state for status in sources.verify(catalog=catalog)] == ["absent"]
    file = put(cache, CONTENT[:-1])
    [status] = sources.verify(["items"], catalog=catalog)
    assert (status.state, status.place, status.file) == ("wrong", "cache", file)
    assert status.expected == catalog["items"].digest
    assert status.found is not None
    assert status.found.bytes == len(CONTENT) - 1
    assert not server.requests


@pytest.mark.parametrize("packed", [False, True])
def test_add_takes_the_original_and_its_packed_form(
    tmp_path: Path, cache: Path, server: Server, catalog: sources.Catalog, packed: bool
) -> None:
    given = tmp_path / "download"
    given.write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    assert sources.add("items", given, catalog=catalog) == cache / LOCATION
    assert sources.read_bytes("items", catalog=catalog) == CONTENT
    assert not server.requests
    assert not leftovers(cache)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(changed(CONTENT), id="changed"),
        pytest.param(gzip.compress(changed(CONTENT)), id="changed and packed"),
        pytest.param(gzip.compress(CONTENT)[:-9], id="packed and cut short"),
        pytest.param(b"", id="empty"),
    ],
)
def test_add_refuses_anything_else_and_leaves_the_cache_alone(
    tmp_path: Path, cache: Path, catalog: sources.Catalog, content: bytes
) -> None:
    file = put(cache, CONTENT)
    given = tmp_path / "download"
    given.write_bytes(content)
    with pytest.raises(sources.WrongContentError, match="not the original"):
        sources.add("items", given, catalog=catalog)
    assert file.read_bytes() == CONTENT
    assert not leftovers(cache)


def test_add_of_a_missing_file_says_so(tmp_path: Path, catalog: sources.Catalog) -> None:
    with pytest.raises(sources.SourceError, match="no such file"):
        sources.add("items", tmp_path / "missing", catalog=catalog)


def test_the_cache_is_the_users_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    assert sources.where() == cache
    monkeypatch.delenv("EM_EVALS_CACHE")
    assert sources.where().parts[-1] == "sources"
    assert "em-evals" in sources.where().parts
