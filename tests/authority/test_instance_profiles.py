"""Instance profiles on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from authority.role_calls import account_of, answer, missing, new_role, no_role, refusal, too_many_tags
from living_authority import LivingAuthority


def no_profile(name: str) -> tuple[str, int, str]:
    return missing(f"Instance Profile {name} cannot be found.")


def test_an_instance_profile_has_exactly_the_members_that_aws_gives_one(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    created = iam.create_instance_profile(InstanceProfileName="plain", Path="/plain/")["InstanceProfile"]
    assert set(created) == {
        "Path",
        "InstanceProfileName",
        "InstanceProfileId",
        "Arn",
        "CreateDate",
        "Roles",
    }
    assert created["Arn"] == f"arn:aws:iam::{account_of(shared_authority)}:instance-profile/plain/plain"
    assert created["InstanceProfileId"].startswith("AIPA")
    assert len(created["InstanceProfileId"]) == 21
    assert created["Roles"] == []
    got = iam.get_instance_profile(InstanceProfileName="PLAIN")["InstanceProfile"]
    assert got == created | {"Tags": []}
    listed = answer(iam.list_instance_profiles(PathPrefix="/plain/"))
    assert listed == {"InstanceProfiles": [created], "IsTruncated": False}
    empty = answer(iam.list_instance_profiles(PathPrefix="/nowhere/"))
    assert empty == {"InstanceProfiles": [], "IsTruncated": False}

    iam.delete_instance_profile(InstanceProfileName="plain")
    assert refusal(iam.get_instance_profile, InstanceProfileName="plain") == no_profile("plain")


def test_a_profiles_name_is_taken_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_instance_profile(InstanceProfileName="Taken")
    refused = refusal(iam.create_instance_profile, InstanceProfileName="taken")
    assert refused == ("EntityAlreadyExists", 409, "Instance Profile taken already exists.")


def test_a_path_begins_and_ends_with_a_slash(shared_authority: LivingAuthority) -> None:
    refused = refusal(
        shared_authority.iam().create_instance_profile, InstanceProfileName="lost", Path="/a//b/"
    )
    assert refused[:2] == ("ValidationError", 400)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_instance_profile", {}),
        ("delete_instance_profile", {}),
        ("add_role_to_instance_profile", {"RoleName": "nobody"}),
        ("remove_role_from_instance_profile", {"RoleName": "nobody"}),
        ("tag_instance_profile", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("untag_instance_profile", {"TagKeys": ["a"]}),
        ("list_instance_profile_tags", {}),
    ],
)
def test_an_unknown_profile_is_named_in_the_refusal(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    act = getattr(shared_authority.iam(), operation)
    assert refusal(act, InstanceProfileName="nowhere", **parameters) == no_profile("nowhere")


def test_a_profile_holds_one_role_and_shows_it_without_its_session_length(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    role = new_role(shared_authority, "carried", Description="not shown here")
    new_role(shared_authority, "too-much")
    iam.create_instance_profile(InstanceProfileName="carrier", Path="/carrier/")
    add = {"InstanceProfileName": "carrier", "RoleName": "carried"}
    iam.add_role_to_instance_profile(**add)
    assert iam.get_instance_profile(InstanceProfileName="carrier")["InstanceProfile"]["Roles"] == [role]
    assert iam.list_instance_profiles(PathPrefix="/carrier/")["InstanceProfiles"][0]["Roles"] == [role]

    full = ("LimitExceeded", 409, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
    assert refusal(iam.add_role_to_instance_profile, **add | {"RoleName": "too-much"}) == full
    assert refusal(iam.add_role_to_instance_profile, **add) == full
    not_in_it = missing("Role too-much in Instance Profile carrier cannot be found.")
    assert refusal(iam.remove_role_from_instance_profile, **add | {"RoleName": "too-much"}) == not_in_it

    in_use = ("DeleteConflict", 409, "Cannot delete entity, must remove roles from instance profile first.")
    assert refusal(iam.delete_instance_profile, InstanceProfileName="carrier") == in_use
    iam.remove_role_from_instance_profile(**add)
    assert iam.get_instance_profile(InstanceProfileName="carrier")["InstanceProfile"]["Roles"] == []
    iam.delete_instance_profile(InstanceProfileName="carrier")


def test_an_unknown_role_is_neither_added_nor_removed(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_instance_profile(InstanceProfileName="waiting")
    parameters = {"InstanceProfileName": "waiting", "RoleName": "nobody"}
    assert refusal(iam.add_role_to_instance_profile, **parameters) == no_role("nobody")
    assert refusal(iam.remove_role_from_instance_profile, **parameters) == no_role("nobody")


def test_the_profiles_of_a_role_are_listed_in_pages(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "everywhere")
    for name in ("here-b", "here-C", "here-a"):
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="everywhere")
    first = iam.list_instance_profiles_for_role(RoleName="everywhere", MaxItems=2)
    assert first["IsTruncated"] is True
    second = iam.list_instance_profiles_for_role(RoleName="everywhere", Marker=first["Marker"])
    profiles = [*first["InstanceProfiles"], *second["InstanceProfiles"]]
    assert [profile["InstanceProfileName"] for profile in profiles] == ["here-a", "here-b", "here-C"]
    assert {profile["Roles"][0]["RoleName"] for profile in profiles} == {"everywhere"}
    new_role(shared_authority, "nowhere")
    empty = answer(iam.list_instance_profiles_for_role(RoleName="nowhere"))
    assert empty == {"InstanceProfiles": [], "IsTruncated": False}


def test_tags_of_a_profile_tell_upper_case_from_lower_case(shared_authority: LivingAuthority) -> None:
    iam: Any = shared_authority.iam()
    name = {"InstanceProfileName": "tagged"}
    first = {"Key": "MyKey", "Value": "1"}
    created = iam.create_instance_profile(**name, Path="/tagged/", Tags=[first])["InstanceProfile"]
    assert created["Tags"] == [first]
    second = {"Key": "mykey", "Value": "2"}
    iam.tag_instance_profile(**name, Tags=[second])
    assert iam.get_instance_profile(**name)["InstanceProfile"]["Tags"] == [first, second]
    assert "Tags" not in iam.list_instance_profiles(PathPrefix="/tagged/")["InstanceProfiles"][0]
    listed = answer(iam.list_instance_profile_tags(**name))
    assert listed == {"Tags": [first, second], "IsTruncated": False}
    iam.tag_instance_profile(**name, Tags=[{"Key": "mykey", "Value": "3"}])
    iam.untag_instance_profile(**name, TagKeys=["MyKey", "never-there"])
    assert iam.list_instance_profile_tags(**name)["Tags"] == [{"Key": "mykey", "Value": "3"}]


def test_a_profile_has_at_most_fifty_tags(shared_authority: LivingAuthority) -> None:
    iam: Any = shared_authority.iam()
    iam.create_instance_profile(InstanceProfileName="many", Tags=too_many_tags(50))
    refused = refusal(
        iam.tag_instance_profile, InstanceProfileName="many", Tags=[{"Key": "one-more", "Value": ""}]
    )
    assert refused == ("LimitExceeded", 409, "The number of tags has reached the maximum limit.")
