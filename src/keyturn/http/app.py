"""The authority's face: bytes in, XML out. Authentication first, in one place, then routing, then everything else.

Bare ASGI, no framework on the request path. What a request may cost is bounded by `server` before it comes here.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.authority.authentication import Authenticated
from keyturn.authority.authority import Authority
from keyturn.authority.operations import RequestFacts
from keyturn.http.forwarded import ForwardedFrom
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import StoreUnavailableError
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.refusals import SIGNATURE_DOES_NOT_MATCH, Refusal
from keyturn.wire.contracts import OperationContract, ServiceContract
from keyturn.wire.faults import (
    Fault,
    internal_failure,
    not_implemented,
    service_failure,
    service_unavailable,
)
from keyturn.wire.query import parse_form, parse_query

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("keyturn.http")
_LONGEST_AGENT: Final = 256
_LONGEST_INVOCATION: Final = 128
_OUR_PATHS: Final = b"/-/"
_JSON: Final = b"application/json"
_XML: Final = b"text/xml"


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


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    in_chunks: bool = False
    """So that a client notices a cut: botocore takes what has arrived of a Content-Length for the whole, and
    repeats nothing."""


class _ClientGoneError(Exception):
    """The connection closed before the body was whole."""


class App:
    def __init__(
        self,
        authority: Authority,
        contracts: Mapping[str, ServiceContract],
        about: About,
        forwarded: ForwardedFrom,
    ) -> None:
        self._authority = authority
        self._contracts = contracts
        self._about = about.as_json()
        self._forwarded = forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        if path.startswith(_OUR_PATHS):
            await _send_answer(scope, send, self._own_path(scope["method"], path), _JSON)
            return
        request_id = _new_request_id()
        try:
            body = await _body(receive)
        except _ClientGoneError:
            return
        answer = await self._answer_to(scope, path, body, request_id)
        await _send_answer(scope, send, answer, _XML, request_id.encode())

    def _own_path(self, method: str, path: bytes) -> _Answer:
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
        outcome = self._authority.authentication.authenticate(request, now)
        client = scope["client"]
        source = self._forwarded.believe(client[0] if client else "", scope["scheme"], headers)
        named = dict(headers)
        agent = _shown(named.get(b"user-agent", b""), _LONGEST_AGENT)
        if isinstance(outcome, Refusal):
            self._note_refusal(outcome, request, now, source.address, agent)
            return self._refused(outcome, request_id)
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
        try:
            return await self._perform(outcome, contract, request, facts, now)
        except Fault as refused:
            fault = refused
        except StoreUnavailableError as unavailable:
            _log.warning("request %s answered 503: %s", request_id, unavailable)
            fault = service_unavailable()
        except Exception as failure:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            # Only the kind is logged: a message may hold what nobody should read.
            _log.error("request %s failed: %s", request_id, _kinds(failure))
            fault = service_failure() if outcome.service == "iam" else internal_failure()
        return _Answer(fault.status, contract.encode_fault(fault, request_id))

    async def _perform(
        self,
        authenticated: Authenticated,
        contract: ServiceContract,
        request: SignedRequest,
        facts: RequestFacts,
        now: int,
    ) -> _Answer:
        """Decode, act, encode. The use is booked whatever comes of it: the signature has matched."""
        action = "-"
        try:
            if request.target.partition(b"?")[0] != b"/":
                raise Fault("InvalidAction", "There is no API at this path: it stands at /.", status=404)
            parameters = _parameters(request)
            operation_contract = contract.operation(parameters)
            action = operation_contract.name
            operation = self._authority.offered(contract.service, action)
            if operation is None:
                raise not_implemented(contract.service, action)
            arguments = operation_contract.decode(parameters)
        finally:
            self._authority.services.repeats.note_used(authenticated.caller.access_key_id)
            self._authority.services.usage.record_use(
                authenticated.caller.access_key_id,
                at=now,
                source=facts.source_address,
                user_agent=facts.user_agent,
                service=facts.service,
                region=facts.region,
                action=action,
            )
        result = await self._authority.perform(operation, authenticated.caller, facts, arguments)
        answer = operation_contract.encode(result, facts.request_id)
        return _Answer(200, answer, in_chunks=operation.answers_once)

    def _note_refusal(
        self, refusal: Refusal, request: SignedRequest, now: int, source: str, agent: str
    ) -> None:
        access_key_id = refusal.access_key_id
        if access_key_id is None:
            return
        usage = self._authority.services.usage
        if refusal.proved:
            usage.record_proved_refusal(
                access_key_id,
                at=now,
                source=source,
                user_agent=agent,
                service=refusal.service or "-",
                action=self._action(refusal, request),
            )
        elif _is_unproved(refusal) and self._authority.authentication.was_issued(AccessKeyId(access_key_id)):
            usage.record_unproved_refusal(access_key_id, at=now, source=source)

    def _action(self, refusal: Refusal, request: SignedRequest) -> str:
        """What a proved attempt asked for, so that whoever still uses an old key can be named by its job."""
        contract = self._contracts.get(refusal.service or "")
        operation: OperationContract | None = None
        try:
            operation = contract.operation(_parameters(request)) if contract else None
        except Fault:
            return "-"
        return operation.name if operation else "-"

    def _refused(self, refusal: Refusal, request_id: str) -> _Answer:
        if not refusal.code:
            return _Answer(refusal.status, b"")
        contract = self._contracts.get(refusal.service or "") or next(iter(self._contracts.values()))
        fault = Fault(refusal.code, refusal.message or None, status=refusal.status)
        return _Answer(refusal.status, contract.encode_fault(fault, request_id))


_random_bits: Final = random.Random(os.urandom(16)).getrandbits  # noqa: S311 - ids tell requests apart, no more


def _new_request_id() -> str:
    """In the form of a UUID of version 4, as AWS's are."""
    digits = f"{_random_bits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _is_unproved(refusal: Refusal) -> bool:
    """A wrong signature or a deleted key, and not a wrong clock or scope."""
    return refusal.code == "InvalidClientTokenId" or (refusal.code, refusal.message) == (
        SIGNATURE_DOES_NOT_MATCH.code,
        SIGNATURE_DOES_NOT_MATCH.message,
    )


def _parameters(request: SignedRequest) -> list[tuple[str, str]]:
    """The parameters of the URL, without those that sign it, and of the body."""
    query = request.target.partition(b"?")[2]
    parameters = parse_form(request.body) if request.body else []
    if query:
        parameters += [
            (name, value) for name, value in parse_query(query) if not name.lower().startswith("x-amz-")
        ]
    return parameters


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
    scope: Scope, send: Send, answer: _Answer, content_type: bytes, request_id: bytes | None = None
) -> None:
    in_chunks = answer.in_chunks and scope["http_version"] != "1.0"
    length = str(len(answer.body)).encode()
    framing = (b"transfer-encoding", b"chunked") if in_chunks else (b"content-length", length)
    headers = [framing, (b"content-type", content_type)]
    if request_id is not None:
        headers.append((b"x-amzn-requestid", request_id))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _shown(value: bytes, longest: int) -> str:
    """A header as it may stand in a record: printable ASCII, and short."""
    text = value[:longest].decode("ascii", "replace")
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
