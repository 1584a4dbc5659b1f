from __future__ import annotations

import json
from typing import Any

import pytest

from keyturn.policy.document import DocumentKind, compile_document
from keyturn.policy.evaluation import AttachedPolicy, Decision, Policies, Request, decide
from keyturn.policy.principals import user

USER = "arn:aws:iam::123456789012:user/bob"


def ask(document: Any, action: str = "iam:GetUser", resource: str = USER, username: str = "bob") -> Decision:
    text = document if isinstance(document, str) else json.dumps(document)
    policies = [
        AttachedPolicy("everything", compile_document(json.dumps(policy(statement())))),
        AttachedPolicy("asked", compile_document(text)),
    ]
    return decide(Request(action, resource, {"aws:username": username}), policies)


def allowed_alone(document: Any, resource: str = USER) -> bool:
    policies = [AttachedPolicy("asked", compile_document(json.dumps(document)))]
    return decide(Request("iam:GetUser", resource, {"aws:username": "bob"}), policies).allowed


def policy(*statements: Any, **elements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements), **elements}


def statement(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **elements}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        "\ufeff" + json.dumps(policy(statement())),
        '{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}]}',
        '{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"a":NaN}}]}',
        '{"Version":"2099-01-01","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
        '{"Version":[],"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
        "[" * 100_000,
        '{"Statement":' * 50_000,
        '{"Statement":' + "9" * 5000 + "}",
    ],
)
def test_a_document_that_cannot_be_read_denies_everything(text: str) -> None:
    decision = ask(text)
    assert decision.explicit_deny
    assert decision.statement is not None
    assert decision.statement.policy == "asked"
    assert compile_document(text).statements[0].undecided == ("unreadable",)


@pytest.mark.parametrize(
    "broken",
    [
        {"Action": 5},
        {"Action": []},
        {"Action": [["iam:GetUser"]]},
        {"Action": "GetUser"},
        {"Action": "i*m:GetUser"},
        {"NotAction": "iam:GetUser"},
        {"Resource": {}},
        {"Resource": "bob"},
        {"Resource": []},
        {"NotResource": "*"},
        {"Sid": 1},
        {"Sid": "\ud800"},
    ],
)
def test_a_statement_that_cannot_be_read_denies_everything_or_allows_nothing(broken: dict[str, Any]) -> None:
    deny = policy(statement(**{"Effect": "Deny", "Resource": "arn:aws:iam::1:user/other", **broken}))
    assert ask(deny).explicit_deny
    allow = policy(statement(**broken))
    assert not ask(allow).explicit_deny
    assert not allowed_alone(allow)


@pytest.mark.parametrize("effect", ["allow", "ALLOW", "deny", "", None, 1, []])
def test_an_unknown_effect_denies_everything(effect: Any) -> None:
    assert ask(policy(statement(Effect=effect))).explicit_deny


@pytest.mark.parametrize("missing", ["Action", "Resource"])
def test_a_missing_element_denies_everything_or_allows_nothing(missing: str) -> None:
    deny, allow = statement(Effect="Deny"), statement()
    del deny[missing], allow[missing]
    assert ask(policy(deny)).explicit_deny
    assert not allowed_alone(policy(allow))


def test_only_the_unreadable_statement_is_lost() -> None:
    assert allowed_alone(policy(statement(Action=5), statement()))


@pytest.mark.parametrize(
    "unsupported",
    [
        {"Condition": {"StringResembles": {"aws:username": "bob"}}},
        {"Condition": {"NullIfExists": {"aws:username": "false"}}},
        {"Condition": {"StringEquals": {"aws:username": {}}}},
        {"Condition": {"StringEquals": "bob"}},
        {"Condition": None},
        {"Condition": "no condition at all"},
        {"Principal": "*"},
        {"NotPrincipal": {"AWS": "*"}},
        {"Resource": "arn:aws:iam::*:user/${aws:username,'bob'}"},
        {"Resource": "arn:aws:iam::*:user/${aws:username, bob}"},
        {"Resource": "arn:aws:iam::*:user/${aws:username"},
        {"Resource": ["*", "arn:aws:iam::*:user/${}"]},
        {"Whatever": 1},
    ],
)
def test_what_no_rule_decides_counts_for_a_deny_and_not_for_an_allow(unsupported: dict[str, Any]) -> None:
    assert not allowed_alone(policy(statement(**unsupported)))
    assert ask(policy(statement(Effect="Deny", **unsupported))).explicit_deny


def test_an_unknown_element_of_the_document_silences_its_allows() -> None:
    assert not allowed_alone(policy(statement(), Extra="x"))
    assert ask(policy(statement(Effect="Deny"), Extra="x")).explicit_deny


def test_an_undecided_deny_still_asks_for_its_action_and_resource() -> None:
    condition = {"BoolLike": {"aws:SecureTransport": "false"}}
    deny = policy(statement(Effect="Deny", Action="iam:DeleteUser", Condition=condition))
    assert ask(deny, "iam:GetUser").allowed
    assert ask(deny, "iam:DeleteUser").explicit_deny


def test_a_variable_that_no_rule_explains_may_be_anything_to_a_deny() -> None:
    deny = policy(statement(Effect="Deny", Resource="arn:aws:iam::*:user/${aws:username,'x'}/x"))
    assert ask(deny, resource="arn:aws:iam::1:user/y/x").explicit_deny
    assert ask(deny, resource="arn:aws:iam::1:user/y").allowed


def test_a_variable_that_no_rule_explains_spares_nothing_from_a_deny() -> None:
    patterns = ["arn:aws:iam::*:user/${aws:username,'x'}", "arn:aws:iam::*:user/ann"]
    deny = policy(statement(Effect="Deny", NotResource=patterns) | {"Resource": None})
    del deny["Statement"][0]["Resource"]
    assert ask(deny, resource="arn:aws:iam::1:user/bob").explicit_deny
    assert ask(deny, resource="arn:aws:iam::1:user/ann").allowed


@pytest.mark.parametrize("version", [{"Version": "2008-10-17"}, {}])
def test_before_2012_a_variable_is_plain_text(version: dict[str, str]) -> None:
    document = {**version, "Statement": statement(Resource="arn:aws:iam::123456789012:user/${aws:username}")}
    assert not allowed_alone(document)
    assert allowed_alone(document, "arn:aws:iam::123456789012:user/${aws:username}")


def test_before_2012_a_condition_value_has_no_variables() -> None:
    condition = {"StringEquals": {"aws:username": "${aws:username}"}}
    old = {"Statement": statement(Condition=condition)}
    assert not allowed_alone(old)
    assert allowed_alone({**old, "Version": "2012-10-17"})


def test_a_document_remembers_its_statements_for_many_actions_and_forgets_none() -> None:
    document = compile_document(
        json.dumps(policy(statement(Action="iam:Get*"), statement(Effect="Deny", Action="iam:*")))
    )
    for _ in range(2):
        for number in range(700):
            found = document.about(f"iam:get{number}")
            assert ([s.index for s in found.allows], [s.index for s in found.denies]) == ([0], [1])
    assert not document.about("s3:getobject").denies


@pytest.mark.parametrize("kind", [DocumentKind.RESOURCE, DocumentKind.TRUST])
@pytest.mark.parametrize(
    "elements",
    [{}, {"Principal": []}, {"Principal": {"AWS": "nobody"}}, {"Principal": {"AWS": []}}, {"Principal": "x"}],
)
def test_where_nobody_is_named_an_allow_allows_nobody_and_a_deny_denies_everybody(
    kind: DocumentKind, elements: dict[str, Any]
) -> None:
    whole: dict[str, Any] = {"Effect": "Allow", "Action": "*", **elements}
    if kind is DocumentKind.RESOURCE:
        whole["Resource"] = "*"
    bob = user(USER)
    for effect, expected in (("Allow", False), ("Deny", True)):
        compiled = compile_document(json.dumps(policy({**whole, "Effect": effect})), kind)
        decision = decide(
            Request("s3:GetObject", "arn:aws:s3:::b/x", principal=bob),
            Policies(resource=AttachedPolicy("r", compiled)),
        )
        assert not decision.allowed
        assert decision.explicit_deny is expected


def test_a_single_statement_needs_no_list() -> None:
    assert allowed_alone({"Version": "2012-10-17", "Statement": statement()})
