"""Requests signed by hand, rightly or wickedly, with no line of the code under test.

Every part can be set on its own, so that a test can sign what no SDK would sign. Only what needs no
canonical form is offered: the path is `/` unless a test says otherwise, and values are sent trimmed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import IAM, STS, Refusal, SignedRequest, SigningKey, Verified, Verifier

KEY_ID: Final = AccessKeyId("AKIAQAAAAAAABCDEFGHI")
OTHER_KEY_ID: Final = AccessKeyId("AKIAQAAAAAAABCDEFGH7")
SECRET: Final = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW: Final = datetime(2026, 2, 11, 10, 40, 38, tzinfo=UTC)
NOW_MS: Final = int(NOW.timestamp()) * 1000
DATE: Final = "20260211T104038Z"
BODY: Final = b"Action=GetCallerIdentity&Version=2011-06-15"
HOST: Final = "127.0.0.1:4590"

Headers = Sequence[tuple[str, str]]


@dataclass
class Keys:
    """One key, and how often it was asked for."""

    access_key_id: AccessKeyId = KEY_ID
    secret: str = SECRET
    is_active: bool = True
    session_token: str | None = None
    asked: list[str] = field(default_factory=list)
    opened: int = 0

    def look_up(self, access_key_id: AccessKeyId) -> SigningKey | None:
        self.asked.append(access_key_id)
        if access_key_id != self.access_key_id:
            return None
        token = None if self.session_token is None else Secret(self.session_token.encode())
        return SigningKey(access_key_id, self.is_active, self._open, token)

    def _open(self) -> Secret:
        self.opened += 1
        return Secret(self.secret.encode())


def verifier(*, regions: frozenset[str] | None = None, decoy: Callable[[], Secret] | None = None) -> Verifier:
    services = {"iam": IAM, "sts": STS}
    if decoy is None:
        return Verifier(services=services, regions=regions)
    return Verifier(services=services, regions=regions, decoy=decoy)


def verify(request: SignedRequest, keys: Keys | None = None, *, now_ms: int = NOW_MS) -> Verified | Refusal:
    """By a new verifier, with one active key unless told otherwise."""
    return verifier().verify(request, now_ms=now_ms, look_up=(keys or Keys()).look_up)


def refused(outcome: Verified | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal), outcome
    return outcome


def accepted(outcome: Verified | Refusal) -> Verified:
    assert isinstance(outcome, Verified), outcome
    return outcome


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _signature(secret: str, scope: str, date: str, canonical: str) -> str:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    message = "\n".join(["AWS4-HMAC-SHA256", date, scope, sha256(canonical.encode())])
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def _lines(headers: Headers, signed: Sequence[str]) -> str:
    return "".join(
        f"{name}:{','.join(value for sent, value in headers if sent.lower() == name)}\n" for name in signed
    )


def header_form(
    *,
    method: str = "POST",
    target: str = "/",
    path: str = "/",
    query: str = "",
    headers: Headers = (("content-type", "application/x-www-form-urlencoded"),),
    unsigned: Headers = (("user-agent", "Boto3/1.44.5"),),
    body: bytes = BODY,
    dated: Headers = (("x-amz-date", DATE),),
    date: str = DATE,
    scope_date: str | None = None,
    region: str = "us-east-1",
    service: str = "sts",
    terminator: str = "aws4_request",
    key_id: str = KEY_ID,
    secret: str = SECRET,
    signed_names: Sequence[str] | None = None,
    payload_hash: str | None = None,
    authorization: str = (
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}"
    ),
) -> SignedRequest:
    """`path` and `query` are canonical and are what is signed; `target` is what is sent."""
    sent = [("host", HOST), *headers, *dated]
    names = sorted({name.lower() for name, _ in sent}) if signed_names is None else signed_names
    scope = f"{scope_date or date[:8]}/{region}/{service}/{terminator}"
    canonical = "\n".join(
        [method, path, query, _lines(sent, names), ";".join(names), payload_hash or sha256(body)]
    )
    written = authorization.format(
        credential=f"{key_id}/{scope}",
        signed_headers=";".join(names),
        signature=_signature(secret, scope, date, canonical),
    )
    everything = [*sent, *unsigned, ("authorization", written)]
    return SignedRequest(
        method.encode(),
        target.encode(),
        [(name.lower().encode(), value.encode()) for name, value in everything],
        body,
    )


def query_form(
    *,
    parameters: Sequence[tuple[str, str]] = (("Action", "GetCallerIdentity"), ("Version", "2011-06-15")),
    headers: Headers = (),
    unsigned: Headers = (("user-agent", "Boto3/1.44.5"),),
    body: bytes = b"",
    date: str = DATE,
    expires: str = "60",
    region: str = "us-east-1",
    service: str = "sts",
    key_id: str = KEY_ID,
    secret: str = SECRET,
    algorithm: str = "AWS4-HMAC-SHA256",
    signed_names: Sequence[str] | None = None,
    payload_hash: str | None = None,
    without: str = "",
) -> SignedRequest:
    """A presigned GET. `without` leaves out one X-Amz- parameter, before signing."""
    sent = [("host", HOST), *headers]
    names = sorted({name for name, _ in sent}) if signed_names is None else signed_names
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    ours = [
        ("X-Amz-Algorithm", algorithm),
        ("X-Amz-Credential", f"{key_id}/{scope}"),
        ("X-Amz-Date", date),
        ("X-Amz-Expires", expires),
        ("X-Amz-SignedHeaders", ";".join(names)),
    ]
    pairs = [*parameters, *[pair for pair in ours if pair[0] != without]]
    encoded = [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs]
    canonical_query = "&".join(sorted(encoded))
    canonical = "\n".join(
        ["GET", "/", canonical_query, _lines(sent, names), ";".join(names), payload_hash or sha256(body)]
    )
    signature = _signature(secret, scope, date, canonical)
    if without != "X-Amz-Signature":
        encoded.append(f"X-Amz-Signature={signature}")
    target = "/?" + "&".join(encoded)
    return SignedRequest(
        b"GET",
        target.encode(),
        [(name.encode(), value.encode()) for name, value in [*sent, *unsigned]],
        body,
    )


def with_header(request: SignedRequest, name: str, value: str) -> SignedRequest:
    """The request with one header more, added after it was signed."""
    headers = [*request.headers, (name.encode(), value.encode())]
    return SignedRequest(request.method, request.target, headers, request.body)


def replaced(request: SignedRequest, name: bytes, value: bytes) -> SignedRequest:
    """The request with another value for one header."""
    headers = [(sent, value if sent == name else old) for sent, old in request.headers]
    return SignedRequest(request.method, request.target, headers, request.body)


def without_header(request: SignedRequest, name: bytes) -> SignedRequest:
    headers = [pair for pair in request.headers if pair[0] != name]
    return SignedRequest(request.method, request.target, headers, request.body)


def header(request: SignedRequest, name: bytes) -> bytes:
    return next(value for sent, value in request.headers if sent == name)
