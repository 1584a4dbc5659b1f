"""One exchange: a whole request as a connection has read it, and the answer to it.

Whoever answers is a `Face`. What a request may cost is bounded before it becomes one; what it means is the face's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple, final

JSON: Final = b"application/json"


@final
class Request:
    """Whole, well-formed and within every bound. One is made per request, so it is a plain class with slots."""

    __slots__ = (
        "body",
        "client",
        "cycle",
        "fields",
        "headers",
        "is_answered",
        "keep_alive",
        "method",
        "path",
        "query",
        "scheme",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        fields: Mapping[bytes, bytes],
        client: str,
        scheme: str,
        *,
        keep_alive: bool,
    ) -> None:
        self.method = method
        """In upper case; one of those that the connection takes."""
        self.path = path
        """As it stands in the target, undecoded, up to the first question mark."""
        self.query = query
        self.version = version
        self.headers = headers
        """Names in lower case, in wire order, every repetition kept."""
        self.fields = fields
        """The same by name; of a name that comes twice, the last."""
        self.client = client
        """The peer's address, as text."""
        self.scheme = scheme
        """`http` or `https`: the connection's own."""
        self.body: bytes | bytearray = b""

        # The connection's own notes.
        self.keep_alive = keep_alive
        self.is_answered = False
        self.cycle: Any = None
        """What runs an ASGI application over this request."""


class Answer(NamedTuple):
    """A whole answer. What stands in its head beside these is the connection's."""

    status: int
    body: bytes
    content_type: bytes = JSON
    request_id: bytes = b""
    """`x-amzn-requestid`; printable. Empty: no such header."""
    in_chunks: bool = False
    """So that a client notices a cut: botocore takes what has arrived of a Content-Length for the whole, and
    repeats nothing."""
    is_kept: bool = True
    """False: nobody on the way may store it."""


class Face(ABC):
    """Answers requests, on the event loop's thread."""

    @abstractmethod
    def answer(self, request: Request, /) -> Answer | Coroutine[Any, Any, Answer]:
        """At once where nothing has to be waited for: that spares a task per request. Else a coroutine.

        An exception is answered 500 with the connection closed, and only its kind is logged.
        """
