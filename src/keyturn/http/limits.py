"""What one connection may cost: the numbers, and uvicorn's HTTP/1.1 protocol held to them.

A request is refused here before it costs memory, and the app runs only for one that has wholly arrived, so it never
sees a refused, half-sent or ambiguous request. Listening, TLS and draining are `server`'s; what a request means is the app's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, NoReturn

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

_log = logging.getLogger("keyturn.http")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. Each bound is one connection's, unless it says otherwise."""

    head_bytes: int = 16 * 1024
    """Request target plus header fields."""
    fields: int = 100
    body_bytes: int = 1024 * 1024
    framing_bytes: int = 64 * 1024
    """What chunk sizes, extensions and line ends may add to a chunked body."""
    all_bodies_bytes: int = 64 * 1024 * 1024
    """Bodies held at once over all connections; a body counts from its 16 KiB on, so that a small one always passes."""
    pipelined: int = 16
    """Whole requests that may wait behind the one being answered; the connection closes after them."""
    connections: int = 10_000
    """Over all; further ones wait in the kernel's queue."""
    head_seconds: float = 5.0
    """From the first byte, or from the opening of the connection; the TLS handshake has as long."""
    body_seconds: float = 10.0
    idle_seconds: float = 60.0
    write_seconds: float = 10.0
    """How long a client may leave an answer unread."""
    linger_seconds: float = 1.0
    """How long a refused client may go on sending, unheard, so that it reads why instead of a reset."""
    linger_bytes: int = 1024 * 1024

    def tick_seconds(self) -> float:
        """How often time is checked: fine enough for the shortest bound, and never a load."""
        shortest = min(
            self.head_seconds, self.body_seconds, self.idle_seconds, self.write_seconds, self.linger_seconds
        )
        return min(max(shortest / 4, 0.01), 0.5)


class Refusal(StrEnum):
    """Why a request or a connection was turned away. The text is all that the client learns."""

    MALFORMED = "not a well-formed HTTP/1.1 request"
    TARGET = "the request target must be a path"
    METHOD = "unknown method"
    VERSION = "HTTP/1.0 or HTTP/1.1 only"
    HOST = "exactly one valid Host header is needed"
    FIELD_NAME = "a header name holds an underscore"
    FRAMING = "a body has one Content-Length or Transfer-Encoding: chunked"
    TRAILERS = "trailers are not taken"
    UPGRADE = "protocol upgrades are not taken"
    EXPECTATION = "the only expectation met is 100-continue"
    HEAD_TOO_LARGE = "request target and headers are too large"
    TOO_MANY_FIELDS = "too many header fields"
    BODY_TOO_LARGE = "request body is too large"
    HEAD_TOO_SLOW = "request head took too long"
    BODY_TOO_SLOW = "request body took too long"
    BODIES_FULL = "too many large bodies at once"
    ANSWER_UNREAD = "the answer was left unread"
    HANDSHAKE_FAILED = "TLS handshake failed"
    CONNECTIONS_FULL = "too many connections"


_STATUS: Final[Mapping[Refusal, HTTPStatus]] = {
    Refusal.METHOD: HTTPStatus.NOT_IMPLEMENTED,
    Refusal.VERSION: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    Refusal.EXPECTATION: HTTPStatus.EXPECTATION_FAILED,
    Refusal.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Refusal.TOO_MANY_FIELDS: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Refusal.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.HEAD_TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Refusal.BODY_TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Refusal.BODIES_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
}


def _answer(refusal: Refusal) -> bytes:
    status = _STATUS.get(refusal, HTTPStatus.BAD_REQUEST)
    # botocore retries a 5xx as an outage only when its body is empty or HTML; other texts it tries to read as XML.
    body = b"" if status >= 500 else refusal.encode() + b"\n"
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: text/plain; charset=utf-8\r\n\r\n" + body


_ANSWERS: Final = {refusal: _answer(refusal) for refusal in Refusal}

_METHODS: Final = {
    method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
}
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding", b"expect")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SMALL_BODY: Final = 16 * 1024
_WRITE_BUFFER: Final = 16 * 1024
_PROGRESS_BYTES: Final = 4 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# Where a connection stands in what it receives.
_BETWEEN: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_LINGERING: Final = 3


class Traffic(ServerState):
    """What the connections of one server share: its limits, and what has been refused and is held."""

    def __init__(self, limits: Limits, refusals: Counter[Refusal]) -> None:
        super().__init__()
        self.limits = limits
        self.refusals = refusals
        self.held_body_bytes = 0
        self.open_connections = 0
        self.draining = False
        self.on_connection_closed: Callable[[], None] = lambda: None


class _StoppedError(Exception):
    """Ends the parser's run from inside one of its callbacks; the refusal is already noted."""


class _Cycle(RequestResponseCycle):
    """One request and its answer. The body has arrived whole before the app runs."""

    taken = False
    head: Any = None  # held until the body comes

    async def send(self, message: Any) -> None:  # uvicorn's event type is private
        """As uvicorn's, with head and body in one write: two are two packets and two system calls."""
        head = self.head
        if head is None:
            if message["type"] == "http.response.start" and not self.response_started:
                self.head = message
            else:
                await super().send(message)
            return
        self.head = None
        if self.flow.write_paused or self.disconnected or not self._send_whole(head, message):
            await super().send(head)
            await super().send(message)

    def _send_whole(self, head: Any, message: Any) -> bool:
        """Write an answer that is whole; False, and nothing is written, if uvicorn has more to look at."""
        if (
            message["type"] != "http.response.body"
            or message.get("more_body")
            or self.scope["method"] == "HEAD"
        ):
            return False
        body = message.get("body", b"")
        names = dict(head["headers"])
        length = names.get(b"content-length")
        if length is None and names.get(b"transfer-encoding") == b"chunked" and body:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif length != b"%d" % len(body) or b"transfer-encoding" in names:
            return False
        fields = [b"%b: %b\r\n" % field for field in self.default_headers + head["headers"]]
        lines = b"".join(fields)
        if b"connection" in names or not lines.count(b"\n") == lines.count(b"\r") == len(fields):
            return False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self.response_started = self.response_complete = True
        self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[head["status"]], lines, close, body))
        self.message_event.set()
        if close:
            self.transport.close()
        self.on_response()
        return True

    async def receive(self) -> Any:
        if not self.taken and not self.disconnected:
            self.taken = True
            body = bytes(self.body)
            self.body = bytearray()
            return {"type": "http.request", "body": body, "more_body": False}
        # uvicorn's own `receive` also resumes reading, which would undo the bound on pipelining.
        if not self.disconnected and not self.response_complete:
            await self.message_event.wait()
        return {"type": "http.disconnect"}


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools (llhttp in strict mode), with every size, count and time bounded.

    Input reaches the parser in pieces no larger than a head may be, so what the parser holds unseen is bounded too.
    Time is a deadline per connection, checked by `check` from one timer for the whole server.
    """

    # CPython shares the keys of an instance's dictionary up to thirty, and uvicorn's own attributes come near that.
    __slots__ = (
        "_began_here",
        "_charged_bytes",
        "_closed",
        "_continue_due",
        "_current",
        "_deadline",
        "_deaf",
        "_discarded_bytes",
        "_known_host",
        "_now",
        "_phase",
        "_piece_bytes",
        "_receiving",
        "_refusal",
        "_unread_bytes",
        "_unread_since",
        "_waiting",
        "_wire_bytes",
        "limits",
        "traffic",
    )

    server_state: Traffic

    def __init__(
        self,
        config: Config,
        server_state: Traffic,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.traffic = server_state
        server_state.open_connections += 1
        self.limits = server_state.limits
        self._now = self.loop.time
        self._piece_bytes = self.limits.head_bytes
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._deaf = False  # no further request is taken from this connection
        self._refusal: Refusal | None = None  # to be sent after the answers that are still due
        self._receiving: _Cycle | None = None
        self._current: _Cycle | None = None  # its answer is due, or was the last
        self._waiting: deque[_Cycle] = deque()  # whole requests behind it
        self._wire_bytes = 0  # of this head or body, in pieces after the one in which it began
        self._began_here = False  # the head or body began in the piece that the parser is reading
        self._charged_bytes = 0
        self._discarded_bytes = 0
        self._continue_due = False
        self._closed = False
        self._known_host: bytes | None = None
        self._unread_bytes = 0
        self._unread_since = 0.0

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's does
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._deadline = self._now() + self.limits.head_seconds
        if self.traffic.draining:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.connections.discard(self)
        self._deaf = True
        self._deadline = math.inf
        self._uncharge()
        for cycle in (self._current, self._receiving, *self._waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._waiting.clear()
        self._receiving = None
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # breaks the circle with the parser's callbacks, as uvicorn does
        self.closed()

    def closed(self) -> None:
        """The connection's place is free again. Says so once, however often it is called."""
        if not self._closed:
            self._closed = True
            self.traffic.open_connections -= 1
            self.traffic.on_connection_closed()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn cuts a client that half-closes
        if self.scheme == "https" or not self._is_answering():
            return None
        self._take_no_more()
        return True

    def shutdown(self) -> None:
        """Answer what has begun, then close. A connection that has not asked yet has a moment to do so."""
        if self._phase in {_HEAD, _BODY}:
            if self._receiving is not None:
                self._receiving.keep_alive = False
        elif self._is_answering():
            self._take_no_more()
        elif self._current is None and not self._deaf:
            self._deadline = min(self._deadline, self._now() + self.limits.linger_seconds / 2)
        elif not self._deaf:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self._current is not None and not self._current.response_complete

    def _take_no_more(self) -> None:
        self._deaf = True
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._receiving = None
        last = self._waiting[-1] if self._waiting else self._current
        assert last is not None
        last.keep_alive = False

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(len(data))
            return
        try:
            if len(data) <= self._piece_bytes:
                self.parser.feed_data(data)
                if self._phase:
                    self._count(len(data))
            else:
                self._feed_in_pieces(memoryview(data))
        except httptools.HttpParserUpgrade:
            self._refuse(Refusal.UPGRADE)
        except httptools.HttpParserError as fault:
            if isinstance(fault, httptools.HttpParserCallbackError) and not self._deaf:
                _log.exception("a fault of ours in reading a request")
            self._refuse(Refusal.MALFORMED)

    def _feed_in_pieces(self, data: memoryview) -> None:
        for start in range(0, len(data), self._piece_bytes):
            piece = data[start : start + self._piece_bytes]
            self.parser.feed_data(piece)
            if self._phase:
                self._count(len(piece))
            if self._deaf:
                return

    def _count(self, piece_bytes: int) -> None:
        """After a piece that left a message unfinished."""
        if self._began_here:
            self._began_here = False
        else:
            self._wire_bytes += piece_bytes
        if self._phase == _HEAD:
            if self._wire_bytes > self.limits.head_bytes:
                self._refuse(Refusal.HEAD_TOO_LARGE)
            elif len(self.headers) > self.limits.fields:
                self._refuse(Refusal.TOO_MANY_FIELDS)
        elif self.headers:
            self._refuse(Refusal.TRAILERS)
        elif self._wire_bytes > self.limits.body_bytes + self.limits.framing_bytes:
            self._refuse(Refusal.BODY_TOO_LARGE)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > self.limits.linger_bytes:
            if self._phase == _LINGERING:
                self.transport.abort()
            else:
                self.flow.pause_reading()

    # -- the parser's callbacks ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiting and len(self._waiting) >= self.limits.pipelined:
            # RFC 9112 §9.3.2: the client asks again for what was not answered.
            self._take_no_more()
        if self._deaf:
            raise _StoppedError
        self.url = b""
        self.headers = []
        self._phase = _HEAD
        self._wire_bytes = 0
        self._began_here = True
        self._deadline = self._now() + self.limits.head_seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser trims the white space before a value and leaves what follows it (RFC 9112 §5.1 excludes both).
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        headers = self.headers
        self.headers = []  # what the parser adds from here on is a trailer
        fields = dict(headers)
        if len(headers) > self.limits.fields:
            self._stop(Refusal.TOO_MANY_FIELDS)
        if (
            not self._began_here
        ):  # else the whole head was in one piece, and a piece is no larger than a head may be
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self.limits.head_bytes:
                self._stop(Refusal.HEAD_TOO_LARGE)
        if b"_" in b"".join(fields):
            # `a_b` and `a-b` are one name to CGI and WSGI, so one of them could speak for the other.
            self._stop(Refusal.FIELD_NAME)
        if len(fields) != len(headers):
            self._check_single(headers)
        method = _METHODS.get(self.parser.get_method())
        if method is None:
            self._stop(Refusal.METHOD)
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._stop(Refusal.VERSION)
        if self.parser.should_upgrade():
            # The parser would take the body for the other protocol's bytes.
            self._stop(Refusal.UPGRADE)
        host = fields.get(b"host")
        if host != self._known_host or host is None:
            self._check_host(host, version)
        path, _, query = self.url.partition(b"?")
        if not path.startswith(b"/") or b"#" in self.url or not self.url.isascii():
            # Absolute form could name another authority than Host; nobody sends it to an origin server.
            self._stop(Refusal.TARGET)
        has_body = self._check_framing(fields, version)
        decoded = path.decode("ascii")
        if b"%" in path:
            decoded = urllib.parse.unquote(decoded)
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": "",
            "headers": headers,
            "state": {},
            "method": method,
            "path": decoded,
            "raw_path": path,
            "query_string": query,
        }
        self._receiving = _Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=version == "1.1" and self.parser.should_keep_alive() and not self.traffic.draining,
            on_response=self.on_response_complete,
        )
        self._phase = _BODY
        self._wire_bytes = 0
        self._began_here = True
        if has_body:
            self._deadline = self._now() + self.limits.body_seconds
        if b"expect" in fields and version == "1.1":
            self._expect(fields[b"expect"], has_body=has_body)

    def on_body(self, body: bytes) -> None:
        assert self._receiving is not None
        held = self._receiving.body
        held += body
        if len(held) > _SMALL_BODY:
            self._charge(len(body) if len(held) - len(body) > _SMALL_BODY else len(held))
            if len(held) > self.limits.body_bytes:
                self._stop(Refusal.BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        if self.headers:
            # They would arrive after the signature's header list was read.
            self._stop(Refusal.TRAILERS)
        cycle = self._receiving
        assert cycle is not None
        self._receiving = None
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._continue_due = False
        cycle.more_body = False
        if not cycle.keep_alive:
            self._deaf = True
        if not self._is_answering():
            self._current = cycle
            self._start_asgi_task(cycle, self.app)
            return
        self._waiting.append(cycle)
        self.flow.pause_reading()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._charged_bytes and self._receiving is None and not self._waiting:
            self._uncharge()
        if self._waiting:
            self._current = self._waiting.popleft()
            self._start_asgi_task(self._current, self.app)
            if not self._waiting and not self._deaf:
                self.flow.resume_reading()
        elif self._refusal is not None:
            self._send_refusal(self._refusal)
        elif self._deaf:
            self.transport.close()
        else:
            self.flow.resume_reading()
            if self._phase == _BETWEEN:
                self._deadline = self._now() + self.limits.idle_seconds
            if self._continue_due:
                self._continue_due = False
                self.transport.write(_CONTINUE)

    # -- what a head must be -------------------------------------------------------------------------------------------

    def _check_single(self, headers: list[tuple[bytes, bytes]]) -> None:
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                self._stop(Refusal.HOST if name == b"host" else Refusal.FRAMING)

    def _check_host(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.1":
                self._stop(Refusal.HOST)  # RFC 9112 §3.2
        elif _HOST.fullmatch(host) is None:
            self._stop(Refusal.HOST)
        else:
            self._known_host = host

    def _check_framing(self, fields: dict[bytes, bytes], version: str) -> bool:
        """Whether a body follows. llhttp refuses most of this too; here it holds whatever the parser's version."""
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if length is not None or version != "1.1" or coding.lower() != b"chunked":
                self._stop(Refusal.FRAMING)  # RFC 9112 §6.1 and §6.3
            return True
        if length is None:
            return False
        if not length.isdigit():
            self._stop(Refusal.FRAMING)
        if len(length) > 19 or int(length) > self.limits.body_bytes:
            self._stop(Refusal.BODY_TOO_LARGE)
        return int(length) > 0

    def _expect(self, expectation: bytes, *, has_body: bool) -> None:
        if expectation.lower() != b"100-continue":
            self._stop(Refusal.EXPECTATION)
        if has_body:
            # Before an answer that is still due, the client would take it for that answer's.
            if self._is_answering():
                self._continue_due = True
            else:
                self.transport.write(_CONTINUE)

    # -- bodies held ---------------------------------------------------------------------------------------------------

    def _charge(self, size: int) -> None:
        self._charged_bytes += size
        self.traffic.held_body_bytes += size
        if self.traffic.held_body_bytes > self.limits.all_bodies_bytes:
            self._stop(Refusal.BODIES_FULL)

    def _uncharge(self) -> None:
        self.traffic.held_body_bytes -= self._charged_bytes
        self._charged_bytes = 0

    # -- refusing ------------------------------------------------------------------------------------------------------

    def _stop(self, refusal: Refusal) -> NoReturn:
        """Refuse from inside a callback of the parser."""
        self._refuse(refusal)
        raise _StoppedError

    def _refuse(self, refusal: Refusal) -> None:
        if self._deaf:
            return
        self._deaf = True
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._receiving = None
        self.traffic.refusals[refusal] += 1
        if self._is_answering():
            # Answers keep the order of the requests, or this one would be taken for another's.
            self._refusal = refusal
            self.flow.pause_reading()
        else:
            self._uncharge()
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        self._phase = _LINGERING
        self._deadline = self._now() + self.limits.linger_seconds
        self.transport.write(_ANSWERS[refusal])
        # Closing with unread bytes resets the connection, and the client would lose the answer (RFC 9112 §9.6).
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # -- time ----------------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Act on what is overdue at `now`, the loop's time."""
        if now >= self._deadline:
            self._deadline = math.inf
            if self._phase == _HEAD:
                self._refuse(Refusal.HEAD_TOO_SLOW)
            elif self._phase == _BODY:
                self._refuse(Refusal.BODY_TOO_SLOW)
            else:
                self.transport.close()
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._unread_bytes = 0
        elif not self._unread_bytes or waiting + _PROGRESS_BYTES <= self._unread_bytes:
            self._unread_bytes = waiting
            self._unread_since = now
        elif now - self._unread_since >= self.limits.write_seconds:
            self.traffic.refusals[Refusal.ANSWER_UNREAD] += 1
            self.transport.abort()
        else:
            self._unread_bytes = max(waiting, self._unread_bytes)
