"""A foreign endpoint that says what a test wants it to say, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    action: str
    """Of the Query protocol, or of X-Amz-Target."""
    body: bytes
    headers: dict[str, str]

    def parameter(self, name: str) -> str | None:
        return parse_qs(self.body.decode()).get(name, [None])[0]


def failure(status: int, code: str, message: str = "made for a test") -> Answer:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    return Answer(status, body.encode())


def result(action: str, inside: str) -> Answer:
    return Answer(
        200, f"<{action}Response><{action}Result>{inside}</{action}Result></{action}Response>".encode()
    )


@dataclass
class AnsweringEndpoint:
    answer: Callable[[Asked], Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def actions(self) -> list[str]:
        return [each.action for each in self.asked]


@contextmanager
def answering(answer: Callable[[Asked], Answer]) -> Iterator[AnsweringEndpoint]:
    endpoint = AnsweringEndpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            action = target or parse_qs(body.decode()).get("Action", [""])[0]
            asked = Asked(
                self.command, self.path, action, body, {k.lower(): v for k, v in self.headers.items()}
            )
            endpoint.asked.append(asked)
            answer = endpoint.answer(asked)
            self.send_response_only(answer.status)
            for name, value in {"Date": self.date_time_string(), **answer.headers}.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        do_GET = do_POST = _handle  # noqa: N815 - the library's names

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
            """Tests say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="answering")
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
