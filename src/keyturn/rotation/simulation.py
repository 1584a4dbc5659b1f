"""What the signer may do, asked of the policy simulator and not tried out (IAM API, SimulatePrincipalPolicy).

Pure: the question and the reading of the answer. The simulator knows nothing of a call that it is not told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keyturn.model.clock import iso8601
from keyturn.rotation.endpoint import Identity

ACTIONS: Final = (
    "iam:CreateAccessKey",
    "iam:UpdateAccessKey",
    "iam:DeleteAccessKey",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
)
"""What a rotation does to a user's keys."""
_ROLE_SESSION: Final = re.compile(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/.+\Z", re.ASCII)
_MFA_KEYS: Final = frozenset({"aws:multifactorauthpresent", "aws:multifactorauthage"})


def is_root(signer: Identity) -> bool:
    """The account itself may do all of it, and can't be simulated."""
    return signer.arn.endswith(":root")


def is_user(arn: str) -> bool:
    return ":user/" in arn


def role_of_session(arn: str) -> tuple[str, str] | None:
    """The ARN of the role whose session this is, as it is without a path, and the role's name."""
    session = _ROLE_SESSION.match(arn)
    if session is None:
        return None
    partition, account_id, name = session.groups()
    return f"arn:{partition}:iam::{account_id}:role/{name}", name


def question(
    source: str, actions: Sequence[str], resource: str, *, now_ms: int, is_secure: bool
) -> dict[str, Any]:
    """The parameters of SimulatePrincipalPolicy."""
    context = [
        ("aws:CurrentTime", "date", iso8601(now_ms)),
        ("aws:PrincipalArn", "string", source),
        ("aws:SecureTransport", "boolean", "true" if is_secure else "false"),
    ]
    if is_user(source):
        context.append(("aws:username", "string", source.rpartition("/")[2]))
    return {
        "PolicySourceArn": source,
        "ActionNames": list(actions),
        "ResourceArns": [resource],
        "ContextEntries": [
            {"ContextKeyName": name, "ContextKeyType": kind, "ContextKeyValues": [value]}
            for name, kind, value in context
        ],
    }


def decisions(answer: Mapping[str, Any], signer: Identity) -> dict[str, bool | None]:
    """By action. None where the answer hangs on something of a call that can't be told beforehand.

    A long-lived key never carries a second factor: that its context keys are missing is no gap.
    """
    is_long_lived = (signer.access_key_id or "").startswith("AKIA")
    truly_absent = _MFA_KEYS if is_long_lived else frozenset()
    told: dict[str, bool | None] = {}
    for result in answer["EvaluationResults"]:
        missing = {key.lower() for key in result.get("MissingContextValues", [])} - truly_absent
        told[result["EvalActionName"]] = None if missing else result["EvalDecision"] == "allowed"
    return told
