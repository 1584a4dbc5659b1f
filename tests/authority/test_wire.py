"""The wire as it stands: raw requests, raw answers, and what they have in common."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.loaders import Loader

from authority.calls import (
    ALLOW_LIST_USERS,
    VERSIONS,
    RawAnswer,
    Refused,
    account,
    form,
    person,
    send,
    send_signed,
    statement,
)
from keyturn.authority.operations import OPERATIONS
from living_authority import LivingAuthority

NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}
MISSING_TOKEN = Refused("MissingAuthenticationToken", 403, "Request is missing Authentication Token")


def look(authority: LivingAuthority, target: str, method: str = "GET") -> tuple[int, Any]:
    answer = send(authority, method, target)
    assert answer.headers["content-type"] == "application/json"
    return answer.status, json.loads(answer.body or b"null")


# Its own paths


def test_live_ready_and_about_answer_anybody(shared_authority: LivingAuthority) -> None:
    assert look(shared_authority, "/-/live") == (200, {"live": True})
    assert look(shared_authority, "/-/ready") == (200, {"ready": True, "low_on_space": False})
    status, about = look(shared_authority, "/-/about")
    assert status == 200
    assert re.fullmatch(r"[0-9]+\.[0-9]+\..+", about.pop("version"))
    assert about == {
        "product": "keyturn",
        "exact_revocation": True,
        "reports_refused_attempts": True,
        "idempotent_create": True,
    }


def test_own_paths_take_get_and_head_only_and_there_are_no_others(shared_authority: LivingAuthority) -> None:
    assert look(shared_authority, "/-/live", "HEAD") == (200, None)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert look(shared_authority, "/-/about", method)[0] == 405
    for target in ("/-/", "/-/nothing", "/-/live/", "/-/../"):
        assert look(shared_authority, target)[0] == 404


# What every answer has


def answers_of_all_kinds(authority: LivingAuthority) -> dict[str, RawAnswer]:
    return {
        "iam result": send_signed(authority, "iam", form("iam", "GetUser")),
        "sts result": send_signed(authority, "sts", form("sts", "GetCallerIdentity")),
        "iam fault": send_signed(authority, "iam", form("iam", "GetUser", UserName="ghost")),
        "sts fault": send_signed(authority, "sts", form("sts", "GetAccessKeyInfo", AccessKeyId="x" * 20)),
        "iam refusal": send_signed(
            authority, "iam", form("iam", "GetUser"), key=("AKIAIOSFODNN7EXAMPLE", "s")
        ),
        "sts refusal": send_signed(
            authority, "sts", form("sts", "GetCallerIdentity"), key=("AKIAIOSFODNN7EXAMPLE", "s")
        ),
        "iam not offered": send_signed(authority, "iam", form("iam", "ListServerCertificates")),
    }


def test_the_request_id_in_the_header_is_that_of_the_body_and_new_each_time(
    shared_authority: LivingAuthority,
) -> None:
    seen = set()
    for kind, answer in answers_of_all_kinds(shared_authority).items():
        assert answer.headers["x-amzn-requestid"] == answer.request_id, kind
        assert str(uuid.UUID(answer.request_id)) == answer.request_id
        assert answer.headers["content-type"] == "text/xml"
        assert answer.namespace == NAMESPACES[kind[:3]]
        seen.add(answer.request_id)
    assert len(seen) == 7


def test_an_error_says_whose_fault_it_is(shared_authority: LivingAuthority) -> None:
    answers = answers_of_all_kinds(shared_authority)
    kinds = {
        kind: answer.xml.findtext("Error/Type")
        for kind, answer in answers.items()
        if answer.xml.tag == "ErrorResponse"
    }
    assert kinds == {
        "iam fault": "Sender",
        "sts fault": "Sender",
        "iam refusal": "Sender",
        "sts refusal": "Sender",
        "iam not offered": "Receiver",
    }


def test_an_operation_without_output_has_no_result_element(shared_authority: LivingAuthority) -> None:
    shared_authority.iam().create_user(UserName="no-result")
    answer = send_signed(shared_authority, "iam", form("iam", "DeleteUser", UserName="no-result"))
    assert answer.status == 200
    assert answer.xml.tag == "DeleteUserResponse"
    assert [child.tag for child in answer.xml] == ["ResponseMetadata"]


def test_an_empty_list_is_an_empty_element_and_what_is_absent_has_none(
    shared_authority: LivingAuthority,
) -> None:
    body = form("iam", "ListUsers", PathPrefix="/nobody/")
    result = send_signed(shared_authority, "iam", body).xml.find("ListUsersResult")
    assert result is not None
    assert [(child.tag, child.text, len(child)) for child in result] == [
        ("Users", None, 0),
        ("IsTruncated", "false", 0),
    ]


def test_times_are_whole_seconds_in_utc(shared_authority: LivingAuthority) -> None:
    answer = send_signed(shared_authority, "iam", form("iam", "CreateUser", UserName="timed"))
    created = answer.xml.findtext("CreateUserResult/User/CreateDate") or ""
    assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", created)


def test_any_text_comes_back_as_it_went(shared_authority: LivingAuthority) -> None:
    iam = shared_authority.iam()
    description = "a < b && \"c\" > 'd'\n\ttabs, \u6f22\u5b57, \U0001f511, ]]> and %41+%20"
    arn = iam.create_policy(PolicyName="described", PolicyDocument=ALLOW_LIST_USERS, Description=description)[
        "Policy"
    ]["Arn"]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Description"] == description


# Which operation


def test_an_operation_outside_the_model_is_an_invalid_action(shared_authority: LivingAuthority) -> None:
    answer = send_signed(shared_authority, "iam", form("iam", "DoWhatever"))
    text = "Could not find operation DoWhatever for version 2010-05-08"
    assert answer.error == Refused("InvalidAction", 400, text)
    of_sts = send_signed(shared_authority, "sts", form("sts", "ListUsers"))
    text = "Could not find operation ListUsers for version 2011-06-15"
    assert of_sts.error == Refused("InvalidAction", 400, text)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"Action=ListUsers&Version=2011-06-15", "InvalidAction"),
        (b"Action=ListUsers&Version=2010-05-09", "InvalidAction"),
        (b"Action=ListUsers", "InvalidAction"),
        (b"Action=listusers&Version=2010-05-08", "InvalidAction"),
        (b"action=ListUsers&Version=2010-05-08", "MissingAction"),
        (b"Version=2010-05-08", "MissingAction"),
        (b"Action=&Version=2010-05-08", "MissingAction"),
        (b"", "MissingAction"),
        (b'{"Action": "ListUsers"}', "MissingAction"),
    ],
)
def test_an_operation_is_named_exactly_with_its_version(
    shared_authority: LivingAuthority, body: bytes, code: str
) -> None:
    answer = send_signed(shared_authority, "iam", body)
    assert (answer.error.code, answer.status) == (code, 400)


@pytest.mark.parametrize("service", ["iam", "sts"])
def test_every_operation_of_the_model_is_offered_or_named_as_one_that_is_not(
    shared_authority: LivingAuthority, service: str
) -> None:
    """Nothing pretends."""
    model = Loader().load_service_model(service, "service-2")
    offered = {name for held, name in OPERATIONS if held == service}
    assert offered <= model["operations"].keys()
    for name in sorted(model["operations"].keys() - offered):
        answer = send_signed(shared_authority, service, form(service, name))
        assert (answer.error.code, answer.status) == ("NotImplemented", 501)
        assert f"{service}:{name}" in answer.error.message


def test_what_is_offered_is_what_was_promised() -> None:
    """Users, keys, groups, inline and managed policies, alias and summary; who am I, and whose key is this."""
    nouns = ("User", "AccessKey", "Group", "Policy", "Policies", "AccountAlias", "AccountSummary", "Entities")
    model = Loader().load_service_model("iam", "service-2")
    not_yet = re.compile(
        "Role|LoginProfile|Boundary|PasswordPolicy|Simulat|ContextKeys|Granting|Service|Organizations|MFA"
    )
    promised = {
        name
        for name in model["operations"]
        if any(noun in name for noun in nouns) and not not_yet.search(name)
    }
    assert {name for service, name in OPERATIONS if service == "iam"} >= promised
    assert {name for service, name in OPERATIONS if service == "sts"} == {
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
        "GetAccessKeyInfo",
        "GetCallerIdentity",
        "GetFederationToken",
        "GetSessionToken",
    }


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"Action=ListUsers&Action=GetUser&Version=2010-05-08"),
        ("/", b"Action=ListUsers&Action=ListUsers&Version=2010-05-08"),
        ("/", b"Action=ListUsers&Version=2010-05-08&Version=2010-05-08"),
        ("/", b"Action=ListUsers&action=DeleteUser&Version=2010-05-08"),
        ("/?Action=GetUser", b"Action=ListUsers&Version=2010-05-08"),
        ("/?ACTION=GetUser", b"Action=ListUsers&Version=2010-05-08"),
        ("/?UserName=one", b"Action=GetUser&Version=2010-05-08&UserName=two"),
        ("/", b"Action=GetUser&Version=2010-05-08&UserName=one&UserName=two"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused(
    shared_authority: LivingAuthority, target: str, body: bytes
) -> None:
    """Two readers that choose differently are an attack (CVE-2022-2385)."""
    answer = send_signed(shared_authority, "iam", body, target=target)
    assert (answer.error.code, answer.status) == ("InvalidQueryParameter", 400)


@pytest.mark.parametrize("target", ["/iam", "/doc/2010-05-08/", "//", "/./", "/%2e", "/a/.."])
def test_there_is_no_api_at_another_path(shared_authority: LivingAuthority, target: str) -> None:
    answer = send_signed(shared_authority, "iam", form("iam", "ListUsers"), target=target)
    assert (answer.error.code, answer.status) == ("InvalidAction", 404)
    assert answer.headers["x-amzn-requestid"] == answer.request_id


def test_a_signed_get_with_its_parameters_in_the_url_is_answered(shared_authority: LivingAuthority) -> None:
    shared_authority.iam().create_user(UserName="in-the-url")
    target = f"/?Action=GetUser&UserName=in-the-url&Version={VERSIONS['iam']}"
    answer = send_signed(shared_authority, "iam", b"", target=target, method="GET")
    assert answer.status == 200
    assert answer.xml.findtext("GetUserResult/User/UserName") == "in-the-url"


# Who asks


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_a_request_that_nobody_signed_is_refused(shared_authority: LivingAuthority, method: str) -> None:
    answer = send(shared_authority, method, "/")
    assert answer.status == 403
    if method != "HEAD":
        assert answer.error == MISSING_TOKEN
        assert answer.headers["x-amzn-requestid"] == answer.request_id


def test_an_unsigned_call_is_refused_whatever_it_asks_for(shared_authority: LivingAuthority) -> None:
    for body in (form("iam", "ListUsers"), form("sts", "GetCallerIdentity"), b"\xff\x00"):
        assert send(shared_authority, "POST", "/", body=body).error == MISSING_TOKEN


def test_an_unknown_key_is_told_so_in_each_services_words(shared_authority: LivingAuthority) -> None:
    unknown = ("AKIAIOSFODNN7EXAMPLE", "x" * 40)
    text = "The security token included in the request is invalid"
    of_iam = send_signed(shared_authority, "iam", form("iam", "GetUser"), key=unknown)
    assert of_iam.error == Refused("InvalidClientTokenId", 403, f"{text}.")
    of_sts = send_signed(shared_authority, "sts", form("sts", "GetCallerIdentity"), key=unknown)
    assert of_sts.error == Refused("InvalidClientTokenId", 403, text)


def test_a_call_signed_for_one_service_is_none_of_the_other(shared_authority: LivingAuthority) -> None:
    answer = send_signed(shared_authority, "sts", form("iam", "ListUsers"))
    assert answer.error.code == "InvalidAction"
    answer = send_signed(
        shared_authority, "s3", form("iam", "ListUsers"), headers={"x-amz-content-sha256": "-"}
    )
    assert (answer.error.code, answer.status) == ("SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-southeast-2", "sa-east-1"])
def test_every_region_of_the_partition_is_accepted(shared_authority: LivingAuthority, region: str) -> None:
    """boto3 signs with the client's own region when an endpoint is set."""
    for service, action in (("iam", "GetUser"), ("sts", "GetCallerIdentity")):
        assert send_signed(shared_authority, service, form(service, action), region=region).status == 200


@pytest.mark.parametrize("region", ["us-gov-west-1", "cn-north-1", "aws-global", "nowhere"])
def test_another_region_is_refused_by_name(shared_authority: LivingAuthority, region: str) -> None:
    answer = send_signed(shared_authority, "iam", form("iam", "GetUser"), region=region)
    text = f"Credential should be scoped to a valid region, not '{region}'."
    assert answer.error == Refused("SignatureDoesNotMatch", 403, text)


# Presigned


def presigned(authority: LivingAuthority, **parameters: Any) -> str:
    """The target of a presigned GetCallerIdentity, as clusters and vaults use it to prove who somebody is."""
    url = authority.sts().generate_presigned_url("get_caller_identity", **parameters)
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}"


def host(authority: LivingAuthority) -> dict[str, str]:
    return {"Host": urlsplit(authority.url).netloc}


def test_a_presigned_who_am_i_is_answered_by_get(shared_authority: LivingAuthority) -> None:
    target = presigned(shared_authority, HttpMethod="GET")
    answer = send(shared_authority, "GET", target, headers=host(shared_authority))
    assert answer.status == 200
    result = {child.tag: child.text for child in answer.xml.iterfind("GetCallerIdentityResult/*")}
    administrator = shared_authority.sts().get_caller_identity()
    assert result == {name: administrator[name] for name in ("Arn", "UserId", "Account")}
    assert answer.headers["x-amzn-requestid"] == answer.request_id


def test_a_presigned_url_holds_for_what_was_signed_only(shared_authority: LivingAuthority) -> None:
    target = presigned(shared_authority, HttpMethod="GET")
    other = target.replace("GetCallerIdentity", "GetAccessKeyInfo")
    assert other != target
    assert send(shared_authority, "GET", other).error.code == "SignatureDoesNotMatch"
    assert send(shared_authority, "POST", target).error.code == "SignatureDoesNotMatch"
    more = send(shared_authority, "GET", f"{target}&AccessKeyId=x")
    assert more.error.code == "SignatureDoesNotMatch"
    twice = send(shared_authority, "GET", f"{target}&Action=GetCallerIdentity")
    assert twice.status in {400, 403}


def test_a_presigned_url_expires_with_the_quarter_of_an_hour(authority: LivingAuthority) -> None:
    target = presigned(authority, HttpMethod="GET", ExpiresIn=3600)
    authority.clock.advance(seconds=14 * 60)
    assert send(authority, "GET", target).status == 200
    authority.clock.advance(seconds=2 * 60)
    answer = send(authority, "GET", target)
    assert answer.status == 403
    assert answer.error.message.startswith("Signature expired: ")


def test_a_presigned_url_of_a_deactivated_key_is_refused(shared_authority: LivingAuthority) -> None:
    me = person(shared_authority, "presigner", statement("Allow", "iam:*"))
    url = urlsplit(me.sts().generate_presigned_url("get_caller_identity", HttpMethod="GET"))
    target = f"/?{url.query}"
    answer = send(shared_authority, "GET", target)
    assert answer.xml.findtext("GetCallerIdentityResult/Arn") == me.arn
    shared_authority.iam().update_access_key(
        UserName="presigner", AccessKeyId=me.access_key_id, Status="Inactive"
    )
    assert send(shared_authority, "GET", target).error.code == "InvalidClientTokenId"


def test_lists_and_nested_members_are_read_by_their_numbers(shared_authority: LivingAuthority) -> None:
    """In any order, as hand-written clients send them."""
    body = (
        form("iam", "CreateUser", UserName="numbered")
        + b"&"
        + "&".join(
            f"{name}={quote(value)}"
            for name, value in (
                ("Tags.member.2.Value", "second"),
                ("Tags.member.1.Key", "a"),
                ("Tags.member.2.Key", "b"),
                ("Tags.member.1.Value", "first value"),
            )
        ).encode()
    )
    answer = send_signed(shared_authority, "iam", body)
    tags = [
        (tag.findtext("Key"), tag.findtext("Value"))
        for tag in answer.xml.iterfind("CreateUserResult/User/Tags/member")
    ]
    assert tags == [("a", "first value"), ("b", "second")]
    empty = form("iam", "CreateUser", UserName="numbered-none") + b"&Tags="
    assert send_signed(shared_authority, "iam", empty).status == 200


def test_the_account_is_the_same_in_every_arn(shared_authority: LivingAuthority) -> None:
    answer = send_signed(shared_authority, "sts", form("sts", "GetCallerIdentity"))
    assert answer.xml.findtext("GetCallerIdentityResult/Account") == account(shared_authority)
