"""Groups and who is in them."""

from __future__ import annotations

from typing import Any

import pytest

from authority.calls import (
    ADMINISTRATOR_ACCESS,
    ALLOW_LIST_USERS,
    Refused,
    account,
    members,
    must,
    no_such_entity,
    no_such_user,
    refused,
    validation_error,
)
from living_authority import LivingAuthority


def no_such_group(name: str) -> Refused:
    return no_such_entity(f"The group with name {name} cannot be found.")


def already_exists(name: str) -> Refused:
    return Refused("EntityAlreadyExists", 409, f"Group with name {name} already exists.")


def test_a_group_has_exactly_the_members_that_aws_gives_one(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    created = iam.create_group(GroupName="plain", Path="/some/location/")["Group"]
    assert set(created) == {"Path", "GroupName", "GroupId", "Arn", "CreateDate"}
    assert created["Arn"] == f"arn:aws:iam::{account(shared_authority)}:group/some/location/plain"
    assert created["GroupId"].startswith("AGPA")
    assert len(created["GroupId"]) == 21
    assert members(iam.get_group(GroupName="plain")) == {"Group": created, "Users": [], "IsTruncated": False}
    assert created in iam.list_groups()["Groups"]
    assert members(iam.list_groups(PathPrefix="/some/")) == {"Groups": [created], "IsTruncated": False}


def test_a_groups_name_is_taken_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_group(GroupName="Taken")
    iam.create_group(GroupName="free")
    assert refused(iam.create_group, GroupName="taken") == already_exists("taken")
    assert refused(iam.update_group, GroupName="free", NewGroupName="TAKEN") == already_exists("TAKEN")
    assert iam.get_group(GroupName="tAKEN")["Group"]["GroupName"] == "Taken"


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_group", {}),
        ("update_group", {"NewGroupName": "new-name"}),
        ("delete_group", {}),
        ("list_group_policies", {}),
        ("list_attached_group_policies", {}),
        ("put_group_policy", {"PolicyName": "p", "PolicyDocument": ALLOW_LIST_USERS}),
        ("get_group_policy", {"PolicyName": "p"}),
        ("delete_group_policy", {"PolicyName": "p"}),
        ("attach_group_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
        ("detach_group_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
    ],
)
def test_a_group_that_does_not_exist_is_refused_in_the_same_words_everywhere(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    act = getattr(shared_authority.iam(), operation)
    assert refused(act, GroupName="unknown-group", **parameters) == no_such_group("unknown-group")


def test_a_membership_that_lacks_its_user_or_its_group_is_refused_and_the_user_is_looked_for_first(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="alone")
    iam.create_group(GroupName="empty")
    for act in (iam.add_user_to_group, iam.remove_user_from_group):
        assert refused(act, GroupName="empty", UserName="any-user") == no_such_user("any-user")
        assert refused(act, GroupName="non-existent", UserName="alone") == no_such_group("non-existent")
        assert refused(act, GroupName="non-existent", UserName="any-user") == no_such_user("any-user")


def test_joining_and_leaving_twice_change_nothing(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    user = iam.create_user(UserName="joiner")["User"]
    group = iam.create_group(GroupName="club")["Group"]
    for _ in range(2):
        assert members(iam.add_user_to_group(GroupName="Club", UserName="Joiner")) == {}
        assert members(iam.get_group(GroupName="club")) == {
            "Group": group,
            "Users": [user],
            "IsTruncated": False,
        }
        assert members(iam.list_groups_for_user(UserName="joiner")) == {
            "Groups": [group],
            "IsTruncated": False,
        }
    for _ in range(2):
        assert members(iam.remove_user_from_group(GroupName="club", UserName="joiner")) == {}
        assert iam.get_group(GroupName="club")["Users"] == []
        assert iam.list_groups_for_user(UserName="joiner")["Groups"] == []


def test_a_renamed_group_keeps_its_id_its_members_and_its_policies(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    old = iam.create_group(GroupName="before", Path="/path/")["Group"]
    user = iam.create_user(UserName="member")["User"]
    iam.add_user_to_group(GroupName="before", UserName="member")
    iam.put_group_policy(GroupName="before", PolicyName="p", PolicyDocument=ALLOW_LIST_USERS)

    iam.update_group(GroupName="before", NewGroupName="after", NewPath="/new-path/")

    arn = f"arn:aws:iam::{account(shared_authority)}:group/new-path/after"
    new = old | {"GroupName": "after", "Path": "/new-path/", "Arn": arn}
    assert members(iam.get_group(GroupName="after")) == {"Group": new, "Users": [user], "IsTruncated": False}
    assert iam.list_group_policies(GroupName="after")["PolicyNames"] == ["p"]
    assert refused(iam.get_group, GroupName="before") == no_such_group("before")


def test_a_group_in_use_is_not_deleted_and_the_answer_says_what_to_do_first(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    name = "in-use"
    iam.create_group(GroupName=name)

    def conflict(what: str) -> bool:
        text = f"Cannot delete entity, must {what} first."
        return refused(iam.delete_group, GroupName=name) == Refused("DeleteConflict", 409, text)

    iam.create_user(UserName="user-of-group")
    iam.add_user_to_group(GroupName=name, UserName="user-of-group")
    assert conflict("remove users from group")
    iam.remove_user_from_group(GroupName=name, UserName="user-of-group")

    iam.attach_group_policy(GroupName=name, PolicyArn=ADMINISTRATOR_ACCESS)
    assert conflict("detach all policies")
    iam.detach_group_policy(GroupName=name, PolicyArn=ADMINISTRATOR_ACCESS)

    iam.put_group_policy(GroupName=name, PolicyName="p", PolicyDocument=ALLOW_LIST_USERS)
    assert conflict("delete policies")
    iam.delete_group_policy(GroupName=name, PolicyName="p")

    assert members(iam.delete_group(GroupName=name)) == {}
    assert refused(iam.get_group, GroupName=name) == no_such_group(name)


def test_a_user_is_in_at_most_ten_groups(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="popular")
    for number in range(11):
        iam.create_group(GroupName=f"ten-{number}")
    for number in range(10):
        iam.add_user_to_group(GroupName=f"ten-{number}", UserName="popular")
    limit = Refused("LimitExceeded", 409, "Cannot exceed quota for GroupsPerUser: 10")
    assert refused(iam.add_user_to_group, GroupName="ten-10", UserName="popular") == limit
    iam.add_user_to_group(GroupName="ten-3", UserName="popular")
    iam.remove_user_from_group(GroupName="ten-3", UserName="popular")
    iam.add_user_to_group(GroupName="ten-10", UserName="popular")
    listed = [group["GroupName"] for group in iam.list_groups_for_user(UserName="popular")["Groups"]]
    assert listed == sorted(f"ten-{number}" for number in range(11) if number != 3)


def test_groups_members_and_memberships_come_in_pages(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        iam.create_group(GroupName=name, Path="/pages/")
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName="page-0", UserName=name)
    for name in names[1:]:
        iam.add_user_to_group(GroupName=name, UserName="page-0")

    def listed(operation: Any, items: str, member: str, **parameters: str) -> list[list[str]]:
        pages = iam.get_paginator(operation).paginate(**parameters, PaginationConfig={"PageSize": 2})
        return [[item[member] for item in page[items]] for page in pages]

    expected = [names[:2], names[2:4], names[4:]]
    assert listed("list_groups", "Groups", "GroupName", PathPrefix="/pages/") == expected
    assert listed("get_group", "Users", "UserName", GroupName="page-0") == expected
    assert listed("list_groups_for_user", "Groups", "GroupName", UserName="page-0") == expected


def test_the_server_checks_a_groups_name_and_path(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    longest = validation_error(must("groupName", "have length less than or equal to 128"))
    assert refused(iam.create_group, GroupName="g" * 129) == longest
    answer = refused(iam.create_group, GroupName="g", Path="some/location")
    assert answer.message.startswith("The specified value for path is invalid.")
