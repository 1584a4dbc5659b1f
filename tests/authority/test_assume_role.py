"""AssumeRole on the wire: who may become a role, for how long, with what, and how AWS words the refusals."""

from __future__ import annotations

import json
from hashlib import sha512
from typing import Any

import pytest

from authority.role_calls import account_of, refusal
from authority.sts_calls import (
    Device,
    Holder,
    allow,
    deny,
    document,
    let_clients_follow,
    new_holder,
    new_trusting_role,
    session_of,
    trust,
)
from keyturn.authority.storage import audit_trail
from living_authority import LivingAuthority

ANYTHING = allow("*")


def root(authority: LivingAuthority) -> dict[str, str]:
    return {"AWS": f"arn:aws:iam::{account_of(authority)}:root"}


def user(authority: LivingAuthority, name: str) -> dict[str, str]:
    return {"AWS": f"arn:aws:iam::{account_of(authority)}:user/{name}"}


def session_arn(authority: LivingAuthority, role: str, session: str) -> str:
    return f"arn:aws:sts::{account_of(authority)}:assumed-role/{role}/{session}"


def denied(authority: LivingAuthority, name: str, role_arn: str, action: str = "sts:AssumeRole") -> Any:
    """AWS's words for it, which do not tell a role that is not there from one that does not trust."""
    arn = f"arn:aws:iam::{account_of(authority)}:user/{name}"
    return "AccessDenied", 403, f"User: {arn} is not authorized to perform: {action} on resource: {role_arn}"


def invalid(message: str) -> Any:
    return "ValidationError", 400, message


# Who may


def test_a_user_whom_the_role_names_needs_no_policy_of_their_own(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "named-ana")
    role = new_trusting_role(
        shared_authority,
        "names-ana",
        trust(user(shared_authority, "named-ana")),
        may=(allow("iam:ListUsers"),),
    )
    given = ana.sts.assume_role(RoleArn=role, RoleSessionName="night-job")
    arn = session_arn(shared_authority, "names-ana", "night-job")
    role_id = shared_authority.iam().get_role(RoleName="names-ana")["Role"]["RoleId"]
    assert given["AssumedRoleUser"] == {"AssumedRoleId": f"{role_id}:night-job", "Arn": arn}
    assert set(given) - {"ResponseMetadata"} == {"Credentials", "AssumedRoleUser"}
    assert set(given["Credentials"]) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert given["Credentials"]["AccessKeyId"].startswith("ASIA")

    session = Holder.of(shared_authority, given)
    identity = session.sts.get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (arn, f"{role_id}:night-job")
    assert identity["Account"] == account_of(shared_authority)
    session.iam.list_users()
    assert refusal(session.iam.list_roles)[2].startswith(
        f"User: {arn} is not authorized to perform: iam:ListRoles on resource: "
    )


def test_trust_in_the_account_delegates_to_the_users_own_policies(shared_authority: LivingAuthority) -> None:
    role = new_trusting_role(shared_authority, "trusts-account", trust(root(shared_authority)))
    may = new_holder(shared_authority, "delegated-ana", allow("sts:AssumeRole", role))
    may_not = new_holder(shared_authority, "delegated-bob", ANYTHING, deny("sts:AssumeRole", role))
    has_nothing = new_holder(shared_authority, "delegated-cy")
    assert may.assume(role).arn == session_arn(shared_authority, "trusts-account", "job")
    refused = refusal(has_nothing.sts.assume_role, RoleArn=role, RoleSessionName="job")
    assert refused == denied(shared_authority, "delegated-cy", role)
    refused = refusal(may_not.sts.assume_role, RoleArn=role, RoleSessionName="job")
    words = denied(shared_authority, "delegated-bob", role)[2]
    assert refused == ("AccessDenied", 403, f"{words} with an explicit deny in an identity-based policy")


def test_policies_alone_make_nobody_a_role_that_does_not_trust_them(
    shared_authority: LivingAuthority,
) -> None:
    role = new_trusting_role(
        shared_authority, "trusts-machines", trust({"Service": "ec2.amazonaws.com"}), MaxSessionDuration=43200
    )
    ana = new_holder(shared_authority, "almighty-ana", ANYTHING)
    for arn in (role, role.replace("trusts-machines", "never-was")):
        for seconds in (900, 43200):
            refused = refusal(
                ana.sts.assume_role, RoleArn=arn, RoleSessionName="job", DurationSeconds=seconds
            )
            assert refused == denied(shared_authority, "almighty-ana", arn)


def test_an_explicit_deny_in_the_trust_policy_is_told(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "denied-ana", ANYTHING)
    named = user(shared_authority, "denied-ana")
    role = new_trusting_role(
        shared_authority, "denies-ana", trust(root(shared_authority)), {**trust(named), "Effect": "Deny"}
    )
    words = denied(shared_authority, "denied-ana", role)[2]
    refused = refusal(ana.sts.assume_role, RoleArn=role, RoleSessionName="job")
    assert refused == ("AccessDenied", 403, f"{words} with an explicit deny in the role trust policy")


@pytest.mark.parametrize(
    "arn",
    [
        "nothing-valid-in-here",
        "arn::b:::something/test-role",
        "arn:a:a::aaaaaaaaaa:0123",
        "arn:aws:iam::123456789012:user/ana",
        "arn:aws:iam::12345:role/too-short",
        "arn:aws:iam::123456789012:role/new\nline",
    ],
)
def test_a_text_that_is_no_roles_arn_is_invalid(shared_authority: LivingAuthority, arn: str) -> None:
    refused = refusal(shared_authority.sts().assume_role, RoleArn=arn, RoleSessionName="job")
    assert refused == invalid(f"{arn} is invalid")


def test_a_role_of_another_account_or_path_is_not_this_one(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "path-ana")
    role = new_trusting_role(
        shared_authority, "at-a-path", trust(user(shared_authority, "path-ana")), Path="/deep/er/"
    )
    assert ana.assume(role).arn == session_arn(shared_authority, "at-a-path", "job")
    for arn in (role.replace("/deep/er/", "/"), role.replace(account_of(shared_authority), "1" * 12)):
        refused = refusal(ana.sts.assume_role, RoleArn=arn, RoleSessionName="job")
        assert refused == denied(shared_authority, "path-ana", arn)


def test_a_session_name_is_shown_where_it_is_wrong(shared_authority: LivingAuthority) -> None:
    role = f"arn:aws:iam::{account_of(shared_authority)}:role/any"
    refused = refusal(shared_authority.sts().assume_role, RoleArn=role, RoleSessionName="Session1:2")
    assert refused == invalid(
        "1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint:"
        r" Member must satisfy regular expression pattern: [\w+=,.@-]*"
    )


def test_an_external_id_keeps_the_confused_deputy_out(shared_authority: LivingAuthority) -> None:
    deputy = new_holder(shared_authority, "deputy", ANYTHING)
    role = new_trusting_role(
        shared_authority,
        "wants-external-id",
        trust(user(shared_authority, "deputy"), StringEquals={"sts:ExternalId": "customer-7"}),
    )
    for wrong in ({}, {"ExternalId": "customer-8"}):
        refused = refusal(deputy.sts.assume_role, RoleArn=role, RoleSessionName="job", **wrong)
        assert refused == denied(shared_authority, "deputy", role)
    deputy.assume(role, ExternalId="customer-7")


# What a session may be narrowed to


def test_session_policies_narrow_what_the_role_may(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "narrow-ana")
    role = new_trusting_role(
        shared_authority, "narrowed", trust(user(shared_authority, "narrow-ana")), may=(allow("iam:List*"),)
    )
    policy = shared_authority.iam().create_policy(
        PolicyName="narrow-groups", PolicyDocument=document(allow("iam:ListGroups"))
    )["Policy"]["Arn"]

    session = ana.assume(role, Policy=document(allow(["iam:ListUsers", "iam:CreateUser"])))
    session.iam.list_users()
    assert refusal(session.iam.list_roles)[2].endswith(
        "because no session policy allows the iam:ListRoles action"
    )
    assert refusal(session.iam.create_user, UserName="more-than-the-role")[2].endswith(
        "because no identity-based policy allows the iam:CreateUser action"
    )

    by_arn = ana.assume(role, PolicyArns=[{"arn": policy}])
    by_arn.iam.list_groups()
    assert refusal(by_arn.iam.list_users)[0] == "AccessDenied"

    both = ana.assume(role, PolicyArns=[{"arn": policy}], Policy=document(allow("iam:ListUsers")))
    both.iam.list_groups()
    both.iam.list_users()
    assert refusal(both.iam.list_roles)[0] == "AccessDenied"

    shared_authority.iam().delete_policy(PolicyArn=policy)
    assert refusal(by_arn.iam.list_groups)[0] == "AccessDenied"


def test_the_packed_size_is_told_only_where_something_was_packed(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "pack-ana")
    role = new_trusting_role(shared_authority, "packed", trust(user(shared_authority, "pack-ana")))
    assert "PackedPolicySize" not in ana.sts.assume_role(RoleArn=role, RoleSessionName="job")
    packed = ana.sts.assume_role(RoleArn=role, RoleSessionName="job", Policy=document(allow("iam:ListUsers")))
    assert 0 < packed["PackedPolicySize"] < 100


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": document({"Effect": "Allow", "Action": "iam:GetUser"})}, "MalformedPolicyDocument"),
        ({"Policy": document(allow("iam:GetUser", StringSeems={"aws:x": "1"}))}, "MalformedPolicyDocument"),
        ({"Policy": document(allow("iam:GetUser")) + " " * 2048}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}] * 11}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/NoSuchThing"}]}, "InvalidParameterValue"),
        ({"DurationSeconds": 43201}, "ValidationError"),
    ],
)
def test_a_session_that_cannot_be_is_refused(
    shared_authority: LivingAuthority, parameters: dict[str, Any], code: str
) -> None:
    iam = shared_authority.iam()
    name = "of-the-administrator"
    if name not in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
        new_trusting_role(shared_authority, name, trust(root(shared_authority)), MaxSessionDuration=43200)
    role = f"arn:aws:iam::{account_of(shared_authority)}:role/{name}"
    refused = refusal(shared_authority.sts().assume_role, RoleArn=role, RoleSessionName="job", **parameters)
    assert refused[:2] == (code, 400)


def test_too_much_to_pack_is_refused(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "much-ana")
    role = new_trusting_role(
        shared_authority,
        "packs-much",
        trust(user(shared_authority, "much-ana"), ["sts:AssumeRole", "sts:TagSession"]),
    )
    tags = [
        {"Key": f"key-{number}", "Value": sha512(bytes([number])).hexdigest() * 2} for number in range(50)
    ]
    refused = refusal(ana.sts.assume_role, RoleArn=role, RoleSessionName="job", Tags=tags)
    assert refused[:2] == ("PackedPolicyTooLarge", 400)
    assert refused[2].startswith("Packed size of session tags consumes ")


# Tags


def tag(key: str, value: str) -> dict[str, str]:
    return {"Key": key, "Value": value}


BOTH = ["sts:AssumeRole", "sts:TagSession"]


def test_session_tags_need_their_own_permission_and_stand_before_the_roles(
    shared_authority: LivingAuthority,
) -> None:
    ana = new_holder(shared_authority, "tag-ana")
    named = user(shared_authority, "tag-ana")
    may = (allow("iam:CreateGroup", "arn:aws:iam::*:group/${aws:PrincipalTag/team}-*"),)
    plain = new_trusting_role(shared_authority, "untaggable", trust(named))
    role = new_trusting_role(
        shared_authority, "taggable", trust(named, BOTH), may=may, Tags=[tag("Team", "role-default")]
    )
    refused = refusal(ana.sts.assume_role, RoleArn=plain, RoleSessionName="job", Tags=[tag("team", "x")])
    assert refused == denied(shared_authority, "tag-ana", plain, "sts:TagSession")

    ana.assume(role).iam.create_group(GroupName="role-default-1")
    red = ana.assume(role, Tags=[tag("TEAM", "red")])
    red.iam.create_group(GroupName="red-1")
    assert refusal(red.iam.create_group, GroupName="role-default-2")[0] == "AccessDenied"


def test_a_trust_policy_can_ask_for_certain_tags(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "asked-ana")
    role = new_trusting_role(
        shared_authority,
        "asks-for-tags",
        trust(
            user(shared_authority, "asked-ana"),
            BOTH,
            StringLike={"aws:RequestTag/cost": "cc-*"},
            **{"ForAllValues:StringEquals": {"aws:TagKeys": ["cost"]}},
        ),
    )
    ana.assume(role, Tags=[tag("cost", "cc-7")])
    for wrong in ([], [tag("cost", "dd-7")], [tag("cost", "cc-7"), tag("more", "x")]):
        assert (
            refusal(ana.sts.assume_role, RoleArn=role, RoleSessionName="job", Tags=wrong)[0] == "AccessDenied"
        )


def test_transitive_tags_go_along_a_chain_and_cannot_be_changed_there(
    shared_authority: LivingAuthority,
) -> None:
    ana = new_holder(shared_authority, "chain-ana")
    account = account_of(shared_authority)
    first = new_trusting_role(
        shared_authority, "chain-1", trust(user(shared_authority, "chain-ana"), BOTH), may=(allow("sts:*"),)
    )
    second = new_trusting_role(
        shared_authority,
        "chain-2",
        trust({"AWS": first}, BOTH),
        may=(allow("iam:CreateGroup", f"arn:aws:iam::{account}:group/${{aws:PrincipalTag/team}}"),),
    )
    without = new_trusting_role(shared_authority, "chain-3", trust({"AWS": first}))
    tags = [tag("team", "blue"), tag("passing", "by")]

    ends_here = ana.assume(first, Tags=tags)
    assert refusal(ends_here.assume(second).iam.create_group, GroupName="blue")[0] == "AccessDenied"
    ends_here.assume(without)

    goes_on = ana.assume(first, Tags=tags, TransitiveTagKeys=["Team"])
    goes_on.assume(second).iam.create_group(GroupName="blue")
    refused = refusal(
        goes_on.sts.assume_role, RoleArn=second, RoleSessionName="job", Tags=[tag("TEAM", "red")]
    )
    assert refused == (
        "InvalidParameterValue",
        400,
        (
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key"
            " from the calling session."
        ),
    )
    refused = refusal(goes_on.sts.assume_role, RoleArn=without, RoleSessionName="job")
    assert refused[2].startswith(f"User: {goes_on.arn} is not authorized to perform: sts:TagSession")


def test_a_trust_policy_can_ask_for_what_goes_on_the_sessions_name_and_its_source(
    shared_authority: LivingAuthority,
) -> None:
    name = "conditions-ana"
    ana = new_holder(shared_authority, name)
    wants_transitive = new_trusting_role(
        shared_authority,
        "wants-transitive",
        trust(
            user(shared_authority, name),
            BOTH,
            **{"ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": ["team"]}},
        ),
    )
    wants_own_name = new_trusting_role(
        shared_authority,
        "wants-own-name",
        trust(user(shared_authority, name), StringLike={"sts:RoleSessionName": "${aws:username}"}),
    )
    wants_source = new_trusting_role(
        shared_authority,
        "wants-source",
        trust(
            user(shared_authority, name),
            ["sts:AssumeRole", "sts:SetSourceIdentity"],
            StringEquals={"sts:SourceIdentity": name},
        ),
    )
    tags = {"Tags": [tag("team", "x"), tag("other", "y")]}
    good: list[dict[str, Any]] = [
        {"RoleArn": wants_transitive, "RoleSessionName": "job", "TransitiveTagKeys": ["team"], **tags},
        {"RoleArn": wants_own_name, "RoleSessionName": name},
        {"RoleArn": wants_source, "RoleSessionName": "job", "SourceIdentity": name},
    ]
    bad: list[dict[str, Any]] = [
        {"RoleArn": wants_transitive, "RoleSessionName": "job", "TransitiveTagKeys": ["other"], **tags},
        {"RoleArn": wants_transitive, "RoleSessionName": "job", **tags},
        {"RoleArn": wants_own_name, "RoleSessionName": "somebody-else"},
        {"RoleArn": wants_source, "RoleSessionName": "job", "SourceIdentity": "eve"},
        {"RoleArn": wants_source, "RoleSessionName": "job"},
    ]
    for asked in good:
        ana.sts.assume_role(**asked)
    for asked in bad:
        assert refusal(ana.sts.assume_role, **asked)[0] == "AccessDenied", asked


def test_the_keys_of_a_roles_session_are_its_own(shared_authority: LivingAuthority) -> None:
    """Who they are is the role, also for ARNs in conditions; there is no user's name and no second factor."""
    ana = new_holder(shared_authority, "keys-ana")
    role = new_trusting_role(shared_authority, "with-keys", trust(user(shared_authority, "keys-ana")))
    role_id = shared_authority.iam().get_role(RoleName="with-keys")["Role"]["RoleId"]
    session = ana.assume(role, "night")
    fits: list[dict[str, Any]] = [
        {"ArnEquals": {"aws:PrincipalArn": role}},
        {"StringEquals": {"aws:PrincipalType": "AssumedRole"}},
        {"StringEquals": {"aws:userid": f"{role_id}:night"}},
        {"Null": {"aws:username": "true"}},
        {"Bool": {"aws:MultiFactorAuthPresent": "false"}},
        {"Null": {"aws:MultiFactorAuthAge": "true"}},
        {"Null": {"aws:TokenIssueTime": "false"}},
        {"Null": {"aws:SourceIdentity": "true"}},
    ]
    for condition in fits:
        shared_authority.iam().put_role_policy(
            RoleName="with-keys",
            PolicyName="own",
            PolicyDocument=document(allow("iam:ListUsers", **condition)),
        )
        session.iam.list_users()
    shared_authority.iam().put_role_policy(
        RoleName="with-keys",
        PolicyName="own",
        PolicyDocument=document(allow("iam:ListUsers", StringLike={"aws:username": "*"})),
    )
    assert refusal(session.iam.list_users)[0] == "AccessDenied"


def test_tags_that_contradict_themselves_are_refused(shared_authority: LivingAuthority) -> None:
    role = f"arn:aws:iam::{account_of(shared_authority)}:role/any"
    sts = shared_authority.sts()
    refused = refusal(
        sts.assume_role, RoleArn=role, RoleSessionName="job", Tags=[tag("a", "1"), tag("A", "2")]
    )
    assert refused == (
        "InvalidParameterValue",
        400,
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    )
    refused = refusal(
        sts.assume_role, RoleArn=role, RoleSessionName="job", Tags=[tag("a", "1")], TransitiveTagKeys=["b"]
    )
    assert refused == (
        "InvalidParameterValue",
        400,
        "The specified transitive tag key must be included in the requested tags.",
    )


# Source identity and time


def test_a_source_identity_is_permitted_once_and_stays(authority: LivingAuthority) -> None:
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    with_identity = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    first = new_trusting_role(
        authority, "first", trust(user(authority, "ana"), with_identity), may=(allow("*"),)
    )
    second = new_trusting_role(
        authority,
        "second",
        trust({"AWS": first}, with_identity),
        may=(allow("iam:CreateGroup", StringEquals={"aws:SourceIdentity": "ana@example.org"}),),
    )
    plain = new_trusting_role(authority, "plain", trust(root(authority)))
    refused = refusal(
        ana.sts.assume_role, RoleArn=plain, RoleSessionName="job", SourceIdentity="ana@example.org"
    )
    assert refused == denied(authority, "ana", plain, "sts:SetSourceIdentity")

    given = ana.sts.assume_role(RoleArn=first, RoleSessionName="job", SourceIdentity="ana@example.org")
    assert given["SourceIdentity"] == "ana@example.org"
    session = Holder.of(authority, given)
    refused = refusal(session.sts.assume_role, RoleArn=second, RoleSessionName="job", SourceIdentity="eve")
    assert refused[0] == "AccessDenied"
    # A chain hands it on, so each role of the chain must permit it.
    assert refusal(session.sts.assume_role, RoleArn=plain, RoleSessionName="job")[2].startswith(
        f"User: {session.arn} is not authorized to perform: sts:SetSourceIdentity"
    )
    chained = session.assume(second)
    chained.iam.create_group(GroupName="made")

    def identities() -> list[Any]:
        with authority.opened.store.read() as reader:
            return [
                json.loads(row.record)["userIdentity"] for row in audit_trail.records_after(reader, 0, 99)
            ]

    shown = authority.call(identities)[-1]
    role = authority.iam().get_role(RoleName="second")["Role"]
    context = shown["sessionContext"]
    attributes = context.pop("attributes")
    assert attributes["mfaAuthenticated"] == "false"
    assert attributes["creationDate"].endswith("Z")
    assert shown == {
        "type": "AssumedRole",
        "principalId": f"{role['RoleId']}:job",
        "arn": session_arn(authority, "second", "job"),
        "accountId": account_of(authority),
        "accessKeyId": chained.key,
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": role["RoleId"],
                "arn": role["Arn"],
                "accountId": account_of(authority),
                "userName": "second",
            },
            "sourceIdentity": "ana@example.org",
        },
    }


def test_a_role_says_how_long_its_sessions_may_be_and_a_chain_lasts_an_hour(
    authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = new_holder(authority, "ana")
    long = new_trusting_role(
        authority,
        "long",
        trust({"AWS": [user(authority, "ana")["AWS"], root(authority)["AWS"]]}),
        may=(allow("sts:AssumeRole"),),
        MaxSessionDuration=7200,
    )
    too_long = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    refused = refusal(ana.sts.assume_role, RoleArn=long, RoleSessionName="job", DurationSeconds=7201)
    assert refused == invalid(too_long)
    two_hours = ana.assume(long, DurationSeconds=7200)
    an_hour = ana.assume(long)
    refused = refusal(two_hours.sts.assume_role, RoleArn=long, RoleSessionName="job", DurationSeconds=3601)
    assert refused == invalid(
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
    )
    two_hours.assume(long, DurationSeconds=3600)

    let_clients_follow(authority, monkeypatch)
    authority.clock.advance(seconds=3540)
    assert an_hour.arn == two_hours.arn
    authority.clock.advance(seconds=61)
    assert refusal(an_hour.sts.get_caller_identity) == (
        "ExpiredToken",
        403,
        "The security token included in the request is expired",
    )
    assert two_hours.arn == session_arn(authority, "long", "job")


# The second factor


@pytest.fixture
def at_a_step(authority: LivingAuthority) -> LivingAuthority:
    """At the beginning of a step, so that no test crosses into the next one by itself."""
    authority.clock.ahead_ms = 30_000 - authority.clock.now_ms() % 30_000
    return authority


def test_a_trust_policy_can_ask_for_a_second_factor(at_a_step: LivingAuthority) -> None:
    authority = at_a_step
    role = new_trusting_role(
        authority,
        "wants-mfa",
        trust(root(authority), Bool={"aws:MultiFactorAuthPresent": "true"}),
        may=(allow("iam:ListUsers"), allow("iam:ListGroups", Bool={"aws:MultiFactorAuthPresent": "true"})),
    )
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    device = Device(authority, "ana")
    asked = {"RoleArn": role, "RoleSessionName": "job"}
    assert refusal(ana.sts.assume_role, **asked) == denied(authority, "ana", role)
    refused = refusal(ana.sts.assume_role, **asked, SerialNumber=device.serial, TokenCode="000000")
    assert refused == (
        "AccessDenied",
        403,
        "MultiFactorAuthentication failed with invalid MFA one time pass code.",
    )
    for half in ({"SerialNumber": device.serial}, {"TokenCode": device.code()}):
        assert refusal(ana.sts.assume_role, **asked, **half)[2].startswith(
            "MultiFactorAuthentication failed, must provide both"
        )

    proof = device.proof
    session = ana.assume(role, **proof)
    session.iam.list_users()
    # The role's credentials do not carry the factor: only its trust policy looks at it.
    assert refusal(session.iam.list_groups)[0] == "AccessDenied"
    # Each code once.
    assert refusal(ana.sts.assume_role, **asked, **proof)[2].startswith("MultiFactorAuthentication failed")

    # A session that has proved the factor needs no second proof.
    assert session_of(ana, **device.proof).assume(role).arn == session_arn(authority, "wants-mfa", "job")
    assert refusal(session_of(ana).sts.assume_role, **asked)[0] == "AccessDenied"


def test_somebody_elses_device_proves_nothing(at_a_step: LivingAuthority) -> None:
    authority = at_a_step
    role = new_trusting_role(authority, "any", trust(root(authority)))
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    new_holder(authority, "bob")
    refused = refusal(
        ana.sts.assume_role, RoleArn=role, RoleSessionName="job", **Device(authority, "bob").proof
    )
    assert refused[2].startswith("MultiFactorAuthentication failed, unable to validate MFA code.")


def test_a_code_is_used_up_even_where_the_role_then_refuses(at_a_step: LivingAuthority) -> None:
    authority = at_a_step
    trusting = new_trusting_role(authority, "trusting", trust(root(authority)))
    refusing = new_trusting_role(authority, "refusing", trust({"Service": "ec2.amazonaws.com"}))
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    device = Device(authority, "ana")
    proof: dict[str, Any] = device.proof
    refused = refusal(ana.sts.assume_role, RoleArn=refusing, RoleSessionName="job", **proof)
    assert refused == denied(authority, "ana", refusing)
    refused = refusal(ana.sts.assume_role, RoleArn=trusting, RoleSessionName="job", **proof)
    assert refused[2].startswith("MultiFactorAuthentication failed with invalid MFA")


def test_codes_cannot_be_guessed(at_a_step: LivingAuthority) -> None:
    authority = at_a_step
    role = new_trusting_role(authority, "any", trust(root(authority)))
    ana = new_holder(authority, "ana", allow("sts:AssumeRole"))
    device = Device(authority, "ana")
    wrong = f"{(int(device.code()) + 500_000) % 1_000_000:06}"
    sts = ana.sts
    for call in (
        sts.get_session_token,
        lambda **proof: sts.assume_role(RoleArn=role, RoleSessionName="job", **proof),
    ):
        for _ in range(5):
            assert refusal(call, SerialNumber=device.serial, TokenCode=wrong)[0] == "AccessDenied"
    refused = refusal(sts.get_session_token, **device.proof)
    assert refused[2].startswith("Too many wrong codes for this MFA device.")


# Roles that assume roles


def test_a_role_becomes_another_only_if_that_one_trusts_it(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "hop-ana")
    first = new_trusting_role(
        shared_authority, "hop-1", trust(user(shared_authority, "hop-ana")), may=(allow("sts:AssumeRole"),)
    )
    second = new_trusting_role(shared_authority, "hop-2", trust({"AWS": first}))
    other = new_trusting_role(shared_authority, "hop-other", trust(user(shared_authority, "hop-ana")))
    session = ana.assume(first)
    assert session.assume(second).arn == session_arn(shared_authority, "hop-2", "job")
    assert refusal(session.sts.assume_role, RoleArn=other, RoleSessionName="job")[0] == "AccessDenied"
    assert refusal(session.sts.assume_role, RoleArn=first, RoleSessionName="job")[0] == "AccessDenied"
    assert refusal(ana.sts.assume_role, RoleArn=second, RoleSessionName="job")[0] == "AccessDenied"


def test_tags_can_be_passed_from_a_session_of_get_session_token(shared_authority: LivingAuthority) -> None:
    ana = new_holder(shared_authority, "later-ana")
    role = new_trusting_role(
        shared_authority, "tagged-later", trust(user(shared_authority, "later-ana"), BOTH)
    )
    session_of(ana).assume(role, Tags=[tag("team", "red")])


def test_a_token_can_be_asked_to_be_as_large_as_they_may_become(shared_authority: LivingAuthority) -> None:
    size: dict[str, Any] = {"MinimumSessionTokenSize": 4096}
    given = shared_authority.sts().get_session_token(**size)
    assert 4096 <= len(given["Credentials"]["SessionToken"]) < 4200
    assert Holder.of(shared_authority, given).arn.endswith(":user/administrator")
