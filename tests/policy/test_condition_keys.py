from __future__ import annotations

import pytest

from keyturn.policy.condition_keys import CONDITION_KEYS, KeyType, is_known, key_type


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("aws:username", KeyType.STRING),
        ("AWS:UserName", KeyType.STRING),
        ("aws:SourceIp", KeyType.IP_ADDRESS),
        ("aws:CurrentTime", KeyType.DATE),
        ("aws:MultiFactorAuthPresent", KeyType.BOOL),
        ("aws:MultiFactorAuthAge", KeyType.NUMERIC),
        ("aws:PrincipalArn", KeyType.ARN),
        ("aws:TagKeys", KeyType.ARRAY_OF_STRING),
        ("aws:PrincipalTag/Team", KeyType.STRING),
        ("aws:RequestTag/a/b:c", KeyType.STRING),
        ("iam:ResourceTag/Team", KeyType.STRING),
        ("iam:PassedToService", KeyType.STRING),
        ("iam:PermissionsBoundary", KeyType.ARN),
        ("sts:ExternalId", KeyType.STRING),
        ("sts:RoleSessionName", KeyType.STRING),
        ("sts:TransitiveTagKeys", KeyType.ARRAY_OF_STRING),
        ("saml:aud", KeyType.STRING),
        ("secretsmanager:VersionStage", KeyType.STRING),
        ("keys:Age", KeyType.NUMERIC),
        ("keys:UseCase", KeyType.STRING),
    ],
)
def test_a_key_has_its_kind_of_values(key: str, kind: KeyType) -> None:
    assert key_type(key) is kind
    assert is_known(key)


@pytest.mark.parametrize(
    "key",
    [
        "aws:Foo",
        "aws:PrincipalTag",
        "aws:username/x",
        "AWS:",
        "iam:Foo",
        "STS:ExternalID2",
        "sts:",
        "secretsmanager:x",
        "keys:Owner",
        "keys:",
    ],
)
def test_a_key_of_ours_that_is_not_listed_is_not_known(key: str) -> None:
    assert key_type(key) is None
    assert not is_known(key)


@pytest.mark.parametrize(
    "key", ["s3:prefix", "token.example.com:sub", "cloudtrail:Foo", "x", "awsome:x", "keys"]
)
def test_keys_of_others_are_not_ours_to_judge(key: str) -> None:
    assert key_type(key) is None
    assert is_known(key)


def test_the_table_is_in_lower_case() -> None:
    assert all(key == key.lower() for key in CONDITION_KEYS)
    assert not any("${" in key for key in CONDITION_KEYS)
