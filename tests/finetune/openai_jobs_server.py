"""A server with OpenAI's files and fine-tuning jobs, and with every fault that a network has.

Its replies are what the SDK's own models take, strictly. It has no time of its own: what is delayed
waits for `now()` of the test's clock.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import openai
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

KEY = "sk-test-0123456789abcdef"

FINAL = ("succeeded", "failed", "cancelled")


class LostError(Exception):
    """The server hangs up without an answer."""


@dataclass
class Fault:
    """What happens to a request instead of a proper answer."""

    act: bool = False
    """Its effect takes place all the same."""
    status: int | None = None
    """The answer's status; None hangs up."""
    code: str | None = None
    message: str = "The server had an error"
    delay: float = 0.0
    """Seconds until the effect can be seen by anybody."""


@dataclass
class JobsServer:
    """The state behind the endpoints.

    `faults` are used up one by one by requests of their kind: `upload`, `create`, `files`, `jobs`,
    `job`, `events`, `checkpoints`, `cancel`.
    """

    now: Callable[[], float] = lambda: 0.0
    lag: float = 0.0
    """Seconds until what was made is in a list."""
    page: int = 100
    """A list has no more entries than this at once, whatever is asked for."""
    steps: int = 4
    """A job ends after it was looked at so many times."""
    ends: dict[str, str] = field(default_factory=dict)
    """Training file or key of metadata's group -> failed, where a job is to fail."""
    key: str = KEY
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown_from: dict[str, float] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    on_request: Callable[[str], None] = lambda kind: None
    on_effect: Callable[[str], None] = lambda kind: None
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.RLock()

    # -- one request

    def answer(
        self, method: str, url: str, headers: Any, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Status and content; raises `LostError` where there is no answer."""
        parts = urlsplit(url)
        path = parts.path.removeprefix("/v1/").split("/")
        query = dict(parse_qsl(parts.query))
        kind, call = self._endpoint(method, path, query, headers, body)
        self.on_request(kind)
        with self.lock:
            self.requests.append((kind, query))
            if headers.get("authorization") != f"Bearer {self.key}":
                return refusal(
                    401, "invalid_api_key", f"Incorrect API key provided: {KEY[:9]}***cdef."
                )
            fault = self.faults[kind].pop(0) if self.faults.get(kind) else None
            if fault and not fault.act:
                return self._faulty(fault)
            status, content = call()
            if fault:
                if status == 200:
                    self.shown_from[content["id"]] = self.now() + fault.delay
                self.on_effect(kind)
                return self._faulty(fault)
        self.on_effect(kind)
        return status, content

    def _faulty(self, fault: Fault) -> tuple[int, dict[str, Any]]:
        if fault.status is None:
            raise LostError
        return refusal(fault.status, fault.code, fault.message)

    def _endpoint(
        self, method: str, path: list[str], query: dict[str, str], headers: Any, body: bytes
    ) -> tuple[str, Callable[[], tuple[int, dict[str, Any]]]]:
        match (method, path):
            case ("POST", ["files"]):
                return "upload", lambda: self._upload(headers, body)
            case ("GET", ["files"]):
                return "files", lambda: self._list(self.files, query, FileObject)
            case ("POST", ["fine_tuning", "jobs"]):
                return "create", lambda: self._create(json.loads(body))
            case ("GET", ["fine_tuning", "jobs"]):
                return "jobs", lambda: self._list(self.jobs, query, FineTuningJob)
            case ("GET", ["fine_tuning", "jobs", id]):
                return "job", lambda: self._look(id)
            case ("POST", ["fine_tuning", "jobs", id, "cancel"]):
                return "cancel", lambda: self._cancel(id)
            case ("GET", ["fine_tuning", "jobs", id, "events"]):
                return "events", lambda: self._events(id, query)
            case ("GET", ["fine_tuning", "jobs", id, "checkpoints"]):
                return "checkpoints", lambda: self._checkpoints(id, query)
        return "unknown", lambda: refusal(404, None, f"Invalid URL ({method} {'/'.join(path)})")

    # -- files

    def _upload(self, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
        parts = {}
        names = {}
        for part in message_from_bytes(head + body).get_payload():
            name = part.get_param("name", header="content-disposition")
            parts[name] = part.get_payload(decode=True)
            names[name] = part.get_filename()
        if parts["purpose"] != b"fine-tune" or not parts["file"]:
            return refusal(400, "invalid_file", "Invalid file")
        return 200, self._keep(names["file"], parts["file"])

    def _keep(self, name: str, content: bytes) -> dict[str, Any]:
        file = {
            "id": f"file-{len(self.files) + 1}",
            "object": "file",
            "bytes": len(content),
            "created_at": len(self.files),
            "filename": name,
            "purpose": "fine-tune",
            "status": "processed",
        }
        self.files[file["id"]] = file
        self.contents[file["id"]] = content
        self.shown_from[file["id"]] = self.now() + self.lag
        return valid(FileObject, file)

    # -- jobs

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if asked["training_file"] not in self.files:
            return refusal(400, "invalid_training_file", "invalid training_file: no such file")
        method = asked["method"]
        job = {
            "id": f"ftjob-{len(self.jobs) + 1}",
            "object": "fine_tuning.job",
            "created_at": len(self.jobs),
            "error": None,
            "fine_tuned_model": None,
            "finished_at": None,
            "hyperparameters": {
                "n_epochs": "auto",
                "batch_size": "auto",
                "learning_rate_multiplier": "auto",
                **method["supervised"]["hyperparameters"],
            },
            "model": asked["model"],
            "organization_id": "org-test",
            "result_files": [],
            "seed": asked.get("seed", 17),
            "status": "validating_files",
            "trained_tokens": None,
            "training_file": asked["training_file"],
            "validation_file": None,
            "metadata": asked.get("metadata"),
            "method": method,
            "user_provided_suffix": asked.get("suffix"),
        }
        self.jobs[job["id"]] = job
        self.looks[job["id"]] = 0
        self.shown_from[job["id"]] = self.now() + self.lag
        return 200, valid(FineTuningJob, job)

    def made(self, **more: Any) -> dict[str, Any]:
        """A job that was made by other means."""
        asked = {
            "training_file": self._keep("other.jsonl", b"{}")["id"],
            "model": "gpt-4o-mini-2024-07-18",
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        }
        return self._create({**asked, **more})[1]

    def _look(self, id: str) -> tuple[int, dict[str, Any]]:
        job = self.jobs.get(id)
        if job is None:
            return refusal(404, "fine_tune_not_found", f"Could not find fine tune: {id}")
        if job["status"] not in FINAL:
            self.looks[id] += 1
            self._advance(job, self.looks[id])
        return 200, valid(FineTuningJob, job)

    def _advance(self, job: dict[str, Any], looks: int) -> None:
        group = (job["metadata"] or {}).get("em_evals_group", "")
        if looks == 1:
            job["status"] = "queued"
        elif self.ends.get(group) == "failed":
            job["status"] = "failed"
            job["error"] = {
                "code": "invalid_training_file",
                "message": "The job failed due to an unsafe training file.",
                "param": "training_file",
            }
        elif looks < self.steps:
            job["status"] = "running"
        else:
            job["status"] = "succeeded"
            name = job["user_provided_suffix"] or ""
            job["fine_tuned_model"] = f"ft:{job['model']}:test:{name}:{job['id'][6:]}"
            job["finished_at"] = looks
            job["trained_tokens"] = 1000

    def _cancel(self, id: str) -> tuple[int, dict[str, Any]]:
        if self.jobs[id]["status"] in FINAL:
            return refusal(400, None, "Job has already completed")
        self.jobs[id]["status"] = "cancelled"
        return 200, valid(FineTuningJob, self.jobs[id])

    def _events(self, id: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        events = {}
        for look in range(1, self.looks[id] + 1):
            step = {"step": 10 * look, "total_steps": 10 * self.steps, "train_loss": 4.0 / look}
            events[f"e-{look}"] = {
                "id": f"e-{look}",
                "object": "fine_tuning.job.event",
                "created_at": look,
                "level": "info",
                "message": f"Step {10 * look}",
                "type": "metrics" if look > 1 else "message",
                "data": step if look > 1 else {},
            }
        return self._list(events, query, FineTuningJobEvent)

    def _checkpoints(self, id: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        job = self.jobs[id]
        last = 10 * self.steps
        saved = {}
        for step in (last - 20, last - 10, last):
            suffix = "" if step == last else f":ckpt-step-{step}"
            saved[f"c-{step}"] = {
                "id": f"c-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": step,
                "fine_tuned_model_checkpoint": f"{job['fine_tuned_model']}{suffix}",
                "fine_tuning_job_id": id,
                "metrics": {"step": float(step), "train_loss": 1.0},
                "step_number": step,
            }
        return self._list(saved, query, FineTuningJobCheckpoint)

    def _list(
        self, found: dict[str, dict[str, Any]], query: dict[str, str], model: Any
    ) -> tuple[int, dict[str, Any]]:
        shown = [x for x in found.values() if self.shown_from.get(x["id"], 0) <= self.now()]
        shown.reverse()  # the newest first, as the API has it
        if (after := query.get("after")) is not None:
            shown = shown[[x["id"] for x in shown].index(after) + 1 :]
        limit = min(int(query.get("limit", 20)), self.page)
        page = [valid(model, x) for x in shown[:limit]]
        return 200, {"object": "list", "data": page, "has_more": len(shown) > limit}

    # -- ways to it

    def client(self, key: str = KEY) -> openai.OpenAI:
        """The SDK's client, with this server in place of a network."""

        def handle(request: httpx.Request) -> httpx.Response:
            try:
                status, content = self.answer(
                    request.method, str(request.url), request.headers, request.read()
                )
            except LostError:
                raise httpx.ReadError("hung up", request=request) from None
            return httpx.Response(status, json=content)

        return openai.OpenAI(
            api_key=key,
            base_url="http://openai.test/v1",
            http_client=httpx.Client(transport=httpx.MockTransport(handle)),
        )

    def count(self, kind: str) -> int:
        """How often this was asked for."""
        return sum(asked == kind for asked, _ in self.requests)


def valid(model: Any, content: dict[str, Any]) -> dict[str, Any]:
    """The content, which the SDK's model takes without bending anything."""
    model.model_validate(content, strict=True)
    return json.loads(json.dumps(content))


def refusal(status: int, code: str | None, message: str) -> tuple[int, dict[str, Any]]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


@contextmanager
def served(server: JobsServer) -> Iterator[JobsServer]:
    """The server on the loopback, at its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, content = server.answer(self.command, self.path, self.headers, body)
            except LostError:
                self.close_connection = True
                return
            reply = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = _do

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that are killed hang up in mid-request."""

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
