"""A service that takes keys by webhook, strict as a real one would be: it checks signature, time and repeats."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from keyturn.model.clock import SystemClock

KEY: Final = "a key of at least sixteen bytes"


@dataclass
class Receiver:
    """`held` is what it holds. `say` overrides what it answers: status, headers, body."""

    held: dict[str, Any] = field(default_factory=dict)
    posts: int = 0
    calls: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    say: tuple[int, dict[str, str], bytes] | None = None
    drips: bool = False
    url: str = ""
    seen: dict[str, bytes] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def hold(self, access_key_id: str, secret: bytes) -> None:
        self.held = {
            "access_key_id": access_key_id,
            "fingerprint": hashlib.sha256(access_key_id.encode() + b":" + secret).hexdigest(),
        }
        self.posts += 1

    def answer(self, method: str, _path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        timestamp = headers.get("Keyturn-Timestamp", "")
        expected = hmac.new(KEY.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get("Keyturn-Signature", ""), f"v1={expected}"):
            return 401, b"{}"
        if abs(SystemClock().now_ms() / 1000 - int(timestamp)) > 300:
            return 401, b"{}"
        if method == "GET":
            return (200, json.dumps(self.held).encode()) if self.held else (404, b"")
        repeat = self.seen.setdefault(headers["Idempotency-Key"], body)
        if repeat != body:
            return 422, b"{}"
        said = json.loads(body)
        now = self.held.get("access_key_id")
        if now not in {said.get("expected_access_key_id", now), said["access_key_id"]}:
            return 409, body
        self.hold(said["access_key_id"], said["secret_access_key"].encode())
        return 200, body


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """On a free port of loopback; over TLS if there is a context."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = dict(self.headers.items())
            receiver.calls.append((self.command, self.path, headers, body))
            if receiver.drips:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not receiver.is_over.wait(0.05):
                    try:
                        self.wfile.write(b"X: y\r\n")
                    except OSError:
                        return
                return
            more: dict[str, str] = {}
            if receiver.say is not None:
                status, more, content = receiver.say
            else:
                status, content = receiver.answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle  # noqa: N815 - the names that http.server calls

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that leaves is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        receiver.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
        try:
            yield receiver
        finally:
            receiver.is_over.set()
            server.shutdown()
            thread.join()
