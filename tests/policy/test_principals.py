"""Whose grant carries how far (IAM user guide, "Principal", "NotPrincipal", "Policy evaluation logic")."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.policy.elements import UnreadableError
from keyturn.policy.principals import (
    ANONYMOUS,
    InvalidPrincipalError,
    Principal,
    Reach,
    compile_principals,
    federated,
    federated_user,
    role_session,
    root_of,
    service,
    user,
)

ACCOUNT = "123456789012"
ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"
BOB_ARN = f"arn:aws:iam::{ACCOUNT}:user/team/bob"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/app/deploy"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/run"
FRED_ARN = f"arn:aws:sts::{ACCOUNT}:federated-user/fred"
GITHUB_ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
CANONICAL = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"

BOB = user(BOB_ARN, "AIDAQWERTYUIOPASDFGHJ")
SESSION = role_session(SESSION_ARN, ROLE_ARN, "AROAQWERTYUIOPASDFGHJ")
FRED = federated_user(FRED_ARN, BOB_ARN, "AIDAQWERTYUIOPASDFGHJ")
ROOT = root_of(ACCOUNT)
EC2 = service("ec2.amazonaws.com")
GITHUB = federated(GITHUB_ARN)
EVERYONE = [BOB, SESSION, FRED, ROOT, EC2, GITHUB, ANONYMOUS]


def reach(element: Any, principal: Principal) -> Reach:
    return compile_principals({"Principal": element}).reach(principal)


@pytest.mark.parametrize(
    ("element", "principal", "expected"),
    [
        ({"AWS": ACCOUNT}, BOB, Reach.DELEGATES),
        ({"AWS": ROOT_ARN}, SESSION, Reach.DELEGATES),
        ({"AWS": ROOT_ARN}, FRED, Reach.DELEGATES),
        ({"AWS": ROOT_ARN}, ROOT, Reach.DELEGATES),
        ({"AWS": "210987654321"}, BOB, Reach.NOBODY),
        ({"AWS": ACCOUNT}, EC2, Reach.NOBODY),
        ({"AWS": ACCOUNT}, GITHUB, Reach.NOBODY),
        ({"AWS": BOB_ARN}, BOB, Reach.BY_ITSELF),
        ({"AWS": "AIDAQWERTYUIOPASDFGHJ"}, BOB, Reach.BY_ITSELF),
        ({"AWS": BOB_ARN.replace("/team", "")}, BOB, Reach.NOBODY),
        ({"AWS": BOB_ARN}, FRED, Reach.NOBODY),
        ({"AWS": ROLE_ARN}, SESSION, Reach.CAPPED),
        ({"AWS": "AROAQWERTYUIOPASDFGHJ"}, SESSION, Reach.CAPPED),
        ({"AWS": "AROAQWERTYUIOPASDFGHJ:run"}, SESSION, Reach.BY_ITSELF),
        ({"AWS": "AROAQWERTYUIOPASDFGHJ:ruin"}, SESSION, Reach.NOBODY),
        ({"AWS": "AROAJHGFDSAPOIUYTREWQ"}, SESSION, Reach.NOBODY),
        ({"AWS": "AIDAQWERTYUIOPASDFGHJ"}, FRED, Reach.NOBODY),
        ({"AWS": ROLE_ARN.replace("/app", "")}, SESSION, Reach.NOBODY),
        ({"AWS": SESSION_ARN}, SESSION, Reach.BY_ITSELF),
        ({"AWS": SESSION_ARN + "2"}, SESSION, Reach.NOBODY),
        ({"AWS": [ACCOUNT, ROLE_ARN, SESSION_ARN]}, SESSION, Reach.BY_ITSELF),
        ({"AWS": FRED_ARN}, FRED, Reach.BY_ITSELF),
        ({"Service": "ec2.amazonaws.com"}, EC2, Reach.BY_ITSELF),
        ({"Service": "s3.amazonaws.com"}, EC2, Reach.NOBODY),
        ({"Service": "*"}, BOB, Reach.NOBODY),
        ({"Federated": GITHUB_ARN}, GITHUB, Reach.BY_ITSELF),
        ({"Federated": "accounts.google.com"}, GITHUB, Reach.NOBODY),
        ({"CanonicalUser": CANONICAL}, BOB, Reach.NOBODY),
        ({"AWS": BOB_ARN, "Service": "ec2.amazonaws.com"}, EC2, Reach.BY_ITSELF),
    ],
)
def test_a_grant_carries_as_far_as_it_names(element: Any, principal: Principal, expected: Reach) -> None:
    assert reach(element, principal) is expected


@pytest.mark.parametrize("element", ["*", {"AWS": "*"}, {"AWS": ["*", BOB_ARN.replace("bob", "ann")]}])
@pytest.mark.parametrize("principal", EVERYONE, ids=lambda principal: principal.kind.value)
def test_a_star_names_everybody_and_lifts_nobody_over_a_boundary(element: Any, principal: Principal) -> None:
    assert reach(element, principal) is Reach.CAPPED


def test_a_canonical_user_is_named_by_its_id() -> None:
    bob = Principal(BOB.kind, BOB_ARN, ACCOUNT, canonical_user=CANONICAL)
    assert reach({"CanonicalUser": CANONICAL}, bob) is Reach.BY_ITSELF


@pytest.mark.parametrize(
    ("names", "spared"),
    [
        ([BOB_ARN, ROOT_ARN], [BOB]),
        ([BOB_ARN], []),
        ([ROOT_ARN], [ROOT]),
        ([SESSION_ARN, ROLE_ARN, ACCOUNT], [SESSION, ROOT]),
        ([ROLE_ARN, ACCOUNT], [ROOT]),
        ([FRED_ARN, ACCOUNT], [FRED, ROOT]),
        (["AIDAQWERTYUIOPASDFGHJ", ACCOUNT], [BOB, ROOT]),
        (["AROAQWERTYUIOPASDFGHJ:run", "AROAQWERTYUIOPASDFGHJ", ACCOUNT], [SESSION, ROOT]),
        (["AROAQWERTYUIOPASDFGHJ:run", ROLE_ARN, ACCOUNT], [SESSION, ROOT]),
        (["AROAQWERTYUIOPASDFGHJ", ACCOUNT], [ROOT]),
    ],
)
def test_not_principal_spares_whom_it_names_on_every_level(names: Any, spared: list[Principal]) -> None:
    principals = compile_principals({"NotPrincipal": {"AWS": names}})
    for principal in EVERYONE:
        expected = principal not in spared and not (principal is ROOT and ROOT_ARN in names)
        assert principals.concern(principal, has_boundary=False) is expected
        assert principals.concern(principal, has_boundary=True)
        assert principals.reach(principal) is Reach.NOBODY


def test_not_principal_spares_services_and_providers_by_name() -> None:
    principals = compile_principals(
        {"NotPrincipal": {"Service": "ec2.amazonaws.com", "Federated": GITHUB_ARN}}
    )
    assert not principals.concern(EC2, has_boundary=False)
    assert not principals.concern(GITHUB, has_boundary=False)
    assert principals.concern(BOB, has_boundary=False)
    assert principals.concern(ANONYMOUS, has_boundary=False)


@pytest.mark.parametrize("name", [BOB_ARN, "AIDAQWERTYUIOPASDFGHJ"])
def test_a_deny_of_a_user_is_one_of_its_federated_users(name: str) -> None:
    principals = compile_principals({"Principal": {"AWS": name}})
    assert principals.concern(FRED, has_boundary=False)
    assert not principals.concern(SESSION, has_boundary=False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("AWS", ""),
        ("AWS", "bob"),
        ("AWS", "12345678901"),
        ("AWS", "arn:aws:iam::123456789012:user/*"),
        ("AWS", "arn:aws:iam::*:root"),
        ("AWS", "arn:aws:iam::123456789012:user/b?b"),
        ("AWS", "arn:aws:iam::123456789012:group/makers"),
        ("AWS", "arn:aws:sts::123456789012:assumed-role/deploy/*"),
        ("AWS", "arn:aws:s3:::bucket"),
        ("AWS", "AIDAQWERTYUIOPASDFGHJ:run"),
        ("AWS", "AROAQWERTYUIOPASDFGHJ:*"),
        ("AWS", BOB_ARN + "\n"),
        ("Service", "-"),
        ("Service", "ec2.amazonaws.com/x"),
        ("Federated", "arn:aws:iam::123456789012:user/bob"),
        ("CanonicalUser", "79a59"),
        ("Human", "bob"),
    ],
)
def test_a_text_that_names_nobody_is_told(kind: str, text: str) -> None:
    with pytest.raises(InvalidPrincipalError) as caught:
        compile_principals({"Principal": {kind: text}})
    assert (caught.value.kind, caught.value.text) == (kind, text)


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"Principal": "*", "NotPrincipal": "*"},
        {"Principal": {}},
        {"Principal": {"AWS": []}},
        {"Principal": {"AWS": 123456789012}},
        {"Principal": ["*"]},
        {"Principal": None},
    ],
)
def test_an_element_of_another_shape_is_unreadable(statement: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        compile_principals(statement)
