"""Asking a service over HTTPS: bounded in size and time, never redirected, and told in a sink's own errors.

What the service sends back is never put into an error: it may repeat what it was sent. Which answers mean that
somebody else wrote in between, each sink says itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.bounded_call import checked_door, outcome, shut_after, whole_body
from keyturn.rotation.sinks.interface import SinkError, SinkRefusedError, SinkUnavailableError, Surroundings
from keyturn.rotation.sinks.pairs import read_json

if TYPE_CHECKING:  # urllib3 is loaded by those who call out, not by those who list settings
    from urllib3.connection import HTTPConnection
    from urllib3.response import HTTPResponse

LARGEST: Final = 4 * 1024 * 1024
_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 5.0
_LARGEST_TOKEN: Final = 16 * 1024
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+\Z")
_WHOLE_SECONDS: Final = re.compile(r"[0-9]{1,6}\Z")
_AGAIN: Final = frozenset({408, 425, 429})

Credentials = Callable[[], Mapping[str, Secret]]
"""Headers that prove who asks: read anew for each call, for tokens in files are replaced while we run."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Secret

    def object(self) -> dict[str, Any]:
        """The JSON object that it holds, {} if it holds none."""
        found = read_json(self.body)
        return found if isinstance(found, dict) else {}


class Rest:
    """One service at one address. `service` is what errors call it; `field` is the setting that named it."""

    def __init__(
        self,
        base_url: str,
        *,
        sink: str,
        field: str,
        service: str,
        credentials: Credentials,
        headers: Mapping[str, str] | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        seconds: float = _SECONDS,
    ) -> None:
        parts = checked_door(base_url, sink=sink, field=field).parts
        if parts.query or parts.fragment:
            raise KeyturnError(f"sink {sink}: {field} must end with its path")
        self.service = service
        self.seconds = seconds
        self._is_tls, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._credentials = credentials
        self._headers = {"Accept": "application/json", "User-Agent": "keyturn-rotation", **(headers or {})}
        self._tls = tls

    @contextlib.contextmanager
    def line(self) -> Iterator[Line]:
        """A connection for several calls in a row."""
        connection = self._connection()
        try:
            yield Line(self, connection)
        finally:
            connection.close()

    def ask(self, method: str, path: str, **options: Any) -> Answer:
        """One call on a connection of its own: see `Line.ask`."""
        with self.line() as line:
            return line.ask(method, path, **options)

    def target(self, path: str, query: Mapping[str, str] | None) -> str:
        return self._path + path + (f"?{urlencode(query)}" if query else "")

    def headers(self) -> dict[str, str]:
        proof = {name: value.reveal().decode("ascii") for name, value in self._credentials().items()}
        return {**self._headers, **proof}

    def _connection(self) -> HTTPConnection:
        from urllib3.connection import HTTPConnection, HTTPSConnection

        if self._is_tls:
            return HTTPSConnection(self._host, self._port, timeout=_CONNECT_SECONDS, ssl_context=self._tls())
        return HTTPConnection(self._host, self._port, timeout=_CONNECT_SECONDS)


class Line:
    """A connection to a service, as long as `Rest.line` keeps it."""

    def __init__(self, rest: Rest, connection: HTTPConnection) -> None:
        self._rest = rest
        self._connection = connection

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Secret | None = None,
        content_type: str = "application/json",
        expected: Collection[int] = (200,),
    ) -> Answer:
        """An answer whose status is among `expected`. The path is already quoted.

        SinkUnavailableError: no whole answer, 408, 425, 429 or 5xx. SinkRefusedError: any other status.
        """
        service = self._rest.service
        with outcome(service), shut_after(self._connection, self._rest.seconds, service):
            response = self._send(method, path, query, body, content_type, self._rest.seconds)
            with contextlib.closing(response):
                found = whole_body(response, LARGEST, service)
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                Secret(found),
            )
        if answer.status not in expected:
            raise refusal(self._rest.service, method, answer)
        return answer

    def lines(self, path: str, query: Mapping[str, str], *, seconds: float) -> Iterator[Secret]:
        """The lines of an answer that goes on while things happen, until it ends or `seconds` are over.

        A stream that breaks off says as much as one that ends: look again. SinkRefusedError if there is none.
        """
        rest = b""
        with (
            contextlib.suppress(SinkUnavailableError),
            outcome(self._rest.service),
            shut_after(self._connection, seconds, self._rest.service),
        ):
            response = self._send("GET", path, query, None, "", seconds)
            with contextlib.closing(response):
                if response.status not in {200, 410}:  # 410: from where it should go on is too long ago
                    raise refusal(self._rest.service, "watch", Answer(response.status, {}, Secret(b"")))
                while response.status == 200 and len(rest) <= LARGEST and (part := response.read1(65_536)):
                    *whole, rest = (rest + part).split(b"\n")
                    yield from map(Secret, whole)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Secret | None,
        content_type: str,
        seconds: float,
    ) -> HTTPResponse:
        headers = self._rest.headers()
        if body is not None:
            headers["Content-Type"] = content_type
        if (
            self._connection.sock is None
        ):  # connected apart from asking: whoever is not there is found out sooner
            self._connection.timeout = _CONNECT_SECONDS
            self._connection.connect()
        if self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
        self._connection.timeout = seconds
        self._connection.request(
            method,
            self._rest.target(path, query),
            body=None if body is None else body.reveal(),
            headers=headers,
            preload_content=False,
            decode_content=False,
        )
        return self._connection.getresponse()


def refusal(service: str, method: str, answer: Answer) -> SinkError:
    """What an unexpected status means for the one who asked."""
    status = answer.status
    if status in _AGAIN or status >= 500:
        return SinkUnavailableError(
            f"{service} is busy or down: status {status}", retry_after=wait_of(answer)
        )
    if 300 <= status < 400:
        return SinkRefusedError(f"{service} answers with a redirect ({status}), which is not followed")
    if status == 401:
        return SinkRefusedError(f"{service} does not accept the token (401)")
    if status == 403:
        return SinkRefusedError(f"{service} does not allow this token to {method} there (403)")
    if status == 404:
        return SinkRefusedError(f"{service} has no such place, or hides it from this token (404)")
    return SinkRefusedError(f"{service} does not take this: status {status}")


def wait_of(answer: Answer) -> float | None:
    """The seconds of Retry-After (RFC 9110, 10.2.3), at most a day. A date there is not read."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), 86_400.0) if _WHOLE_SECONDS.match(text) else None


def token_from(
    surroundings: Surroundings, *, variable: str, file: str | Path | None, what: str, prefix: bytes = b""
) -> Secret:
    """The token of a service, from the file if one is named, else from the variable."""
    if file is not None:
        try:
            with Path(file).expanduser().open("rb") as opened:
                found = opened.read(_LARGEST_TOKEN + 1)
        except OSError as error:
            raise SinkRefusedError(f"the token file of {what} can't be read ({error.strerror})") from error
        where = "its file"
    else:
        found = os.fsencode(surroundings.environment.get(variable, ""))
        where = f"the variable {variable}"
    found = found.strip()
    if not found:
        raise SinkRefusedError(f"there is no token for {what} in {where}")
    if len(found) > _LARGEST_TOKEN or not _TOKEN.match(found):
        raise SinkRefusedError(f"what stands in {where} is not a token for {what}")
    return Secret(prefix + found)


def trust(ca_file: str | None) -> Callable[[], ssl.SSLContext]:
    """The system's certificate authorities, or those of a file."""

    def context() -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SinkRefusedError("the file of certificate authorities can't be used") from error

    return context
