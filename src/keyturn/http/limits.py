"""What one connection may cost: the numbers, and why a request or a connection is turned away.

Who holds connections to them is `connection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final


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


REFUSALS: Final[Mapping[Refusal, bytes]] = {refusal: _answer(refusal) for refusal in Refusal}
"""The whole answer to each."""
