"""`POST /-/account`: who may change what the account requires, and what a call must look like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from authority.calls import Person, RawAnswer, account, audit_records, person, send, send_signed, statement
from authority.sts_calls import Device, new_trusting_role, trust
from living_authority import LivingAuthority

PATH = "/-/account"
MAY = statement("Allow", "keyturn:UpdateAccountSettings")


def asked(
    authority: LivingAuthority, content: object, *, by: Person | None = None, service: str = "keyturn"
) -> RawAnswer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    key = None if by is None else (by.access_key_id, by.secret)
    return send_signed(authority, service, body, target=PATH, key=key)


def told(answer: RawAnswer) -> tuple[int, Any]:
    content = json.loads(answer.body)
    return answer.status, content.get("code", content)


def test_a_call_that_changes_nothing_is_answered_with_what_is(shared_authority: LivingAuthority) -> None:
    answer = asked(shared_authority, {"mfa_required": "people"})
    assert told(answer) == (200, {"mfa_required": "people", "before": "people"})
    assert answer.headers["cache-control"] == "no-store"


def test_who_is_not_permitted_is_denied_and_the_attempt_stands_in_the_trail(
    shared_authority: LivingAuthority,
) -> None:
    almost = person(shared_authority, "almost", statement("Allow", ["iam:*", "sts:*", "keyturn:Verify"]))
    answer = asked(shared_authority, {"mfa_required": "all"}, by=almost)
    assert told(answer) == (403, "AccessDenied")
    arn = f"arn:aws:keyturn:eu-west-1:{account(shared_authority)}:account"
    assert json.loads(answer.body)["message"] == (
        f"User: {almost.arn} is not authorized to perform: keyturn:UpdateAccountSettings on resource: {arn}"
        " because no identity-based policy allows the keyturn:UpdateAccountSettings action"
    )
    last = audit_records(shared_authority, "UpdateAccountSettings")[-1]
    assert (last["errorCode"], last["userIdentity"]["userName"]) == ("AccessDenied", "almost")


def test_permission_can_be_given_for_the_account_alone(shared_authority: LivingAuthority) -> None:
    arn = f"arn:aws:keyturn:*:{account(shared_authority)}:account"
    only = person(shared_authority, "only-settings", statement("Allow", "keyturn:UpdateAccountSettings", arn))
    assert told(asked(shared_authority, {"mfa_required": "people"}, by=only))[0] == 200


def test_nobody_without_a_device_requires_one_of_everybody(shared_authority: LivingAuthority) -> None:
    someone = person(shared_authority, "without-device", MAY)
    assert told(asked(shared_authority, {"mfa_required": "all"}, by=someone)) == (409, "NoSecondFactor")
    assert audit_records(shared_authority, "UpdateAccountSettings")[-1]["errorCode"] == "NoSecondFactor"


def test_a_key_alone_tightens_and_does_not_loosen(authority: LivingAuthority) -> None:
    someone = person(authority, "with-device", MAY)
    Device(authority, "with-device")
    assert told(asked(authority, {"mfa_required": "off"}, by=someone)) == (403, "AccessDenied")
    assert told(asked(authority, {"mfa_required": "all"}, by=someone))[0] == 200
    assert told(asked(authority, {"mfa_required": "people"}, by=someone)) == (403, "AccessDenied"), "held now"


def test_a_role_acts_for_the_user_behind_it(authority: LivingAuthority) -> None:
    root = {"AWS": f"arn:aws:iam::{account(authority)}:root"}
    role = new_trusting_role(authority, "changer", trust(root), may=(MAY,))
    someone = person(authority, "behind", statement("Allow", "sts:AssumeRole"))
    Device(authority, "behind")
    given = someone.sts().assume_role(RoleArn=role, RoleSessionName="job")["Credentials"]
    body = json.dumps({"mfa_required": "all"}).encode()
    key = (given["AccessKeyId"], given["SecretAccessKey"])
    headers = {"X-Amz-Security-Token": given["SessionToken"]}
    answer = send_signed(authority, "keyturn", body, target=PATH, key=key, headers=headers)
    assert told(answer)[0] == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        {},
        {"mfa_required": "some"},
        {"mfa_required": True},
        {"mfa_required": ["all"]},
        {"mfa_required": "people", "more": 1},
        b'{"mfa_required": "people", "mfa_required": "off"}',
    ],
)
def test_anything_else_than_the_setting_is_refused(
    shared_authority: LivingAuthority, content: object
) -> None:
    assert told(asked(shared_authority, content))[0] == 400


def test_what_is_signed_for_another_service_or_not_at_all_is_refused(
    shared_authority: LivingAuthority,
) -> None:
    content = {"mfa_required": "people"}
    assert told(asked(shared_authority, content, service="iam"))[1] == "SignatureDoesNotMatch"
    body = json.dumps(content).encode()
    assert told(send(shared_authority, "POST", PATH, body=body))[0] == 403
    assert told(send_signed(shared_authority, "keyturn", body, target=PATH + "?x=1"))[0] == 400
    assert told(asked(shared_authority, b" " * 2000))[0] == 413
    assert send(shared_authority, "PUT", PATH, body=body).status == 405


def test_a_revoked_key_changes_nothing(shared_authority: LivingAuthority) -> None:
    someone = person(shared_authority, "revoked", MAY)
    iam = shared_authority.iam()
    iam.update_access_key(UserName="revoked", AccessKeyId=someone.access_key_id, Status="Inactive")
    answer = asked(shared_authority, {"mfa_required": "people"}, by=someone)
    assert told(answer) == (403, "InvalidClientTokenId")
