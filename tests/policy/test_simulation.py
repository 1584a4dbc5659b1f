from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from keyturn.policy.context import Context, Value
from keyturn.policy.document import DocumentKind, compile_document
from keyturn.policy.principals import user
from keyturn.policy.simulation import (
    EvalDecision,
    Position,
    Simulation,
    SourcePolicy,
    SourcePolicyType,
    Span,
    context_keys,
    statement_spans,
)

ACCOUNT, ELSEWHERE = "123456789012", "210987654321"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
ANN = f"arn:aws:iam::{ACCOUNT}:user/ann"


def source(
    source_id: str, *statements: dict[str, Any], kind: DocumentKind = DocumentKind.IDENTITY
) -> SourcePolicy:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return SourcePolicy(source_id, text, compile_document(text, kind))


def saying(effect: str, action: str = "*", resource: Any = "*", **elements: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **elements}


def simulation(
    *policies: SourcePolicy, context: Mapping[str, Value] | None = None, **others: Any
) -> Simulation:
    return Simulation(policies, context=Context.of(context or {}), **others)


def test_an_allowed_action_names_the_statements_that_allow_it() -> None:
    asked = simulation(
        source("PolicyInputList.1", saying("Allow", "s3:*"), saying("Allow", "iam:Get*")),
        source("PolicyInputList.2", saying("Deny", "iam:Delete*"), saying("Allow", "iam:*", BOB)),
    )
    result = asked.evaluate("iam:GetUser", [BOB])
    assert (result.action, result.resource, result.decision) == ("iam:GetUser", BOB, EvalDecision.ALLOWED)
    assert [(one.source_policy_id, one.source_policy_type.value) for one in result.matched_statements] == [
        ("PolicyInputList.1", "IAM Policy"),
        ("PolicyInputList.2", "IAM Policy"),
    ]
    assert result.missing_context_values == ()
    assert result.allowed_by_permissions_boundary is None


def test_an_explicit_deny_names_itself_only() -> None:
    asked = simulation(source("a", saying("Allow")), source("b", saying("Allow"), saying("Deny", "iam:*")))
    result = asked.evaluate("iam:GetUser")
    assert result.decision is EvalDecision.EXPLICIT_DENY
    assert [one.source_policy_id for one in result.matched_statements] == ["b"]


def test_an_implicit_deny_names_nothing() -> None:
    result = simulation(source("a", saying("Allow", "s3:*"))).evaluate("iam:GetUser")
    assert (result.resource, result.decision) == ("*", EvalDecision.IMPLICIT_DENY)
    assert result.matched_statements == ()


def test_each_resource_has_its_own_answer_and_the_worst_is_that_of_the_action() -> None:
    asked = simulation(source("a", saying("Allow", "*", BOB)))
    result = asked.evaluate("iam:GetUser", [BOB, ANN])
    assert [one.decision for one in result.resources] == [EvalDecision.ALLOWED, EvalDecision.IMPLICIT_DENY]
    assert result.decision is EvalDecision.IMPLICIT_DENY
    assert result.matched_statements == ()


def test_keys_that_the_statements_on_the_action_ask_for_and_nobody_gave_are_missing() -> None:
    asked = simulation(
        source(
            "a",
            saying("Allow", "iam:*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
            saying("Allow", "iam:*", "arn:aws:iam::*:user/${aws:username}"),
            saying("Deny", "iam:*", Condition={"StringLike": {"aws:PrincipalTag/Team": "${aws:userid}"}}),
            saying("Allow", "s3:*", Condition={"StringEquals": {"s3:prefix": "x"}}),
        ),
        context={"AWS:USERNAME": "bob"},
    )
    result = asked.evaluate("iam:GetUser", [BOB])
    assert result.missing_context_values == (
        "aws:MultiFactorAuthPresent",
        "aws:PrincipalTag/Team",
        "aws:userid",
    )


def test_a_boundary_is_told_apart() -> None:
    boundary = source(
        "PermissionsBoundaryPolicyInputList.1", saying("Allow", "s3:*"), saying("Deny", "iam:Delete*")
    )
    asked = simulation(source("a", saying("Allow")), boundaries=[boundary])
    inside, outside = asked.evaluate("s3:GetObject"), asked.evaluate("iam:GetUser")
    assert (inside.decision, inside.allowed_by_permissions_boundary) == (EvalDecision.ALLOWED, True)
    assert (outside.decision, outside.allowed_by_permissions_boundary) == (EvalDecision.IMPLICIT_DENY, False)
    denied = asked.evaluate("iam:DeleteUser")
    assert (denied.decision, denied.allowed_by_permissions_boundary) == (EvalDecision.EXPLICIT_DENY, False)
    assert [one.source_policy_type for one in denied.matched_statements] == [
        SourcePolicyType.PERMISSIONS_BOUNDARY
    ]


def test_a_resource_policy_is_asked_about_the_caller() -> None:
    policy = source(
        "ResourcePolicy", saying("Allow", "s3:GetObject", Principal={"AWS": BOB}), kind=DocumentKind.RESOURCE
    )
    bucket = "arn:aws:s3:::bucket/x"
    asked = simulation(resource_policy=policy, caller=user(BOB))
    result = asked.evaluate("s3:GetObject", [bucket])
    assert result.decision is EvalDecision.ALLOWED
    assert result.matched_statements[0].source_policy_type is SourcePolicyType.RESOURCE
    assert result.resources[0].decision_details == {}
    other = simulation(resource_policy=policy, caller=user(ANN)).evaluate("s3:GetObject", [bucket])
    assert other.decision is EvalDecision.IMPLICIT_DENY


def test_across_accounts_both_sides_are_told() -> None:
    policy = source(
        "ResourcePolicy", saying("Allow", "s3:GetObject", Principal={"AWS": BOB}), kind=DocumentKind.RESOURCE
    )
    asked = simulation(resource_policy=policy, caller=user(BOB), resource_account=ELSEWHERE)
    result = asked.evaluate("s3:GetObject", ["arn:aws:s3:::bucket/x"])
    assert result.decision is EvalDecision.IMPLICIT_DENY
    assert result.resources[0].decision_details == {
        "IAM Policy": EvalDecision.IMPLICIT_DENY,
        "Resource Policy": EvalDecision.ALLOWED,
    }


def test_context_keys_are_those_of_conditions_and_variables_each_once() -> None:
    document = source(
        "a",
        saying(
            "Allow",
            "*",
            ["arn:aws:iam::*:user/${aws:username, 'x'}", "arn:aws:iam::*:user/${aws:PrincipalTag/t}"],
            Condition={"StringLike": {"AWS:UserName": "x", "s3:prefix": "${aws:userid}/*"}},
        ),
    ).document
    assert context_keys([document, document]) == (
        "AWS:UserName",
        "s3:prefix",
        "aws:userid",
        "aws:principaltag/t",
    )


# As AWS answered for these documents: the CLI's documentation of simulate-custom-policy (an object alone), and
# published answers for documents with lists.
ALONE = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":'
    '{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}'
)
LISTED = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "s3",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:DeleteObject"],
                "Resource": ["arn:aws:s3:::tims-fancy-bucket/only-here/*"],
            }
        ],
    }
)


def on_line_one(start: int, end: int) -> Span:
    return Span(Position(1, start), Position(1, end))


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        (ALONE, (on_line_one(38, 167),)),
        (LISTED, (on_line_one(41, 180),)),
        (
            '{"Statement":[{"a":"}]"},{"b":[1,2]} , {}]}',
            tuple(on_line_one(*columns) for columns in ((15, 25), (25, 37), (37, 42))),
        ),
        ('{"Id": {"Statement": [1]}, "Statement" : [ {} ]}', (on_line_one(43, 46),)),
        (
            '{\n  "Statement": [\n    {\n      "a": 1\n    },\n    {"b": 2}\n  ]\n}',
            (Span(Position(2, 17), Position(5, 6)), Span(Position(5, 6), Position(6, 13))),
        ),
    ],
)
def test_a_statement_stands_where_aws_says_it_does(text: str, spans: tuple[Span, ...]) -> None:
    assert statement_spans(text) == spans


def test_a_matched_statement_has_its_own_position() -> None:
    policy = source("a", saying("Allow", "s3:*"), saying("Allow", "iam:*"))
    (matched,) = simulation(policy).evaluate("iam:GetUser").matched_statements
    assert matched.span == statement_spans(policy.text)[1]
