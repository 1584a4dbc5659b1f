"""The authority's face: bytes in, XML or JSON out. Authentication first, in one place, then routing, then everything else.

Which protocol is spoken, the service decides that the request was signed for.
Bare ASGI, no framework on the request path. What a request may cost is bounded by `server` before it comes here.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from keyturn.authority.authentication import Authenticated, Refused
from keyturn.authority.authority import Authority
from keyturn.authority.operations import RequestFacts
from keyturn.http.account import ACCOUNT_PATH, AccountDoor
from keyturn.http.alerts import ALERTS_PATH, AlertDoor
from keyturn.http.forwarded import ForwardedFrom, Source
from keyturn.http.verify import VERIFY_PATH, VerifyDoor
from keyturn.model.errors import StoreUnavailableError
from keyturn.model.secrets import Secret
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.refusals import Refusal
from keyturn.wire.contracts import Asked, Contract, ServiceContract, parameters_of
from keyturn.wire.faults import (
    Fault,
    internal_failure,
    not_implemented,
    service_failure,
    service_unavailable,
)
from keyturn.wire.json import JsonServiceContract
from keyturn.wire.query import parse_form

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("keyturn.http")
_LONGEST_AGENT: Final = 256
_LONGEST_INVOCATION: Final = 128
_OUR_PATHS: Final = b"/-/"
_JSON: Final = b"application/json"
"""Status, body and content type."""
_NO_REGION: Final = "us-east-1"
"""Of a request without a credential scope."""


@dataclass(frozen=True, slots=True)
class About:
    """What a client, a rotation tool first of all, may rely on here and not on AWS."""

    version: str
    exact_revocation: bool = True
    reports_refused_attempts: bool = True
    idempotent_create: bool = True

    def as_json(self) -> bytes:
        return json.dumps(
            {
                "product": "keyturn",
                "version": self.version,
                "exact_revocation": self.exact_revocation,
                "reports_refused_attempts": self.reports_refused_attempts,
                "idempotent_create": self.idempotent_create,
            }
        ).encode()


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = _JSON
    in_chunks: bool = False
    """So that a client notices a cut: botocore takes what has arrived of a Content-Length for the whole, and
    repeats nothing."""


class _ClientGoneError(Exception):
    """The connection closed before the body was whole."""


class App:
    def __init__(
        self,
        authority: Authority,
        contracts: Mapping[str, ServiceContract | JsonServiceContract],
        about: About,
        forwarded: ForwardedFrom,
        verify: VerifyDoor,
        account: AccountDoor,
        alerts: AlertDoor | None = None,
    ) -> None:
        self._alerts = alerts
        self._authority = authority
        self._contracts = contracts
        self._about = about.as_json()
        self._forwarded = forwarded
        self._verify = verify
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        if path == VERIFY_PATH and scope["method"] == "POST":
            await self._answer_verify(scope, receive, send)
            return
        if path == ALERTS_PATH and scope["method"] == "POST" and self._alerts is not None:
            try:
                status, content = await self._alerts.answer(scope["headers"], await _body(receive))
            except _ClientGoneError:
                return
            await _send_answer(scope, send, _Answer(status, content), is_kept=False)
            return
        if path == ACCOUNT_PATH and scope["method"] == "POST":
            await self._answer_account(scope, receive, send)
            return
        if path.startswith(_OUR_PATHS):
            await _send_answer(scope, send, self._own_path(scope["method"], path))
            return
        request_id = _new_request_id()
        try:
            body = await _body(receive)
        except _ClientGoneError:
            return
        answer = await self._answer_to(scope, path, body, request_id)
        await _send_answer(scope, send, answer, request_id.encode())

    async def _answer_verify(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _new_request_id()
        try:
            body = await _body(receive)
        except _ClientGoneError:
            return
        query: bytes = scope["query_string"]
        target = VERIFY_PATH + b"?" + query if query else VERIFY_PATH
        request = SignedRequest(b"POST", target, scope["headers"], body)
        client = scope["client"]
        source = self._forwarded.believe(client[0] if client else "", scope["scheme"], scope["headers"])
        status, body = self._verify.answer(request, source, request_id)
        answer = _Answer(status, body)
        await _send_answer(scope, send, answer, request_id.encode(), is_kept=False)

    async def _answer_account(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _new_request_id()
        try:
            body = await _body(receive)
        except _ClientGoneError:
            return
        query: bytes = scope["query_string"]
        target = ACCOUNT_PATH + b"?" + query if query else ACCOUNT_PATH
        request = SignedRequest(b"POST", target, scope["headers"], body)
        client = scope["client"]
        source = self._forwarded.believe(client[0] if client else "", scope["scheme"], scope["headers"])
        agent = _shown(dict(scope["headers"]).get(b"user-agent", b"")[:_LONGEST_AGENT])
        status, body = await self._account.answer(request, source, agent, request_id)
        answer = _Answer(status, body)
        await _send_answer(scope, send, answer, request_id.encode(), is_kept=False)

    def _own_path(self, method: str, path: bytes) -> _Answer:
        if path == ALERTS_PATH:
            return _Answer(404, b'{"error": "there is nothing at this path"}')
        if method not in {"GET", "HEAD"}:
            return _Answer(405, b'{"error": "only GET is answered here"}')
        if path == b"/-/live":
            return _Answer(200, b'{"live": true}')
        if path == b"/-/ready":
            low = self._authority.store.is_low_on_space
            return _Answer(200, json.dumps({"ready": True, "low_on_space": low}).encode())
        if path == b"/-/about":
            return _Answer(200, self._about)
        return _Answer(404, b'{"error": "there is nothing at this path"}')

    async def _answer_to(self, scope: Scope, path: bytes, body: bytes, request_id: str) -> _Answer:
        headers = scope["headers"]
        query: bytes = scope["query_string"]
        now = self._authority.clock.now_ms()
        request = SignedRequest(
            method=scope["method"].encode("ascii"),
            target=path + b"?" + query if query else path,
            headers=headers,
            body=body,
        )
        client = scope["client"]
        source = self._forwarded.believe(client[0] if client else "", scope["scheme"], headers)
        named = dict(headers)
        agent = _shown(named.get(b"user-agent", b"")[:_LONGEST_AGENT])
        if "sts" in self._contracts and _comes_with_a_web_identity(request):
            return await self._exchange(request, source, agent, request_id)
        outcome = self._authority.authentication.authenticate(request, now)
        if isinstance(outcome, Refused):
            refusal = outcome.refusal
            self._authority.note_refusal(
                outcome, now, source.address, agent, lambda: self._action(refusal, request)
            )
            return self._refused(outcome.refusal, request, request_id)
        facts = RequestFacts(
            request_id=request_id,
            source_address=source.address,
            user_agent=agent,
            service=outcome.service,
            region=outcome.region,
            is_secure=source.scheme == "https",
            invocation_id=_invocation(named.get(b"amz-sdk-invocation-id", b"")),
        )
        contract = self._contracts[outcome.service]
        return await self._settled(
            self._perform(outcome, contract, request, facts, now), contract, request_id
        )

    async def _exchange(self, request: SignedRequest, source: Source, agent: str, request_id: str) -> _Answer:
        """AssumeRoleWithWebIdentity: the token stands in for the signature (STS API)."""
        contract = self._contracts["sts"]
        assert isinstance(contract, ServiceContract), "STS speaks the Query protocol"
        facts = RequestFacts(
            request_id=request_id,
            source_address=source.address,
            user_agent=agent,
            service="sts",
            region=_NO_REGION,
            is_secure=source.scheme == "https",
        )

        async def answer() -> _Answer:
            parameters = _parameters(request)
            operation_contract = contract.operation(parameters)
            operation = self._authority.offered("sts", operation_contract.name)
            if operation is None:
                raise not_implemented("sts", operation_contract.name)
            arguments = operation_contract.decode(parameters)
            token = arguments["web_identity_token"]
            assert isinstance(token, Secret), "the model calls it sensitive"
            caller, identity = await self._authority.authentication.authenticate_web_identity(token)
            result = await self._authority.perform(operation, caller, facts, arguments, identity)
            return _Answer(200, operation_contract.encode(result, request_id), contract.content_type)

        return await self._settled(answer(), contract, request_id)

    async def _settled(self, answer: Awaitable[_Answer], contract: Contract, request_id: str) -> _Answer:
        try:
            return await answer
        except Fault as refused:
            fault = refused
        except StoreUnavailableError as unavailable:
            _log.warning("request %s answered 503: %s", request_id, unavailable)
            fault = service_unavailable()
        except Exception as failure:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            # Only the kind is logged: a message may hold what nobody should read.
            _log.error("request %s failed: %s", request_id, _kinds(failure))
            fault = service_failure() if contract.service == "iam" else internal_failure()
        return _faulty(contract, fault, request_id)

    async def _perform(
        self,
        authenticated: Authenticated,
        contract: Contract,
        request: SignedRequest,
        facts: RequestFacts,
        now: int,
    ) -> _Answer:
        """Decode, act, encode. The use is booked whatever comes of it: the signature has matched."""
        action = "-"
        try:
            if request.target.partition(b"?")[0] != b"/":
                raise Fault("InvalidAction", "There is no API at this path: it stands at /.", status=404)
            asked = _asked(contract, request)
            action = asked.operation
            operation = self._authority.offered(contract.service, action)
            if operation is None:
                raise not_implemented(contract.service, action)
            arguments = asked.arguments()
        finally:
            self._authority.note_use(authenticated.caller, facts, now, action)
        result = await self._authority.perform(operation, authenticated.caller, facts, arguments)
        body = asked.encode(result, facts.request_id)
        return _Answer(200, body, contract.content_type, in_chunks=operation.answers_once)

    def _action(self, refusal: Refusal, request: SignedRequest) -> str:
        """What a proved attempt asked for, so that whoever still uses an old key can be named by its job."""
        contract = self._contracts.get(refusal.service or "")
        try:
            return _asked(contract, request).operation if contract else "-"
        except Fault:
            return "-"

    def _refused(self, refusal: Refusal, request: SignedRequest, request_id: str) -> _Answer:
        contract = self._contracts.get(refusal.service or "") or self._contract_of_target(request)
        if not refusal.code:
            return _Answer(refusal.status, b"", contract.content_type)
        fault = Fault(refusal.code, refusal.message or None, status=refusal.status)
        return _faulty(contract, fault, request_id)

    def _contract_of_target(self, request: SignedRequest) -> Contract:
        """Of a request whose credential scope says nothing: by its target, or the first service's."""
        for contract in self._contracts.values():
            if isinstance(contract, JsonServiceContract) and contract.is_asked(request.headers):
                return contract
        return next(iter(self._contracts.values()))


_random_bits: Final = random.Random(os.urandom(16)).getrandbits  # noqa: S311 - ids tell requests apart, no more


def _new_request_id() -> str:
    """In the form of a UUID of version 4, as AWS's are."""
    digits = f"{_random_bits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _faulty(contract: Contract, fault: Fault, request_id: str) -> _Answer:
    fault = contract.worded(fault)
    return _Answer(fault.status, contract.encode_fault(fault, request_id), contract.content_type)


def _asked(contract: Contract, request: SignedRequest) -> Asked:
    return contract.asked(request.headers, request.target.partition(b"?")[2], request.body)


def _comes_with_a_web_identity(request: SignedRequest) -> bool:
    """An unsigned form with that one action; anything with a trace of a signature is verified as signed."""
    if b"AssumeRoleWithWebIdentity" not in request.body or request.target != b"/":
        return False
    if any(name in {b"authorization", b"x-amz-date", b"x-amz-security-token"} for name, _ in request.headers):
        return False
    try:
        return ("Action", "AssumeRoleWithWebIdentity") in parse_form(request.body)
    except Fault:
        return False


def _parameters(request: SignedRequest) -> list[tuple[str, str]]:
    return parameters_of(request.target.partition(b"?")[2], request.body)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise _ClientGoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            raise _ClientGoneError
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def _send_answer(
    scope: Scope, send: Send, answer: _Answer, request_id: bytes | None = None, *, is_kept: bool = True
) -> None:
    in_chunks = answer.in_chunks and scope["http_version"] != "1.0"
    length = str(len(answer.body)).encode()
    framing = (b"transfer-encoding", b"chunked") if in_chunks else (b"content-length", length)
    headers = [framing, (b"content-type", answer.content_type)]
    if request_id is not None:
        headers.append((b"x-amzn-requestid", request_id))
    if not is_kept:
        headers.append((b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=256)  # a client's user agent is the same in each of its requests
def _shown(value: bytes) -> str:
    """A header as it may stand in a record: printable ASCII."""
    text = value.decode("ascii", "replace")
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _invocation(value: bytes) -> str | None:
    """Whole or not at all: an id that was cut could be taken for another."""
    if not 0 < len(value) <= _LONGEST_INVOCATION:
        return None
    text = value.decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() else None


def _kinds(failure: BaseException) -> str:
    """The kinds of an exception and of its causes, with where it was raised; never their messages."""
    kinds: list[str] = []
    seen: BaseException | None = failure
    while seen is not None and len(kinds) < 8:
        kinds.append(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    frame = failure.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    code = frame.tb_frame.f_code if frame else None
    where = f" in {code.co_qualname}, line {frame.tb_lineno}" if code and frame else ""
    return " from ".join(kinds) + where
