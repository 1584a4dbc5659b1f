"""The credential report: AWS's columns exactly, so that existing auditors read it.

It is made anew when the last one is four hours old. Last uses are those of the moment of reading: they stand in
the usage file, apart from what the report is made of. Source: IAM user guide, "Generate credential reports".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from keyturn.authority.operations import Call, Result, WriteCall, anything, operation
from keyturn.authority.password_policy import password_expires_at
from keyturn.authority.storage import credential_reports as rows
from keyturn.authority.storage.access_keys import AccessKey
from keyturn.authority.storage.credential_reports import CredentialReport
from keyturn.authority.storage.instance import instance
from keyturn.authority.storage.login_profiles import LoginProfile, login_profiles_of_account
from keyturn.authority.storage.mfa import users_with_device
from keyturn.authority.storage.password_policy import PasswordPolicy, password_policy
from keyturn.authority.storage.usage import LastUse
from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus, AccountId
from keyturn.model.arns import account_root_arn
from keyturn.model.principals import User
from keyturn.store.interface import Reader
from keyturn.wire.faults import Fault

VALID_MS: Final = 4 * 3_600_000
COLUMNS: Final = (
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    "access_key_1_active",
    "access_key_1_last_rotated",
    "access_key_1_last_used_date",
    "access_key_1_last_used_region",
    "access_key_1_last_used_service",
    "access_key_2_active",
    "access_key_2_last_rotated",
    "access_key_2_last_used_date",
    "access_key_2_last_used_region",
    "access_key_2_last_used_service",
    "cert_1_active",
    "cert_1_last_rotated",
    "cert_2_active",
    "cert_2_last_rotated",
)
_NONE: Final = "N/A"
_KEY_ID: Final = "access_key_{}_id"
"""In the stored report only: by it the last use is found."""

Columns = dict[str, str]


def _time(epoch_ms: int | None, absent: str = _NONE) -> str:
    return absent if epoch_ms is None else datetime.fromtimestamp(epoch_ms // 1000, UTC).isoformat()


def _truth(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if value else "false"


# What is known when a report is made


def _root(account_id: AccountId, created_at: int) -> Columns:
    """There is no root user to sign in as; auditors expect its row first."""
    return {
        "user": "<root_account>",
        "arn": account_root_arn(account_id),
        "user_creation_time": _time(created_at),
        "password_enabled": "not_supported",
        "password_last_used": "no_information",
        "password_last_changed": "not_supported",
        "password_next_rotation": "not_supported",
        "mfa_active": "false",
    }


def _password(profile: LoginProfile | None, policy: PasswordPolicy | None) -> Columns:
    if profile is None:
        return {"password_enabled": "false"}
    return {
        "password_enabled": "true",
        "password_last_used": _time(profile.last_used_at, "no_information"),
        "password_last_changed": _time(profile.changed_at),
        "password_next_rotation": _time(password_expires_at(policy, profile.changed_at)),
    }


def _keys(keys: Sequence[AccessKey]) -> Columns:
    """The newest is the first, as in AWS's recorded report."""
    found: Columns = {}
    for number, key in enumerate(keys, start=1):
        found |= {
            f"access_key_{number}_active": _truth(key.status is AccessKeyStatus.ACTIVE),
            f"access_key_{number}_last_rotated": _time(key.created_at),
            _KEY_ID.format(number): key.access_key_id,
        }
    return found


def _made(reader: Reader, account_id: AccountId) -> list[Columns]:
    policy = password_policy(reader, account_id)
    profiles = login_profiles_of_account(reader, account_id)
    with_device = users_with_device(reader, account_id)
    keys = rows.access_keys_by_user(reader, account_id)
    here = instance(reader)

    def of_user(user: User) -> Columns:
        return {
            "user": user.name,
            "arn": user.arn,
            "user_creation_time": _time(user.created_at),
            **_password(profiles.get(user.user_id), policy),
            "mfa_active": _truth(user.user_id in with_device),
            **_keys(keys.get(user.user_id, [])),
        }

    return [
        _root(account_id, here.created_at if here else 0),
        *(of_user(user) for user in rows.users_of_account(reader, account_id)),
    ]


# What is added when it is read


def _last_uses(columns: Columns, last_uses: Mapping[AccessKeyId, LastUse]) -> Columns:
    found: Columns = {}
    for number in (1, 2):
        use = last_uses.get(AccessKeyId(columns.pop(_KEY_ID.format(number), "")))
        if use is not None:
            found |= {
                f"access_key_{number}_last_used_date": _time(use.at),
                f"access_key_{number}_last_used_region": use.region,
                f"access_key_{number}_last_used_service": use.service,
            }
    return found


def _absent(column: str) -> str:
    return "false" if column.endswith("_active") else _NONE


def _written(content: Sequence[Columns], last_uses: Mapping[AccessKeyId, LastUse]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for columns in content:
        complete = columns | _last_uses(columns, last_uses)
        writer.writerow(complete.get(column, _absent(column)) for column in COLUMNS)
    return text.getvalue().removesuffix("\n").encode()


@operation("iam", "GenerateCredentialReport", anything, writes=True)
def generate_credential_report(call: WriteCall) -> Result:
    last = rows.credential_report(call.reader, call.account_id)
    if last is not None and call.now < last.generated_at + VALID_MS:
        return {"State": "COMPLETE"}
    content = json.dumps(_made(call.reader, call.account_id), separators=(",", ":"))
    rows.put_credential_report(call.tx, call.account_id, CredentialReport(call.now, content))
    return {
        "State": "STARTED",
        "Description": "No report exists. Starting a new report generation task",
    }


@operation("iam", "GetCredentialReport", anything)
def get_credential_report(call: Call) -> Result:
    report = rows.credential_report(call.reader, call.account_id)
    if report is None:
        raise Fault("ReportNotPresent", None, status=410)
    if call.now >= report.generated_at + VALID_MS:
        raise Fault(
            "ReportExpired",
            "The most recent credential report has expired. Generate a new one with GenerateCredentialReport.",
            status=410,
        )
    return {
        "Content": _written(json.loads(report.content), call.services.usage.last_uses()),
        "ReportFormat": "text/csv",
        "GeneratedTime": report.generated_at,
    }
