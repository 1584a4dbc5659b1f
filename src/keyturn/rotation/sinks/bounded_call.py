"""One HTTP call for a sink: https, or http to this machine; never redirected, bounded in time and size.

Whoever answers is named in the settings. What statuses and bodies mean is left to others.
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
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import SinkRefusedError, SinkUnavailableError

LARGEST_ANSWER: Final = 64 * 1024
_LONGEST_PAUSE: Final = 3600.0


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
        with _shut_after(connection, seconds):
            connection.request(
                method,
                target,
                body=None if body is None else body.reveal(),
                headers={"User-Agent": "keyturn-rotation", **headers},
                preload_content=False,
            )
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER + 1, decode_content=False)
    except ssl.SSLCertVerificationError as error:
        raise SinkRefusedError(f"{door.where} does not prove its name: {error.verify_message}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise SinkUnavailableError(f"{door.where} gave no answer ({type(error).__name__})") from error
    finally:
        connection.close()
    if len(content) > LARGEST_ANSWER:
        raise SinkRefusedError(f"{door.where} answers with more than {LARGEST_ANSWER} bytes")
    return Answer(response.status, Secret(content), _pause(response.headers.get("Retry-After")))


def _connection(door: Door, seconds: float) -> HTTPConnection:
    host, port = door.parts.hostname or "", door.parts.port
    if door.parts.scheme == "http":
        return HTTPConnection(host, port, timeout=seconds)
    try:
        context = ssl.create_default_context(cafile=None if door.ca_file is None else str(door.ca_file))
    except OSError as error:
        raise SinkRefusedError(f"the certificates in {door.ca_file} can't be read") from error
    return HTTPSConnection(host, port, timeout=seconds, ssl_context=context)


@contextlib.contextmanager
def _shut_after(connection: HTTPConnection, seconds: float) -> Iterator[None]:
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
    finally:
        timer.cancel()
        timer.join()
        # A reader takes the end of a connection for the end of the headers, and half an answer for a whole one.
        if is_over.is_set():
            raise TimeoutError("the time is over")


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
