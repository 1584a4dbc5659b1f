"""Which policy on a role revokes its older sessions, and which only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.rotation.revocation import revoked_before

CUT = "2026-11-23T01:00:00Z"
CUT_MS = 1_795_395_600_000


def statement(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "Effect": "Deny",
        "Action": ["*"],
        "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": CUT}},
    }
    return whole | changes


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    "document",
    [
        policy(statement()),
        policy(statement(Action="*", Resource="*", Sid="Revoked")),
        policy(statement(Condition={"DateLessThan": {"aws:tokenissuetime": [CUT]}})),
        policy(statement(Condition={"DateLessThan": {"aws:TokenIssueTime": "2026-11-23T02:00:00+01:00"}})),
        {"Version": "2012-10-17", "Statement": statement()},
        policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}, statement()),
    ],
)
def test_what_denies_everything_to_older_sessions_revokes_them(document: object) -> None:
    assert revoked_before(document) == CUT_MS


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        policy(),
        policy("Deny"),
        policy(statement(Effect="Allow")),
        policy(statement(Action="s3:*")),
        policy(statement(Action=["s3:*", "iam:*"])),
        policy(statement(Resource="arn:aws:s3:::b/*")),
        policy(statement(NotPrincipal="*")),
        policy(statement(Condition={})),
        policy(statement(Condition={"DateGreaterThan": {"aws:TokenIssueTime": CUT}})),
        policy(statement(Condition={"DateLessThan": {"aws:CurrentTime": CUT}})),
        policy(statement(Condition={"DateLessThan": {"aws:TokenIssueTime": [CUT, CUT]}})),
        policy(statement(Condition={"DateLessThan": {"aws:TokenIssueTime": "yesterday"}})),
        policy(statement(Condition={"DateLessThan": {"aws:TokenIssueTime": "2026-11-23T01:00:00"}})),
        policy(
            statement(
                Condition={
                    "DateLessThan": {"aws:TokenIssueTime": CUT},
                    "IpAddress": {"aws:SourceIp": "10.0.0.0/8"},
                }
            )
        ),
    ],
)
def test_what_denies_less_revokes_nothing(document: object) -> None:
    assert revoked_before(document) is None
