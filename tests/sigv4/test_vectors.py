"""AWS's public Signature Version 4 vectors (awslabs/aws-c-auth, Apache-2.0), used against the verifier.

They stand beside the checkout, or where KEYTURN_VECTORS says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import PathStyle, QueryExpiry, Refusal, ServiceRules, SignedRequest, Verified, Verifier
from keyturn.sigv4 import signature as signature_module
from keyturn.sigv4 import verification as verification_module
from sigv4.signed_examples import Keys, accepted, refused, with_header

VECTORS: Final = Path(
    os.environ.get("KEYTURN_VECTORS", Path(__file__).parents[2].parent / "shared" / "vectors" / "sigv4")
)
REFUSED_ON_PURPOSE: Final = "post-sts-header-after"
"""Its session token stands outside the signature."""

pytestmark = pytest.mark.skipif(
    not (VECTORS / "v4").is_dir(), reason="the public vectors are not there: set KEYTURN_VECTORS"
)
NAMES: Final = sorted(entry.name for entry in (VECTORS / "v4").iterdir()) if VECTORS.is_dir() else []
OURS: Final = [name for name in NAMES if name != REFUSED_ON_PURPOSE]


@dataclass(frozen=True, slots=True)
class Vector:
    request: SignedRequest
    rules: ServiceRules
    keys: Keys
    now_ms: int
    canonical_request: bytes
    string_to_sign: bytes
    signature: bytes

    def verify(self, request: SignedRequest, *, seconds_later: int = 0) -> Verified | Refusal:
        verifier = Verifier(services={"service": self.rules}, regions=frozenset({"us-east-1"}))
        now_ms = self.now_ms + seconds_later * 1000
        return verifier.verify(request, now_ms=now_ms, look_up=self.keys.look_up)


def parse(raw: bytes) -> SignedRequest:
    """The suite's own format: no HTTP parser takes its spaces, raw UTF-8 and folded lines."""
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, rest = first.partition(b" ")
    target = rest.rpartition(b" ")[0]
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in {b" ", b"\t"}:
            name, value = headers.pop()
            headers.append((name, value + b" " + line.strip()))
        else:
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value))
    return SignedRequest(method, target, headers, body)


def load(name: str, form: str) -> Vector:
    folder = VECTORS / "v4" / name
    context = json.loads((folder / "context.json").read_text())
    credentials = context["credentials"]
    path = PathStyle.NORMALISED if context["normalize"] else PathStyle.AS_SENT
    return Vector(
        parse((folder / f"{form}-signed-request.txt").read_bytes()),
        ServiceRules(path=path, query_expiry=QueryExpiry.DECLARED),
        Keys(
            AccessKeyId(credentials["access_key_id"]),
            credentials["secret_access_key"],
            session_token=credentials.get("token"),
        ),
        int(datetime.fromisoformat(context["timestamp"]).timestamp()) * 1000,
        (folder / f"{form}-canonical-request.txt").read_bytes(),
        (folder / f"{form}-string-to-sign.txt").read_bytes(),
        (folder / f"{form}-signature.txt").read_bytes().strip(),
    )


@pytest.mark.parametrize("form", ["header", "query"])
@pytest.mark.parametrize("name", OURS)
def test_a_vector_is_accepted_over_the_very_strings_it_publishes(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector = load(name, form)
    canonical_requests: list[bytes] = []
    strings_to_sign: list[bytes] = []
    original = signature_module.string_to_sign

    def spy(date: bytes, scope: bytes, canonical: bytes) -> bytes:
        canonical_requests.append(canonical)
        strings_to_sign.append(original(date, scope, canonical))
        return strings_to_sign[-1]

    monkeypatch.setattr(verification_module, "string_to_sign", spy)
    outcome = accepted(vector.verify(vector.request))

    assert canonical_requests == [vector.canonical_request]
    assert strings_to_sign == [vector.string_to_sign]
    key = signature_module.derive_signing_key(
        Secret(vector.keys.secret.encode()), b"20150830", b"us-east-1", b"service"
    )
    assert key.signature(strings_to_sign[0]) == vector.signature
    assert outcome.access_key_id == "AKIDEXAMPLE"
    assert outcome.form.value == form


def test_the_suite_is_whole() -> None:
    assert len(NAMES) == 38


@pytest.mark.parametrize("form", ["header", "query"])
def test_a_session_token_outside_the_signature_is_refused(form: str) -> None:
    vector = load(REFUSED_ON_PURPOSE, form)
    refusal = refused(vector.verify(vector.request))
    assert refusal.code == "SignatureDoesNotMatch"


Mutation = tuple[str, SignedRequest, int, str, str]
"""What was done, the request, how many seconds later it arrives, the code and the start of the text."""

MISMATCH: Final = "The request signature we calculated"


def _edit(request: SignedRequest, name: bytes, edit: Callable[[bytes], bytes]) -> SignedRequest:
    headers = [(sent, edit(value) if sent == name else value) for sent, value in request.headers]
    return replace(request, headers=headers)


def _common(request: SignedRequest) -> Iterator[Mutation]:
    denied = ("SignatureDoesNotMatch", MISMATCH)
    path, mark, query = request.target.partition(b"?")
    other = b"PUT" if request.method == b"GET" else b"GET"
    yield "another method", replace(request, method=other), 0, *denied
    yield "another path", replace(request, target=path + b"x" + mark + query), 0, *denied
    yield (
        "a parameter more",
        replace(request, target=path + b"?" + (query + b"&" if query else b"") + b"b=c"),
        0,
        *denied,
    )
    for piece in query.split(b"&"):
        if piece and not piece.startswith(b"X-Amz-"):
            fewer = b"&".join(other for other in query.split(b"&") if other != piece)
            yield "a parameter less", replace(request, target=path + b"?" + fewer), 0, *denied
            changed = query.replace(piece, piece + b"1")
            yield "a parameter changed", replace(request, target=path + b"?" + changed), 0, *denied
    yield "another body", replace(request, body=request.body + b"x"), 0, *denied
    yield (
        "an x-amz header more",
        with_header(request, "x-amz-meta-extra", "1"),
        0,
        "SignatureDoesNotMatch",
        "'x-amz-meta-extra' must be a 'SignedHeader'",
    )
    yield "a second host", with_header(request, "host", "example.amazonaws.com"), 0, "", ""
    yield (
        "901 s early",
        request,
        -901,
        "SignatureDoesNotMatch",
        (
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z "
            "(20150830T122059Z + 15 min.)"
        ),
    )


def _header_mutations(request: SignedRequest) -> Iterator[Mutation]:
    yield from _common(request)

    def authorization(old: bytes, new: bytes) -> SignedRequest:
        def edit(value: bytes) -> bytes:
            assert old in value
            return value.replace(old, new, 1)

        return _edit(request, b"authorization", edit)

    value = dict(request.headers)[b"authorization"]
    signature = value[-64:]
    denied = ("SignatureDoesNotMatch", MISMATCH)
    match = re.search(rb"SignedHeaders=([^,]+)", value)
    assert match is not None
    signed = match[1].split(b";")
    for name in signed:
        if name == b"x-amz-date":
            changed = _edit(request, name, lambda old: old.replace(b"3600Z", b"3601Z"))
        else:
            changed = _edit(request, name, lambda old: old + b"1")
        text = MISMATCH if name != b"x-amz-security-token" else "The security token included"
        code = "SignatureDoesNotMatch" if name != b"x-amz-security-token" else "InvalidClientTokenId"
        yield f"another {name.decode()}", changed, 0, code, text
    for place, digit in enumerate(signature):
        other = signature[:place] + (b"1" if digit != ord("1") else b"2") + signature[place + 1 :]
        yield f"digit {place} of the signature", authorization(signature, other), 0, *denied
    yield "an upper-case signature", authorization(signature, signature.upper()), 0, *denied
    yield "a cut signature", authorization(signature, signature[:63]), 0, *denied
    yield "a longer signature", authorization(signature, signature + b"0"), 0, *denied
    yield (
        "an empty signature",
        authorization(signature, b""),
        0,
        "IncompleteSignature",
        "Authorization header requires 'Signature' parameter.",
    )
    yield (
        "another key",
        authorization(b"AKIDEXAMPLE", b"AKIDEXAMPLF"),
        0,
        "InvalidClientTokenId",
        "The security token included in the request is invalid",
    )
    yield (
        "another region",
        authorization(b"us-east-1", b"us-east-2"),
        0,
        "SignatureDoesNotMatch",
        "Credential should be scoped to a valid region, not 'us-east-2'.",
    )
    yield (
        "another service",
        authorization(b"/service/", b"/servicf/"),
        0,
        "SignatureDoesNotMatch",
        "Credential should be scoped to correct service: 'service'.",
    )
    yield (
        "another date in the scope",
        authorization(b"/20150830/", b"/20150831/"),
        0,
        "SignatureDoesNotMatch",
        (
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'20150831' != '20150830', from '20150830T123600Z'."
        ),
    )
    yield (
        "host not signed",
        authorization(b"host;", b""),
        0,
        "SignatureDoesNotMatch",
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    )
    yield (
        "a second Authorization",
        with_header(request, "authorization", value.decode()),
        0,
        "IncompleteSignature",
        "The request must not repeat its 'authorization' header.",
    )
    yield (
        "901 s late",
        request,
        901,
        "SignatureDoesNotMatch",
        (
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z "
            "(20150830T125101Z - 15 min.)"
        ),
    )


def _query_mutations(request: SignedRequest) -> Iterator[Mutation]:
    yield from _common(request)
    path, _, query = request.target.partition(b"?")
    pieces = query.split(b"&")
    denied = ("SignatureDoesNotMatch", MISMATCH)

    def parameter(old: bytes, new: bytes) -> SignedRequest:
        assert request.target.count(old) == 1
        return replace(request, target=request.target.replace(old, new))

    for piece in pieces:
        if not piece.startswith(b"X-Amz-"):
            continue
        name = piece.partition(b"=")[0]
        text = f"AWS query-string parameters must include '{name.decode()}'. Re-examine"
        missing = ("IncompleteSignature", text)
        if name == b"X-Amz-Algorithm":
            missing = ("MissingAuthenticationToken", "Request is missing Authentication Token")
        elif name == b"X-Amz-Security-Token":
            missing = ("InvalidClientTokenId", "The security token included")
        fewer = b"&".join(other for other in pieces if other != piece)
        yield f"no {name.decode()}", replace(request, target=path + b"?" + fewer), 0, *missing
        lower = name.lower() + piece[len(name) :]
        yield f"{name.decode()} in lower case", parameter(piece, lower), 0, *missing
        twice = ("IncompleteSignature", "The request must not repeat an X-Amz- query parameter")
        yield f"{name.decode()} twice", parameter(piece, piece + b"&" + piece), 0, *twice
        yield f"{name.decode()} in two cases", parameter(piece, piece + b"&" + lower), 0, *twice
    signature = pieces[-1].partition(b"=")[2]
    for place, digit in enumerate(signature):
        other = signature[:place] + (b"1" if digit != ord("1") else b"2") + signature[place + 1 :]
        yield f"digit {place} of the signature", parameter(signature, other), 0, *denied
    yield "an upper-case signature", parameter(signature, signature.upper()), 0, *denied
    yield "a cut signature", parameter(signature, signature[:63]), 0, *denied
    yield (
        "an empty signature",
        parameter(signature, b""),
        0,
        "IncompleteSignature",
        "AWS query-string parameters must include 'X-Amz-Signature'.",
    )
    signed_headers = next(piece for piece in pieces if piece.startswith(b"X-Amz-SignedHeaders=")).partition(
        b"="
    )[2]
    for name in signed_headers.split(b"%3B"):
        changed = _edit(request, name, lambda old: old + b"1")
        yield f"another {name.decode()}", changed, 0, *denied
    yield (
        "host not signed",
        parameter(b"X-Amz-SignedHeaders=" + signed_headers, b"X-Amz-SignedHeaders=accept"),
        0,
        "SignatureDoesNotMatch",
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    )
    yield (
        "another key",
        parameter(b"=AKIDEXAMPLE", b"=AKIDEXAMPLF"),
        0,
        "InvalidClientTokenId",
        "The security",
    )
    yield (
        "another region",
        parameter(b"us-east-1", b"us-east-2"),
        0,
        "SignatureDoesNotMatch",
        "Credential should be scoped to a valid region, not 'us-east-2'.",
    )
    yield (
        "another service",
        parameter(b"%2Fservice%2F", b"%2Fservicf%2F"),
        0,
        "SignatureDoesNotMatch",
        "Credential should be scoped to correct service: 'service'.",
    )
    yield (
        "another date in the scope",
        parameter(b"%2F20150830%2F", b"%2F20150829%2F"),
        0,
        "SignatureDoesNotMatch",
        "Date in Credential scope does not match",
    )
    yield "another date", parameter(b"T123600Z", b"T123601Z"), 0, *denied
    for expires in (b"0", b"-1", b"604801", b"soon", b"1e3", b"%2B60", b"0x10", b"99999999999"):
        yield (
            f"X-Amz-Expires={expires.decode()}",
            parameter(b"X-Amz-Expires=3600", b"X-Amz-Expires=" + expires),
            0,
            "AuthorizationQueryParametersError",
            "X-Amz-Expires must be a number of seconds from 1 to 604800.",
        )
    yield "a longer life", parameter(b"X-Amz-Expires=3600", b"X-Amz-Expires=3601"), 0, *denied
    yield "expired by a second", request, 3601, "AccessDenied", "Request has expired"
    credential = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    yield (
        "an Authorization header too",
        with_header(request, "authorization", f"{credential}, SignedHeaders=host, Signature={'0' * 64}"),
        0,
        "SignatureDoesNotMatch",
        "",
    )


@pytest.mark.parametrize("form", ["header", "query"])
@pytest.mark.parametrize("name", OURS)
def test_every_mutation_of_a_vector_is_refused_with_its_code(name: str, form: str) -> None:
    vector = load(name, form)
    mutations = list((_header_mutations if form == "header" else _query_mutations)(vector.request))
    assert len(mutations) > 80
    for what, request, seconds_later, code, text in mutations:
        refusal = refused(vector.verify(request, seconds_later=seconds_later))
        assert refusal.code == code, (what, refusal)
        assert refusal.message.startswith(text), (what, refusal)
        assert bool(text) == bool(refusal.message), (what, refusal)
        assert not refusal.proved, what
        assert refusal.status in {400, 403}, what


@pytest.mark.parametrize("seconds", [-900, 900])
def test_a_header_signature_holds_for_fifteen_minutes_on_both_sides(seconds: int) -> None:
    vector = load("get-vanilla", "header")
    accepted(vector.verify(vector.request, seconds_later=seconds))


def test_a_presigned_url_of_declared_length_holds_to_its_last_second() -> None:
    vector = load("get-vanilla", "query")
    accepted(vector.verify(vector.request, seconds_later=3600))


@pytest.mark.parametrize("form", ["header", "query"])
def test_signature_version_4a_is_not_offered(form: str) -> None:
    folder = VECTORS / "v4a" / "get-vanilla"
    vector = load("get-vanilla", form)
    refusal = refused(vector.verify(parse((folder / f"{form}-signed-request.txt").read_bytes())))
    assert (refusal.code, refusal.status) == ("IncompleteSignature", 400)
    assert refusal.message == "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."
