"""Policies at work on the wire: boundaries, conditions and what an administrator with a boundary can't escape from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from authority.role_calls import TRUST_TEXT, account_of, refusal
from authority.sts_calls import (
    Holder,
    Statement,
    allow,
    deny,
    document,
    let_clients_follow,
    new_holder,
    new_trusting_role,
    trust,
)
from keyturn.authority.operations import OPERATIONS
from living_authority import LivingAuthority

ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess"


def policy(authority: LivingAuthority, name: str, *statements: Statement) -> str:
    made = authority.iam().create_policy(PolicyName=name, PolicyDocument=document(*statements))
    return made["Policy"]["Arn"]


def may(act: Callable[..., object], **parameters: Any) -> bool:
    """Whether it is permitted. A refusal for another reason is none of policy's."""
    try:
        act(**parameters)
    except ClientError as refused:
        return refused.response["Error"]["Code"] != "AccessDenied"
    return True


# Boundaries


def test_a_boundary_limits_what_policies_give_and_gives_nothing(shared_authority: LivingAuthority) -> None:
    arn = policy(shared_authority, "lists", allow(["iam:ListUsers", "iam:ListRoles"]))
    ana = new_holder(
        shared_authority, "bounded-ana", allow(["iam:ListUsers", "iam:ListGroups"]), PermissionsBoundary=arn
    )
    ana.iam.list_users()
    assert refusal(ana.iam.list_groups)[2].endswith(
        "because no permissions boundary allows the iam:ListGroups action"
    )
    assert refusal(ana.iam.list_roles)[2].endswith(
        "because no identity-based policy allows the iam:ListRoles action"
    )
    shared_authority.iam().delete_user_permissions_boundary(UserName="bounded-ana")
    ana.iam.list_groups()
    shared_authority.iam().put_user_permissions_boundary(UserName="bounded-ana", PermissionsBoundary=arn)
    assert not may(ana.iam.list_groups)


def test_a_deny_in_a_boundary_is_told(shared_authority: LivingAuthority) -> None:
    arn = policy(shared_authority, "all-but-roles", allow("*"), deny("iam:ListRoles"))
    ana = new_holder(shared_authority, "roleless-ana", allow("*"), PermissionsBoundary=arn)
    assert refusal(ana.iam.list_roles)[2].endswith("with an explicit deny in a permissions boundary")


def test_a_roles_boundary_limits_its_sessions(shared_authority: LivingAuthority) -> None:
    arn = policy(shared_authority, "lists-users", allow("iam:ListUsers"))
    root = {"AWS": f"arn:aws:iam::{account_of(shared_authority)}:root"}
    role = new_trusting_role(
        shared_authority, "bounded", trust(root), may=(allow("iam:List*"),), PermissionsBoundary=arn
    )
    session = new_holder(shared_authority, "assumes-bounded", allow("sts:AssumeRole")).assume(role)
    session.iam.list_users()
    assert not may(session.iam.list_groups)
    shared_authority.iam().delete_role_permissions_boundary(RoleName="bounded")
    session.iam.list_groups()


# The cure for escalation: delegation under a boundary (IAM user guide, "Delegate responsibility to others")


@pytest.fixture
def delegate(authority: LivingAuthority) -> tuple[Holder, str]:
    """An administrator of users who can't make anybody mightier than themselves, and the boundary for all of them."""
    account = account_of(authority)
    boundary = f"arn:aws:iam::{account}:policy/everybody"
    policy(
        authority,
        "everybody",
        allow(["iam:List*", "iam:Get*", "iam:CreateUser", "iam:*UserPolicy", "iam:PutUserPermissionsBoundary",
               "iam:DeleteUserPermissionsBoundary", "iam:CreateAccessKey", "iam:*RolePolicy", "iam:CreateRole"]),
    )  # fmt: skip
    changing = [
        "iam:CreateUser",
        "iam:AttachUserPolicy",
        "iam:DetachUserPolicy",
        "iam:PutUserPolicy",
        "iam:DeleteUserPolicy",
        "iam:PutUserPermissionsBoundary",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "iam:AttachRolePolicy",
    ]
    holder = new_holder(
        authority,
        "delegate",
        allow(changing, StringEquals={"iam:PermissionsBoundary": boundary}),
        allow(["iam:List*", "iam:Get*", "iam:CreateAccessKey"]),
        deny("iam:DeleteUserPermissionsBoundary"),
        PermissionsBoundary=boundary,
    )
    return holder, boundary


def test_an_administrator_under_a_boundary_can_make_nobody_mightier(
    authority: LivingAuthority, delegate: tuple[Holder, str]
) -> None:
    holder, boundary = delegate
    iam = holder.iam
    assert not may(iam.create_user, UserName="new")
    assert not may(iam.create_user, UserName="new", PermissionsBoundary=ADMINISTRATOR_ACCESS)
    iam.create_user(UserName="new", PermissionsBoundary=boundary)
    assert not may(iam.delete_user_permissions_boundary, UserName="new")
    assert not may(
        iam.put_user_permissions_boundary, UserName="new", PermissionsBoundary=ADMINISTRATOR_ACCESS
    )
    iam.put_user_permissions_boundary(UserName="new", PermissionsBoundary=boundary)

    # What the new user is given goes no further than the boundary.
    iam.attach_user_policy(UserName="new", PolicyArn=ADMINISTRATOR_ACCESS)
    iam.put_user_policy(UserName="new", PolicyName="all", PolicyDocument=document(allow("*")))
    key = iam.create_access_key(UserName="new")["AccessKey"]
    new = Holder(authority, key["AccessKeyId"], key["SecretAccessKey"])
    new.iam.list_users()
    assert not may(new.iam.delete_user, UserName="delegate")
    iam.delete_user_policy(UserName="new", PolicyName="all")
    iam.detach_user_policy(UserName="new", PolicyArn=ADMINISTRATOR_ACCESS)

    # Users and roles without the boundary are out of reach: it is the target's own that counts.
    authority.iam().create_user(UserName="free")
    authority.iam().create_user(UserName="other", PermissionsBoundary=ADMINISTRATOR_ACCESS)
    for name in ("free", "other", "administrator"):
        everything = document(allow("*"))
        assert not may(iam.put_user_policy, UserName=name, PolicyName="all", PolicyDocument=everything)
        assert not may(iam.attach_user_policy, UserName=name, PolicyArn=ADMINISTRATOR_ACCESS)
        assert not may(iam.delete_user_policy, UserName=name, PolicyName="all")


def test_roles_of_an_administrator_under_a_boundary_are_bounded_too(
    authority: LivingAuthority, delegate: tuple[Holder, str]
) -> None:
    holder, boundary = delegate
    iam = holder.iam
    assert not may(iam.create_role, RoleName="new", AssumeRolePolicyDocument=TRUST_TEXT)
    iam.create_role(RoleName="new", AssumeRolePolicyDocument=TRUST_TEXT, PermissionsBoundary=boundary)
    iam.put_role_policy(RoleName="new", PolicyName="all", PolicyDocument=document(allow("*")))
    new_trusting_role(authority, "free", trust({"Service": "ec2.amazonaws.com"}))
    assert not may(iam.attach_role_policy, RoleName="free", PolicyArn=ADMINISTRATOR_ACCESS)


# Conditions


def when(**condition: Any) -> Statement:
    return allow("iam:ListUsers", **condition)


def iso(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")


HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def conditioned(shared_authority: LivingAuthority) -> Holder:
    return new_holder(
        shared_authority, "conditioned", Path="/people/", Tags=[{"Key": "Team", "Value": "Red-7"}]
    )


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.1"]}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, False),
        ({"StringEquals": {"aws:username": "conditioned"}}, True),
        ({"StringEquals": {"aws:UserName": "Conditioned"}}, False),
        ({"StringLike": {"aws:PrincipalTag/team": "Red-*"}}, True),
        ({"StringLike": {"aws:PrincipalTag/team": "Blue-*"}}, False),
        ({"StringLike": {"aws:PrincipalTag/none": "*"}}, False),
        ({"Null": {"aws:PrincipalTag/none": "true"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": iso(HOUR)}}, True),
        ({"DateLessThan": {"aws:CurrentTime": iso(-HOUR)}}, False),
        ({"NumericGreaterThan": {"aws:EpochTime": "1700000000"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/people/*"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/machines/*"}}, False),
        ({"StringEquals": {"aws:PrincipalType": "User"}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": "{account}"}}, True),
        ({"StringLike": {"aws:userid": "AIDA*"}}, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, True),
        ({"Null": {"aws:TokenIssueTime": "true"}}, True),
        ({"StringEquals": {"aws:username": "conditioned"}, "Bool": {"aws:SecureTransport": "true"}}, False),
    ],
)
def test_a_condition_holds_or_does_not(
    shared_authority: LivingAuthority, conditioned: Holder, condition: dict[str, Any], *, is_met: bool
) -> None:
    text = document(when(**condition)).replace("{account}", account_of(shared_authority))
    shared_authority.iam().put_user_policy(UserName="conditioned", PolicyName="own", PolicyDocument=text)
    assert may(conditioned.iam.list_users) is is_met


def test_tags_of_the_resource_and_of_the_request_decide(shared_authority: LivingAuthority) -> None:
    red: list[Any] = [{"Key": "Team", "Value": "red"}]
    blue: list[Any] = [{"Key": "Team", "Value": "blue"}]
    only_team: dict[str, Any] = {"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}}
    only_note: dict[str, Any] = {"ForAllValues:StringEquals": {"aws:TagKeys": ["note"]}}
    iam = shared_authority.iam()
    iam.create_user(UserName="red-user", Tags=red)
    iam.create_user(UserName="blue-user", Tags=blue)
    ana = new_holder(
        shared_authority,
        "red-admin",
        allow("iam:GetUser", StringEquals={"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}),
        allow("iam:ListAccessKeys", StringEquals={"iam:ResourceTag/Team": "red"}),
        allow(
            ["iam:CreateUser", "iam:TagUser"],
            StringEquals={"aws:RequestTag/Team": "red"},
            **only_team,
        ),
        allow("iam:UntagUser", **only_note),
        Tags=red,
    ).iam
    assert may(ana.get_user, UserName="red-user")
    assert not may(ana.get_user, UserName="blue-user")
    assert may(ana.list_access_keys, UserName="red-user")
    assert not may(ana.list_access_keys, UserName="blue-user")
    assert may(ana.create_user, UserName="red-made", Tags=red)
    for tags in ([], blue, [*red, {"Key": "more", "Value": "x"}]):
        assert not may(ana.create_user, UserName="not-made", Tags=tags)
    assert may(ana.tag_user, UserName="red-made", Tags=red)
    assert not may(ana.tag_user, UserName="red-made", Tags=blue)
    assert may(ana.untag_user, UserName="red-made", TagKeys=["note"])
    assert not may(ana.untag_user, UserName="red-made", TagKeys=["note", "Team"])


# Our own keys: about the access key


def test_a_key_can_be_too_old_and_so_are_the_sessions_that_it_obtains(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`keys:Age` is in seconds, and of a session it is that of the key that obtained it."""
    let_clients_follow(authority, monkeypatch)
    young = {"NumericLessThan": {"keys:Age": "3600"}}
    ana = new_holder(
        authority, "aging-ana", allow("sts:AssumeRole"), allow("sts:GetFederationToken"), when(**young)
    )
    root = {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}
    role = new_trusting_role(authority, "aging", trust(root), may=(when(**young),))
    assert may(ana.iam.list_users)
    session = ana.assume(role)
    assert may(session.iam.list_users)
    authority.clock.advance(seconds=3590)
    session = ana.assume(role)
    assert may(session.iam.list_users)
    authority.clock.advance(seconds=20)
    assert not may(ana.iam.list_users)
    assert not may(session.iam.list_users)
    assert not may(ana.assume(role).iam.list_users)
    again = authority.iam().create_access_key(UserName="aging-ana")["AccessKey"]
    assert may(Holder(authority, again["AccessKeyId"], again["SecretAccessKey"]).iam.list_users)


def test_what_a_key_was_made_for_stands_in_a_tag_with_its_name(shared_authority: LivingAuthority) -> None:
    """AWS's console writes what is said of a key at its creation into such a tag of the user."""
    iam = shared_authority.iam()
    told = new_holder(shared_authority, "use-case", when(StringEquals={"keys:UseCase": "backup of the wiki"}))
    second = iam.create_access_key(UserName="use-case")["AccessKey"]
    other = Holder(shared_authority, second["AccessKeyId"], second["SecretAccessKey"])
    assert not may(told.iam.list_users)
    iam.tag_user(UserName="use-case", Tags=[{"Key": told.key, "Value": "backup of the wiki"}])
    assert may(told.iam.list_users)
    assert not may(other.iam.list_users)


def test_only_certain_policies_can_be_attached(shared_authority: LivingAuthority) -> None:
    reading = "arn:aws:iam::aws:policy/IAMReadOnlyAccess"
    ana = new_holder(
        shared_authority,
        "attaches-reading",
        allow("iam:AttachUserPolicy", ArnEquals={"iam:PolicyARN": reading}),
    ).iam
    assert may(ana.attach_user_policy, UserName="attaches-reading", PolicyArn=reading)
    assert not may(ana.attach_user_policy, UserName="attaches-reading", PolicyArn=ADMINISTRATOR_ACCESS)


def test_everybody_manages_their_own_keys_by_a_variable(shared_authority: LivingAuthority) -> None:
    own = "arn:aws:iam::*:user/${aws:username}"
    ana = new_holder(shared_authority, "own-keys-ana", allow("iam:*AccessKey*", own)).iam
    new_holder(shared_authority, "own-keys-bob")
    assert may(ana.list_access_keys)
    assert may(ana.create_access_key, UserName="own-keys-ana")
    assert not may(ana.create_access_key, UserName="own-keys-bob")
    assert not may(ana.list_access_keys, UserName="own-keys-bob")


def test_a_role_is_handed_to_machines_only_by_who_may_pass_it(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    role = new_trusting_role(shared_authority, "passed", trust({"Service": "ec2.amazonaws.com"}))
    mighty = new_trusting_role(shared_authority, "mighty", trust({"Service": "ec2.amazonaws.com"}))
    for name in ("for-passed", "for-mighty"):
        iam.create_instance_profile(InstanceProfileName=name)
    ana = new_holder(
        shared_authority,
        "passing-ana",
        allow("iam:AddRoleToInstanceProfile"),
        allow("iam:PassRole", role, StringEquals={"iam:PassedToService": "ec2.amazonaws.com"}),
    )
    ana.iam.add_role_to_instance_profile(InstanceProfileName="for-passed", RoleName="passed")
    refused = refusal(
        ana.iam.add_role_to_instance_profile, InstanceProfileName="for-mighty", RoleName="mighty"
    )
    assert refused[2] == (
        f"User: {ana.arn} is not authorized to perform: iam:PassRole on resource: {mighty} because no"
        " identity-based policy allows the iam:PassRole action"
    )


def test_every_operation_that_aws_asks_pass_role_for_asks_for_it() -> None:
    """As AWS documents its operations."""
    asking = {
        (service, name)
        for service in ("iam", "sts", "secretsmanager", "cloudtrail")
        for name, model in operation_models(service).items()
        if "PassRole" in model.documentation
    }
    offered = {key for key in asking if key in OPERATIONS}
    assert offered == {key for key, operation in OPERATIONS.items() if operation.passes is not None}
    assert offered == {("iam", "AddRoleToInstanceProfile")}


def operation_models(service: str) -> dict[str, OperationModel]:
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service_name=service)
    return {name: model.operation_model(name) for name in model.operation_names}


def test_a_change_of_policy_is_at_work_with_the_next_call(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    ana = new_holder(shared_authority, "changing-ana")
    iam.create_group(GroupName="changing")
    arn = policy(shared_authority, "changing", allow("iam:ListUsers"))
    iam.attach_group_policy(GroupName="changing", PolicyArn=arn)
    assert not may(ana.iam.list_users)
    iam.add_user_to_group(GroupName="changing", UserName="changing-ana")
    assert may(ana.iam.list_users)
    iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=document(allow("iam:ListRoles")), SetAsDefault=True
    )
    assert not may(ana.iam.list_users)
    assert may(ana.iam.list_roles)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    assert may(ana.iam.list_users)
    iam.detach_group_policy(GroupName="changing", PolicyArn=arn)
    assert not may(ana.iam.list_users)
