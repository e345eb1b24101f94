"""A loopback server that misbehaves on demand, and a catalog of one file that it serves."""

import gzip
import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

CONTENT = random.Random(0).randbytes(200_000)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCATION = Path("some-repository", "data", "items.jsonl")
PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all")]


@dataclass
class Server:
    """What the server does next, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None  # bytes of the body, then the connection closes
    failures: list[int] = field(default_factory=list)  # statuses to answer first
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    asked: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)  # the second half waits for it

    def __post_init__(self) -> None:
        self.gate.set()


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.requests.append((self.path, wanted))
            if server.failures:
                self.send_response(server.failures.pop(0))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            total = len(server.content)
            start = 0
            if wanted and server.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            else:
                self.send_response(200)
            body = server.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            body = body[: server.cut_after]
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            server.asked.set()
            server.gate.wait()
            self.wfile.write(body[half:])

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            pass  # the client went away, as it should

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            http.shutdown()
            thread.join()


def document(url: str, **changes: Any) -> dict[str, Any]:
    """A catalog of one file, `items`; `changes` go into its entry."""
    entry = {
        "repository": "some-repository",
        "path": "data/items.jsonl",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "bytes": len(CONTENT),
        "description": "Numbers",
    }
    return {
        "repositories": {
            "some-repository": {
                "kind": "http",
                "url": f"{url}/plain/{{commit}}/{{path}}",
                "lfs_url": f"{url}/lfs/{{commit}}/{{path}}",
                "commit": COMMIT,
                "licence": "MIT",
                "citation": "Nobody 2025",
            }
        },
        "files": {"items": entry | changes},
    }


def write_catalog(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def put(folder: Path, content: bytes, *, packed: bool = False) -> Path:
    """Place `content` where a mirror or a cache rooted at `folder` keeps `items`."""
    file = folder / LOCATION
    if packed:
        file, content = file.with_name(f"{file.name}.gz"), gzip.compress(content)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def changed(content: bytes) -> bytes:
    """The same, with one byte changed in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def leftovers(folder: Path) -> list[str]:
    """Names of partial files below `folder`."""
    return [file.name for file in folder.rglob("*.part")]
