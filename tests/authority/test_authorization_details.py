"""GetAccountAuthorizationDetails, as recorded from AWS; and which services somebody's keys were used for."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from authority.sts_calls import allow, new_holder, new_trusting_role, trust
from keyturn.authority.authorization_details import LISTS
from keyturn.authority.service_last_accessed import JOBS_KEPT_MS
from keyturn.store.interface import Transaction
from living_authority import LivingAuthority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


@pytest.fixture
def iam(authority: LivingAuthority) -> IAMClient:
    return authority.iam()


@pytest.fixture
def account(authority: LivingAuthority) -> str:
    return authority.opened.instance.account_id


def details(iam: IAMClient, *kinds: str) -> dict[str, Any]:
    answer: dict[str, Any] = dict(iam.get_account_authorization_details(Filter=list(kinds)))  # type: ignore[arg-type]  # literals
    del answer["ResponseMetadata"]
    assert answer.pop("IsTruncated") is False
    assert set(answer) == set(LISTS), "all four lists are sent, empty ones too"
    return answer


def test_a_user_is_shown_with_groups_policies_and_tags(iam: IAMClient, account: str) -> None:
    user = iam.create_user(UserName="Ana", Tags=[{"Key": "somekey", "Value": "somevalue"}])["User"]
    arn = iam.create_policy(PolicyName="read", PolicyDocument=json.dumps(DOCUMENT))["Policy"]["Arn"]
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="Ana")
    iam.attach_user_policy(UserName="Ana", PolicyArn=arn)
    iam.put_user_policy(UserName="Ana", PolicyName="inline", PolicyDocument=json.dumps(DOCUMENT))
    found = details(iam, "User")
    (ana,) = [each for each in found["UserDetailList"] if each["UserName"] == "Ana"]
    assert ana == {
        "Path": "/",
        "UserName": "Ana",
        "UserId": user["UserId"],
        "Arn": f"arn:aws:iam::{account}:user/Ana",
        "CreateDate": user["CreateDate"],
        "UserPolicyList": [{"PolicyName": "inline", "PolicyDocument": DOCUMENT}],
        "GroupList": ["staff"],
        "AttachedManagedPolicies": [{"PolicyName": "read", "PolicyArn": arn}],
        "Tags": [{"Key": "somekey", "Value": "somevalue"}],
    }
    assert found["GroupDetailList"] == found["RoleDetailList"] == found["Policies"] == []


def test_a_user_without_anything_has_empty_lists_but_no_inline_policies(iam: IAMClient) -> None:
    iam.create_user(UserName="bob")
    (bob,) = [each for each in details(iam, "User")["UserDetailList"] if each["UserName"] == "bob"]
    assert "UserPolicyList" not in bob
    assert bob["GroupList"] == bob["AttachedManagedPolicies"] == bob["Tags"] == []


def test_a_group_is_shown_with_its_policies(iam: IAMClient, account: str) -> None:
    group = iam.create_group(GroupName="staff")["Group"]
    iam.put_group_policy(GroupName="staff", PolicyName="inline", PolicyDocument=json.dumps(DOCUMENT))
    found = details(iam, "Group")
    assert found["GroupDetailList"] == [
        {
            "Path": "/",
            "GroupName": "staff",
            "GroupId": group["GroupId"],
            "Arn": f"arn:aws:iam::{account}:group/staff",
            "CreateDate": group["CreateDate"],
            "GroupPolicyList": [{"PolicyName": "inline", "PolicyDocument": DOCUMENT}],
            "AttachedManagedPolicies": [],
        }
    ]
    assert found["UserDetailList"] == []


def test_a_role_is_shown_with_trust_and_tags(iam: IAMClient, account: str) -> None:
    role = iam.create_role(
        RoleName="deploy",
        Path="/my-path/",
        AssumeRolePolicyDocument=json.dumps(TRUST),
        Tags=[{"Key": "team", "Value": "platform"}],
    )["Role"]
    found = details(iam, "Role")
    assert found["RoleDetailList"] == [
        {
            "Path": "/my-path/",
            "RoleName": "deploy",
            "RoleId": role["RoleId"],
            "Arn": f"arn:aws:iam::{account}:role/my-path/deploy",
            "CreateDate": role["CreateDate"],
            "AssumeRolePolicyDocument": TRUST,
            "InstanceProfileList": [],
            "RolePolicyList": [],
            "AttachedManagedPolicies": [],
            "Tags": [{"Key": "team", "Value": "platform"}],
            "RoleLastUsed": {},
        }
    ]


def test_a_policy_is_shown_with_all_its_versions(iam: IAMClient) -> None:
    policy = iam.create_policy(
        PolicyName="read", PolicyDocument=json.dumps(DOCUMENT), Description="what it is"
    )
    arn = policy["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(DOCUMENT), SetAsDefault=True)
    (shown,) = details(iam, "LocalManagedPolicy")["Policies"]
    assert (shown["Arn"], shown["DefaultVersionId"], shown["AttachmentCount"]) == (arn, "v2", 0)
    assert (shown["Description"], shown["IsAttachable"]) == ("what it is", True)
    versions = [(each["VersionId"], each["IsDefaultVersion"]) for each in shown["PolicyVersionList"]]
    assert versions == [("v2", True), ("v1", False)]
    assert shown["PolicyVersionList"][0]["Document"] == DOCUMENT


def test_aws_s_policies_are_shown_where_something_uses_them(iam: IAMClient) -> None:
    used = {each["PolicyName"] for each in details(iam, "AWSManagedPolicy")["Policies"]}
    assert "IAMFullAccess" not in used
    iam.create_group(GroupName="staff")
    iam.attach_group_policy(GroupName="staff", PolicyArn="arn:aws:iam::aws:policy/IAMFullAccess")
    shown = {each["PolicyName"]: each for each in details(iam, "AWSManagedPolicy")["Policies"]}
    assert set(shown) == used | {"IAMFullAccess"}
    assert shown["IAMFullAccess"]["AttachmentCount"] == 1


def test_pages_go_through_all_kinds_and_show_each_once(iam: IAMClient) -> None:
    for number in range(3):
        iam.create_user(UserName=f"user-{number}")
        iam.create_group(GroupName=f"group-{number}")
        iam.create_policy(PolicyName=f"policy-{number}", PolicyDocument=json.dumps(DOCUMENT))
        iam.create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=json.dumps(TRUST))
    whole = details(iam)
    for size in (1, 2, 5):
        together: dict[str, list[Any]] = {name: [] for name in LISTS}
        paginator = iam.get_paginator("get_account_authorization_details")
        for answer in paginator.paginate(PaginationConfig={"PageSize": size}):
            page: dict[str, Any] = dict(answer)
            assert sum(len(page[name]) for name in LISTS) <= size
            for name in LISTS:
                together[name] += page[name]
        assert together == whole


@pytest.mark.parametrize("marker", ["nonsense", "WyJHZXRBY2NvdW50QXV0aG9yaXphdGlvbkRldGFpbHMiLDFd"])
def test_a_marker_that_is_not_ours_is_refused(iam: IAMClient, marker: str) -> None:
    with pytest.raises(ClientError) as refused:
        iam.get_account_authorization_details(Marker=marker)
    assert refused.value.response["Error"] == {
        "Type": "Sender",
        "Code": "ValidationError",
        "Message": "Invalid Marker.",
    }


def test_a_made_up_place_in_the_listing_does_no_harm(iam: IAMClient) -> None:
    """`["GetAccountAuthorizationDetails","zzz"]`"""
    marker = "WyJHZXRBY2NvdW50QXV0aG9yaXphdGlvbkRldGFpbHMiLCJ6enoiXQ=="
    assert iam.get_account_authorization_details(Marker=marker)["IsTruncated"] is False


def test_a_filter_of_no_kind_is_refused(iam: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        iam.get_account_authorization_details(Filter=["Nobody"])  # type: ignore[list-item]  # on purpose
    assert refused.value.response["Error"]["Code"] == "ValidationError"


# Service last accessed details


def accessed(authority: LivingAuthority, arn: str, granularity: str) -> dict[str, Any]:
    iam = authority.iam()
    job = iam.generate_service_last_accessed_details(Arn=arn, Granularity=granularity)["JobId"]  # type: ignore[arg-type]  # a literal
    assert len(job) == 36
    authority.keep_house()
    answer = iam.get_service_last_accessed_details(JobId=job)
    assert (answer["JobStatus"], answer["JobType"]) == ("COMPLETED", granularity)
    assert answer["IsTruncated"] is False
    return {each["ServiceNamespace"]: each for each in answer["ServicesLastAccessed"]}


def test_a_user_s_calls_are_told_by_service_and_action(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    arn = authority.sts(access_key_id, secret).get_caller_identity()["Arn"]
    found = accessed(authority, arn, "ACTION_LEVEL")
    assert found["iam"] == {
        "ServiceName": "AWS Identity and Access Management",
        "ServiceNamespace": "iam",
        "TotalAuthenticatedEntities": 0,
        "TrackedActionsLastAccessed": [],
    }
    sts = found["sts"]
    assert (sts["TotalAuthenticatedEntities"], sts["LastAuthenticatedEntity"]) == (1, arn)
    assert sts["LastAuthenticatedRegion"] == "eu-west-1"
    (action,) = sts["TrackedActionsLastAccessed"]
    assert (action["ActionName"], action["LastAccessedEntity"]) == ("GetCallerIdentity", arn)
    assert "TrackedActionsLastAccessed" not in accessed(authority, arn, "SERVICE_LEVEL")["sts"]


def test_a_deleted_key_was_used_all_the_same(authority: LivingAuthority) -> None:
    access_key_id, secret = authority.new_user_with_key("ana")
    arn = authority.sts(access_key_id, secret).get_caller_identity()["Arn"]
    authority.iam().delete_access_key(UserName="ana", AccessKeyId=access_key_id)
    assert accessed(authority, arn, "SERVICE_LEVEL")["sts"]["TotalAuthenticatedEntities"] == 1


def made_policy(iam: IAMClient, name: str, action: str) -> str:
    text = json.dumps(
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}
    )
    return iam.create_policy(PolicyName=name, PolicyDocument=text)["Policy"]["Arn"]


def test_a_session_s_call_is_its_role_s_and_not_its_user_s(authority: LivingAuthority, account: str) -> None:
    iam = authority.iam()
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    role = new_trusting_role(
        authority, "reader", trust({"AWS": f"arn:aws:iam::{account}:user/ana"}), may=(allow("iam:*"),)
    )
    session = ana.assume(role)
    assert iam.get_role(RoleName="reader")["Role"]["RoleLastUsed"] == {}, "to be assumed is no use"
    session.iam.list_users()
    for _ in ("in memory", "in the file"):
        used = iam.get_role(RoleName="reader")["Role"]["RoleLastUsed"]
        assert used["Region"] == "eu-west-1"
        assert abs(used["LastUsedDate"] - datetime.now(UTC)) < timedelta(minutes=1)
        authority.keep_house()
    (detail,) = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    assert detail["RoleLastUsed"] == used
    assert "RoleLastUsed" not in iam.list_roles()["Roles"][0]
    of_role = accessed(authority, role, "ACTION_LEVEL")
    assert [each["ActionName"] for each in of_role["iam"]["TrackedActionsLastAccessed"]] == ["ListUsers"]
    assert of_role["iam"]["LastAuthenticatedEntity"] == role
    assert of_role["sts"]["TotalAuthenticatedEntities"] == 0
    of_user = accessed(authority, f"arn:aws:iam::{account}:user/ana", "ACTION_LEVEL")
    assert of_user["iam"]["TotalAuthenticatedEntities"] == 0
    assert [each["ActionName"] for each in of_user["sts"]["TrackedActionsLastAccessed"]] == ["AssumeRole"]


def test_a_group_and_a_policy_are_accessed_by_who_is_in_them(
    authority: LivingAuthority, account: str
) -> None:
    iam = authority.iam()
    policy = made_policy(iam, "listing", "iam:List*")
    ana, bob = new_holder(authority, "ana"), new_holder(authority, "bob")
    new_holder(authority, "cy")
    iam.create_group(GroupName="staff")
    for name in ("ana", "cy"):
        iam.add_user_to_group(GroupName="staff", UserName=name)
    iam.attach_group_policy(GroupName="staff", PolicyArn=policy)
    for name in ("ana", "bob"):
        iam.attach_user_policy(UserName=name, PolicyArn=policy)
    ana.iam.list_users()
    authority.clock.advance(seconds=60)
    bob.iam.list_groups()

    of_group = accessed(authority, f"arn:aws:iam::{account}:group/staff", "SERVICE_LEVEL")["iam"]
    assert of_group["TotalAuthenticatedEntities"] == 1
    assert of_group["LastAuthenticatedEntity"] == f"arn:aws:iam::{account}:user/ana"
    of_policy = accessed(authority, policy, "ACTION_LEVEL")["iam"]
    assert of_policy["TotalAuthenticatedEntities"] == 2
    assert of_policy["LastAuthenticatedEntity"] == f"arn:aws:iam::{account}:user/bob"
    assert {
        each["ActionName"]: each["LastAccessedEntity"] for each in of_policy["TrackedActionsLastAccessed"]
    } == {
        "ListGroups": f"arn:aws:iam::{account}:user/bob",
        "ListUsers": f"arn:aws:iam::{account}:user/ana",
    }
    job = iam.generate_service_last_accessed_details(Arn=policy)["JobId"]
    entities = iam.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="iam")
    listed = entities["EntityDetailsList"]
    assert [each["EntityInfo"]["Name"] for each in listed] == ["bob", "ana", "cy"]
    assert ["LastAuthenticated" in each for each in listed] == [True, True, False]
    user_id = iam.get_user(UserName="bob")["User"]["UserId"]
    arn = f"arn:aws:iam::{account}:user/bob"
    expected = {"Arn": arn, "Name": "bob", "Type": "USER", "Id": user_id, "Path": "/"}
    assert listed[0]["EntityInfo"] == expected
    first = iam.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="iam", MaxItems=1)
    rest = iam.get_service_last_accessed_details_with_entities(
        JobId=job, ServiceNamespace="iam", Marker=first["Marker"]
    )
    assert first["EntityDetailsList"] + rest["EntityDetailsList"] == listed


@pytest.mark.parametrize("kind", ["role", "group", "policy"])
def test_who_does_not_exist_has_no_details(iam: IAMClient, account: str, kind: str) -> None:
    with pytest.raises(ClientError) as refused:
        iam.generate_service_last_accessed_details(Arn=f"arn:aws:iam::{account}:{kind}/nobody")
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"


def test_a_report_about_somebody_who_is_gone_is_not_found(authority: LivingAuthority) -> None:
    iam = authority.iam()
    policy = made_policy(iam, "short-lived", "iam:List*")
    job = iam.generate_service_last_accessed_details(Arn=policy)["JobId"]
    iam.get_service_last_accessed_details(JobId=job)
    iam.delete_policy(PolicyArn=policy)
    with pytest.raises(ClientError) as refused:
        iam.get_service_last_accessed_details_with_entities(JobId=job, ServiceNamespace="iam")
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"


@pytest.mark.parametrize("name", ["nobody", "wrong/path/keyturn-admin"])
def test_a_user_that_does_not_exist_has_no_details(iam: IAMClient, account: str, name: str) -> None:
    with pytest.raises(ClientError) as refused:
        iam.generate_service_last_accessed_details(Arn=f"arn:aws:iam::{account}:user/{name}")
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"


def test_what_is_no_arn_of_an_entity_is_refused(iam: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        iam.generate_service_last_accessed_details(Arn="arn:aws:s3:::a-bucket-of-ours")
    assert refused.value.response["Error"]["Code"] == "InvalidInput"


def test_a_job_that_nobody_began_is_not_found(iam: IAMClient) -> None:
    with pytest.raises(ClientError) as refused:
        iam.get_service_last_accessed_details(JobId=str(uuid.UUID(int=0)))
    assert refused.value.response["Error"]["Code"] == "NoSuchEntity"


def test_a_job_is_kept_for_seven_days(authority: LivingAuthority, iam: IAMClient, account: str) -> None:
    iam.create_user(UserName="ana")
    arn = f"arn:aws:iam::{account}:user/ana"
    job = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]

    def age(tx: Transaction) -> int:
        return tx.execute(
            "UPDATE service_access_jobs SET created_at = created_at - :age", {"age": JOBS_KEPT_MS}
        )

    assert authority.run(authority.opened.store.write(age)) == 1
    iam.get_service_last_accessed_details(JobId=job)
    other = iam.generate_service_last_accessed_details(Arn=arn)["JobId"]
    iam.get_service_last_accessed_details(JobId=other)
    with pytest.raises(ClientError):
        iam.get_service_last_accessed_details(JobId=job)
