"""Runs an ASGI application over a connection's requests, as uvicorn would, behind the same bounds.

The authority itself needs none of this: its face answers directly. It is here for what is written as ASGI.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, TypeAlias

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from keyturn.http.connection import Connection, Start
from keyturn.http.exchange import Request

Message: TypeAlias = MutableMapping[str, Any]
ASGIApp: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_log: Final = logging.getLogger("uvicorn.error")
_access_log: Final = logging.getLogger("uvicorn.access")


def running(app: ASGIApp) -> Start:
    """`app` as a connection starts it."""

    def start(connection: Connection, request: Request) -> Coroutine[Any, Any, None]:
        cycle = request.cycle = _Cycle(
            scope=_scope(connection, request),  # type: ignore[arg-type]  # uvicorn's typed dict
            transport=connection.transport,
            flow=connection.flow,  # type: ignore[arg-type]  # does what uvicorn's does
            logger=_log,
            access_logger=_access_log,
            access_log=False,
            default_headers=[(b"date", connection.traffic.date)],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=request.keep_alive,
            on_response=lambda: connection.answered(request),
        )
        cycle.whole_body = bytes(request.body)
        return cycle.run_asgi(app)  # type: ignore[arg-type]  # the same type in other words

    return start


class _Cycle(RequestResponseCycle):
    """One request and its answer. The body has arrived whole before the app runs."""

    whole_body: bytes | None = None

    async def receive(self) -> Any:
        if self.whole_body is not None and not self.disconnected:
            body, self.whole_body = self.whole_body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # uvicorn's own `receive` also resumes reading, which would undo the bound on pipelining.
        if not self.disconnected and not self.response_complete:
            await self.message_event.wait()
        return {"type": "http.disconnect"}


def _scope(connection: Connection, request: Request) -> Message:
    path = request.path.decode("ascii")
    if "%" in path:
        path = urllib.parse.unquote(path)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.version,
        "server": get_local_addr(connection.transport),
        "client": get_remote_addr(connection.transport),
        "scheme": request.scheme,
        "root_path": "",
        "headers": request.headers,
        "state": {},
        "method": request.method.decode("ascii"),
        "path": path,
        "raw_path": request.path,
        "query_string": request.query,
    }
