"""A small TCP proxy that cuts replies: what a client meets behind a load balancer that restarts."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class CuttingProxy:
    """Relays one request a connection; of the first reply to a body with `marker` only what `keep` leaves."""

    upstream: tuple[str, int]
    marker: bytes
    keep: Callable[[bytes], bytes]
    listener: socket.socket = field(init=False)
    cut_replies: list[bytes] = field(default_factory=list)
    seen: int = 0
    """Requests with the marker."""

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), client:
                self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        client.settimeout(30)
        request = _whole_message(client)
        if not request:
            return
        with socket.create_connection(self.upstream, 30) as server:
            server.sendall(request)
            reply = _whole_message(server)
        # One request a connection: who is not told so may send the next one while this end is closing.
        reply = reply.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        if self.marker in request:
            self.seen += 1
            if self.seen == 1:
                self.cut_replies.append(reply)
                client.sendall(self.keep(reply))
                return
        client.sendall(reply)


def _whole_message(peer: socket.socket) -> bytes:
    """Head and body, whose end a length or a last chunk tells."""
    message = b""
    while not _is_whole(message):
        part = peer.recv(65536)
        if not part:
            break
        message += part
    return message


def _is_whole(message: bytes) -> bool:
    head, end, body = message.partition(b"\r\n\r\n")
    if not end:
        return False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))


@contextlib.contextmanager
def cutting_proxy(
    upstream: tuple[str, int], marker: bytes, keep: Callable[[bytes], bytes]
) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(upstream, marker, keep)
    thread = threading.Thread(target=proxy.run, name="cutting-proxy")
    thread.start()
    try:
        yield proxy
    finally:
        # A thread in accept() is not woken by close() everywhere; by shutdown() it is.
        with contextlib.suppress(OSError):
            proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        thread.join(30)
