"""Rules over everybody, held as settings and never as attached policies: listings and deletions stay AWS's.

Today one: a second factor is required of people, who are the users with a login profile (or of all, or of
nobody). It leaves open what somebody needs to get a factor, and never CreateAccessKey or DeactivateMFADevice.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from keyturn.authority.storage import settings as rows
from keyturn.authority.storage.mfa import devices_of_user
from keyturn.authority.storage.tags import Tag
from keyturn.model.access_keys import AccountId
from keyturn.model.errors import KeyturnError
from keyturn.model.principals import UserId
from keyturn.policy.document import compile_document
from keyturn.policy.evaluation import AttachedPolicy
from keyturn.store.interface import Reader, Transaction

FREEING_TAG: Final = "keyturn:mfa-exempt"
"""Frees one user of `all`; only a session with a second factor may set it."""
_SETTING: Final = "mfa_required"
_OWN_USER: Final = ["arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::*:user/*/${aws:username}"]
_ON_ONESELF: Final = [
    "iam:ChangePassword",
    "iam:EnableMFADevice",
    "iam:GetUser",
    "iam:ListMFADevices",
    "iam:ResyncMFADevice",
]
_WITHOUT_FACTOR: Final = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}

DOCUMENT: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "DenyMostWithoutMFA",
                "Effect": "Deny",
                "NotAction": [
                    *_ON_ONESELF,
                    "iam:CreateVirtualMFADevice",
                    "sts:GetCallerIdentity",
                    "sts:GetSessionToken",
                ],
                "Resource": "*",
                "Condition": _WITHOUT_FACTOR,
            },
            {
                "Sid": "DenyOthersWithoutMFA",
                "Effect": "Deny",
                "Action": _ON_ONESELF,
                "NotResource": _OWN_USER,
                "Condition": _WITHOUT_FACTOR,
            },
        ],
    }
)
MFA_GUARDRAIL: Final = AttachedPolicy("mfa_required", compile_document(DOCUMENT))

FREEING_GUARDRAIL: Final = AttachedPolicy(
    "mfa_exempt",
    compile_document(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Sid": "DenyFreeingWithoutMFA",
                    "Effect": "Deny",
                    "Action": ["iam:CreateUser", "iam:TagUser"],
                    "Resource": "*",
                    "Condition": {
                        "ForAnyValue:StringEqualsIgnoreCase": {"aws:TagKeys": FREEING_TAG},
                        **_WITHOUT_FACTOR,
                    },
                },
            }
        )
    ),
)
"""Of everybody, administrators included: whoever takes over a machine's key can't free it."""


class MfaRequired(StrEnum):
    PEOPLE = "people"
    ALL = "all"
    OFF = "off"


def mfa_required(reader: Reader, account_id: AccountId) -> MfaRequired:
    return MfaRequired(rows.setting(reader, account_id, _SETTING) or MfaRequired.PEOPLE)


def set_mfa_required(
    tx: Transaction, account_id: AccountId, value: MfaRequired, *, by: UserId | None = None
) -> None:
    """Change it. `all` is refused while whoever changes it has no MFA device: they would lock themselves out.

    To be followed by `Authorization.policies_changed`.
    """
    if value is MfaRequired.ALL and (by is None or not devices_of_user(tx, by)):
        raise KeyturnError(
            "mfa-required all would lock you out: your own user has no MFA device",
            "enable one with `aws iam enable-mfa-device`, then try again",
        )
    rows.put_setting(tx, account_id, _SETTING, value.value)


def applies(required: MfaRequired, *, has_login_profile: bool, tags: tuple[Tag, ...]) -> bool:
    if required is MfaRequired.ALL:
        return has_login_profile or not any(key == FREEING_TAG for key, _value in tags)
    return required is MfaRequired.PEOPLE and has_login_profile
