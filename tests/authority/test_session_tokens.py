"""Session tokens: nobody can make or change one, and each request looks at key, user and role as they are now."""

from __future__ import annotations

import json
from typing import Any

import pytest

from authority.role_calls import account_of, refusal
from authority.sts_calls import (
    INVALID_TOKEN,
    Device,
    Holder,
    allow,
    deny,
    document,
    let_clients_follow,
    new_holder,
    new_trusting_role,
    session_of,
    trust,
)
from keyturn.authority.storage import audit_trail
from living_authority import LivingAuthority

CANNOT = "Cannot call {} with session credentials"


def root(authority: LivingAuthority) -> dict[str, str]:
    return {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}


def is_invalid(holder: Holder) -> bool:
    return refusal(holder.sts.get_caller_identity)[:2] == INVALID_TOKEN


# What a token is


def test_a_changed_token_is_invalid_wherever_a_bit_is_changed(shared_authority: LivingAuthority) -> None:
    session = session_of(new_holder(shared_authority, "bit-ana"))
    token = session.token or ""
    assert session.arn.endswith(":user/bit-ana")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(token.rstrip("=")) - 1
    for place in {0, 1, 7, 40, last // 2, last - 1, last}:
        changed = alphabet[alphabet.index(token[place]) ^ 1]
        assert is_invalid(session.with_token(token[:place] + changed + token[place + 1 :])), place
    for other in (token[:-4], token + "AAAA", token + "=", " ", "AAAA", "\xff", "A" * 12_001):
        assert is_invalid(session.with_token(other)), other


def test_a_token_belongs_to_its_own_key(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "own-ana")
    first, second = session_of(ana), session_of(ana)
    assert is_invalid(first.with_token(second.token))
    assert is_invalid(first.with_token(None))
    assert is_invalid(ana.with_token(first.token))
    wrong_secret = Holder(shared_authority, first.key, second.secret, first.token)
    assert refusal(wrong_secret.sts.get_caller_identity)[:2] == ("SignatureDoesNotMatch", 403)


def test_a_session_ends_at_its_time(authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    let_clients_follow(authority, monkeypatch)
    session = session_of(new_holder(authority, "ana"), DurationSeconds=900)
    authority.clock.advance(seconds=840)
    assert session.arn.endswith(":user/ana")
    authority.clock.advance(seconds=60)
    assert refusal(session.sts.get_caller_identity)[:2] == ("ExpiredToken", 403)


# GetSessionToken


def test_a_session_of_a_user_is_that_user_and_reaches_iam_only_with_a_second_factor(
    authority: LivingAuthority,
) -> None:
    authority.clock.ahead_ms = 30_000 - authority.clock.now_ms() % 30_000
    role = new_trusting_role(authority, "any", trust(root(authority)))
    ana = new_holder(
        authority,
        "ana",
        allow("*"),
        deny("iam:ListRoles", BoolIfExists={"aws:MultiFactorAuthPresent": "false"}),
        deny("iam:ListGroups", NumericGreaterThan={"aws:MultiFactorAuthAge": "3600"}),
    )
    device = Device(authority, "ana")
    given = ana.sts.get_session_token()
    assert set(given) - {"ResponseMetadata"} == {"Credentials"}
    assert set(given["Credentials"]) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}

    plain = Holder.of(authority, given)
    assert plain.sts.get_caller_identity()["UserId"] == ana.sts.get_caller_identity()["UserId"]
    assert refusal(plain.iam.list_users)[:2] == INVALID_TOKEN
    plain.assume(role)

    proved = session_of(ana, **device.proof)
    assert refusal(ana.iam.list_roles)[2].endswith("with an explicit deny in an identity-based policy")
    proved.iam.list_roles()
    proved.iam.list_groups()
    assert proved.iam.get_user()["User"]["UserName"] == "ana"
    for session in (plain, proved):
        for call, name in (
            ("get_session_token", "GetSessionToken"),
            ("get_federation_token", "GetFederationToken"),
        ):
            parameters = {"Name": "somebody"} if name == "GetFederationToken" else {}
            refused = refusal(getattr(session.sts, call), **parameters)
            assert refused == ("AccessDenied", 403, CANNOT.format(name))

    refused = refusal(ana.sts.get_session_token, SerialNumber=device.serial, TokenCode="123456")
    assert refused == (
        "AccessDenied",
        403,
        "MultiFactorAuthentication failed with invalid MFA one time pass code.",
    )


def test_the_age_of_a_second_factor_counts(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.clock.ahead_ms = 30_000 - authority.clock.now_ms() % 30_000
    let_clients_follow(authority, monkeypatch)
    ana = new_holder(
        authority, "ana", allow("iam:List*", NumericLessThanEquals={"aws:MultiFactorAuthAge": "3600"})
    )
    assert refusal(ana.iam.list_groups)[0] == "AccessDenied"
    proved = session_of(ana, **Device(authority, "ana").proof)
    proved.iam.list_groups()
    authority.clock.advance(seconds=3700)
    assert refusal(proved.iam.list_groups)[0] == "AccessDenied"


def test_get_session_token_needs_no_permission_and_no_policy_forbids_it(
    shared_authority: LivingAuthority,
) -> None:
    assert session_of(new_holder(shared_authority, "denied-all", deny("*"))).arn.endswith("user/denied-all")


def test_a_role_cannot_ask_for_a_session_of_a_user(shared_authority: LivingAuthority) -> None:
    role = new_trusting_role(shared_authority, "asks", trust(root(shared_authority)), may=(allow("*"),))
    session = new_holder(shared_authority, "asking", allow("*")).assume(role)
    assert refusal(session.sts.get_session_token)[2] == CANNOT.format("GetSessionToken")
    assert refusal(session.sts.get_federation_token, Name="eve")[2] == CANNOT.format("GetFederationToken")


@pytest.mark.parametrize("seconds", [129_601])
def test_a_session_that_is_too_long_is_refused(shared_authority: LivingAuthority, seconds: int) -> None:
    refused = refusal(shared_authority.sts().get_session_token, DurationSeconds=seconds)
    assert refused[:2] == ("ValidationError", 400)


# What ends a session


def sessions_of(ana: Holder, role: str) -> list[Holder]:
    """One of each kind that a key can obtain, and one at the end of a chain."""
    token, assumed = session_of(ana), ana.assume(role)
    federated = Holder.of(
        ana.authority, ana.sts.get_federation_token(Name="guest", Policy=document(allow("*")))
    )
    return [token, assumed, federated, assumed.assume(role), token.assume(role)]


@pytest.fixture
def held(authority: LivingAuthority) -> tuple[Holder, list[Holder]]:
    trusts = trust({"AWS": [root(authority)["AWS"]]})
    role = new_trusting_role(authority, "any", trusts, may=(allow("*"),))
    ana = new_holder(authority, "ana", allow("*"))
    sessions = sessions_of(ana, role)
    assert not any(map(_is_refused, sessions))
    return ana, sessions


def _is_refused(holder: Holder) -> bool:
    return "InvalidClientTokenId" in _outcome(holder)


def _outcome(holder: Holder) -> str:
    try:
        return holder.arn
    except holder.sts.exceptions.ClientError as refused:
        return str(refused)


def test_an_inactive_key_ends_the_sessions_that_it_obtained_at_once(
    authority: LivingAuthority, held: tuple[Holder, list[Holder]]
) -> None:
    ana, sessions = held
    authority.iam().update_access_key(UserName="ana", AccessKeyId=ana.key, Status="Inactive")
    assert all(map(is_invalid, sessions))
    authority.iam().update_access_key(UserName="ana", AccessKeyId=ana.key, Status="Active")
    assert not any(map(_is_refused, sessions))


def test_a_deleted_key_ends_the_sessions_that_it_obtained(
    authority: LivingAuthority, held: tuple[Holder, list[Holder]]
) -> None:
    ana, sessions = held
    other = authority.iam().create_access_key(UserName="ana")["AccessKey"]
    spared = session_of(Holder(authority, other["AccessKeyId"], other["SecretAccessKey"]))
    authority.iam().delete_access_key(UserName="ana", AccessKeyId=ana.key)
    assert all(map(is_invalid, sessions))
    assert spared.arn.endswith(":user/ana")


def test_a_deleted_user_ends_their_sessions_even_if_another_takes_the_name(
    authority: LivingAuthority, held: tuple[Holder, list[Holder]]
) -> None:
    ana, sessions = held
    iam = authority.iam()
    iam.delete_access_key(UserName="ana", AccessKeyId=ana.key)
    iam.delete_user_policy(UserName="ana", PolicyName="own")
    iam.delete_user(UserName="ana")
    new_holder(authority, "ana", allow("*"))
    assert all(map(is_invalid, sessions))


def test_a_deleted_role_ends_its_sessions_even_if_another_takes_the_name(
    authority: LivingAuthority, held: tuple[Holder, list[Holder]]
) -> None:
    _ana, (token, assumed, federated, chained, from_token) = held
    iam = authority.iam()
    iam.delete_role_policy(RoleName="any", PolicyName="own")
    iam.delete_role(RoleName="any")
    new_trusting_role(authority, "any", trust(root(authority)))
    assert all(map(is_invalid, (assumed, chained, from_token)))
    assert not any(map(_is_refused, (token, federated)))


def test_a_renamed_user_keeps_their_sessions_under_the_new_name(
    authority: LivingAuthority, held: tuple[Holder, list[Holder]]
) -> None:
    _ana, (token, *_others) = held
    authority.iam().update_user(UserName="ana", NewUserName="anna")
    assert token.arn.endswith(":user/anna")


def test_older_sessions_are_revoked_by_the_time_of_their_token(authority: LivingAuthority) -> None:
    role = new_trusting_role(authority, "revoked", trust(root(authority)), may=(allow("iam:List*"),))
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    older = ana.assume(role)
    older.iam.list_users()
    authority.clock.advance(seconds=2)
    now = authority.clock.now_ms() // 1000
    # As the console's "Revoke active sessions" writes it.
    authority.iam().put_role_policy(
        RoleName="revoked",
        PolicyName="AWSRevokeOlderSessions",
        PolicyDocument=document(deny("*", DateLessThan={"aws:TokenIssueTime": str(now)})),
    )
    refused = refusal(older.iam.list_users)
    assert refused[0] == "AccessDenied"
    assert refused[2].endswith("with an explicit deny in an identity-based policy")
    authority.clock.advance(seconds=2)
    ana.assume(role).iam.list_users()


# What is remembered of sessions


def test_a_sessions_calls_are_booked_on_the_key_that_obtained_it(authority: LivingAuthority) -> None:
    role = new_trusting_role(authority, "any", trust(root(authority)), may=(allow("*"),))
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    last_used = authority.iam().get_access_key_last_used
    session = ana.assume(role)
    before = last_used(AccessKeyId=ana.key)["AccessKeyLastUsed"]
    assert before["ServiceName"] == "sts"
    session.iam.list_users()
    session.assume(role).iam.list_roles()
    authority.keep_house()
    assert last_used(AccessKeyId=ana.key)["AccessKeyLastUsed"] == before

    def used() -> dict[str, int]:
        usage = authority.opened.authority.services.usage
        return {row.key.action: row.count for row in usage.usage_of(ana.key)}  # type: ignore[arg-type]

    assert authority.call(used) == {"AssumeRole": 2, "ListUsers": 1, "ListRoles": 1}
    refused = refusal(last_used, AccessKeyId=session.key)
    assert refused[0] == "AccessDenied"


def test_a_proved_attempt_of_an_ended_session_is_booked_on_its_key(authority: LivingAuthority) -> None:
    ana = new_holder(authority, "ana")
    session = session_of(ana)
    authority.iam().update_access_key(UserName="ana", AccessKeyId=ana.key, Status="Inactive")
    assert is_invalid(session)
    authority.keep_house()

    def refused() -> list[str]:
        usage = authority.opened.authority.services.usage
        rows = usage.usage_of(ana.key)  # type: ignore[arg-type]
        return [row.key.action for row in rows if row.key.outcome == "refused"]

    assert authority.call(refused) == ["GetCallerIdentity"]


def test_the_audit_trail_tells_who_asked_for_a_session_and_never_the_token(
    authority: LivingAuthority,
) -> None:
    ana = new_holder(authority, "ana", allow("*"))
    session = session_of(ana)
    federated = Holder.of(authority, ana.sts.get_federation_token(Name="guest"))

    def records() -> list[dict[str, Any]]:
        with authority.opened.store.read() as reader:
            return [json.loads(row.record) for row in audit_trail.records_after(reader, 0, 99)]

    asked, vouched = authority.call(records)[-2:]
    assert asked["eventName"] == "GetSessionToken"
    assert asked["userIdentity"]["accessKeyId"] == ana.key
    assert asked["additionalEventData"] == {"issuedAccessKeyId": session.key}
    assert asked["responseElements"]["credentials"]["accessKeyId"] == session.key
    assert vouched["responseElements"]["federatedUser"]["arn"] == federated.arn
    text = json.dumps([asked, vouched])
    for held in (session, federated):
        assert held.secret not in text
        assert (held.token or "") not in text
