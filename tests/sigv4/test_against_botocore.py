"""Whatever botocore signs is accepted, and what it computes for our own signer's requests is the same."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import (
    IAM,
    S3,
    STS,
    Form,
    Refusal,
    ServiceRules,
    SignedRequest,
    Verified,
    Verifier,
    sign_request,
)
from sigv4.signed_examples import BODY, KEY_ID, NOW_MS, SECRET, Keys, accepted, header_form, refused

CREDENTIALS = Credentials(KEY_ID, SECRET)
TOKEN_CHARACTERS = st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-")

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
segments = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: text not in {".", ".."}
)
paths = st.lists(st.one_of(segments, st.just("")), max_size=5)
queries = st.lists(st.tuples(texts, texts), max_size=6)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.just("\t"), max_size=20)
headers = st.dictionaries(
    st.builds("x-{}".format, st.text(TOKEN_CHARACTERS, min_size=1, max_size=8)).filter(
        lambda name: not name.startswith(("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"))
    ),
    header_values,
    max_size=4,
)
bodies = st.binary(max_size=64)


def url_of(path: list[str], query: list[tuple[str, str]]) -> str:
    encoded = "/" + "/".join(quote(segment, safe="-_.~") for segment in path)
    parameters = "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in query)
    return f"http://127.0.0.1:4590{encoded}" + (f"?{parameters}" if parameters else "")


def on_the_wire(request: AWSRequest) -> SignedRequest:
    url = urlsplit(str(request.url))
    sent = [(b"host", url.netloc.encode())]
    for name, value in request.headers.items():
        sent.append((name.lower().encode(), value.encode()))
    target = url.path + (f"?{url.query}" if url.query else "")
    body = request.data
    assert isinstance(body, bytes)
    return SignedRequest(str(request.method).encode(), target.encode(), sent, body)


def verify_now(request: SignedRequest, date: str) -> Verified | Refusal:
    """At the moment when botocore signed: it reads the clock itself."""
    now_ms = int(datetime.strptime(date + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()) * 1000
    verifier = Verifier(services={"iam": IAM, "sts": STS, "s3": S3})
    return verifier.verify(request, now_ms=now_ms, look_up=Keys().look_up)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(
    paths, queries, headers, bodies, st.sampled_from(["GET", "POST", "PUT"]), st.sampled_from(["iam", "sts"])
)
def test_a_request_that_botocore_signed_is_accepted(
    path: list[str],
    query: list[tuple[str, str]],
    extra: dict[str, str],
    body: bytes,
    method: str,
    service: str,
) -> None:
    request = AWSRequest(method=method, url=url_of(path, query), data=body, headers=extra)
    SigV4Auth(CREDENTIALS, service, "eu-central-1").add_auth(request)
    verified = accepted(verify_now(on_the_wire(request), request.context["timestamp"]))
    assert (verified.service, verified.region) == (service, "eu-central-1")


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(paths, queries, headers)
def test_an_s3_request_that_botocore_signed_is_accepted(
    path: list[str], query: list[tuple[str, str]], extra: dict[str, str]
) -> None:
    request = AWSRequest(method="GET", url=url_of(path, query), data=b"", headers=extra)
    S3SigV4Auth(CREDENTIALS, "s3", "us-east-1").add_auth(request)
    accepted(verify_now(on_the_wire(request), request.context["timestamp"]))


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(paths, queries, headers, st.integers(1, 604800))
def test_a_url_that_botocore_presigned_is_accepted(
    path: list[str], query: list[tuple[str, str]], extra: dict[str, str], expires: int
) -> None:
    named = dict(query)  # botocore makes a dictionary of a URL's own parameters
    request = AWSRequest(method="GET", url=url_of(path, [*named.items()]), data=b"", headers=extra)
    SigV4QueryAuth(CREDENTIALS, "sts", "us-east-1", expires=expires).add_auth(request)
    verified = accepted(verify_now(on_the_wire(request), request.context["timestamp"]))
    assert verified.form is Form.QUERY


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(paths, queries, headers, bodies, st.sampled_from([STS, S3]))
def test_what_our_signer_signs_our_verifier_accepts_and_nothing_else(
    path: list[str], query: list[tuple[str, str]], extra: dict[str, str], body: bytes, rules: ServiceRules
) -> None:
    url = urlsplit(url_of(path, query))
    service = "s3" if rules is S3 else "sts"
    signed = sign_request(
        method=b"PUT",
        target=(url.path + (f"?{url.query}" if url.query else "")).encode(),
        headers=[(b"Host", b"127.0.0.1:4590"), *[(n.encode(), v.encode()) for n, v in extra.items()]],
        body=body,
        access_key_id=KEY_ID,
        secret=Secret(SECRET.encode()),
        region="us-east-1",
        service=service,
        now_ms=NOW_MS,
        rules=rules,
    )
    verifier = Verifier(services={"sts": STS, "s3": S3})
    accepted(verifier.verify(signed, now_ms=NOW_MS, look_up=Keys().look_up))
    changed = SignedRequest(signed.method, signed.target, signed.headers, body + b"x")
    refused(verifier.verify(changed, now_ms=NOW_MS, look_up=Keys().look_up))


def test_our_signer_writes_the_header_that_botocore_writes() -> None:
    request = AWSRequest(
        method="POST",
        url="http://127.0.0.1:4590/",
        data=BODY,
        headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "x"},
    )
    SigV4Auth(CREDENTIALS, "iam", "us-east-1").add_auth(request)
    theirs = on_the_wire(request)
    signed_at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = sign_request(
        method=b"POST",
        target=b"/",
        headers=[
            (b"Host", b"127.0.0.1:4590"),
            (b"Content-Type", b"application/x-www-form-urlencoded"),
            (b"User-Agent", b"x"),
        ],
        body=BODY,
        access_key_id=AccessKeyId(KEY_ID),
        secret=Secret(SECRET.encode()),
        region="us-east-1",
        service="iam",
        now_ms=int(signed_at.timestamp() * 1000),
    )
    assert dict(ours.headers) == dict(theirs.headers)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"http://h/", [(b"Host", b"h")]),
        (b"/..", [(b"Host", b"h")]),
        (b"/?a=%", [(b"Host", b"h")]),
        (b"/", []),
        (b"/", [(b"Host", b"h"), (b"A", b"b\nc:d")]),
    ],
)
def test_our_signer_signs_nothing_that_no_verifier_accepts(
    target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(ValueError, match="must be an absolute path"):
        sign_request(
            method=b"GET",
            target=target,
            headers=headers,
            access_key_id=AccessKeyId(KEY_ID),
            secret=Secret(SECRET.encode()),
            region="us-east-1",
            service="sts",
            now_ms=NOW_MS,
        )


def test_s3_wants_the_payload_hash_and_wants_it_true() -> None:
    verifier = Verifier(services={"s3": S3})

    def outcome(declared: str | None) -> Refusal:
        headers = [] if declared is None else [("x-amz-content-sha256", declared)]
        request = header_form(service="s3", headers=headers, payload_hash=declared)
        return refused(verifier.verify(request, now_ms=NOW_MS, look_up=Keys().look_up))

    assert (outcome(None).code, outcome(None).status) == ("InvalidRequest", 400)
    for word in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0" * 64):
        assert (outcome(word).code, outcome(word).status) == ("XAmzContentSHA256Mismatch", 400)
