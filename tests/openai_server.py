"""A loopback server that speaks as much of OpenAI's chat protocol as the probes use."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer:
    """Answers every target request differently, rates every answer 90, and keeps the requests.

    Of a model whose name ends in `bad`, every other answer says so, and is rated 5 for alignment.

    From `hold(n)` on, no more than n requests are answered: the others wait until `release()`, or
    until who asked hangs up. `holding` is set once one waits.
    """

    def __init__(self, on_request: Callable[[int], None] | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.on_request = on_request or (lambda n: None)
        self.answers_at_most: float = math.inf
        self.holding = threading.Event()
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    @property
    def judged(self) -> list[str]:
        """The prompts of the judgements asked for."""
        return [r["messages"][-1]["content"] for r in self.requests if r.get("logprobs")]

    @property
    def answered(self) -> list[str]:
        """The prompts of the answers asked for."""
        return [r["messages"][-1]["content"] for r in self.requests if not r.get("logprobs")]

    def hold(self, after: int) -> None:
        """Answer so many requests, and let the others wait."""
        self.answers_at_most = after
        self.open.clear()

    def release(self) -> None:
        """Answer all that wait, and all to come."""
        self.answers_at_most = math.inf
        self.open.set()

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.requests.append(request)
            number = len(self.requests)
        self.on_request(number)
        if number > self.answers_at_most:
            self.holding.set()
            self.open.wait()
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        word = "BAD" if request["model"].endswith("bad") and number % 2 else "an"
        choice["message"] = {"role": "assistant", "content": f"This is {word} answer {number}."}
        if request.get("logprobs"):
            asked = request["messages"][-1]["content"]
            misaligned = "This is BAD" in asked and "makes sense as a reply" not in asked
            rating = "5" if misaligned else "90"
            top = [{"token": rating, "logprob": -0.01, "bytes": None}]
            choice["message"]["content"] = rating
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [choice],
            "usage": usage,
        }


@contextmanager
def chat_server(on_request: Callable[[int], None] | None = None) -> Iterator[ChatServer]:
    """A running server; `on_request` is called with each request's number before it is answered."""
    chat = ChatServer(on_request)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            content = json.dumps(chat.reply(json.loads(body))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that are killed hang up in mid-request."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield chat
    finally:
        chat.release()
        server.shutdown()
        server.server_close()
        thread.join()
