from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.policy.document import compile_document
from keyturn.policy.evaluation import (
    AttachedPolicy,
    Decision,
    Request,
    StatementReference,
    decide,
    denial_message,
)

ACCOUNT = "123456789012"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
ANN = f"arn:aws:iam::{ACCOUNT}:user/team/ann"


def attached(
    *statements: dict[str, Any], name: str = "policy", version: str = "2012-10-17"
) -> AttachedPolicy:
    text = json.dumps({"Version": version, "Statement": list(statements)})
    return AttachedPolicy(name, compile_document(text))


def allow(action: Any = "*", resource: Any = "*", **elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **elements}


def deny(action: Any = "*", resource: Any = "*", **elements: Any) -> dict[str, Any]:
    return {**allow(action, resource, **elements), "Effect": "Deny"}


def instead(statement: dict[str, Any], element: str) -> dict[str, Any]:
    """The statement with `NotAction` for `Action`, say."""
    return {f"Not{name}" if name == element else name: value for name, value in statement.items()}


def ask(action: str, resource: str, *policies: AttachedPolicy, username: str | None = "bob") -> Decision:
    return decide(
        Request(action, resource, {"aws:username": username} if username is not None else {}), policies
    )


def test_nothing_is_allowed_by_default() -> None:
    assert ask("iam:GetUser", BOB) == Decision(allowed=False, explicit_deny=False, statement=None)
    assert ask("iam:GetUser", BOB, attached(allow("iam:ListUsers"))).statement is None


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    allowing, denying = attached(allow(), name="allowing"), attached(deny("iam:*"), name="denying")
    for policies in ((allowing, denying), (denying, allowing), (attached(allow(), deny("iam:*")),)):
        decision = ask("iam:GetUser", BOB, *policies)
        assert not decision.allowed
        assert decision.explicit_deny
    assert ask("sts:GetSessionToken", "*", allowing, denying).allowed


def test_a_decision_names_the_first_statement_that_made_it() -> None:
    first = attached(allow("s3:*"), allow("iam:Create*", Sid="Makers"), allow(), name="first")
    second = attached(allow(), deny("iam:DeleteUser", Sid="Never"), name="arn:aws:iam::aws:policy/Second")
    assert ask("iam:CreateUser", BOB, first, second).statement == StatementReference("first", 1, "Makers")
    assert ask("iam:GetUser", BOB, first, second).statement == StatementReference("first", 2, None)
    assert ask("iam:DeleteUser", BOB, first, second).statement == StatementReference(
        "arn:aws:iam::aws:policy/Second", 1, "Never"
    )


@pytest.mark.parametrize(
    "order",
    [("*", "iam:Get*", "iam:GetUser"), ("iam:GetUser", "*", "iam:Get*"), ("iam:Get*", "iam:GetUser", "*")],
)
def test_the_first_statement_is_first_however_it_names_the_action(order: Sequence[str]) -> None:
    decision = ask("iam:GetUser", BOB, attached(*(allow(action) for action in order)))
    assert decision.statement == StatementReference("policy", 0, None)


@pytest.mark.parametrize(
    ("statement", "action", "resource", "expected"),
    [
        (allow("iam:GetUser", BOB), "iam:GetUser", BOB, True),
        (allow("iam:getuser", BOB), "IAM:GETUSER", BOB, True),
        (allow("iam:GetUser", BOB), "iam:GetUser", ANN, False),
        (allow("iam:GetUser", BOB), "iam:GetUserPolicy", BOB, False),
        (allow("iam:GetUser", BOB.upper()), "iam:GetUser", BOB, False),
        (allow(["iam:List*", "iam:GetUser"], [ANN, BOB]), "iam:GetUser", BOB, True),
        (allow("iam:*", f"arn:aws:iam::{ACCOUNT}:user/team/*"), "iam:GetUser", ANN, True),
        (allow("iam:*", f"arn:aws:iam::{ACCOUNT}:user/team/*"), "iam:GetUser", BOB, False),
        (allow("iam:GetAccountSummary"), "iam:GetAccountSummary", "*", True),
        (allow("iam:GetAccountSummary", "arn:aws:iam::*:*"), "iam:GetAccountSummary", "*", False),
        (instead(allow("iam:*"), "Action"), "sts:AssumeRole", BOB, True),
        (instead(allow("iam:*"), "Action"), "iam:GetUser", BOB, False),
        (instead(allow(["iam:DeleteUser", "sts:*"]), "Action"), "iam:GetUser", BOB, True),
        (instead(allow("*"), "Action"), "iam:GetUser", BOB, False),
        (instead(allow(resource=ANN), "Resource"), "iam:GetUser", BOB, True),
        (instead(allow(resource=ANN), "Resource"), "iam:GetUser", ANN, False),
        (instead(allow(resource=[ANN, BOB]), "Resource"), "iam:GetUser", BOB, False),
        (instead(allow(resource="*"), "Resource"), "iam:GetUser", BOB, False),
        (instead(instead(allow("iam:*", ANN), "Action"), "Resource"), "s3:GetObject", BOB, True),
        (instead(instead(allow("iam:*", ANN), "Action"), "Resource"), "iam:GetUser", BOB, False),
        (allow(resource="arn:aws:iam::*:user/${aws:username}"), "iam:GetUser", BOB, True),
        (allow(resource="arn:aws:iam::*:user/${aws:username}"), "iam:GetUser", ANN, False),
        (allow(resource="arn:aws:iam::*:user/*/${AWS:UserName}?"), "iam:GetUser", f"{ANN[:-3]}bob1", True),
        (allow(resource=f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"), "iam:GetUser", BOB, True),
        (
            instead(allow(resource="arn:aws:iam::*:user/${aws:username}"), "Resource"),
            "iam:GetUser",
            BOB,
            False,
        ),
        (
            instead(allow(resource="arn:aws:iam::*:user/${aws:username}"), "Resource"),
            "iam:GetUser",
            ANN,
            True,
        ),
        (allow(resource="arn:aws:iam::*:user/b${*}"), "iam:GetUser", BOB, False),
        (allow(resource="arn:aws:iam::*:user/b${*}"), "iam:GetUser", BOB.replace("bob", "b*"), True),
    ],
)
def test_an_allow_allows_what_it_covers(
    statement: dict[str, Any], action: str, resource: str, *, expected: bool
) -> None:
    assert ask(action, resource, attached(statement)).allowed is expected


@pytest.mark.parametrize(
    ("statement", "action", "resource", "expected"),
    [
        (deny("iam:Delete*"), "iam:DeleteUser", BOB, True),
        (deny("iam:Delete*"), "iam:GetUser", BOB, False),
        (instead(deny("iam:Get*"), "Action"), "iam:DeleteUser", BOB, True),
        (instead(deny("iam:Get*"), "Action"), "iam:GetUser", BOB, False),
        (instead(deny(resource=ANN), "Resource"), "iam:GetUser", BOB, True),
        (instead(deny(resource=ANN), "Resource"), "iam:GetUser", ANN, False),
        (deny(resource="arn:aws:iam::*:user/${aws:username}"), "iam:DeleteUser", BOB, True),
        (deny(resource="arn:aws:iam::*:user/${aws:username}"), "iam:DeleteUser", ANN, False),
    ],
)
def test_a_deny_denies_what_it_covers(
    statement: dict[str, Any], action: str, resource: str, *, expected: bool
) -> None:
    assert ask(action, resource, attached(allow(), statement)).explicit_deny is expected


def test_where_a_star_could_cross_a_colon_the_reading_that_allows_less_counts() -> None:
    crossing = f"arn:aws:iam::{ACCOUNT}:user/x:user/bob"
    pattern = "arn:aws:iam::1*:user/bob"
    assert not ask("iam:GetUser", crossing, attached(allow(resource=pattern))).allowed
    assert not ask("iam:GetUser", crossing, attached(instead(allow(resource=pattern), "Resource"))).allowed
    assert ask("iam:GetUser", crossing, attached(allow(), deny(resource=pattern))).explicit_deny
    assert ask("iam:GetUser", crossing, attached(instead(deny(resource=pattern), "Resource"))).explicit_deny


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
def test_a_variable_without_value_allows_nothing(element: str) -> None:
    statement = allow(resource=["arn:aws:iam::*:user/${aws:username}", ANN])
    statement = instead(statement, "Resource") if element == "NotResource" else statement
    for resource in (ANN, BOB, f"arn:aws:iam::{ACCOUNT}:user/"):
        assert not ask("iam:GetUser", resource, attached(statement), username=None).allowed


def test_a_variable_without_value_matches_nothing_in_a_deny() -> None:
    statement = deny(resource="arn:aws:iam::*:user/${aws:username}")
    assert ask("iam:GetUser", BOB, attached(allow(), statement), username=None).allowed
    spared = instead(statement, "Resource")
    assert ask("iam:GetUser", BOB, attached(allow(), spared), username=None).explicit_deny


@pytest.mark.parametrize("username", ["*", "b*", "b?b", "${aws:username}"])
def test_a_name_that_looks_like_a_wildcard_is_a_name(username: str) -> None:
    own = attached(allow(resource="arn:aws:iam::*:user/${aws:username}"))
    assert not ask("iam:GetUser", BOB, own, username=username).allowed
    assert ask("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/{username}", own, username=username).allowed


def test_a_resource_longer_than_any_arn_is_allowed_nowhere() -> None:
    assert not ask("iam:GetUser", BOB + "b" * 2048, attached(allow())).allowed
    assert not ask("iam:" + "b" * 2048, BOB, attached(allow())).allowed


def test_a_denial_is_told_in_the_words_of_aws() -> None:
    implicit, explicit = ask("iam:GetUser", ANN), ask("iam:GetUser", ANN, attached(deny()))
    assert denial_message(BOB, "iam:GetUser", ANN, implicit) == (
        f"User: {BOB} is not authorized to perform: iam:GetUser on resource: {ANN} "
        "because no identity-based policy allows the iam:GetUser action"
    )
    assert denial_message(BOB, "iam:GetUser", ANN, explicit) == (
        f"User: {BOB} is not authorized to perform: iam:GetUser on resource: {ANN} "
        "with an explicit deny in an identity-based policy"
    )


actions = st.sampled_from(
    ["*", "*:*", "iam:*", "iam:Get*", "iam:GetUser", "iam:?etUser", "iam:*User", "sts:*", "s3:Get*"]
)
resources = st.sampled_from(
    [
        *("*", BOB, ANN, "arn:aws:iam::*", "arn:aws:iam::*:user/*", "arn:aws:iam::*:user/team/*"),
        *("arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::1*:user/???", "arn:aws:iam::*:group/*"),
    ]
)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "Effect": draw(st.sampled_from(["Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(st.lists(actions, min_size=1, max_size=3)),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(st.lists(resources, min_size=1, max_size=3)),
    }


policies = st.lists(st.lists(statements(), min_size=1, max_size=3), max_size=3)
requests = st.builds(
    Request,
    st.sampled_from(["iam:GetUser", "iam:CreateUser", "sts:GetSessionToken", "s3:GetObject"]),
    st.sampled_from(
        [BOB, ANN, "*", f"arn:aws:iam::{ACCOUNT}:group/bob", f"arn:aws:iam::{ACCOUNT}:user/x:user/bob"]
    ),
    st.sampled_from([{}, {"aws:username": "bob"}, {"aws:username": "*"}]),
)
unsupported = st.sampled_from(
    [
        {"Condition": {"StringEquals": {"aws:username": "bob"}}},
        {"Condition": {}},
        {"Principal": "*"},
        {"NotPrincipal": "*"},
        {"Whatever": []},
    ]
)


def decided(request: Request, documents: Sequence[Sequence[dict[str, Any]]]) -> Decision:
    return decide(request, [attached(*document, name=str(at)) for at, document in enumerate(documents)])


@given(requests, policies, statements(), st.integers(0, 3))
def test_adding_a_deny_never_allows(
    request: Request, documents: list[list[dict[str, Any]]], extra: dict[str, Any], at: int
) -> None:
    before = decided(request, documents)
    after = decided(request, [*documents[:at], [{**extra, "Effect": "Deny"}], *documents[at:]])
    assert before.allowed or not after.allowed
    assert after.explicit_deny or not before.explicit_deny


@given(requests, policies, st.data())
def test_removing_an_allow_never_allows(
    request: Request, documents: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    before = decided(request, documents)
    kept = [
        [s for s in document if s["Effect"] == "Deny" or data.draw(st.booleans())]
        or [{"Effect": "Allow", "Action": "s3:None", "Resource": "*"}]
        for document in documents
    ]
    after = decided(request, kept)
    assert before.allowed or not after.allowed
    assert after.explicit_deny is before.explicit_deny


@given(requests, statements(), unsupported)
def test_an_unsupported_element_never_allows_and_its_deny_denies(
    request: Request, statement: dict[str, Any], element: dict[str, Any]
) -> None:
    assert not decided(request, [[{**statement, **element, "Effect": "Allow"}]]).allowed
    plain = decided(request, [[allow()], [{**statement, "Effect": "Deny"}]])
    assert decided(request, [[allow()], [{**statement, **element, "Effect": "Deny"}]]) == plain


@given(requests, policies)
def test_the_order_of_policies_names_another_statement_and_decides_the_same(
    request: Request, documents: list[list[dict[str, Any]]]
) -> None:
    forwards, backwards = decided(request, documents), decided(request, documents[::-1])
    assert (forwards.allowed, forwards.explicit_deny) == (backwards.allowed, backwards.explicit_deny)


@given(requests, policies)
def test_a_decision_with_a_verdict_of_its_own_names_a_statement_of_that_effect(
    request: Request, documents: list[list[dict[str, Any]]]
) -> None:
    decision = decided(request, documents)
    if decision.statement is None:
        assert not decision.allowed
        assert not decision.explicit_deny
    else:
        named = documents[int(decision.statement.policy)][decision.statement.index]
        assert named["Effect"] == ("Allow" if decision.allowed else "Deny")


def test_hostile_policies_are_decided_at_once() -> None:
    longest = f"arn:aws:iam::{ACCOUNT}:user/" + "a" * 600
    hostile = [
        attached(deny(resource=[f"arn:aws:iam::*:user/{pattern}"], action=f"iam:{pattern}"))
        for pattern in (
            "*a" * 2500 + "b",
            "*?a" * 2000 + "b",
            "*" + "?a" * 300 + "b*",
            "${aws:username}*?" * 500,
        )
    ]
    started = time.process_time()
    for _ in range(10):
        ask("iam:" + "a" * 100, longest, *hostile, username="a" * 64)
    assert time.process_time() - started < 2
