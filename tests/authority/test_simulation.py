"""The policy simulator, asked over the wire by a stock client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from authority.role_calls import TRUST_TEXT, account_of, answer, missing, new_policy, refusal
from living_authority import LivingAuthority

if TYPE_CHECKING:
    from types_boto3_iam.type_defs import ContextEntryTypeDef, SimulatePolicyResponseTypeDef

BUCKET = "arn:aws:s3:::example_bucket"
OTHER_ACCOUNT = "999999999999"


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def decisions(response: SimulatePolicyResponseTypeDef) -> dict[str, str]:
    return {result["EvalActionName"]: result["EvalDecision"] for result in response["EvaluationResults"]}


def simulated(authority: LivingAuthority, policy: str, *actions: str, **more: Any) -> dict[str, str]:
    return decisions(
        authority.iam().simulate_custom_policy(PolicyInputList=[policy], ActionNames=list(actions), **more)
    )


def test_each_action_is_answered_in_the_order_it_was_asked(shared_authority: LivingAuthority) -> None:
    policy = document(allow("s3:*"), deny("s3:DeleteBucket"))
    found = simulated(shared_authority, policy, "s3:ListBucket", "s3:DeleteBucket", "iam:CreateUser")
    assert list(found.items()) == [
        ("s3:ListBucket", "allowed"),
        ("s3:DeleteBucket", "explicitDeny"),
        ("iam:CreateUser", "implicitDeny"),
    ]


def test_the_answer_names_the_statement_that_decided_and_where_it_stands(
    shared_authority: LivingAuthority,
) -> None:
    policy = (
        '{\n  "Version": "2012-10-17",\n  "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}\n}'
    )
    response = shared_authority.iam().simulate_custom_policy(
        PolicyInputList=[policy], ActionNames=["s3:ListBucket"]
    )
    assert answer(response) == {
        "EvaluationResults": [
            {
                "EvalActionName": "s3:ListBucket",
                "EvalResourceName": "*",
                "EvalDecision": "allowed",
                "MatchedStatements": [
                    {
                        "SourcePolicyId": "PolicyInputList.1",
                        "SourcePolicyType": "IAM Policy",
                        "StartPosition": {"Line": 3, "Column": 17},
                        "EndPosition": {"Line": 3, "Column": 67},
                    }
                ],
                "MissingContextValues": [],
            }
        ],
        "IsTruncated": False,
    }


def test_each_resource_has_a_result_of_its_own(shared_authority: LivingAuthority) -> None:
    response = shared_authority.iam().simulate_custom_policy(
        PolicyInputList=[document(allow("s3:ListBucket", BUCKET))],
        ActionNames=["s3:ListBucket"],
        ResourceArns=[BUCKET, "arn:aws:s3:::another"],
    )
    (result,) = response["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    assert {
        one["EvalResourceName"]: one["EvalResourceDecision"] for one in result["ResourceSpecificResults"]
    } == {BUCKET: "allowed", "arn:aws:s3:::another": "implicitDeny"}


def test_a_key_that_is_not_given_is_named_as_missing(shared_authority: LivingAuthority) -> None:
    policy = document(allow("s3:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    iam = shared_authority.iam()
    asked: dict[str, Any] = {"PolicyInputList": [policy], "ActionNames": ["s3:ListBucket"]}
    (result,) = iam.simulate_custom_policy(**asked)["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["MissingContextValues"] == ["aws:SourceIp"]
    entry: ContextEntryTypeDef = {
        "ContextKeyName": "AWS:sourceip",
        "ContextKeyValues": ["10.1.2.3"],
        "ContextKeyType": "ip",
    }
    (result,) = iam.simulate_custom_policy(**asked, ContextEntries=[entry])["EvaluationResults"]
    assert result["EvalDecision"] == "allowed"
    assert result["MissingContextValues"] == []


def test_a_list_of_values_is_a_multivalued_key(shared_authority: LivingAuthority) -> None:
    policy = document(
        allow("iam:TagUser", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}})
    )
    for values, decision in ((["a", "b"], "allowed"), (["a", "c"], "implicitDeny")):
        entry: ContextEntryTypeDef = {
            "ContextKeyName": "aws:TagKeys",
            "ContextKeyValues": values,
            "ContextKeyType": "stringList",
        }
        found = simulated(shared_authority, policy, "iam:TagUser", ContextEntries=[entry])
        assert found == {"iam:TagUser": decision}


def test_a_boundary_only_narrows(shared_authority: LivingAuthority) -> None:
    response = shared_authority.iam().simulate_custom_policy(
        PolicyInputList=[document(allow("s3:*"))],
        PermissionsBoundaryPolicyInputList=[document(allow("s3:List*"), allow("iam:*"))],
        ActionNames=["s3:ListBucket", "s3:GetObject", "iam:CreateUser"],
    )
    assert decisions(response) == {
        "s3:ListBucket": "allowed",
        "s3:GetObject": "implicitDeny",
        "iam:CreateUser": "implicitDeny",
    }
    assert [
        result["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"]
        for result in response["EvaluationResults"]
    ] == [True, False, True]


def test_a_resource_policy_of_another_account_needs_both_sides(shared_authority: LivingAuthority) -> None:
    account = account_of(shared_authority)
    caller = f"arn:aws:iam::{account}:user/somebody"
    bucket_policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{**allow("s3:GetObject", f"{BUCKET}/*"), "Principal": {"AWS": caller}}],
        }
    )
    (result,) = shared_authority.iam().simulate_custom_policy(
        PolicyInputList=[document(allow("iam:*"))],
        ActionNames=["s3:GetObject"],
        ResourceArns=[f"{BUCKET}/one"],
        ResourcePolicy=bucket_policy,
        ResourceOwner=OTHER_ACCOUNT,
        CallerArn=caller,
    )["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["EvalDecisionDetails"] == {"IAM Policy": "implicitDeny", "Resource Policy": "allowed"}


def test_pages_go_through_all_actions_once(shared_authority: LivingAuthority) -> None:
    actions = ["s3:GetObject", "s3:PutObject", "iam:GetUser", "iam:ListUsers", "ec2:RunInstances"]
    pages = shared_authority.iam().get_paginator("simulate_custom_policy")
    found = [
        [result["EvalActionName"] for result in each["EvaluationResults"]]
        for each in pages.paginate(
            PolicyInputList=[document(allow("*"))],
            ActionNames=actions,
            PaginationConfig={"PageSize": 2},
        )
    ]
    assert found == [actions[:2], actions[2:4], actions[4:]]


def test_a_page_of_many_resources_ends_sooner(shared_authority: LivingAuthority) -> None:
    response = shared_authority.iam().simulate_custom_policy(
        PolicyInputList=[document(allow("*"))],
        ActionNames=["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
        ResourceArns=[f"arn:aws:s3:::bucket-{number}" for number in range(1000)],
    )
    assert response["IsTruncated"]
    assert len(response["EvaluationResults"]) == 2


def test_long_policies_are_not_simulated_with_many_resources(shared_authority: LivingAuthority) -> None:
    long = document(*(allow("s3:GetObject", f"{BUCKET}/{number:0100}*") for number in range(500)))
    asked: dict[str, Any] = {"PolicyInputList": [long], "ActionNames": ["s3:GetObject", "s3:PutObject"]}
    code, status, message = refusal(
        shared_authority.iam().simulate_custom_policy,
        **asked,
        ResourceArns=[f"arn:aws:s3:::bucket-{number}" for number in range(1000)],
    )
    assert (code, status) == ("InvalidInput", 400)
    assert message.endswith("Ask for fewer resources at a time.")
    assert simulated(shared_authority, long, *asked["ActionNames"]) == {
        "s3:GetObject": "implicitDeny",
        "s3:PutObject": "implicitDeny",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ActionNames": ["ListBucket"]}, "Invalid action name: ListBucket"),
        ({"ActionNames": ["s3:*"]}, "Invalid action name: s3:*"),
        ({"ResourceArns": ["bucket"]}, "ResourceNames are not in a valid ARN format: bucket."),
        ({"ResourceOwner": "somebody"}, "'somebody' is not a valid as a Resource Owner."),
        (
            {"CallerArn": "arn:aws:sts::123456789012:assumed-role/a/b"},
            (
                "Invalid Entity Arn: arn:aws:sts::123456789012:assumed-role/a/b"
                " does not clearly define entity type and name."
            ),
        ),
        ({"PolicyInputList": ["{}"]}, "Syntax errors in policy."),
        (
            {"PolicyInputList": [f"{document(allow('*')):100000}", f"{document(allow('*')):40000}"]},
            "The policies are longer than 131072 characters together.",
        ),
        (
            {"PermissionsBoundaryPolicyInputList": [document(allow("*")), document(allow("*"))]},
            "Only one permissions boundary policy can be simulated.",
        ),
        (
            {"ResourcePolicy": document({**allow("*"), "Principal": "*"})},
            "CallerArn must be the ARN of a user when a resource policy is simulated.",
        ),
        (
            {
                "ContextEntries": [
                    {
                        "ContextKeyName": "aws:MultiFactorAuthAge",
                        "ContextKeyValues": ["old"],
                        "ContextKeyType": "numeric",
                    }
                ]
            },
            "A value of the context key aws:MultiFactorAuthAge is not of type numeric.",
        ),
        ({"ResourceHandlingOption": "EC2-Other"}, "EC2-Other is not a valid resource handling option."),
        (
            {"ResourceHandlingOption": "EC2-VPC-EBS", "ResourceArns": ["arn:aws:ec2:eu-west-1::image/ami-1"]},
            (
                "The resource handling option EC2-VPC-EBS needs resources of:"
                " instance, network-interface, security-group, volume."
            ),
        ),
    ],
)
def test_what_can_not_be_simulated_is_refused(
    shared_authority: LivingAuthority, more: dict[str, Any], message: str
) -> None:
    asked: dict[str, Any] = {"PolicyInputList": [document(allow("*"))], "ActionNames": ["s3:ListBucket"]}
    seen = refusal(shared_authority.iam().simulate_custom_policy, **(asked | more))
    assert seen == ("InvalidInput", 400, message)


def test_a_users_own_policies_and_those_of_the_groups_decide(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    arn = iam.create_user(UserName="sim-user")["User"]["Arn"]
    iam.create_group(GroupName="sim-group")
    iam.add_user_to_group(GroupName="sim-group", UserName="sim-user")
    iam.put_group_policy(GroupName="sim-group", PolicyName="keys", PolicyDocument=document(allow("iam:*")))
    iam.put_user_policy(
        UserName="sim-user", PolicyName="own", PolicyDocument=document(deny("iam:DeleteUser"))
    )
    iam.attach_user_policy(UserName="sim-user", PolicyArn=new_policy(shared_authority, "sim-managed"))
    response = iam.simulate_principal_policy(
        PolicySourceArn=arn,
        ActionNames=["iam:CreateUser", "iam:DeleteUser", "s3:ListBucket"],
        ResourceArns=["*", BUCKET],
    )
    sources = [
        (matched["SourcePolicyId"], result["EvalActionName"])
        for result in response["EvaluationResults"]
        for one in result["ResourceSpecificResults"]
        for matched in one["MatchedStatements"]
        if one["EvalResourceName"] == BUCKET
    ]
    assert sources == [
        ("group_sim-group_keys", "iam:CreateUser"),
        ("user_sim-user_own", "iam:DeleteUser"),
        ("sim-managed", "s3:ListBucket"),
    ]


def test_the_attached_boundary_bounds_the_simulation(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    boundary = new_policy(shared_authority, "sim-boundary")
    arn = iam.create_user(UserName="sim-bounded", PermissionsBoundary=boundary)["User"]["Arn"]
    iam.put_user_policy(UserName="sim-bounded", PolicyName="all", PolicyDocument=document(allow("*")))
    asked: dict[str, Any] = {"PolicySourceArn": arn, "ActionNames": ["iam:CreateUser"]}
    assert decisions(iam.simulate_principal_policy(**asked)) == {"iam:CreateUser": "implicitDeny"}
    without = iam.simulate_principal_policy(
        **asked, PolicyExclusionList=[{"PolicyType": "permission-boundary"}]
    )
    assert decisions(without) == {"iam:CreateUser": "allowed"}
    another = iam.simulate_principal_policy(
        **asked, PermissionsBoundaryPolicyInputList=[document(allow("iam:*"))]
    )
    assert decisions(another) == {"iam:CreateUser": "allowed"}


@pytest.mark.parametrize(
    ("identifier", "left"),
    [
        ({"PolicyType": "inline"}, "s3:ListBucket"),
        ({"PolicyType": "user-managed"}, "iam:CreateUser"),
        ({"PolicyArn": "arn:aws:iam::{account}:policy/sim-left-*"}, "iam:CreateUser"),
        (
            {
                "InlinePolicyIdentifier": {
                    "PolicyName": "own",
                    "AttachmentType": "role",
                    "AttachmentName": "sim-excluded",
                }
            },
            "s3:ListBucket",
        ),
    ],
)
def test_policies_that_are_attached_can_be_left_out(
    authority: LivingAuthority, identifier: dict[str, Any], left: str
) -> None:
    iam = authority.iam()
    role = iam.create_role(RoleName="sim-excluded", AssumeRolePolicyDocument=TRUST_TEXT)["Role"]
    iam.put_role_policy(RoleName="sim-excluded", PolicyName="own", PolicyDocument=document(allow("iam:*")))
    iam.attach_role_policy(RoleName="sim-excluded", PolicyArn=new_policy(authority, "sim-left-out"))
    if "PolicyArn" in identifier:
        identifier = {"PolicyArn": identifier["PolicyArn"].format(account=account_of(authority))}
    found = decisions(
        iam.simulate_principal_policy(
            PolicySourceArn=role["Arn"],
            ActionNames=["iam:CreateUser", "s3:ListBucket"],
            ResourceArns=[BUCKET],
            PolicyExclusionList=[identifier],  # type: ignore[list-item]  # a union, one by one
        )
    )
    assert [action for action, decision in found.items() if decision == "allowed"] == [left]


def test_a_principal_that_is_not_there_is_no_such_entity(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    account = account_of(shared_authority)
    for act in (iam.simulate_principal_policy, iam.get_context_keys_for_principal_policy):
        more = {"ActionNames": ["iam:GetUser"]} if act == iam.simulate_principal_policy else {}
        arn = f"arn:aws:iam::{account}:user/sim-nobody"
        assert refusal(act, PolicySourceArn=arn, **more) == missing(
            "The user with name sim-nobody cannot be found."
        )
        arn = f"arn:aws:sts::{account}:assumed-role/a/session"
        assert refusal(act, PolicySourceArn=arn, **more) == (
            "InvalidInput",
            400,
            f"Invalid Entity Arn: {arn} does not clearly define entity type and name.",
        )


def test_the_user_of_another_path_or_account_is_another(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    right = iam.create_user(UserName="sim-path", Path="/a/")["User"]["Arn"]
    account = account_of(shared_authority)
    for wrong in (right.replace("/a/", "/b/"), right.replace(account, OTHER_ACCOUNT)):
        code, _, _ = refusal(
            iam.simulate_principal_policy, PolicySourceArn=wrong, ActionNames=["iam:GetUser"]
        )
        assert code == "NoSuchEntity"


def test_a_resource_policy_is_not_simulated_for_roles(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    role = iam.create_role(RoleName="sim-role", AssumeRolePolicyDocument=TRUST_TEXT)["Role"]
    seen = refusal(
        iam.simulate_principal_policy,
        PolicySourceArn=role["Arn"],
        ActionNames=["s3:GetObject"],
        ResourcePolicy=document({**allow("s3:*"), "Principal": "*"}),
    )
    assert seen[:2] == ("InvalidInput", 400)


def test_the_keys_that_policies_ask_for_are_listed_once(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    arn = iam.create_user(UserName="sim-keys")["User"]["Arn"]
    own = document(allow("iam:GetUser", "arn:aws:iam::*:user/${aws:username}"))
    given = document(allow("s3:*", Condition={"StringEquals": {"aws:PrincipalTag/team": "${aws:username}"}}))
    iam.put_user_policy(UserName="sim-keys", PolicyName="own", PolicyDocument=own)
    assert iam.get_context_keys_for_custom_policy(PolicyInputList=[given])["ContextKeyNames"] == [
        "aws:PrincipalTag/team",
        "aws:username",
    ]
    assert iam.get_context_keys_for_principal_policy(PolicySourceArn=arn, PolicyInputList=[given])[
        "ContextKeyNames"
    ] == ["aws:username", "aws:PrincipalTag/team"]


def test_to_simulate_somebody_is_a_permission_on_that_somebody(shared_authority: LivingAuthority) -> None:
    key = shared_authority.new_user_with_key("sim-asker")
    iam, admin = shared_authority.iam(*key), shared_authority.iam()
    own = f"arn:aws:iam::{account_of(shared_authority)}:user/sim-asker"
    admin.put_user_policy(
        UserName="sim-asker",
        PolicyName="self",
        PolicyDocument=document(allow("iam:SimulatePrincipalPolicy", own)),
    )
    asked: dict[str, Any] = {"ActionNames": ["iam:CreateAccessKey"]}
    assert decisions(iam.simulate_principal_policy(PolicySourceArn=own, **asked)) == {
        "iam:CreateAccessKey": "implicitDeny"
    }
    other = own.replace("sim-asker", "administrator")
    admin.put_user_policy(
        UserName="sim-asker",
        PolicyName="self",
        PolicyDocument=document(
            allow("iam:SimulatePrincipalPolicy"), deny("iam:SimulatePrincipalPolicy", other)
        ),
    )
    spelled = other.replace("administrator", "ADMINISTRATOR")
    assert refusal(iam.simulate_principal_policy, PolicySourceArn=spelled, **asked)[0] == "AccessDenied"
    code, status, message = refusal(iam.simulate_principal_policy, PolicySourceArn=other, **asked)
    assert (code, status) == ("AccessDenied", 403)
    assert "iam:SimulatePrincipalPolicy on resource: user administrator" in message


def test_what_is_simulated_is_what_happens(shared_authority: LivingAuthority) -> None:
    key = shared_authority.new_user_with_key("sim-real")
    admin, iam = shared_authority.iam(), shared_authority.iam(*key)
    arn = f"arn:aws:iam::{account_of(shared_authority)}:user/sim-real"
    policy = document(allow("iam:*AccessKey*", arn), deny("iam:DeleteAccessKey"))
    admin.put_user_policy(UserName="sim-real", PolicyName="own", PolicyDocument=policy)
    found = decisions(
        admin.simulate_principal_policy(
            PolicySourceArn=arn,
            ActionNames=["iam:ListAccessKeys", "iam:DeleteAccessKey", "iam:GetUser"],
            ResourceArns=[arn],
        )
    )
    assert found == {
        "iam:ListAccessKeys": "allowed",
        "iam:DeleteAccessKey": "explicitDeny",
        "iam:GetUser": "implicitDeny",
    }
    assert iam.list_access_keys(UserName="sim-real")["AccessKeyMetadata"]
    for act, more in ((iam.delete_access_key, {"AccessKeyId": key[0]}), (iam.get_user, {})):
        assert refusal(act, UserName="sim-real", **more)[0] == "AccessDenied"
