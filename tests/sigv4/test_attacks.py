"""Published faults of other verifiers, each tried on this one, and what may never be told apart."""

from __future__ import annotations

import pytest

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.secrets import Secret
from keyturn.sigv4 import Form, SignedRequest, Verifier, query_parameters
from keyturn.sigv4 import verification as verification_module
from keyturn.sigv4.signature import KeyedHmac, derive_signing_key
from sigv4.signed_examples import (
    BODY,
    DATE,
    KEY_ID,
    NOW_MS,
    OTHER_KEY_ID,
    SECRET,
    Keys,
    accepted,
    header,
    header_form,
    query_form,
    refused,
    replaced,
    sha256,
    verifier,
    verify,
    with_header,
    without_header,
)

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)
INVALID = "The security token included in the request is invalid"
WORDS_OF_S3 = [
    "UNSIGNED-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
    "",
    "nonsense",
    sha256(b"another body"),
    sha256(BODY).upper(),
]


def test_a_signed_request_says_who_signed_it_where_and_when() -> None:
    verified = accepted(verify(header_form(region="eu-west-1", service="iam")))
    assert verified.access_key_id == KEY_ID
    assert (verified.region, verified.service, verified.form) == ("eu-west-1", "iam", Form.HEADER)
    assert verified.signed_at_ms == NOW_MS
    assert verified.signed_headers == (b"content-type", b"host", b"x-amz-date")


def test_a_presigned_request_is_accepted() -> None:
    assert accepted(verify(query_form())).form is Form.QUERY


# The payload hash is a closed set (MinIO CVE-2025-31489, CVE-2026-41145; SeaweedFS #7954).


@pytest.mark.parametrize("word", WORDS_OF_S3)
@pytest.mark.parametrize("service", ["iam", "sts"])
def test_a_payload_hash_that_is_not_the_bodys_is_refused_even_when_signed(word: str, service: str) -> None:
    request = header_form(
        service=service, headers=[("x-amz-content-sha256", word)], payload_hash=word or None
    )
    refusal = refused(verify(request))
    assert (refusal.code, refusal.message, refusal.status) == ("SignatureDoesNotMatch", MISMATCH, 403)


@pytest.mark.parametrize("word", [*WORDS_OF_S3, sha256(BODY)])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_no_payload_hash_makes_up_for_a_wrong_signature(word: str, method: str) -> None:
    request = header_form(method=method, headers=[("x-amz-content-sha256", word)], secret="wrong")
    assert refused(verify(request)).code == "SignatureDoesNotMatch"


def test_the_bodys_own_hash_may_be_declared() -> None:
    accepted(verify(header_form(headers=[("x-amz-content-sha256", sha256(BODY))])))


def test_a_payload_left_unsigned_in_a_presigned_url_is_refused() -> None:
    assert refused(verify(query_form(payload_hash="UNSIGNED-PAYLOAD"))).code == "SignatureDoesNotMatch"


def test_a_body_under_a_presigned_url_must_be_the_signed_one() -> None:
    request = query_form()
    changed = SignedRequest(request.method, request.target, request.headers, b"Action=DeleteUser")
    assert refused(verify(changed)).code == "SignatureDoesNotMatch"


# One credential, in one place (MinIO CVE-2026-40344; aws-iam-authenticator CVE-2022-2385).


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Signature", "Date", "Expires", "SignedHeaders"])
@pytest.mark.parametrize("lower", [False, True])
def test_credentials_in_the_header_and_in_the_query_string_are_refused(name: str, *, lower: bool) -> None:
    parameter = f"X-Amz-{name}".lower() if lower else f"X-Amz-{name}"
    refusal = refused(verify(header_form(target=f"/?{parameter}=1", query=f"{parameter}=1")))
    assert (refusal.code, refusal.status, refusal.message) == ("SignatureDoesNotMatch", 403, "")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (
            f"/?X-Amz-Credential={KEY_ID}%2F20260211%2Fus-east-1%2Fsts%2Faws4_request",
            "MissingAuthenticationToken",
        ),
        ("/?X-Amz-Signature=" + "0" * 64, "MissingAuthenticationToken"),
        ("/?AWSAccessKeyId=" + KEY_ID, "MissingAuthenticationToken"),
        ("/?X-Amz-Algorithm=AWS4-HMAC-SHA256", "IncompleteSignature"),
        ("/", "MissingAuthenticationToken"),
    ],
)
def test_credentials_without_a_signature_are_refused(target: str, code: str) -> None:
    request = SignedRequest(b"POST", target.encode(), [(b"host", b"h")], BODY)
    refusal = refused(verify(request))
    assert refusal.code == code
    assert refusal.status == (403 if code == "MissingAuthenticationToken" else 400)
    assert refusal.access_key_id is None


@pytest.mark.parametrize("parameter", ["Action=DeleteUser", "X-Amz-Meta=1&x-amz-meta=2"])
def test_an_x_amz_parameter_may_not_repeat_in_any_letter_case(parameter: str) -> None:
    request = header_form(target="/?" + parameter, query="&".join(sorted(parameter.split("&"))))
    outcome = verify(request)
    if parameter.startswith("Action"):
        accepted(outcome)
    else:
        assert refused(outcome).code == "IncompleteSignature"


def test_an_encoded_name_of_a_parameter_repeats_it_too() -> None:
    request = query_form()
    again = SignedRequest(
        b"GET", request.target + b"&X%2DAmz%2d%44ate=" + DATE.encode(), request.headers, b""
    )
    assert refused(verify(again)).code == "IncompleteSignature"


@pytest.mark.parametrize(
    "name", ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "date"]
)
def test_a_header_that_says_who_or_when_may_not_repeat(name: str) -> None:
    request = with_header(with_header(header_form(), name, "1"), name, "1")
    refusal = refused(verify(request))
    assert refusal.code == "IncompleteSignature"
    assert refusal.message == f"The request must not repeat its '{name}' header."


def test_a_second_host_is_a_bad_request() -> None:
    refusal = refused(verify(with_header(header_form(), "host", "127.0.0.1:4590")))
    assert (refusal.code, refusal.status, refusal.message) == ("", 400, "")


@pytest.mark.parametrize("parameter", ["Credential", "SignedHeaders", "Signature", "signature", "CREDENTIAL"])
def test_a_parameter_of_the_authorization_header_may_not_repeat(parameter: str) -> None:
    usual = "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}"
    request = header_form(authorization=f"{usual}, {parameter}=1")
    assert (
        refused(verify(request)).message
        == "The request must not repeat a parameter of its Authorization header."
    )


def test_other_headers_may_repeat_and_are_joined_in_order() -> None:
    accepted(verify(header_form(headers=[("amz-sdk-request", "attempt=1"), ("amz-sdk-request", "max=3")])))


def test_the_order_of_repeated_headers_is_signed() -> None:
    request = header_form(headers=[("accept", "a"), ("accept", "b")])
    swapped = SignedRequest(
        request.method,
        request.target,
        [request.headers[0], request.headers[2], request.headers[1], *request.headers[3:]],
        request.body,
    )
    assert refused(verify(swapped)).code == "SignatureDoesNotMatch"


# What a handler acts on is signed (SeaweedFS #9121, versitygw #2158, RustFS GHSA-g8w9-qw9q-fghr).


@pytest.mark.parametrize("name", ["x-amz-tagging", "x-amz-target", "x-amz-security-token", "x-amz-"])
@pytest.mark.parametrize("form", ["header", "query"])
def test_an_x_amz_header_added_after_signing_is_refused(name: str, form: str) -> None:
    request = header_form() if form == "header" else query_form()
    refusal = refused(verify(with_header(request, name, "1")))
    assert refusal.code == "SignatureDoesNotMatch"
    assert refusal.message == f"'{name}' must be a 'SignedHeader' in the AWS Authorization."


def test_trace_headers_of_proxies_may_be_added() -> None:
    accepted(
        verify(with_header(header_form(), "x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678"))
    )


@pytest.mark.parametrize("name", ["x_amz_date", "x_amz-security_token", "host_", "authorization_", "_"])
def test_a_name_that_a_gateway_could_turn_into_a_signed_one_is_refused(name: str) -> None:
    outcome = verify(with_header(header_form(), name, "1"))
    if name.startswith("x"):
        refusal = refused(outcome)
        assert (refusal.code, refusal.status) == ("", 400)
    else:
        accepted(outcome)


@pytest.mark.parametrize("name", ["X-Amz-Meta", "x-amz-date ", "", "x-amz\tdate", "accept\x00"])
def test_a_header_name_that_is_no_lower_case_token_is_a_bad_request(name: str) -> None:
    refusal = refused(verify(with_header(header_form(), name, "1")))
    assert (refusal.code, refusal.status) == ("", 400)


@pytest.mark.parametrize("control", ["\r", "\n", "\r\nx-amz-meta:1", "\x00", "\x7f", "\x0b", "\x1f"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_control_character_in_a_signed_header_is_a_bad_request(control: str, times: int) -> None:
    request = header_form(headers=[("x-amz-meta", f"a{control}b")] * times)
    refusal = refused(verify(request))
    assert (refusal.code, refusal.status) == ("", 400)


def test_a_signed_header_that_is_not_there_is_refused() -> None:
    request = without_header(header_form(), b"content-type")
    assert refused(verify(request)).message == MISMATCH


def test_host_must_be_signed_and_there() -> None:
    text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    assert refused(verify(header_form(signed_names=["x-amz-date"]))).message == text
    assert refused(verify(query_form(headers=[("accept", "a")], signed_names=["accept"]))).message == text
    assert refused(verify(without_header(header_form(), b"host"))).message == MISMATCH


@pytest.mark.parametrize(
    "names",
    [
        ["x-amz-date", "host"],
        ["host", "host", "x-amz-date"],
        ["host", "x-amz-date", "x-amz-date"],
        ["X-Amz-Date", "host", "x-amz-date"],
    ],
)
def test_a_list_of_signed_headers_has_one_spelling(names: list[str]) -> None:
    refusal = refused(verify(header_form(headers=[], signed_names=names)))
    assert refusal.code in {"IncompleteSignature", "SignatureDoesNotMatch"}


def test_content_type_may_stay_unsigned_as_curl_and_the_php_sdk_leave_it() -> None:
    accepted(
        verify(header_form(headers=[], unsigned=[("content-type", "application/x-www-form-urlencoded")]))
    )


# Nothing can be forged from what is public (SeaweedFS #8878), and a key binds its whole scope.


@pytest.mark.parametrize("signature", [sha256(b""), sha256(BODY), "0" * 64, "", "f" * 63, "f" * 65, "é" * 32])
def test_a_signature_made_of_public_data_is_refused(signature: str) -> None:
    usual = "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed_headers}, Signature="
    code = refused(verify(header_form(authorization=usual + signature))).code
    assert code == ("SignatureDoesNotMatch" if signature else "IncompleteSignature")


@pytest.mark.parametrize("secret", ["", "AWS4", "an unknown key's requests cost the same.", SECRET.lower()])
def test_another_secret_is_refused(secret: str) -> None:
    assert refused(verify(header_form(secret=secret))).message == MISMATCH
    unknown = header_form(key_id=OTHER_KEY_ID, secret=secret)
    assert refused(verify(unknown)).code == "InvalidClientTokenId"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (header_form(region=""), "Credential should be scoped to a valid region, not ''."),
        (header_form(region="US-EAST-1"), "Credential should be scoped to a valid region, not 'US-EAST-1'."),
        (header_form(service="s3"), "Credential should be scoped to correct service: 'iam', 'sts'."),
        (header_form(service="STS"), "Credential should be scoped to correct service: 'iam', 'sts'."),
        (
            header_form(terminator="aws5_request"),
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
        ),
        (
            header_form(scope_date="20260210", region="*", service="x", terminator="t"),
            (
                "Credential should be scoped to a valid region, not '*'. "
                "Credential should be scoped to correct service: 'iam', 'sts'. "
                "Credential should be scoped with a valid terminator: 'aws4_request', not 't'. "
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                "'20260210' != '20260211', from '20260211T104038Z'."
            ),
        ),
    ],
)
def test_a_scope_that_is_not_ours_is_refused_in_one_text(request_: SignedRequest, text: str) -> None:
    refusal = refused(verify(request_))
    assert (refusal.code, refusal.status, refusal.message) == ("SignatureDoesNotMatch", 403, text)


def test_regions_may_be_narrowed() -> None:
    narrow = verifier(regions=frozenset({"eu-central-1"}))
    keys = Keys()
    accepted(narrow.verify(header_form(region="eu-central-1"), now_ms=NOW_MS, look_up=keys.look_up))
    refusal = refused(narrow.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    assert refusal.message == "Credential should be scoped to a valid region, not 'us-east-1'."
    assert (refusal.access_key_id, refusal.service, refusal.region) == (KEY_ID, "sts", "us-east-1")


def test_a_signature_for_one_service_opens_no_other() -> None:
    request = header_form(service="sts")
    moved = replaced(request, b"authorization", header(request, b"authorization").replace(b"/sts/", b"/iam/"))
    assert refused(verify(moved)).message == MISMATCH


# Freshness (cloudpods #25490, Keystone): no date, an old date, a date outside the signature.


@pytest.mark.parametrize("late", [901, 3600, 86400, -901, -86400])
@pytest.mark.parametrize("form", ["header", "query"])
def test_a_signature_is_good_for_fifteen_minutes_whatever_a_url_declares(form: str, late: int) -> None:
    request = header_form() if form == "header" else query_form(expires="604800")
    refusal = refused(verify(request, now_ms=NOW_MS + late * 1000))
    assert refusal.code == "SignatureDoesNotMatch"
    assert refusal.message.startswith(
        "Signature expired: 20260211T104038Z" if late > 0 else "Signature not yet current"
    )
    assert refusal.access_key_id == KEY_ID


def test_a_short_declared_life_of_an_sts_url_is_not_used() -> None:
    accepted(verify(query_form(expires="1"), now_ms=NOW_MS + 900_000))


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "soon", " 60", "60 ", "٣"])
def test_a_declared_life_must_be_well_formed_all_the_same(expires: str) -> None:
    assert refused(verify(query_form(expires=expires))).code == "IncompleteSignature"


def test_a_request_without_a_date_is_refused() -> None:
    refusal = refused(verify(header_form(dated=[])))
    assert refusal.message == (
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
        "Authorization=AWS4-HMAC-SHA256"
    )


@pytest.mark.parametrize("date", ["Wed, 11 Feb 2026 10:40:38 GMT", DATE])
def test_a_signed_date_header_dates_a_request(date: str) -> None:
    accepted(verify(header_form(dated=[("date", date)])))


def test_a_date_header_outside_the_signature_dates_nothing() -> None:
    request = header_form(dated=[], unsigned=[("date", "Wed, 11 Feb 2026 10:40:38 GMT")])
    assert refused(verify(request)).message == "'date' must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize(
    "date",
    [
        "2026-02-11T10:40:38Z",
        "20260231T104038Z",
        "20260211T104038",
        "20260211T246038Z",
        "00000211T104038Z",
        "x" * 99,
    ],
)
def test_a_date_must_be_in_basic_format(date: str) -> None:
    request = header_form(dated=[("x-amz-date", date)], date=date, scope_date="20260211")
    refusal = refused(verify(request))
    assert refusal.code == "IncompleteSignature"
    assert refusal.message.startswith(f"Date must be in ISO-8601 'basic format'. Got '{date[:64]}")
    assert refusal.message.endswith("See http://en.wikipedia.org/wiki/ISO_8601")
    assert len(refusal.message) < 200


# Path and query: what is signed is what is handled (s3-proxy CVE-2026-42882, cloudpods #25490).


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/", "*", "", "x", "/a%", "/a%0", "/a%zz", "/..", "/a/../..", "/\x00", "/a\r", "/?a\n"],
)
def test_a_target_that_is_no_absolute_path_is_a_bad_request(target: str) -> None:
    refusal = refused(verify(header_form(target=target)))
    assert (refusal.code, refusal.status, refusal.message) == ("", 400, "")


@pytest.mark.parametrize("query", ["a=%", "a=%1", "%zz=1"])
def test_a_broken_escape_in_the_query_string_is_malformed(query: str) -> None:
    refusal = refused(verify(header_form(target="/?" + query)))
    assert (refusal.code, refusal.status) == ("MalformedQueryString", 400)


@pytest.mark.parametrize("path", ["/%2e%2e", "/%2F", "/%252e", "/a%2Fb"])
def test_an_encoded_path_is_signed_as_it_stands_on_the_wire(path: str) -> None:
    accepted(verify(header_form(target=path, path=path.replace("%", "%25"))))
    assert refused(verify(header_form(target=path, path=path))).code == "SignatureDoesNotMatch"


def test_a_plus_in_the_query_string_is_a_plus_for_the_signature_and_for_the_handler() -> None:
    accepted(verify(header_form(target="/?Name=a+b", query="Name=a%2Bb")))
    assert (
        refused(verify(header_form(target="/?Name=a+b", query="Name=a%20b"))).code == "SignatureDoesNotMatch"
    )
    assert query_parameters(b"/?Name=a+b&b&%61=%2B%C3%A9") == [
        (b"Name", b"a+b"),
        (b"b", b""),
        (b"a", "+é".encode()),
    ]
    assert query_parameters(b"/?a=%") is None


@pytest.mark.parametrize("method", [b"get", b"GE T", b"", b"POST\n/", b"P\xc3\x96ST"])
def test_a_method_that_is_no_upper_case_word_is_a_bad_request(method: bytes) -> None:
    request = header_form()
    odd = SignedRequest(method, request.target, request.headers, request.body)
    assert refused(verify(odd)).status == 400


# Keys: unknown, inactive, temporary.


def test_a_wrong_signature_of_an_active_key_and_an_unknown_key_have_their_own_codes() -> None:
    assert refused(verify(header_form(secret="wrong"))).code == "SignatureDoesNotMatch"
    refusal = refused(verify(header_form(key_id=OTHER_KEY_ID)))
    assert (refusal.code, refusal.status, refusal.message) == ("InvalidClientTokenId", 403, INVALID)
    assert (refusal.access_key_id, refusal.proved) == (OTHER_KEY_ID, False)


def test_iam_ends_the_text_with_a_full_stop_and_sts_does_not() -> None:
    assert refused(verify(header_form(key_id=OTHER_KEY_ID, service="iam"))).message == INVALID + "."
    assert refused(verify(header_form(key_id=OTHER_KEY_ID, service="sts"))).message == INVALID


@pytest.mark.parametrize("form", ["header", "query"])
def test_an_inactive_key_is_refused_like_an_unknown_one_and_proved_by_its_signature(form: str) -> None:
    sign = header_form if form == "header" else query_form
    inactive = Keys(is_active=False)
    right, wrong = refused(verify(sign(), inactive)), refused(verify(sign(secret="wrong"), inactive))
    assert (right.code, right.message) == (wrong.code, wrong.message) == ("InvalidClientTokenId", INVALID)
    assert (right.proved, wrong.proved) == (True, False)


@pytest.mark.parametrize("active", [True, False])
def test_a_key_is_asked_whether_it_is_active_after_its_signature_was_computed(
    monkeypatch: pytest.MonkeyPatch, *, active: bool
) -> None:
    events: list[str] = []

    class Living:
        session_token = None
        is_expired = False

        @property
        def is_active(self) -> bool:
            events.append("asked")
            return active

        def secret(self) -> Secret:
            return Secret(SECRET.encode())

    original = KeyedHmac.signature

    def signature(self: KeyedHmac, message: bytes) -> bytes:
        events.append("computed")
        return original(self, message)

    monkeypatch.setattr(KeyedHmac, "signature", signature)
    outcome = verifier().verify(header_form(), now_ms=NOW_MS, look_up=lambda _: Living())
    assert events == ["computed", "asked"]
    accepted(outcome) if active else refused(outcome)


@pytest.mark.parametrize("form", ["header", "query"])
def test_a_long_lived_key_comes_without_a_session_token(form: str) -> None:
    if form == "header":
        request = header_form(headers=[("x-amz-security-token", "token")])
    else:
        request = query_form(parameters=[("X-Amz-Security-Token", "token")])
    refusal = refused(verify(request))
    assert (refusal.code, refusal.message) == ("InvalidClientTokenId", INVALID)


def test_a_session_token_may_not_come_in_two_places() -> None:
    request = query_form(
        parameters=[("X-Amz-Security-Token", "token")], headers=[("x-amz-security-token", "token")]
    )
    assert refused(verify(request)).code == "IncompleteSignature"


@pytest.mark.parametrize("token", [None, "token"])
def test_temporary_keys_are_not_offered(token: str | None) -> None:
    temporary = AccessKeyId("ASIAQAAAAAAABCDEFGHI")
    keys = Keys(temporary, session_token=token)
    headers = [] if token is None else [("x-amz-security-token", token)]
    assert (
        refused(verify(header_form(key_id=temporary, headers=headers), keys)).code == "InvalidClientTokenId"
    )


@pytest.mark.parametrize("key_id", ["", "AKIA' OR 1=1", "é", "A" * 129, "../../etc/passwd"[:5], "a b"])
def test_what_is_no_access_key_id_is_never_looked_up(key_id: str) -> None:
    keys = Keys()
    refusal = refused(verify(header_form(key_id=key_id), keys))
    assert keys.asked == []
    assert refusal.access_key_id is None
    assert refusal.code in {"InvalidClientTokenId", "IncompleteSignature"}


def test_every_refusal_of_a_signature_costs_one_key_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bytes] = []

    def spy(secret: Secret, date: bytes, region: bytes, service: bytes) -> KeyedHmac:
        derived.append(service)
        return derive_signing_key(secret, date, region, service)

    decoys: list[int] = []

    def decoy() -> Secret:
        decoys.append(1)
        return Secret(b"d" * 40)

    monkeypatch.setattr(verification_module, "derive_signing_key", spy)
    warm, keys = verifier(decoy=decoy), Keys()

    def cost(tried: Verifier, request: SignedRequest, record: Keys) -> tuple[int, int]:
        derived.clear()
        decoys.clear()
        opened = record.opened
        tried.verify(request, now_ms=NOW_MS, look_up=record.look_up)
        return len(derived), len(decoys) + record.opened - opened

    accepted(warm.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    assert cost(warm, header_form(), keys) == (0, 0)
    assert cost(warm, header_form(secret="wrong"), keys) == (1, 1)
    assert cost(verifier(decoy=decoy), header_form(secret="wrong"), Keys()) == (1, 1)
    assert cost(verifier(decoy=decoy), header_form(), Keys(is_active=False)) == (1, 1)
    assert cost(warm, header_form(key_id=OTHER_KEY_ID), keys) == (1, 1)
    assert cost(warm, header_form(key_id="ASIAQAAAAAAABCDEFGHI"), keys) == (1, 1)
    assert cost(warm, header_form(key_id="AKIA' OR 1=1"), keys) == (1, 1)
    assert cost(warm, header_form(headers=[("x-amz-security-token", "t")]), keys) == (1, 1)
    deleted = Keys(OTHER_KEY_ID)
    assert cost(warm, header_form(), deleted) == (1, 1)


# What is said aloud (Ceph RGW CVE-2018-16889; awssig's exception text).


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}",
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed_headers}, Signature {signature}",
        "AWS4-HMAC-SHA256 Credential={credential}, Signature={signature}",
        "AWS4-HMAC-SHA256 SignedHeaders={signed_headers}, Signature={signature}",
        "AWS4-HMAC-SHA256 {signature}",
        "AWS4-HMAC-SHA256Signature={signature}",
        "AWS4-HMAC-SHA512 Signature={signature}",
        "{signature}",
        "Bearer {signature}",
        "AWS {credential}:{signature}",
        "AWS4-HMAC-SHA256 Credential={signature}/x, SignedHeaders={signed_headers}, Signature={signature}",
        "",
    ],
)
def test_no_refusal_repeats_the_authorization_header_or_a_signature(authorization: str) -> None:
    request = header_form(authorization=authorization, secret="wrong")
    whole = header(header_form(secret="wrong"), b"authorization").decode()
    refusal = refused(verify(request))
    assert whole[-20:] not in refusal.message
    assert "Credential=" not in refusal.message
    assert len(refusal.message) < 400
    assert refusal.message.isprintable()


def test_a_secret_in_the_place_of_the_key_id_is_not_echoed() -> None:
    refusal = refused(verify(header_form(key_id=SECRET)))
    assert refusal.message == (
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '...'"
    )


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("Basic dXNlcjpwYXNz", "Unsupported AWS 'algorithm': '...'."),
        ("AWS AKIAX:c2ln", "Unsupported AWS 'algorithm': 'AWS'."),
        ("AWS4-HMAC-SHA512 a=b", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'."),
        (
            "AWS4-HMAC-SHA256 a=b",
            (
                "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' "
                "parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256"
            ),
        ),
        (
            "AWS4-HMAC-SHA256 Credential",
            "'...' not a valid key=value pair (missing equal-sign) in Authorization header: '...'.",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIAX/20260211/us-east-1/sts, SignedHeaders=host;x-amz-date, Signature=0",
            (
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
                "got 'AKIAX/20260211/us-east-1/sts'"
            ),
        ),
    ],
)
def test_a_header_that_is_no_signature_is_refused_in_the_words_of_aws(authorization: str, text: str) -> None:
    refusal = refused(verify(header_form(headers=[], authorization=authorization)))
    assert (refusal.code, refusal.status, refusal.message) == ("IncompleteSignature", 400, text)


def test_parameters_of_the_authorization_header_may_stand_in_any_order_and_spacing() -> None:
    accepted(
        verify(
            header_form(
                authorization="AWS4-HMAC-SHA256  Signature={signature},SignedHeaders={signed_headers} ,"
                "\tCredential={credential}"
            )
        )
    )
