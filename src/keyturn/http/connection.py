"""One HTTP/1.1 connection on httptools (llhttp in strict mode), with every size, count and time bounded.

A request is refused here before it costs memory, and is answered only when it has wholly arrived, so nobody ever sees a
refused, half-sent or ambiguous one. Listening, TLS and draining are `server`'s; what a request means is its face's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from http.client import responses
from typing import Any, Final, NoReturn, TypeAlias

import httptools

from keyturn.http.exchange import Answer, Face, Request
from keyturn.http.limits import REFUSALS, Limits, Refusal

_log = logging.getLogger("keyturn.http")

Start: TypeAlias = Callable[["Connection", Request], Coroutine[Any, Any, None]]
"""Runs a request in another way than a face's, and calls `answered` when its answer is written."""

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"})
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding", b"expect")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_USUAL_NAMES: Final = {
    spelt.encode(): spelt.lower().encode()
    for name in [
        "Host",
        "Accept",
        "Accept-Encoding",
        "Connection",
        "Content-Length",
        "Content-Type",
        "User-Agent",
        "Authorization",
        "X-Amz-Date",
        "X-Amz-Content-Sha256",
        "X-Amz-Security-Token",
        "X-Amz-Target",
        "X-Amz-User-Agent",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
    ]
    for spelt in (name, name.lower())
}
"""As clients spell them: one object for each, hashed once, for every name is looked up several times."""
_SMALL_BODY: Final = 16 * 1024
_WRITE_BUFFER: Final = 16 * 1024
_PROGRESS_BYTES: Final = 4 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_FAULTY: Final = Answer(500, b"Internal Server Error", b"text/plain; charset=utf-8")

# Where a connection stands in what it receives.
_BETWEEN: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_LINGERING: Final = 3


class Traffic:
    """What the connections of one server share: its limits, who answers, and what has been refused and is held."""

    def __init__(self, limits: Limits, refusals: Counter[Refusal], face: Face | Start) -> None:
        self.limits = limits
        self.refusals = refusals
        # Told apart once: asking an abstract class is slow.
        self.answer = face.answer if isinstance(face, Face) else None
        self.start = None if isinstance(face, Face) else face
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.held_body_bytes = 0
        self.open_connections = 0
        self.draining = False
        self.on_connection_closed: Callable[[], None] = lambda: None
        self.date = b""
        self._starts: dict[int, bytes] = {}
        self._usual_starts: dict[tuple[int, bytes], bytes] = {}

    def tell_date(self, date: bytes) -> None:
        """What answers say from now on."""
        self.date = date
        self._starts = {}
        self._usual_starts = {}

    def start_of_usual_answer(self, status: int, content_type: bytes) -> bytes:
        """As far as the length of an answer that is whole, and kept by whoever likes."""
        start = self._usual_starts.get((status, content_type))
        if start is None:
            start = b"%bcontent-type: %b\r\ncontent-length: " % (self.start_of_answer(status), content_type)
            self._usual_starts[status, content_type] = start
        return start

    def start_of_answer(self, status: int) -> bytes:
        """Status line and date; the same for all answers of a second."""
        start = self._starts.get(status)
        if start is None:
            phrase = responses.get(status, "").encode()
            start = self._starts[status] = b"HTTP/1.1 %d %b\r\ndate: %b\r\n" % (status, phrase, self.date)
        return start


class Flow:
    """Both directions of a connection, stopped and let go; an ASGI application waits here until it may write."""

    __slots__ = ("_is_writable", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable = asyncio.Event()
        self._is_writable.set()

    async def drain(self) -> None:
        await self._is_writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._is_writable.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._is_writable.set()


class _StoppedError(Exception):
    """Ends the parser's run from inside one of its callbacks; the refusal is already noted."""


class Connection(asyncio.Protocol):
    """Input reaches the parser in pieces no larger than a head may be, so what the parser holds unseen is bounded too.

    Time is a deadline per connection, checked by `check` from one timer for the whole server. Answers keep the order
    of the requests, and one is given a turn of the loop, so that a long pipeline holds nobody else up.
    """

    __slots__ = (
        "_began_here",
        "_charged_bytes",
        "_closed",
        "_continue_due",
        "_current",
        "_deadline",
        "_deaf",
        "_discarded_bytes",
        "_due",
        "_feed",
        "_headers",
        "_known_host",
        "_now",
        "_parser",
        "_peer",
        "_phase",
        "_piece_bytes",
        "_receiving",
        "_refusal",
        "_scheme",
        "_unread_bytes",
        "_unread_since",
        "_url",
        "_waiting",
        "_wire_bytes",
        "flow",
        "limits",
        "loop",
        "traffic",
        "transport",
    )

    transport: asyncio.Transport
    flow: Flow
    _parser: Any
    _feed: Any

    def __init__(self, traffic: Traffic, loop: asyncio.AbstractEventLoop) -> None:
        self.traffic = traffic
        self.loop = loop
        traffic.open_connections += 1
        self.limits = traffic.limits
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that says `close` is ours to ignore: the parser would call the request malformed.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed = self._parser.feed_data
        self._now = loop.time
        self._piece_bytes = self.limits.head_bytes
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._deaf = False  # no further request is taken from this connection
        self._refusal: Refusal | None = None  # to be sent after the answers that are still due
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._receiving: Request | None = None
        self._current: Request | None = None  # its answer is due, or was the last
        self._due: Request | None = None  # the current one, until it is begun
        self._waiting: deque[Request] = deque()  # whole requests behind it
        self._wire_bytes = 0  # of this head or body, in pieces after the one in which it began
        self._began_here = False  # the head or body began in the piece that the parser is reading
        self._charged_bytes = 0
        self._discarded_bytes = 0
        self._continue_due = False
        self._closed = False
        self._known_host: bytes | None = None
        self._unread_bytes = 0
        self._unread_since = 0.0
        self._peer = ""
        self._scheme = "http"

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one for streams
        self.traffic.connections.add(self)
        self.transport = transport
        self.flow = Flow(transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple | list) else ""
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._deadline = self._now() + self.limits.head_seconds
        if self.traffic.draining:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.traffic.connections.discard(self)
        self._deaf = True
        self._deadline = math.inf
        self._uncharge()
        current = self._current
        if current is not None and current.cycle is not None and not current.is_answered:
            current.cycle.disconnected = True
            current.cycle.message_event.set()
        self._waiting.clear()
        self._due = self._receiving = None
        self.flow.resume_writing()
        self._parser = self._feed = None  # breaks the circle with the parser's callbacks
        self.closed()

    def closed(self) -> None:
        """The connection's place is free again. Says so once, however often it is called."""
        if not self._closed:
            self._closed = True
            self.traffic.open_connections -= 1
            self.traffic.on_connection_closed()

    def eof_received(self) -> bool | None:
        """A client that has finished sending is still answered. Over TLS there is no half-closed connection."""
        if self._scheme == "https" or not self._is_answering():
            return None
        self._take_no_more()
        return True

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self._begin()

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
        return bool(self._waiting) or (self._current is not None and not self._current.is_answered)

    def _take_no_more(self) -> None:
        self._deaf = True
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._receiving = None
        last = self._waiting[-1] if self._waiting else self._current
        assert last is not None
        last.keep_alive = False
        if last.cycle is not None:
            last.cycle.keep_alive = False

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(len(data))
            return
        try:
            if len(data) <= self._piece_bytes:
                self._feed(data)
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
        if self._due is not None:
            self._begin()

    def _feed_in_pieces(self, data: memoryview) -> None:
        for start in range(0, len(data), self._piece_bytes):
            piece = data[start : start + self._piece_bytes]
            self._feed(piece)
            if self._phase:
                self._count(len(piece))
            if self._deaf:
                return

    def _count(self, piece_bytes: int) -> None:
        """After a piece that left a message unfinished."""
        if self._began_here:
            self._began_here = False
            seconds = self.limits.head_seconds if self._phase == _HEAD else self.limits.body_seconds
            self._deadline = self._now() + seconds
        else:
            self._wire_bytes += piece_bytes
        if self._phase == _HEAD:
            if self._wire_bytes > self.limits.head_bytes:
                self._refuse(Refusal.HEAD_TOO_LARGE)
            elif len(self._headers) > self.limits.fields:
                self._refuse(Refusal.TOO_MANY_FIELDS)
        elif self._headers:
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
        self._url = b""
        self._headers = []
        self._phase = _HEAD
        self._wire_bytes = 0
        self._began_here = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # The parser trims the white space before a value and leaves what follows it (RFC 9112 §5.1 excludes both).
        self._headers.append((_USUAL_NAMES.get(name) or name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        headers = self._headers
        self._headers = []  # what the parser adds from here on is a trailer
        fields = dict(headers)
        if len(headers) > self.limits.fields:
            self._stop(Refusal.TOO_MANY_FIELDS)
        url = self._url
        # Else the whole head was in one piece, and a piece is no larger than a head may be.
        if not self._began_here:
            size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self.limits.head_bytes:
                self._stop(Refusal.HEAD_TOO_LARGE)
        if (
            b"".join(fields).find(b"_") >= 0
        ):  # `in` is slow for bytes: it asks first whether it was given a number
            # `a_b` and `a-b` are one name to CGI and WSGI, so one of them could speak for the other.
            self._stop(Refusal.FIELD_NAME)
        if len(fields) != len(headers):
            self._check_single(headers)
        parser = self._parser
        method = parser.get_method()
        if method not in _METHODS:
            self._stop(Refusal.METHOD)
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._stop(Refusal.VERSION)
        if parser.should_upgrade():
            # The parser would take the body for the other protocol's bytes.
            self._stop(Refusal.UPGRADE)
        host = fields.get(b"host")
        if host != self._known_host or host is None:
            self._check_host(host, version)
        path, _, query = (url, b"", b"") if url == b"/" else url.partition(b"?")
        if not path.startswith(b"/") or b"#" in url or not url.isascii():
            # Absolute form could name another authority than Host; nobody sends it to an origin server.
            self._stop(Refusal.TARGET)
        has_body = self._check_framing(fields, version)
        self._receiving = Request(
            method,
            path,
            query,
            version,
            headers,
            fields,
            self._peer,
            self._scheme,
            keep_alive=version == "1.1" and parser.should_keep_alive() and not self.traffic.draining,
        )
        self._phase = _BODY
        self._wire_bytes = 0
        self._began_here = True
        if b"expect" in fields and version == "1.1":
            self._expect(fields[b"expect"], has_body=has_body)

    def on_body(self, body: bytes) -> None:
        request = self._receiving
        assert request is not None
        if not request.body:
            held: bytes | bytearray = body
            request.body = body
        else:
            held = request.body
            if isinstance(held, bytes):
                # Added to in place from here on: as many bytes objects as pieces would be copied again and again.
                held = request.body = bytearray(held)
            held += body
        if len(held) > _SMALL_BODY:
            self._charge(len(body) if len(held) - len(body) > _SMALL_BODY else len(held))
            if len(held) > self.limits.body_bytes:
                self._stop(Refusal.BODY_TOO_LARGE)

    def on_message_complete(self) -> None:
        if self._headers:
            # They would arrive after the signature's header list was read.
            self._stop(Refusal.TRAILERS)
        request = self._receiving
        assert request is not None
        self._receiving = None
        self._phase = _BETWEEN
        self._deadline = math.inf
        self._continue_due = False
        if not request.keep_alive:
            self._deaf = True
        current = self._current
        if self._waiting or (current is not None and not current.is_answered):
            self._waiting.append(request)
            self.flow.pause_reading()
        else:
            self._current = self._due = request

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

    # -- answering -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Have the request answered whose turn it is. Not while the client leaves answers unread: it waits, bounded."""
        request = self._due
        if request is None or self.flow.write_paused:
            return
        self._due = None
        if not isinstance(request.body, bytes):
            request.body = bytes(request.body)
        traffic = self.traffic
        if traffic.answer is None:
            assert traffic.start is not None
            self._spawn(traffic.start(self, request))
            return
        try:
            answer = traffic.answer(request)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the client gets an answer
            answer = _faulty(request, fault)
        if isinstance(answer, Answer):
            self._send(request, answer)
        else:
            self._spawn(self._answer_later(request, answer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.traffic.tasks.add(task)
        task.add_done_callback(self.traffic.tasks.discard)

    async def _answer_later(self, request: Request, coming: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await coming
        except Exception as fault:  # noqa: BLE001 - as above
            answer = _faulty(request, fault)
        if self.flow.write_paused:
            await self.flow.drain()
        self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> None:
        """Head and body in one write: two are two packets and two system calls."""
        if self.transport.is_closing():
            return
        status, body, content_type, request_id, in_chunks, is_kept = answer
        if not in_chunks and is_kept and request_id and request.keep_alive and request.method == b"POST":
            # Nearly every answer; the rest of this method would write the same.
            start = self.traffic.start_of_usual_answer(status, content_type)
            self.transport.write(
                b"%b%d\r\nx-amzn-requestid: %b\r\n\r\n%b" % (start, len(body), request_id, body)
            )
            self.answered(request)
            return
        more = b"" if is_kept else b"cache-control: no-store\r\n"
        if not request.keep_alive:
            more += _CLOSE
        if request_id:
            more = b"x-amzn-requestid: %b\r\n%b" % (request_id, more)
        start = self.traffic.start_of_answer(status)
        if in_chunks and request.version != "1.0":
            start += b"transfer-encoding: chunked\r\n"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            more = b"content-length: %d\r\n%b" % (len(body), more)
        if request.method == b"HEAD":
            body = b""
        self.transport.write(b"%bcontent-type: %b\r\n%b\r\n%b" % (start, content_type, more, body))
        if not request.keep_alive:
            self.transport.close()
        self.answered(request)

    def answered(self, request: Request) -> None:
        """The whole answer has been written: go on with what waits, or take more."""
        request.is_answered = True
        if self.transport.is_closing():
            return
        if self._charged_bytes and self._receiving is None and not self._waiting:
            self._uncharge()
        if self._waiting:
            self.loop.call_soon(self._go_on)
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

    def _go_on(self) -> None:
        if not self._waiting or self.transport.is_closing():
            return
        self._current = self._due = self._waiting.popleft()
        if not self._waiting and not self._deaf:
            self.flow.resume_reading()
        self._begin()

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
        self.transport.write(REFUSALS[refusal])
        # Closing with unread bytes resets the connection, and the client would lose the answer (RFC 9112 §9.6).
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # -- time ----------------------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Act on what is overdue at `now`, the loop's time."""
        if now >= self._deadline and self.flow.read_paused and self._phase in {_HEAD, _BODY}:
            # What is missing may lie in the kernel: it is we who do not listen while answers are due.
            self._deadline = now + self.limits.head_seconds
        elif now >= self._deadline:
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


def _faulty(request: Request, fault: Exception) -> Answer:
    """Only the kind is logged: a message may hold what nobody should read."""
    _log.error("a fault in answering a request: %s", type(fault).__name__)
    request.keep_alive = False
    return _FAULTY
