"""The authority's face: bytes in, XML or JSON out. Authentication first, in one place, then routing, then everything else.

Which protocol is spoken, the service decides that the request was signed for. A call that only reads is answered at once;
one that changes something waits for its commit. What a request may cost is bounded before it comes here.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from keyturn.authority.authentication import Authenticated, Caller, Refused
from keyturn.authority.authority import Authority
from keyturn.authority.operations import Operation, Parameters, RequestFacts
from keyturn.http.account import ACCOUNT_PATH, AccountDoor
from keyturn.http.alerts import ALERTS_PATH, AlertDoor
from keyturn.http.exchange import Answer, Face, Request
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

_log = logging.getLogger("keyturn.http")
_LONGEST_AGENT: Final = 256
_LONGEST_INVOCATION: Final = 128
_OUR_PATHS: Final = b"/-/"
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


class App(Face):
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
        self._first_contract = next(iter(contracts.values()))

    def answer(self, request: Request, /) -> Answer | Coroutine[Any, Any, Answer]:
        path = request.path
        if path.startswith(_OUR_PATHS):
            if path == VERIFY_PATH and request.method == b"POST":
                return self._answer_verify(request)
            if path == ALERTS_PATH and request.method == b"POST" and self._alerts is not None:
                return self._answer_alert(self._alerts, request)
            if path == ACCOUNT_PATH and request.method == b"POST":
                return self._answer_account(request)
            return self._own_path(request.method, path)
        request_id = _new_request_id()
        try:
            return self._answer_signed(request, request_id)
        except Exception as failure:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            return _failed(self._first_contract, failure, request_id)

    def _answer_verify(self, request: Request) -> Answer:
        request_id = _new_request_id()
        status, body = self._verify.answer(_signed(request), self._source(request), request_id)
        return Answer(status, body, request_id=request_id.encode(), is_kept=False)

    async def _answer_alert(self, alerts: AlertDoor, request: Request) -> Answer:
        status, content = await alerts.answer(request.headers, bytes(request.body))
        return Answer(status, content, is_kept=False)

    async def _answer_account(self, request: Request) -> Answer:
        request_id = _new_request_id()
        agent = _shown(request.fields.get(b"user-agent", b"")[:_LONGEST_AGENT])
        status, body = await self._account.answer(_signed(request), self._source(request), agent, request_id)
        return Answer(status, body, request_id=request_id.encode(), is_kept=False)

    def _own_path(self, method: bytes, path: bytes) -> Answer:
        if path == ALERTS_PATH:
            return Answer(404, b'{"error": "there is nothing at this path"}')
        if method not in {b"GET", b"HEAD"}:
            return Answer(405, b'{"error": "only GET is answered here"}')
        if path == b"/-/live":
            return Answer(200, b'{"live": true}')
        if path == b"/-/ready":
            low = self._authority.store.is_low_on_space
            return Answer(200, json.dumps({"ready": True, "low_on_space": low}).encode())
        if path == b"/-/about":
            return Answer(200, self._about)
        return Answer(404, b'{"error": "there is nothing at this path"}')

    def _source(self, request: Request) -> Source:
        return self._forwarded.believe(request.client, request.scheme, request.headers)

    def _answer_signed(self, request: Request, request_id: str) -> Answer | Coroutine[Any, Any, Answer]:
        fields = request.fields
        now = self._authority.clock.now_ms()
        signed = _signed(request)
        source = self._source(request)
        agent = _shown(fields.get(b"user-agent", b"")[:_LONGEST_AGENT])
        if _comes_with_a_web_identity(signed) and "sts" in self._contracts:
            return self._exchange(signed, source, agent, request_id)
        outcome = self._authority.authentication.authenticate(signed, now)
        if isinstance(outcome, Refused):
            refusal = outcome.refusal
            self._authority.note_refusal(
                outcome, now, source.address, agent, lambda: self._action(refusal, signed)
            )
            return self._refused(outcome.refusal, signed, request_id)
        facts = RequestFacts(
            request_id,
            source.address,
            agent,
            outcome.service,
            outcome.region,
            source.scheme == "https",
        )
        contract = self._contracts[outcome.service]
        try:
            return self._perform(outcome, contract, signed, facts, now, fields)
        except Exception as failure:  # noqa: BLE001 - as above, in this service's words
            return _failed(contract, failure, request_id)

    async def _exchange(self, request: SignedRequest, source: Source, agent: str, request_id: str) -> Answer:
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
        try:
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
            body = operation_contract.encode(result, request_id)
            return Answer(200, body, contract.content_type, request_id.encode())
        except Exception as failure:  # noqa: BLE001 - as above
            return _failed(contract, failure, request_id)

    def _perform(
        self,
        authenticated: Authenticated,
        contract: Contract,
        request: SignedRequest,
        facts: RequestFacts,
        now: int,
        fields: Mapping[bytes, bytes],
    ) -> Answer | Coroutine[Any, Any, Answer]:
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
        if operation.writes:
            facts = facts._replace(invocation_id=_invocation(fields.get(b"amz-sdk-invocation-id", b"")))
            return self._write(authenticated, contract, asked, operation, facts, arguments)
        if operation.tells_caller_only:
            return self._tell_caller(authenticated.caller, contract, asked, operation, facts)
        result = self._authority.read(operation, authenticated.caller, facts, arguments)
        return _answered(contract, asked, operation, result, facts.request_id)

    def _tell_caller(
        self, caller: Caller, contract: Contract, asked: Asked, operation: Operation, facts: RequestFacts
    ) -> Answer:
        """An answer that is the same each time, but for the request's id."""
        request_id = facts.request_id.encode()
        around = caller.answers.get(asked.encode)
        if around is None:
            result = self._authority.read(operation, caller, facts, {})
            body = asked.encode(result, facts.request_id)
            # The id was drawn after the request had come: nobody can have a name that holds it.
            before, found, after = body.partition(request_id)
            if found:
                caller.answers[asked.encode] = (before, after)
            return Answer(200, body, contract.content_type, request_id, operation.answers_once)
        return Answer(200, request_id.join(around), contract.content_type, request_id)

    async def _write(
        self,
        authenticated: Authenticated,
        contract: Contract,
        asked: Asked,
        operation: Operation,
        facts: RequestFacts,
        arguments: Parameters,
    ) -> Answer:
        try:
            result = await self._authority.write(operation, authenticated.caller, facts, arguments)
            return _answered(contract, asked, operation, result, facts.request_id)
        except Exception as failure:  # noqa: BLE001 - as above
            return _failed(contract, failure, facts.request_id)

    def _action(self, refusal: Refusal, request: SignedRequest) -> str:
        """What a proved attempt asked for, so that whoever still uses an old key can be named by its job."""
        contract = self._contracts.get(refusal.service or "")
        try:
            return _asked(contract, request).operation if contract else "-"
        except Fault:
            return "-"

    def _refused(self, refusal: Refusal, request: SignedRequest, request_id: str) -> Answer:
        contract = self._contracts.get(refusal.service or "") or self._contract_of_target(request)
        if not refusal.code:
            return Answer(refusal.status, b"", contract.content_type, request_id.encode())
        fault = Fault(refusal.code, refusal.message or None, status=refusal.status)
        return _faulty(contract, fault, request_id)

    def _contract_of_target(self, request: SignedRequest) -> Contract:
        """Of a request whose credential scope says nothing: by its target, or the first service's."""
        for contract in self._contracts.values():
            if isinstance(contract, JsonServiceContract) and contract.is_asked(request.headers):
                return contract
        return self._first_contract


def _signed(request: Request) -> SignedRequest:
    target = request.path + b"?" + request.query if request.query else request.path
    return SignedRequest(request.method, target, request.headers, bytes(request.body))


def _answered(
    contract: Contract, asked: Asked, operation: Operation, result: Mapping[str, object], request_id: str
) -> Answer:
    body = asked.encode(result, request_id)
    return Answer(200, body, contract.content_type, request_id.encode(), operation.answers_once)


def _failed(contract: Contract, failure: Exception, request_id: str) -> Answer:
    """A refusal in its own words; what is down for now; and what is our own fault, told in its kind only."""
    if isinstance(failure, Fault):
        fault = failure
    elif isinstance(failure, StoreUnavailableError):
        _log.warning("request %s answered 503: %s", request_id, failure)
        fault = service_unavailable()
    else:
        # Only the kind is logged: a message may hold what nobody should read.
        _log.error("request %s failed: %s", request_id, _kinds(failure))
        fault = service_failure() if contract.service == "iam" else internal_failure()
    return _faulty(contract, fault, request_id)


_random_bits: Final = random.Random(os.urandom(16)).getrandbits  # noqa: S311 - ids tell requests apart, no more


def _request_ids() -> Iterator[str]:
    """In the form of UUIDs of version 4, as AWS's are. A few share their start: 48 random bits tell those apart."""
    while True:
        digits = f"{_random_bits(80):020x}"
        start = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-"
        for _ in range(256):
            yield f"{start}{_random_bits(48):012x}"


_new_request_id: Final = _request_ids().__next__
"""Of the event loop's thread only."""


def _faulty(contract: Contract, fault: Fault, request_id: str) -> Answer:
    fault = contract.worded(fault)
    body = contract.encode_fault(fault, request_id)
    return Answer(fault.status, body, contract.content_type, request_id.encode())


def _asked(contract: Contract, request: SignedRequest) -> Asked:
    return contract.asked(request.headers, request.target.partition(b"?")[2], request.body)


def _comes_with_a_web_identity(request: SignedRequest) -> bool:
    """An unsigned form with that one action; anything with a trace of a signature is verified as signed."""
    # `in` is slow for bytes: it asks first whether it was given a number.
    if request.body.find(b"AssumeRoleWithWebIdentity") < 0 or request.target != b"/":
        return False
    if any(name in {b"authorization", b"x-amz-date", b"x-amz-security-token"} for name, _ in request.headers):
        return False
    try:
        return ("Action", "AssumeRoleWithWebIdentity") in parse_form(request.body)
    except Fault:
        return False


def _parameters(request: SignedRequest) -> list[tuple[str, str]]:
    return parameters_of(request.target.partition(b"?")[2], request.body)


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
