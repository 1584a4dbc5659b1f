"""Policies: inline ones of users, groups and roles, managed ones with versions, and what they are used for.

A managed policy is used as a permissions policy, attached to somebody, or as a boundary of users and roles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from keyturn.authority.groups import find_group, the_group
from keyturn.authority.identifiers import POLICY_PREFIX, mint_unique_id
from keyturn.authority.operations import (
    Call,
    Parameters,
    Result,
    Target,
    WriteCall,
    operation,
    page,
    page_of,
)
from keyturn.authority.roles import find_role, the_role
from keyturn.authority.storage import policies as rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage.policies import ManagedPolicy, PolicyVersion
from keyturn.authority.storage.roles import Holder
from keyturn.authority.storage.tags import Tag, fold
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.authority.users import check_path, find_user, the_user
from keyturn.model.access_keys import AccountId
from keyturn.model.arns import policy_arn as arn_of_policy
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.policy.managed import ManagedPolicy as AwsManagedPolicy
from keyturn.policy.validation import (
    MalformedPolicyDocumentError,
    size_without_whitespace,
    validate,
)
from keyturn.store.interface import Reader
from keyturn.wire.faults import (
    Fault,
    access_denied,
    already_exists,
    delete_conflict,
    limit_exceeded,
    malformed_policy_document,
    no_such_entity,
    validation_error,
)

USER_POLICY_SIZE: Final = 2048
GROUP_POLICY_SIZE: Final = 5120
ROLE_POLICY_SIZE: Final = 10240
MANAGED_POLICY_SIZE: Final = 6144
ATTACHMENTS_PER_OWNER: Final = 10
VERSIONS_PER_POLICY: Final = 5
POLICIES_PER_ACCOUNT: Final = 1500
PERMISSIONS_USAGE: Final = "PermissionsPolicy"
BOUNDARY_USAGE: Final = "PermissionsBoundary"
"""The values of PolicyUsageFilter; without one, both uses count."""
_AWS_ARN: Final = "arn:aws:iam::aws:policy/"


@dataclass(frozen=True, slots=True)
class Owner:
    """A user, a group or a role, as far as its policies go."""

    owner_id: str
    name: str
    kind: str
    inline_quota: int


def _user_owner(call: Call, name: str) -> Owner:
    user = find_user(call, name)
    return Owner(user.user_id, user.name, "user", USER_POLICY_SIZE)


def _group_owner(call: Call, name: str) -> Owner:
    group = find_group(call, name)
    return Owner(group.group_id, group.name, "group", GROUP_POLICY_SIZE)


def _role_owner(call: Call, name: str) -> Owner:
    role = find_role(call, name).role
    return Owner(role.role_id, role.name, "role", ROLE_POLICY_SIZE)


def _check_document(document: str) -> None:
    try:
        validate(document)
    except MalformedPolicyDocumentError as malformed:
        raise malformed_policy_document(str(malformed)) from malformed


def check_session_policy(document: str) -> None:
    """A session's policy is written like an identity's (STS API, `Policy`)."""
    _check_document(document)


# Inline policies


def _put_inline(call: WriteCall, owner: Owner, name: str, document: str) -> Result:
    _check_document(document)
    others = {
        held: text
        for held, text in rows.inline_documents(call.reader, owner.owner_id).items()
        if held != name
    }
    size = sum(size_without_whitespace(text) for text in [*others.values(), document])
    if size > owner.inline_quota:
        raise limit_exceeded(
            f"Maximum policy size of {owner.inline_quota} bytes exceeded for {owner.kind} {owner.name}"
        )
    rows.put_inline_policy(call.tx, call.account_id, owner.owner_id, name, document)
    call.services.authorization.policies_changed(call.tx)
    return {}


def _inline(call: Call, owner: Owner, name: str) -> str:
    document = rows.inline_policy(call.reader, owner.owner_id, name)
    if document is None:
        raise _no_inline(owner, name)
    return document


def _no_inline(owner: Owner, name: str) -> Fault:
    return no_such_entity(f"The {owner.kind} policy with name {name} cannot be found.")


def _delete_inline(call: WriteCall, owner: Owner, name: str) -> Result:
    if not rows.delete_inline_policy(call.tx, owner.owner_id, name):
        raise _no_inline(owner, name)
    call.services.authorization.policies_changed(call.tx)
    return {}


def _list_inline(call: Call, owner: Owner, marker: str | None, max_items: int | None) -> Result:
    names, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.inline_policy_names_after(call.reader, owner.owner_id, after, limit),
        lambda name: name,
    )
    return {"PolicyNames": list(names), **end}


@operation("iam", "PutUserPolicy", the_user, writes=True)
def put_user_policy(call: WriteCall, *, user_name: str, policy_name: str, policy_document: str) -> Result:
    return _put_inline(call, _user_owner(call, user_name), policy_name, policy_document)


@operation("iam", "PutGroupPolicy", the_group, writes=True)
def put_group_policy(call: WriteCall, *, group_name: str, policy_name: str, policy_document: str) -> Result:
    return _put_inline(call, _group_owner(call, group_name), policy_name, policy_document)


@operation("iam", "PutRolePolicy", the_role, writes=True)
def put_role_policy(call: WriteCall, *, role_name: str, policy_name: str, policy_document: str) -> Result:
    return _put_inline(call, _role_owner(call, role_name), policy_name, policy_document)


@operation("iam", "GetUserPolicy", the_user)
def get_user_policy(call: Call, *, user_name: str, policy_name: str) -> Result:
    owner = _user_owner(call, user_name)
    document = _inline(call, owner, policy_name)
    return {"UserName": owner.name, "PolicyName": policy_name, "PolicyDocument": _encoded(document)}


@operation("iam", "GetGroupPolicy", the_group)
def get_group_policy(call: Call, *, group_name: str, policy_name: str) -> Result:
    owner = _group_owner(call, group_name)
    document = _inline(call, owner, policy_name)
    return {"GroupName": owner.name, "PolicyName": policy_name, "PolicyDocument": _encoded(document)}


@operation("iam", "GetRolePolicy", the_role)
def get_role_policy(call: Call, *, role_name: str, policy_name: str) -> Result:
    owner = _role_owner(call, role_name)
    document = _inline(call, owner, policy_name)
    return {"RoleName": owner.name, "PolicyName": policy_name, "PolicyDocument": _encoded(document)}


@operation("iam", "DeleteUserPolicy", the_user, writes=True)
def delete_user_policy(call: WriteCall, *, user_name: str, policy_name: str) -> Result:
    return _delete_inline(call, _user_owner(call, user_name), policy_name)


@operation("iam", "DeleteGroupPolicy", the_group, writes=True)
def delete_group_policy(call: WriteCall, *, group_name: str, policy_name: str) -> Result:
    return _delete_inline(call, _group_owner(call, group_name), policy_name)


@operation("iam", "DeleteRolePolicy", the_role, writes=True)
def delete_role_policy(call: WriteCall, *, role_name: str, policy_name: str) -> Result:
    return _delete_inline(call, _role_owner(call, role_name), policy_name)


@operation("iam", "ListUserPolicies", the_user)
def list_user_policies(
    call: Call, *, user_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    return _list_inline(call, _user_owner(call, user_name), marker, max_items)


@operation("iam", "ListGroupPolicies", the_group)
def list_group_policies(
    call: Call, *, group_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    return _list_inline(call, _group_owner(call, group_name), marker, max_items)


@operation("iam", "ListRolePolicies", the_role)
def list_role_policies(
    call: Call, *, role_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    return _list_inline(call, _role_owner(call, role_name), marker, max_items)


# Managed policies


def _encoded(document: str) -> str:
    """Percent-encoded by RFC 3986, as IAM returns documents; clients decode."""
    return quote(document, safe="")


def _the_policy(call: Call, parameters: Parameters) -> Target:
    arn = parameters["policy_arn"]
    policy = rows.policy_by_arn(call.reader, arn)
    tags = rows.tags_of_policy(call.reader, policy.policy_id) if policy else ()
    return Target(arn, f"policy {arn}", tuple(tags))


def _the_new_policy(call: Call, parameters: Parameters) -> Target:
    name = parameters["policy_name"]
    return Target(arn_of_policy(call.account_id, parameters.get("path") or "/", name), f"policy {name}")


def _all_policies(call: Call, parameters: Parameters) -> Target:
    prefix = parameters.get("path_prefix") or "/"
    return Target(arn_of_policy(call.account_id, prefix, ""), f"policy path {prefix}")


def _check_arn(arn: str) -> None:
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not parts[5]:
        raise validation_error(f"ARN {arn} is not valid.")


def _our_policy(call: Call, arn: str) -> ManagedPolicy | None:
    _check_arn(arn)
    return rows.policy_by_arn(call.reader, arn)


def _find_policy(call: Call, arn: str) -> ManagedPolicy | AwsManagedPolicy:
    policy = _our_policy(call, arn) or MANAGED_POLICIES.get(arn)
    if policy is None:
        raise no_such_entity(f"Policy {arn} was not found.")
    return policy


def _find_our_policy(call: Call, arn: str, act: str, version_id: str | None = None) -> ManagedPolicy:
    """A policy that may be changed: AWS's own may not."""
    if arn.startswith(_AWS_ARN):
        raise access_denied(f"Cannot {act} outside your own account.")
    policy = _our_policy(call, arn)
    if policy is None and version_id is not None:
        raise _no_version(arn, version_id)
    if policy is None:
        raise no_such_entity(f"Policy {arn} was not found.")
    return policy


def _described(policy: ManagedPolicy | AwsManagedPolicy, attachments: int, boundary_uses: int) -> Result:
    if isinstance(policy, AwsManagedPolicy):
        version, created, updated = policy.default_version_id, policy.created_at, policy.updated_at
    else:
        version, created, updated = f"v{policy.default_version}", policy.created_at, policy.updated_at
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.policy_id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": version,
        "AttachmentCount": attachments,
        "PermissionsBoundaryUsageCount": boundary_uses,
        "IsAttachable": True,
        "CreateDate": created,
        "UpdateDate": updated,
    }


def _tags(call: Call, policy: ManagedPolicy | AwsManagedPolicy) -> list[Tag]:
    return [] if isinstance(policy, AwsManagedPolicy) else rows.tags_of_policy(call.reader, policy.policy_id)


def _check_managed_size(document: str) -> None:
    if size_without_whitespace(document) > MANAGED_POLICY_SIZE:
        raise limit_exceeded(f"Cannot exceed quota for PolicySize: {MANAGED_POLICY_SIZE}")


@operation("iam", "CreatePolicy", _the_new_policy, writes=True)
def create_policy(
    call: WriteCall,
    *,
    policy_name: str,
    policy_document: str,
    path: str = "/",
    description: str | None = None,
    tags: Sequence[Result] = (),
) -> Result:
    check_path(path)
    pairs = check_new_tags(tags, case_counts=True)
    _check_document(policy_document)
    _check_managed_size(policy_document)
    if rows.policy_name_is_taken(call.reader, call.account_id, policy_name):
        raise already_exists(
            f"A policy called {policy_name} already exists. Duplicate names are not allowed."
        )
    if rows.count_policies(call.reader, call.account_id) >= POLICIES_PER_ACCOUNT:
        raise limit_exceeded(f"Cannot exceed quota for PoliciesPerAccount: {POLICIES_PER_ACCOUNT}")
    policy = ManagedPolicy(
        call.account_id,
        mint_unique_id(POLICY_PREFIX, call.services.random_bytes),
        arn_of_policy(call.account_id, path, policy_name),
        policy_name,
        path,
        description,
        default_version=1,
        latest_version=1,
        created_at=call.now,
        updated_at=call.now,
    )
    rows.insert_policy(call.tx, policy, policy_document)
    rows.put_policy_tags(call.tx, call.account_id, policy.policy_id, pairs)
    return {"Policy": _described(policy, 0, 0) | ({"Tags": tag_list(pairs)} if pairs else {})}


@operation("iam", "GetPolicy", _the_policy)
def get_policy(call: Call, *, policy_arn: str) -> Result:
    policy = _find_policy(call, policy_arn)
    attachments = rows.attachment_counts(call.reader, call.account_id).get(policy_arn, 0)
    boundary_uses = role_rows.boundary_counts(call.reader, call.account_id).get(policy_arn, 0)
    description = {"Description": policy.description} if policy.description else {}
    tags = {"Tags": tag_list(_tags(call, policy))}
    return {"Policy": _described(policy, attachments, boundary_uses) | description | tags}


@operation("iam", "ListPolicies", _all_policies)
def list_policies(
    call: Call,
    *,
    scope: str = "All",
    only_attached: bool = False,
    path_prefix: str = "/",
    policy_usage_filter: str | None = None,
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    attachments = rows.attachment_counts(call.reader, call.account_id)
    boundary_uses = role_rows.boundary_counts(call.reader, call.account_id)
    policies: list[ManagedPolicy | AwsManagedPolicy] = []
    if scope != "AWS":
        policies += rows.policies_of_account(call.reader, call.account_id)
    if scope != "Local":
        policies += MANAGED_POLICIES.values()

    def is_wanted(policy: ManagedPolicy | AwsManagedPolicy) -> bool:
        """A policy that nobody uses yet counts as a permissions policy."""
        attached, bounding = attachments.get(policy.arn, 0), boundary_uses.get(policy.arn, 0)
        if not policy.path.startswith(path_prefix):
            return False
        if policy_usage_filter == BOUNDARY_USAGE:
            return bounding > 0
        if policy_usage_filter == PERMISSIONS_USAGE and bounding and not attached:
            return False
        return attached > 0 or not only_attached

    chosen = [policy for policy in policies if is_wanted(policy)]
    listed, end = page_of(call, marker, max_items, chosen, lambda policy: f"{fold(policy.name)} {policy.arn}")
    return {
        "Policies": [
            _described(policy, attachments.get(policy.arn, 0), boundary_uses.get(policy.arn, 0))
            for policy in listed
        ],
        **end,
    }


@operation("iam", "DeletePolicy", _the_policy, writes=True)
def delete_policy(call: WriteCall, *, policy_arn: str) -> Result:
    policy = _find_our_policy(call, policy_arn, "delete policies")
    is_attached = policy_arn in rows.attachment_counts(call.reader, call.account_id)
    if is_attached or policy_arn in role_rows.boundary_counts(call.reader, call.account_id):
        raise delete_conflict("Cannot delete a policy attached to entities.")
    if len(rows.policy_versions(call.reader, policy.policy_id)) > 1:
        raise delete_conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's"
            " versions. The default version is deleted with the policy."
        )
    rows.delete_policy(call.tx, policy.policy_id)
    return {}


def _version_number(version_id: str) -> int:
    number = version_id.removeprefix("v").partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0


def _find_version(call: Call, policy: ManagedPolicy, version_id: str) -> PolicyVersion:
    number = _version_number(version_id)
    for version in rows.policy_versions(call.reader, policy.policy_id):
        if version.version == number and version_id == f"v{number}":
            return version
    raise _no_version(policy.arn, version_id)


def _no_version(arn: str, version_id: str) -> Fault:
    return no_such_entity(f"Policy {arn} version {version_id} does not exist or is not attachable.")


def _described_version(policy: ManagedPolicy, version: PolicyVersion) -> Result:
    return {
        "VersionId": f"v{version.version}",
        "IsDefaultVersion": version.version == policy.default_version,
        "CreateDate": version.created_at,
    }


@operation("iam", "CreatePolicyVersion", _the_policy, writes=True)
def create_policy_version(
    call: WriteCall, *, policy_arn: str, policy_document: str, set_as_default: bool = False
) -> Result:
    policy = _find_our_policy(call, policy_arn, "update policies")
    _check_document(policy_document)
    _check_managed_size(policy_document)
    if len(rows.policy_versions(call.reader, policy.policy_id)) >= VERSIONS_PER_POLICY:
        raise limit_exceeded(
            f"A managed policy can have up to {VERSIONS_PER_POLICY} versions. Before you create a new version,"
            " you must delete an existing version."
        )
    number = rows.add_policy_version(call.tx, policy, policy_document, call.now)
    if set_as_default:
        rows.set_default_version(call.tx, policy.policy_id, number, call.now)
        call.services.authorization.policies_changed(call.tx)
    return {
        "PolicyVersion": {
            "VersionId": f"v{number}",
            "IsDefaultVersion": set_as_default,
            "CreateDate": call.now,
        }
    }


@operation("iam", "GetPolicyVersion", _the_policy)
def get_policy_version(call: Call, *, policy_arn: str, version_id: str) -> Result:
    policy = _our_policy(call, policy_arn) or MANAGED_POLICIES.get(policy_arn)
    if policy is None:
        raise _no_version(policy_arn, version_id)
    if isinstance(policy, AwsManagedPolicy):
        if version_id != policy.default_version_id:
            raise _no_version(policy_arn, version_id)
        return {"PolicyVersion": {"Document": _encoded(policy.document)} | _aws_version(policy)}
    version = _find_version(call, policy, version_id)
    return {"PolicyVersion": {"Document": _encoded(version.document)} | _described_version(policy, version)}


def _aws_version(policy: AwsManagedPolicy) -> Result:
    return {
        "VersionId": policy.default_version_id,
        "IsDefaultVersion": True,
        "CreateDate": policy.updated_at,
    }


@operation("iam", "ListPolicyVersions", _the_policy)
def list_policy_versions(
    call: Call, *, policy_arn: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    policy = _find_policy(call, policy_arn)
    if isinstance(policy, AwsManagedPolicy):
        ours, end = page_of(call, marker, max_items, [policy], lambda policy: policy.default_version_id)
        return {"Versions": [_aws_version(policy) for policy in ours], **end}
    versions, end = page_of(
        call,
        marker,
        max_items,
        rows.policy_versions(call.reader, policy.policy_id),
        lambda version: f"{10**9 - version.version:010d}",
    )
    return {"Versions": [_described_version(policy, version) for version in versions], **end}


@operation("iam", "SetDefaultPolicyVersion", _the_policy, writes=True)
def set_default_policy_version(call: WriteCall, *, policy_arn: str, version_id: str) -> Result:
    policy = _find_our_policy(call, policy_arn, "update policies", version_id)
    version = _find_version(call, policy, version_id)
    rows.set_default_version(call.tx, policy.policy_id, version.version, call.now)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "DeletePolicyVersion", _the_policy, writes=True)
def delete_policy_version(call: WriteCall, *, policy_arn: str, version_id: str) -> Result:
    policy = _find_our_policy(call, policy_arn, "delete policy versions for policies", version_id)
    version = _find_version(call, policy, version_id)
    if version.version == policy.default_version:
        raise delete_conflict("Cannot delete the default version of a policy.")
    rows.delete_policy_version(call.tx, policy.policy_id, version.version)
    return {}


@operation("iam", "TagPolicy", _the_policy, writes=True)
def tag_policy(call: WriteCall, *, policy_arn: str, tags: Sequence[Result]) -> Result:
    policy = _find_our_policy(call, policy_arn, "tag policies")
    existing = rows.tags_of_policy(call.reader, policy.policy_id)
    pairs = check_new_tags(tags, existing, case_counts=True)
    rows.put_policy_tags(call.tx, call.account_id, policy.policy_id, pairs)
    return {}


@operation("iam", "UntagPolicy", _the_policy, writes=True)
def untag_policy(call: WriteCall, *, policy_arn: str, tag_keys: Sequence[str]) -> Result:
    policy = _find_our_policy(call, policy_arn, "untag policies")
    rows.delete_policy_tags(call.tx, policy.policy_id, tag_keys)
    return {}


@operation("iam", "ListPolicyTags", _the_policy)
def list_policy_tags(
    call: Call, *, policy_arn: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    tags = _tags(call, _find_policy(call, policy_arn))
    listed, end = page_of(call, marker, max_items, tags, lambda tag: f"{len(tag[0]):03d} {tag[0]}")
    return {"Tags": tag_list(listed), **end}


# Attachments


def _check_attachable(call: Call, arn: str) -> None:
    if _our_policy(call, arn) is None and arn not in MANAGED_POLICIES:
        raise no_such_entity(f"Policy {arn} does not exist or is not attachable.")


def _attach(call: WriteCall, owner: Owner, arn: str) -> Result:
    _check_attachable(call, arn)
    attached = set(rows.attached_arns(call.reader, owner.owner_id))
    if len(attached | {arn}) > ATTACHMENTS_PER_OWNER:
        raise limit_exceeded(
            f"Cannot exceed quota for PoliciesPer{owner.kind.capitalize()}: {ATTACHMENTS_PER_OWNER}"
        )
    rows.attach(call.tx, call.account_id, owner.owner_id, arn)
    call.services.authorization.policies_changed(call.tx)
    return {}


def _detach(call: WriteCall, owner: Owner, arn: str) -> Result:
    _check_arn(arn)
    if not rows.detach(call.tx, owner.owner_id, arn):
        raise no_such_entity(f"Policy {arn} was not found.")
    call.services.authorization.policies_changed(call.tx)
    return {}


def _list_attached(
    call: Call, owner: Owner, path_prefix: str, marker: str | None, max_items: int | None
) -> Result:
    policies: list[ManagedPolicy | AwsManagedPolicy] = []
    for arn in rows.attached_arns(call.reader, owner.owner_id):
        policy = rows.policy_by_arn(call.reader, arn) or MANAGED_POLICIES.get(arn)
        if policy is not None and policy.path.startswith(path_prefix):
            policies.append(policy)
    listed, end = page_of(
        call, marker, max_items, policies, lambda policy: f"{fold(policy.name)} {policy.arn}"
    )
    return {
        "AttachedPolicies": [{"PolicyName": policy.name, "PolicyArn": policy.arn} for policy in listed],
        **end,
    }


@operation("iam", "AttachUserPolicy", the_user, writes=True)
def attach_user_policy(call: WriteCall, *, user_name: str, policy_arn: str) -> Result:
    return _attach(call, _user_owner(call, user_name), policy_arn)


@operation("iam", "AttachGroupPolicy", the_group, writes=True)
def attach_group_policy(call: WriteCall, *, group_name: str, policy_arn: str) -> Result:
    return _attach(call, _group_owner(call, group_name), policy_arn)


@operation("iam", "AttachRolePolicy", the_role, writes=True)
def attach_role_policy(call: WriteCall, *, role_name: str, policy_arn: str) -> Result:
    return _attach(call, _role_owner(call, role_name), policy_arn)


@operation("iam", "DetachUserPolicy", the_user, writes=True)
def detach_user_policy(call: WriteCall, *, user_name: str, policy_arn: str) -> Result:
    return _detach(call, _user_owner(call, user_name), policy_arn)


@operation("iam", "DetachGroupPolicy", the_group, writes=True)
def detach_group_policy(call: WriteCall, *, group_name: str, policy_arn: str) -> Result:
    return _detach(call, _group_owner(call, group_name), policy_arn)


@operation("iam", "DetachRolePolicy", the_role, writes=True)
def detach_role_policy(call: WriteCall, *, role_name: str, policy_arn: str) -> Result:
    return _detach(call, _role_owner(call, role_name), policy_arn)


@operation("iam", "ListAttachedUserPolicies", the_user)
def list_attached_user_policies(
    call: Call,
    *,
    user_name: str,
    path_prefix: str = "/",
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    return _list_attached(call, _user_owner(call, user_name), path_prefix, marker, max_items)


@operation("iam", "ListAttachedGroupPolicies", the_group)
def list_attached_group_policies(
    call: Call,
    *,
    group_name: str,
    path_prefix: str = "/",
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    return _list_attached(call, _group_owner(call, group_name), path_prefix, marker, max_items)


@operation("iam", "ListAttachedRolePolicies", the_role)
def list_attached_role_policies(
    call: Call,
    *,
    role_name: str,
    path_prefix: str = "/",
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    return _list_attached(call, _role_owner(call, role_name), path_prefix, marker, max_items)


HoldersOf = Callable[[Reader, AccountId, str], list[Holder]]
_HOLDERS: Final[tuple[tuple[str, str, HoldersOf], ...]] = (
    ("Group", PERMISSIONS_USAGE, rows.groups_with_policy),
    ("User", PERMISSIONS_USAGE, rows.users_with_policy),
    ("User", BOUNDARY_USAGE, role_rows.users_with_boundary),
    ("Role", PERMISSIONS_USAGE, role_rows.roles_with_policy),
    ("Role", BOUNDARY_USAGE, role_rows.roles_with_boundary),
)
"""Who may hold a policy, for which use, and who asks the store for them."""


@operation("iam", "ListEntitiesForPolicy", _the_policy)
def list_entities_for_policy(
    call: Call,
    *,
    policy_arn: str,
    entity_filter: str | None = None,
    path_prefix: str = "/",
    policy_usage_filter: str | None = None,
    marker: str | None = None,
    max_items: int | None = None,
) -> Result:
    _check_attachable(call, policy_arn)
    holders = {
        (kind, name, unique_id)  # once, also if it is both attached and the boundary
        for kind, usage, holders_of in _HOLDERS
        if entity_filter in {None, kind} and policy_usage_filter in {None, usage}
        for name, unique_id, path in holders_of(call.reader, call.account_id, policy_arn)
        if path.startswith(path_prefix)
    }
    listed, end = page_of(
        call, marker, max_items, list(holders), lambda holder: f"{holder[0]} {fold(holder[1])}"
    )

    def named(wanted: str) -> list[Result]:
        return [
            {f"{wanted}Name": name, f"{wanted}Id": unique_id}
            for kind, name, unique_id in listed
            if kind == wanted
        ]

    return {"PolicyGroups": named("Group"), "PolicyUsers": named("User"), "PolicyRoles": named("Role"), **end}
