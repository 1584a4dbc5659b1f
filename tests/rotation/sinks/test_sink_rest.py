"""How sinks ask over HTTP: bounds, time, redirects, and what errors never carry."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.bounded_call import call, checked_door
from keyturn.rotation.sinks.interface import SinkRefusedError, SinkUnavailableError, Surroundings
from keyturn.rotation.sinks.pairs import read_json
from keyturn.rotation.sinks.rest import LARGEST, Rest, token_from
from rotation.sinks.fakes.loopback import Asked, FakeService, Fault, Reply

CANARY = "canary-that-must-not-show"


class Echo(FakeService):
    """A fake of nothing in particular: it repeats what it was sent, secrets too."""

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - set per test, on the instance

    def answer(self, asked: Asked) -> Reply:
        said = {"body": asked.body.decode(), "token": asked.headers.get("x-token")}
        return Reply(self.status, said, self.headers)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo().living() as living:
        yield living


def rest_at(url: str, seconds: float = 10.0) -> Rest:
    return Rest(
        url,
        sink="s",
        field="url",
        service="the service",
        credentials=lambda: {"X-Token": Secret(CANARY.encode())},
        seconds=seconds,
    )


@contextmanager
def raw_server(say: list[bytes], *, hold: threading.Event | None = None) -> Iterator[str]:
    """Takes one connection, says these bytes whatever it hears, and keeps the line open until `hold` is set."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65_536)
            try:
                for part in say:
                    peer.sendall(part)
                    if hold is not None and hold.wait(0.02):
                        return
                if hold is not None:
                    hold.wait(30)
            except OSError:
                return

    thread = threading.Thread(target=serve, name="raw server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        if hold is not None:
            hold.set()
        thread.join(30)
        listener.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(echo: Echo, status: int) -> None:
    echo.status, echo.headers = status, {"Location": "http://169.254.169.254/"}
    with pytest.raises(SinkRefusedError, match="redirect"):
        rest_at(echo.url).ask("GET", "/x")
    assert len(echo.calls) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, SinkUnavailableError),
        (425, SinkUnavailableError),
        (429, SinkUnavailableError),
        (500, SinkUnavailableError),
        (503, SinkUnavailableError),
        (400, SinkRefusedError),
        (401, SinkRefusedError),
        (403, SinkRefusedError),
        (404, SinkRefusedError),
        (422, SinkRefusedError),
    ],
)
def test_a_status_says_what_to_do_next_and_the_error_repeats_nothing_of_the_answer(
    echo: Echo, status: int, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo.status = status
    with pytest.raises(kind) as caught:
        rest_at(echo.url).ask("PUT", "/x", body=Secret(CANARY.encode()))
    assert (
        CANARY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}{caplog.text}"
    )


def test_a_whole_answer_is_a_secret_until_it_is_taken_apart(echo: Echo) -> None:
    answer = rest_at(echo.url).ask("PUT", "/x", body=Secret(CANARY.encode()))
    assert answer.object() == {"body": CANARY, "token": CANARY}
    assert CANARY not in repr(answer)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5.0), ("0", 0.0), ("999999", 86_400.0), ("-1", None), ("soon", None), ("9" * 40, None)],
)
def test_retry_after_is_read_in_seconds_and_bounded(echo: Echo, value: str, seconds: float | None) -> None:
    echo.arm({1: Fault(Reply(503, headers={"Retry-After": value}))})
    with pytest.raises(SinkUnavailableError) as caught:
        rest_at(echo.url).ask("GET", "/x")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: cut in its hea",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_an_answer_that_is_not_whole_is_no_answer(said: bytes) -> None:
    with raw_server([said]) as url, pytest.raises(SinkUnavailableError):
        rest_at(url).ask("GET", "/x")
    with raw_server([said]) as url, pytest.raises(SinkUnavailableError):
        call(checked_door(url, sink="hook", field="url"), "GET", headers={}, body=None, seconds=5)


def test_an_answer_without_end_is_given_up_at_its_bound() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    endless = [head, *[b"x" * 65_536] * (LARGEST // 65_536 + 2)]
    with raw_server(endless) as url, pytest.raises(SinkRefusedError, match="more than"):
        rest_at(url).ask("GET", "/x")


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"], ids=["headers", "body"]
)
def test_a_server_that_drips_is_given_up_in_time(head: bytes) -> None:
    over = threading.Event()
    drops = [head or b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 10_000]
    with raw_server(drops, hold=over) as url, pytest.raises(SinkUnavailableError):
        rest_at(url, seconds=0.3).ask("GET", "/x")


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with raw_server([], hold=threading.Event()) as url, pytest.raises(SinkUnavailableError):
        rest_at(url, seconds=0.2).ask("GET", "/x")


@pytest.mark.parametrize(
    "url",
    [
        "http://service.example",
        "ftp://service.example",
        "https://",
        "https://u:p@service.example",
        "https://service.example?x=1",
        "https://service.example#x",
        "https://service.example:99999",
    ],
)
def test_only_https_and_loopback_are_asked(url: str) -> None:
    with pytest.raises(KeyturnError):
        rest_at(url)


def test_a_line_keeps_one_connection_for_several_calls(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = socket.create_connection
    with rest_at(echo.url).line() as line:
        monkeypatch.setattr(socket.socket, "connect", _counting(made, socket.socket.connect))
        for _ in range(3):
            line.ask("GET", "/x")
    assert real is not None
    assert len(made) == 1


def _counting(made: list[object], real: object) -> object:
    def connect(self: socket.socket, address: object) -> None:
        made.append(address)
        real(self, address)  # type: ignore[operator]  # socket.connect

    return connect


def test_a_token_is_read_from_the_variable_or_the_file_and_named_nowhere(tmp_path: Path) -> None:
    around = Surroundings({"T": CANARY}, None, None)
    file = tmp_path / "token"
    file.write_text(f"{CANARY}\n")
    found = Secret(CANARY.encode())
    assert token_from(around, variable="T", file=None, what="x") == found
    assert token_from(around, variable="U", file=file, what="x") == found
    for text in (f"{CANARY} {CANARY}", CANARY + "é", CANARY * 1000):
        file.write_text(text)
        with pytest.raises(SinkRefusedError) as caught:
            token_from(around, variable="T", file=file, what="x")
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b'{"a":1,"a":2}',
        b"[NaN]",
        b"[1e999]",
        b"[1e-99999999999999999999]",
        b"[1e99999999999999999999]",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_could_not_be_written_back_is_not_read(text: bytes) -> None:
    assert read_json(Secret(text)) is None


def test_listing_the_settings_of_all_remote_sinks_loads_no_client() -> None:
    names = ("github", "gitlab", "kubernetes", "secretsmanager", "ssm", "vault")
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: assert importlib.import_module('keyturn.rotation.sinks.' + name).TYPE.fields\n"
        "print(sorted({'botocore', 'boto3', 'urllib3', 'nacl', 'cryptography'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert found.stdout.strip() == "[]"
