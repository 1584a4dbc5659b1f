"""Policies: inline ones, managed ones with their versions and tags, and what they are attached to."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus
from zlib import crc32

import pytest

from authority.calls import (
    ADMINISTRATOR_ACCESS,
    ALLOW_LIST_USERS,
    IAM_FULL_ACCESS,
    Refused,
    account,
    document,
    form,
    members,
    must,
    no_such_entity,
    refused,
    send_signed,
    statement,
    validation_error,
)
from keyturn.policy.managed import MANAGED_POLICIES
from living_authority import LivingAuthority

MEMBERS = {
    "PolicyName",
    "PolicyId",
    "Arn",
    "Path",
    "DefaultVersionId",
    "AttachmentCount",
    "PermissionsBoundaryUsageCount",
    "IsAttachable",
    "CreateDate",
    "UpdateDate",
}
VERSION_PATTERN = r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?"


def new_policy(authority: LivingAuthority, name: str, **parameters: Any) -> str:
    """The ARN of a new managed policy."""
    policy = authority.iam().create_policy(PolicyName=name, PolicyDocument=ALLOW_LIST_USERS, **parameters)
    return policy["Policy"]["Arn"]


def missing_arn(authority: LivingAuthority) -> str:
    return f"arn:aws:iam::{account(authority)}:policy/missing"


def not_found(arn: str) -> Refused:
    return no_such_entity(f"Policy {arn} was not found.")


def not_attachable(arn: str) -> Refused:
    return no_such_entity(f"Policy {arn} does not exist or is not attachable.")


def no_version(arn: str, version_id: str) -> Refused:
    return no_such_entity(f"Policy {arn} version {version_id} does not exist or is not attachable.")


def delete_conflict(text: str) -> Refused:
    return Refused("DeleteConflict", 409, text)


# Inline policies


@pytest.mark.parametrize("kind", ["user", "group"])
def test_an_inline_policy_is_put_read_listed_replaced_and_deleted(
    shared_authority: LivingAuthority, kind: str
) -> None:
    iam: Any = shared_authority.iam()
    word = kind.capitalize()
    owner = {f"{word}Name": f"inline-{kind}"}
    getattr(iam, f"create_{kind}")(**owner)
    put, get = getattr(iam, f"put_{kind}_policy"), getattr(iam, f"get_{kind}_policy")
    listed, delete = getattr(iam, f"list_{kind}_policies"), getattr(iam, f"delete_{kind}_policy")

    assert members(listed(**owner)) == {"PolicyNames": [], "IsTruncated": False}
    missing = no_such_entity(f"The {kind} policy with name first cannot be found.")
    assert refused(get, PolicyName="first", **owner) == missing
    assert refused(delete, PolicyName="first", **owner) == missing

    assert members(put(PolicyName="first", PolicyDocument=ALLOW_LIST_USERS, **owner)) == {}
    assert members(get(PolicyName="first", **owner)) == {
        **owner,
        "PolicyName": "first",
        "PolicyDocument": json.loads(ALLOW_LIST_USERS),
    }
    other = document(statement("Deny", "s3:*"))
    put(PolicyName="first", PolicyDocument=other, **owner)
    assert get(PolicyName="first", **owner)["PolicyDocument"] == json.loads(other)

    put(PolicyName="second", PolicyDocument=ALLOW_LIST_USERS, **owner)
    page = members(listed(MaxItems=1, **owner))
    assert (page["PolicyNames"], page["IsTruncated"]) == (["first"], True)
    rest = members(listed(Marker=page["Marker"], **owner))
    assert rest == {"PolicyNames": ["second"], "IsTruncated": False}

    assert members(delete(PolicyName="first", **owner)) == {}
    assert listed(**owner)["PolicyNames"] == ["second"]


def test_a_document_comes_back_percent_encoded_and_character_for_character(
    shared_authority: LivingAuthority,
) -> None:
    target = quote_plus("arn:aws:apigateway:us-east-1::/restapis/aaeeieije")
    text = "{ " + document(
        statement("Allow", "apigateway:PUT", f"arn:aws:apigateway:us-east-1::/tags/{target}", Sid="a1")
    ).removeprefix("{")
    shared_authority.iam().create_user(UserName="encoded")
    shared_authority.iam().put_user_policy(UserName="encoded", PolicyName="p", PolicyDocument=text)
    answer = send_signed(
        shared_authority, "iam", form("iam", "GetUserPolicy", UserName="encoded", PolicyName="p")
    )
    encoded = answer.xml.findtext("GetUserPolicyResult/PolicyDocument") or ""
    assert encoded.startswith("%7B%20%22Version%22%3A%20%222012-10-17%22")
    assert "+" not in encoded
    assert "%25" in encoded, "what the document itself had encoded stays so"
    policy: Any = shared_authority.iam().get_user_policy(UserName="encoded", PolicyName="p")
    assert policy["PolicyDocument"] == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "Syntax errors in policy."),
        (
            ALLOW_LIST_USERS.replace("2012-10-17", "2008-10-17"),
            "Policy document must be version 2012-10-17 or greater.",
        ),
        (document(statement("Allow", "noVendor")), None),
        (document(statement("Allow", "iam:GetUser", "not an arn")), None),
        (document({"Effect": "Allow", "Action": "iam:GetUser"}), "Policy statement must contain resources."),
    ],
)
def test_a_malformed_document_is_refused_wherever_one_is_taken(
    shared_authority: LivingAuthority, text: str, message: str | None
) -> None:
    iam = shared_authority.iam()
    name = f"malformed-{crc32(text.encode())}"
    iam.create_user(UserName=name)
    iam.create_group(GroupName=name)
    arn = new_policy(shared_authority, name)
    answers = {
        refused(iam.put_user_policy, UserName=name, PolicyName="p", PolicyDocument=text),
        refused(iam.put_group_policy, GroupName=name, PolicyName="p", PolicyDocument=text),
        refused(iam.create_policy, PolicyName="never", PolicyDocument=text),
        refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=text),
    }
    assert {(answer.code, answer.status) for answer in answers} == {("MalformedPolicyDocument", 400)}
    assert len(answers) == 1
    if message is not None:
        assert answers.pop().message == message
    assert iam.list_user_policies(UserName=name)["PolicyNames"] == []


@pytest.mark.parametrize(("kind", "quota"), [("user", 2048), ("group", 5120)])
def test_inline_policies_of_one_owner_share_a_quota_that_does_not_count_white_space(
    shared_authority: LivingAuthority, kind: str, quota: int
) -> None:
    iam: Any = shared_authority.iam()
    owner = {f"{kind.capitalize()}Name": f"quota-{kind}"}
    getattr(iam, f"create_{kind}")(**owner)
    put = getattr(iam, f"put_{kind}_policy")
    empty = len(document(statement("Allow", "s3:")).replace(" ", ""))

    def sized(size: int) -> str:
        return document(statement("Allow", "s3:" + "G" * (size - empty)))

    half = quota // 2
    put(PolicyName="one", PolicyDocument=sized(half) + " " * 500, **owner)
    full = Refused(
        "LimitExceeded",
        409,
        f"Maximum policy size of {quota} bytes exceeded for {kind} quota-{kind}",
    )
    assert refused(put, PolicyName="two", PolicyDocument=sized(half + 1), **owner) == full
    put(PolicyName="two", PolicyDocument=sized(half), **owner)
    put(PolicyName="two", PolicyDocument=sized(half), **owner)


# Managed policies


def test_a_managed_policy_has_exactly_the_members_that_aws_gives_one(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    created = iam.create_policy(
        PolicyName="plain", Path="/test/path/", PolicyDocument=ALLOW_LIST_USERS, Description="testing"
    )["Policy"]
    assert set(created) == MEMBERS
    assert created["Arn"] == f"arn:aws:iam::{account(shared_authority)}:policy/test/path/plain"
    assert created["PolicyId"].startswith("ANPA")
    assert len(created["PolicyId"]) == 21
    assert (created["DefaultVersionId"], created["IsAttachable"]) == ("v1", True)
    assert (created["AttachmentCount"], created["PermissionsBoundaryUsageCount"]) == (0, 0)
    got = iam.get_policy(PolicyArn=created["Arn"])["Policy"]
    assert got == created | {"Tags": [], "Description": "testing"}
    assert iam.list_policies(PathPrefix="/test/")["Policies"] == [created]


def test_a_policys_name_is_taken_without_regard_to_case(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    new_policy(shared_authority, "TakenName")
    text = "A policy called takenname already exists. Duplicate names are not allowed."
    assert refused(
        iam.create_policy, PolicyName="takenname", Path="/other/", PolicyDocument=ALLOW_LIST_USERS
    ) == Refused("EntityAlreadyExists", 409, text)


def test_a_policy_that_does_not_exist_is_refused_in_the_words_that_aws_has_for_each_operation(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = missing_arn(shared_authority)
    iam.create_user(UserName="has-nothing")
    tags: Any = [{"Key": "some", "Value": "value"}]
    assert refused(iam.get_policy, PolicyArn=arn) == not_found(arn)
    assert refused(iam.delete_policy, PolicyArn=arn) == not_found(arn)
    assert refused(iam.tag_policy, PolicyArn=arn, Tags=tags) == not_found(arn)
    assert refused(iam.untag_policy, PolicyArn=arn, TagKeys=["some"]) == not_found(arn)
    assert refused(iam.detach_user_policy, UserName="has-nothing", PolicyArn=arn) == not_found(arn)
    assert refused(iam.attach_user_policy, UserName="has-nothing", PolicyArn=arn) == not_attachable(arn)
    assert refused(iam.list_entities_for_policy, PolicyArn=arn) == not_attachable(arn)
    for act in (iam.get_policy_version, iam.set_default_policy_version, iam.delete_policy_version):
        assert refused(act, PolicyArn=arn, VersionId="v1") == no_version(arn, "v1")
    for operation in (iam.list_policy_versions, iam.list_policy_tags):
        assert refused(operation, PolicyArn=arn).code == "NoSuchEntity"
    missing_of_aws = "arn:aws:iam::aws:policy/Nonexistent"
    assert refused(iam.get_policy, PolicyArn=missing_of_aws) == not_found(missing_of_aws)


@pytest.mark.parametrize("arn", ["longpolicynamebutnoarn", "arn:aws:iam::aws:", "policy/a:b:c:d:e:f:g"])
def test_what_is_no_arn_is_named_so(shared_authority: LivingAuthority, arn: str) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    shared_authority.iam().create_user(UserName=f"no-arn-{len(arn)}")
    invalid = Refused("ValidationError", 400, f"ARN {arn} is not valid.")
    short = validation_error(must("policyArn", "have length greater than or equal to 20"))
    expected = invalid if len(arn) >= 20 else short
    assert refused(iam.attach_user_policy, UserName=f"no-arn-{len(arn)}", PolicyArn=arn) == expected
    assert refused(iam.detach_user_policy, UserName=f"no-arn-{len(arn)}", PolicyArn=arn) == expected
    assert refused(iam.get_policy, PolicyArn=arn) == expected
    assert refused(iam.delete_policy, PolicyArn=arn) == expected


def test_a_policy_in_use_is_not_deleted_and_the_answer_says_why(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "in-use", Tags=[{"Key": "go", "Value": "along"}])
    iam.create_user(UserName="uses-a-policy")
    iam.attach_user_policy(UserName="uses-a-policy", PolicyArn=arn)
    attached = delete_conflict("Cannot delete a policy attached to entities.")
    assert refused(iam.delete_policy, PolicyArn=arn) == attached
    iam.detach_user_policy(UserName="uses-a-policy", PolicyArn=arn)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW_LIST_USERS)
    versions = (
        "This policy has more than one version. Before you delete a policy, you must delete the policy's"
        " versions. The default version is deleted with the policy."
    )
    assert refused(iam.delete_policy, PolicyArn=arn) == delete_conflict(versions)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    assert members(iam.delete_policy(PolicyArn=arn)) == {}
    assert refused(iam.get_policy, PolicyArn=arn) == not_found(arn)
    new_policy(shared_authority, "in-use")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Tags"] == []


def test_a_managed_policy_may_be_6144_characters_without_white_space(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    empty = len(document(statement("Allow", "s3:")).replace(" ", ""))
    largest = document(statement("Allow", "s3:" + "G" * (6144 - empty))) + "\n" * 100
    arn = iam.create_policy(PolicyName="largest", PolicyDocument=largest)["Policy"]["Arn"]
    quota = Refused("LimitExceeded", 409, "Cannot exceed quota for PolicySize: 6144")
    larger = largest.replace("s3:", "s3:G")
    assert refused(iam.create_policy, PolicyName="larger", PolicyDocument=larger) == quota
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=larger) == quota


# Versions


def test_versions_count_up_for_ever_newest_first_and_one_is_the_default(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "versions")
    texts = {"v1": ALLOW_LIST_USERS} | {
        f"v{number}": document(statement("Allow", f"s3:Get{number}")) for number in range(2, 6)
    }

    def versions() -> list[tuple[str, bool]]:
        answer = members(iam.list_policy_versions(PolicyArn=arn))
        assert answer.pop("IsTruncated") is False
        assert {frozenset(version) for version in answer["Versions"]} == {
            frozenset({"VersionId", "IsDefaultVersion", "CreateDate"})
        }
        return [(version["VersionId"], version["IsDefaultVersion"]) for version in answer["Versions"]]

    created = iam.create_policy_version(PolicyArn=arn, PolicyDocument=texts["v2"], SetAsDefault=True)
    assert set(created["PolicyVersion"]) == {"VersionId", "IsDefaultVersion", "CreateDate"}
    assert created["PolicyVersion"]["IsDefaultVersion"] is True
    assert versions() == [("v2", True), ("v1", False)]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    for number in (3, 4, 5):
        created = iam.create_policy_version(PolicyArn=arn, PolicyDocument=texts[f"v{number}"])
        assert created["PolicyVersion"]["IsDefaultVersion"] is False
    limit = Refused(
        "LimitExceeded",
        409,
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an"
        " existing version.",
    )
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=ALLOW_LIST_USERS) == limit
    for version_id, text in texts.items():
        version: Any = iam.get_policy_version(PolicyArn=arn, VersionId=version_id)["PolicyVersion"]
        assert set(version) == {"VersionId", "IsDefaultVersion", "CreateDate", "Document"}
        assert version["Document"] == json.loads(text)
        assert version["IsDefaultVersion"] is (version_id == "v2")

    assert members(iam.set_default_policy_version(PolicyArn=arn, VersionId="v4")) == {}
    assert members(iam.delete_policy_version(PolicyArn=arn, VersionId="v5")) == {}
    created = iam.create_policy_version(PolicyArn=arn, PolicyDocument=ALLOW_LIST_USERS)
    assert created["PolicyVersion"]["VersionId"] == "v6", "a number is never given twice"
    assert versions() == [("v6", False), ("v4", True), ("v3", False), ("v2", False), ("v1", False)]
    page = iam.list_policy_versions(PolicyArn=arn, MaxItems=3)
    assert [version["VersionId"] for version in page["Versions"]] == ["v6", "v4", "v3"]
    rest = iam.list_policy_versions(PolicyArn=arn, Marker=page["Marker"])
    assert [version["VersionId"] for version in rest["Versions"]] == ["v2", "v1"]


def test_a_version_that_is_missing_misnamed_or_the_default_is_refused(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "version-errors")
    for act in (iam.get_policy_version, iam.set_default_policy_version, iam.delete_policy_version):
        for version_id in ("v9", "v1.1", "v" + "9" * 40):
            assert refused(act, PolicyArn=arn, VersionId=version_id) == no_version(arn, version_id)
        wrong = validation_error(must("versionId", f"satisfy regular expression pattern: {VERSION_PATTERN}"))
        assert refused(act, PolicyArn=arn, VersionId="wrong_version_id") == wrong
    default = delete_conflict("Cannot delete the default version of a policy.")
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v1") == default


# Tags of policies


def test_a_policys_tag_keys_differ_with_regard_to_case_and_shorter_ones_are_listed_first(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    tags: Any = [{"Key": key, "Value": "v"} for key in ("abc", "b", "z", "a", "A")]
    created = iam.create_policy(PolicyName="tagged", PolicyDocument=ALLOW_LIST_USERS, Tags=tags)["Policy"]
    assert created["Tags"] == tags, "as they were given"
    arn = created["Arn"]
    in_order = [{"Key": key, "Value": "v"} for key in ("A", "a", "b", "z", "abc")]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Tags"] == in_order
    assert members(iam.list_policy_tags(PolicyArn=arn)) == {"Tags": in_order, "IsTruncated": False}
    pages = iam.get_paginator("list_policy_tags").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 2})
    assert [page["Tags"] for page in pages] == [in_order[:2], in_order[2:4], in_order[4:]]
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": ""}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["A", "b", "z", "nobody"])
    left = [{"Key": "a", "Value": ""}, {"Key": "abc", "Value": "v"}]
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == left
    assert "Tags" not in iam.list_policies(Scope="Local")["Policies"][0]


def test_tags_that_may_not_be_are_refused_in_awss_words(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam(parameter_validation=False)
    arn = new_policy(shared_authority, "tag-errors")

    def tagging(*pairs: tuple[str, str]) -> set[Refused]:
        tags = [{"Key": key, "Value": value} for key, value in pairs]
        return {
            refused(iam.tag_policy, PolicyArn=arn, Tags=tags),
            refused(iam.create_policy, PolicyName="never", PolicyDocument=ALLOW_LIST_USERS, Tags=tags),
        }

    pattern = r"satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+"
    assert tagging(("0", ""), ("0", "")) == {Refused("InvalidInput", 400, "Duplicate tag keys found.")}
    assert tagging(("0" * 129, "")) == {
        validation_error(must("tags.1.member.key", "have length less than or equal to 128"))
    }
    assert tagging(("0", "0" * 257)) == {
        validation_error(must("tags.1.member.value", "have length less than or equal to 256"))
    }
    assert tagging(("NOWAY!", "")) == {validation_error(must("tags.1.member.key", pattern))}
    assert tagging(*((str(number), "") for number in range(51))) == {
        validation_error(must("tags", "have length less than or equal to 50"))
    }
    many = [str(number) for number in range(51)]
    assert refused(iam.untag_policy, PolicyArn=arn, TagKeys=many) == validation_error(
        must("tagKeys", "have length less than or equal to 50")
    )
    of_keys = (
        "satisfy constraint: [Member must have length less than or equal to 128, Member must have length"
        f" greater than or equal to 1, Member must {pattern}, Member must not be null]"
    )
    for key in ("0" * 129, "NOWAY!"):
        assert refused(iam.untag_policy, PolicyArn=arn, TagKeys=[key]) == validation_error(
            must("tagKeys", of_keys)
        )


# AWS's own


def test_awss_own_policies_exist_by_arn_and_can_be_attached_and_not_changed(
    shared_authority: LivingAuthority,
) -> None:
    iam = shared_authority.iam()
    for arn, version_id in ((ADMINISTRATOR_ACCESS, "v1"), (IAM_FULL_ACCESS, "v2")):
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        assert set(policy) == MEMBERS | {"Description", "Tags"}
        assert (policy["Arn"], policy["DefaultVersionId"], policy["Path"]) == (arn, version_id, "/")
        version: Any = iam.get_policy_version(PolicyArn=arn, VersionId=version_id)["PolicyVersion"]
        assert version["IsDefaultVersion"] is True
        assert version["Document"]["Version"] == "2012-10-17"
        assert [held["VersionId"] for held in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == [
            version_id
        ]
        assert refused(iam.get_policy_version, PolicyArn=arn, VersionId="v99") == no_version(arn, "v99")
        assert members(iam.list_policy_tags(PolicyArn=arn)) == {"Tags": [], "IsTruncated": False}

    def denied(text: str) -> Refused:
        return Refused("AccessDenied", 403, f"Cannot {text} outside your own account.")

    arn = ADMINISTRATOR_ACCESS
    assert refused(iam.delete_policy, PolicyArn=arn) == denied("delete policies")
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v1") == denied(
        "delete policy versions for policies"
    )
    updating = denied("update policies")
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=ALLOW_LIST_USERS) == updating
    assert refused(iam.set_default_policy_version, PolicyArn=arn, VersionId="v1") == updating


def test_policies_are_listed_by_scope_path_and_attachment_in_pages(authority: LivingAuthority) -> None:
    iam = authority.iam()
    arns = [new_policy(authority, f"listed-{letter}", Path=f"/{letter}/") for letter in "abc"]
    of_aws = sorted(MANAGED_POLICIES, key=lambda arn: arn.rpartition("/")[2].lower())
    iam.create_user(UserName="ana")
    iam.attach_user_policy(UserName="ana", PolicyArn=arns[1])
    iam.attach_user_policy(UserName="ana", PolicyArn=IAM_FULL_ACCESS)

    def listed(**parameters: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**parameters, PaginationConfig={"PageSize": 2})
        return [policy["Arn"] for page in pages for policy in page["Policies"]]

    assert listed(Scope="Local") == arns
    assert listed(Scope="AWS") == of_aws
    assert (
        listed(Scope="All")
        == listed()
        == sorted([*of_aws, *arns], key=lambda arn: arn.rpartition("/")[2].lower())
    )
    assert listed(PathPrefix="/b/") == [arns[1]]
    assert listed(OnlyAttached=True) == [IAM_FULL_ACCESS, arns[1]]
    assert listed(OnlyAttached=True, Scope="Local") == [arns[1]]
    assert listed(PolicyUsageFilter="PermissionsBoundary") == []
    assert set(listed(PolicyUsageFilter="PermissionsPolicy")) == {*arns, *of_aws}
    counts = {policy["Arn"]: policy["AttachmentCount"] for policy in iam.list_policies()["Policies"]}
    assert counts[arns[0]] == 0
    assert counts[arns[1]] == counts[IAM_FULL_ACCESS] == 1
    assert {frozenset(policy) for policy in iam.list_policies()["Policies"]} == {frozenset(MEMBERS)}


# Attachments


@pytest.mark.parametrize("kind", ["user", "group"])
def test_policies_are_attached_listed_counted_and_detached(
    shared_authority: LivingAuthority, kind: str
) -> None:
    iam: Any = shared_authority.iam()
    owner = {f"{kind.capitalize()}Name": f"attach-{kind}"}
    getattr(iam, f"create_{kind}")(**owner)
    attach, detach = getattr(iam, f"attach_{kind}_policy"), getattr(iam, f"detach_{kind}_policy")
    listed = getattr(iam, f"list_attached_{kind}_policies")
    arn = new_policy(shared_authority, f"attach-{kind}", Path=f"/{kind}/")

    assert members(listed(**owner)) == {"AttachedPolicies": [], "IsTruncated": False}
    assert refused(detach, PolicyArn=arn, **owner) == not_found(arn)
    assert refused(attach, PolicyArn=arn + "123", **owner) == not_attachable(arn + "123")
    for _ in range(2):
        assert members(attach(PolicyArn=arn, **owner)) == {}
    attach(PolicyArn=ADMINISTRATOR_ACCESS, **owner)
    ours = {"PolicyName": f"attach-{kind}", "PolicyArn": arn}
    administrator = {"PolicyName": "AdministratorAccess", "PolicyArn": ADMINISTRATOR_ACCESS}
    assert members(listed(**owner)) == {"AttachedPolicies": [administrator, ours], "IsTruncated": False}
    page = listed(MaxItems=1, **owner)
    assert page["AttachedPolicies"] == [administrator]
    assert listed(Marker=page["Marker"], **owner)["AttachedPolicies"] == [ours]
    assert listed(PathPrefix=f"/{kind}/", **owner)["AttachedPolicies"] == [ours]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert members(detach(PolicyArn=arn, **owner)) == {}
    assert refused(detach, PolicyArn=arn, **owner) == not_found(arn)
    assert listed(**owner)["AttachedPolicies"] == [administrator]


@pytest.mark.parametrize("kind", ["user", "group"])
def test_ten_policies_may_be_attached_to_one(shared_authority: LivingAuthority, kind: str) -> None:
    iam: Any = shared_authority.iam()
    owner = {f"{kind.capitalize()}Name": f"ten-{kind}"}
    getattr(iam, f"create_{kind}")(**owner)
    attach = getattr(iam, f"attach_{kind}_policy")
    arns = [new_policy(shared_authority, f"ten-{kind}-{number}") for number in range(11)]
    for arn in arns[:10]:
        attach(PolicyArn=arn, **owner)
    limit = f"Cannot exceed quota for PoliciesPer{kind.capitalize()}: 10"
    assert refused(attach, PolicyArn=arns[10], **owner) == Refused("LimitExceeded", 409, limit)
    attach(PolicyArn=arns[0], **owner)


def test_the_entities_of_a_policy_are_listed_by_kind(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    arn = new_policy(shared_authority, "entities")
    nobody: dict[str, Any] = {
        "PolicyGroups": [],
        "PolicyUsers": [],
        "PolicyRoles": [],
        "IsTruncated": False,
    }
    assert members(iam.list_entities_for_policy(PolicyArn=arn)) == nobody
    user = iam.create_user(UserName="entity-user", Path="/entities/")["User"]
    group = iam.create_group(GroupName="entity-group")["Group"]
    iam.attach_user_policy(UserName="entity-user", PolicyArn=arn)
    iam.attach_group_policy(GroupName="entity-group", PolicyArn=arn)
    users = [{"UserName": "entity-user", "UserId": user["UserId"]}]
    groups = [{"GroupName": "entity-group", "GroupId": group["GroupId"]}]
    everybody = nobody | {"PolicyUsers": users, "PolicyGroups": groups}

    def listed(**parameters: Any) -> dict[str, Any]:
        return members(iam.list_entities_for_policy(PolicyArn=arn, **parameters))

    assert listed() == listed(PolicyUsageFilter="PermissionsPolicy") == everybody
    assert listed(EntityFilter="User") == nobody | {"PolicyUsers": users}
    assert listed(EntityFilter="Group") == nobody | {"PolicyGroups": groups}
    assert listed(EntityFilter="Role") == listed(EntityFilter="LocalManagedPolicy") == nobody
    assert listed(PolicyUsageFilter="PermissionsBoundary") == nobody
    assert listed(PathPrefix="/entities/") == nobody | {"PolicyUsers": users}
    first = listed(MaxItems=1)
    assert (first["PolicyGroups"], first["PolicyUsers"], first["IsTruncated"]) == (groups, [], True)
    assert listed(Marker=first["Marker"]) == nobody | {"PolicyUsers": users}
