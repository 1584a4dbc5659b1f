from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.policy.document import DocumentKind, Effect, compile_document
from keyturn.policy.evaluation import (
    AttachedPolicy,
    Decision,
    Policies,
    PolicyKind,
    Request,
    StatementReference,
    decide,
    denial_message,
)
from keyturn.policy.principals import (
    ANONYMOUS,
    Principal,
    federated,
    role_session,
    root_of,
    service,
    user,
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


def test_a_resource_with_a_variable_without_value_covers_nothing() -> None:
    own = attached(allow(resource=["arn:aws:iam::*:user/${aws:username}", ANN]))
    assert ask("iam:GetUser", ANN, own, username=None).allowed
    for resource in (BOB, f"arn:aws:iam::{ACCOUNT}:user/"):
        assert not ask("iam:GetUser", resource, own, username=None).allowed


def test_a_not_resource_with_a_variable_without_value_allows_nothing() -> None:
    statement = instead(allow(resource=["arn:aws:iam::*:user/${aws:username}", ANN]), "Resource")
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
        {"Condition": {"StringResembles": {"aws:username": "bob"}}},
        {"Condition": []},
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


ELSEWHERE = "210987654321"
SECRET = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:db-a1b2c3"
FAR_SECRET = SECRET.replace(ACCOUNT, ELSEWHERE)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app/deploy"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/run"
USER, SESSION, ROOT = user(BOB), role_session(SESSION_ARN, ROLE), root_of(ACCOUNT)
GET = "secretsmanager:GetSecretValue"


def resource_policy(
    *statements: dict[str, Any], kind: DocumentKind = DocumentKind.RESOURCE
) -> AttachedPolicy:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return AttachedPolicy("resource", compile_document(text, kind))


def granting(principal: Any, **elements: Any) -> AttachedPolicy:
    return resource_policy(allow(Principal=principal, **elements))


def trusting(principal: Any, action: str = "sts:AssumeRole", effect: str = "Allow") -> AttachedPolicy:
    return resource_policy(
        {"Effect": effect, "Principal": principal, "Action": action}, kind=DocumentKind.TRUST
    )


def secret(principal: Principal | None, policies: Policies, resource: str = SECRET) -> Decision:
    return decide(Request(GET, resource, {}, principal), policies)


EVERYTHING, NOTHING = attached(allow(), name="everything"), attached(allow("s3:None"), name="nothing")


@pytest.mark.parametrize(
    ("kind", "policies"),
    [
        (PolicyKind.IDENTITY, Policies([NOTHING], EVERYTHING, [EVERYTHING])),
        (PolicyKind.BOUNDARY, Policies([EVERYTHING], NOTHING, [EVERYTHING])),
        (PolicyKind.SESSION, Policies([EVERYTHING], EVERYTHING, [NOTHING])),
        (PolicyKind.SESSION, Policies([EVERYTHING], EVERYTHING, [])),
        (PolicyKind.RESOURCE, Policies([EVERYTHING], needs_resource_policy=True)),
        (PolicyKind.TRUST, Policies([EVERYTHING], resource=trusting({"AWS": ELSEWHERE}))),
    ],
)
def test_what_one_kind_of_policy_does_not_allow_nothing_else_does(
    kind: PolicyKind, policies: Policies
) -> None:
    decision = decide(Request("sts:AssumeRole", ROLE, {}, USER), policies)
    assert decision == Decision(allowed=False, explicit_deny=False, statement=None, kind=kind)


@pytest.mark.parametrize(
    ("kind", "policies"),
    [
        (PolicyKind.IDENTITY, Policies([EVERYTHING, attached(deny(Sid="No"))])),
        (PolicyKind.BOUNDARY, Policies([EVERYTHING], attached(allow(), deny(Sid="No")))),
        (PolicyKind.SESSION, Policies([EVERYTHING], None, [EVERYTHING, attached(deny(Sid="No"))])),
        (PolicyKind.GUARDRAIL, Policies([EVERYTHING], guardrails=[attached(deny(Sid="No"))])),
        (
            PolicyKind.RESOURCE,
            Policies([EVERYTHING], resource=resource_policy(deny(Sid="No", Principal="*"))),
        ),
    ],
)
def test_every_kind_of_policy_can_deny(kind: PolicyKind, policies: Policies) -> None:
    decision = secret(USER, policies)
    assert (decision.allowed, decision.explicit_deny, decision.kind) == (False, True, kind)
    assert decision.statement is not None
    assert decision.statement.sid == "No"


def test_a_guardrail_need_not_allow() -> None:
    assert secret(USER, Policies([EVERYTHING], guardrails=[NOTHING])).allowed


def test_a_boundary_or_session_policy_grants_nothing() -> None:
    assert not secret(USER, Policies([], EVERYTHING, [EVERYTHING])).allowed


def test_one_of_a_sessions_policies_must_allow() -> None:
    assert secret(SESSION, Policies([EVERYTHING], None, [NOTHING, EVERYTHING])).allowed


@pytest.mark.parametrize(
    ("principal", "named", "alone", "beyond"),
    [
        (USER, {"AWS": BOB}, True, True),
        (USER, {"AWS": ACCOUNT}, False, False),
        (USER, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, False, False),
        (USER, "*", True, False),
        (SESSION, {"AWS": SESSION_ARN}, True, True),
        (SESSION, {"AWS": ROLE}, True, False),
        (SESSION, {"AWS": ACCOUNT}, False, False),
        (SESSION, {"AWS": BOB}, False, False),
    ],
)
def test_within_an_account_a_resources_policy_grants_by_whom_it_names(
    principal: Principal, named: Any, *, alone: bool, beyond: bool
) -> None:
    assert secret(principal, Policies(resource=granting(named))).allowed is alone
    assert secret(principal, Policies(boundary=NOTHING, resource=granting(named))).allowed is beyond
    assert secret(principal, Policies(session=[NOTHING], resource=granting(named))).allowed is beyond
    assert secret(principal, Policies([EVERYTHING], resource=granting(named))).allowed
    denying = attached(deny())
    for policies in (
        Policies([denying], resource=granting(named)),
        Policies(boundary=denying, resource=granting(named)),
        Policies(session=[denying], resource=granting(named)),
    ):
        assert secret(principal, policies).explicit_deny


@pytest.mark.parametrize("named", ["*", {"AWS": BOB}, {"AWS": ACCOUNT}])
def test_across_accounts_both_sides_must_allow(named: Any) -> None:
    assert secret(USER, Policies([EVERYTHING], resource=granting(named)), FAR_SECRET).allowed
    assert not secret(USER, Policies([], resource=granting(named)), FAR_SECRET).allowed
    capped = Policies([EVERYTHING], NOTHING, resource=granting(named))
    assert secret(USER, capped, FAR_SECRET).kind is PolicyKind.BOUNDARY
    for without in (Policies([EVERYTHING]), Policies([EVERYTHING], resource=granting({"AWS": ELSEWHERE}))):
        decision = secret(USER, without, FAR_SECRET)
        assert (decision.allowed, decision.kind) == (False, PolicyKind.RESOURCE)


def test_the_owner_of_a_resource_may_stand_outside_its_arn() -> None:
    policies = Policies([EVERYTHING])
    bucket = "arn:aws:s3:::bucket/x"
    assert decide(Request("s3:GetObject", bucket, {}, USER), policies).allowed
    assert decide(Request("s3:GetObject", bucket, {}, USER, ACCOUNT), policies).allowed
    assert not decide(Request("s3:GetObject", bucket, {}, USER, ELSEWHERE), policies).allowed


def test_policies_of_aws_itself_are_in_every_account() -> None:
    managed = "arn:aws:iam::aws:policy/AdministratorAccess"
    assert decide(Request("iam:GetPolicy", managed, {}, USER), Policies([EVERYTHING])).allowed


def test_the_root_of_an_account_needs_no_policy_and_obeys_a_deny() -> None:
    assert secret(ROOT, Policies()) == Decision(allowed=True, explicit_deny=False, statement=None)
    denying = resource_policy(deny(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}))
    assert secret(ROOT, Policies(resource=denying)).explicit_deny
    assert not secret(ROOT, Policies(), FAR_SECRET).allowed
    assert secret(ROOT, Policies(resource=granting({"AWS": ACCOUNT})), FAR_SECRET).allowed


@pytest.mark.parametrize(
    ("principal", "named"),
    [
        (service("ec2.amazonaws.com"), {"Service": "ec2.amazonaws.com"}),
        (federated("accounts.google.com"), {"Federated": "accounts.google.com"}),
        (ANONYMOUS, "*"),
    ],
)
def test_who_has_no_identity_policies_is_allowed_by_the_resource_alone(
    principal: Principal, named: Any
) -> None:
    assert secret(principal, Policies(resource=granting(named))).allowed
    assert not secret(principal, Policies(resource=granting({"AWS": BOB}))).allowed
    assert not secret(principal, Policies([EVERYTHING])).allowed


def test_without_a_principal_no_resources_policy_allows() -> None:
    assert not secret(None, Policies([EVERYTHING], resource=granting("*"))).allowed
    assert secret(
        None, Policies([EVERYTHING], resource=resource_policy(deny(Principal={"AWS": BOB})))
    ).explicit_deny


def test_a_role_is_assumed_by_leave_of_its_trust_policy() -> None:
    ask_for = Request("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/target", {}, USER)
    assert decide(ask_for, Policies(resource=trusting({"AWS": BOB}))).allowed
    assert decide(ask_for, Policies([EVERYTHING], resource=trusting({"AWS": ACCOUNT}))).allowed
    assert not decide(ask_for, Policies(resource=trusting({"AWS": ACCOUNT}))).allowed
    untrusted = decide(ask_for, Policies([EVERYTHING], resource=trusting({"AWS": ROLE})))
    assert (untrusted.allowed, untrusted.kind) == (False, PolicyKind.TRUST)
    tagged = Policies([EVERYTHING], resource=trusting({"AWS": ACCOUNT}, "sts:TagSession"))
    assert not decide(ask_for, tagged).allowed


def test_a_trust_policy_asks_for_what_the_caller_must_know() -> None:
    trust = resource_policy(
        {
            "Effect": "Allow",
            "Principal": {"AWS": BOB},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"sts:ExternalId": "9f2"},
                "Bool": {"aws:MultiFactorAuthPresent": "true"},
            },
        },
        kind=DocumentKind.TRUST,
    )
    for context, expected in (
        ({"sts:ExternalId": "9f2", "aws:MultiFactorAuthPresent": "true"}, True),
        ({"sts:ExternalId": "9f3", "aws:MultiFactorAuthPresent": "true"}, False),
        ({"sts:ExternalId": "9f2"}, False),
    ):
        assert (
            decide(Request("sts:AssumeRole", ROLE, context, USER), Policies(resource=trust)).allowed
            is expected
        )


def test_the_rule_that_asks_for_a_second_factor_denies_who_shows_none() -> None:
    guardrail = attached(
        {
            "Effect": "Deny",
            "NotAction": ["iam:EnableMFADevice", "sts:GetSessionToken"],
            "Resource": "*",
            "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
        }
    )
    policies = Policies([EVERYTHING], guardrails=[guardrail])
    for context, expected in (
        ({}, False),
        ({"aws:MultiFactorAuthPresent": "false"}, False),
        ({"aws:MultiFactorAuthPresent": "true"}, True),
    ):
        assert decide(Request("iam:CreateUser", BOB, context), policies).allowed is expected
        assert decide(Request("sts:GetSessionToken", "*", context), policies).allowed


def test_who_may_create_users_only_under_a_boundary_cannot_escape_it() -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/developers"
    own = attached(
        allow(
            ["iam:CreateUser", "iam:PutUserPermissionsBoundary", "iam:PutUserPolicy"],
            Condition={"StringEquals": {"iam:PermissionsBoundary": boundary}},
        )
    )
    for key, expected in (
        ({"iam:PermissionsBoundary": boundary}, True),
        ({"iam:PermissionsBoundary": "x"}, False),
        ({}, False),
    ):
        assert decide(Request("iam:CreateUser", ANN, key), [own]).allowed is expected
        assert decide(Request("iam:PutUserPolicy", ANN, key), [own]).allowed is expected


def test_older_sessions_are_revoked_by_their_time_of_issue() -> None:
    revoked = attached(
        allow(),
        deny(Condition={"DateLessThan": {"aws:TokenIssueTime": "2026-11-22T10:00:00Z"}}),
    )
    for issued, expected in (("2026-11-22T09:59:59Z", False), ("2026-11-22T10:00:00Z", True)):
        decision = decide(Request("iam:GetUser", BOB, {"aws:TokenIssueTime": issued}), [revoked])
        assert decision.allowed is expected
    assert decide(Request("iam:GetUser", BOB), [revoked]).allowed


@pytest.mark.parametrize(
    ("kind", "implicit", "explicit"),
    [
        (PolicyKind.IDENTITY, "no identity-based policy", "an identity-based policy"),
        (PolicyKind.BOUNDARY, "no permissions boundary", "a permissions boundary"),
        (PolicyKind.SESSION, "no session policy", "a session policy"),
        (PolicyKind.RESOURCE, "no resource-based policy", "a resource-based policy"),
        (PolicyKind.TRUST, "no role trust policy", "the role trust policy"),
        (PolicyKind.GUARDRAIL, "no service control policy", "a service control policy"),
    ],
)
def test_a_denial_names_the_kind_of_policy(kind: PolicyKind, implicit: str, explicit: str) -> None:
    start = f"User: {BOB} is not authorized to perform: iam:GetUser on resource: {ANN} "
    denied = Decision(allowed=False, explicit_deny=False, statement=None, kind=kind)
    assert denial_message(BOB, "iam:GetUser", ANN, denied) == (
        f"{start}because {implicit} allows the iam:GetUser action"
    )
    denied = Decision(allowed=False, explicit_deny=True, statement=None, kind=kind)
    assert denial_message(BOB, "iam:GetUser", ANN, denied) == f"{start}with an explicit deny in {explicit}"


conditions: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"Condition": {"StringEquals": {"aws:username": "bob"}}},
        {"Condition": {"StringNotLike": {"aws:username": "${aws:PrincipalTag/x}*"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}, "Null": {"aws:username": "false"}}},
        {"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}},
        {"Condition": {"ForAnyValue:StringNotEquals": {"aws:TagKeys": "a"}}},
        {"Condition": {"StringEquals": {"aws:TagKeys": "a"}}},
        {"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
        {"Condition": {"NumericNotEquals": {"aws:MultiFactorAuthAge": "nonsense"}}},
        {"Condition": {"Nonsense": {"aws:username": "bob"}}},
    ]
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "aws:username": st.sampled_from(["bob", "ann"]),
        "aws:SecureTransport": st.sampled_from(["true", "false"]),
        "aws:TagKeys": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
        "aws:SourceIp": st.sampled_from(["10.1.2.3", "2001:db8::1", "nonsense"]),
        "aws:MultiFactorAuthAge": st.just("10"),
    },
)
askers = st.sampled_from([None, USER, SESSION, ROOT, ANONYMOUS, service("ec2.amazonaws.com")])
principal_elements: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({"Principal": "*"}, {"Principal": {"AWS": ACCOUNT}}, {"Principal": {"AWS": BOB}}),
        *({"Principal": {"AWS": ROLE}}, {"Principal": {"AWS": SESSION_ARN}}, {"NotPrincipal": {"AWS": BOB}}),
        *({"Principal": {"Service": "ec2.amazonaws.com"}}, {}, {"Principal": "nobody"}),
    ]
)


@st.composite
def whole_statements(draw: st.DrawFn, *, with_principal: bool = False) -> dict[str, Any]:
    made = {**draw(statements()), **draw(conditions)}
    return {**made, **draw(principal_elements)} if with_principal else made


documents = st.lists(whole_statements(), min_size=1, max_size=3)
resource_documents = st.lists(whole_statements(with_principal=True), min_size=1, max_size=3)
whole_requests = st.builds(
    Request,
    st.sampled_from(["iam:GetUser", "iam:CreateUser", "s3:GetObject"]),
    st.sampled_from([BOB, ANN, "*", BOB.replace(ACCOUNT, ELSEWHERE)]),
    contexts,
    askers,
    st.sampled_from([None, ACCOUNT, ELSEWHERE]),
)
whole_policies = st.builds(
    Policies,
    st.lists(documents.map(lambda made: attached(*made)), max_size=2),
    st.none() | documents.map(lambda made: attached(*made)),
    st.none() | st.lists(documents.map(lambda made: attached(*made)), max_size=2),
    st.none() | resource_documents.map(lambda made: resource_policy(*made)),
    st.booleans(),
    st.lists(documents.map(lambda made: attached(*made)), max_size=1),
)


def never_widens(request: Request, before: Policies, after: Policies) -> bool:
    return decide(request, before).allowed or not decide(request, after).allowed


@given(whole_requests, whole_policies, whole_statements(with_principal=True), st.sampled_from(range(5)))
def test_adding_a_deny_to_any_policy_never_allows(
    request: Request, policies: Policies, extra: dict[str, Any], where: int
) -> None:
    extra = {**extra, "Effect": "Deny"}
    plain = attached({name: value for name, value in extra.items() if "Principal" not in name})
    after = [
        replace(policies, identity=[plain, *policies.identity]),
        replace(policies, guardrails=[plain, *policies.guardrails]),
        replace(policies, session=[*(policies.session or ()), plain]),
        replace(policies, boundary=plain),
        replace(policies, resource=resource_policy(extra)),
    ][where]
    if where == 2 and policies.session is None:
        after = replace(after, session=[EVERYTHING, plain])
    if where == 4 and policies.resource is not None:
        return  # another resource policy, not one with a Deny more
    assert never_widens(request, policies, after)


@given(whole_requests, whole_policies, documents)
def test_a_boundary_or_session_policy_never_widens(
    request: Request, policies: Policies, document: list[dict[str, Any]]
) -> None:
    cap = attached(*document)
    assert never_widens(request, replace(policies, boundary=None), replace(policies, boundary=cap))
    assert never_widens(request, replace(policies, session=None), replace(policies, session=[cap]))
    assert never_widens(request, replace(policies, session=None), replace(policies, session=[]))


@given(whole_requests, whole_policies)
def test_removing_what_allows_never_allows(request: Request, policies: Policies) -> None:
    def denies_of(policy: AttachedPolicy) -> AttachedPolicy:
        kept = tuple(s for s in policy.document.statements if s.effect is Effect.DENY)
        return AttachedPolicy(policy.name, replace(policy.document, statements=kept))

    assert never_widens(request, policies, replace(policies, identity=[*map(denies_of, policies.identity)]))
    if policies.boundary is not None:
        assert never_widens(request, policies, replace(policies, boundary=denies_of(policies.boundary)))
    if policies.resource is not None:
        assert never_widens(request, policies, replace(policies, resource=denies_of(policies.resource)))
    if policies.session:
        assert never_widens(request, policies, replace(policies, session=[*map(denies_of, policies.session)]))


@given(whole_requests, whole_policies)
def test_an_identity_is_allowed_only_what_identity_boundary_and_session_all_allow(
    request: Request, policies: Policies
) -> None:
    policies = replace(policies, resource=None, needs_resource_policy=False)
    decision = decide(request, policies)
    if decision.allowed and (request.principal is None or request.principal.kind is not ROOT.kind):
        each = [policies.identity, [policies.boundary] if policies.boundary else None, policies.session]
        assert all(decide(request, [*one]).allowed for one in each if one is not None)
