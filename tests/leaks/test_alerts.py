"""What is believed of what others tell: each kind of alert, signed and not, whole and broken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.leaks.alert_settings import FIELDS, PARTNER_KEYS, read_alert_settings
from keyturn.leaks.alerts import (
    MOST_TOKENS,
    GitHubAlert,
    Kind,
    NotBelievedError,
    NotReadableError,
    Replays,
    kind_of,
    partner_answer,
    partner_key_id,
    read_github_alert,
    read_partner,
    read_signed,
)
from keyturn.leaks.partner_keys import PartnerKeys, read_keys
from keyturn.model.access_keys import AccessKeyPair, AccountId, mint_access_key
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.settings import configuration_file
from leaks.signed_alerts import Partner, github_alert, lowered, match, signed_alert, token_of
from living_authority import HeldClock

SECRET = Secret(b"a secret of the webhook, long enough")
OTHER = Secret(b"another secret that is long enough..")
ACCOUNT = AccountId("123456789012")
NOW = 1_790_000_000


def new_pair(seed: int = 1) -> AccessKeyPair:
    minted = mint_access_key(ACCOUNT, lambda size: bytes((seed * 37 + n * 11) % 256 for n in range(size)))
    return AccessKeyPair(minted.access_key_id, minted.secret)


def webhook(**changed: Any) -> bytes:
    content = {"action": "created", "alert": {"number": 42}, "repository": {"full_name": "acme/app"}}
    return json.dumps(content | changed).encode()


# GitHub's webhook


def test_a_github_alert_names_its_repository_and_number() -> None:
    for action in ("created", "reopened", "publicly_leaked"):
        headers, body = github_alert(webhook(action=action), SECRET)
        assert kind_of(lowered(headers)) is Kind.GITHUB
        assert read_github_alert(lowered(headers), body, SECRET) == GitHubAlert("acme/app", 42)


def test_a_github_alert_with_one_byte_changed_is_not_believed() -> None:
    headers, body = github_alert(webhook(), SECRET)
    for wrong in (body + b" ", body.replace(b"42", b"43")):
        with pytest.raises(NotBelievedError):
            read_github_alert(lowered(headers), wrong, SECRET)
    with pytest.raises(NotBelievedError):
        read_github_alert(lowered(headers), body, OTHER)


@pytest.mark.parametrize("signature", ["", "sha256=", "sha256=" + "0" * 64, "sha1=abc", "sha256=é" * 8])
def test_a_github_alert_with_another_signature_is_not_believed(signature: str) -> None:
    headers, body = github_alert(webhook(), SECRET, **{"X-Hub-Signature-256": signature})
    with pytest.raises(NotBelievedError):
        read_github_alert(lowered(headers), body, SECRET)


def test_nothing_follows_from_another_event_or_action() -> None:
    for event, delivered in (
        ("ping", b'{"zen": "."}'),
        ("secret_scanning_alert_location", webhook()),
        ("secret_scanning_alert", webhook(action="resolved")),
    ):
        headers, body = github_alert(delivered, SECRET, **{"X-GitHub-Event": event})
        assert read_github_alert(lowered(headers), body, SECRET) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"alert": {"number": True}},
        {"alert": {"number": "42"}},
        {"alert": {"number": 0}},
        {"alert": []},
        {"repository": {"full_name": "acme/.."}},
        {"repository": {"full_name": "acme/app/../../x"}},
        {"repository": {"full_name": "acme/app?x=1"}},
        {"repository": {"full_name": "acme/app\n"}},
        {"repository": None},
    ],
)
def test_a_signed_body_of_another_shape_never_becomes_a_path(changed: dict[str, Any]) -> None:
    headers, body = github_alert(webhook(**changed), SECRET)
    with pytest.raises(NotReadableError):
        read_github_alert(lowered(headers), body, SECRET)


def test_json_that_nests_too_deep_or_is_none_is_said_to_be_so() -> None:
    for delivered in (b"[" * 100_000, b"\xff", b"", b"[]", b"1"):
        headers, body = github_alert(delivered, SECRET)
        with pytest.raises(NotReadableError):
            read_github_alert(lowered(headers), body, SECRET)


# The signed webhook


def test_a_signed_alert_brings_pairs_and_ids_with_their_sources() -> None:
    pair = new_pair()
    told = {
        "pairs": [
            {
                "access_key_id": pair.access_key_id,
                "secret_access_key": pair.secret.reveal().decode(),
                "source": "git push\nby x",
            }
        ],
        "ids": [pair.access_key_id, {"access_key_id": pair.access_key_id, "source": "a log"}],
    }
    headers, body = signed_alert(told, SECRET, NOW)
    assert kind_of(lowered(headers)) is Kind.SIGNED
    reported = read_signed(lowered(headers), body, SECRET, NOW * 1000)
    assert reported.pairs == [(pair, "git push?by x")]
    assert reported.ids == [(pair.access_key_id, "an alert"), (pair.access_key_id, "a log")]


def test_a_signed_alert_holds_for_five_minutes_on_both_sides() -> None:
    headers, body = signed_alert({}, SECRET, NOW)
    for off in (-300, 0, 300):
        read_signed(lowered(headers), body, SECRET, (NOW + off) * 1000)
    for off in (-302, 301):
        with pytest.raises(NotBelievedError):
            read_signed(lowered(headers), body, SECRET, (NOW + off) * 1000)


def test_the_timestamp_is_part_of_what_is_signed() -> None:
    headers, body = signed_alert({}, SECRET, NOW)
    for timestamp in (str(NOW + 1), f"0{NOW}", "", "1e9", "٣"):
        with pytest.raises(NotBelievedError):
            read_signed(lowered(headers | {"Keyturn-Timestamp": timestamp}), body, SECRET, NOW * 1000)


@pytest.mark.parametrize(
    "told",
    [
        {"pairs": {}},
        {"pairs": [1]},
        {"keys": []},
        {"ids": ["AKIA"]},
        {"ids": [7]},
        {"ids": [{"id": "AKIAIOSFODNN7EXAMPLE"}]},
        {"pairs": [{"access_key_id": "AKIAIOSFODNN7EXAMPLE"}]},
        {"pairs": [{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "short", "source": "x"}]},
        {"ids": ["AKIAIOSFODNN7EXAMPLE"] * (MOST_TOKENS + 1)},
    ],
)
def test_a_signed_alert_of_another_shape_is_refused_whole(told: object) -> None:
    headers, body = signed_alert(told, SECRET, NOW)
    with pytest.raises(NotReadableError) as refused:
        read_signed(lowered(headers), body, SECRET, NOW * 1000)
    assert "AKIA" not in str(refused.value), "what was sent is not repeated"


# The partner programme


def partner_key(partner: Partner) -> ec.EllipticCurvePublicKey:
    return partner.keys[partner.current].public_key()


def test_a_partner_alert_is_checked_over_its_raw_body() -> None:
    partner, pair = Partner(), new_pair()
    headers, body = partner.alert([match(token_of(pair))])
    assert kind_of(lowered(headers)) is Kind.PARTNER
    assert partner_key_id(lowered(headers)) == partner.current
    (token,) = read_partner(lowered(headers), body, partner_key(partner))
    assert (token.access_key_id, token.secret) == (pair.access_key_id, pair.secret)
    same_meaning = json.dumps(json.loads(body), indent=1).encode()
    with pytest.raises(NotBelievedError):
        read_partner(lowered(headers), same_meaning, partner_key(partner))


def test_a_partner_alert_signed_by_somebody_else_or_by_nobody_is_not_believed() -> None:
    partner = Partner()
    headers, body = Partner().alert([])
    for signature in (
        headers["Github-Public-Key-Signature"],
        "",
        "!",
        base64.b64encode(b"\x30\x06\x02\x01\x00\x02\x01\x00").decode(),
    ):
        with pytest.raises(NotBelievedError):
            read_partner(
                lowered(headers | {"Github-Public-Key-Signature": signature}), body, partner_key(partner)
            )


def test_the_halves_of_a_token_are_read_with_any_prefix_and_none() -> None:
    partner, pair = Partner(), new_pair(3)
    secret = pair.secret.reveal().decode()
    tokens = [
        match(f"{pair.access_key_id}{secret}"),
        match(f"acme_v2_{pair.access_key_id}.{secret}"),
        match(pair.access_key_id),
        match(secret),
        match("neither"),
    ]
    headers, body = partner.alert(tokens)
    read = read_partner(lowered(headers), body, partner_key(partner))
    assert [(token.access_key_id is not None, token.secret is not None) for token in read] == [
        (True, True), (True, True), (True, False), (False, True), (False, False)
    ]  # fmt: skip


def test_the_answer_to_a_partner_alert_names_tokens_by_their_hash() -> None:
    import hashlib

    partner, pair = Partner(), new_pair(4)
    headers, body = partner.alert([match(token_of(pair))])
    (token,) = read_partner(lowered(headers), body, partner_key(partner))
    told = json.loads(partner_answer([(token, True)]))
    hashed = hashlib.sha256(token_of(pair).encode()).hexdigest()
    assert told == [{"token_hash": hashed, "token_type": "acme_key", "label": "true_positive"}]
    assert pair.secret.reveal().decode() not in repr(token)


def test_keys_are_fetched_once_and_again_for_an_id_that_is_new() -> None:
    partner, clock = Partner(), HeldClock()
    ticks = [0.0]
    clock.monotonic = lambda: ticks[0]  # type: ignore[method-assign]  # held by the test
    keys = PartnerKeys(PARTNER_KEYS, partner.fetch, clock)
    first = partner.current
    assert keys.known(first) is None
    assert keys.asked(first) is not None
    assert keys.asked(first) is not None
    assert partner.fetches == 1
    partner.new_key("bcb5" + "0" * 60)
    assert keys.asked(partner.current) is None, "strangers can make us ask twice a minute at most"
    assert partner.fetches == 1
    ticks[0] += 31
    assert keys.asked(partner.current) is not None
    assert keys.known(first) is not None
    assert partner.fetches == 2


def test_keys_that_can_not_be_fetched_leave_the_known_ones() -> None:
    partner, clock = Partner(), HeldClock()
    answers: list[Callable[[], bytes]] = [lambda: partner.fetch("https://x"), lambda: b"<html>"]
    ticks = [0.0]
    clock.monotonic = lambda: ticks[0]  # type: ignore[method-assign]  # held by the test
    keys = PartnerKeys(PARTNER_KEYS, lambda _url: answers.pop(0)(), clock)
    assert keys.asked(partner.current) is not None
    ticks[0] += 31
    assert keys.asked("f" * 64) is None
    assert keys.known(partner.current) is not None


def test_a_key_on_another_curve_is_no_key() -> None:
    partner = Partner()
    partner.new_key("c" * 64, ec.SECP384R1())
    assert set(read_keys(partner.fetch("https://x"))) == {"90a4" + "0" * 60}
    for wrong in (b"", b"{}", b'{"public_keys": 1}', b'{"public_keys": [{"key": 1}]}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            read_keys(wrong)


def test_what_nobody_signed_has_no_kind() -> None:
    assert kind_of({b"content-type": b"application/json"}) is None


# What came before


def test_what_came_before_is_known_for_a_while_and_in_bounded_number() -> None:
    replays = Replays(kept_seconds=10, most=3)
    replays.note(b"a", 0, "first")
    assert replays.known(b"a", 10) == "first"
    assert replays.known(b"a", 11) is None
    for number in range(10):
        replays.note(b"%d" % number, 20, number)
    assert replays.known(b"0", 20) is None
    assert replays.known(b"9", 20) == 9


# Settings


def settings_of(home: Path, text: str, **environment: str) -> Any:
    file = home / "keyturn.toml"
    file.write_text(text)
    return read_alert_settings(configuration_file({"config": str(file)}), environment)


def test_nothing_is_taken_unless_it_is_named(tmp_path: Path) -> None:
    assert not settings_of(tmp_path, "[leaks]\nalerts_at_once = 2\n").takes_any
    assert not settings_of(tmp_path, "[leaks]\npartner = false\n").takes_any
    assert settings_of(tmp_path, "[leaks]\npartner = true\n").partner_keys_url == PARTNER_KEYS


def test_secrets_come_from_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET.reveal().replace(b" ", b"-") + b"\n")
    text = f'[leaks]\nwebhook_secret_file = "{tmp_path}/secret"\n'
    assert settings_of(tmp_path, text).webhook_secret.read() == Secret(SECRET.reveal().replace(b" ", b"-"))
    named = settings_of(tmp_path, '[leaks]\nwebhook_secret_variable = "HOOK"\n', HOOK="x" * 32)
    assert named.webhook_secret.read() == Secret(b"x" * 32)
    assert "x" * 32 not in repr(named)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[leaks]\n\nsecret = 1\n", r"line 3: \[leaks\] has no setting 'secret'"),
        ("[leaks]\npartner = 'yes'\n", "line 2: 'partner' is true or false"),
        ("[leaks]\nalerts_per_minute = 0\n", "line 2: 'alerts_per_minute' is a whole number"),
        ("[leaks]\nalerts_at_once = true\n", "line 2: 'alerts_at_once' is a whole number"),
        ("[leaks]\ngithub_api_url = 'http://github.example'\n", "line 2: 'github_api_url' is an https URL"),
        ("[leaks]\ngithub_api_url = 'https://u:p@github.example'\n", "line 2: 'github_api_url'"),
        ("[leaks]\npartner = true\npartner_keys_url = 'http://127.0.0.1/'\n", "line 3: 'partner_keys_url'"),
        (
            "[leaks]\nwebhook_secret_variable = 'A'\nwebhook_secret_file = 'b'\n",
            "line 3: webhook_secret_variable",
        ),
        ("[leaks]\ngithub_secret_variable = 'A'\n", "line 2: an alert of GitHub's does not hold the secret"),
    ],
)
def test_a_wrong_setting_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(KeyturnError, match=message):
        settings_of(tmp_path, text)


@pytest.mark.parametrize("held", [{}, {"HOOK": ""}, {"HOOK": "short"}, {"HOOK": "with space " * 5}])
def test_a_secret_that_is_not_there_or_is_none_is_an_error(tmp_path: Path, held: dict[str, str]) -> None:
    named = settings_of(tmp_path, '[leaks]\nwebhook_secret_variable = "HOOK"\n', **held)
    with pytest.raises(KeyturnError) as refused:
        named.webhook_secret.read()
    assert not held.get("HOOK") or held["HOOK"].strip() not in str(refused.value)


def test_every_setting_stands_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "alerts.md"
    text = page.read_text(encoding="utf-8")
    for name in FIELDS:
        assert f"| `{name}` |" in text, name
