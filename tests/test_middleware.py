"""The middleware's own conduct: what it hands on, what it drops, and that no doubt lets anybody through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from keyturn.middleware import Asked, Identity, KeyturnMiddleware, Message, Receive, Scope, Send
from living_authority import LivingAuthority, living_authority

REGION = "us-east-1"
NOBODY = Credentials("AKIAIOSFODNN7EXAMPLE", "secret")
ANYTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
)


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("home"), services="orders,s3") as authority:
        yield authority


@pytest.fixture(scope="module")
def alice(living: LivingAuthority) -> Credentials:
    """Both the service and its caller, to be short."""
    key = living.new_user_with_key("alice")
    living.iam().put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=ANYTHING)
    return Credentials(*key)


class Inner:
    """The application: remembers what came through."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        self.bodies.append((await receive())["body"])
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})


def signed_scope(
    signer: Credentials,
    method: str = "POST",
    target: str = "/orders",
    body: bytes = b"",
    service: str = "orders",
) -> Scope:
    request = AWSRequest(method, f"http://orders.example{target}", {}, body)
    SigV4Auth(signer, service, REGION).add_auth(request)
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": ("192.0.2.1", 40000),
        "headers": [
            (b"host", b"orders.example"),
            *((name.lower().encode(), value.encode()) for name, value in request.headers.items()),
        ],
    }


async def served(
    app: KeyturnMiddleware, scope: Scope, *parts: bytes
) -> tuple[int | None, bytes, list[Message]]:
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts or (b"",), 1)
    ]
    incoming.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status = sent[0].get("status") if sent else None
    return status, b"".join(message.get("body", b"") for message in sent), sent


Wrapped = Callable[..., tuple[KeyturnMiddleware, Inner]]


@pytest.fixture
def wrapped(living: LivingAuthority, alice: Credentials) -> Iterator[Wrapped]:
    made: list[KeyturnMiddleware] = []

    def wrap(**options: Any) -> tuple[KeyturnMiddleware, Inner]:
        inner = Inner()
        given: dict[str, Any] = {"endpoint_url": living.url, "credentials": alice, "service": "orders"}
        made.append(KeyturnMiddleware(inner, **(given | options)))
        return made[-1], inner

    yield wrap
    for each in made:
        each.close()


async def test_a_signed_request_comes_through_with_its_body_and_its_callers_identity(
    wrapped: Wrapped, alice: Credentials
) -> None:
    app, inner = wrapped()
    scope = signed_scope(alice, target="/orders?b=2&a=1", body=b"abcdef")
    status, content, _ = await served(app, scope, b"abc", b"", b"def")
    assert (status, content) == (200, b"served")
    assert inner.bodies == [b"abcdef"]
    identity = inner.scopes[0]["keyturn"]
    assert isinstance(identity, Identity)
    assert identity.arn.endswith(":user/alice")
    assert identity.access_key_id == alice.access_key
    assert identity.signed_headers == {"host", "x-amz-date"}
    assert "keyturn" not in scope, "the server's own scope stays as it was"


async def test_headers_and_keys_that_pretend_an_identity_are_dropped(
    wrapped: Wrapped, alice: Credentials
) -> None:
    app, inner = wrapped()
    scope = signed_scope(alice)
    scope["keyturn"] = "somebody else"
    pretending = [
        b"x-keyturn-arn",
        b"X-Forwarded-User",
        b"remote_user",
        b"x-amzn-oidc-identity",
        b"x_keyturn_arn",
    ]
    scope["headers"] += [(name, b"root") for name in pretending] + [(b"accept", b"*/*")]
    status, _, _ = await served(app, scope)
    assert status == 200
    assert isinstance(inner.scopes[0]["keyturn"], Identity)
    names = [name for name, _ in inner.scopes[0]["headers"]]
    assert names == [b"host", b"x-amz-date", b"authorization", b"accept"]


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_a_refusal_is_told_in_awss_words(wrapped: Wrapped, alice: Credentials, form: str) -> None:
    app, inner = wrapped(errors=form)
    scope = signed_scope(alice, body=b"one")
    status, content, sent = await served(app, scope, b"two")
    assert status == 403
    assert b"The request signature we calculated does not match" in content
    headers = dict(sent[0]["headers"])
    assert headers[b"x-amzn-errortype"] == b"SignatureDoesNotMatch"
    assert headers[b"cache-control"] == b"no-store"
    assert inner.scopes == []


async def test_an_unsigned_request_is_refused(wrapped: Wrapped, alice: Credentials) -> None:
    app, inner = wrapped()
    scope = signed_scope(alice)
    scope["headers"] = [(b"host", b"orders.example")]
    status, content, _ = await served(app, scope)
    assert (status, json.loads(content)["__type"]) == (403, "MissingAuthenticationToken")
    assert inner.scopes == []


async def test_the_action_that_the_application_names_is_decided_on(
    wrapped: Wrapped, living: LivingAuthority
) -> None:
    bob = Credentials(*living.new_user_with_key("bob"))
    document = json.loads(ANYTHING)
    document["Statement"]["Action"] = "orders:Read"
    living.iam().put_user_policy(UserName="bob", PolicyName="p", PolicyDocument=json.dumps(document))

    def action_of(scope: Scope) -> Asked | None:
        return (
            Asked("orders:Read")
            if scope["method"] == "GET"
            else Asked("orders:Write", "arn:aws:orders:::all")
        )

    app, inner = wrapped(action_of=action_of)
    assert (await served(app, signed_scope(bob, "GET")))[0] == 200
    status, content, _ = await served(app, signed_scope(bob, "PUT"))
    assert status == 403
    assert b"orders:Write" in content
    assert len(inner.scopes) == 1


async def test_an_action_that_cannot_be_told_lets_nobody_through(
    wrapped: Wrapped, alice: Credentials
) -> None:
    def action_of(_scope: Scope) -> Asked | None:
        raise LookupError

    app, inner = wrapped(action_of=action_of)
    assert (await served(app, signed_scope(alice)))[0] == 503
    assert inner.scopes == []


async def test_a_service_without_the_permission_to_ask_lets_nobody_through(
    wrapped: Wrapped, living: LivingAuthority, alice: Credentials
) -> None:
    app, inner = wrapped(credentials=Credentials(*living.new_user_with_key("powerless")))
    status, content, _ = await served(app, signed_scope(alice))
    assert (status, json.loads(content)["__type"]) == (503, "ServiceUnavailable")
    assert inner.scopes == []


async def test_an_authority_that_is_not_there_lets_nobody_through(
    wrapped: Wrapped, alice: Credentials
) -> None:
    app, inner = wrapped(endpoint_url="http://127.0.0.1:1")
    assert (await served(app, signed_scope(alice)))[0] == 503
    assert inner.scopes == []


GOOD = {
    "verified": True,
    "arn": "arn:aws:iam::123456789012:user/a",
    "account": "123456789012",
    "user_id": "AIDA",
    "access_key_id": "AKIA",
    "service": "orders",
    "region": REGION,
    "signed_headers": ["host"],
    "signed_payload": True,
    "principal_type": "User",
    "principal_tags": {},
    "mfa_present": None,
    "session": None,
    "decision": {"allowed": True, "reason": ""},
}
BAD_ANSWERS = {
    "empty": b"",
    "not an object": b"[]",
    "a page": b"<html>",
    "deep": b"[" * 50_000,
    "verified is a word": json.dumps(GOOD | {"verified": "true"}).encode(),
    "verified is one": json.dumps(GOOD | {"verified": 1}).encode(),
    "another service": json.dumps(GOOD | {"service": "billing"}).encode(),
    "refused with 200": json.dumps({"verified": False, "code": "x", "message": "", "status": 200}).encode(),
    **{
        f"no {name}": json.dumps({each: value for each, value in GOOD.items() if each != name}).encode()
        for name in GOOD
    },
}


class Answering:
    """A server on loopback that gives one answer to everything."""

    def __init__(self, content: bytes, status: int) -> None:
        self._answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content)
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ]
        await reader.readexactly(length)
        writer.write(self._answer)
        await writer.drain()
        writer.close()


async def test_the_answer_that_these_tests_spoil_is_a_good_one(wrapped: Wrapped) -> None:
    async with Answering(json.dumps(GOOD).encode(), 200) as authority:
        app, inner = wrapped(endpoint_url=authority.url)
        assert (await served(app, signed_scope(NOBODY)))[0] == 200
        assert len(inner.scopes) == 1


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_answer_that_is_not_wholly_clear_lets_nobody_through(wrapped: Wrapped, name: str) -> None:
    async with Answering(BAD_ANSWERS[name], 200) as authority:
        app, inner = wrapped(endpoint_url=authority.url)
        status, _, _ = await served(app, signed_scope(NOBODY))
        assert status == 503
        assert inner.scopes == []


@pytest.mark.parametrize("status", [201, 302, 400, 403, 500, 503])
async def test_an_answer_with_another_status_lets_nobody_through(wrapped: Wrapped, status: int) -> None:
    async with Answering(json.dumps(GOOD).encode(), status) as authority:
        app, inner = wrapped(endpoint_url=authority.url)
        assert (await served(app, signed_scope(NOBODY)))[0] == 503
        assert inner.scopes == []


async def test_a_body_that_no_signature_covers_is_refused(wrapped: Wrapped) -> None:
    async with Answering(json.dumps(GOOD | {"signed_payload": False}).encode(), 200) as authority:
        app, inner = wrapped(endpoint_url=authority.url)
        assert (await served(app, signed_scope(NOBODY), b"x"))[0] == 403
        assert inner.scopes == []
        assert (await served(app, signed_scope(NOBODY)))[0] == 200


async def test_what_is_too_large_is_refused_unasked(wrapped: Wrapped) -> None:
    app, inner = wrapped(endpoint_url="http://127.0.0.1:1", max_body_bytes=4)
    scope = signed_scope(NOBODY)
    assert (await served(app, scope, b"abc", b"de"))[0] == 413
    scope["headers"].append((b"content-length", b"5"))
    assert (await served(app, scope, b"abc"))[0] == 413
    scope = signed_scope(NOBODY)
    scope["headers"].append((b"x-long", b"x" * 40_000))
    assert (await served(app, scope))[0] == 431
    assert inner.scopes == []


async def test_a_request_that_is_none_is_the_clients_fault(wrapped: Wrapped, alice: Credentials) -> None:
    app, inner = wrapped()
    assert (await served(app, {**signed_scope(alice), "method": "get"}))[0] == 400
    assert inner.scopes == []


async def test_a_path_that_is_routed_on_must_be_the_one_that_was_signed(
    wrapped: Wrapped, alice: Credentials
) -> None:
    app, inner = wrapped()
    assert (await served(app, {**signed_scope(alice), "path": "/admin"}))[0] == 400
    assert inner.scopes == []


async def test_a_client_that_leaves_before_its_body_is_whole_is_forgotten(wrapped: Wrapped) -> None:
    app, inner = wrapped(endpoint_url="http://127.0.0.1:1")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        raise AssertionError("nobody is there")

    await app(signed_scope(NOBODY), receive, send)
    assert inner.scopes == []


async def test_websockets_are_closed_and_the_lifespan_goes_through(wrapped: Wrapped) -> None:
    app, inner = wrapped()
    _, _, sent = await served(app, {"type": "websocket"})
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert inner.scopes == []
    await served(app, {"type": "lifespan"})
    assert [scope["type"] for scope in inner.scopes] == ["lifespan"]


@pytest.mark.parametrize(
    "url", ["http://keyturn.example", "http://192.0.2.1:4590", "ftp://127.0.0.1", "127.0.0.1", ""]
)
def test_an_authority_without_tls_is_taken_on_loopback_only(url: str) -> None:
    with pytest.raises(ValueError, match="https, or http on loopback"):
        KeyturnMiddleware(Inner(), url, NOBODY, "orders")


def test_the_middleware_needs_nothing_of_the_authority() -> None:
    text = Path(__file__).parents[1].joinpath("src/keyturn/middleware.py").read_text(encoding="utf-8")
    assert not any(line.startswith(("import keyturn", "from keyturn")) for line in text.splitlines())
