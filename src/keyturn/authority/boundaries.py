"""Permission boundaries: which policy may be one, and how IAM shows it. What it does is decided elsewhere."""

from __future__ import annotations

import re
from typing import Final

from keyturn.authority.operations import Call, Result
from keyturn.authority.storage.policies import policy_by_arn
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.wire.faults import invalid_input, no_such_entity

_POLICY_ARN: Final = re.compile(r"arn:aws:iam::(?:[0-9]{12}|aws):policy/[!-~]+")


def check_boundary(call: Call, arn: str) -> None:
    """Return if the ARN names a managed policy that exists, the account's own or one of AWS's."""
    if not _POLICY_ARN.fullmatch(arn):
        raise invalid_input(f"ARN {arn} is not valid.")
    if policy_by_arn(call.reader, arn) is None and arn not in MANAGED_POLICIES:
        raise no_such_entity(f"Scope ARN: {arn} does not exist or is not attachable.")


def described_boundary(arn: str | None) -> Result:
    """The member `PermissionsBoundary`, or no member.

    The type is `Policy` in AWS's recorded answers, although the model's only value is `PermissionsBoundaryPolicy`.
    """
    if arn is None:
        return {}
    return {
        "PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn},
    }
