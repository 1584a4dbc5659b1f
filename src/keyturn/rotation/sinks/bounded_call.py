"""HTTP calls of sinks: https, or http to this machine; never redirected, bounded in time and size, whole or nothing.

Whoever answers is named in the settings. `call` is one call; `rest` builds services of the same parts. What statuses
and bodies mean is left to others.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import SinkRefusedError, SinkUnavailableError

if TYPE_CHECKING:  # urllib3 is loaded by those who call out, not by those who list settings
    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

LARGEST_ANSWER: Final = 64 * 1024
_LONGEST_PAUSE: Final = 3600.0
_PART: Final = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The body may hold what was sent, so it is never shown."""

    status: int
    body: Secret
    retry_after: float | None
    """Seconds, if the server said so."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where calls go: a checked URL, and whom to trust there."""

    parts: SplitResult = field(repr=False)
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""

    @property
    def where(self) -> str:
        """For people. Paths and queries of hooks are often secrets, so they are left out."""
        return f"{self.parts.scheme}://{self.parts.netloc}"


def checked_door(url: str, *, sink: str, field: str, ca_file: Path | None = None) -> Door:
    """The URL as a door. KeyturnError if it is not https (http for this machine), or carries a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise KeyturnError(f"sink {sink}: {field} is no URL") from error
    if not host or parts.scheme not in {"http", "https"}:
        raise KeyturnError(f"sink {sink}: {field} must be an https URL")
    if parts.username is not None or parts.password is not None:
        raise KeyturnError(f"sink {sink}: {field} must not carry a user or a password")
    if any(not "!" <= character <= "~" for character in url):
        raise KeyturnError(f"sink {sink}: {field} has characters that no URL has")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise KeyturnError(
            f"sink {sink}: {field} must be https: a secret would cross the network in the clear",
            hint="http is for 127.0.0.1, ::1 and localhost only",
        )
    return Door(parts, ca_file)


def call(
    door: Door, method: str, *, headers: Mapping[str, str], body: Secret | None, seconds: float
) -> Answer:
    """One try. SinkUnavailableError: no whole answer within `seconds`; whether it was received is not known."""
    parts = door.parts
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _connection(door, seconds)
    try:
        with outcome(door.where), shut_after(connection, seconds, door.where):
            connection.request(
                method,
                target,
                body=None if body is None else body.reveal(),
                headers={"User-Agent": "keyturn-rotation", **headers},
                preload_content=False,
                decode_content=False,
            )
            response = connection.getresponse()
            with contextlib.closing(response):
                content = whole_body(response, LARGEST_ANSWER, door.where)
    finally:
        connection.close()
    return Answer(response.status, Secret(content), _pause(response.headers.get("Retry-After")))


def whole_body(response: HTTPResponse, largest: int, who: str) -> bytes:
    """The body to its end: only a read past the last byte tells a whole answer from one that was cut.

    SinkUnavailableError if nothing says where it ends, SinkRefusedError if it is larger.
    """
    framed = {"content-length", "transfer-encoding"} & {name.lower() for name in response.headers}
    if response.status != 204 and not framed:
        # What ends with the connection can't be told from what was cut, in its headers even.
        raise SinkUnavailableError(f"the answer of {who} has no end")
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_PART):
        parts.append(part)
        size += len(part)
        if size > largest:
            raise SinkRefusedError(f"{who} answers with more than {largest} bytes")
    return b"".join(parts)


@contextlib.contextmanager
def outcome(who: str) -> Iterator[None]:
    """What goes wrong on the wire, in a sink's words. The cause is not chained: it can carry what had arrived."""
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise SinkRefusedError(f"{who} does not prove its name: {error.verify_message}") from None
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise SinkUnavailableError(f"{who} gave no answer ({type(error).__name__})") from None


@contextlib.contextmanager
def shut_after(connection: HTTPConnection, seconds: float, who: str) -> Iterator[None]:
    """Time-outs of a socket start anew with each byte: a server that drips would hold us for ever."""
    is_over = threading.Event()

    def shut() -> None:
        is_over.set()
        held = connection.sock
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
    if is_over.is_set():  # whatever was made of what had arrived: http.client takes headers that end with the
        raise SinkUnavailableError(f"{who} takes too long to answer")  # connection for whole ones


def _connection(door: Door, seconds: float) -> HTTPConnection:
    from urllib3.connection import HTTPConnection, HTTPSConnection

    host, port = door.parts.hostname or "", door.parts.port
    if door.parts.scheme == "http":
        return HTTPConnection(host, port, timeout=seconds)
    try:
        context = ssl.create_default_context(cafile=None if door.ca_file is None else str(door.ca_file))
    except OSError as error:
        raise SinkRefusedError(f"the certificates in {door.ca_file} can't be read") from error
    return HTTPSConnection(host, port, timeout=seconds, ssl_context=context)


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _pause(text: str | None) -> float | None:
    """`Retry-After` in seconds (RFC 9110, section 10.2.3). A date is taken as a minute: our clocks may differ."""
    if text is None or len(text) > 64:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_PAUSE)
    try:
        parsedate_to_datetime(text)
    except ValueError:
        return None
    return 60.0
