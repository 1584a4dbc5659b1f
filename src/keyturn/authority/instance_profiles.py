"""Instance profiles: a name under which a machine is handed a role, at most one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keyturn.authority.identifiers import INSTANCE_PROFILE_PREFIX, mint_unique_id
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
from keyturn.authority.roles import described as described_role
from keyturn.authority.roles import find_role, the_role
from keyturn.authority.storage import instance_profiles as rows
from keyturn.authority.storage.instance_profiles import InstanceProfile
from keyturn.authority.storage.roles import role_by_id
from keyturn.authority.storage.tags import PROFILE_TAGS, Tag, fold
from keyturn.authority.tags import check_new_tags, tag_list
from keyturn.authority.users import check_path
from keyturn.model.arns import instance_profile_arn
from keyturn.wire.faults import already_exists, delete_conflict, limit_exceeded, no_such_entity

INSTANCE_PROFILES_PER_ACCOUNT: Final = 1000
ROLES_PER_INSTANCE_PROFILE: Final = 1


def _find_profile(call: Call, name: str) -> InstanceProfile:
    profile = rows.profile_by_name(call.reader, call.account_id, name)
    if profile is None:
        raise no_such_entity(f"Instance Profile {name} cannot be found.")
    return profile


def _the_profile(call: Call, parameters: Parameters) -> Target:
    """The profile that the parameters name; one that does not exist has the path `/`."""
    name = parameters["instance_profile_name"]
    profile = rows.profile_by_name(call.reader, call.account_id, name)
    if profile is None:
        return Target(instance_profile_arn(call.account_id, "/", name), f"instance profile {name}")
    tags = PROFILE_TAGS.of(call.reader, profile.profile_id)
    return Target(profile.arn, f"instance profile {profile.name}", tuple(tags))


def _the_new_profile(call: Call, parameters: Parameters) -> Target:
    path, name = parameters.get("path") or "/", parameters["instance_profile_name"]
    arn = instance_profile_arn(call.account_id, path, name)
    return Target(arn, arn)


def _all_profiles(call: Call, parameters: Parameters) -> Target:
    arn = instance_profile_arn(call.account_id, parameters.get("path_prefix") or "/", "")
    return Target(arn, arn)


def _described(call: Call, profile: InstanceProfile) -> Result:
    role = role_by_id(call.reader, profile.role_id) if profile.role_id else None
    return {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.profile_id,
        "Arn": profile.arn,
        "CreateDate": profile.created_at,
        "Roles": [described_role(call, role)] if role else [],
    }


@operation("iam", "CreateInstanceProfile", _the_new_profile, writes=True)
def create_instance_profile(
    call: WriteCall, *, instance_profile_name: str, path: str = "/", tags: Sequence[Result] = ()
) -> Result:
    check_path(path)
    pairs = check_new_tags(tags, case_counts=True)
    if rows.profile_by_name(call.reader, call.account_id, instance_profile_name):
        raise already_exists(f"Instance Profile {instance_profile_name} already exists.")
    if rows.count_profiles(call.reader, call.account_id) >= INSTANCE_PROFILES_PER_ACCOUNT:
        raise limit_exceeded(
            f"Cannot exceed quota for InstanceProfilesPerAccount: {INSTANCE_PROFILES_PER_ACCOUNT}"
        )
    profile_id = mint_unique_id(INSTANCE_PROFILE_PREFIX, call.services.random_bytes)
    profile = InstanceProfile(call.account_id, profile_id, instance_profile_name, path, None, call.now)
    rows.insert_profile(call.tx, profile)
    PROFILE_TAGS.put(call.tx, call.account_id, profile_id, pairs)
    return {"InstanceProfile": _described(call, profile) | ({"Tags": tag_list(pairs)} if pairs else {})}


@operation("iam", "GetInstanceProfile", _the_profile)
def get_instance_profile(call: Call, *, instance_profile_name: str) -> Result:
    """With `Tags`, also when there are none."""
    profile = _find_profile(call, instance_profile_name)
    tags = PROFILE_TAGS.of(call.reader, profile.profile_id)
    return {"InstanceProfile": _described(call, profile) | {"Tags": tag_list(tags)}}


def _sort_key(profile: InstanceProfile) -> str:
    return fold(profile.name)


@operation("iam", "ListInstanceProfiles", _all_profiles)
def list_instance_profiles(
    call: Call, *, path_prefix: str = "/", marker: str | None = None, max_items: int | None = None
) -> Result:
    profiles, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.profiles_after(call.reader, call.account_id, after, path_prefix, limit),
        _sort_key,
    )
    return {"InstanceProfiles": [_described(call, profile) for profile in profiles], **end}


@operation("iam", "ListInstanceProfilesForRole", the_role)
def list_instance_profiles_for_role(
    call: Call, *, role_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    role_id = find_role(call, role_name).role.role_id
    profiles, end = page(
        call,
        marker,
        max_items,
        lambda after, limit: rows.profiles_of_role_after(call.reader, call.account_id, role_id, after, limit),
        _sort_key,
    )
    return {"InstanceProfiles": [_described(call, profile) for profile in profiles], **end}


@operation("iam", "DeleteInstanceProfile", _the_profile, writes=True)
def delete_instance_profile(call: WriteCall, *, instance_profile_name: str) -> Result:
    profile = _find_profile(call, instance_profile_name)
    if profile.role_id is not None:
        raise delete_conflict("Cannot delete entity, must remove roles from instance profile first.")
    rows.delete_profile(call.tx, profile.profile_id)
    return {}


def _passed_to_machines(call: Call, parameters: Parameters) -> tuple[Target, str]:
    return the_role(call, parameters), "ec2.amazonaws.com"


@operation("iam", "AddRoleToInstanceProfile", _the_profile, writes=True, passes=_passed_to_machines)
def add_role_to_instance_profile(call: WriteCall, *, instance_profile_name: str, role_name: str) -> Result:
    profile = _find_profile(call, instance_profile_name)
    role = find_role(call, role_name).role
    if profile.role_id is not None:
        raise limit_exceeded(
            f"Cannot exceed quota for InstanceSessionsPerInstanceProfile: {ROLES_PER_INSTANCE_PROFILE}"
        )
    rows.set_role(call.tx, profile.profile_id, role.role_id)
    return {}


@operation("iam", "RemoveRoleFromInstanceProfile", _the_profile, writes=True)
def remove_role_from_instance_profile(
    call: WriteCall, *, instance_profile_name: str, role_name: str
) -> Result:
    profile = _find_profile(call, instance_profile_name)
    role = find_role(call, role_name).role
    if profile.role_id != role.role_id:
        raise no_such_entity(f"Role {role.name} in Instance Profile {profile.name} cannot be found.")
    rows.set_role(call.tx, profile.profile_id, None)
    return {}


# Tags


@operation("iam", "TagInstanceProfile", _the_profile, writes=True)
def tag_instance_profile(call: WriteCall, *, instance_profile_name: str, tags: Sequence[Result]) -> Result:
    profile_id = _find_profile(call, instance_profile_name).profile_id
    pairs = check_new_tags(tags, PROFILE_TAGS.of(call.reader, profile_id), case_counts=True)
    PROFILE_TAGS.put(call.tx, call.account_id, profile_id, pairs)
    return {}


@operation("iam", "UntagInstanceProfile", _the_profile, writes=True)
def untag_instance_profile(call: WriteCall, *, instance_profile_name: str, tag_keys: Sequence[str]) -> Result:
    PROFILE_TAGS.delete(call.tx, _find_profile(call, instance_profile_name).profile_id, tag_keys)
    return {}


def _key(tag: Tag) -> str:
    return tag[0]


@operation("iam", "ListInstanceProfileTags", _the_profile)
def list_instance_profile_tags(
    call: Call, *, instance_profile_name: str, marker: str | None = None, max_items: int | None = None
) -> Result:
    tags = PROFILE_TAGS.of(call.reader, _find_profile(call, instance_profile_name).profile_id)
    listed, end = page_of(call, marker, max_items, tags, _key)
    return {"Tags": tag_list(listed), **end}
