"""May they? Deny by default, in AWS's words, from the very next call on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from authority.calls import (
    ADMINISTRATOR_ACCESS,
    ALLOW_LIST_USERS,
    IAM_FULL_ACCESS,
    Person,
    Refused,
    account,
    document,
    members,
    person,
    refused,
    statement,
)
from living_authority import LivingAuthority

MFA = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
NOT_ALLOWED = "because no identity-based policy allows the {} action"
EXPLICIT_DENY = "with an explicit deny in an identity-based policy"


def denied(caller: Person, action: str, resource: str, why: str = NOT_ALLOWED) -> Refused:
    return Refused(
        "AccessDenied",
        403,
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource}"
        f" {why.format(action)}",
    )


def may(act: Callable[..., object], **parameters: Any) -> bool:
    """Whether the call is let through; it may fail of something else then."""
    try:
        act(**parameters)
    except Exception as error:  # noqa: BLE001 - whatever it is, only a denial is No
        return "AccessDenied" not in repr(error)
    return True


# Words

ON_USER: dict[str, dict[str, Any]] = {
    "GetUser": {},
    "UpdateUser": {"NewPath": "/p/"},
    "DeleteUser": {},
    "TagUser": {"Tags": [{"Key": "k", "Value": "v"}]},
    "UntagUser": {"TagKeys": ["k"]},
    "ListUserTags": {},
    "ListGroupsForUser": {},
    "CreateAccessKey": {},
    "ListAccessKeys": {},
    "UpdateAccessKey": {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "Status": "Inactive"},
    "DeleteAccessKey": {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"},
    "PutUserPolicy": {"PolicyName": "p", "PolicyDocument": ALLOW_LIST_USERS},
    "GetUserPolicy": {"PolicyName": "p"},
    "DeleteUserPolicy": {"PolicyName": "p"},
    "ListUserPolicies": {},
    "AttachUserPolicy": {"PolicyArn": ADMINISTRATOR_ACCESS},
    "DetachUserPolicy": {"PolicyArn": ADMINISTRATOR_ACCESS},
    "ListAttachedUserPolicies": {},
}
ON_GROUP: dict[str, dict[str, Any]] = {
    "GetGroup": {},
    "UpdateGroup": {"NewPath": "/p/"},
    "DeleteGroup": {},
    "AddUserToGroup": {"UserName": "bob"},
    "RemoveUserFromGroup": {"UserName": "bob"},
    "PutGroupPolicy": {"PolicyName": "p", "PolicyDocument": ALLOW_LIST_USERS},
    "GetGroupPolicy": {"PolicyName": "p"},
    "DeleteGroupPolicy": {"PolicyName": "p"},
    "ListGroupPolicies": {},
    "AttachGroupPolicy": {"PolicyArn": ADMINISTRATOR_ACCESS},
    "DetachGroupPolicy": {"PolicyArn": ADMINISTRATOR_ACCESS},
    "ListAttachedGroupPolicies": {},
}
ON_POLICY: dict[str, dict[str, Any]] = {
    "GetPolicy": {},
    "DeletePolicy": {},
    "CreatePolicyVersion": {"PolicyDocument": ALLOW_LIST_USERS},
    "GetPolicyVersion": {"VersionId": "v1"},
    "ListPolicyVersions": {},
    "SetDefaultPolicyVersion": {"VersionId": "v1"},
    "DeletePolicyVersion": {"VersionId": "v1"},
    "TagPolicy": {"Tags": [{"Key": "k", "Value": "v"}]},
    "UntagPolicy": {"TagKeys": ["k"]},
    "ListPolicyTags": {},
    "ListEntitiesForPolicy": {},
}


@pytest.fixture(scope="module")
def nobody(shared_authority: LivingAuthority) -> Person:
    """A user without any policy, beside `bob`, `Devs` and a policy."""
    iam = shared_authority.iam()
    iam.create_user(UserName="bob")
    iam.create_group(GroupName="Devs", Path="/teams/")
    iam.create_policy(PolicyName="theirs", PolicyDocument=ALLOW_LIST_USERS)
    return person(shared_authority, "nobody")


def test_a_denial_names_the_user_group_or_policy_in_awss_words(nobody: Person) -> None:
    iam = nobody.iam()
    arn = f"arn:aws:iam::{account(nobody.authority)}:policy/theirs"
    for operations, on, resource in (
        (ON_USER, {"UserName": "bob"}, "user bob"),
        (ON_GROUP, {"GroupName": "devs"}, "group Devs"),
        (ON_POLICY, {"PolicyArn": arn}, f"policy {arn}"),
    ):
        for operation, parameters in operations.items():
            act = getattr(iam, _snake(operation))
            assert refused(act, **on, **parameters) == denied(nobody, f"iam:{operation}", resource)


def _snake(operation: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation)[1:]


def test_a_denial_of_making_and_listing_names_an_arn_or_a_path(nobody: Person) -> None:
    iam = nobody.iam()
    ours = f"arn:aws:iam::{account(nobody.authority)}:"
    for operation, parameters, resource in (
        ("CreateUser", {"UserName": "new", "Path": "/a/"}, f"{ours}user/a/new"),
        ("ListUsers", {}, f"{ours}user/"),
        ("ListUsers", {"PathPrefix": "/a/"}, f"{ours}user/a/"),
        ("CreateGroup", {"GroupName": "new"}, f"{ours}group/new"),
        ("ListGroups", {}, f"{ours}group/"),
        ("CreatePolicy", {"PolicyName": "new", "PolicyDocument": ALLOW_LIST_USERS}, "policy new"),
        ("ListPolicies", {}, "policy path /"),
        ("ListPolicies", {"PathPrefix": "/a/"}, "policy path /a/"),
        ("GetAccountSummary", {}, "*"),
        ("ListAccountAliases", {}, "*"),
        ("CreateAccountAlias", {"AccountAlias": "new"}, "*"),
        ("DeleteAccountAlias", {"AccountAlias": "new"}, "*"),
    ):
        act = getattr(iam, _snake(operation))
        assert refused(act, **parameters) == denied(nobody, f"iam:{operation}", resource)
    answer = refused(nobody.sts().get_access_key_info, AccessKeyId="AKIAIOSFODNN7EXAMPLE")
    assert answer == denied(nobody, "sts:GetAccessKeyInfo", "*")


def test_a_denied_caller_does_not_learn_what_exists(nobody: Person) -> None:
    iam = nobody.iam()
    missing = f"arn:aws:iam::{account(nobody.authority)}:policy/missing"
    assert refused(iam.get_user, UserName="ghost") == denied(nobody, "iam:GetUser", "user ghost")
    assert refused(iam.get_group, GroupName="ghosts") == denied(nobody, "iam:GetGroup", "group ghosts")
    assert refused(iam.get_policy, PolicyArn=missing) == denied(nobody, "iam:GetPolicy", f"policy {missing}")


def test_what_is_wrong_with_a_call_is_said_before_permission_is_asked(nobody: Person) -> None:
    answer = refused(nobody.iam(parameter_validation=False).create_user)
    assert (answer.code, answer.status) == ("ValidationError", 400)


def test_a_denied_change_changes_nothing(nobody: Person) -> None:
    iam = nobody.authority.iam()
    before = members(iam.get_account_summary())
    refused(nobody.iam().create_user, UserName="new")
    refused(nobody.iam().delete_user, UserName="bob")
    refused(nobody.iam().put_user_policy, UserName="nobody", PolicyName="p", PolicyDocument=ALLOW_LIST_USERS)
    assert members(iam.get_account_summary()) == before
    assert iam.list_user_policies(UserName="nobody")["PolicyNames"] == []


def test_who_i_am_needs_no_permission_and_no_deny_stops_it(
    shared_authority: LivingAuthority, nobody: Person
) -> None:
    assert nobody.sts().get_caller_identity()["Arn"] == nobody.arn
    shut = person(shared_authority, "shut-out", statement("Deny", "*"), statement("Allow", "*"))
    assert shut.sts().get_caller_identity()["Arn"] == shut.arn
    answer = refused(shut.iam().get_user)
    assert answer == denied(shut, "iam:GetUser", "user shut-out", EXPLICIT_DENY)


# What counts


def test_deny_wins_wherever_it_stands(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    iam.create_group(GroupName="denying")
    iam.put_group_policy(
        GroupName="denying", PolicyName="d", PolicyDocument=document(statement("Deny", "iam:GetUser"))
    )
    arn = iam.create_policy(PolicyName="denying", PolicyDocument=document(statement("Deny", "iam:List*")))
    allowed = person(shared_authority, "allowed-all", statement("Allow", "*"))
    iam.attach_user_policy(UserName="allowed-all", PolicyArn=ADMINISTRATOR_ACCESS)
    own = allowed.iam()
    own.get_user()
    own.list_users()
    iam.add_user_to_group(GroupName="denying", UserName="allowed-all")
    assert refused(own.get_user) == denied(allowed, "iam:GetUser", "user allowed-all", EXPLICIT_DENY)
    own.list_users()
    iam.attach_user_policy(UserName="allowed-all", PolicyArn=arn["Policy"]["Arn"])
    users = f"arn:aws:iam::{account(shared_authority)}:user/"
    assert refused(own.list_users) == denied(allowed, "iam:ListUsers", users, EXPLICIT_DENY)


def test_a_condition_decides_for_an_allow_and_for_a_deny(shared_authority: LivingAuthority) -> None:
    """A long-lived key never shows a second factor: the key is absent, and only `IfExists` reads that as false."""
    hopeful = person(shared_authority, "hopeful", statement("Allow", "iam:GetUser", Condition=MFA))
    assert refused(hopeful.iam().get_user) == denied(hopeful, "iam:GetUser", "user hopeful")
    without = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}
    careful = person(
        shared_authority,
        "careful",
        statement("Allow", "iam:GetUser"),
        statement("Deny", "iam:GetUser", Condition=without),
    )
    assert refused(careful.iam().get_user) == denied(careful, "iam:GetUser", "user careful", EXPLICIT_DENY)
    here = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    local = person(shared_authority, "local", statement("Allow", "iam:GetUser", Condition=here))
    assert may(local.iam().get_user)


def test_a_variable_without_a_value_matches_nothing(shared_authority: LivingAuthority) -> None:
    resource = "arn:aws:iam::*:user/${aws:PrincipalTag/name}"
    one = person(shared_authority, "variable-allow", statement("Allow", "iam:GetUser", resource))
    assert refused(one.iam().get_user) == denied(one, "iam:GetUser", "user variable-allow")
    shared_authority.iam().tag_user(
        UserName="variable-allow", Tags=[{"Key": "name", "Value": "variable-allow"}]
    )
    assert may(one.iam().get_user)


def test_the_user_name_variable_means_the_caller_and_follows_a_rename(
    shared_authority: LivingAuthority,
) -> None:
    me = person(
        shared_authority,
        "variable",
        statement("Allow", "iam:*AccessKey*", "arn:aws:iam::*:user/${aws:username}"),
    )
    iam = me.iam()
    iam.list_access_keys()
    iam.list_access_keys(UserName="VARIABLE")
    shared_authority.iam().create_user(UserName="variable2")
    answer = refused(iam.list_access_keys, UserName="variable2")
    assert answer == denied(me, "iam:ListAccessKeys", "user variable2")
    shared_authority.iam().update_user(UserName="variable", NewUserName="renamed-variable")
    iam.list_access_keys(UserName="renamed-variable")
    shared_authority.iam().create_user(UserName="variable")
    renamed = Person(shared_authority, "renamed-variable", me.access_key_id, me.secret)
    answer = refused(iam.list_access_keys, UserName="variable")
    assert answer == denied(renamed, "iam:ListAccessKeys", "user variable"), "the name is another's now"


def test_a_name_that_looks_like_a_pattern_is_no_pattern(shared_authority: LivingAuthority) -> None:
    """No user name can hold `*`, but a policy can't be made to cover more by one that holds `.` or `+`."""
    resource = "arn:aws:iam::*:user/${aws:username}"
    me = person(shared_authority, "a.c+", statement("Allow", "iam:GetUser", resource))
    shared_authority.iam().create_user(UserName="abc")
    assert me.iam().get_user()["User"]["UserName"] == "a.c+"
    assert refused(me.iam().get_user, UserName="abc") == denied(me, "iam:GetUser", "user abc")


def test_actions_and_resources_with_wildcards_and_their_negations_decide(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    ours = f"arn:aws:iam::{account(shared_authority)}:user"
    iam.create_user(UserName="dev-1", Path="/dev/")
    iam.create_user(UserName="ops-1", Path="/ops/")
    cases: dict[str, tuple[list[Any], set[str]]] = {
        # name: statements, and which of these it lets through
        "exact": ([statement("Allow", "iam:GetUser", f"{ours}/dev/dev-1")], {"get dev-1"}),
        "path": ([statement("Allow", "iam:GetUser", f"{ours}/dev/*")], {"get dev-1"}),
        "case": ([statement("Allow", "IAM:getuser", f"{ours}/*/*-1")], {"get dev-1", "get ops-1"}),
        "one": ([statement("Allow", "iam:?etUser", f"{ours}/???/dev-?")], {"get dev-1"}),
        "not-action": (
            [{"Effect": "Allow", "NotAction": "iam:List*", "Resource": "*"}],
            {"get dev-1", "get ops-1"},
        ),
        "not-resource": (
            [{"Effect": "Allow", "Action": "iam:*", "NotResource": f"{ours}/ops/*"}],
            {"get dev-1", "list"},
        ),
        "all": ([statement("Allow", ["iam:ListUsers", "iam:GetUser"])], {"get dev-1", "get ops-1", "list"}),
        # ListUsers names no resource in AWS's table, so nothing narrower than `*` allows it.
        "all users": (
            [statement("Allow", ["iam:ListUsers", "iam:GetUser"], f"{ours}/*")],
            {"get dev-1", "get ops-1"},
        ),
        "another account": ([statement("Allow", "iam:*", "arn:aws:iam::123456789012:user/*")], set()),
        "name only": ([statement("Allow", "iam:GetUser", f"{ours}/dev-1")], set()),
        "another service": ([statement("Allow", "s3:*")], set()),
        "nothing": ([statement("Allow", "iam:GetUse")], set()),
    }
    for number, (name, (statements, expected)) in enumerate(cases.items()):
        caller = person(shared_authority, f"wild-{number}", *statements).iam()
        let_through = {
            what
            for what, allowed in (
                ("get dev-1", may(caller.get_user, UserName="dev-1")),
                ("get ops-1", may(caller.get_user, UserName="ops-1")),
                ("list", may(caller.list_users)),
            )
            if allowed
        }
        assert let_through == expected, name


def test_a_path_in_a_policy_holds_after_the_user_has_moved(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    ours = f"arn:aws:iam::{account(shared_authority)}:user"
    iam.create_user(UserName="mover", Path="/red/")
    caller = person(shared_authority, "red-only", statement("Allow", "iam:GetUser", f"{ours}/red/*"))
    caller.iam().get_user(UserName="mover")
    iam.update_user(UserName="mover", NewPath="/blue/")
    assert refused(caller.iam().get_user, UserName="mover") == denied(caller, "iam:GetUser", "user mover")


def test_a_spelling_in_other_case_is_the_same_user_for_an_allow_and_for_a_deny(
    shared_authority: LivingAuthority,
) -> None:
    shared_authority.iam().create_user(UserName="Mixed")
    ours = f"arn:aws:iam::{account(shared_authority)}:user"
    caller = person(
        shared_authority,
        "case-caller",
        statement("Allow", "iam:*"),
        statement("Deny", "iam:GetUser", f"{ours}/Mixed"),
    )
    for spelling in ("Mixed", "mixed", "MIXED"):
        answer = refused(caller.iam().get_user, UserName=spelling)
        assert answer == denied(caller, "iam:GetUser", "user Mixed", EXPLICIT_DENY)


def test_a_rename_needs_permission_on_what_becomes_of_it_too(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    root = f"arn:aws:iam::{account(shared_authority)}"
    for name in ("dev-renamed", "admin-kept"):
        iam.create_user(UserName=name, Path=f"/{name[:3]}/")
        iam.create_group(GroupName=name, Path=f"/{name[:3]}/")
    caller = person(
        shared_authority,
        "renamer",
        statement(
            "Allow", ["iam:UpdateUser", "iam:UpdateGroup"], [f"{root}:user/dev/*", f"{root}:group/dev/*"]
        ),
    )
    own = caller.iam()
    for kind, update, word in (
        ("user", own.update_user, "UserName"),
        ("group", own.update_group, "GroupName"),
    ):
        action = f"iam:Update{kind.capitalize()}"
        into = refused(update, **{word: "dev-renamed", "NewPath": "/adm/"})
        assert into == denied(caller, action, f"{kind} dev-renamed")
        out_of = refused(update, **{word: "admin-kept", "NewPath": "/dev/"})
        assert out_of == denied(caller, action, f"{kind} admin-kept")
        update(**{word: "dev-renamed", f"New{word}": f"dev-{kind}", "NewPath": "/dev/sub/"})
        update(**{word: f"dev-{kind}"})
    assert iam.get_user(UserName="dev-user")["User"]["Path"] == "/dev/sub/"
    assert iam.get_group(GroupName="dev-group")["Group"]["Path"] == "/dev/sub/"


# From the very next call on


def test_a_policy_counts_from_the_next_call_on_and_no_longer(shared_authority: LivingAuthority) -> None:
    """Each way of giving permission and of taking it away, for a call that reads and one that writes."""
    admin = shared_authority.iam()
    caller = person(shared_authority, "toggled")
    own = caller.iam()
    admin.create_group(GroupName="toggling")
    allow, nothing = document(statement("Allow", "iam:*")), document(statement("Allow", "s3:*"))
    arn = admin.create_policy(PolicyName="toggling", PolicyDocument=allow)["Policy"]["Arn"]
    user: Any = {"UserName": "toggled"}
    group: Any = {"GroupName": "toggling"}

    def check(*, allowed: bool) -> None:
        tag = {"UserName": "toggled", "Tags": [{"Key": "k", "Value": "v"}]}
        for _ in range(2):
            assert may(own.get_user) is allowed
            assert may(own.tag_user, **tag) is allowed

    def through_group(give: Callable[[], object], take: Callable[[], object]) -> None:
        admin.add_user_to_group(**group, **user)
        switch(give, take)
        give()
        admin.remove_user_from_group(**group, **user)
        check(allowed=False)
        admin.add_user_to_group(**group, **user)
        check(allowed=True)
        take()
        admin.remove_user_from_group(**group, **user)

    def switch(give: Callable[[], object], take: Callable[[], object]) -> None:
        check(allowed=False)
        give()
        check(allowed=True)
        take()
        check(allowed=False)

    switch(
        lambda: admin.put_user_policy(**user, PolicyName="p", PolicyDocument=allow),
        lambda: admin.delete_user_policy(**user, PolicyName="p"),
    )
    admin.put_user_policy(**user, PolicyName="p", PolicyDocument=nothing)
    switch(
        lambda: admin.put_user_policy(**user, PolicyName="p", PolicyDocument=allow),
        lambda: admin.put_user_policy(**user, PolicyName="p", PolicyDocument=nothing),
    )
    switch(
        lambda: admin.attach_user_policy(**user, PolicyArn=arn),
        lambda: admin.detach_user_policy(**user, PolicyArn=arn),
    )
    switch(
        lambda: admin.attach_user_policy(**user, PolicyArn=IAM_FULL_ACCESS),
        lambda: admin.detach_user_policy(**user, PolicyArn=IAM_FULL_ACCESS),
    )
    through_group(
        lambda: admin.put_group_policy(**group, PolicyName="p", PolicyDocument=allow),
        lambda: admin.delete_group_policy(**group, PolicyName="p"),
    )
    through_group(
        lambda: admin.attach_group_policy(**group, PolicyArn=arn),
        lambda: admin.detach_group_policy(**group, PolicyArn=arn),
    )

    admin.attach_user_policy(**user, PolicyArn=arn)
    check(allowed=True)
    admin.create_policy_version(PolicyArn=arn, PolicyDocument=nothing)
    check(allowed=True)
    admin.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    check(allowed=False)
    admin.create_policy_version(PolicyArn=arn, PolicyDocument=allow, SetAsDefault=True)
    check(allowed=True)
    admin.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    admin.delete_policy_version(PolicyArn=arn, VersionId="v3")
    check(allowed=False)


def test_somebody_can_take_their_own_permission_away(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "self-denying", statement("Allow", "iam:*"))
    own = me.iam()
    own.delete_user_policy(UserName="self-denying", PolicyName="own")
    answer = refused(
        own.put_user_policy, UserName="self-denying", PolicyName="own", PolicyDocument=ALLOW_LIST_USERS
    )
    assert answer == denied(me, "iam:PutUserPolicy", "user self-denying")


def test_awss_own_policies_allow_what_they_say(shared_authority: LivingAuthority) -> None:
    admin = shared_authority.iam()
    me = person(shared_authority, "attached")
    admin.attach_user_policy(UserName="attached", PolicyArn=IAM_FULL_ACCESS)
    me.iam().list_users()
    assert not may(me.sts().get_access_key_info, AccessKeyId=me.access_key_id)
    admin.attach_user_policy(UserName="attached", PolicyArn=ADMINISTRATOR_ACCESS)
    me.sts().get_access_key_info(AccessKeyId=me.access_key_id)
