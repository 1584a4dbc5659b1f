"""IAM groups and who is in them."""

from __future__ import annotations

from typing import Final

from keyturn.authority.identifiers import GROUP_PREFIX, mint_unique_id
from keyturn.authority.operations import Call, Parameters, Result, Target, WriteCall, operation, page
from keyturn.authority.storage import groups as rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage.groups import Group
from keyturn.authority.storage.tags import fold
from keyturn.authority.users import check_path, find_user, the_user
from keyturn.authority.users import described as described_user
from keyturn.model.arns import group_arn
from keyturn.wire.faults import already_exists, delete_conflict, limit_exceeded, no_such_entity

GROUPS_PER_USER: Final = 10


def find_group(call: Call, name: str) -> Group:
    group = rows.group_by_name(call.reader, call.account_id, name)
    if group is None:
        raise no_such_entity(f"The group with name {name} cannot be found.")
    return group


def the_group(call: Call, parameters: Parameters) -> Target:
    name = parameters["group_name"]
    group = rows.group_by_name(call.reader, call.account_id, name)
    arn = group.arn if group else group_arn(call.account_id, "/", name)
    return Target(arn, f"group {group.name if group else name}")


def _the_renamed_group(call: Call, parameters: Parameters) -> Target:
    """A rename needs permission on what the group becomes, too (IAM API, UpdateGroup, "Note")."""
    name = parameters["group_name"]
    group = rows.group_by_name(call.reader, call.account_id, name)
    path = parameters.get("new_path") or (group.path if group else "/")
    new_name = parameters.get("new_group_name") or (group.name if group else name)
    return Target(group_arn(call.account_id, path, new_name), f"group {new_name}")


def _the_new_group(call: Call, parameters: Parameters) -> Target:
    arn = group_arn(call.account_id, parameters.get("path") or "/", parameters["group_name"])
    return Target(arn, arn)


def _all_groups(call: Call, parameters: Parameters) -> Target:
    arn = group_arn(call.account_id, parameters.get("path_prefix") or "/", "")
    return Target(arn, arn)


def _described(group: Group) -> Result:
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.group_id,
        "Arn": group.arn,
        "CreateDate": group.created_at,
    }


@operation("iam", "CreateGroup", _the_new_group, writes=True)
def create_group(call: WriteCall, *, group_name: str, path: str = "/") -> Result:
    check_path(path)
    if rows.group_by_name(call.reader, call.account_id, group_name):
        raise already_exists(f"Group with name {group_name} already exists.")
    group_id = mint_unique_id(GROUP_PREFIX, call.services.random_bytes)
    group = Group(call.account_id, group_id, group_name, path, call.now)
    rows.insert_group(call.tx, group)
    return {"Group": _described(group)}


@operation("iam", "GetGroup", the_group)
def get_group(
    call: Call, *, group_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    group = find_group(call, group_name)
    users, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.members_after(call.reader, group.group_id, after, limit),
        lambda user: fold(user.name),
    )
    return {"Group": _described(group), "Users": [described_user(user) for user in users], **end}


@operation("iam", "ListGroups", _all_groups)
def list_groups(
    call: Call, *, path_prefix: str = "/", marker: str | None = None, max_items: int | None = None
) -> Result:
    groups, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.groups_after(call.reader, call.account_id, after, path_prefix, limit),
        lambda group: fold(group.name),
    )
    return {"Groups": [_described(group) for group in groups], **end}


@operation("iam", "ListGroupsForUser", the_user)
def list_groups_for_user(
    call: Call, *, user_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    user = find_user(call, user_name)
    groups, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.groups_of_user(call.reader, user.user_id, after, limit),
        lambda group: fold(group.name),
    )
    return {"Groups": [_described(group) for group in groups], **end}


@operation("iam", "UpdateGroup", the_group, writes=True, further_target=_the_renamed_group)
def update_group(
    call: WriteCall, *, group_name: str, new_path: str | None = None, new_group_name: str | None = None
) -> Result:
    group = find_group(call, group_name)
    name, path = new_group_name or group.name, new_path or group.path
    check_path(path)
    holder = rows.group_by_name(call.reader, call.account_id, name)
    if holder is not None and holder.group_id != group.group_id:
        raise already_exists(f"Group with name {name} already exists.")
    rows.rename_group(call.tx, group.group_id, name, path)
    return {}


@operation("iam", "DeleteGroup", the_group, writes=True)
def delete_group(call: WriteCall, *, group_name: str) -> Result:
    group = find_group(call, group_name)
    if rows.members_after(call.reader, group.group_id, "", 1):
        raise delete_conflict("Cannot delete entity, must remove users from group first.")
    if policy_rows.attached_arns(call.reader, group.group_id):
        raise delete_conflict("Cannot delete entity, must detach all policies first.")
    if policy_rows.inline_policy_names_after(call.reader, group.group_id, "", 1):
        raise delete_conflict("Cannot delete entity, must delete policies first.")
    rows.delete_group(call.tx, group.group_id)
    return {}


@operation("iam", "AddUserToGroup", the_group, writes=True)
def add_user_to_group(call: WriteCall, *, group_name: str, user_name: str) -> Result:
    """Adding a member again changes nothing. If neither exists, the answer names the user, as AWS's does."""
    user, group = find_user(call, user_name), find_group(call, group_name)
    groups = {held.group_id for held in rows.groups_of_user(call.reader, user.user_id)}
    if len(groups | {group.group_id}) > GROUPS_PER_USER:
        raise limit_exceeded(f"Cannot exceed quota for GroupsPerUser: {GROUPS_PER_USER}")
    rows.add_member(call.tx, call.account_id, group.group_id, user.user_id)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "RemoveUserFromGroup", the_group, writes=True)
def remove_user_from_group(call: WriteCall, *, group_name: str, user_name: str) -> Result:
    """Removing somebody who is not a member changes nothing."""
    user, group = find_user(call, user_name), find_group(call, group_name)
    rows.remove_member(call.tx, group.group_id, user.user_id)
    call.services.authorization.policies_changed(call.tx)
    return {}
