"""The account itself: its alias and its summary."""

from __future__ import annotations

from typing import Final

from keyturn.authority.groups import GROUPS_PER_USER
from keyturn.authority.instance_profiles import INSTANCE_PROFILES_PER_ACCOUNT
from keyturn.authority.operations import Call, Result, WriteCall, anything, operation, page_of
from keyturn.authority.policies import (
    ATTACHMENTS_PER_OWNER,
    GROUP_POLICY_SIZE,
    MANAGED_POLICY_SIZE,
    POLICIES_PER_ACCOUNT,
    ROLE_POLICY_SIZE,
    USER_POLICY_SIZE,
    VERSIONS_PER_POLICY,
)
from keyturn.authority.roles import ROLES_PER_ACCOUNT, TRUST_POLICY_SIZE
from keyturn.authority.storage import instance as rows
from keyturn.authority.storage.groups import count_groups
from keyturn.authority.storage.instance_profiles import count_profiles
from keyturn.authority.storage.oidc_providers import count_providers
from keyturn.authority.storage.policies import count_policies, count_policy_versions
from keyturn.authority.storage.roles import count_roles
from keyturn.authority.storage.users import count_users
from keyturn.model.access_keys import KEYS_PER_USER
from keyturn.wire.faults import no_such_entity

_AWS_DEFAULTS: Final = {
    # What AWS answers for things that are not offered here, or not limited: IAM API, GetAccountSummary.
    "AccountAccessKeysPresent": 0,
    "AccountMFAEnabled": 0,
    "AccountPasswordPresent": 0,
    "AccountSigningCertificatesPresent": 0,
    "GlobalEndpointTokenVersion": 1,
    "GroupsQuota": 300,
    "MFADevices": 0,
    "MFADevicesInUse": 0,
    "PolicyVersionsInUseQuota": 10000,
    "ServerCertificates": 0,
    "ServerCertificatesQuota": 20,
    "SigningCertificatesPerUserQuota": 2,
    "UsersQuota": 5000,
}


@operation("iam", "CreateAccountAlias", anything, writes=True)
def create_account_alias(call: WriteCall, *, account_alias: str) -> Result:
    """An account has one alias: a new one takes the old one's place."""
    rows.put_account_alias(call.tx, call.account_id, account_alias)
    return {}


@operation("iam", "DeleteAccountAlias", anything, writes=True)
def delete_account_alias(call: WriteCall, *, account_alias: str) -> Result:
    if rows.account_alias(call.reader, call.account_id) != account_alias:
        raise no_such_entity(f"The account alias with name {account_alias} cannot be found.")
    rows.delete_account_alias(call.tx, call.account_id)
    return {}


@operation("iam", "ListAccountAliases", anything)
def list_account_aliases(call: Call, *, marker: str | None = None, max_items: int | None = None) -> Result:
    alias = rows.account_alias(call.reader, call.account_id)
    aliases, end = page_of(call, marker, max_items, [] if alias is None else [alias], str)
    return {"AccountAliases": list(aliases), **end}


@operation("iam", "GetAccountSummary", anything)
def get_account_summary(call: Call) -> Result:
    reader, account_id = call.reader, call.account_id
    return {
        "SummaryMap": _AWS_DEFAULTS
        | {
            "AccessKeysPerUserQuota": KEYS_PER_USER,
            "AssumeRolePolicySizeQuota": TRUST_POLICY_SIZE,
            "AttachedPoliciesPerGroupQuota": ATTACHMENTS_PER_OWNER,
            "AttachedPoliciesPerRoleQuota": ATTACHMENTS_PER_OWNER,
            "AttachedPoliciesPerUserQuota": ATTACHMENTS_PER_OWNER,
            "GroupPolicySizeQuota": GROUP_POLICY_SIZE,
            "Groups": count_groups(reader, account_id),
            "GroupsPerUserQuota": GROUPS_PER_USER,
            "InstanceProfiles": count_profiles(reader, account_id),
            "InstanceProfilesQuota": INSTANCE_PROFILES_PER_ACCOUNT,
            "Policies": count_policies(reader, account_id),
            "PoliciesQuota": POLICIES_PER_ACCOUNT,
            "PolicySizeQuota": MANAGED_POLICY_SIZE,
            "PolicyVersionsInUse": count_policy_versions(reader, account_id),
            "Providers": count_providers(reader, account_id),
            "RolePolicySizeQuota": ROLE_POLICY_SIZE,
            "Roles": count_roles(reader, account_id),
            "RolesQuota": ROLES_PER_ACCOUNT,
            "UserPolicySizeQuota": USER_POLICY_SIZE,
            "Users": count_users(reader, account_id),
            "VersionsPerPolicyQuota": VERSIONS_PER_POLICY,
        }
    }
