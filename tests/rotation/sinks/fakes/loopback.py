"""A fake service on loopback, in a thread: what all of them share, and the faults that a test can order.

A fake keeps what it holds in `state`. It records the target of each call, never a header or a body.
"""

from __future__ import annotations

import copy
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: tuple[str, ...]
    """Its parts, unquoted each."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any = None
    """JSON; None: no body."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    reply: Reply | None = None
    """Say this, and do nothing."""
    is_dropped: bool = False
    """Say that it is done, and do nothing."""
    is_cut: bool = False
    """Do it, and cut the answer in its middle."""


class FakeService:
    """One fake. A subclass answers; `faults` maps the number of a call, from `arm` on, to what goes wrong with it."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.state: Any = None
        self.calls: list[str] = []
        self.faults: dict[int, Fault] = {}
        self._count = 0
        self.lock = threading.RLock()
        self._tls = tls
        self.url = ""

    def answer(self, asked: Asked) -> Reply:
        raise NotImplementedError

    def stream(self, asked: Asked) -> Iterator[bytes] | Reply | None:
        """Lines, for a call whose answer goes on while things happen, or a refusal; None for the other calls."""
        del asked
        return None

    def snapshot(self) -> Any:
        return copy.deepcopy(self.state)

    def arm(self, faults: Mapping[int, Fault]) -> None:
        self.faults, self._count = dict(faults), 0

    @contextmanager
    def living(self) -> Iterator[Self]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name=type(self).__name__)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(30)
            server.server_close()

    def take(self, asked: Asked, target: str) -> tuple[Reply, bool]:
        """The reply, and whether it is cut."""
        with self.lock:
            self.calls.append(f"{asked.method} {target}")
            self._count += 1
            fault = self.faults.get(self._count, Fault())
            if fault.reply is not None:
                return fault.reply, False
            before = self.snapshot() if fault.is_dropped else None
            reply = self.answer(asked)
            if fault.is_dropped:
                self.state = before
            return reply, fault.is_cut


def _handler(fake: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: two would wait for each other (Nagle, delayed ACK)

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                self.command,
                tuple(unquote(part) for part in parts.path.split("/")[1:]),
                {name: values[-1] for name, values in parse_qs(parts.query).items()},
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            lines = fake.stream(asked)
            if isinstance(lines, Reply):
                self.send_response(lines.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if lines is not None:
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                for line in lines:
                    self.wfile.write(line)
                    self.wfile.flush()
                return
            reply, is_cut = fake.take(asked, self.path)
            body = b"" if reply.body is None else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body) + (50 if is_cut else 0)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
            self.close_connection = self.close_connection or is_cut

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Silence: a log of requests is what the tests look through for secrets."""

    return Handler
