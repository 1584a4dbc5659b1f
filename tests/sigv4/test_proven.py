"""What is kept between requests: only what a matching signature has proved, and never much of it."""

from __future__ import annotations

from dataclasses import replace

from keyturn.model.access_keys import AccessKeyId
from keyturn.sigv4 import STS, Verifier
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.proven import CREDENTIALS_PER_KEY
from sigv4.signed_examples import (
    KEY_ID,
    NOW_MS,
    OTHER_KEY_ID,
    Keys,
    accepted,
    header_form,
    query_form,
    refused,
    verifier,
)


def sizes(tried: Verifier) -> tuple[int, ...]:
    return len(tried._credentials), len(tried._header_lists), len(tried._dates), len(tried._read)


def test_a_secret_is_opened_once_for_many_requests() -> None:
    tried, keys = verifier(), Keys()
    for number in range(20):
        request = header_form(body=b"Number=%d" % number)
        accepted(tried.verify(request, now_ms=NOW_MS, look_up=keys.look_up))
    assert keys.opened == 1


def test_what_was_read_once_is_believed_no_further_than_it_was_read() -> None:
    tried, keys = verifier(), Keys()
    known = header_form(body=b"first")
    for _ in range(2):
        accepted(tried.verify(known, now_ms=NOW_MS, look_up=keys.look_up))
    authorization = dict(known.headers)[b"authorization"]
    others = [pair for pair in known.headers if pair[0] != b"authorization"]

    def sent(value: bytes, *more: tuple[bytes, bytes], body: bytes = b"first") -> SignedRequest:
        return replace(known, headers=[*others, *more, (b"authorization", value)], body=body)

    other_digit = b"0" if authorization[-1:] != b"0" else b"1"
    for forged in (
        sent(authorization[:-1] + other_digit),
        sent(authorization[:-64] + authorization[-64:].upper()),
        sent(authorization[:-64] + b"," * 64),
        sent(authorization[:-64]),
        sent(authorization, body=b"other"),
        sent(authorization, (b"x-amz-target", b"unsigned")),
        sent(authorization, (b"x-amz-security-token", b"token")),
        replace(known, target=b"/?X-Amz-Algorithm=AWS4-HMAC-SHA256"),
    ):
        fresh = verifier().verify(forged, now_ms=NOW_MS, look_up=Keys().look_up)
        assert tried.verify(forged, now_ms=NOW_MS, look_up=keys.look_up) == fresh
        refused(fresh)
    assert refused(tried.verify(known, now_ms=NOW_MS + 3_600_000, look_up=keys.look_up)) == refused(
        verifier().verify(known, now_ms=NOW_MS + 3_600_000, look_up=Keys().look_up)
    )
    refused(tried.verify(known, now_ms=NOW_MS, look_up=lambda _key: None))
    tried.forget(KEY_ID)
    opened = keys.opened
    accepted(tried.verify(known, now_ms=NOW_MS, look_up=keys.look_up))
    assert keys.opened == opened + 1, "no signing key outlives `forget`"


def test_forged_requests_under_a_public_id_neither_fill_nor_flush_anything() -> None:
    tried, keys = verifier(), Keys()
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    before = sizes(tried)
    for number in range(3000):
        request = header_form(
            secret="wrong",
            region=f"eu-west-{number}",
            date=f"20260211T10{30 + number % 24}38Z",
            dated=[("x-amz-date", f"20260211T10{30 + number % 24}38Z")],
            headers=[(f"x-forged-{number}", "1")],
            key_id=KEY_ID if number % 2 else OTHER_KEY_ID,
        )
        refused(tried.verify(request, now_ms=NOW_MS, look_up=keys.look_up))
    assert sizes(tried) == before == (1, 1, 1, 1)
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    assert keys.opened == 1 + 1500, "only the forged requests under the known id opened it again"


def test_a_signature_with_a_misplaced_token_proves_nothing() -> None:
    tried = verifier()
    request = header_form(headers=[("x-amz-security-token", "token")])
    refused(tried.verify(request, now_ms=NOW_MS, look_up=Keys().look_up))
    assert sizes(tried) == (0, 0, 0, 0)


def test_one_keys_holder_can_only_push_out_their_own_credentials() -> None:
    tried, keys, others = verifier(), Keys(), Keys(OTHER_KEY_ID)
    accepted(tried.verify(header_form(key_id=OTHER_KEY_ID), now_ms=NOW_MS, look_up=others.look_up))
    for number in range(CREDENTIALS_PER_KEY * 3):
        accepted(tried.verify(header_form(region=f"r-{number}"), now_ms=NOW_MS, look_up=keys.look_up))
    accepted(tried.verify(header_form(key_id=OTHER_KEY_ID), now_ms=NOW_MS, look_up=others.look_up))
    assert others.opened == 1
    kept = tried._credentials._by_key_id.get(KEY_ID.encode())
    assert kept is not None
    assert len(kept) == CREDENTIALS_PER_KEY


def test_the_number_of_keys_that_are_kept_is_bounded() -> None:
    tried = Verifier(services={"sts": STS}, max_keys=4)
    for number in range(10):
        key_id = AccessKeyId(f"AKIAQAAAAAAABCDEFG{number:02d}")
        accepted(tried.verify(header_form(key_id=key_id), now_ms=NOW_MS, look_up=Keys(key_id).look_up))
    assert len(tried._credentials) == 4


def test_header_lists_and_dates_that_are_kept_are_bounded() -> None:
    tried, keys = verifier(), Keys()
    for number in range(2100):
        date = f"20260211T10{40 + number // 60 % 15:02d}{number % 60:02d}Z"
        request = header_form(headers=[(f"x-{number}", "1")], date=date, dated=[("x-amz-date", date)])
        accepted(tried.verify(request, now_ms=NOW_MS, look_up=keys.look_up))
    _, header_lists, dates, readings = sizes(tried)
    assert header_lists == 512
    assert dates <= 2048
    assert readings == 2048


def test_a_forgotten_key_opens_its_secret_again() -> None:
    tried, keys = verifier(), Keys()
    for request in (header_form(), header_form(service="iam"), query_form()):
        accepted(tried.verify(request, now_ms=NOW_MS, look_up=keys.look_up))
    assert keys.opened == 2
    tried.forget(KEY_ID)
    tried.forget(OTHER_KEY_ID)
    assert sizes(tried)[0] == 0
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    assert keys.opened == 3


def test_a_key_that_is_deleted_or_deactivated_is_refused_though_its_signing_key_is_kept() -> None:
    tried, keys = verifier(), Keys()
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    keys.is_active = False
    assert refused(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up)).proved
    gone = refused(tried.verify(header_form(), now_ms=NOW_MS, look_up=lambda _: None))
    assert (gone.code, gone.proved) == ("InvalidClientTokenId", False)
    keys.is_active = True
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))


def test_what_was_proved_for_one_list_of_headers_proves_nothing_for_another() -> None:
    tried, keys = verifier(), Keys()
    for request in (header_form(), query_form()):
        accepted(tried.verify(request, now_ms=NOW_MS, look_up=keys.look_up))
        added = [*request.headers, (b"x-amz-meta", b"1")]
        more = type(request)(request.method, request.target, added, request.body)
        refused(tried.verify(more, now_ms=NOW_MS, look_up=keys.look_up))


def test_a_kept_credential_still_has_to_fit_its_date() -> None:
    tried, keys = verifier(), Keys()
    accepted(tried.verify(header_form(), now_ms=NOW_MS, look_up=keys.look_up))
    tomorrow = header_form(
        date="20260212T000001Z", dated=[("x-amz-date", "20260212T000001Z")], scope_date="20260211"
    )
    later = NOW_MS + 14 * 3600 * 1000 - 40 * 60 * 1000
    refusal = refused(tried.verify(tomorrow, now_ms=later, look_up=keys.look_up))
    assert refusal.message.startswith("Date in Credential scope does not match")
