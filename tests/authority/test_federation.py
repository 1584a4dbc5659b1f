"""GetFederationToken: somebody whom a user vouches for, with no more than the user and the session's policy allow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from authority.role_calls import account_of, refusal
from authority.sts_calls import (
    INVALID_TOKEN,
    Holder,
    allow,
    document,
    let_clients_follow,
    new_holder,
)
from keyturn.authority.storage import audit_trail
from living_authority import LivingAuthority


def federated(holder: Holder, **more: Any) -> Holder:
    return Holder.of(holder.authority, holder.sts.get_federation_token(Name="guest", **more))


def test_a_federated_user_is_named_in_the_answer(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "vouching", allow("*"))
    given = ana.sts.get_federation_token(Name="guest")
    account = account_of(shared_authority)
    arn = f"arn:aws:sts::{account}:federated-user/guest"
    assert given["FederatedUser"] == {"FederatedUserId": f"{account}:guest", "Arn": arn}
    assert given["PackedPolicySize"] == 0
    identity = Holder.of(shared_authority, given).sts.get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (arn, f"{account}:guest")
    packed = ana.sts.get_federation_token(Name="guest", Policy=document(allow("s3:GetObject")))
    assert packed["PackedPolicySize"] > 0


def test_a_federated_user_reaches_neither_iam_nor_sts_but_who_am_i(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "vouching-all", allow("*"))
    guest = federated(ana, Policy=document(allow("*")))
    role = f"arn:aws:iam::{account_of(shared_authority)}:role/any"
    assert guest.arn.endswith(":federated-user/guest")
    assert refusal(guest.iam.list_users)[:2] == INVALID_TOKEN
    assert refusal(guest.sts.assume_role, RoleArn=role, RoleSessionName="job")[:2] == INVALID_TOKEN
    assert refusal(guest.sts.get_session_token)[:2] == INVALID_TOKEN


def test_vouching_needs_permission_on_the_federated_user(shared_authority: LivingAuthority) -> None:
    guests = f"arn:aws:sts::{account_of(shared_authority)}:federated-user/guest-*"
    ana = new_holder(shared_authority, "vouching-some", allow("sts:GetFederationToken", guests))
    ana.sts.get_federation_token(Name="guest-1")
    arn = guests.replace("guest-*", "eve")
    assert refusal(ana.sts.get_federation_token, Name="eve") == (
        "AccessDenied",
        403,
        (
            f"User: {ana.arn} is not authorized to perform: sts:GetFederationToken on resource: {arn} because no"
            " identity-based policy allows the sts:GetFederationToken action"
        ),
    )


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": document(allow("s3:GetObject")) + " " * 2048}, "ValidationError"),
        ({"DurationSeconds": 129_601}, "ValidationError"),
        ({"Name": "x" * 33}, "ValidationError"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}, "InvalidParameterValue"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/NoSuchThing"}]}, "InvalidParameterValue"),
    ],
)
def test_what_cannot_be_a_federated_session_is_refused(
    shared_authority: LivingAuthority, parameters: dict[str, Any], code: str
) -> None:
    refused = refusal(shared_authority.sts().get_federation_token, **{"Name": "guest", **parameters})
    assert refused[:2] == (code, 400)


def test_a_federated_session_ends_at_its_time(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_clients_follow(authority, monkeypatch)
    guest = federated(new_holder(authority, "ana", allow("*")), DurationSeconds=900)
    authority.clock.advance(seconds=901)
    assert refusal(guest.sts.get_caller_identity)[:2] == ("ExpiredToken", 403)


def test_the_audit_trail_names_the_user_who_vouched(authority: LivingAuthority) -> None:
    ana = new_holder(authority, "ana", allow("*"))
    guest = federated(ana)
    # Refused before permission is asked, and written down all the same.
    assert refusal(guest.iam.create_user, UserName="x")[:2] == INVALID_TOKEN

    def last() -> dict[str, Any]:
        with authority.opened.store.read() as reader:
            records = audit_trail.records_after(reader, 0, 99)
            found: dict[str, Any] = json.loads(records[-1].record)
            return found

    record = authority.call(last)
    identity = record["userIdentity"]
    assert record["errorCode"] == "InvalidClientTokenId"
    assert identity["type"] == "FederatedUser"
    assert identity["arn"] == guest.arn
    assert identity["sessionContext"]["sessionIssuer"] == {
        "type": "IAMUser",
        "principalId": ana.sts.get_caller_identity()["UserId"],
        "arn": ana.arn,
        "accountId": account_of(authority),
        "userName": "ana",
    }
