"""Signing keys, signatures and a small signer (IAM user guide, "Create a signed AWS API request", steps 2-4).

Signing builds its canonical request with the functions that verifying uses. Checking a signature is left to
`verification`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4.authorization import ALGORITHM, TERMINATOR
from keyturn.sigv4.canonical_request import (
    Pair,
    SignedHeaders,
    SignedRequest,
    canonical_pairs,
    canonical_path,
    canonical_query,
    canonical_request,
    gather_headers,
    split_target,
)
from keyturn.sigv4.rules import STS, PayloadRule, ServiceRules

_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest().encode()

_CHANGED_ON_THE_WAY: Final = frozenset(
    {b"connection", b"expect", b"te", b"transfer-encoding", b"user-agent", b"x-amzn-trace-id"}
)
"""Headers that proxies and HTTP clients rewrite, so that no SDK signs them."""


class KeyedHmac:
    """HMAC-SHA256 with the key's two blocks already hashed (RFC 2104, 4).

    A copy of a hash state costs a fraction of an HMAC set up anew, and a verifier uses one key many times.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        """`key` has at most 64 bytes, as every signing key has (32)."""
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def signature(self, string_to_sign: bytes) -> bytes:
        """64 lower-case hex digits."""
        inner = self._inner.copy()
        inner.update(string_to_sign)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()


def derive_signing_key(secret: Secret, date: bytes, region: bytes, service: bytes) -> KeyedHmac:
    """The key of one day, region and service: all that a signature needs, and nothing of the secret."""
    key = b"AWS4" + secret.reveal()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part, "sha256")
    return KeyedHmac(key)


def string_to_sign(date: bytes, scope: bytes, canonical: bytes) -> bytes:
    """`date` in ISO-8601 basic format, `scope` without the key id."""
    return b"\n".join((ALGORITHM, date, scope, sha256_hex(canonical)))


def sha256_hex(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() if body else _EMPTY_SHA256


def basic_format(epoch_seconds: int) -> str:
    """ISO-8601 basic format, as the X-Amz-Date header has it: `20150830T123600Z`."""
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def sign_request(
    *,
    method: bytes,
    target: bytes,
    headers: Iterable[Pair],
    body: bytes = b"",
    access_key_id: AccessKeyId,
    secret: Secret,
    region: str,
    service: str,
    now_ms: int,
    rules: ServiceRules = STS,
) -> SignedRequest:
    """The request in header form: X-Amz-Date and Authorization added, header names lower-cased.

    `headers` must hold Host. Under S3's rules X-Amz-Content-Sha256 is added too. ValueError for a target or a
    header that no verifier would accept.
    """
    date = basic_format(now_ms // 1000).encode()
    payload_hash = sha256_hex(body)
    sent = [(name.lower(), value) for name, value in headers]
    sent.append((b"x-amz-date", date))
    if rules.payload is PayloadRule.DECLARED:
        sent.append((b"x-amz-content-sha256", payload_hash))

    values = gather_headers(sent)
    signed = sorted(values.keys() - _CHANGED_ON_THE_WAY)
    split = split_target(target)
    path = canonical_path(split[0], rules.path) if split else None
    pairs = canonical_pairs(split[1]) if split else None
    lines = SignedHeaders(tuple(signed)).lines(values) if signed else None
    if path is None or pairs is None or lines is None or b"host" not in values:
        raise ValueError("a target must be an absolute path, and headers hold Host and no control characters")

    scope = b"/".join((date[:8], region.encode(), service.encode(), TERMINATOR))
    names = b";".join(signed)
    canonical = canonical_request(method, path, canonical_query(pairs), lines, names, payload_hash)
    key = derive_signing_key(secret, date[:8], region.encode(), service.encode())
    authorization = b"%s Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        ALGORITHM,
        access_key_id.encode(),
        scope,
        names,
        key.signature(string_to_sign(date, scope, canonical)),
    )
    return SignedRequest(method, target, (*sent, (b"authorization", authorization)), body)
