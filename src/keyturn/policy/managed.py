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
    return _of_statements(
        {"Effect": "Allow", "Action": actions[0] if len(actions) == 1 else actions, "Resource": "*"}
    )


def _of_statements(*statements: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=4)


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

_POWER_USER_ACCESS: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/PowerUserAccess",
    policy_id="ANPAJYRXTHIB4FOVS3ZXS",
    name="PowerUserAccess",
    path="/",
    description=(
        "Provides full access to AWS services and resources, but does not allow management of Users and groups."
    ),
    created_at=1_423_247_987_000,  # 2015-02-06T18:39:47Z
    updated_at=1_770_919_154_000,  # 2026-02-12T17:59:14Z
    default_version_id="v12",
    document=_of_statements(
        {"Effect": "Allow", "NotAction": ["iam:*", "organizations:*", "account:*"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": [
                "account:GetAccountInformation",
                "account:GetGovCloudAccountInformation",
                "account:GetPrimaryEmail",
                "account:ListRegions",
                "iam:CreateServiceLinkedRole",
                "iam:DeleteServiceLinkedRole",
                "iam:ListRoles",
                "organizations:DescribeEffectivePolicy",
                "organizations:DescribeOrganization",
            ],
            "Resource": "*",
        },
    ),
)

_IAM_READ_ONLY_ACCESS: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/IAMReadOnlyAccess",
    policy_id="ANPAJKSO7NDY4T57MWDSQ",
    name="IAMReadOnlyAccess",
    path="/",
    description="Provides read only access to IAM via the AWS Management Console.",
    created_at=1_423_248_039_000,  # 2015-02-06T18:40:39Z
    updated_at=1_516_907_487_000,  # 2018-01-25T19:11:27Z
    default_version_id="v4",
    document=_document(
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy",
    ),
)

_IAM_USER_CHANGE_PASSWORD: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/IAMUserChangePassword",
    policy_id="ANPAJ4L4MM2A7QIEB56MS",
    name="IAMUserChangePassword",
    path="/",
    description="Provides the ability for an IAM user to change their own password.",
    created_at=1_479_169_516_000,  # 2016-11-15T00:25:16Z
    updated_at=1_770_919_137_000,  # 2026-02-12T17:58:57Z
    default_version_id="v5",
    document=_of_statements(
        {
            "Effect": "Allow",
            "Action": ["iam:ChangePassword"],
            "Resource": ["arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::*:user/*/${aws:username}"],
        },
        {"Effect": "Allow", "Action": ["iam:GetAccountPasswordPolicy"], "Resource": "*"},
    ),
)

_QUARANTINED: Final[Mapping[str, str]] = {
    "cloudtrail": "LookupEvents",
    "ec2": (
        "RequestSpotInstances RunInstances StartInstances PurchaseReservedInstancesOffering "
        "AcceptReservedInstancesExchangeQuote CreateReservedInstancesListing"
    ),
    "iam": (
        "AddUserToGroup AttachGroupPolicy AttachRolePolicy AttachUserPolicy ChangePassword "
        "CreateAccessKey CreateInstanceProfile CreateLoginProfile CreatePolicyVersion CreateRole "
        "CreateUser DetachUserPolicy PassRole PutGroupPolicy PutRolePolicy PutUserPermissionsBoundary "
        "PutUserPolicy SetDefaultPolicyVersion UpdateAccessKey UpdateAccountPasswordPolicy "
        "UpdateAssumeRolePolicy UpdateLoginProfile UpdateUser DeleteRole DeleteAccessKey ListUsers"
    ),
    "lambda": (
        "AddLayerVersionPermission AddPermission CreateFunction GetPolicy ListTags "
        "PutProvisionedConcurrencyConfig TagResource UntagResource UpdateFunctionCode "
        "GetEventSourceMapping"
    ),
    "lightsail": "Create* Delete* DownloadDefaultKeyPair GetInstanceAccessDetails Start* Update*",
    "organizations": (
        "CreateAccount CreateOrganization InviteAccountToOrganization LeaveOrganization AcceptHandshake"
    ),
    "s3": (
        "DeleteBucket DeleteObject DeleteObjectVersion PutLifecycleConfiguration PutBucketAcl "
        "PutBucketOwnershipControls DeleteBucketPolicy ObjectOwnerOverrideToBucketOwner "
        "PutAccountPublicAccessBlock PutBucketPolicy ListAllMyBuckets CreateBucket PutBucketCors "
        "GetObject ListBucket PutEncryptionConfiguration"
    ),
    "savingsplans": "CreateSavingsPlan",
    "ecs": "CreateService CreateCluster RegisterTaskDefinition",
    "ecr": "GetAuthorizationToken",
    "bedrock": (
        "CreateModelInvocationJob InvokeModelWithResponseStream CreateFoundationModelAgreement "
        "PutFoundationModelEntitlement InvokeModel"
    ),
    "sagemaker": "CreateEndpointConfig CreateProcessingJob",
    "ses": "GetSendQuota ListIdentities",
    "sts": "GetSessionToken GetFederationToken",
    "amplify": "CreateDeployment CreateBackendEnvironment",
    "codebuild": "CreateProject",
    "glue": "CreateJob",
    "sns": "GetSMSAttributes",
    "mediapackagev2": "CreateChannel",
    "logs": "PutLogEvents",
    "kms": "PutKeyPolicy RetireGrant RevokeGrant ScheduleKeyDeletion DeleteImportedKeyMaterial",
}
"""By service."""

_COMPROMISED_KEY_QUARANTINE: Final = ManagedPolicy(
    arn="arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3",
    # AWS publishes no id for it: this one has the shape of theirs.
    policy_id="ANPAZKAPJZG4QUARANTV3",
    name="AWSCompromisedKeyQuarantineV3",
    path="/",
    description=(
        "Denies access to certain actions, applied by the AWS team in the event that an IAM user's credentials have "
        "been compromised or exposed publicly. Do NOT remove this policy. Instead, please follow the instructions "
        "specified in the support case created for you regarding this event."
    ),
    created_at=1_724_261_809_000,  # 2024-08-21T17:36:49Z
    updated_at=1_773_678_434_000,  # 2026-03-16T16:27:14Z
    default_version_id="v3",
    document=_of_statements(
        {
            "Effect": "Deny",
            "Action": [
                f"{service}:{name}" for service, names in _QUARANTINED.items() for name in names.split()
            ],
            "Resource": ["*"],
        },
        {
            "Effect": "Deny",
            "Action": ["kms:CreateGrant"],
            "Resource": "*",
            "Condition": {"Null": {"kms:ViaService": "true"}},
        },
    ),
)

MANAGED_POLICIES: Final[Mapping[str, ManagedPolicy]] = MappingProxyType(
    {
        policy.arn: policy
        for policy in (
            _ADMINISTRATOR_ACCESS,
            _POWER_USER_ACCESS,
            _IAM_FULL_ACCESS,
            _IAM_READ_ONLY_ACCESS,
            _IAM_USER_CHANGE_PASSWORD,
            _COMPROMISED_KEY_QUARANTINE,
        )
    }
)
"""By ARN."""
