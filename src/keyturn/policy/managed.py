"""The AWS managed policies that exist here, as AWS publishes them (AWS Managed Policy Reference Guide).

Data only: they belong to no account, can be attached everywhere and changed nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A policy of AWS's own, with its default version."""

    arn: str
    policy_id: str
    name: str
    path: str
    description: str
    created_at: int
    """Epoch milliseconds."""
    updated_at: int
    """Epoch milliseconds; also when the default version was made."""
    default_version_id: str
    document: str
    """JSON text."""


def _document(*actions: str) -> str:
    statement = {"Effect": "Allow", "Action": actions[0] if len(actions) == 1 else actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=4)


_ADMINISTRATOR_ACCESS: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/AdministratorAccess",
    policy_id="ANPAIWMBCKSKIEE64ZLYK",
    name="AdministratorAccess",
    path="/",
    description="Provides full access to AWS services and resources.",
    created_at=1_423_247_986_000,  # 2015-02-06T18:39:46Z
    updated_at=1_423_247_986_000,
    default_version_id="v1",
    document=_document("*"),
)

_IAM_FULL_ACCESS: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/IAMFullAccess",
    policy_id="ANPAI7XKCFMBPM3QQRRVQ",
    name="IAMFullAccess",
    path="/",
    description="Provides full access to IAM via the AWS Management Console.",
    created_at=1_423_248_038_000,  # 2015-02-06T18:40:38Z
    updated_at=1_561_146_000_000,  # 2019-06-21T19:40:00Z
    default_version_id="v2",
    document=_document(
        "iam:*",
        "organizations:DescribeAccount",
        "organizations:DescribeOrganization",
        "organizations:DescribeOrganizationalUnit",
        "organizations:DescribePolicy",
        "organizations:ListChildren",
        "organizations:ListParents",
        "organizations:ListPoliciesForTarget",
        "organizations:ListRoots",
        "organizations:ListPolicies",
        "organizations:ListTargetsForPolicy",
    ),
)

MANAGED_POLICIES: Final[Mapping[str, ManagedPolicy]] = MappingProxyType(
    {policy.arn: policy for policy in (_ADMINISTRATOR_ACCESS, _IAM_FULL_ACCESS)}
)
"""By ARN."""
