"""Texts as AWS answers them. The documents are our own, one fault or a telling pair of faults each."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from keyturn.policy.document import DocumentKind
from keyturn.policy.validation import (
    LONGEST_DOCUMENT,
    MalformedPolicyDocumentError,
    size_without_whitespace,
    validate,
)

SYNTAX = "Syntax errors in policy."
LEGACY = "The policy failed legacy parsing"
VERSION = "Policy document must be version 2012-10-17 or greater."
NO_VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
COLONS = "Actions/Condition can contain only one colon."
NO_ACTIONS = "Policy statement must contain actions."
NO_RESOURCES = "Policy statement must contain resources."
FULLY_QUALIFIED = "Resource vendor must be fully qualified and cannot contain regexes."
UNIQUE = "Statement IDs (SID) in a single policy must be unique."
SID_SHAPE = (
    "Statement IDs (SID) must be alpha-numeric. "
    "Check that your input satisfies the regular expression [0-9A-Za-z]*"
)
IAM_PATH = (
    'IAM resource path must either be "*", root, or start with user/, federated-user/, role/, group/, '
    "instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, "
    "access-report/."
)
USERS = "arn:aws:iam::123456789012:user/*"


def statement(*without: str, **elements: Any) -> dict[str, Any]:
    whole = {"Effect": "Allow", "Action": "iam:GetUser", "Resource": USERS, **elements}
    return {name: value for name, value in whole.items() if name not in without}


def policy(*statements: Any, **elements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **elements})


def with_condition(operator: str, keys: Any, **elements: Any) -> dict[str, Any]:
    return statement(**elements, Condition={operator: keys})


def refusal(text: str) -> str:
    with pytest.raises(MalformedPolicyDocumentError) as caught:
        validate(text)
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '"text"',
        "null",
        policy(),
        policy("text"),
        policy(["Effect"]),
        json.dumps({"Version": "2012-10-17"}),
        policy(statement(), Version="2013-01-01"),
        policy(statement(), Version=2012),
        policy(statement(), Version=None),
        policy(statement(), Version=["2012-10-17"]),
        policy(statement(), Version={}),
        policy(statement(), Comment="x"),
        policy(statement(), Id=["x"]),
        policy(statement(), Id={}),
        policy(statement(Comment="x")),
        policy(statement(Effect="Permit")),
        policy(statement(Effect=["Allow"])),
        policy(statement("Effect")),
        policy(statement(Sid={})),
        policy(statement(Sid=[])),
        policy(statement(Sid=7)),
        policy(statement(Action={})),
        policy(statement(Action=[[]])),
        policy(statement(Action=7)),
        policy(statement(Action=None)),
        policy(statement(Resource={"a": USERS})),
        policy(statement(Resource=[USERS, {}])),
        policy(statement(Action=[], NotAction="iam:GetUser")),
        policy(statement(NotAction="iam:GetUser")),
        policy(statement(NotResource=[])),
        policy(statement(NotResource="*")),
        policy(statement(Condition=[])),
        policy(statement(Condition="x")),
        policy(statement(Condition=None)),
        policy(statement(Condition={"StringEquals": "x"})),
        policy(statement(Condition={"StringEquals": []})),
        policy(statement(Condition={"DateLessThan": {"aws:CurrentTime": {}}})),
        policy(statement(Condition={"StringEquals": {"aws:username": [None]}})),
        policy(statement(Condition=[{"StringEquals": {"aws:username": "bob"}}])),
        policy(with_condition("StringResembles", {"aws:username": "bob"})),
        policy(with_condition("ForAnyValue::StringEquals", {"aws:username": "bob"})),
        policy(with_condition("ForAnyValue:Null", {"aws:username": "true"})),
        policy(with_condition("NullIfExists", {"aws:username": "true"})),
        policy(with_condition("stringequals", {"aws:username": "bob"})),
        policy(with_condition("BoolNotEquals", {"aws:SecureTransport": "true"})),
        # A broken condition comes before a missing action.
        policy(statement("Action", Condition={"DateLessThan": {"aws:CurrentTime": {}}})),
        # The grammar comes before the version.
        json.dumps({"Statement": statement(Comment="x")}),
        # Not quite JSON.
        "\ufeff" + policy(statement()),
        policy(statement())[:-1] + ',"Version":"2012-10-17"}',
        '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Effect":"Allow","Action":"*","Resource":"*"}}',
        policy(with_condition("NumericEquals", {"a": float("nan")})),
        policy(statement()) + "x",
        "[" * 100_000,
        '{"Statement":[' * 8_000,
        '{"Version":' + "9" * 5000 + "}",
        # Texts that no answer could carry back.
        policy(statement(Resource="\ud800")),
        policy(statement(Resource="\x00")),
        policy(statement(), Id="\uffff"),
    ],
)
def test_what_is_no_policy_has_syntax_errors(text: str) -> None:
    assert refusal(text) == SYNTAX


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Version
        (json.dumps({"Statement": statement()}), VERSION),
        (policy(statement(), Version="2008-10-17"), VERSION),
        (policy(statement(Effect="deny"), Version="2008-10-17"), VERSION),
        (json.dumps({"Statement": [statement(Sid="a"), statement(Sid="a")]}), VERSION),
        # Who it is about
        (policy(statement(Principal="*")), "Policy document should not specify a principal."),
        (policy(statement(NotPrincipal={"AWS": "*"})), "Policy document should not specify a principal."),
        # Legacy parsing
        (policy(statement(Effect="allow")), LEGACY),
        (policy(statement(Effect="DENY")), LEGACY),
        (policy(statement("Action", Effect="allow", Resource="arn:aws:s3:eu-west-1::b")), LEGACY),
        (policy(statement(Sid="a", Effect="aLLOW"), statement(Sid="a")), LEGACY),
        (policy(with_condition("DateLessThan", {"aws:CurrentTime": "tomorrow"})), LEGACY),
        (
            policy(with_condition("DateLessThan", {"aws:CurrentTime": "tomorrow"}, Resource="arn:x:s3:::b")),
            LEGACY,
        ),
        (
            policy(with_condition("DateEqualsIfExists", {"aws:CurrentTime": ["2026-01-01", "2026-13-01"]})),
            LEGACY,
        ),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": "2026-01-01T24:00:00Z"})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": "2026-01-01T1:00:00.5+1"})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": "2026-01-01T1:00:00.1234567890Z"})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": str(2**63)})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": -1})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": True})), LEGACY),
        (policy(with_condition("DateEquals", {"aws:CurrentTime": "-292275055"})), LEGACY),
        (policy(statement(Resource="arn:aws:s3::bucket")), LEGACY),
        (policy(statement("Resource", NotResource="arn:aws:s3::bucket")), LEGACY),
        (policy(statement("Action", Resource="arn:aws:s3::bucket")), LEGACY),
        (policy(statement(Resource="arn:aws::::bucket")), LEGACY),
        (policy(statement(Resource="arn:aws::bucket")), LEGACY),
        # Statement ids
        (policy(statement(Sid="a"), statement(Sid="a")), UNIQUE),
        (policy(statement(Sid="a"), {"Sid": "a", "Effect": "Allow"}), UNIQUE),
        (
            policy(statement(Sid="a b")),
            SID_SHAPE,
        ),
        # Actions
        (policy(statement("Action")), NO_ACTIONS),
        (policy({"Effect": "Allow"}), NO_ACTIONS),
        (policy(statement(Action=[])), NO_ACTIONS),
        (policy({"Effect": "Deny"}, statement()), NO_ACTIONS),
        (policy(statement(Action="GetUser")), NO_VENDOR),
        (policy(statement("Action", NotAction="")), NO_VENDOR),
        (policy(statement(Action="**")), NO_VENDOR),
        (policy(statement("Resource", Action="GetUser")), NO_VENDOR),
        (policy(statement(Action="a a:Get")), "Vendor a a is not valid"),
        (policy(statement(Action="i*m:Get")), "Vendor i*m is not valid"),
        (policy(statement(Action="a_b:Get")), "Vendor a_b is not valid"),
        (policy(statement(Action=":Get")), "Vendor  is not valid"),
        (policy(statement(Action="iam:Get:User")), COLONS),
        (policy(statement(), statement(Action=["iam:GetUser", "i:am:GetUser"])), COLONS),
        # Resources
        (policy(statement("Resource")), NO_RESOURCES),
        (policy(statement(Resource=[])), NO_RESOURCES),
        (policy(statement("Resource", NotResource=[])), NO_RESOURCES),
        (policy(statement(Resource="a bucket")), 'Resource a bucket must be in ARN format or "*".'),
        (policy(statement(Resource="")), 'Resource  must be in ARN format or "*".'),
        (policy(statement(Resource=["*", "adf"])), 'Resource adf must be in ARN format or "*".'),
        (policy(statement(Resource="**")), 'Resource ** must be in ARN format or "*".'),
        (policy(statement(Resource="sdf", Action="i:a:m")), 'Resource sdf must be in ARN format or "*".'),
        (
            policy(statement(Resource="arm:aws:s3:::b")),
            'Resource arm:aws:s3:::b must be in ARN format or "*".',
        ),
        (policy(statement(Resource="a:b")), 'Partition "b" is not valid for resource "arn:b:*:*:*:*".'),
        (policy(statement(Resource="a:b:c")), 'Partition "b" is not valid for resource "arn:b:c:*:*:*".'),
        (
            policy(statement(Resource="a:b:c:d:e:f:g:h")),
            'Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h".',
        ),
        (
            policy(statement(Resource="aws:s3:::bucket")),
            'Partition "s3" is not valid for resource "arn:s3:::bucket:*".',
        ),
        (
            policy(statement(Resource=["arn:error:s3:::bucket", "arn:error:s3::bucket"])),
            'Partition "error" is not valid for resource "arn:error:s3:::bucket".',
        ),
        (
            policy(statement(Resource="arn:aws-cn:s3:::b")),
            'Partition "aws-cn" is not valid for resource "arn:aws-cn:s3:::b".',
        ),
        (policy(statement(Resource="arn:aws")), FULLY_QUALIFIED),
        (policy(statement(Resource="arn:aws:*")), FULLY_QUALIFIED),
        (policy(statement(Resource="arn:aws:i?m:::user/x")), FULLY_QUALIFIED),
        (policy(statement(Resource="arn:aws:iam:::bucket")), IAM_PATH),
        (policy(statement(Resource="arn:aws:iam::123456789012:bob")), IAM_PATH),
        (
            policy(statement(Resource="arn:aws:iam:us-east-1::bucket")),
            "IAM resource arn:aws:iam:us-east-1::bucket cannot contain region information.",
        ),
        (
            policy(statement(Resource="arn:aws:s3:us-east-1::bucket")),
            "Resource arn:aws:s3:us-east-1::bucket can not contain region information.",
        ),
    ],
)
def test_a_refused_document_gets_the_text_of_aws(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    "key",
    [
        "aws:Foo",
        "AWS:user",
        "aws:PrincipalTag",
        "aws:",
        "aws:RequestTags/x",
        "iam:Foo",
        "sts:External",
        "keys:Owner",
    ],
)
def test_a_global_key_that_does_not_exist_is_refused(key: str) -> None:
    message = f"The condition key {key} does not exist. Use a valid condition key."
    assert refusal(policy(with_condition("StringEquals", {key: "x"}))) == message


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"Sid": ""},
        {"Sid": "AllOfThem1"},
        {"Action": "*"},
        {"Action": "*:*"},
        {"Action": "iam:*"},
        {"Action": ["iam:Get*", "s3-s.x:List?"]},
        {"Action": "iam: what nobody offers "},
        {"Resource": "*"},
        {"Resource": ["*", USERS]},
        {"Resource": "arn:aws:iam::*"},
        {"Resource": "arn:aws:iam::123456789012:root"},
        {"Resource": "arn:*:iam::*:*"},
        {"Resource": "arn:aws:anything"},
        {"Resource": "arn:aws:s3:::bucket/${aws:username}/*"},
        {"Resource": "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"},
        {"Resource": "arn:aws:ec2:us-east-1::image/x"},
        {"Resource": "arn:aws:no-such-service:::x"},
        {"Resource": "arn:aws:iam::*:mfa/${aws:username"},
        {"Condition": {}},
        {"Condition": {"StringEquals": {}}},
        {"Condition": {"nonsense": {}}},
        {"Condition": {"StringEquals": {"no-such-key": []}}},
        {
            "Condition": {
                "StringEquals": {"ec2:NoSuchKey": "x", "token.actions.githubusercontent.com:sub": "x"}
            }
        },
        {"Condition": {"StringEquals": {"AWS:PrincipalTag/a:b/c": "x", "aws:resourcetag/x": "y"}}},
        {"Condition": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a/*", "aws:SourceOrgID": "o"}}},
        {"Condition": {"Null": {"aws:TokenIssueTime": True}, "NumericLessThan": {"keys:Age": 1.5}}},
        {
            "Condition": {
                "IpAddress": {"aws:SourceIp": "no address"},
                "Bool": {"aws:SecureTransport": "maybe"},
            }
        },
        {"Condition": {"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": ["a", "b"]}}},
        {
            "Condition": {
                "Bool": {"aws:SecureTransport": True},
                "NumericLessThan": {"aws:MultiFactorAuthAge": 3600},
            }
        },
        {"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-12-31T23:59:59Z"}}},
        {"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-12-31t1:00:00.593194+01:00"}}},
        {"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-12-31t1:00:00.593194+23"}}},
        {"Condition": {"DateLessThan": {"aws:CurrentTime": ["01T", "-292275054", "0", 1_700_000_000]}}},
    ],
)
def test_what_aws_stores_is_stored(elements: dict[str, Any]) -> None:
    document = validate(policy(statement(**elements), Id="an id"))
    assert len(document.statements) == 1
    assert "unreadable" not in document.statements[0].undecided


def test_ids_may_be_empty_or_absent_more_than_once() -> None:
    assert (
        len(validate(policy(statement(Sid=""), statement(Sid=""), statement(), statement())).statements) == 4
    )


def test_a_text_beyond_the_bound_is_refused_unread() -> None:
    text = policy(statement())
    assert len(validate(text, max_size=len(text)).statements) == 1
    with pytest.raises(MalformedPolicyDocumentError):
        validate(text, max_size=len(text) - 1)
    assert refusal(text + " " * LONGEST_DOCUMENT) == SYNTAX


@pytest.mark.parametrize(
    "resource",
    ["${" * 60_000, "*?" * 60_000, "*a?" * 40_000, ":" * 120_000, "${a:b}" * 20_000, "?" * 100_000],
)
def test_the_largest_documents_are_judged_at_once(resource: str) -> None:
    started = time.process_time()
    validate(policy(statement(Resource="arn:aws:s3:::" + resource)))
    assert time.process_time() - started < 2


def test_white_space_does_not_count_against_a_quota() -> None:
    assert size_without_whitespace(' {\t"a" :\r\n"b c" } ') == len('{"a":"bc"}')


GITHUB = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
TRUST = {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}
ON_RESOURCE = {**TRUST, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"Principal": "*"},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": ["arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:user/a/b"]}},
        {"Principal": {"AWS": "arn:aws:sts::123456789012:assumed-role/deploy/run"}},
        {"Principal": {"AWS": "AIDAQWERTYUIOPASDFGHJ"}},
        {"Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]}},
        {"Principal": {"Federated": GITHUB}, "Action": "sts:AssumeRoleWithWebIdentity"},
        {"Principal": {"Federated": "accounts.google.com"}, "Action": "sts:AssumeRoleWithWebIdentity"},
        {"Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]},
        {"Action": "STS:assumerole*"},
        {"Effect": "Deny", "Principal": None, "NotPrincipal": {"AWS": "123456789012"}},
        {
            "Condition": {
                "StringEquals": {"sts:ExternalId": "x", f"{GITHUB.partition('/')[2]}:sub": "repo:a/b"}
            }
        },
    ],
)
def test_what_may_be_trusted_is_stored_as_a_trust_policy(elements: dict[str, Any]) -> None:
    whole = {name: value for name, value in {**TRUST, **elements}.items() if value is not None}
    for version in ("2012-10-17", "2008-10-17"):
        document = validate(policy(whole, Version=version), kind=DocumentKind.TRUST)
        assert document.kind is DocumentKind.TRUST
        assert document.version == version
        assert document.statements[0].undecided == ()


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Resource": "*"}, "Has prohibited field Resource"),
        ({"NotResource": "*"}, "Has prohibited field Resource"),
        ({"Principal": None}, "Missing required field Principal"),
        ({"Action": "iam:GetUser"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Action": "*"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Action": "sts:GetSessionToken"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Action": []}, NO_ACTIONS),
        ({"Action": "AssumeRole"}, NO_VENDOR),
        ({"Principal": {"AWS": "bob"}}, 'Invalid principal in policy: "AWS":"bob"'),
        (
            {"Principal": {"AWS": "arn:aws:iam::123456789012:user/*"}},
            'Invalid principal in policy: "AWS":"arn:aws:iam::123456789012:user/*"',
        ),
        (
            {"Principal": {"AWS": "arn:aws:iam::123456789012:group/makers"}},
            'Invalid principal in policy: "AWS":"arn:aws:iam::123456789012:group/makers"',
        ),
        ({"Principal": {"Servant": "x"}}, 'Invalid principal in policy: "Servant":"x"'),
        ({"Principal": {"Service": "not a domain"}}, 'Invalid principal in policy: "Service":"not a domain"'),
        ({"Principal": {}}, SYNTAX),
        ({"Principal": {"AWS": {}}}, SYNTAX),
        ({"Principal": "bob"}, SYNTAX),
        ({"NotPrincipal": {"AWS": "123456789012"}}, SYNTAX),
        ({"Principal": None, "NotPrincipal": "*"}, "Allow with NotPrincipal is not allowed."),
        ({"Sid": "a b"}, SID_SHAPE),
        (
            {"Condition": {"StringEquals": {"aws:Foo": "x"}}},
            "The condition key aws:Foo does not exist. Use a valid condition key.",
        ),
    ],
)
def test_a_refused_trust_policy_gets_the_text_of_aws(elements: dict[str, Any], message: str) -> None:
    whole = {name: value for name, value in {**TRUST, **elements}.items() if value is not None}
    with pytest.raises(MalformedPolicyDocumentError) as caught:
        validate(policy(whole), kind=DocumentKind.TRUST)
    assert caught.value.message == message


def test_a_resource_policy_names_principals_and_resources() -> None:
    document = validate(policy(ON_RESOURCE), kind=DocumentKind.RESOURCE)
    assert document.statements[0].principals is not None
    for missing, message in (
        ("Principal", "Missing required field Principal"),
        ("Resource", NO_RESOURCES),
        ("Action", NO_ACTIONS),
    ):
        without = {name: value for name, value in ON_RESOURCE.items() if name != missing}
        with pytest.raises(MalformedPolicyDocumentError) as caught:
            validate(policy(without), kind=DocumentKind.RESOURCE)
        assert caught.value.message == message
