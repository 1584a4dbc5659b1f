"""IAM users: create, read, rename, delete, tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keyturn.authority.boundaries import check_boundary, described_boundary
from keyturn.authority.identifiers import USER_PREFIX, mint_unique_id
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
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import groups as group_rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import users as rows
from keyturn.authority.storage.login_profiles import has_login_profile
from keyturn.authority.storage.mfa import devices_of_user
from keyturn.authority.storage.roles import boundary_of_user, set_boundary_of_user
from keyturn.authority.storage.tags import USER_TAGS, fold
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.model.arns import user_arn
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader
from keyturn.wire.faults import (
    already_exists,
    delete_conflict,
    no_such_entity,
    validation_error,
)

PATH_TEXT: Final = (
    "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric"
    " characters and/or / characters."
)


def find_user(call: Call, name: str) -> User:
    if call.met is not None and call.met[0] == name:
        return call.met[1]
    user = rows.user_by_name(call.reader, call.account_id, name)
    if user is None:
        raise no_such_entity(f"The user with name {name} cannot be found.")
    return user


def user_or_caller(call: Call, name: str | None) -> User:
    """An omitted UserName means oneself (IAM API, each operation's `UserName`)."""
    return the_caller(call) if name is None else find_user(call, name)


def the_caller(call: Call) -> User:
    """The calling user; a role session or a federated user has no user of its own to act on."""
    user = call.caller.user
    if user is None:
        raise validation_error("Must specify userName when calling with non-User credentials")
    return user


def the_user(call: Call, parameters: Parameters) -> Target:
    """The user that the parameters name, or the caller; a user that does not exist has the path `/`."""
    name = parameters.get("user_name")
    if name is None:
        user = the_caller(call)
        boundary = boundary_of_user(call.reader, user.user_id)
    else:
        found = rows.user_and_boundary(call.reader, call.account_id, name)
        if found is None:
            return Target(user_arn(call.account_id, "/", str(name)), f"user {name}")
        user, boundary = found
        call.met = (name, user)
    tags = tuple(USER_TAGS.of(call.reader, user.user_id))
    return Target(user.arn, f"user {user.name}", tags, boundary)


def _the_renamed_user(call: Call, parameters: Parameters) -> Target:
    """A rename needs permission on what the user becomes, too (IAM API, UpdateUser, "Note")."""
    name = parameters["user_name"]
    user = rows.user_by_name(call.reader, call.account_id, name)
    path = parameters.get("new_path") or (user.path if user else "/")
    new_name = parameters.get("new_user_name") or (user.name if user else name)
    return Target(user_arn(call.account_id, path, new_name), f"user {new_name}")


def _the_new_user(call: Call, parameters: Parameters) -> Target:
    arn = user_arn(call.account_id, parameters.get("path") or "/", parameters["user_name"])
    return Target(arn, arn)


def _all_users(call: Call, parameters: Parameters) -> Target:
    arn = user_arn(call.account_id, parameters.get("path_prefix") or "/", "")
    return Target(arn, arn)


def check_path(path: str) -> None:
    if not (path.startswith("/") and path.endswith("/")) or "//" in path:
        raise validation_error(PATH_TEXT)


def described(user: User) -> Result:
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.user_id,
        "Arn": user.arn,
        "CreateDate": user.created_at,
    }


def _described_in_full(reader: Reader, user: User) -> Result:
    """With boundary and tags, which listings do not show."""
    tags = USER_TAGS.of(reader, user.user_id)
    boundary = described_boundary(boundary_of_user(reader, user.user_id))
    return described(user) | boundary | ({"Tags": tag_list(tags)} if tags else {})


@operation("iam", "CreateUser", _the_new_user, writes=True)
def create_user(
    call: WriteCall,
    *,
    user_name: str,
    path: str = "/",
    permissions_boundary: str | None = None,
    tags: Sequence[Result] = (),
) -> Result:
    check_path(path)
    pairs = check_new_tags(tags)
    if permissions_boundary is not None:
        check_boundary(call, permissions_boundary)
    if rows.user_by_name(call.reader, call.account_id, user_name):
        raise already_exists(f"User with name {user_name} already exists.")
    user_id = UserId(mint_unique_id(USER_PREFIX, call.services.random_bytes))
    user = User(call.account_id, user_id, user_name, path, call.now)
    rows.insert_user(call.tx, user)
    USER_TAGS.put(call.tx, call.account_id, user_id, pairs)
    if permissions_boundary is not None:
        set_boundary_of_user(call.tx, user_id, permissions_boundary)
    return {"User": _described_in_full(call.reader, user)}


@operation("iam", "GetUser", the_user)
def get_user(call: Call, *, user_name: str | None = None) -> Result:
    return {"User": _described_in_full(call.reader, user_or_caller(call, user_name))}


@operation("iam", "ListUsers", _all_users)
def list_users(
    call: Call, *, path_prefix: str = "/", marker: str | None = None, max_items: int | None = None
) -> Result:
    users, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.users_after(call.reader, call.account_id, after, path_prefix, limit),
        lambda user: fold(user.name),
    )
    return {"Users": [described(user) for user in users], **end}


@operation("iam", "UpdateUser", the_user, writes=True, further_target=_the_renamed_user)
def update_user(
    call: WriteCall, *, user_name: str, new_path: str | None = None, new_user_name: str | None = None
) -> Result:
    """The unique id and the keys stay; listings and GetCallerIdentity show the new name at once."""
    user = find_user(call, user_name)
    name, path = new_user_name or user.name, new_path or user.path
    check_path(path)
    holder = rows.user_by_name(call.reader, call.account_id, name)
    if holder is not None and holder.user_id != user.user_id:
        raise already_exists(f"User with name {name} already exists.")
    rows.rename_user(call.tx, user.user_id, name, path)
    call.tx.after_commit(lambda: call.services.forget_user(user.user_id))
    return {}


@operation("iam", "DeleteUser", the_user, writes=True)
def delete_user(call: WriteCall, *, user_name: str) -> Result:
    user = find_user(call, user_name)
    if group_rows.groups_of_user(call.reader, user.user_id, limit=1):
        raise delete_conflict("Cannot delete entity, must remove users from group first.")
    if policy_rows.attached_arns(call.reader, user.user_id):
        raise delete_conflict("Cannot delete entity, must detach all policies first.")
    if policy_rows.inline_policy_names_after(call.reader, user.user_id, "", 1):
        raise delete_conflict("Cannot delete entity, must delete policies first.")
    if key_rows.access_keys_of_user(call.reader, user.user_id):
        raise delete_conflict("Cannot delete entity, must delete access keys first.")
    if has_login_profile(call.reader, user.user_id):
        raise delete_conflict("Cannot delete entity, must delete login profile first.")
    if devices_of_user(call.reader, user.user_id):
        raise delete_conflict("Cannot delete entity, must delete MFA device first.")
    rows.delete_user(call.tx, user.user_id)
    call.tx.after_commit(lambda: call.services.forget_user(user.user_id))
    return {}


def _set_boundary(call: WriteCall, user: User, arn: str | None) -> Result:
    set_boundary_of_user(call.tx, user.user_id, arn)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "PutUserPermissionsBoundary", the_user, writes=True)
def put_user_permissions_boundary(call: WriteCall, *, user_name: str, permissions_boundary: str) -> Result:
    user = find_user(call, user_name)
    check_boundary(call, permissions_boundary)
    return _set_boundary(call, user, permissions_boundary)


@operation("iam", "DeleteUserPermissionsBoundary", the_user, writes=True)
def delete_user_permissions_boundary(call: WriteCall, *, user_name: str) -> Result:
    """Taking away a boundary that is not there changes nothing."""
    return _set_boundary(call, find_user(call, user_name), None)


@operation("iam", "TagUser", the_user, writes=True)
def tag_user(call: WriteCall, *, user_name: str, tags: Sequence[Result]) -> Result:
    user = find_user(call, user_name)
    pairs = check_new_tags(tags, USER_TAGS.of(call.reader, user.user_id))
    USER_TAGS.put(call.tx, call.account_id, user.user_id, pairs)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "UntagUser", the_user, writes=True)
def untag_user(call: WriteCall, *, user_name: str, tag_keys: Sequence[str]) -> Result:
    USER_TAGS.delete(call.tx, find_user(call, user_name).user_id, tag_keys)
    call.services.authorization.policies_changed(call.tx)
    return {}


@operation("iam", "ListUserTags", the_user)
def list_user_tags(
    call: Call, *, user_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    tags = USER_TAGS.of(call.reader, find_user(call, user_name).user_id)
    listed, end = page_of(call, marker, max_items, tags, lambda tag: fold(tag[0]))
    return {"Tags": tag_list(listed), **end}
