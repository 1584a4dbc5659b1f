"""Users: what AWS answers, member for member, and what stays when a user is renamed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from authority.calls import (
    ADMINISTRATOR_ACCESS,
    ALLOW_LIST_USERS,
    Refused,
    account,
    members,
    must,
    no_such_user,
    person,
    refused,
    statement,
    validation_error,
)
from living_authority import LivingAuthority

MEMBERS = {"Path", "UserName", "UserId", "Arn", "CreateDate"}
INVALID_MARKER = Refused("ValidationError", 400, "Invalid Marker.")
DELETE_CONFLICT = {
    "groups": "Cannot delete entity, must remove users from group first.",
    "managed": "Cannot delete entity, must detach all policies first.",
    "inline": "Cannot delete entity, must delete policies first.",
    "keys": "Cannot delete entity, must delete access keys first.",
}


def test_a_user_has_exactly_the_members_that_aws_gives_one(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    created = iam.create_user(UserName="plain")["User"]
    assert set(created) == MEMBERS
    assert created["Arn"] == f"arn:aws:iam::{account(shared_authority)}:user/plain"
    assert created["Path"] == "/"
    assert created["UserId"].startswith("AIDA")
    assert len(created["UserId"]) == 21
    assert created["CreateDate"].microsecond == 0
    assert abs((datetime.now(UTC) - created["CreateDate"]).total_seconds()) < 60
    assert iam.get_user(UserName="plain")["User"] == created
    assert created in iam.list_users()["Users"]


def test_a_path_stands_in_the_arn_and_a_prefix_of_it_finds_the_user(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    user = iam.create_user(UserName="pathed", Path="/division/unit-7/")["User"]
    assert user["Arn"] == f"arn:aws:iam::{account(shared_authority)}:user/division/unit-7/pathed"
    for prefix in ("/division/unit-7/", "/division/", "/divi"):
        assert members(iam.list_users(PathPrefix=prefix)) == {"Users": [user], "IsTruncated": False}
    assert iam.list_users(PathPrefix="/elsewhere/")["Users"] == []


def test_tags_are_told_of_one_user_and_never_in_a_listing(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    tags: Any = [{"Key": "Environment", "Value": "Test"}, {"Key": "Team", "Value": ""}]
    created = iam.create_user(UserName="tagged", Path="/tagged/", Tags=tags)["User"]
    assert created["Tags"] == tags
    assert iam.get_user(UserName="tagged")["User"]["Tags"] == tags
    assert [set(user) for user in iam.list_users(PathPrefix="/tagged/")["Users"]] == [MEMBERS]


def test_tags_are_added_replaced_listed_in_pages_and_removed(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="tag-owner")
    assert members(iam.list_user_tags(UserName="tag-owner")) == {"Tags": [], "IsTruncated": False}
    iam.tag_user(UserName="tag-owner", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.tag_user(UserName="tag-owner", Tags=[{"Key": "A", "Value": "3"}])
    first = iam.list_user_tags(UserName="tag-owner", MaxItems=1)
    assert first["Tags"] == [{"Key": "A", "Value": "3"}]
    assert first["IsTruncated"]
    second = members(iam.list_user_tags(UserName="tag-owner", Marker=first["Marker"]))
    assert second == {"Tags": [{"Key": "b", "Value": "2"}], "IsTruncated": False}
    iam.untag_user(UserName="tag-owner", TagKeys=["a", "never-there"])
    assert iam.list_user_tags(UserName="tag-owner")["Tags"] == [{"Key": "b", "Value": "2"}]


def test_a_users_tag_keys_differ_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    twice: Any = [{"Key": "Team", "Value": "1"}, {"Key": "team", "Value": "2"}]
    text = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
    assert refused(iam.create_user, UserName="twice", Tags=twice) == Refused("InvalidInput", 400, text)
    assert refused(iam.get_user, UserName="twice") == no_such_user("twice")


def test_a_user_has_at_most_fifty_tags(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    many: Any = [{"Key": str(number), "Value": ""} for number in range(51)]
    too_many = validation_error(must("tags", "have length less than or equal to 50"))
    assert refused(iam.create_user, UserName="fifty", Tags=many) == too_many
    iam.create_user(UserName="fifty", Tags=many[:50])
    full = Refused("LimitExceeded", 409, "The number of tags has reached the maximum limit.")
    assert refused(iam.tag_user, UserName="fifty", Tags=many[50:]) == full
    iam.tag_user(UserName="fifty", Tags=[{"Key": "0", "Value": "replaced"}])


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_user", {}),
        ("update_user", {"NewUserName": "other"}),
        ("delete_user", {}),
        ("tag_user", {"Tags": [{"Key": "k", "Value": "v"}]}),
        ("untag_user", {"TagKeys": ["k"]}),
        ("list_user_tags", {}),
        ("list_groups_for_user", {}),
        ("list_user_policies", {}),
        ("list_attached_user_policies", {}),
        ("list_access_keys", {}),
        ("create_access_key", {}),
        ("delete_access_key", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
        ("put_user_policy", {"PolicyName": "p", "PolicyDocument": ALLOW_LIST_USERS}),
        ("get_user_policy", {"PolicyName": "p"}),
        ("attach_user_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
        ("detach_user_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
    ],
)
def test_a_user_that_does_not_exist_is_refused_in_the_same_words_everywhere(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    act = getattr(shared_authority.iam(), operation)
    assert refused(act, UserName="nonexistent-user", **parameters) == no_such_user("nonexistent-user")


def test_names_are_unique_and_found_without_regard_to_case_and_keep_their_spelling(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="CamelCase")
    taken = Refused("EntityAlreadyExists", 409, "User with name camelcase already exists.")
    assert refused(iam.create_user, UserName="camelcase") == taken
    assert iam.get_user(UserName="CAMELCASE")["User"]["UserName"] == "CamelCase"
    iam.create_user(UserName="other-case")
    taken = Refused("EntityAlreadyExists", 409, "User with name camelCASE already exists.")
    assert refused(iam.update_user, UserName="other-case", NewUserName="camelCASE") == taken


def test_listings_sort_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    for name in ("sort-c", "Sort-B", "sort-a", "SORT-D"):
        iam.create_user(UserName=name, Path="/sorted/")
    listed = [user["UserName"] for user in iam.list_users(PathPrefix="/sorted/")["Users"]]
    assert listed == ["sort-a", "Sort-B", "sort-c", "SORT-D"]


def test_a_rename_keeps_the_unique_id_and_the_keys_and_shows_at_once(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    ren = person(shared_authority, "ren", statement("Allow", "iam:GetUser"))
    before = iam.get_user(UserName="ren")["User"]
    assert ren.sts().get_caller_identity()["Arn"] == ren.arn

    iam.update_user(UserName="ren", NewUserName="renata", NewPath="/new-path/")

    arn = f"arn:aws:iam::{account(shared_authority)}:user/new-path/renata"
    assert members(ren.sts().get_caller_identity()) == {
        "UserId": before["UserId"],
        "Account": account(shared_authority),
        "Arn": arn,
    }
    after = before | {"UserName": "renata", "Path": "/new-path/", "Arn": arn}
    assert iam.get_user(UserName="renata")["User"] == after
    assert ren.iam().get_user()["User"] == after
    assert iam.list_users(PathPrefix="/new-path/")["Users"] == [after]
    [key] = iam.list_access_keys(UserName="renata")["AccessKeyMetadata"]
    assert (key["AccessKeyId"], key["UserName"]) == (ren.access_key_id, "renata")
    assert iam.get_access_key_last_used(AccessKeyId=ren.access_key_id)["UserName"] == "renata"
    assert iam.list_user_policies(UserName="renata")["PolicyNames"] == ["own"]
    assert refused(iam.get_user, UserName="ren") == no_such_user("ren")
    iam.create_user(UserName="ren")


def test_a_rename_may_change_only_the_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_user(UserName="lowercase")
    iam.update_user(UserName="lowercase", NewUserName="LowerCase")
    assert iam.get_user(UserName="lowercase")["User"]["UserName"] == "LowerCase"


def test_a_user_in_use_is_not_deleted_and_the_answer_says_what_to_do_first(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    name = "in-use"
    iam.create_user(UserName=name)

    def conflict(kind: str) -> bool:
        return refused(iam.delete_user, UserName=name) == Refused(
            "DeleteConflict", 409, DELETE_CONFLICT[kind]
        )

    key = iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"]
    assert conflict("keys")
    iam.update_access_key(UserName=name, AccessKeyId=key, Status="Inactive")
    assert conflict("keys")
    iam.delete_access_key(UserName=name, AccessKeyId=key)

    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=ALLOW_LIST_USERS)
    assert conflict("inline")
    iam.delete_user_policy(UserName=name, PolicyName="p")

    iam.attach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR_ACCESS)
    assert conflict("managed")
    iam.detach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR_ACCESS)

    iam.create_group(GroupName="holds-a-user")
    iam.add_user_to_group(GroupName="holds-a-user", UserName=name)
    assert conflict("groups")
    iam.remove_user_from_group(GroupName="holds-a-user", UserName=name)

    iam.tag_user(UserName=name, Tags=[{"Key": "tags", "Value": "go with the user"}])
    assert members(iam.delete_user(UserName=name)) == {}
    assert refused(iam.get_user, UserName=name) == no_such_user(name)


def test_a_new_user_of_an_old_name_is_another_user(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    old = iam.create_user(UserName="phoenix", Tags=[{"Key": "k", "Value": "v"}])["User"]
    iam.delete_user(UserName="phoenix")
    new = iam.create_user(UserName="phoenix")["User"]
    assert new["UserId"] != old["UserId"]
    assert "Tags" not in iam.get_user(UserName="phoenix")["User"]


def test_two_hundred_and_sixty_users_come_in_pages_each_of_them_once(authority: LivingAuthority) -> None:
    iam = authority.iam()
    names = [f"user-{number:03d}" for number in range(260)]
    for name in names:
        iam.create_user(UserName=name, Path="/many/")

    def pages(**config: Any) -> list[list[str]]:
        paginator = iam.get_paginator("list_users")
        found = paginator.paginate(PathPrefix="/many/", **config)
        return [[user["UserName"] for user in page["Users"]] for page in found]

    for size, lengths in ((None, [100, 100, 60]), (130, [130, 130]), (1000, [260])):
        listed = pages(PaginationConfig={"PageSize": size} if size else {})
        assert [len(page) for page in listed] == lengths
        assert [name for page in listed for name in page] == names
    everybody = sum(len(page["Users"]) for page in iam.get_paginator("list_users").paginate())
    assert everybody == len(names) + 1, "the administrator is a user too"

    whole = members(iam.list_users(PathPrefix="/many/", MaxItems=260))
    assert (set(whole), whole["IsTruncated"]) == ({"Users", "IsTruncated"}, False)
    part = members(iam.list_users(PathPrefix="/many/", MaxItems=259))
    assert (set(part), part["IsTruncated"]) == ({"Users", "IsTruncated", "Marker"}, True)
    rest = iam.list_users(PathPrefix="/many/", Marker=part["Marker"])
    assert [user["UserName"] for user in rest["Users"]] == names[259:]

    iam.delete_user(UserName=part["Users"][-1]["UserName"])
    again = iam.list_users(PathPrefix="/many/", Marker=part["Marker"])
    assert again["Users"] == rest["Users"], "a marker outlives the item that it was made of"


def forged(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "marker",
    [
        "garbage",
        "====",
        "\u00e9",
        forged("[]"),
        forged('{"ListUsers": 1, "x": 2}'),
        forged('["ListUsers"]'),
        forged('["ListUsers", 7]'),
        forged('["ListUsers", null]'),
        forged('["ListGroups", "a"]'),
        forged('["ListUsers", "\\ud800"]'),
        forged("[" * 200),
        forged('["ListUsers", ' + "9" * 200 + "]"),
    ],
)
def test_a_marker_that_was_not_given_out_is_invalid(shared_authority: LivingAuthority, marker: str) -> None:
    assert refused(shared_authority.iam().list_users, Marker=marker) == INVALID_MARKER


def test_a_marker_of_one_listing_is_invalid_in_another(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    for name in ("marked-1", "marked-2"):
        iam.create_user(UserName=name)
    marker = iam.list_users(MaxItems=1)["Marker"]
    assert refused(iam.list_groups, Marker=marker) == INVALID_MARKER
    assert refused(iam.list_account_aliases, Marker=marker) == INVALID_MARKER
    assert refused(iam.list_policy_versions, PolicyArn=ADMINISTRATOR_ACCESS, Marker=marker) == INVALID_MARKER


def test_faults_of_several_parameters_come_in_one_message_without_the_values(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    answer = refused(iam.update_user, UserName="u" * 129, NewUserName="n" * 65, NewPath="/" + "p" * 600)
    assert (answer.code, answer.status) == ("ValidationError", 400)
    assert answer.message.startswith("3 validation errors detected: ")
    for member, most in (("userName", 128), ("newUserName", 64), ("newPath", 512)):
        assert must(member, f"have length less than or equal to {most}") in answer.message
    assert "uuuu" not in answer.message


def test_the_server_checks_names_pages_and_paths_as_the_model_says(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    longest = validation_error(must("userName", "have length less than or equal to 64"))
    assert refused(iam.create_user, UserName="u" * 65) == longest
    assert refused(iam.create_user) == validation_error(must("userName", "not be null"))
    zero = validation_error(must("maxItems", "have value greater than or equal to 1"))
    assert refused(iam.list_users, MaxItems=0) == zero
    much = validation_error(must("maxItems", "have value less than or equal to 1000"))
    assert refused(iam.list_users, MaxItems=1001) == much
    path = (
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric"
        " characters and/or / characters."
    )
    for wrong in ("no-slashes", "/no-end", "no-start/", "//"):
        assert refused(iam.create_user, UserName="p", Path=wrong) == Refused("ValidationError", 400, path)
    for name in ("a b", "a/b", "ü", "a*"):
        answer = refused(iam.create_user, UserName=name)
        assert (answer.code, answer.status) == ("ValidationError", 400)
        assert name not in answer.message


def test_nobody_can_delete_a_user_under_a_key_that_is_still_there(shared_authority: LivingAuthority) -> None:
    """Also the user who calls: their own key is a key."""
    self_made = person(shared_authority, "self-made", statement("Allow", "iam:*"))
    shared_authority.iam().delete_user_policy(UserName="self-made", PolicyName="own")
    shared_authority.iam().create_group(GroupName="self-service")
    shared_authority.iam().put_group_policy(
        GroupName="self-service", PolicyName="all", PolicyDocument=ALLOW_LIST_USERS.replace("ListUsers", "*")
    )
    shared_authority.iam().add_user_to_group(GroupName="self-service", UserName="self-made")
    answer = refused(self_made.iam().delete_user, UserName="self-made")
    assert answer == Refused("DeleteConflict", 409, DELETE_CONFLICT["groups"])
    assert self_made.sts().get_caller_identity()["Arn"] == self_made.arn
