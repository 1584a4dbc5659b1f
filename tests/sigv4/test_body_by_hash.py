"""A request whose body is known by its hash alone is verified like the request itself, and fails closed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import (
    S3,
    STS,
    Refusal,
    SignedRequest,
    SigningKey,
    Verified,
    Verifier,
    sign_request,
)
from keyturn.sigv4.authorization import epoch_seconds

KEY = AccessKeyId("AKIAIOSFODNN7EXAMPLE")
SECRET = Secret(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = 1_790_000_000_000
RULES = {"orders": STS, "s3": S3}


def signed(service: str, body: bytes) -> SignedRequest:
    return sign_request(
        method=b"PUT",
        target=b"/orders",
        headers=[(b"host", b"orders.example")],
        body=body,
        access_key_id=KEY,
        secret=SECRET,
        region="eu-west-1",
        service=service,
        now_ms=NOW,
        rules=RULES[service],
    )


def verified(request: SignedRequest) -> Verified | Refusal:
    record = SigningKey(KEY, is_active=True, secret=lambda: SECRET)
    return Verifier(services=RULES).verify(request, now_ms=NOW, look_up=lambda _id: record)


def by_hash(request: SignedRequest, digest: bytes | None = None) -> SignedRequest:
    return replace(request, body=b"", body_sha256=digest or hashlib.sha256(request.body).hexdigest().encode())


@pytest.mark.parametrize("service", RULES)
@pytest.mark.parametrize("body", [b"", b"an order"])
def test_the_hash_stands_for_the_body(service: str, body: bytes) -> None:
    request = signed(service, body)
    assert isinstance(verified(request), Verified)
    assert verified(by_hash(request)) == verified(request)


@pytest.mark.parametrize("service", RULES)
@pytest.mark.parametrize(
    "digest",
    [
        hashlib.sha256(b"another order").hexdigest().encode(),
        hashlib.sha256(b"an order").hexdigest().upper().encode(),
        hashlib.sha256(b"an order").hexdigest().encode() + b"\n",
        b"UNSIGNED-PAYLOAD",
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        b"x",
    ],
)
def test_another_hash_or_a_word_is_refused(service: str, digest: bytes) -> None:
    assert isinstance(verified(by_hash(signed(service, b"an order"), digest)), Refusal)


def test_a_body_beside_its_hash_is_refused() -> None:
    request = signed("orders", b"an order")
    digest = hashlib.sha256(request.body).hexdigest().encode()
    assert isinstance(verified(replace(request, body_sha256=digest)), Refusal)


@pytest.mark.parametrize("service", RULES)
@pytest.mark.parametrize("word", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_a_word_that_was_signed_is_no_hash_either(service: str, word: str) -> None:
    """Whoever holds a key can sign it; any body could then be put under the signature."""
    request = AWSRequest("PUT", "https://orders.example/orders", {"X-Amz-Content-SHA256": word})
    SigV4Auth(Credentials(KEY, SECRET.reveal().decode()), service, "eu-west-1").add_auth(request)
    sent = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    forged = SignedRequest(
        b"PUT", b"/orders", [(b"host", b"orders.example"), *sent], b"", body_sha256=word.encode()
    )
    record = SigningKey(KEY, is_active=True, secret=lambda: SECRET)
    now = epoch_seconds(request.headers["X-Amz-Date"].encode())
    assert now is not None
    outcome = Verifier(services=RULES).verify(forged, now_ms=now * 1000, look_up=lambda _id: record)
    assert isinstance(outcome, Refusal)
