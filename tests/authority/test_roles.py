"""Roles on the wire: what each answer shows, what is refused and how, and their policies and tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from authority.role_calls import (
    ADMINISTRATOR_ACCESS,
    ALLOWED,
    ALLOWED_TEXT,
    TRUST,
    TRUST_TEXT,
    account_of,
    answer,
    missing,
    new_policy,
    new_role,
    no_role,
    refusal,
    too_many_tags,
)
from keyturn.authority.open_trust import OPEN_TO_ALL, fault_of_open_trust, fault_of_shared_provider
from living_authority import LivingAuthority

SIX_MEMBERS = {"Path", "RoleName", "RoleId", "Arn", "CreateDate", "AssumeRolePolicyDocument"}


def test_each_answer_shows_of_a_role_exactly_what_awss_shows(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    created = new_role(shared_authority, "shown", Path="/shown/", Description="who shows what")
    assert set(created) == SIX_MEMBERS
    assert created["Arn"] == f"arn:aws:iam::{account_of(shared_authority)}:role/shown/shown"
    assert created["RoleId"].startswith("AROA")
    assert len(created["RoleId"]) == 21
    assert created["AssumeRolePolicyDocument"] == TRUST

    listed = created | {"Description": "who shows what", "MaxSessionDuration": 3600}
    assert iam.get_role(RoleName="SHOWN")["Role"] == listed | {"RoleLastUsed": {}}
    assert answer(iam.list_roles(PathPrefix="/shown/")) == {"Roles": [listed], "IsTruncated": False}
    assert iam.update_role_description(RoleName="shown", Description="new")["Role"] == created | {
        "Description": "new"
    }


def test_tags_of_a_role_are_shown_by_create_and_get_and_not_by_list(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    tags = [{"Key": "empty", "Value": ""}, {"Key": "Team", "Value": "ops"}]
    created = new_role(shared_authority, "tagged", Path="/tagged/", Tags=tags)
    assert created["Tags"] == tags
    assert iam.get_role(RoleName="tagged")["Role"]["Tags"] == tags
    assert "Tags" not in iam.list_roles(PathPrefix="/tagged/")["Roles"][0]
    assert answer(iam.list_role_tags(RoleName="tagged")) == {"Tags": tags, "IsTruncated": False}

    iam.tag_role(RoleName="tagged", Tags=[{"Key": "TEAM", "Value": "dev"}])
    iam.untag_role(RoleName="tagged", TagKeys=["EMPTY", "never-there"])
    assert iam.list_role_tags(RoleName="tagged")["Tags"] == [{"Key": "TEAM", "Value": "dev"}]
    iam.untag_role(RoleName="tagged", TagKeys=["team"])
    assert answer(iam.list_role_tags(RoleName="tagged")) == {"Tags": [], "IsTruncated": False}
    assert "Tags" not in iam.get_role(RoleName="tagged")["Role"]


def test_a_role_has_at_most_fifty_tags_and_no_key_twice(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    too_many = (
        "ValidationError",
        400,
        (
            "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length"
            " less than or equal to 50"
        ),
    )
    twice = [{"Key": "key", "Value": "1"}, {"Key": "KEY", "Value": "2"}]
    duplicate = (
        "InvalidInput",
        400,
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    )
    full = ("LimitExceeded", 409, "The number of tags has reached the maximum limit.")
    trust = {"AssumeRolePolicyDocument": TRUST_TEXT}
    assert refusal(iam.create_role, RoleName="many", **trust, Tags=too_many_tags()) == too_many
    assert refusal(iam.create_role, RoleName="many", **trust, Tags=twice) == duplicate
    new_role(shared_authority, "many", Tags=too_many_tags(50))
    assert refusal(iam.tag_role, RoleName="many", Tags=twice) == duplicate
    assert refusal(iam.tag_role, RoleName="many", Tags=[{"Key": "one-more", "Value": ""}]) == full


def test_a_roles_name_is_taken_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    new_role(shared_authority, "Taken")
    refused = refusal(
        shared_authority.iam().create_role, RoleName="taken", AssumeRolePolicyDocument=TRUST_TEXT
    )
    assert refused == ("EntityAlreadyExists", 409, "Role with name taken already exists.")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_role", {}),
        ("update_role", {"Description": "new"}),
        ("update_role_description", {"Description": "new"}),
        ("update_assume_role_policy", {"PolicyDocument": TRUST_TEXT}),
        ("delete_role", {}),
        ("tag_role", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("untag_role", {"TagKeys": ["a"]}),
        ("list_role_tags", {}),
        ("put_role_permissions_boundary", {"PermissionsBoundary": ADMINISTRATOR_ACCESS}),
        ("delete_role_permissions_boundary", {}),
        ("put_role_policy", {"PolicyName": "p", "PolicyDocument": ALLOWED_TEXT}),
        ("get_role_policy", {"PolicyName": "p"}),
        ("delete_role_policy", {"PolicyName": "p"}),
        ("list_role_policies", {}),
        ("attach_role_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
        ("detach_role_policy", {"PolicyArn": ADMINISTRATOR_ACCESS}),
        ("list_attached_role_policies", {}),
        ("list_instance_profiles_for_role", {}),
    ],
)
def test_an_unknown_role_is_named_in_the_refusal(
    shared_authority: LivingAuthority, operation: str, parameters: dict[str, Any]
) -> None:
    act = getattr(shared_authority.iam(), operation)
    assert refusal(act, RoleName="nobody", **parameters) == no_role("nobody")


def test_an_update_changes_only_what_it_names(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "updated", Description="first", MaxSessionDuration=7200)

    def shown() -> tuple[str | None, int]:
        role = iam.get_role(RoleName="updated")["Role"]
        return role.get("Description"), role["MaxSessionDuration"]

    assert shown() == ("first", 7200)
    assert answer(iam.update_role(RoleName="updated")) == {}
    assert shown() == ("first", 7200)
    iam.update_role(RoleName="updated", Description="second")
    assert shown() == ("second", 7200)
    iam.update_role(RoleName="updated", MaxSessionDuration=43200)
    assert shown() == ("second", 43200)
    iam.update_role(RoleName="updated", Description="")
    assert shown() == (None, 43200)


def test_a_session_lasts_between_one_hour_and_twelve(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "lasting")
    said = "1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: Member must have"
    long = refusal(iam.update_role, RoleName="lasting", MaxSessionDuration=43201)
    assert long == ("ValidationError", 400, f"{said} value less than or equal to 43200")


def test_roles_are_listed_in_pages_in_the_order_of_their_names(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    for name in ("b", "C", "a"):
        new_role(shared_authority, f"paged-{name}", Path="/paged/")
    first = iam.list_roles(PathPrefix="/paged/", MaxItems=2)
    assert first["IsTruncated"] is True
    second = iam.list_roles(PathPrefix="/paged/", MaxItems=2, Marker=first["Marker"])
    assert second["IsTruncated"] is False
    names = [role["RoleName"] for role in [*first["Roles"], *second["Roles"]]]
    assert names == ["paged-a", "paged-b", "paged-C"]
    assert answer(iam.list_roles(PathPrefix="/nowhere/")) == {"Roles": [], "IsTruncated": False}


def test_a_role_with_policies_or_an_instance_profile_is_not_deleted(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "held")
    iam.create_instance_profile(InstanceProfileName="holder")

    def said(what: str) -> tuple[str, int, str]:
        return "DeleteConflict", 409, f"Cannot delete entity, must {what} first."

    iam.put_role_policy(RoleName="held", PolicyName="own", PolicyDocument=ALLOWED_TEXT)
    assert refusal(iam.delete_role, RoleName="held") == said("delete policies")
    iam.attach_role_policy(RoleName="held", PolicyArn=ADMINISTRATOR_ACCESS)
    assert refusal(iam.delete_role, RoleName="held") == said("detach all policies")
    iam.add_role_to_instance_profile(InstanceProfileName="holder", RoleName="held")
    assert refusal(iam.delete_role, RoleName="held") == said("remove roles from instance profile")

    iam.remove_role_from_instance_profile(InstanceProfileName="holder", RoleName="held")
    iam.detach_role_policy(RoleName="held", PolicyArn=ADMINISTRATOR_ACCESS)
    iam.delete_role_policy(RoleName="held", PolicyName="own")
    iam.delete_role(RoleName="held")
    assert refusal(iam.get_role, RoleName="held") == no_role("held")


# Trust policies


def test_a_new_trust_policy_takes_the_old_ones_place(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "trusting")
    other = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{account_of(shared_authority)}:root"},
                "Action": ["sts:AssumeRole"],
                "Condition": {"StringEquals": {"sts:ExternalId": "ä <&> 100%"}},
            }
        ],
    }
    answered = iam.update_assume_role_policy(RoleName="trusting", PolicyDocument=json.dumps(other))
    assert answer(answered) == {}
    assert iam.get_role(RoleName="trusting")["Role"]["AssumeRolePolicyDocument"] == other


@pytest.mark.parametrize("text", ["not valid json", "[]", '"text"', '{"Version": "2012-10-17"', "[" * 2000])
def test_a_trust_policy_that_is_no_json_object_is_refused(
    shared_authority: LivingAuthority, text: str
) -> None:
    iam = shared_authority.iam()
    refused = refusal(iam.create_role, RoleName="malformed", AssumeRolePolicyDocument=text)
    assert refused == ("MalformedPolicyDocument", 400, "This policy contains invalid Json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Action": "sts:InvalidAction"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Action": "iam:CreateUser"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Resource": "arn:aws:s3:::example_bucket"}, "Has prohibited field Resource"),
    ],
)
def test_a_trust_policy_that_says_what_none_may_is_refused_in_awss_words(
    shared_authority: LivingAuthority, changes: dict[str, str], message: str
) -> None:
    iam = shared_authority.iam()
    text = json.dumps({**TRUST, "Statement": [TRUST["Statement"][0] | changes]})
    refused = refusal(iam.create_role, RoleName="mistaken", AssumeRolePolicyDocument=text)
    assert refused == ("MalformedPolicyDocument", 400, message)


def test_a_trust_policy_over_2048_characters_is_refused_and_white_space_does_not_count(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "sized")
    spare = 2048 - len("".join(TRUST_TEXT.split()))

    def padded(length: int) -> str:
        statement = TRUST["Statement"][0] | {"Sid": "s" * (length - len('"Sid":"",'))}
        return json.dumps({**TRUST, "Statement": [statement]}, indent=8)

    iam.update_assume_role_policy(RoleName="sized", PolicyDocument=padded(spare))
    refused = refusal(iam.update_assume_role_policy, RoleName="sized", PolicyDocument=padded(spare + 1))
    assert refused == ("LimitExceeded", 409, "Cannot exceed quota for ACLSizePerRole: 2048")


GITHUB = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
SUBJECT = "token.actions.githubusercontent.com:sub"


def github_trust(condition: object = None, **changes: object) -> dict[str, Any]:
    statement: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"Federated": GITHUB},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }
    if condition is not None:
        statement["Condition"] = condition
    return {"Version": "2012-10-17", "Statement": [statement | changes]}


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {SUBJECT: "repo:octo-org/app:ref:refs/heads/main"}},
        {"StringLike": {SUBJECT: "repo:octo-org/*"}},
        {"StringLike": {SUBJECT: ["repo:octo-org/app:*", "repo:octo-*"]}},
        {"stringlike": {SUBJECT.upper(): "repo:octo-org/app:*"}},
        {"StringEqualsIgnoreCase": {SUBJECT: "repo:Octo-Org/app:environment:prod"}},
        {"ForAnyValue:StringLike": {SUBJECT: ["repo:octo-org/app:*"]}},
        {"StringLike": {SUBJECT: "repository_owner:octo-org:*"}},
        {"StringEquals": {"token.actions.githubusercontent.com:aud": "x", SUBJECT: "repo:a/b:c"}},
    ],
)
def test_a_github_trust_that_names_whose_workflows_may_come_is_taken(condition: object) -> None:
    assert fault_of_shared_provider(github_trust(condition)) is None


@pytest.mark.parametrize(
    "condition",
    [
        None,
        {},
        {"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}},
        {"StringLike": {SUBJECT: "*"}},
        {"StringLike": {SUBJECT: ["repo:octo-org/app:*", "*"]}},
        {"StringLike": {SUBJECT: []}},
        {"StringLike": {SUBJECT: "?*"}},
        {"StringLike": {SUBJECT: "repo:*"}},
        {"StringLike": {SUBJECT: "repo:*/app:*"}},
        {"StringLike": {SUBJECT: "*:ref:refs/heads/main"}},
        {"StringLike": {SUBJECT: "re?o:octo-org/app:*"}},
        {"StringLike": {SUBJECT: "repo:${token.actions.githubusercontent.com:repository}:*"}},
        {"StringNotLike": {SUBJECT: "repo:octo-org/*"}},
        {"StringLikeIfExists": {SUBJECT: "repo:octo-org/*"}},
        {"ForAllValues:StringLike": {SUBJECT: "repo:octo-org/*"}},
        {"Null": {SUBJECT: "false"}},
        {"StringLike": {"accounts.google.com:sub": "repo:octo-org/*"}},
        {"StringLike": "repo:octo-org/*"},
        "StringLike",
    ],
)
def test_a_github_trust_that_any_repository_could_use_is_refused(condition: object) -> None:
    assert fault_of_shared_provider(github_trust(condition)) == (
        f"Trust policy with trusted principal {GITHUB} must evaluate, using StringEquals, StringLike or"
        f" StringEqualsIgnoreCase, {SUBJECT} which is not scoped to all."
        ' For example "repo:ORGANIZATION/REPOSITORY:*".'
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"Action": ["sts:TagSession", "sts:assumerolewithwebidentity"]},
        {"Action": "sts:*"},
        {"Action": "sts:AssumeRoleWith*"},
        {"Action": "*"},
        {"Action": ["no action", "sts:AssumeRoleWithWebIdentity"]},
        {"Principal": {"Federated": ["accounts.google.com", GITHUB]}},
        {"Principal": {"Federated": GITHUB.upper().replace("ARN:AWS:IAM", "arn:aws:iam")}},
        {"Principal": {"Federated": GITHUB + "/octo-enterprise"}},
        {"Principal": {"Federated": "*"}},
        {"Principal": "*"},
        {"Principal": {"AWS": ["*"]}},
    ],
)
def test_a_github_trust_is_seen_however_it_is_written(changes: dict[str, object]) -> None:
    assert fault_of_shared_provider(github_trust(**changes))
    alone = github_trust(**changes)["Statement"][0]
    assert fault_of_shared_provider({"Version": "2012-10-17", "Statement": alone})


@pytest.mark.parametrize(
    "changes",
    [
        {"Effect": "Deny"},
        {"Action": "sts:AssumeRole"},
        {"Action": "sts:AssumeRole", "Principal": "*"},
        {"Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/issuer.example"}},
        {"Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/issuer.example/" + SUBJECT}},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
    ],
)
def test_other_trust_needs_no_subject(changes: dict[str, object]) -> None:
    assert fault_of_shared_provider(github_trust(**changes)) is None


@pytest.mark.parametrize(
    ("provider", "claim", "good", "wide"),
    [
        ("gitlab.com", "sub", "project_path:acme/shop:*", "project_path:*"),
        ("app.terraform.io", "sub", "organization:acme:*", "organization:*"),
        ("agent.buildkite.com", "sub", "organization:acme:pipeline:*", "*"),
        ("oidc.vercel.com", "aud", "https://vercel.com/acme", "*"),
        ("api.pulumi.com/oidc", "aud", "aws:acme", "*"),
        ("studio.datachain.ai/api", "sub", "credentials:acme/*", "credentials:*"),
    ],
)
def test_other_shared_providers_are_asked_for_the_claim_that_tells_their_customers_apart(
    provider: str, claim: str, good: str, wide: str
) -> None:
    trusted = {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{provider}"}
    assert fault_of_shared_provider(github_trust(Principal=trusted)) == (
        f"Trust policy with trusted principal {trusted['Federated']} must evaluate, using StringEquals, StringLike or"
        f" StringEqualsIgnoreCase, {provider}:{claim} which is not scoped to all."
    )
    assert fault_of_shared_provider(
        github_trust({"StringLike": {f"{provider}:{claim}": wide}}, Principal=trusted)
    )
    named = {"StringLike": {f"{provider}:{claim}": good}}
    assert fault_of_shared_provider(github_trust(named, Principal=trusted)) is None
    other = github_trust(named, Principal={"Federated": [trusted["Federated"], GITHUB]})
    assert SUBJECT in str(fault_of_shared_provider(other)), "each is asked for its own"


@pytest.mark.parametrize("principal", ["*", ["*"], {"AWS": "*"}, {"AWS": ["123456789012", "*"]}])
@pytest.mark.parametrize("action", ["sts:AssumeRole", "sts:*", ["sts:TagSession", "sts:assume*"]])
def test_a_trust_in_everybody_is_refused_unless_it_says_on_which_condition(
    principal: Any, action: Any
) -> None:
    open_trust = github_trust(Principal=principal, Action=action)
    assert fault_of_open_trust(open_trust) == OPEN_TO_ALL
    assert fault_of_open_trust(open_trust | {"Statement": open_trust["Statement"][0] | {"Condition": {}}})
    narrowed = {"StringEquals": {"aws:PrincipalTag/Team": "red"}}
    assert fault_of_open_trust(github_trust(narrowed, Principal=principal, Action=action)) is None
    assert fault_of_open_trust(github_trust(Principal=principal, Action=action, Effect="Deny")) is None


def test_a_role_that_is_open_to_the_world_is_not_made(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    document = json.dumps(github_trust(Principal={"AWS": "*"}, Action="sts:AssumeRole"))
    refused = refusal(iam.create_role, RoleName="open", AssumeRolePolicyDocument=document)
    assert refused == ("MalformedPolicyDocument", 400, OPEN_TO_ALL)


@pytest.mark.parametrize("statement", [None, [], "text", [1, "text", None], {}, [{"Effect": "Allow"}]])
def test_a_document_that_is_no_trust_policy_is_left_to_others(statement: Any) -> None:
    assert fault_of_shared_provider({"Version": "2012-10-17", "Statement": statement}) is None


def test_an_enterprises_own_issuer_is_asked_for_by_its_own_name() -> None:
    trust = github_trust(Principal={"Federated": GITHUB + "/octo-enterprise"})
    fault = fault_of_shared_provider(trust)
    assert fault is not None
    assert "token.actions.githubusercontent.com/octo-enterprise:sub" in fault
    trust["Statement"][0]["Condition"] = {
        "StringLike": {"token.actions.githubusercontent.com/octo-enterprise:sub": "repo:octo-org/app:*"}
    }
    assert fault_of_shared_provider(trust) is None


def test_a_github_trust_without_a_subject_is_refused_on_the_wire(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    trust = json.dumps(github_trust())
    code, status, message = refusal(iam.create_role, RoleName="github", AssumeRolePolicyDocument=trust)
    assert (code, status) == ("MalformedPolicyDocument", 400)
    assert f"{SUBJECT} which is not scoped to all." in message
    new_role(shared_authority, "github")
    refused = refusal(iam.update_assume_role_policy, RoleName="github", PolicyDocument=trust)
    assert refused == (code, status, message)
    assert iam.get_role(RoleName="github")["Role"]["AssumeRolePolicyDocument"] == TRUST


# Policies of roles


def test_a_role_has_inline_policies_like_a_user(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "Inline")
    for name in ("second", "first"):
        iam.put_role_policy(RoleName="inline", PolicyName=name, PolicyDocument=ALLOWED_TEXT)
    assert answer(iam.get_role_policy(RoleName="inline", PolicyName="first")) == {
        "RoleName": "Inline",
        "PolicyName": "first",
        "PolicyDocument": ALLOWED,
    }
    listed = iam.list_role_policies(RoleName="Inline")
    assert answer(listed) == {"PolicyNames": ["first", "second"], "IsTruncated": False}
    iam.delete_role_policy(RoleName="Inline", PolicyName="first")
    gone = missing("The role policy with name first cannot be found.")
    assert refusal(iam.get_role_policy, RoleName="Inline", PolicyName="first") == gone
    assert refusal(iam.delete_role_policy, RoleName="Inline", PolicyName="first") == gone
    malformed = refusal(iam.put_role_policy, RoleName="Inline", PolicyName="bad", PolicyDocument="{}")
    assert malformed[:2] == ("MalformedPolicyDocument", 400)


def test_inline_policies_of_a_role_have_10240_characters_together(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "roomy")

    def of_size(size: int) -> str:
        statement = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::"}
        empty = json.dumps({"Version": "2012-10-17", "Statement": statement}, separators=(",", ":"))
        return empty.replace("arn:aws:s3:::", "arn:aws:s3:::" + "b" * (size - len(empty)))

    iam.put_role_policy(RoleName="roomy", PolicyName="a", PolicyDocument=of_size(10_000))
    iam.put_role_policy(RoleName="roomy", PolicyName="b", PolicyDocument=of_size(240))
    refused = refusal(iam.put_role_policy, RoleName="roomy", PolicyName="b", PolicyDocument=of_size(241))
    assert refused == ("LimitExceeded", 409, "Maximum policy size of 10240 bytes exceeded for role roomy")


def test_managed_policies_are_attached_to_a_role_and_count(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    role = new_role(shared_authority, "attached", Path="/some/")
    arn = new_policy(shared_authority, "attached-policy")
    iam.attach_role_policy(RoleName="attached", PolicyArn=arn)
    iam.attach_role_policy(RoleName="attached", PolicyArn=arn)
    assert answer(iam.list_attached_role_policies(RoleName="attached")) == {
        "AttachedPolicies": [{"PolicyName": "attached-policy", "PolicyArn": arn}],
        "IsTruncated": False,
    }
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    held = {"RoleName": "attached", "RoleId": role["RoleId"]}
    entities = answer(iam.list_entities_for_policy(PolicyArn=arn))
    assert entities == {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": [held], "IsTruncated": False}
    of_roles = iam.list_entities_for_policy(PolicyArn=arn, EntityFilter="Role", PathPrefix="/some/")
    assert of_roles["PolicyRoles"] == [held]
    assert not iam.list_entities_for_policy(PolicyArn=arn, EntityFilter="User")["PolicyRoles"]
    assert not iam.list_entities_for_policy(PolicyArn=arn, PathPrefix="/other/")["PolicyRoles"]

    in_use = ("DeleteConflict", 409, "Cannot delete a policy attached to entities.")
    assert refusal(iam.delete_policy, PolicyArn=arn) == in_use
    iam.detach_role_policy(RoleName="attached", PolicyArn=arn)
    not_there = missing(f"Policy {arn} was not found.")
    assert refusal(iam.detach_role_policy, RoleName="attached", PolicyArn=arn) == not_there
    iam.delete_policy(PolicyArn=arn)
    unknown = missing(f"Policy {arn} does not exist or is not attachable.")
    assert refusal(iam.attach_role_policy, RoleName="attached", PolicyArn=arn) == unknown


def test_ten_managed_policies_fit_a_role(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_role(shared_authority, "crowded")
    for number in range(10):
        arn = new_policy(shared_authority, f"crowd-{number}")
        iam.attach_role_policy(RoleName="crowded", PolicyArn=arn)
    refused = refusal(iam.attach_role_policy, RoleName="crowded", PolicyArn=ADMINISTRATOR_ACCESS)
    assert refused == ("LimitExceeded", 409, "Cannot exceed quota for PoliciesPerRole: 10")


def test_the_account_summary_counts_roles_profiles_and_providers(authority: LivingAuthority) -> None:
    iam = authority.iam()
    new_role(authority, "one")
    new_role(authority, "two")
    iam.create_instance_profile(InstanceProfileName="one")
    iam.create_open_id_connect_provider(Url="https://issuer.example")
    summary: Mapping[str, int] = dict(iam.get_account_summary()["SummaryMap"].items())
    assert {name: summary[name] for name in ("Roles", "InstanceProfiles", "Providers")} == {
        "Roles": 2,
        "InstanceProfiles": 1,
        "Providers": 1,
    }
    quotas = {
        "AssumeRolePolicySizeQuota": 2048,
        "AttachedPoliciesPerRoleQuota": 10,
        "InstanceProfilesQuota": 1000,
        "RolePolicySizeQuota": 10240,
        "RolesQuota": 1000,
    }
    assert {name: summary[name] for name in quotas} == quotas


def test_a_denial_names_what_was_asked_for_as_aws_does(shared_authority: LivingAuthority) -> None:
    iam: Any = shared_authority.iam(*shared_authority.new_user_with_key("nobody-special"))
    new_role(shared_authority, "Secret", Path="/hidden/")
    shared_authority.iam().create_instance_profile(InstanceProfileName="Kept")
    account = account_of(shared_authority)
    provider = f"arn:aws:iam::{account}:oidc-provider/issuer.example"
    asked = {
        "role Secret": (iam.get_role, {"RoleName": "secret"}),
        "role unknown": (iam.delete_role, {"RoleName": "unknown"}),
        f"arn:aws:iam::{account}:role/some/new": (
            iam.create_role,
            {"RoleName": "new", "Path": "/some/", "AssumeRolePolicyDocument": "not even JSON"},
        ),
        f"arn:aws:iam::{account}:role/": (iam.list_roles, {}),
        "instance profile Kept": (iam.get_instance_profile, {"InstanceProfileName": "kept"}),
        f"arn:aws:iam::{account}:instance-profile/": (iam.list_instance_profiles, {}),
        provider: (iam.get_open_id_connect_provider, {"OpenIDConnectProviderArn": provider}),
    }
    for resource, (act, parameters) in asked.items():
        code, status, message = refusal(act, **parameters)
        assert (code, status) == ("AccessDenied", 403)
        assert f" on resource: {resource} because " in message


def test_permission_on_a_role_reaches_it_by_path_and_tag(shared_authority: LivingAuthority) -> None:
    iam: Any = shared_authority.iam(*shared_authority.new_user_with_key("reaching"))
    statements = [
        {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "arn:aws:iam::*:role/reached/*"},
        {
            "Effect": "Allow",
            "Action": "iam:UpdateRole",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/team": "ops"}},
        },
    ]
    shared_authority.iam().put_user_policy(
        UserName="reaching",
        PolicyName="own",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )
    new_role(shared_authority, "by-path", Path="/reached/")
    new_role(shared_authority, "by-tag", Tags=[{"Key": "Team", "Value": "ops"}])
    assert iam.get_role(RoleName="by-path")["Role"]["Path"] == "/reached/"
    assert refusal(iam.get_role, RoleName="by-tag")[0] == "AccessDenied"
    iam.update_role(RoleName="by-tag", Description="mine")
    assert refusal(iam.update_role, RoleName="by-path", Description="mine")[0] == "AccessDenied"
