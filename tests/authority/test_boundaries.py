"""Permission boundaries on the wire: who has which, and what a policy that is one may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from authority.role_calls import (
    ADMINISTRATOR_ACCESS,
    ALLOWED_TEXT,
    TRUST_TEXT,
    account_of,
    answer,
    missing,
    new_policy,
    new_role,
    refusal,
)
from living_authority import LivingAuthority


def boundary(arn: str) -> dict[str, str]:
    return {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}


def test_a_user_is_created_with_a_boundary_and_shows_it_except_in_lists(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "user-bound")
    created = iam.create_user(UserName="bound", Path="/bound/", PermissionsBoundary=arn)["User"]
    assert created["PermissionsBoundary"] == boundary(arn)
    assert iam.get_user(UserName="bound")["User"] == created
    listed = iam.list_users(PathPrefix="/bound/")["Users"][0]
    assert "PermissionsBoundary" not in listed

    iam.put_user_permissions_boundary(UserName="bound", PermissionsBoundary=ADMINISTRATOR_ACCESS)
    assert iam.get_user(UserName="bound")["User"]["PermissionsBoundary"] == boundary(ADMINISTRATOR_ACCESS)
    for _ in range(2):
        iam.delete_user_permissions_boundary(UserName="bound")
    assert iam.get_user(UserName="bound")["User"] == listed


def test_a_role_is_created_with_a_boundary_and_shows_it_except_in_lists(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "role-bound")
    created = new_role(shared_authority, "bound", Path="/bound/", PermissionsBoundary=arn)
    assert created["PermissionsBoundary"] == boundary(arn)
    assert iam.get_role(RoleName="bound")["Role"]["PermissionsBoundary"] == boundary(arn)
    assert "PermissionsBoundary" not in iam.list_roles(PathPrefix="/bound/")["Roles"][0]

    iam.delete_role_permissions_boundary(RoleName="bound")
    assert "PermissionsBoundary" not in iam.get_role(RoleName="bound")["Role"]
    iam.put_role_permissions_boundary(RoleName="bound", PermissionsBoundary=arn)
    iam.update_role(RoleName="bound", Description="a change of something else")
    iam.update_assume_role_policy(RoleName="bound", PolicyDocument=TRUST_TEXT)
    assert iam.get_role(RoleName="bound")["Role"]["PermissionsBoundary"] == boundary(arn)


def setters(authority: LivingAuthority) -> list[Callable[[str], object]]:
    """Every way to set a boundary."""
    iam = authority.iam()
    name = "wants-a-boundary"
    return [
        lambda arn: iam.create_user(UserName="not-made", PermissionsBoundary=arn),
        lambda arn: iam.create_role(
            RoleName="not-made", AssumeRolePolicyDocument=TRUST_TEXT, PermissionsBoundary=arn
        ),
        lambda arn: iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=arn),
        lambda arn: iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=arn),
    ]


@pytest.fixture(scope="module")
def wanting(shared_authority: LivingAuthority) -> LivingAuthority:
    shared_authority.iam().create_user(UserName="wants-a-boundary")
    new_role(shared_authority, "wants-a-boundary")
    return shared_authority


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::{account}:not_a_policy/invalid",
        "arn:aws:iam::{account}:user/somebody",
        "arn:aws:s3:::policy/a-bucket-in-disguise",
        "no-arn-but-long-enough",
    ],
)
def test_a_boundary_that_is_no_policys_arn_is_refused(wanting: LivingAuthority, arn: str, way: int) -> None:
    arn = arn.format(account=account_of(wanting))
    refused = refusal(setters(wanting)[way], arn=arn)
    assert refused == ("InvalidInput", 400, f"ARN {arn} is not valid.")


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize("owner", ["{account}", "123456789012", "aws"])
def test_a_boundary_that_does_not_exist_is_refused(wanting: LivingAuthority, owner: str, way: int) -> None:
    arn = f"arn:aws:iam::{owner.format(account=account_of(wanting))}:policy/nonexistent-policy"
    refused = refusal(setters(wanting)[way], arn=arn)
    assert refused == missing(f"Scope ARN: {arn} does not exist or is not attachable.")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("put_user_permissions_boundary", {"PermissionsBoundary": ADMINISTRATOR_ACCESS}),
        ("delete_user_permissions_boundary", {}),
    ],
)
def test_an_unknown_user_is_named_in_the_refusal(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    act = getattr(shared_authority.iam(), operation)
    refused = refusal(act, UserName="nobody", **parameters)
    assert refused == missing("The user with name nobody cannot be found.")


def test_a_policys_use_as_a_boundary_is_counted_and_listed_apart(authority: LivingAuthority) -> None:
    iam = authority.iam()
    arn = new_policy(authority, "limit")
    unused = new_policy(authority, "unused")
    user = iam.create_user(UserName="ana", PermissionsBoundary=arn)["User"]
    role = new_role(authority, "deploy", PermissionsBoundary=arn)
    both = new_role(authority, "both", PermissionsBoundary=arn)

    def seen(arn: str) -> tuple[int, int]:
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        return policy["AttachmentCount"], policy["PermissionsBoundaryUsageCount"]

    def local(**filters: Any) -> list[str]:
        listed = iam.list_policies(Scope="Local", **filters)["Policies"]
        return [policy["PolicyName"] for policy in listed]

    assert seen(arn) == (0, 3)
    assert seen(unused) == (0, 0)
    assert local() == ["limit", "unused"]
    assert local(PolicyUsageFilter="PermissionsBoundary") == ["limit"]
    assert local(PolicyUsageFilter="PermissionsPolicy") == ["unused"]
    assert local(OnlyAttached=True) == []
    iam.attach_role_policy(RoleName="both", PolicyArn=arn)
    assert seen(arn) == (1, 3)
    assert local(PolicyUsageFilter="PermissionsPolicy") == ["limit", "unused"]
    assert local(OnlyAttached=True) == ["limit"]
    counts = {policy["PolicyName"]: policy for policy in iam.list_policies(Scope="Local")["Policies"]}
    assert counts["limit"]["PermissionsBoundaryUsageCount"] == 3

    users = [{"UserName": "ana", "UserId": user["UserId"]}]
    roles = [{"RoleName": held["RoleName"], "RoleId": held["RoleId"]} for held in (both, role)]

    def holders(**filters: Any) -> dict[str, Any]:
        return answer(iam.list_entities_for_policy(PolicyArn=arn, **filters))

    all_of_them = {"PolicyGroups": [], "PolicyUsers": users, "PolicyRoles": roles, "IsTruncated": False}
    assert holders() == all_of_them
    assert holders(PolicyUsageFilter="PermissionsBoundary") == all_of_them
    attached = {"PolicyUsers": [], "PolicyRoles": roles[:1]}
    assert holders(PolicyUsageFilter="PermissionsPolicy") == all_of_them | attached
    assert holders(EntityFilter="User") == all_of_them | {"PolicyRoles": []}


def test_a_policy_that_is_somebodys_boundary_is_not_deleted(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "keeps-in")
    iam.create_user(UserName="kept-in", PermissionsBoundary=arn)
    refused = refusal(iam.delete_policy, PolicyArn=arn)
    assert refused == ("DeleteConflict", 409, "Cannot delete a policy attached to entities.")
    iam.delete_user(UserName="kept-in")
    iam.delete_policy(PolicyArn=arn)


def test_a_boundary_alone_is_no_attachment_and_a_holder_can_be_deleted(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = iam.create_policy(PolicyName="alone", PolicyDocument=ALLOWED_TEXT)["Policy"]["Arn"]
    new_role(shared_authority, "alone", PermissionsBoundary=arn)
    assert iam.list_attached_role_policies(RoleName="alone")["AttachedPolicies"] == []
    iam.delete_role(RoleName="alone")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"] == 0
