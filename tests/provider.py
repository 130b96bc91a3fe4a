"""A provider of models on the loopback: the part of OpenAI's API that chats need."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

PRICES = {"small": 1e-6, "medium": 1e-5, "large": 1e-4}
PROMPT_TOKENS, ANSWER_TOKENS = 10, 20
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
}
# A token of an answer costs twice that of a prompt.
COST = {name: p * (PROMPT_TOKENS + 2 * ANSWER_TOKENS) for name, p in PRICES.items()}

#: Of tests that call models through LiteLLM.
LITELLM_MARKS = [
    pytest.mark.usefixtures("no_rubbish_for_others"),
    # LiteLLM is imported.
    pytest.mark.slow,
    # LiteLLM's own types, while its router makes a deployment.
    pytest.mark.filterwarnings("ignore:Items? '.*' on TypedDict class"),
    # What it leaves open, see tests/conftest.py.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
#: Of those that read the chunks of streams, too.
STREAM_MARKS = [
    *LITELLM_MARKS,
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*' attribute"),
]


class Server(ThreadingHTTPServer):
    """What was asked, which models fail, break off or wait, and what they reply."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Provider)
        self.asked: list[tuple[str, str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.down: set[str] = set()
        self.breaks: set[str] = set()
        self.replies: dict[str, Any] = {}
        #: Models that answer once this is set.
        self.waiting: set[str] = set()
        self.go_on = threading.Event()
        #: What was embedded, and how.
        self.embedded: list[list[str]] = []
        self.embed: Callable[[str], list[float]] = lambda text: [0.0]


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            self.embed(asked)
            return
        model = asked["model"]
        self.server.asked.append((self.path, model, asked["messages"][-1]["content"]))
        self.server.bodies.append(asked)
        if model in self.server.waiting:
            self.server.go_on.wait(30)
        if asked.get("stream") and model not in self.server.down:
            self.stream(asked)
            return
        if model in self.server.down:
            status, body = 503, {"error": {"message": "overloaded", "type": "server"}}
        else:
            reply = self.server.replies.get(model, f"{model} says hello")
            content = reply(asked) if callable(reply) else reply
            message = {"role": "assistant", "content": content}
            status, body = (
                200,
                {
                    "id": "call",
                    "object": "chat.completion",
                    "created": 0,
                    "model": model,
                    "choices": [
                        {"index": 0, "message": message, "finish_reason": "stop"}
                    ],
                    "usage": USAGE,
                },
            )
        self.reply(status, body)

    def embed(self, asked: dict[str, Any]) -> None:
        self.server.embedded.append(asked["input"])
        if asked["model"] in self.server.down:
            self.reply(503, {"error": {"message": "overloaded", "type": "server"}})
            return
        rows = [
            {"object": "embedding", "index": i, "embedding": self.server.embed(text)}
            for i, text in enumerate(asked["input"])
        ]
        tokens = {"prompt_tokens": len(rows), "total_tokens": len(rows)}
        body = {"object": "list", "data": rows[::-1], "model": asked["model"]}
        self.reply(200, body | {"usage": tokens})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, asked: dict[str, Any]) -> None:
        chunk = {"id": "call", "object": "chat.completion.chunk", "created": 0}
        chunk |= {"model": asked["model"]}
        words = [{"content": f"{word} "} for word in (asked["model"], "says", "hello")]
        choices: list[list[dict[str, Any]]] = [
            [{"index": 0, "delta": word, "finish_reason": None}] for word in words
        ]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        lines = [chunk | {"choices": choice} for choice in choices]
        if (asked.get("stream_options") or {}).get("include_usage"):
            lines.append(chunk | {"choices": [], "usage": USAGE})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        breaks = asked["model"] in self.server.breaks
        for line in [*map(json.dumps, lines[: 2 if breaks else None]), "[DONE]"]:
            if breaks and line == "[DONE]":
                break
            data = f"data: {line}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if not breaks:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@contextmanager
def provide() -> Iterator[Server]:
    """Run a provider in a thread."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join(30)


def describe_models(server: Server) -> dict[str, dict[str, Any]]:
    """How LiteLLM calls each model of a provider."""
    return {
        name: {
            "model": f"openai/{name}",
            "api_base": f"http://127.0.0.1:{server.server_port}/v1",
            "api_key": "none",
            "input_cost_per_token": price,
            "output_cost_per_token": 2 * price,
        }
        for name, price in PRICES.items()
    }
