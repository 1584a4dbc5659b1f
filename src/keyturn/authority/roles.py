"""IAM roles: who may assume them, for how long, and their tags. Their policies stand in `policies`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from keyturn.authority.boundaries import check_boundary, described_boundary
from keyturn.authority.identifiers import ROLE_PREFIX, mint_unique_id
from keyturn.authority.named_principals import by_arns, by_unique_ids
from keyturn.authority.open_trust import fault_of_open_trust, fault_of_shared_provider
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
from keyturn.authority.storage import instance_profiles as profile_rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import roles as rows
from keyturn.authority.storage.roles import RoleRow
from keyturn.authority.storage.tags import ROLE_TAGS, fold
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.authority.users import check_path
from keyturn.model.arns import role_arn
from keyturn.model.principals import Role, RoleId
from keyturn.policy.document import DocumentKind
from keyturn.policy.elements import UnreadableError, read_elements
from keyturn.policy.validation import (
    MalformedPolicyDocumentError,
    size_without_whitespace,
    validate,
)
from keyturn.wire.faults import (
    already_exists,
    delete_conflict,
    limit_exceeded,
    malformed_policy_document,
    no_such_entity,
)

ROLES_PER_ACCOUNT: Final = 1000
TRUST_POLICY_SIZE: Final = 2048
SHORTEST_MAX_SESSION: Final = 3600
"""Seconds: what MaxSessionDuration is when it is not given (IAM API, CreateRole)."""


def find_role(call: Call, name: str) -> RoleRow:
    row = rows.role_by_name(call.reader, call.account_id, name)
    if row is None:
        raise no_such_entity(f"The role with name {name} cannot be found.")
    return row


def the_role(call: Call, parameters: Parameters) -> Target:
    """The role that the parameters name; one that does not exist has the path `/`."""
    name = parameters["role_name"]
    row = rows.role_by_name(call.reader, call.account_id, name)
    if row is None:
        return Target(role_arn(call.account_id, "/", name), f"role {name}")
    tags = ROLE_TAGS.of(call.reader, row.role.role_id)
    return Target(row.role.arn, f"role {row.role.name}", tuple(tags), row.boundary_arn)


def _the_new_role(call: Call, parameters: Parameters) -> Target:
    arn = role_arn(call.account_id, parameters.get("path") or "/", parameters["role_name"])
    return Target(arn, arn)


def _all_roles(call: Call, parameters: Parameters) -> Target:
    arn = role_arn(call.account_id, parameters.get("path_prefix") or "/", "")
    return Target(arn, arn)


def check_trust_policy(document: str) -> None:
    """Return if the document may be a role's trust policy; raise MalformedPolicyDocument if not."""
    try:
        elements = read_elements(document)
        validate(document, kind=DocumentKind.TRUST)
    except UnreadableError as unreadable:
        raise malformed_policy_document("This policy contains invalid Json") from unreadable
    except MalformedPolicyDocumentError as malformed:
        raise malformed_policy_document(malformed.message) from malformed
    fault = fault_of_shared_provider(elements) or fault_of_open_trust(elements)
    if fault is not None:
        raise malformed_policy_document(fault)


def _new_trust_policy(call: Call, document: str) -> str:
    """The document as it is kept, if it may be written. Its size counts as it was written."""
    check_trust_policy(document)
    if size_without_whitespace(document) > TRUST_POLICY_SIZE:
        raise limit_exceeded(f"Cannot exceed quota for ACLSizePerRole: {TRUST_POLICY_SIZE}")
    try:
        return by_unique_ids(call.reader, call.account_id, document)
    except MalformedPolicyDocumentError as malformed:
        raise malformed_policy_document(malformed.message) from malformed


# What IAM shows of a role differs from answer to answer.


def described(call: Call, row: RoleRow) -> Result:
    """The members that every answer has. The trust policy is percent-encoded by RFC 3986; clients decode."""
    role = row.role
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": quote(by_arns(call.reader, call.account_id, row.trust_policy), safe=""),
    }


def last_used(call: Call, row: RoleRow) -> Result:
    """`RoleLastUsed`: when a session of the role last called, and from which region it said it did."""
    use = call.services.entity_uses.last_of(row.role.role_id)
    return {} if use is None else {"LastUsedDate": use.at, "Region": use.region}


def _description(row: RoleRow) -> Result:
    return {"Description": row.description} if row.description else {}


def _tags(call: Call, row: RoleRow) -> Result:
    tags = ROLE_TAGS.of(call.reader, row.role.role_id)
    return {"Tags": tag_list(tags)} if tags else {}


def _listed(call: Call, row: RoleRow) -> Result:
    return described(call, row) | _description(row) | {"MaxSessionDuration": row.max_session_seconds}


@operation("iam", "CreateRole", _the_new_role, writes=True)
def create_role(
    call: WriteCall,
    *,
    role_name: str,
    assume_role_policy_document: str,
    path: str = "/",
    description: str | None = None,
    max_session_duration: int = SHORTEST_MAX_SESSION,
    permissions_boundary: str | None = None,
    tags: Sequence[Result] = (),
) -> Result:
    """The answer shows neither the description nor the longest session, as AWS's does not."""
    check_path(path)
    pairs = check_new_tags(tags)
    trust_policy = _new_trust_policy(call, assume_role_policy_document)
    if permissions_boundary is not None:
        check_boundary(call, permissions_boundary)
    if rows.role_by_name(call.reader, call.account_id, role_name):
        raise already_exists(f"Role with name {role_name} already exists.")
    if rows.count_roles(call.reader, call.account_id) >= ROLES_PER_ACCOUNT:
        raise limit_exceeded(f"Cannot exceed quota for RolesPerAccount: {ROLES_PER_ACCOUNT}")
    role_id = RoleId(mint_unique_id(ROLE_PREFIX, call.services.random_bytes))
    row = RoleRow(
        Role(call.account_id, role_id, role_name, path, call.now),
        trust_policy,
        description,
        max_session_duration,
        permissions_boundary,
    )
    rows.insert_role(call.tx, row)
    ROLE_TAGS.put(call.tx, call.account_id, role_id, pairs)
    return {"Role": described(call, row) | described_boundary(row.boundary_arn) | _tags(call, row)}


@operation("iam", "GetRole", the_role)
def get_role(call: Call, *, role_name: str) -> Result:
    row = find_role(call, role_name)
    return {
        "Role": _listed(call, row)
        | {"RoleLastUsed": last_used(call, row)}
        | described_boundary(row.boundary_arn)
        | _tags(call, row)
    }


@operation("iam", "ListRoles", _all_roles)
def list_roles(
    call: Call, *, path_prefix: str = "/", marker: str | None = None, max_items: int | None = None
) -> Result:
    roles, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.roles_after(call.reader, call.account_id, after, path_prefix, limit),
        lambda row: fold(row.role.name),
    )
    return {"Roles": [_listed(call, row) for row in roles], **end}


@operation("iam", "UpdateRole", the_role, writes=True)
def update_role(
    call: WriteCall,
    *,
    role_name: str,
    description: str | None = None,
    max_session_duration: int | None = None,
) -> Result:
    """What is not given stays as it is."""
    row = find_role(call, role_name)
    changed = replace(
        row,
        description=row.description if description is None else description,
        max_session_seconds=max_session_duration or row.max_session_seconds,
    )
    rows.update_role(call.tx, changed)
    return {}


@operation("iam", "UpdateRoleDescription", the_role, writes=True)
def update_role_description(call: WriteCall, *, role_name: str, description: str) -> Result:
    row = replace(find_role(call, role_name), description=description)
    rows.update_role(call.tx, row)
    return {"Role": described(call, row) | _description(row)}


@operation("iam", "UpdateAssumeRolePolicy", the_role, writes=True)
def update_assume_role_policy(call: WriteCall, *, role_name: str, policy_document: str) -> Result:
    row = find_role(call, role_name)
    rows.update_role(call.tx, replace(row, trust_policy=_new_trust_policy(call, policy_document)))
    return {}


@operation("iam", "DeleteRole", the_role, writes=True)
def delete_role(call: WriteCall, *, role_name: str) -> Result:
    """Its sessions end with it: each request of theirs looks for the role."""
    role = find_role(call, role_name).role
    if profile_rows.profiles_of_role_after(call.reader, call.account_id, role.role_id, "", 1):
        raise delete_conflict("Cannot delete entity, must remove roles from instance profile first.")
    if policy_rows.attached_arns(call.reader, role.role_id):
        raise delete_conflict("Cannot delete entity, must detach all policies first.")
    if policy_rows.inline_policy_names_after(call.reader, role.role_id, "", 1):
        raise delete_conflict("Cannot delete entity, must delete policies first.")
    rows.delete_role(call.tx, role.role_id)
    call.services.authorization.policies_changed(call.tx)
    return {}


# Permission boundaries


def _set_boundary(call: WriteCall, row: RoleRow, arn: str | None) -> Result:
    rows.update_role(call.tx, replace(row, boundary_arn=arn))
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "PutRolePermissionsBoundary", the_role, writes=True)
def put_role_permissions_boundary(call: WriteCall, *, role_name: str, permissions_boundary: str) -> Result:
    row = find_role(call, role_name)
    check_boundary(call, permissions_boundary)
    return _set_boundary(call, row, permissions_boundary)


@operation("iam", "DeleteRolePermissionsBoundary", the_role, writes=True)
def delete_role_permissions_boundary(call: WriteCall, *, role_name: str) -> Result:
    """Taking away a boundary that is not there changes nothing."""
    return _set_boundary(call, find_role(call, role_name), None)


# Tags


@operation("iam", "TagRole", the_role, writes=True)
def tag_role(call: WriteCall, *, role_name: str, tags: Sequence[Result]) -> Result:
    role_id = find_role(call, role_name).role.role_id
    pairs = check_new_tags(tags, ROLE_TAGS.of(call.reader, role_id))
    ROLE_TAGS.put(call.tx, call.account_id, role_id, pairs)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "UntagRole", the_role, writes=True)
def untag_role(call: WriteCall, *, role_name: str, tag_keys: Sequence[str]) -> Result:
    ROLE_TAGS.delete(call.tx, find_role(call, role_name).role.role_id, tag_keys)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "ListRoleTags", the_role)
def list_role_tags(
    call: Call, *, role_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    tags = ROLE_TAGS.of(call.reader, find_role(call, role_name).role.role_id)
    listed, end = page_of(call, marker, max_items, tags, lambda tag: fold(tag[0]))
    return {"Tags": tag_list(listed), **end}
