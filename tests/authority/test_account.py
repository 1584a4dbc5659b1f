"""The account itself: alias, summary, and which account an access key id names."""

from __future__ import annotations

import re

import pytest

from authority.calls import (
    ALLOW_LIST_USERS,
    Refused,
    account,
    members,
    must,
    no_such_entity,
    refused,
    validation_error,
)
from living_authority import LivingAuthority

QUOTAS = {
    "AccessKeysPerUserQuota": 2,
    "AssumeRolePolicySizeQuota": 2048,
    "AttachedPoliciesPerGroupQuota": 10,
    "AttachedPoliciesPerRoleQuota": 10,
    "AttachedPoliciesPerUserQuota": 10,
    "GroupPolicySizeQuota": 5120,
    "GroupsPerUserQuota": 10,
    "GroupsQuota": 300,
    "InstanceProfilesQuota": 1000,
    "PoliciesQuota": 1500,
    "PolicySizeQuota": 6144,
    "PolicyVersionsInUseQuota": 10000,
    "RolePolicySizeQuota": 10240,
    "RolesQuota": 1000,
    "ServerCertificatesQuota": 20,
    "SigningCertificatesPerUserQuota": 2,
    "UserPolicySizeQuota": 2048,
    "UsersQuota": 5000,
    "VersionsPerPolicyQuota": 5,
}
COUNTS = {
    "AccountAccessKeysPresent",
    "AccountMFAEnabled",
    "AccountPasswordPresent",
    "AccountSigningCertificatesPresent",
    "Groups",
    "InstanceProfiles",
    "MFADevices",
    "MFADevicesInUse",
    "Policies",
    "PolicyVersionsInUse",
    "Providers",
    "Roles",
    "ServerCertificates",
    "Users",
}


def test_an_account_has_one_alias(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    assert members(iam.list_account_aliases()) == {"AccountAliases": [], "IsTruncated": False}
    assert members(iam.create_account_alias(AccountAlias="first-alias")) == {}
    assert iam.list_account_aliases()["AccountAliases"] == ["first-alias"]
    iam.create_account_alias(AccountAlias="second-alias")
    assert members(iam.list_account_aliases()) == {"AccountAliases": ["second-alias"], "IsTruncated": False}
    unknown = no_such_entity("The account alias with name first-alias cannot be found.")
    assert refused(iam.delete_account_alias, AccountAlias="first-alias") == unknown
    assert members(iam.delete_account_alias(AccountAlias="second-alias")) == {}
    assert iam.list_account_aliases()["AccountAliases"] == []


def test_the_server_checks_an_alias(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    long = validation_error(must("accountAlias", "have length less than or equal to 63"))
    assert refused(iam.create_account_alias, AccountAlias="a" * 64) == long
    for wrong in ("aa", "-abc", "abc-", "Abc", "a--bc"):
        answer = refused(iam.create_account_alias, AccountAlias=wrong)
        assert (answer.code, answer.status) == ("ValidationError", 400)


def test_the_summary_has_the_34_numbers_of_aws_and_counts_what_is_there(authority: LivingAuthority) -> None:
    iam = authority.iam()
    before = iam.get_account_summary()["SummaryMap"]
    assert set(before) == set(QUOTAS) | COUNTS | {"GlobalEndpointTokenVersion"}
    assert len(before) == 34
    assert before.items() >= QUOTAS.items()
    assert before["GlobalEndpointTokenVersion"] == 1
    counted = {name: number for name, number in before.items() if name in COUNTS}
    assert counted == dict.fromkeys(COUNTS, 0) | {"Users": 1}, "the administrator"

    iam.create_user(UserName="ana")
    iam.create_group(GroupName="g")
    arn = iam.create_policy(PolicyName="p", PolicyDocument=ALLOW_LIST_USERS)["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW_LIST_USERS)
    after = iam.get_account_summary()["SummaryMap"]
    changed = {"Users": 2, "Groups": 1, "Policies": 1, "PolicyVersionsInUse": 2}
    assert after == before | changed


def test_an_access_key_id_carries_its_account(shared_authority: LivingAuthority) -> None:
    iam, sts = shared_authority.iam(), shared_authority.sts()
    ours = account(shared_authority)
    iam.create_user(UserName="carried")
    ids = set()
    for _ in range(5):
        key = iam.create_access_key(UserName="carried")["AccessKey"]
        access_key_id, secret = key["AccessKeyId"], key["SecretAccessKey"]
        assert re.fullmatch("AKIA[A-Z2-7]{16}", access_key_id)
        assert re.fullmatch("[A-Za-z0-9+/]{40}", secret)
        assert members(sts.get_access_key_info(AccessKeyId=access_key_id)) == {"Account": ours}
        iam.delete_access_key(UserName="carried", AccessKeyId=access_key_id)
        assert sts.get_access_key_info(AccessKeyId=access_key_id)["Account"] == ours, "deleted or not"
        ids.add(access_key_id)
    assert len(ids) == 5
    assert len({access_key_id[:12] for access_key_id in ids}) == 1, "the account fills the front"


def test_the_account_of_a_strangers_key_is_read_from_its_id(shared_authority: LivingAuthority) -> None:
    """A real id of AWS's that was published together with its account."""
    sts = shared_authority.sts()
    assert sts.get_access_key_info(AccessKeyId="ASIAQNZGKIQY56JQ7WML")["Account"] == "029608264753"


@pytest.mark.parametrize("access_key_id", ["AKIAIOSFODNN7EXAMPLE", "AIDAQNZGKIQY56JQ7WML", "x" * 20])
def test_an_id_that_names_no_account_is_refused(
    shared_authority: LivingAuthority, access_key_id: str
) -> None:
    answer = refused(shared_authority.sts().get_access_key_info, AccessKeyId=access_key_id)
    assert (answer.code, answer.status) == ("ValidationError", 400)


def test_sts_shows_the_value_that_it_refuses_and_iam_does_not(shared_authority: LivingAuthority) -> None:
    wrong = "with-hyphens-in-it-0"
    of_sts = refused(shared_authority.sts().get_access_key_info, AccessKeyId=wrong)
    pattern = r"failed to satisfy constraint: Member must satisfy regular expression pattern: [\w]*"
    assert of_sts == Refused(
        "ValidationError",
        400,
        f"1 validation error detected: Value '{wrong}' at 'accessKeyId' {pattern}",
    )
    of_iam = refused(shared_authority.iam().get_access_key_last_used, AccessKeyId=wrong)
    assert (of_iam.code, of_iam.status) == ("ValidationError", 400)
    assert wrong not in of_iam.message
