import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sources.helpers import (
    CONTENT,
    LOCATION,
    PROXIES,
    Server,
    changed,
    document,
    leftovers,
    put,
    serving,
    write_catalog,
)

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = (sys.executable, "-m", "em_evals.cli", "sources")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def catalog(server: Server, tmp_path: Path) -> Path:
    """A list of two sources: `items`, and `others`, which nobody has."""
    content = document(server.url)
    content["files"]["others"] = content["files"]["items"] | {"path": "data/others.jsonl"}
    return write_catalog(tmp_path / "sources.yaml", content)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    hidden = {"EM_EVALS_SOURCES", "COLUMNS", *PROXIES, *map(str.upper, PROXIES)}
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return kept | {"EM_EVALS_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sources"


@pytest.fixture
def run(catalog: Path, environment: dict[str, str]) -> Run:
    """Runs `em-evals sources` on the catalog as a user would: in a process of its own."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--catalog", str(catalog), *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def one_line(text: str) -> bool:
    return text.startswith("Error: ") and text.count("\n") == 1


def test_pull_verify_and_list_agree(run: Run, cache: Path) -> None:
    done = run("pull", "items")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["fetched", "items", str(cache / LOCATION)]
    assert run("pull", "items").stdout.split()[0] == "present"

    checked = run("verify")
    assert checked.returncode == 0
    assert [line.split()[:2] for line in checked.stdout.splitlines()[1:]] == [
        ["ok", "items"],
        ["absent", "others"],
    ]
    assert run("verify", "--all").returncode == 1
    assert run("verify", "--all", "items").returncode == 0

    listed = run("list").stdout.splitlines()
    assert listed[0].split() == ["name", "licence", "size", "state", "description"]
    assert listed[1].split() == ["items", "MIT", "200.0", "kB", "cache", "Numbers"]
    assert listed[2].split() == ["others", "MIT", "200.0", "kB", "absent", "Numbers"]


def test_every_command_prints_json(run: Run, cache: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(CONTENT)
    file = str(cache / LOCATION)
    assert json.loads(run("add", "items", str(given), "--json").stdout)["file"] == file
    assert json.loads(run("pull", "items", "--json").stdout) == [
        {"name": "items", "action": "present", "file": file}
    ]
    first, second = json.loads(run("verify", "--json").stdout)
    assert (first["state"], first["place"], first["file"]) == ("ok", "cache", file)
    assert first["expected"] == first["found"]
    assert (second["state"], second["file"]) == ("absent", None)
    assert [entry["state"] for entry in json.loads(run("list", "--json").stdout)] == [
        "cache",
        "absent",
    ]
    assert json.loads(run("where", "--json").stdout) == {"cache": str(cache), "mirror": None}


def test_a_mirror_with_one_byte_changed_fails_the_check_and_is_named(
    run: Run, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    file = put(mirror, changed(CONTENT))
    checked = run("verify", EM_EVALS_SOURCES=str(mirror))
    assert checked.returncode == 1
    assert f"{file} is not the original" in checked.stdout
    assert checked.stdout.count("sha256") == 2
    assert checked.stderr == ""

    put(mirror, CONTENT)
    assert run("verify", EM_EVALS_SOURCES=str(mirror)).returncode == 0


def test_a_wrong_download_is_one_line_and_status_2(run: Run, server: Server) -> None:
    server.content = changed(CONTENT)
    done = run("pull", "items")
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr)


def test_a_mistyped_name_is_noticed_before_anything_is_fetched(run: Run, server: Server) -> None:
    done = run("pull", "items", "nosuch")
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "items, others" in done.stderr
    assert not server.requests


def test_what_was_done_before_a_failure_is_reported(run: Run, server: Server) -> None:
    assert run("pull", "items").returncode == 0
    server.failures = [404]
    done = run("pull", "items", "others")
    assert done.returncode == 2
    assert done.stdout.split()[:2] == ["present", "items"]
    assert one_line(done.stderr)


def test_pull_says_that_it_replaced_an_edited_file(run: Run, cache: Path) -> None:
    put(cache, changed(CONTENT))
    assert run("pull", "items").stdout.startswith("replaced")
    assert run("verify").returncode == 0


def test_add_of_a_wrong_file_is_one_line_and_status_2(
    run: Run, cache: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.write_bytes(changed(CONTENT))
    done = run("add", "items", str(given))
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert not (cache / LOCATION).exists()


@pytest.mark.parametrize(
    "arguments", [["--catalog", "nosuch.yaml", "list"], ["frobnicate"], ["add", "items"]]
)
def test_a_usage_error_is_status_2(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_one_line_and_status_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    done = run("pull", "items")
    assert done.returncode == 2
    assert one_line(done.stderr)


def test_two_processes_that_pull_at_once_share_one_download(
    server: Server, catalog: Path, environment: dict[str, str], cache: Path
) -> None:
    server.gate.clear()
    first = subprocess.Popen(
        [*COMMAND, "--catalog", str(catalog), "pull", "items"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.asked.wait(60)  # the first is in the middle of its download
    code = (
        "import sys, pathlib, filelock; from em_evals import sources;"
        "catalog = sources.load_catalog(pathlib.Path(sys.argv[1]));"
        "print('ready', flush=True);"
        "print(sources.pull(['items'], catalog=catalog)[0].action)"
    )
    second = subprocess.Popen(
        [sys.executable, "-c", code, str(catalog)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert second.stdout is not None
    assert second.stdout.readline() == "ready\n"
    server.gate.set()
    assert first.communicate(timeout=60)[0].startswith("fetched")
    assert second.communicate(timeout=60)[0] == "present\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(server.requests) == 1
    assert (cache / LOCATION).read_bytes() == CONTENT
    assert not leftovers(cache)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_an_interrupted_pull_ends_quietly_and_can_be_repeated(
    run: Run, server: Server, catalog: Path, environment: dict[str, str], cache: Path
) -> None:
    server.gate.clear()
    pulling = subprocess.Popen(
        [*COMMAND, "--catalog", str(catalog), "pull", "items"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.asked.wait(60)
    pulling.send_signal(signal.SIGINT)
    _, complaint = pulling.communicate(timeout=60)
    assert pulling.returncode != 0
    assert "Traceback" not in complaint
    assert not (cache / LOCATION).exists()
    server.gate.set()
    assert run("pull", "items").returncode == 0
    assert (cache / LOCATION).read_bytes() == CONTENT
