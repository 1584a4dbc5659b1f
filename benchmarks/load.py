"""Load from a process of its own: raw requests over keep-alive connections, every answer looked at.

One request a connection at a time, the next as soon as the answer is whole. It only sends what it was handed:
signing is `signed_requests`', and what a server spent on the answers is read by `servers`.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, Self, cast

_READ_BYTES = 65536
_PATIENCE_SECONDS = 60.0


class Asked(NamedTuple):
    """A raw request, and what its answer must hold beside the status 200."""

    request: bytes
    answer_holds: bytes


class WrongAnswerError(Exception):
    """A server did not answer what it must: there is nothing to measure."""


class Load:
    """Hands requests to the process that sends them. To be used as a context."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_orders, args=(theirs,), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def hold(self, name: str, asked: Sequence[Asked]) -> None:
        """Keep requests over there under a name, so that a round has to say numbers only."""
        self._pipe.send(("hold", name, list(asked)))
        self._answer()

    def send(self, port: int, name: str, numbers: Sequence[int], *, connections: int) -> float:
        """Send those of the held requests, in that order. Wall seconds; WrongAnswerError for any other answer."""
        self._pipe.send(("send", port, name, list(numbers), connections))
        return cast("float", self._answer())

    def _answer(self) -> object:
        answer = self._pipe.recv()
        if isinstance(answer, WrongAnswerError):
            raise answer
        return answer


# In the other process


@dataclass(slots=True, eq=False)
class _Wire:
    """One connection and the request that is on it."""

    connection: socket.socket
    asked: Asked | None = None
    received: bytes = b""
    head: bytes = b""
    """In lower case, once it is whole."""
    end: bytes | int = 0
    """How the answer ends: after that many bytes, or with those; 0 until its head is whole."""


def _serve_orders(pipe: Connection) -> None:
    held: dict[str, list[Asked]] = {}
    idle: dict[int, list[_Wire]] = {}
    while True:
        match pipe.recv():
            case "hold", name, asked:
                held[name] = asked
                pipe.send(None)
            case "send", port, name, numbers, connections:
                try:
                    pipe.send(_send(idle.setdefault(port, []), port, held[name], iter(numbers), connections))
                except (WrongAnswerError, OSError) as error:
                    pipe.send(WrongAnswerError(f"{name} on port {port}: {error}"))


def _send(
    idle: list[_Wire], port: int, held: Sequence[Asked], numbers: Iterator[int], connections: int
) -> float:
    for wire in idle:
        if _was_closed(wire.connection):
            wire.connection.close()
            wire.connection = _connected(port)
    while len(idle) < connections:
        idle.append(_Wire(_connected(port)))
    began = time.perf_counter()
    busy: dict[int, _Wire] = {}
    with select.epoll() as poll:
        for wire in idle[:connections]:
            if _ask_next(wire, held, numbers):
                busy[wire.connection.fileno()] = wire
                poll.register(wire.connection, select.EPOLLIN)
        while busy:
            ready = poll.poll(_PATIENCE_SECONDS)
            if not ready:
                raise WrongAnswerError(f"{len(busy)} requests were not answered within a minute")
            for number, _ in ready:
                wire = busy[number]
                is_open = _receive(wire)
                if wire.asked is not None and is_open:
                    continue
                if wire.asked is not None:
                    raise WrongAnswerError("a connection was closed in the middle of an answer")
                if not is_open:
                    # HTTP/1.0 servers close behind each answer: a new connection is part of what they cost.
                    poll.unregister(number)
                    del busy[number]
                    wire.connection.close()
                    wire.connection = _connected(port)
                    poll.register(wire.connection, select.EPOLLIN)
                    busy[wire.connection.fileno()] = wire
                if not _ask_next(wire, held, numbers):
                    poll.unregister(wire.connection)
                    del busy[wire.connection.fileno()]
    return time.perf_counter() - began


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # With a timeout Python polls before each call. Who is ready is known here, and the load must not take its own
    # share of a core's caches and memory from the server: it would take most from the fastest.
    connection.settimeout(None)
    return connection


def _was_closed(connection: socket.socket) -> bool:
    """Whether the server gave an idle connection up between two rounds."""
    return bool(select.select([connection], [], [], 0)[0])


def _ask_next(wire: _Wire, held: Sequence[Asked], numbers: Iterator[int]) -> bool:
    number = next(numbers, None)
    if number is None:
        return False
    wire.asked = held[number]
    wire.received = b""
    wire.end = 0
    wire.connection.sendall(wire.asked.request)
    return True


def _receive(wire: _Wire) -> bool:
    """Take in what has come. `asked` becomes None when the answer is whole; False if the server closes."""
    piece = wire.connection.recv(_READ_BYTES)
    wire.received += piece
    answer = wire.received
    if not wire.end:
        head_bytes = answer.find(b"\r\n\r\n") + 4
        if head_bytes < 4:
            return bool(piece)
        wire.head = answer[:head_bytes].lower()
        wire.end = _end(wire.head)
    is_whole = len(answer) >= wire.end if isinstance(wire.end, int) else answer.endswith(wire.end)
    if not is_whole:
        return bool(piece)
    assert wire.asked is not None
    if answer[9:12] != b"200" or answer.find(wire.asked.answer_holds) < 0:
        raise WrongAnswerError(answer[:2000].decode("latin-1"))
    wire.asked = None
    return not (wire.head.startswith(b"http/1.0") or wire.head.find(b"\r\nconnection: close") >= 0)


def _end(head: bytes) -> bytes | int:
    if head.find(b"\r\ntransfer-encoding: chunked") >= 0:
        return b"\r\n0\r\n\r\n"
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise WrongAnswerError("an answer of unknown length: " + head.decode("latin-1"))
    return len(head) + int(rest.partition(b"\r\n")[0])
