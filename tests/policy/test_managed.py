from __future__ import annotations

import pytest

from keyturn.model.clock import iso8601
from keyturn.policy.evaluation import AttachedPolicy, Request, decide
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.policy.validation import validate

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
IAM_FULL = "arn:aws:iam::aws:policy/IAMFullAccess"


def allows(arn: str, action: str) -> bool:
    attached = AttachedPolicy(arn, validate(MANAGED_POLICIES[arn].document))
    return decide(Request(action, "arn:aws:iam::123456789012:user/bob"), [attached]).allowed


def test_administrators_may_do_everything_and_iam_administrators_iam() -> None:
    assert set(MANAGED_POLICIES) == {ADMINISTRATOR, IAM_FULL}
    assert allows(ADMINISTRATOR, "secretsmanager:GetSecretValue")
    assert allows(ADMINISTRATOR, "iam:CreateUser")
    assert allows(IAM_FULL, "iam:CreateUser")
    assert allows(IAM_FULL, "organizations:ListRoots")
    assert not allows(IAM_FULL, "organizations:CreateAccount")
    assert not allows(IAM_FULL, "sts:AssumeRole")


@pytest.mark.parametrize(
    ("arn", "policy_id", "version", "created", "updated"),
    [
        (ADMINISTRATOR, "ANPAIWMBCKSKIEE64ZLYK", "v1", "2015-02-06T18:39:46Z", "2015-02-06T18:39:46Z"),
        (IAM_FULL, "ANPAI7XKCFMBPM3QQRRVQ", "v2", "2015-02-06T18:40:38Z", "2019-06-21T19:40:00Z"),
    ],
)
def test_managed_policies_carry_what_aws_publishes(
    arn: str, policy_id: str, version: str, created: str, updated: str
) -> None:
    policy = MANAGED_POLICIES[arn]
    assert (policy.policy_id, policy.default_version_id) == (policy_id, version)
    assert (iso8601(policy.created_at), iso8601(policy.updated_at)) == (created, updated)
    assert policy.arn == f"arn:aws:iam::aws:policy{policy.path}{policy.name}"
