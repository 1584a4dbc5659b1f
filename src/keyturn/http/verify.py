"""`POST /-/verify`: a service that received a signed request asks who signed it and whether they may.

The call is itself signed, by a principal that holds `keyturn:Verify`, for the credential scope `keyturn`. Facts go
out, and never a credential or a token. Reading the request from the wire and sending the answer is left to `app`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from keyturn.authority.authentication import Authenticated
from keyturn.authority.authority import Authority
from keyturn.authority.authorization import Held
from keyturn.authority.operations import Call, RequestFacts, Target
from keyturn.authority.sessions import SessionKind
from keyturn.http.forwarded import Source
from keyturn.model.clock import iso8601
from keyturn.model.errors import StoreUnavailableError
from keyturn.model.principals import AssumedRole, FederatedUser, User
from keyturn.policy.evaluation import Decision, denial_message
from keyturn.settings import OFFERED_SERVICES, VERIFY_SERVICE
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.refusals import Refusal
from keyturn.sigv4.rules import PathStyle, ServiceRules
from keyturn.sigv4.verification import Verifier
from keyturn.wire.faults import Fault, access_denied, validation_error

VERIFY_PATH: Final = b"/-/verify"
VERIFY_ACTION: Final = "keyturn:Verify"
INVOKE: Final = "execute-api:Invoke"
"""What a request needs whose service names no action (API Gateway, "Control access with IAM permissions")."""
LARGEST_CALL: Final = 128 * 1024
"""Bytes of JSON. A head that our own server would take fits, escaped."""
_LARGEST_HEAD: Final = 32 * 1024
_MOST_HEADERS: Final = 100
_LONGEST_AGENT: Final = 256
_RESERVED: Final = frozenset({*OFFERED_SERVICES, VERIFY_SERVICE})
"""A service may not ask what its callers could do to the authority."""
_MEMBERS: Final = frozenset(
    {
        "service",
        "method",
        "target",
        "headers",
        "body_sha256",
        "action",
        "resource",
        "stage",
        "source_address",
        "secure",
    }
)
_PRINCIPAL_TYPES: Final = {User: "User", AssumedRole: "AssumedRole", FederatedUser: "FederatedUser"}

Json = dict[str, Any]
Fits = Callable[[str], re.Match[str] | None]
_log = logging.getLogger("keyturn.http")
_method: Final = re.compile(r"[A-Z]{1,32}\Z").match
_sha256: Final = re.compile(r"[0-9a-f]{64}\Z").match
_action: Final = re.compile(r"[a-z0-9-]{1,64}:[A-Za-z0-9]{1,128}\Z").match
_resource: Final = re.compile(
    r"(?:\*|arn:[a-z-]+:[a-z0-9-]*:[a-z0-9-]*:[0-9]*:[^\x00-\x1f\x7f]{1,1800})\Z"
).match
_service: Final = re.compile(r"[a-z0-9-]{1,64}\Z").match
_stage: Final = re.compile(r"[A-Za-z0-9_$-]{1,64}\Z").match
_header_name: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}\Z").match
_header_value: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\Z").match
_ambiguous: Final = re.compile(rb"%2f|%5c|\\", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Described:
    """A request that somebody else received, and what they want to know of it."""

    service: str
    request: SignedRequest
    action: str
    resource: str | None
    stage: str
    source_address: str
    """Empty if it was not told: `aws:SourceIp` is absent then."""
    is_secure: bool


@dataclass(frozen=True, slots=True)
class OwnService:
    """A team's service: how requests to it are read, and who verifies those in the scope of its name alone."""

    rules: ServiceRules
    verifier: Verifier


class VerifyDoor:
    """Belongs to the event loop's thread, as authentication does."""

    def __init__(self, authority: Authority, calls: Verifier, services: Mapping[str, OwnService]) -> None:
        """`calls` verifies who asks."""
        self._authority = authority
        self._calls = calls
        self._services = services

    def answer(self, request: SignedRequest, source: Source, request_id: str) -> tuple[int, bytes]:
        """Status and JSON. 200 for every question that could be answered, whatever the answer is."""
        try:
            return 200, _json(self._answer(request, source, request_id))
        except Fault as refused:
            fault = refused
        except StoreUnavailableError as unavailable:
            _log.warning("request %s answered 503: %s", request_id, unavailable)
            fault = Fault("ServiceUnavailable", "The store can't be read.", status=503)
        except Exception as failure:  # noqa: BLE001 - the last line: nobody may take silence for consent
            _log.error("request %s failed: %s", request_id, type(failure).__name__)
            fault = Fault("InternalFailure", "The request could not be answered.", status=500)
        return fault.status, _json({"code": fault.code, "message": fault.message or ""})

    def _answer(self, request: SignedRequest, source: Source, request_id: str) -> Json:
        if request.target != VERIFY_PATH:
            raise validation_error("A call of /-/verify has no query.")
        if len(request.body) > LARGEST_CALL:
            raise Fault("RequestTooLarge", f"A call has at most {LARGEST_CALL} bytes.", status=413)
        now = self._authority.clock.now_ms()
        agent = _user_agent(request)
        asking = self._authenticated(request, self._calls, now, source.address, agent, "Verify")
        if isinstance(asking, Refusal):
            raise _fault_of(asking)
        facts = RequestFacts(
            request_id=request_id,
            source_address=source.address,
            user_agent=agent,
            service=asking.service,
            region=asking.region,
            is_secure=source.scheme == "https",
        )
        self._authority.note_use(asking.caller, facts, now, "Verify")
        described = read_described(request.body)
        service = self._services.get(described.service)
        if service is None:
            raise Fault(
                "UnknownService",
                f"Requests to '{described.service}' are not verified here: `keyturn serve --services` names those that are.",
                status=400,
            )
        arn = f"arn:aws:keyturn:{asking.region}:{asking.caller.account_id}:service/{described.service}"
        decision, _ = self._decided(asking, facts, now, VERIFY_ACTION, arn)
        if not decision.allowed:
            raise access_denied(denial_message(asking.caller.arn, VERIFY_ACTION, arn, decision))
        return self._looked_at(described, service, request_id, now)

    def _looked_at(self, described: Described, service: OwnService, request_id: str, now: int) -> Json:
        """The answer to a caller that may have one."""
        path = plain_path(described.request.target)
        if path is None and service.rules.path is PathStyle.NORMALISED:
            # Several spellings of a path share one signature: only the plain one is what its signer saw.
            return _unverified("BadRequest", "The path is not in its plain form.", 400)
        source, agent = described.source_address, _user_agent(described.request)
        action = described.action.partition(":")[2]
        signer = self._authenticated(described.request, service.verifier, now, source, agent, action)
        if isinstance(signer, Refusal):
            refusal = _fault_of(signer)
            return _unverified(refusal.code, refusal.message or "", refusal.status)
        facts = RequestFacts(
            request_id=request_id,
            source_address=source,
            user_agent=agent,
            service=signer.service,
            region=signer.region,
            is_secure=described.is_secure,
        )
        self._authority.note_use(signer.caller, facts, now, action)
        resource = described.resource
        if resource is None:
            resource = "*" if described.action != INVOKE else _invoke_arn(described, signer, path)
        decision, held = self._decided(signer, facts, now, described.action, resource or "*")
        reason = denial_message(signer.caller.arn, described.action, resource or "*", decision)
        if decision.allowed:
            reason = f"The {decision.kind} allows it."
        is_allowed = decision.allowed and resource is not None
        if resource is None:
            reason = "The path is not in its plain form: no policy can name it."
        return _verified(signer, held) | {
            "decision": {
                "allowed": is_allowed,
                "reason": reason,
                "action": described.action,
                "resource": resource,
            }
        }

    def _authenticated(
        self, request: SignedRequest, verifier: Verifier, now: int, source: str, agent: str, action: str
    ) -> Authenticated | Refusal:
        outcome = self._authority.authentication.authenticate(request, now, verifier)
        if isinstance(outcome, Authenticated):
            return outcome
        self._authority.note_refusal(outcome, now, source, agent, lambda: action)
        return outcome.refusal

    def _decided(
        self, authenticated: Authenticated, facts: RequestFacts, now: int, action: str, arn: str
    ) -> tuple[Decision, Held]:
        services = self._authority.services
        with self._authority.store.read() as reader:
            call = Call(action.partition(":")[2], authenticated.caller, now, facts, services, reader)
            return services.authorization.decide_on(call, action, Target(arn, arn))


def read_described(body: bytes) -> Described:
    """The JSON of a call. A Fault for anything that is missing, unknown, twice there, of another type or too large."""
    try:
        content = json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise validation_error("The body is not one JSON object with each name once.") from None
    if not isinstance(content, dict):
        raise validation_error("The body is not a JSON object.")
    if not content.keys() <= _MEMBERS:
        raise validation_error(f"The members are: {', '.join(sorted(_MEMBERS))}.")
    action = _text(content, "action", _action, INVOKE)
    if action.partition(":")[0] in _RESERVED:
        raise validation_error("'action' is one of the authority's own.")
    resource = _text(content, "resource", _resource, "")
    secure = content.get("secure", False)
    if not isinstance(secure, bool):
        raise validation_error("'secure' is true or false.")
    target = _latin_1(content.get("target"), "target")
    headers = _headers(content.get("headers"))
    if len(target) + sum(len(name) + len(value) for name, value in headers) > _LARGEST_HEAD:
        raise validation_error(f"Target and headers have at most {_LARGEST_HEAD} bytes.")
    return Described(
        service=_text(content, "service", _service),
        request=SignedRequest(
            method=_text(content, "method", _method).encode("ascii"),
            target=target,
            headers=headers,
            body=b"",
            body_sha256=_text(content, "body_sha256", _sha256).encode("ascii"),
        ),
        action=action,
        resource=resource or None,
        stage=_text(content, "stage", _stage, "*"),
        source_address=_address(content.get("source_address")),
        is_secure=secure,
    )


def plain_path(target: bytes) -> str | None:
    """The path, decoded, or None if another spelling of it would be signed alike or be routed elsewhere."""
    raw = target.partition(b"?")[0]
    if not raw.startswith(b"/") or _ambiguous(raw):
        return None
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return None
    segments = path.split("/")[1:]
    if any(segment in {".", ".."} for segment in segments) or "" in segments[:-1]:
        return None
    return path if path.isprintable() else None


def _invoke_arn(described: Described, signer: Authenticated, path: str | None) -> str | None:
    """API Gateway's ARN of a method: the service stands for its API's id."""
    if path is None:
        return None
    api = f"arn:aws:execute-api:{signer.region}:{signer.caller.account_id}:{described.service}"
    return f"{api}/{described.stage}/{described.request.method.decode('ascii')}{path}"


def _verified(signer: Authenticated, held: Held) -> Json:
    caller, session = signer.caller, signer.caller.session
    principal = caller.principal
    has_factor: bool | None = None
    if session is not None and session.kind in {SessionKind.USER, SessionKind.ROLE}:
        has_factor = session.mfa_at is not None
    answer: Json = {
        "verified": True,
        "arn": caller.arn,
        "account": caller.account_id,
        "user_id": caller.unique_id,
        "access_key_id": caller.access_key_id,
        "service": signer.service,
        "region": signer.region,
        "signed_at": iso8601(signer.signed_at),
        "signed_headers": [name.decode("ascii") for name in signer.signed_headers],
        "signed_payload": signer.has_signed_payload,
        "principal_type": _PRINCIPAL_TYPES[type(principal)],
        "principal_tags": dict((*held.tags, *(session.tags if session else ()))),
        "mfa_present": has_factor,
        "session": None,
    }
    if session is not None:
        answer["session"] = {
            "kind": str(session.kind),
            "name": session.name,
            "issued_at": iso8601(session.issued_at),
            "expires_at": iso8601(session.expires_at),
            "source_identity": session.source_identity,
        }
    return answer


def _unverified(code: str, message: str, status: int) -> Json:
    return {"verified": False, "code": code, "message": message, "status": status}


def _fault_of(refusal: Refusal) -> Fault:
    if not refusal.code:
        return Fault("BadRequest", "The request is not well formed.", status=refusal.status)
    return Fault(refusal.code, refusal.message, status=refusal.status)


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of one name that choose differently are an attack."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _text(content: Json, name: str, fits: Fits, default: str | None = None) -> str:
    if default is not None and name not in content:
        return default
    value = content.get(name)
    if not isinstance(value, str) or fits(value) is None:
        raise validation_error(f"'{name}' is missing or is not what it must be.")
    return value


def _latin_1(value: object, name: str) -> bytes:
    """Bytes of the wire, one character each (as WSGI, PEP 3333, hands them on)."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            pass
    raise validation_error(f"'{name}' is a text of one character for each byte.")


def _headers(value: object) -> list[tuple[bytes, bytes]]:
    """Each in wire order, names in lower case: names that differ by letter case alone are one header, come twice."""
    if not isinstance(value, list) or len(value) > _MOST_HEADERS:
        raise validation_error(f"'headers' is a list of at most {_MOST_HEADERS} pairs.")
    headers = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise validation_error("Each header is a list of a name and a value.")
        text = _latin_1(pair[1], "headers")
        if not _header_name(pair[0]) or not _header_value(text):
            raise validation_error("A header's name or value is not what HTTP allows.")
        headers.append((pair[0].lower().encode("ascii"), text))
    return headers


def _address(value: object) -> str:
    if value is None:
        return ""
    try:
        return str(ip_address(value if isinstance(value, str) and len(value) < 64 else ""))
    except ValueError:
        raise validation_error("'source_address' is an IP address.") from None


def _user_agent(request: SignedRequest) -> str:
    """As it may stand in a record: printable ASCII, and short."""
    value = dict(request.headers).get(b"user-agent", b"")[:_LONGEST_AGENT].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in value)


def _json(content: Json) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode("ascii")
