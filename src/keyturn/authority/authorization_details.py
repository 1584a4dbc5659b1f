"""Everybody and everything that permissions hang on, in one listing (IAM API, GetAccountAuthorizationDetails)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from keyturn.authority.boundaries import described_boundary
from keyturn.authority.operations import Call, Result, anything, operation, page
from keyturn.authority.roles import described as described_role
from keyturn.authority.roles import last_used
from keyturn.authority.storage import groups as group_rows
from keyturn.authority.storage import instance_profiles as profile_rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.groups import Group
from keyturn.authority.storage.policies import ManagedPolicy
from keyturn.authority.storage.roles import RoleRow
from keyturn.authority.storage.tags import ROLE_TAGS, USER_TAGS, fold
from keyturn.authority.tags import tag_list
from keyturn.authority.users import described as described_user
from keyturn.model.principals import User
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.policy.managed import ManagedPolicy as AwsManagedPolicy

_ALL_OF_A_PATH: Final = "/"
_PROFILES_PER_ROLE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Detail:
    """One entity on its way into its list."""

    kind: str
    sort_key: str
    described: Callable[[], Result]
    """Only what a page shows is described."""


# What each shows


def _inline(call: Call, owner_id: str) -> list[Result]:
    return [
        {"PolicyName": name, "PolicyDocument": quote(document, safe="")}
        for name, document in sorted(policy_rows.inline_documents(call.reader, owner_id).items())
    ]


def _attached(call: Call, owner_id: str) -> list[Result]:
    return [
        {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn}
        for arn in policy_rows.attached_arns(call.reader, owner_id)
    ]


def _user(call: Call, user: User) -> Result:
    """`UserPolicyList` is left out when it is empty, the other lists are not."""
    inline = _inline(call, user.user_id)
    return {
        **described_user(user),
        **({"UserPolicyList": inline} if inline else {}),
        "GroupList": [group.name for group in group_rows.groups_of_user(call.reader, user.user_id)],
        "AttachedManagedPolicies": _attached(call, user.user_id),
        **described_boundary(role_rows.boundary_of_user(call.reader, user.user_id)),
        "Tags": tag_list(USER_TAGS.of(call.reader, user.user_id)),
    }


def _group(call: Call, group: Group) -> Result:
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.group_id,
        "Arn": group.arn,
        "CreateDate": group.created_at,
        "GroupPolicyList": _inline(call, group.group_id),
        "AttachedManagedPolicies": _attached(call, group.group_id),
    }


def _role(call: Call, row: RoleRow) -> Result:
    role_id = row.role.role_id
    shown = described_role(call, row)
    profiles = profile_rows.profiles_of_role_after(
        call.reader, call.account_id, role_id, "", _PROFILES_PER_ROLE
    )
    return {
        **shown,
        "InstanceProfileList": [
            {
                "Path": profile.path,
                "InstanceProfileName": profile.name,
                "InstanceProfileId": profile.profile_id,
                "Arn": profile.arn,
                "CreateDate": profile.created_at,
                "Roles": [shown],
            }
            for profile in profiles
        ],
        "RolePolicyList": _inline(call, role_id),
        "AttachedManagedPolicies": _attached(call, role_id),
        **described_boundary(row.boundary_arn),
        "Tags": tag_list(ROLE_TAGS.of(call.reader, role_id)),
        "RoleLastUsed": last_used(call, row),
    }


def _policy(
    call: Call, policy: ManagedPolicy | AwsManagedPolicy, attachments: int, boundaries: int
) -> Result:
    """With every version, the newest first."""
    if isinstance(policy, AwsManagedPolicy):
        default = policy.default_version_id
        versions = [(default, policy.document, policy.updated_at)]
    else:
        default = f"v{policy.default_version}"
        versions = [
            (f"v{version.version}", version.document, version.created_at)
            for version in policy_rows.policy_versions(call.reader, policy.policy_id)
        ]
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.policy_id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": default,
        "AttachmentCount": attachments,
        "PermissionsBoundaryUsageCount": boundaries,
        "IsAttachable": True,
        **({"Description": policy.description} if policy.description else {}),
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
        "PolicyVersionList": [
            {
                "Document": quote(document, safe=""),
                "VersionId": version_id,
                "IsDefaultVersion": version_id == default,
                "CreateDate": created_at,
            }
            for version_id, document, created_at in versions
        ],
    }


# The four listings, one behind the other

_Fetch = Callable[[Call, str, int], list[_Detail]]


def _users(call: Call, after: str, limit: int) -> list[_Detail]:
    return [
        _Detail("UserDetailList", fold(user.name), partial(_user, call, user))
        for user in user_rows.users_after(call.reader, call.account_id, after, _ALL_OF_A_PATH, limit)
    ]


def _groups(call: Call, after: str, limit: int) -> list[_Detail]:
    return [
        _Detail("GroupDetailList", fold(group.name), partial(_group, call, group))
        for group in group_rows.groups_after(call.reader, call.account_id, after, _ALL_OF_A_PATH, limit)
    ]


def _roles(call: Call, after: str, limit: int) -> list[_Detail]:
    return [
        _Detail("RoleDetailList", fold(row.role.name), partial(_role, call, row))
        for row in role_rows.roles_after(call.reader, call.account_id, after, _ALL_OF_A_PATH, limit)
    ]


def _local_policies(call: Call, after: str, limit: int) -> list[_Detail]:
    return _policies(call, policy_rows.policies_of_account(call.reader, call.account_id), after, limit)


def _aws_policies(call: Call, after: str, limit: int) -> list[_Detail]:
    """Those that something uses; the others are the same in every account."""
    attachments = policy_rows.attachment_counts(call.reader, call.account_id)
    boundaries = role_rows.boundary_counts(call.reader, call.account_id)
    used = [policy for arn, policy in MANAGED_POLICIES.items() if arn in attachments or arn in boundaries]
    return _policies(call, used, after, limit)


def _policies(
    call: Call, policies: Sequence[ManagedPolicy | AwsManagedPolicy], after: str, limit: int
) -> list[_Detail]:
    attachments = policy_rows.attachment_counts(call.reader, call.account_id)
    boundaries = role_rows.boundary_counts(call.reader, call.account_id)

    def detail(policy: ManagedPolicy | AwsManagedPolicy) -> _Detail:
        def described() -> Result:
            return _policy(call, policy, attachments.get(policy.arn, 0), boundaries.get(policy.arn, 0))

        return _Detail("Policies", f"{fold(policy.name)} {policy.arn}", described)

    details = sorted(map(detail, policies), key=lambda each: each.sort_key)
    return [each for each in details if each.sort_key > after][:limit]


_LISTINGS: Final[dict[str, _Fetch]] = {
    "User": _users,
    "Group": _groups,
    "Role": _roles,
    "LocalManagedPolicy": _local_policies,
    "AWSManagedPolicy": _aws_policies,
}
LISTS: Final = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


def _after(call: Call, wanted: Sequence[_Fetch], after: str, limit: int) -> list[tuple[str, _Detail]]:
    """What lies behind `after`, in the order of the listings. The keys say which listing, then what in it."""
    at = max("01234".find(after[:1]), 0)
    found: list[tuple[str, _Detail]] = []
    for number, fetch in enumerate(wanted):
        if number >= at and len(found) < limit:
            behind = after[1:] if number == at else ""
            details = fetch(call, behind, limit - len(found))
            found += [(f"{number}{detail.sort_key}", detail) for detail in details]
    return found


@operation("iam", "GetAccountAuthorizationDetails", anything)
def get_account_authorization_details(
    call: Call,
    *,
    filter: Sequence[str] = (),  # noqa: A002 - the model's name
    max_items: int | None = None,
    marker: str | None = None,
) -> Result:
    """A page goes through users, groups, roles and policies in this order."""
    wanted = [fetch for kind, fetch in _LISTINGS.items() if not filter or kind in filter]
    listed, end = page(
        call, marker, max_items, lambda after, limit: _after(call, wanted, after, limit), lambda item: item[0]
    )
    lists: dict[str, list[Result]] = {name: [] for name in LISTS}
    for _key, detail in listed:
        lists[detail.kind].append(detail.described())
    return {**lists, **end}
