"""What the server bounds, refuses and promises, seen through raw sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import re
import socket
import ssl
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.http.exchange import Answer as Answered
from keyturn.http.exchange import Face, Request
from keyturn.http.forwarded import networks
from keyturn.http.limits import Limits, Refusal
from keyturn.http.server import Message, check_exposure, new_event_loop, run_server, tls_context
from keyturn.model.errors import KeyturnError

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
MARK = b"s3cr3t-m4rk"
MIB = 1024 * 1024


class HeldClock:
    def now_ms(self) -> int:
        return 1_770_806_438_000

    def monotonic(self) -> float:
        return 0.0


class Noted(Counter[Refusal]):
    """Refusals that a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __setitem__(self, refusal: Refusal, count: int) -> None:
        super().__setitem__(refusal, count)
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, refusal: Refusal) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self[refusal], PATIENCE), f"never refused: {refusal}"


@dataclass
class Echo:
    """Answers with what it was given; some paths do more."""

    calls: list[str] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    after_body: list[str] = field(default_factory=list)

    async def __call__(
        self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]
    ) -> None:
        self.calls.append(scope["raw_path"].decode())
        request = await receive()
        assert request["type"] == "http.request"
        assert request["more_body"] is False
        self.entered.set()
        try:
            if scope["path"] == "/hold":
                await self.may_answer.wait()
            if scope["path"] == "/until-gone":
                self.after_body.append((await receive())["type"])
                return
            if scope["path"] == "/fault":
                raise ValueError(MARK.decode())
            if scope["path"] == "/large":
                await send(
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [(b"content-length", b"67108864")],
                    }
                )
                for part in range(1024):
                    await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": part < 1023})
                return
            seen = {
                "method": scope["method"],
                "http_version": scope["http_version"],
                "scheme": scope["scheme"],
                "path": scope["path"],
                "raw_path": scope["raw_path"].decode(),
                "query_string": scope["query_string"].decode(),
                "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
                "client": scope["client"][0],
                "body": request["body"].decode("latin-1"),
            }
            body = json.dumps(seen).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            self.ended.set()


class DirectEcho(Face):
    """The same without ASGI: at once where it can, in a task where it must wait."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def answer(self, request: Request, /) -> Answered | Coroutine[Any, Any, Answered]:
        self._echo.calls.append(request.path.decode())
        self._echo.entered.set()
        if request.path == b"/fault":
            raise ValueError(MARK.decode())
        if request.path == b"/large":
            self._echo.ended.set()
            return Answered(200, b"x" * 64 * MIB)
        answer = Answered(200, json.dumps(self._seen(request)).encode())
        return self._held(answer) if request.path == b"/hold" else answer

    async def _held(self, answer: Answered) -> Answered:
        await self._echo.may_answer.wait()
        return answer

    @staticmethod
    def _seen(request: Request) -> dict[str, object]:
        assert isinstance(request.body, bytes)
        return {
            "method": request.method.decode(),
            "http_version": request.version,
            "scheme": request.scheme,
            "path": urllib.parse.unquote(request.path.decode()),
            "raw_path": request.path.decode(),
            "query_string": request.query.decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers],
            "client": request.client,
            "body": request.body.decode("latin-1"),
        }


FACES: dict[str, Callable[[Echo], Any]] = {"direct": DirectEcho, "asgi": lambda echo: echo}
chosen_face = "direct"


@pytest.fixture(scope="module", autouse=True, params=list(FACES))
def face(request: pytest.FixtureRequest) -> str:
    """Every promise holds for both kinds of face."""
    global chosen_face  # noqa: PLW0603 - servers are started in many places, and all of them must ask
    chosen_face = str(request.param)
    return chosen_face


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        assert self.status == 200, (self.status, self.body)
        seen: dict[str, Any] = json.loads(self.body)
        return seen


class Client:
    """One connection, and the bytes as they come."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self._left = b""

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def _more(self) -> bool:
        got = self.socket.recv(65536)
        self._left += got
        return bool(got)

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self._left:
            assert self._more(), f"closed without an answer: {self._left!r}"
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        while len(self._left) < length:
            assert self._more(), "closed inside an answer"
        body, self._left = self._left[:length], self._left[length:]
        assert MARK not in head + body, "something of the request came back"
        return Answer(int(status.split()[1]), headers, body)

    def ask(self, *parts: bytes) -> Answer:
        self.send(*parts)
        return self.answer()

    def is_closed(self) -> bool:
        """Waits for the end. False if something came instead."""
        try:
            return not self._left and not self._more()
        except ConnectionError:
            return True

    def refused(self, *parts: bytes) -> Answer:
        """What came back, the connection having been closed after it."""
        answer = self.ask(*parts)
        assert answer.headers["connection"] == "close"
        assert "server" not in answer.headers
        assert self.is_closed()
        return answer


@dataclass
class Served:
    port: int
    echo: Echo
    refusals: Noted
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Event
    clients: list[Client]

    def connect(self, *, receive_buffer: int | None = None, send_buffer: int | None = None) -> Client:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        client = Client(connection)
        self.clients.append(client)
        connection.connect(("127.0.0.1", self.port))
        return client

    def ask_to_stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)

    def has_stopped(self) -> bool:
        self.thread.join(PATIENCE)
        return not self.thread.is_alive()


LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@contextmanager
def served(
    limits: Limits | None = None,
    *,
    tls: tuple[Path, Path] | None = None,
    drain_seconds: float = 5.0,
    host: str = "127.0.0.1",
    loop_factory: LoopFactory = new_event_loop,
) -> Iterator[Served]:
    echo, refusals, clients = Echo(), Noted(), list[Client]()
    started: queue.Queue[Served | BaseException] = queue.Queue()

    async def main() -> None:
        stop = asyncio.Event()

        def on_listening(_host: str, port: int) -> None:
            started.put(
                Served(
                    port,
                    echo,
                    refusals,
                    asyncio.get_running_loop(),
                    threading.current_thread(),
                    stop,
                    clients,
                )
            )

        await run_server(
            FACES[chosen_face](echo),
            host=host,
            port=0,
            on_listening=on_listening,
            stop=stop,
            tls_cert=tls[0] if tls else None,
            tls_key=tls[1] if tls else None,
            limits=limits,
            refusals=refusals,
            drain_seconds=drain_seconds,
            clock=HeldClock(),
        )

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(main())
        except BaseException as fault:  # noqa: BLE001  # handed to the test's own thread
            started.put(fault)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    server = started.get(timeout=PATIENCE)
    if isinstance(server, BaseException):
        thread.join(PATIENCE)
        raise server
    try:
        yield server
    finally:
        for client in clients:
            client.socket.close()
        if thread.is_alive():
            server.loop.call_soon_threadsafe(echo.may_answer.set)
            with suppress(RuntimeError):  # it has stopped meanwhile
                server.ask_to_stop()
            assert server.has_stopped()
        assert started.empty(), started.get_nowait()


@pytest.fixture(scope="module")
def shared(face: str) -> Iterator[Served]:  # noqa: ARG001 - one for each
    with served() as server:
        yield server


@pytest.fixture
def server(shared: Served) -> Iterator[Served]:
    """One server with the real limits; what it saw before is forgotten."""
    shared.echo.calls.clear()
    shared.refusals.clear()
    yield shared
    while shared.clients:
        shared.clients.pop().socket.close()


@pytest.fixture(params=[new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    factory: LoopFactory = request.param
    return factory


# -- what an app is given ----------------------------------------------------------------------------------------------


def test_the_app_sees_the_target_as_it_was_sent(server: Served) -> None:
    seen = server.connect().ask(b"GET /a//b/../c%2Fd%41?b=%2f&a+b=&a HTTP/1.1\r\nHost: a\r\n\r\n").seen
    assert seen["raw_path"] == "/a//b/../c%2Fd%41"
    assert seen["query_string"] == "b=%2f&a+b=&a"
    assert seen["path"] == "/a//b/../c/dA"


def test_a_target_that_looks_like_an_authority_is_a_path(server: Served) -> None:
    assert (
        server.connect().ask(b"GET //evil.example/x HTTP/1.1\r\nHost: a\r\n\r\n").seen["raw_path"]
        == "//evil.example/x"
    )


def test_the_app_sees_header_fields_in_order_with_lower_case_names_and_every_repetition(
    server: Served,
) -> None:
    answer = server.connect().ask(
        GET, b"X-Amz-Meta:  a  b \t\r\nx-amz-meta:c\r\nX-Empty:\r\nX-Raw: \xe9\r\n\r\n"
    )
    assert answer.seen["headers"] == [
        ["host", "a"],
        ["x-amz-meta", "a  b"],
        ["x-amz-meta", "c"],
        ["x-empty", ""],
        ["x-raw", "\xe9"],
    ]


def test_the_app_gets_a_body_whole_however_it_was_cut(server: Served) -> None:
    client = server.connect()
    assert client.ask(POST, b"Content-Length: 11\r\n\r\n", b"Action", b"=List").seen["body"] == "Action=List"
    chunked = POST + b"Transfer-Encoding: Chunked\r\n\r\n6;a=b\r\nAction\r\n5\r\n=List\r\n0\r\n\r\n"
    assert client.ask(chunked).seen["body"] == "Action=List"
    assert client.ask(POST, b"Content-Length: 0\r\n\r\n").seen["body"] == ""


def test_a_body_of_exactly_one_mebibyte_arrives(server: Served) -> None:
    body = b"k" * 1024 * 1024
    client = server.connect()
    for _ in range(3):
        assert len(client.ask(POST, b"Content-Length: %d\r\n\r\n" % len(body), body).seen["body"]) == len(
            body
        )
    assert len(
        client.ask(POST, b"Transfer-Encoding: chunked\r\n\r\n100000\r\n", body, b"\r\n0\r\n\r\n").seen["body"]
    ) == len(body)


def test_a_head_of_nearly_sixteen_kibibytes_and_a_hundred_fields_arrives(server: Served) -> None:
    fields = b"".join(b"x-%d: %s\r\n" % (number, b"v" * 152) for number in range(99))
    assert 15 * 1024 < len(GET + fields) <= 16 * 1024
    client = server.connect()
    assert len(client.ask(GET, fields, b"\r\n").seen["headers"]) == 100
    assert len(client.ask((GET + fields + b"\r\n") * 2).seen["headers"]) == 100
    assert len(client.answer().seen["headers"]) == 100


def test_answers_tell_the_clock_and_not_the_server(server: Served) -> None:
    headers = server.connect().ask(GET, b"\r\n").headers
    assert headers["date"] == "Wed, 11 Feb 2026 10:40:38 GMT"
    assert "server" not in headers


def test_a_connection_serves_many_requests(server: Served) -> None:
    client = server.connect()
    for number in range(50):
        assert client.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number).seen["raw_path"] == f"/{number}"


def test_a_client_that_says_close_is_closed_on_and_nothing_after_is_heard(server: Served) -> None:
    client = server.connect()
    answer = client.ask(GET, b"Connection: close\r\n\r\n", b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.headers["connection"] == "close"
    assert client.is_closed()
    assert server.echo.calls == ["/"]


def test_http_1_0_is_answered_without_a_host_and_closed(server: Served) -> None:
    client = server.connect()
    assert client.ask(b"GET / HTTP/1.0\r\n\r\n").seen["http_version"] == "1.0"
    assert client.is_closed()


def test_a_client_that_has_finished_sending_is_still_answered(loop_factory: LoopFactory) -> None:
    with served(loop_factory=loop_factory) as server:
        client = server.connect()
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        client.socket.shutdown(socket.SHUT_WR)
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        assert client.answer().seen["raw_path"] == "/hold"
        assert client.is_closed()


def test_an_app_learns_that_its_client_is_gone(loop_factory: LoopFactory, face: str) -> None:
    if face == "direct":
        pytest.skip("a direct face answers in one piece and is not told")
    with served(loop_factory=loop_factory) as server:
        client = server.connect()
        client.send(b"GET /until-gone HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        # A reset, for an orderly end of sending may still want its answer.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        assert server.echo.ended.wait(PATIENCE)
        assert server.echo.after_body == ["http.disconnect"]


def test_a_fault_in_the_app_answers_500_and_tells_nothing(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        answer = server.connect().refused(b"GET /fault HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


# -- expectations and pipelining -----------------------------------------------------------------------------------------


def test_a_client_that_expects_to_be_told_to_continue_is_told_before_its_body(server: Served) -> None:
    client = server.connect()
    head = POST + b"Content-Length: 4\r\nExpect: 100-Continue\r\n\r\n"
    assert client.ask(head).status == 100
    assert client.ask(b"body").seen["body"] == "body"


def test_nobody_is_told_to_continue_with_a_body_that_is_too_large(server: Served) -> None:
    head = POST + b"Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n"
    assert server.connect().refused(head).status == 413


def test_the_word_to_continue_waits_for_the_answer_before_it(server: Served) -> None:
    client = server.connect()
    head = POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    assert client.ask(GET + b"\r\n" + head).seen["method"] == "GET"
    assert client.answer().status == 100
    assert client.ask(b"body").seen["body"] == "body"


def test_another_expectation_is_refused(server: Served) -> None:
    answer = server.connect().refused(POST, b"Content-Length: 4\r\nExpect: " + MARK + b"\r\n\r\n")
    assert answer.status == 417
    assert server.refusals == {Refusal.EXPECTATION: 1}


def test_pipelined_requests_are_answered_in_order(loop_factory: LoopFactory) -> None:
    with served(loop_factory=loop_factory) as server:
        client = server.connect()
        for _ in range(3):
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(17)))
            answers = [client.answer() for _ in range(17)]
            assert [answer.seen["raw_path"] for answer in answers] == [f"/{number}" for number in range(17)]


def test_a_pipeline_is_bounded_and_what_was_taken_is_answered(server: Served) -> None:
    client = server.connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5000)))
    answers = [client.answer() for _ in range(17)]
    assert [answer.seen["raw_path"] for answer in answers] == [f"/{number}" for number in range(17)]
    assert answers[-1].headers["connection"] == "close"
    assert client.is_closed()
    assert len(server.echo.calls) == 17


def test_no_answer_is_begun_while_one_before_it_is_unread() -> None:
    with served() as server:
        client = server.connect(receive_buffer=4096)
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        beside = server.connect()
        assert [beside.ask(GET, b"\r\n").status for _ in range(3)] == [200, 200, 200]
        assert "/second" not in server.echo.calls


def test_the_answer_to_head_has_a_length_and_no_body(server: Served) -> None:
    client = server.connect()
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.socket.recv(65536)
    assert re.search(rb"\r\ncontent-length: [1-9]", answer)
    assert client.ask(GET, b"\r\n").status == 200


def test_a_refusal_waits_for_the_answers_before_it(server: Served) -> None:
    client = server.connect()
    client.send(GET + b"\r\n" + GET + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n" + GET + b"\r\n")
    assert [client.answer().status for _ in range(3)] == [200, 200, 400]
    assert client.is_closed()
    assert server.refusals == {Refusal.HOST: 1}


# -- heads that are refused ----------------------------------------------------------------------------------------------

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "refusal"),
    [
        pytest.param(GET + b"Host: b\r\n\r\n", Refusal.HOST, id="two Hosts"),
        pytest.param(GET + b"hOST: a\r\n\r\n", Refusal.HOST, id="the same Host twice"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", Refusal.HOST, id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Refusal.HOST, id="empty Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Refusal.HOST, id="list of Hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal.HOST, id="path in Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Refusal.HOST, id="user in Host"),
        pytest.param(GET + b"x_amz_date: 1\r\n\r\n", Refusal.FIELD_NAME, id="underscore"),
        pytest.param(GET + b"X: a\x00b\r\n\r\n", Refusal.MALFORMED, id="NUL"),
        pytest.param(GET + b"X: a\x01b\r\n\r\n", Refusal.MALFORMED, id="control byte"),
        pytest.param(GET + b"X: a\x7fb\r\n\r\n", Refusal.MALFORMED, id="DEL"),
        pytest.param(GET + b"X: a\rb\r\n\r\n", Refusal.MALFORMED, id="CR in a value"),
        pytest.param(GET + b"X: a\nY: b\r\n\r\n", Refusal.MALFORMED, id="LF in a value"),
        pytest.param(GET + b"X: a\r\n b\r\n\r\n", Refusal.MALFORMED, id="obs-fold"),
        pytest.param(GET + b"X:\r\n\tb\r\n\r\n", Refusal.MALFORMED, id="obs-fold of an empty value"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", Refusal.MALFORMED, id="LF only"),
        pytest.param(GET + b"\n", Refusal.MALFORMED, id="LF ends the head"),
        pytest.param(GET + b"X : a\r\n\r\n", Refusal.MALFORMED, id="space before colon"),
        pytest.param(GET + b" X: a\r\n\r\n", Refusal.MALFORMED, id="space before a name"),
        pytest.param(GET + b": a\r\n\r\n", Refusal.MALFORMED, id="no name"),
        pytest.param(GET + b"X\r\n\r\n", Refusal.MALFORMED, id="no colon"),
        pytest.param(GET + b"X\xe9: a\r\n\r\n", Refusal.MALFORMED, id="non-ASCII name"),
        pytest.param(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.TARGET, id="absolute form"),
        pytest.param(
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.TARGET, id="absolute form, same host"
        ),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.TARGET, id="asterisk form"),
        pytest.param(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.TARGET, id="fragment"),
        pytest.param(b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.TARGET, id="fragment after a query"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.MALFORMED, id="space in the target"),
        pytest.param(
            b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.MALFORMED, id="raw UTF-8 in the target"
        ),
        pytest.param(b"GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.MALFORMED, id="NUL in the target"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.METHOD, id="CONNECT"),
        pytest.param(b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.METHOD, id="other method"),
        pytest.param(b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal.MALFORMED, id="lower-case method"),
        pytest.param(b"GET /\r\n\r\n", Refusal.VERSION, id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal.VERSION, id="HTTP/2.0"),
        pytest.param(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal.MALFORMED, id="HTTP/1.2"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal.MALFORMED, id="HTTP/2 preface"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Refusal.MALFORMED, id="TLS"),
        pytest.param(
            GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
            Refusal.UPGRADE,
            id="websocket",
        ),
        pytest.param(
            POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na",
            Refusal.UPGRADE,
            id="h2c",
        ),
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_refused(
    server: Served, request_bytes: bytes, refusal: Refusal
) -> None:
    answer = server.connect().refused(request_bytes)
    assert answer.status == {Refusal.METHOD: 501, Refusal.VERSION: 505}.get(refusal, 400)
    assert server.refusals == {refusal: 1}
    assert server.echo.calls == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", id="CL.TE"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n", id="TE.CL"),
        pytest.param(CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", id="TE.TE"),
        pytest.param(CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked twice"),
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, chunked"),
        pytest.param(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="chunked, identity"),
        pytest.param(POST + b"Transfer-Encoding: identity\r\n\r\n", id="identity"),
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', id="quoted chunked"),
        pytest.param(POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", id="vertical tab"),
        pytest.param(POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", id="space before colon"),
        pytest.param(POST + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="folded away"),
        pytest.param(
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="HTTP/1.0 chunked"
        ),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", id="two lengths"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two different lengths"),
        pytest.param(POST + b"Content-Length: 1, 1\r\n\r\na", id="list of lengths"),
        pytest.param(POST + b"Content-Length: +1\r\n\r\na", id="signed length"),
        pytest.param(POST + b"Content-Length: 0x1\r\n\r\na", id="hexadecimal length"),
        pytest.param(POST + b"Content-Length: 1 1\r\n\r\na", id="space in a length"),
        pytest.param(POST + b"Content-Length:\r\n\r\n", id="empty length"),
        pytest.param(POST + b"Content-Length: 18446744073709551617\r\n\r\na", id="length that wraps"),
        pytest.param(CHUNKED + b"\r\n0x1\r\nX\r\n0\r\n\r\n", id="hexadecimal prefix of a chunk"),
        pytest.param(CHUNKED + b"\r\n-1\r\nX\r\n0\r\n\r\n", id="negative chunk"),
        pytest.param(CHUNKED + b"\r\n1 \r\nX\r\n0\r\n\r\n", id="space after a chunk size"),
        pytest.param(CHUNKED + b"\r\n10000000000000001\r\nX\r\n0\r\n\r\n", id="chunk size that wraps"),
        pytest.param(CHUNKED + b"\r\n1\r\nXX\r\n0\r\n\r\n", id="longer chunk than it says"),
        pytest.param(CHUNKED + b"\r\n1\nX\n0\n\n", id="LF-only chunks"),
        pytest.param(CHUNKED + b"\r\n1;a\nX\r\n0\r\n\r\n", id="LF-only chunk extension"),
        pytest.param(CHUNKED + b"\r\n1\r\nX\r\n0\r\nHost: b\r\n\r\n", id="trailer"),
        pytest.param(CHUNKED + b"\r\n0\r\nAuthorization: x\r\n", id="unfinished trailer"),
    ],
)
def test_a_body_of_doubtful_length_smuggles_nothing(server: Served, request_bytes: bytes) -> None:
    answer = server.connect().refused(request_bytes, SMUGGLED)
    assert answer.status == 400
    assert server.echo.calls == []
    assert server.refusals.total() == 1


# -- sizes ---------------------------------------------------------------------------------------------------------------


def sent_before_the_end(client: Client, head: bytes, filler: bytes, most: int) -> int:
    """Send `filler` again and again until the other side has had enough."""
    sent = 0
    with suppress(ConnectionError):
        client.send(head)
        while sent < most:
            client.send(filler)
            sent += len(filler)
    return sent


def resident_kib() -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1])


@pytest.mark.parametrize(
    ("head", "filler", "status"),
    [
        pytest.param(GET, b"x-filler: %s\r\n" % (b"v" * 8000) * 8, 431, id="large headers"),
        pytest.param(GET, b"a:\r\n" * 16384, 431, id="tiny headers"),
        pytest.param(GET + b"x: ", b"v" * 65536, 431, id="one endless header"),
        pytest.param(GET + b"x:", b" " * 65536, 431, id="endless white space"),
        pytest.param(GET, b"n" * 65536, 431, id="endless header name"),
        pytest.param(b"GET /", b"t" * 65536, 431, id="endless target"),
        pytest.param(b"GET ", b" " * 65536, 431, id="endless space before the target"),
        pytest.param(CHUNKED + b"\r\n", b"10000\r\n%s\r\n" % (b"c" * 65536), 413, id="endless chunks"),
        pytest.param(CHUNKED + b"\r\n", b"1\r\nc\r\n" * 10000, 413, id="tiny chunks"),
        pytest.param(CHUNKED + b"\r\n1;", b"e" * 65536, 413, id="endless chunk extension"),
        pytest.param(CHUNKED + b"\r\n", b"0" * 65536, 413, id="endless chunk size"),
        pytest.param(CHUNKED + b"\r\n0\r\n", b"t" * 65536, 413, id="endless trailer name"),
        pytest.param(CHUNKED + b"\r\n0\r\n", b"a:\r\n" * 16384, 400, id="many trailers"),
        pytest.param(POST + b"Content-Length: 52428800\r\n\r\n", b"b" * 65536, 413, id="large body"),
    ],
)
def test_fifty_megabytes_are_refused_before_they_cost_memory(
    server: Served, head: bytes, filler: bytes, status: int
) -> None:
    client = server.connect(send_buffer=65536)
    before = resident_kib()
    sent = sent_before_the_end(client, head, filler, 50 * MIB)
    assert sent < 12 * MIB, "what the kernel's buffers hold may be sent, and no more"
    assert resident_kib() - before < 8 * 1024
    assert server.echo.calls == []
    assert server.refusals.total() == 1
    # The reset may overtake the answer where the client never listened.
    with suppress(ConnectionError, AssertionError):
        assert client.answer().status == status


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET + b"x: %s\r\n" % (b"v" * 16384), 431),
        (GET + b"".join(b"x%d: %s\r\n" % (number, b"v" * 400) for number in range(60)), 431),
        (b"GET /%s HTTP/1.1\r\nHost: a\r\n" % (b"t" * 16384), 431),
        (GET + b"x:\r\n" * 100, 431),
        (POST + b"Content-Length: 1048577\r\n", 413),
        (POST + b"Content-Length: 9223372036854775807\r\n", 413),
    ],
)
def test_a_client_that_listens_is_told_what_was_too_large(server: Served, head: bytes, status: int) -> None:
    assert server.connect().refused(head, b"\r\n").status == status
    assert server.echo.calls == []


def test_a_head_in_many_small_pieces_is_held_to_the_same_size(server: Served) -> None:
    client = server.connect()
    client.send(GET)
    for number in range(33):
        client.send(b"x-%d: %s\r\n" % (number, b"v" * 512))
    assert client.refused(b"\r\n").status == 431


def test_a_large_upload_reads_its_refusal_and_not_a_reset(server: Served) -> None:
    client = server.connect()
    client.send(POST, b"Content-Length: 1500000\r\n\r\n", b"b" * 900_000)
    assert client.answer().status == 413
    assert client.is_closed()


def test_large_bodies_are_bounded_over_all_connections_and_small_ones_pass() -> None:
    with served(Limits(all_bodies_bytes=100_000)) as server:
        holder = server.connect()
        holder.send(POST, b"Content-Length: 60000\r\n\r\n", b"b" * 59_999)
        # The holder's bytes have arrived when a whole exchange behind them on the same loop is refused.
        refused = server.connect().refused(POST, b"Content-Length: 90000\r\n\r\n", b"b" * 90_000)
        assert (refused.status, refused.body) == (503, b"")
        assert server.connect().ask(POST, b"Content-Length: 5000\r\n\r\n", b"s" * 5000).status == 200
        assert len(holder.ask(b"b").seen["body"]) == 60_000
        other = server.connect()
        for _ in range(5):
            assert other.ask(POST, b"Content-Length: 90000\r\n\r\n", b"b" * 90_000).status == 200


# -- time ----------------------------------------------------------------------------------------------------------------

QUICK = Limits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2, write_seconds=0.2, linger_seconds=0.2)


def test_a_head_that_takes_too_long_is_refused(loop_factory: LoopFactory) -> None:
    with served(QUICK, loop_factory=loop_factory) as server:
        assert server.connect().refused(b"GET / HTTP/1.1\r\nHost:").status == 408
        assert server.refusals == {Refusal.HEAD_TOO_SLOW: 1}
        assert server.echo.calls == []


def test_a_head_that_drips_is_refused_all_the_same() -> None:
    with served(QUICK) as server:
        client = server.connect()
        client.send(GET)
        client.socket.settimeout(0.02)
        while Refusal.HEAD_TOO_SLOW not in server.refusals:
            client.send(b"x-drip: 1\r\n")
            with suppress(TimeoutError):
                client._more()
        client.socket.settimeout(PATIENCE)
        assert client.answer().status == 408
        assert client.is_closed()


def test_a_request_is_not_too_slow_while_the_server_itself_does_not_listen() -> None:
    with served(Limits(head_seconds=0.2)) as server:
        client = server.connect()
        waiting = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n" + waiting + waiting[:20])
        assert server.echo.entered.wait(PATIENCE)
        client.send(waiting[20:])
        passed = threading.Event()
        server.loop.call_soon_threadsafe(server.loop.call_later, 0.6, passed.set)
        assert passed.wait(PATIENCE)
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        assert [client.answer().status for _ in range(3)] == [200, 200, 200]
        assert server.refusals == {}


def test_a_body_that_takes_too_long_is_refused(loop_factory: LoopFactory) -> None:
    with served(QUICK, loop_factory=loop_factory) as server:
        assert server.connect().refused(POST, b"Content-Length: 5\r\n\r\nbod").status == 408
        assert server.connect().refused(CHUNKED, b"\r\n1\r\nb").status == 408
        assert server.refusals == {Refusal.BODY_TOO_SLOW: 2}
        assert server.echo.calls == []


def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word() -> None:
    with served(QUICK) as server:
        assert server.connect().is_closed()
        empty_lines = server.connect()
        empty_lines.send(b"\r\n\r\n")
        assert empty_lines.is_closed()
        idle = server.connect()
        assert idle.ask(GET, b"\r\n").status == 200
        assert idle.is_closed()
        assert server.refusals.total() == 0


def test_an_app_may_take_longer_than_any_of_these() -> None:
    with served(QUICK) as server:
        client = server.connect()
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.connect().is_closed()
        assert server.connect().is_closed()
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        assert client.answer().status == 200


def test_a_client_that_never_reads_is_cut_off(loop_factory: LoopFactory) -> None:
    with served(QUICK, loop_factory=loop_factory) as server:
        client = server.connect(receive_buffer=4096)
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        server.refusals.wait_for(Refusal.ANSWER_UNREAD)
        assert server.echo.ended.wait(PATIENCE)
        received = 0
        with suppress(ConnectionError):
            while got := client.socket.recv(65536):
                received += len(got)
        assert received < 32 * MIB


def test_a_client_that_reads_steadily_gets_all_of_a_large_answer() -> None:
    with served(Limits(write_seconds=1.0)) as server:
        client = server.connect(receive_buffer=65536)
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        while got := client.socket.recv(65536):
            received += len(got)
        assert received > 64 * MIB
        assert server.refusals.total() == 0


def test_a_refused_client_that_goes_on_sending_is_cut_off() -> None:
    with served(Limits(linger_seconds=0.2, linger_bytes=10_000_000_000)) as server:
        client = server.connect()
        assert sent_before_the_end(client, b"", b"@" * 65536, 10_000_000_000) < 10_000_000_000


# -- connections ---------------------------------------------------------------------------------------------------------


def test_connections_beyond_the_bound_wait_until_one_closes(loop_factory: LoopFactory) -> None:
    with served(Limits(connections=2), loop_factory=loop_factory) as server:
        first, second = server.connect(), server.connect()
        assert first.ask(GET, b"\r\n").status == second.ask(GET, b"\r\n").status == 200
        third = server.connect()
        third.send(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
        server.refusals.wait_for(Refusal.CONNECTIONS_FULL)
        assert first.ask(GET, b"\r\n").status == 200
        assert "/third" not in server.echo.calls
        second.socket.close()
        assert third.answer().seen["raw_path"] == "/third"


# -- stopping ------------------------------------------------------------------------------------------------------------


def test_a_stop_answers_what_is_in_flight_and_takes_no_more(loop_factory: LoopFactory) -> None:
    with served(loop_factory=loop_factory) as server:
        client, idle = server.connect(), server.connect()
        assert idle.ask(GET, b"\r\n").status == 200
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        server.ask_to_stop()
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        answer = client.answer()
        assert answer.seen["raw_path"] == "/hold"
        assert answer.headers["connection"] == "close"
        assert client.is_closed()
        assert server.has_stopped()


def test_a_stop_hears_out_a_request_that_has_begun() -> None:
    with served() as server:
        half, beside = server.connect(), server.connect()
        half.send(POST, b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert half.answer().status == 100
        assert beside.ask(GET, b"\r\n").status == 200
        server.ask_to_stop()
        assert beside.is_closed()
        answer = half.ask(b"body")
        assert answer.seen["body"] == "body"
        assert answer.headers["connection"] == "close"
        assert server.has_stopped()


def test_a_stop_answers_whole_pipelines() -> None:
    with served() as server:
        client = server.connect()
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n" + GET + b"\r\n")
        assert server.echo.entered.wait(PATIENCE)
        server.ask_to_stop()
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        assert [client.answer().seen["raw_path"] for _ in range(3)] == ["/hold", "/", "/"]
        assert client.is_closed()
        assert server.has_stopped()


def test_a_stop_waits_no_longer_than_it_was_given(
    loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL), served(drain_seconds=0.2, loop_factory=loop_factory) as server:
        client = server.connect()
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        server.ask_to_stop()
        assert server.has_stopped()
        assert client.is_closed()


def test_a_stop_with_nobody_there_is_immediate() -> None:
    with served() as server:
        server.ask_to_stop()
        assert server.has_stopped()


# -- listening and TLS ---------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_refused_with_a_sentence(server: Served) -> None:
    async def second() -> None:
        await run_server(
            Echo(), host="127.0.0.1", port=server.port, on_listening=lambda _h, _p: None, stop=asyncio.Event()
        )

    with pytest.raises(KeyturnError, match="can't listen on") as refused:
        asyncio.run(second())
    assert "address already in use" in refused.value.message
    assert refused.value.hint is not None


def test_localhost_is_served() -> None:
    with served(host="localhost") as server:
        assert server.connect().ask(GET, b"\r\n").seen["client"] == "127.0.0.1"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, encryption in (
        ("key.pem", serialization.NoEncryption()),
        ("encrypted.pem", serialization.BestAvailableEncryption(b"passphrase")),
    ):
        (directory / file).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
    other = ec.generate_private_key(ec.SECP256R1())
    (directory / "other.pem").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return directory / "cert.pem", directory / "key.pem"


def over_tls(server: Served, certificate: Path) -> Client:
    context = ssl.create_default_context(cafile=certificate)
    client = Client(context.wrap_socket(server.connect().socket, server_hostname="127.0.0.1"))
    server.clients.append(client)
    return client


def test_tls_is_served_and_held_to_the_same_limits(
    tls_files: tuple[Path, Path], loop_factory: LoopFactory
) -> None:
    with served(
        Limits(head_seconds=0.5, linger_seconds=0.2), tls=tls_files, loop_factory=loop_factory
    ) as server:
        client = over_tls(server, tls_files[0])
        assert client.ask(GET, b"\r\n").seen["scheme"] == "https"
        assert client.refused(GET, b"Host: b\r\n\r\n").status == 400
        assert over_tls(server, tls_files[0]).refused(b"GET / HT").status == 408
        assert over_tls(server, tls_files[0]).refused(GET, b"x: %s\r\n\r\n" % (b"v" * 40_000)).status == 431


def test_a_tls_handshake_that_never_comes_is_cut_off_and_gives_its_place_back(
    tls_files: tuple[Path, Path], loop_factory: LoopFactory
) -> None:
    limits = Limits(head_seconds=0.2, connections=1)
    with served(limits, tls=tls_files, loop_factory=loop_factory) as server:
        assert server.connect().is_closed()
        server.refusals.wait_for(Refusal.HANDSHAKE_FAILED)
        server.connect().send(GET, b"\r\n")
        assert over_tls(server, tls_files[0]).ask(GET, b"\r\n").status == 200


def test_a_stop_drains_tls_too(tls_files: tuple[Path, Path]) -> None:
    with served(Limits(linger_seconds=0.2), tls=tls_files) as server:
        client = over_tls(server, tls_files[0])
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.echo.entered.wait(PATIENCE)
        server.ask_to_stop()
        server.loop.call_soon_threadsafe(server.echo.may_answer.set)
        assert client.answer().seen["raw_path"] == "/hold"
        assert client.is_closed()
        assert server.has_stopped()


def test_tls_is_1_2_or_newer(tls_files: tuple[Path, Path]) -> None:
    assert tls_context(*tls_files).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("missing.pem", "key.pem", "can't read"),
        ("cert.pem", "missing.pem", "can't read"),
        ("cert.pem", "other.pem", "cannot be used together"),
        ("key.pem", "key.pem", "cannot be used together"),
        ("cert.pem", "encrypted.pem", "is encrypted"),
    ],
)
def test_tls_files_that_cannot_serve_are_refused_with_a_sentence(
    tls_files: tuple[Path, Path], certificate: str, key: str, says: str
) -> None:
    directory = tls_files[0].parent
    with pytest.raises(KeyturnError, match=says):
        tls_context(directory / certificate, directory / key)


# -- where it may listen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_tls(host: str) -> None:
    check_exposure(host, tls=False, behind_proxy=())


@pytest.mark.parametrize(
    "host",
    [
        str(ip_address(0)),
        "::",
        "",
        "192.168.1.5",
        "2001:db8::1",
        "keys.example",
        "localhost.example",
        "128.0.0.1",
    ],
)
def test_any_other_host_needs_tls_or_a_proxy(host: str) -> None:
    with pytest.raises(KeyturnError, match="refusing to listen") as refused:
        check_exposure(host, tls=False, behind_proxy=())
    assert refused.value.hint is not None
    assert "--tls-cert" in refused.value.hint
    assert "--behind-proxy" in refused.value.hint
    check_exposure(host, tls=True, behind_proxy=())
    check_exposure(host, tls=False, behind_proxy=networks(["10.0.0.0/8"]))


# -- laws ----------------------------------------------------------------------------------------------------------------

WHOLE = (
    POST
    + b"Content-Length: 4\r\nX: y\r\n\r\nbody"
    + CHUNKED
    + b"\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    + GET
    + b"\r\n"
)


@given(cuts=st.lists(st.integers(1, len(WHOLE) - 1), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_requests_are_cut_the_app_sees_the_same(server: Served, cuts: list[int]) -> None:
    client = server.connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    edges = [0, *sorted(set(cuts)), len(WHOLE)]
    client.send(*(WHOLE[start:end] for start, end in pairwise(edges)))
    seen = [client.answer().seen for _ in range(3)]
    assert [(one["method"], one["body"]) for one in seen] == [("POST", "body"), ("POST", "body"), ("GET", "")]


PIECES = [
    GET, POST, b"\r\n", b"\n", b"\r", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"abc", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n",
    b" HTTP/1.0\r\n", b"\x00", b":", b" ", b"GET http://x/ HTTP/1.1\r\n",
]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_the_connection_ends_and_the_server_goes_on(
    server: Served, pieces: list[bytes]
) -> None:
    client = server.connect()
    with suppress(ConnectionError):
        client.send(*pieces)
        client.socket.shutdown(socket.SHUT_WR)
    with suppress(ConnectionError):
        while client._more():
            pass
    assert server.connect().ask(GET, b"\r\n").status == 200
