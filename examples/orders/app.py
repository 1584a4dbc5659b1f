"""Orders: a service whose only authentication is that its callers sign their requests with a key of Keyturn.

A bare ASGI application, so that nothing hides what the middleware does. Orders live in memory, per account and caller.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import boto3

from keyturn.middleware import Identity, KeyturnMiddleware

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Orders:
    """`GET /orders`, `POST /orders` with a JSON object, `GET /orders/{number}`."""

    def __init__(self) -> None:
        self._orders: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        caller: Identity = scope["keyturn"]
        status, answer = self._answer(scope["method"], scope["path"], await _body(receive), caller)
        content = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, method: str, path: str, body: bytes, caller: Identity) -> tuple[int, Any]:
        if (method, path) == ("GET", "/orders"):
            return 200, {"caller": caller.arn, "orders": self._orders}
        if (method, path) == ("POST", "/orders"):
            try:
                wanted = json.loads(body)
            except ValueError:
                return 400, {"message": "an order is JSON"}
            order = {"number": len(self._orders) + 1, "by": caller.arn, "wanted": wanted}
            self._orders.append(order)
            return 201, order
        number = path.removeprefix("/orders/")
        if method == "GET" and number.isdecimal() and 0 < int(number) <= len(self._orders):
            return 200, self._orders[int(number) - 1]
        return 404, {"message": "there is no such order"}


async def _body(receive: Receive) -> bytes:
    message = await receive()
    return bytes(message.get("body", b""))  # the middleware hands it on in one piece


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def application() -> KeyturnMiddleware:
    """For `uvicorn --factory`. The service's own key comes from where boto3 finds credentials."""
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise SystemExit("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return KeyturnMiddleware(Orders(), os.environ["KEYTURN_URL"], credentials, service="orders")
