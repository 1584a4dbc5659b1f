"""A service's whole authentication as ASGI middleware: each request's signature is asked about at a Keyturn authority.

For services of your own, in processes of their own: it needs nothing of the authority but its URL. What the request
does when it is let through is the application's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

SCOPE_KEY: Final = "keyturn"
"""Where the application finds the `Identity` of its caller."""
_MIB: Final = 1024 * 1024
_MOST_CONNECTIONS: Final = 32
_LARGEST_HEAD: Final = 32 * 1024
_MOST_HEADERS: Final = 100
_PRETENDING: Final = (
    b"x-keyturn-",
    b"x-amzn-oidc-",
    b"x-auth-request-",
    b"x-authenticated-",
    b"x-forwarded-access-token",
    b"x-forwarded-email",
    b"x-forwarded-groups",
    b"x-forwarded-preferred-username",
    b"x-forwarded-user",
    b"x-remote-",
    b"remote-",
)
"""How headers begin that gateways set to say who the caller is. A client that sends one means to be believed."""

_log = logging.getLogger("keyturn.middleware")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application may say of a request instead of its method and path: see `action_of`."""

    action: str
    """As policies name it: `orders:CreateOrder`."""
    resource: str | None = None
    """An ARN; without one, only a statement about every resource (`*`) covers the action."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed a request that was let through. Nothing here can be used as a credential."""

    arn: str
    account: str
    user_id: str
    access_key_id: str
    principal_type: str
    """`User`, `AssumedRole` or `FederatedUser`."""
    principal_tags: Mapping[str, str]
    mfa_present: bool | None
    """None where nothing is known of a second factor: a long-lived key can't show one."""
    session: Mapping[str, Any] | None
    """Kind, name, source identity and times of temporary credentials; None for a long-lived key."""
    service: str
    region: str
    signed_headers: frozenset[str]
    """Headers outside of these could have been added or changed on the way."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not let through, as the client is told."""

    status: int
    code: str
    message: str


class UnansweredError(Exception):
    """The authority gave no answer that could be believed. Nobody is let through; trying again may help."""


class VerifyClient:
    """Asks one authority about requests to one service. Blocking, and safe to use from several threads."""

    def __init__(
        self,
        endpoint_url: str,
        credentials: Credentials,
        service: str,
        *,
        region: str = "us-east-1",
        timeout_seconds: float = 5.0,
        ca_bundle: str | None = None,
    ) -> None:
        """ValueError for an endpoint without TLS that is not on loopback: an answer could be forged on the way.

        `credentials` are botocore's, of a principal that holds `keyturn:Verify`; those that expire refresh themselves.
        """
        parts = urlsplit(endpoint_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise ValueError("the authority's endpoint must be https, or http on loopback")
        self._url = endpoint_url.rstrip("/") + "/-/verify"
        self._credentials = credentials
        self._service = service
        self._region = region
        self._http = URLLib3Session(
            verify=ca_bundle or True,  # type: ignore[arg-type]  # a path is taken too; the stubs don't know
            timeout=(timeout_seconds, timeout_seconds),  # type: ignore[arg-type]  # as above
            max_pool_connections=_MOST_CONNECTIONS,
        )

    def verify(self, described: Mapping[str, Any]) -> Identity | Refused:
        """The signer, if policies allow the request. Raises UnansweredError for whatever is no clear answer.

        `described` has the members of `POST /-/verify` (see its reference), without `service`.
        """
        try:
            answer = self._asked(json.dumps({**described, "service": self._service}).encode("ascii"))
            if answer is None:
                return Refused(400, "BadRequest", "The request is not one that could be signed.")
            return self._identity(answer, is_empty=described["body_sha256"] == _NO_BODY)
        except UnansweredError:
            raise
        except Exception as failure:
            raise UnansweredError(type(failure).__name__) from failure

    def close(self) -> None:
        self._http.close()

    def _asked(self, body: bytes) -> Mapping[str, Any] | None:
        """None where the authority says that no request is described: the client sent what HTTP does not allow."""
        request = AWSRequest("POST", self._url, {"content-type": "application/json"}, body)
        SigV4Auth(self._credentials.get_frozen_credentials(), "keyturn", self._region).add_auth(request)
        response = self._http.send(request.prepare())
        answer = json.loads(response.content)
        if not isinstance(answer, dict):
            raise UnansweredError("the answer is not an object")
        if response.status_code == 400 and answer.get("code") == "ValidationError":
            return None
        if response.status_code != 200:
            raise UnansweredError(f"{response.status_code} {str(answer.get('code'))[:64]}")
        return answer

    def _identity(self, answer: Mapping[str, Any], *, is_empty: bool) -> Identity | Refused:
        """Lets nobody through for want of a word: what is missing raises KeyError."""
        if answer["verified"] is False:
            status = int(answer["status"])
            if not 400 <= status <= 499:
                raise UnansweredError("the refusal has no status of a refusal")
            return Refused(status, str(answer["code"]), str(answer["message"]))
        decision = answer["decision"]
        if answer["verified"] is not True or answer["service"] != self._service:
            raise UnansweredError("the answer is about something else")
        if decision["allowed"] is not True:
            return Refused(403, "AccessDenied", str(decision["reason"]))
        if answer["signed_payload"] is not True and not is_empty:
            return Refused(403, "AccessDenied", "The signature does not cover the body.")
        return Identity(
            arn=str(answer["arn"]),
            account=str(answer["account"]),
            user_id=str(answer["user_id"]),
            access_key_id=str(answer["access_key_id"]),
            principal_type=str(answer["principal_type"]),
            principal_tags={str(key): str(value) for key, value in answer["principal_tags"].items()},
            mfa_present=answer["mfa_present"],
            session=answer["session"],
            service=self._service,
            region=str(answer["region"]),
            signed_headers=frozenset(map(str, answer["signed_headers"])),
        )


class KeyturnMiddleware:
    """Wrap it around the whole application, outermost: what does not come through here is not authenticated."""

    def __init__(
        self,
        app: ASGIApp,
        endpoint_url: str,
        credentials: Credentials,
        service: str,
        action_of: Callable[[Scope], Asked | None] | None = None,
        *,
        region: str = "us-east-1",
        stage: str | None = None,
        max_body_bytes: int = _MIB,
        timeout_seconds: float = 5.0,
        ca_bundle: str | None = None,
        errors: Literal["json", "xml"] = "json",
    ) -> None:
        """`action_of` names the action that a request is, from its scope; without one, or where it returns None,
        it is `execute-api:Invoke` on an ARN made of the method and the path, in `stage`.
        """
        self._app = app
        self._client = VerifyClient(
            endpoint_url,
            credentials,
            service,
            region=region,
            timeout_seconds=timeout_seconds,
            ca_bundle=ca_bundle,
        )
        self._action_of = action_of
        self._stage = stage
        self._max_body_bytes = max_body_bytes
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    def close(self) -> None:
        self._client.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(scope["headers"], receive, self._max_body_bytes)
        if body is None:
            return
        outcome = body if isinstance(body, Refused) else await self._outcome(scope, body)
        if isinstance(outcome, Refused):
            await _refuse(send, outcome, self._errors, is_head=scope["method"] == "HEAD")
            return
        assert isinstance(body, bytes), "a body that was refused is not asked about"
        inner = {**scope, SCOPE_KEY: outcome, "headers": _without_pretence(scope["headers"])}
        await self._app(inner, _replayed(body, receive), send)

    async def _outcome(self, scope: Scope, body: bytes) -> Identity | Refused:
        try:
            described = self._described(scope, body)
            if isinstance(described, Refused):
                return described
            return await asyncio.to_thread(self._client.verify, described)
        except UnansweredError as unanswered:
            _log.warning("a request was refused, for the authority did not answer: %s", unanswered)
        except Exception as failure:  # noqa: BLE001 - whatever it is, nobody gets through by it
            _log.error("a request was refused, for asking about it failed: %s", type(failure).__name__)
        return Refused(503, "ServiceUnavailable", "The caller can't be verified now.")

    def _described(self, scope: Scope, body: bytes) -> dict[str, Any] | Refused:
        headers: Sequence[Header] = scope["headers"]
        path = bytes(scope["raw_path"]).partition(b"?")[0]
        query: bytes = scope["query_string"]
        size = len(path) + len(query) + sum(len(name) + len(value) for name, value in headers)
        if size > _LARGEST_HEAD or len(headers) > _MOST_HEADERS:
            return Refused(431, "RequestHeaderSectionTooLarge", "The request's headers are too large.")
        if unquote_to_bytes(path) != str(scope["path"]).encode("utf-8", "surrogateescape"):
            # What is signed must be what is routed on.
            return Refused(400, "BadRequest", "The request's path can be read in two ways.")
        asked = self._action_of(scope) if self._action_of else None
        described: dict[str, Any] = {
            "method": scope["method"],
            "target": (path + b"?" + query if query else path).decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers],
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "secure": scope.get("scheme") == "https",
        }
        client = scope.get("client")
        if client and _is_address(client[0]):
            described["source_address"] = client[0]
        if self._stage is not None:
            described["stage"] = self._stage
        if asked is not None:
            described["action"] = asked.action
            if asked.resource is not None:
                described["resource"] = asked.resource
        return described


_NO_BODY: Final = hashlib.sha256(b"").hexdigest()


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


async def _body(headers: Iterable[Header], receive: Receive, most: int) -> bytes | Refused | None:
    """The whole body; None if the client went away."""
    too_large = Refused(413, "RequestTooLarge", f"A request's body has at most {most} bytes.")
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or len(value) > 19 or int(value) > most):
            return too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            return too_large
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was verified, once, and then whatever comes."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def _without_pretence(headers: Iterable[Header]) -> list[Header]:
    """Without headers that say who the caller is; `_` counts as `-`, as CGI and its kin read it."""
    return [
        (name, value)
        for name, value in headers
        if not bytes(name).lower().replace(b"_", b"-").startswith(_PRETENDING)
    ]


async def _refuse(send: Send, refused: Refused, form: Literal["json", "xml"], *, is_head: bool) -> None:
    if form == "json":
        content_type = b"application/json"
        body = json.dumps({"__type": refused.code, "message": refused.message}).encode("ascii")
    else:
        content_type = b"text/xml"
        body = (
            f"<ErrorResponse><Error><Code>{escape(refused.code)}</Code>"
            f"<Message>{escape(refused.message)}</Message></Error></ErrorResponse>"
        ).encode()
    code = refused.code.encode("ascii", "replace")
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-amzn-errortype", code if code.isalnum() else b"AccessDenied"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
