"""What tests of roles and their surroundings ask with, and how they look at a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from living_authority import LivingAuthority

TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
TRUST_TEXT = json.dumps(TRUST)
ALLOWED: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::example_bucket"},
}
ALLOWED_TEXT = json.dumps(ALLOWED)
ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess"

Seen = tuple[str, int, str]
"""Code, HTTP status and message of a refusal."""


def refusal(act: Callable[..., object], **parameters: Any) -> Seen:
    with pytest.raises(ClientError) as raised:
        act(**parameters)
    response = raised.value.response
    error = response["Error"]
    return error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


def missing(message: str) -> Seen:
    return "NoSuchEntity", 404, message


def no_role(name: str) -> Seen:
    return missing(f"The role with name {name} cannot be found.")


def answer(response: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed answer without what the client itself put in."""
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


def account_of(authority: LivingAuthority) -> str:
    return authority.opened.instance.account_id


def new_role(authority: LivingAuthority, name: str, **more: Any) -> dict[str, Any]:
    created = authority.iam().create_role(RoleName=name, AssumeRolePolicyDocument=TRUST_TEXT, **more)
    return dict(created["Role"])


def new_policy(authority: LivingAuthority, name: str) -> str:
    """The ARN of a new managed policy."""
    return authority.iam().create_policy(PolicyName=name, PolicyDocument=ALLOWED_TEXT)["Policy"]["Arn"]


def too_many_tags(count: int = 51) -> list[dict[str, str]]:
    return [{"Key": f"key-{number}", "Value": "value"} for number in range(count)]
