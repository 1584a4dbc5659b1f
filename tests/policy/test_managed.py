from __future__ import annotations

import pytest

from keyturn.model.clock import iso8601
from keyturn.policy.evaluation import AttachedPolicy, Decision, Request, decide
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.policy.validation import validate

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
IAM_FULL = "arn:aws:iam::aws:policy/IAMFullAccess"


POWER_USER = "arn:aws:iam::aws:policy/PowerUserAccess"
READ_ONLY = "arn:aws:iam::aws:policy/IAMReadOnlyAccess"
CHANGE_PASSWORD = "arn:aws:iam::aws:policy/IAMUserChangePassword"
QUARANTINE = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
BOB = "arn:aws:iam::123456789012:user/bob"


def decided(arn: str, action: str, resource: str = BOB, **context: str) -> Decision:
    attached = AttachedPolicy(arn, validate(MANAGED_POLICIES[arn].document))
    values = {name.replace("_", ":", 1): value for name, value in context.items()}
    return decide(Request(action, resource, {"aws:username": "bob", **values}), [attached])


def allows(arn: str, action: str) -> bool:
    return decided(arn, action).allowed


def test_administrators_may_do_everything_and_iam_administrators_iam() -> None:
    assert set(MANAGED_POLICIES) == {
        *(ADMINISTRATOR, POWER_USER, IAM_FULL),
        *(READ_ONLY, CHANGE_PASSWORD, QUARANTINE),
    }
    assert allows(ADMINISTRATOR, "secretsmanager:GetSecretValue")
    assert allows(ADMINISTRATOR, "iam:CreateUser")
    assert allows(IAM_FULL, "iam:CreateUser")
    assert allows(IAM_FULL, "organizations:ListRoots")
    assert not allows(IAM_FULL, "organizations:CreateAccount")
    assert not allows(IAM_FULL, "sts:AssumeRole")


def test_power_users_may_do_everything_but_administer() -> None:
    assert allows(POWER_USER, "s3:DeleteBucket")
    assert allows(POWER_USER, "iam:ListRoles")
    assert not allows(POWER_USER, "iam:CreateUser")
    assert not allows(POWER_USER, "account:CloseAccount")


def test_readers_of_iam_change_nothing() -> None:
    assert allows(READ_ONLY, "iam:GetUser")
    assert allows(READ_ONLY, "iam:SimulatePrincipalPolicy")
    assert not allows(READ_ONLY, "iam:UpdateAccessKey")


def test_a_user_may_change_the_own_password_and_no_other() -> None:
    assert allows(CHANGE_PASSWORD, "iam:ChangePassword")
    assert decided(CHANGE_PASSWORD, "iam:ChangePassword", BOB.replace("/bob", "/team/bob")).allowed
    assert not decided(CHANGE_PASSWORD, "iam:ChangePassword", BOB.replace("/bob", "/ann")).allowed
    assert allows(CHANGE_PASSWORD, "iam:GetAccountPasswordPolicy")


@pytest.mark.parametrize(
    "action",
    [
        *("iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:PutUserPolicy"),
        *("ec2:RunInstances", "sts:GetFederationToken", "sts:GetSessionToken", "lightsail:CreateInstances"),
        *(
            "bedrock:InvokeModel",
            "s3:GetObject",
            "organizations:LeaveOrganization",
            "kms:ScheduleKeyDeletion",
        ),
    ],
)
def test_a_quarantined_key_can_neither_spend_nor_renew_itself(action: str) -> None:
    assert decided(QUARANTINE, action).explicit_deny


def test_a_quarantined_key_may_still_be_looked_at() -> None:
    for action in ("sts:GetCallerIdentity", "s3:PutObject", "iam:GetUser"):
        assert not decided(QUARANTINE, action).explicit_deny


def test_a_quarantined_key_grants_no_use_of_an_encryption_key_but_through_a_service() -> None:
    assert decided(QUARANTINE, "kms:CreateGrant").explicit_deny
    assert not decided(
        QUARANTINE, "kms:CreateGrant", kms_ViaService="ec2.us-east-1.amazonaws.com"
    ).explicit_deny


@pytest.mark.parametrize(
    ("arn", "policy_id", "version", "created", "updated"),
    [
        (ADMINISTRATOR, "ANPAIWMBCKSKIEE64ZLYK", "v1", "2015-02-06T18:39:46Z", "2015-02-06T18:39:46Z"),
        (POWER_USER, "ANPAJYRXTHIB4FOVS3ZXS", "v12", "2015-02-06T18:39:47Z", "2026-02-12T17:59:14Z"),
        (IAM_FULL, "ANPAI7XKCFMBPM3QQRRVQ", "v2", "2015-02-06T18:40:38Z", "2019-06-21T19:40:00Z"),
        (READ_ONLY, "ANPAJKSO7NDY4T57MWDSQ", "v4", "2015-02-06T18:40:39Z", "2018-01-25T19:11:27Z"),
        (CHANGE_PASSWORD, "ANPAJ4L4MM2A7QIEB56MS", "v5", "2016-11-15T00:25:16Z", "2026-02-12T17:58:57Z"),
        (QUARANTINE, "ANPAZKAPJZG4QUARANTV3", "v3", "2024-08-21T17:36:49Z", "2026-03-16T16:27:14Z"),
    ],
)
def test_managed_policies_carry_what_aws_publishes(
    arn: str, policy_id: str, version: str, created: str, updated: str
) -> None:
    policy = MANAGED_POLICIES[arn]
    assert (policy.policy_id, policy.default_version_id) == (policy_id, version)
    assert (iso8601(policy.created_at), iso8601(policy.updated_at)) == (created, updated)
    assert policy.arn == f"arn:aws:iam::aws:policy{policy.path}{policy.name}"
