"""Our verdicts beside those of an independent evaluator, npm's @cloud-copilot/iam-simulate, run as a program of its own.

It is looked for in `.clients/iam-simulate`, or in the directory that KEYTURN_IAM_SIMULATE names: `npm install
@cloud-copilot/iam-simulate` there. Where it is known to be wrong stands in `KNOWN_ORACLE_DEVIATIONS`; drawn cases
keep away from that.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyturn.policy.document import DocumentKind
from keyturn.policy.evaluation import AttachedPolicy, Decision, Policies, Request, decide
from keyturn.policy.principals import Principal, federated_user, role_session, user
from keyturn.policy.validation import validate

ROOT = Path(__file__).parents[2]
DIRECTORY = Path(os.environ.get("KEYTURN_IAM_SIMULATE") or ROOT / ".clients/iam-simulate")
BATCH = 1000

HOME, ABROAD = "123456789012", "210987654321"
ACCOUNT_ROOT = f"arn:aws:iam::{HOME}:root"
BOB = f"arn:aws:iam::{HOME}:user/bob"
ROLE = f"arn:aws:iam::{HOME}:role/deploy"
SESSION = f"arn:aws:sts::{HOME}:assumed-role/deploy/run-7"
FRED = f"arn:aws:sts::{HOME}:federated-user/fred"
OTHER = f"arn:aws:iam::{HOME}:user/eve"
OTHER_ROLE = f"arn:aws:iam::{HOME}:role/audit"

PRINCIPALS: dict[str, Principal] = {
    BOB: user(BOB),
    SESSION: role_session(SESSION, ROLE),
    FRED: federated_user(FRED, BOB),
}
EVERY_LEVEL = {BOB: [BOB, ACCOUNT_ROOT], SESSION: [SESSION, ROLE, ACCOUNT_ROOT], FRED: [FRED, ACCOUNT_ROOT]}

IAM_ASKED = [
    ("iam:GetUser", BOB),
    ("iam:GetUser", f"arn:aws:iam::{HOME}:user/team/ann"),
    ("iam:CreateAccessKey", BOB),
    ("iam:CreateAccessKey", f"arn:aws:iam::{HOME}:user/bobby"),
    ("iam:DeleteGroup", f"arn:aws:iam::{HOME}:group/team/makers"),
    ("iam:GetPolicy", f"arn:aws:iam::{HOME}:policy/bob"),
    ("iam:ListUsers", "*"),
    ("sts:GetSessionToken", "*"),
]
ACTIONS = [
    *(
        "*",
        "iam:*",
        "sts:*",
        "s3:*",
        "iam:Get*",
        "iam:*User",
        "iam:*e*",
        "iam:?etUser",
        "iam:Create??cessKey",
    ),
    *(
        "iam:GetUser",
        "IAM:getuser",
        "iam:CreateAccessKey",
        "iam:ListUsers",
        "sts:GetSessionToken",
        "iam:Delete*",
    ),
    *(
        "secretsmanager:*",
        "secretsmanager:Get*",
        "secretsmanager:GetSecretValue",
        "s3:GetObject",
        "sts:Assume*",
    ),
]
RESOURCES = [
    "*",
    BOB,
    "arn:aws:iam::*:*",
    "arn:aws:iam::*:user/*",
    f"arn:aws:iam::{HOME}:user/team/*",
    f"{BOB}*",
    "arn:aws:iam::12*:user/b?b",
    "arn:aws:iam::*:user/*/bob",
    "arn:aws:iam::*:group/*makers",
    "arn:aws:iam::*:user/b${*}",
    "arn:aws:s3:::bucket/*",
    "arn:aws:iam::*:user/*a*n*",
    "arn:aws:iam::210987654321:user/*",
    "arn:aws:iam::*:user/t*m/*",
    "arn:aws:secretsmanager:*:*:secret:*",
    "arn:aws:secretsmanager:us-east-1:*:secret:db-??????",
]
WITH_VARIABLES = [
    "arn:aws:iam::*:user/${aws:username}",
    "arn:aws:iam::*:user/${aws:username}?y",
    "arn:aws:iam::*:user/${aws:PrincipalTag/team}/*",
    "arn:aws:iam::*:user/${aws:PrincipalTag/team, 'team'}/*",
    "arn:aws:s3:::bucket/${aws:username}/*",
    "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/team, 'db'}-??????",
]
SHORT = ["arn:aws:iam::*", "arn:aws:iam", "arn:aws:s3:::*"]

CONTEXT: dict[str, Sequence[str | list[str]]] = {
    "aws:username": ["bob", "ann", "b*", "BOB"],
    "aws:userid": ["AIDAQ", "AROAQ:run-7", "bob"],
    "aws:PrincipalTag/team": ["team", "db", "t*m", "Team"],
    "aws:PrincipalArn": [BOB, ROLE, "arn:aws:iam::123456789012:user/team/ann"],
    "aws:SourceArn": ["arn:aws:s3:::bucket", "arn:aws:sns:us-east-1:123456789012:topic:sub"],
    "aws:SourceIp": ["10.1.2.3", "203.0.113.7", "2001:db8::1", "2001:db9::1", "10.255.255.255"],
    "aws:CurrentTime": ["2026-11-22T10:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"],
    "aws:TokenIssueTime": ["2026-01-01T00:00:00Z", "2026-06-01T12:30:00Z"],
    "aws:EpochTime": ["1767225600", "1795341600", "1767225599"],
    "aws:SecureTransport": ["true", "false"],
    "aws:MultiFactorAuthPresent": ["true", "false"],
    "aws:MultiFactorAuthAge": ["0", "300", "3599", "3600", "86400"],
    "aws:RequestedRegion": ["us-east-1", "eu-west-1", "US-EAST-1"],
    "aws:UserAgent": ["aws-cli/2.0", "Boto3/1.40 md/x", "curl"],
    "aws:TagKeys": [["team"], ["team", "cost"], ["Team", "env"], ["env"]],
    "aws:CalledVia": [["athena.amazonaws.com"], ["athena.amazonaws.com", "glue.amazonaws.com"]],
}
ARNS = [
    *(
        BOB,
        ROLE,
        "arn:aws:iam::*:user/*",
        "arn:aws:iam::1234567890??:role/*",
        "arn:aws:*:*:*:*",
        "arn:aws:s3:::*",
    ),
    *(
        "arn:aws:sns:*:123456789012:topic:*",
        "arn:aws:iam::*:user/${aws:username}",
        "arn:aws:iam::*:user/*/an?",
    ),
]
TEXTS = [
    "bob",
    "BOB",
    "b*",
    "b?b",
    "team",
    "Team",
    "db",
    "t*m",
    "us-east-1",
    "eu-*",
    "*",
    "a*/?.0",
    "Boto3/*",
    "AIDA*",
]
TEXTS_WITH_VARIABLES = [
    "${aws:username}",
    "${aws:PrincipalTag/team}",
    "${aws:username, 'bob'}",
    "a${aws:userid, 'nn'}",
]
ESCAPED = ["b${*}", "t${?}m", "*${*}*", "?${$}"]
LISTED = [
    "team",
    "cost",
    "env",
    "Team",
    "t*",
    "*.amazonaws.com",
    "athena.amazonaws.com",
    "*",
    "${aws:username, 'env'}",
]
TEXT_KEYS = [
    *("aws:username", "aws:userid", "aws:PrincipalTag/team", "aws:RequestedRegion", "aws:UserAgent"),
    *("AWS:UserName", "aws:principaltag/TEAM"),
]
DATES = [
    *("2026-01-01T00:00:00Z", "2026-01-01", "2026-11-22T11:00:00+01:00", "2026-06-01T12:30:00Z"),
    *("2025-12-31T23:59:59Z", "2027-01-01T00:00:00.500Z"),
]
NETWORKS = [
    *("10.0.0.0/8", "10.1.2.3/32", "10.1.2.0/30", "203.0.113.0/24", "128.0.0.0/1", "10.9.9.9/8"),
    *("2001:db8::/32", "2001:db8::1/128", "::/0", "2001:DB8:0:0::/64"),
]
COMPARED = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]


def some(source: random.Random, values: Sequence[str], most: int = 3) -> Any:
    chosen = source.sample(list(values), source.randint(1, min(most, len(values))))
    return chosen[0] if len(chosen) == 1 and source.random() < 0.5 else chosen


def one_condition(source: random.Random) -> tuple[str, str, Any]:
    family = source.choice(
        ["String", "String", "String", "Set", "Set", "Numeric", "Date", "Bool", "Ip", "Arn", "Null"]
    )
    if family == "Null":
        return "Null", source.choice(list(CONTEXT)), source.choice(["true", "false"])
    if family == "Set":
        operator = source.choice(
            ["Equals", "NotEquals", "Like", "NotLike", "EqualsIgnoreCase", "NotEqualsIgnoreCase"]
        )
        quantifier = source.choice(["ForAllValues:", "ForAnyValue:"])
        key = source.choice(["aws:TagKeys", "aws:TagKeys", "aws:CalledVia", "aws:username"])
        return f"{quantifier}String{operator}", key, some(source, LISTED)
    if_exists = source.choice(["", "", "IfExists"])
    if family == "String":
        operator = source.choice(
            ["Equals", "NotEquals", "Like", "NotLike", "EqualsIgnoreCase", "NotEqualsIgnoreCase"]
        )
        texts = (
            TEXTS
            + TEXTS_WITH_VARIABLES[2 if "Not" in operator else 0 :]
            + (ESCAPED if "Like" in operator else [])
        )
        return f"String{operator}{if_exists}", source.choice(TEXT_KEYS), some(source, texts)
    if family == "Numeric":
        values = some(source, ["0", "300", "3600", "3599.5", "86400", "-1", "1767225600"])
        key = source.choice(["aws:MultiFactorAuthAge", "aws:MultiFactorAuthAge", "aws:EpochTime"])
        return f"Numeric{source.choice(COMPARED)}{if_exists}", key, values
    if family == "Date":
        key = source.choice(["aws:CurrentTime", "aws:TokenIssueTime"])
        return f"Date{source.choice(COMPARED)}{if_exists}", key, some(source, DATES)
    if family == "Bool":
        key = source.choice(["aws:SecureTransport", "aws:MultiFactorAuthPresent"])
        return f"Bool{if_exists}", key, source.choice(["true", "false", "True", True, False])
    if family == "Ip":
        return f"{source.choice(['', 'Not'])}IpAddress{if_exists}", "aws:SourceIp", some(source, NETWORKS)
    operator = source.choice(["Equals", "Like", "NotEquals", "NotLike"])
    arns = [arn for arn in ARNS if "Not" not in operator or "$" not in arn]
    return (
        f"Arn{operator}{if_exists}",
        source.choice(["aws:PrincipalArn", "aws:SourceArn"]),
        some(source, arns),
    )


def conditions(source: random.Random) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {}
    for _ in range(source.choice([0, 0, 1, 1, 2, 3])):
        operator, key, values = one_condition(source)
        made.setdefault(operator, {})[key] = values
    return {"Condition": made} if made else {}


def actions(source: random.Random) -> dict[str, Any]:
    return {source.choice(["Action", "Action", "Action", "NotAction"]): some(source, ACTIONS)}


def identity_statement(source: random.Random, *, allow: float) -> dict[str, Any]:
    effect = "Allow" if source.random() < allow else "Deny"
    if source.random() < 0.2:
        return {"Effect": effect, "Action": "*", "Resource": "*", **conditions(source)}
    element = source.choice(["Resource", "Resource", "Resource", "NotResource"])
    resources = RESOURCES + (WITH_VARIABLES + SHORT if element == "Resource" else [])
    return {
        "Effect": effect,
        **actions(source),
        element: some(source, resources),
        **conditions(source),
    }


def identity_document(source: random.Random, *, allow: float = 0.7) -> dict[str, Any]:
    statements = [identity_statement(source, allow=allow) for _ in range(source.randint(1, 3))]
    return {"Version": "2012-10-17", "Statement": statements}


def principals(
    source: random.Random, effect: str, asker: str, *, everybody: bool, itself: bool
) -> dict[str, Any]:
    if effect == "Deny" and source.random() < 0.3:
        unrelated = [OTHER, OTHER_ROLE, f"arn:aws:iam::{ABROAD}:root"]
        spared = EVERY_LEVEL[asker] if source.random() < 0.6 else []
        return {"NotPrincipal": {"AWS": [*spared, *source.sample(unrelated, 1)]}}
    if (everybody or effect == "Deny") and source.random() < 0.2:
        return {"Principal": source.choice(["*", {"AWS": "*"}])}
    named = [HOME, ACCOUNT_ROOT, OTHER, OTHER_ROLE, ROLE, ABROAD, f"arn:aws:iam::{ABROAD}:user/bob"]
    named += [asker] * 2 if itself or effect == "Deny" else []
    others: dict[str, Any] = {"Service": "ec2.amazonaws.com"} if source.random() < 0.1 else {}
    return {"Principal": {"AWS": some(source, list(dict.fromkeys(named)), 2), **others}}


def resource_document(
    source: random.Random, asker: str, action: str, *, is_trust: bool, everybody: bool, itself: bool
) -> dict[str, Any]:
    statements = []
    for _ in range(source.randint(1, 3)):
        effect = source.choice(["Allow", "Allow", "Allow", "Deny"])
        statement = {
            "Effect": effect,
            **principals(source, effect, asker, everybody=everybody, itself=itself),
            **(
                {"Action": source.choice([action, action, "sts:TagSession"])} if is_trust else actions(source)
            ),
            **conditions(source),
        }
        if not is_trust:
            statement["Resource"] = source.choice(
                ["*", "*", "arn:aws:secretsmanager:*:*:secret:*", "arn:aws:s3:::*"]
            )
        statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def drawn_case(source: random.Random) -> dict[str, Any]:
    """One simulation, in the other evaluator's words."""
    asker = source.choice([BOB, BOB, SESSION, SESSION, FRED])
    is_home = source.random() < 0.6
    owner = HOME if is_home else ABROAD
    boundary = identity_document(source, allow=0.9) if source.random() < 0.35 else None
    session = identity_document(source, allow=0.9) if asker != BOB and source.random() < 0.35 else None
    kind = source.choice(["identity", "resource", "resource", "trust"])
    resource_policy: dict[str, Any] | None = None
    if kind == "identity":
        owner = HOME
        action, resource = source.choice(IAM_ASKED)
    else:
        secret = f"arn:aws:secretsmanager:us-east-1:{owner}:secret:db-a1b2c3"
        action, resource = source.choice(
            [("secretsmanager:GetSecretValue", secret), ("s3:GetObject", "arn:aws:s3:::bucket/bob/x")]
        )
        if kind == "trust":
            action, resource = "sts:AssumeRole", f"arn:aws:iam::{owner}:role/target"
        if kind == "trust" or source.random() < 0.9:
            resource_policy = resource_document(
                source,
                asker,
                action,
                is_trust=kind == "trust",
                # Where these would carry beyond boundary and session policy, the evaluators are known to differ.
                everybody=not is_home or (boundary is None and session is None),
                itself=not is_home or session is None,
            )
    keys = source.sample(list(CONTEXT), source.randint(3, len(CONTEXT)))
    return {
        "request": {
            "principal": asker,
            "action": action,
            "resource": {"resource": resource, "accountId": owner},
            "contextVariables": {key: source.choice(CONTEXT[key]) for key in keys},
        },
        "identityPolicies": [
            {"name": str(at), "policy": identity_document(source)} for at in range(source.randint(0, 3))
        ],
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
        **({"permissionBoundaryPolicies": [{"name": "boundary", "policy": boundary}]} if boundary else {}),
        **({"sessionPolicy": session} if session else {}),
        **({"resourcePolicy": resource_policy} if resource_policy else {}),
    }


def policy_of(name: str, document: Any, kind: DocumentKind = DocumentKind.IDENTITY) -> AttachedPolicy:
    return AttachedPolicy(name, validate(json.dumps(document), kind=kind))


def our_verdict(case: dict[str, Any]) -> str:
    asked = case["request"]
    kind = DocumentKind.TRUST if asked["action"] == "sts:AssumeRole" else DocumentKind.RESOURCE
    boundary = case.get("permissionBoundaryPolicies")
    decision = decide(
        Request(
            asked["action"],
            asked["resource"]["resource"],
            asked["contextVariables"],
            PRINCIPALS[asked["principal"]],
            asked["resource"]["accountId"],
        ),
        Policies(
            identity=[policy_of(one["name"], one["policy"]) for one in case["identityPolicies"]],
            boundary=policy_of("boundary", boundary[0]["policy"]) if boundary else None,
            session=[policy_of("session", case["sessionPolicy"])] if "sessionPolicy" in case else None,
            resource=policy_of("resource", case["resourcePolicy"], kind)
            if "resourcePolicy" in case
            else None,
            needs_resource_policy=kind is DocumentKind.TRUST,
        ),
    )
    return verdict(decision)


def verdict(decision: Decision) -> str:
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.explicit_deny else "ImplicitlyDenied"


def their_verdicts(cases: Sequence[dict[str, Any]]) -> list[str]:
    lines = [json.dumps(cases[at : at + BATCH]) for at in range(0, len(cases), BATCH)]
    answered = subprocess.run(
        ["node", str(Path(__file__).with_name("iam_simulate.mjs")), str(DIRECTORY)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=3000,
    ).stdout
    return [one for line in answered.splitlines() for one in json.loads(line)]


@dataclass(frozen=True)
class Deviation:
    """A case in which the other evaluator is known to differ, and why we keep our verdict."""

    reason: str
    case: dict[str, Any]
    ours: str
    theirs: str


def asked(
    *statements: dict[str, Any], asker: str = BOB, context: dict[str, Any] | None = None, **others: Any
) -> dict[str, Any]:
    return {
        "request": {
            "principal": asker,
            "action": others.pop("action", "secretsmanager:GetSecretValue"),
            "resource": {
                "resource": others.pop(
                    "resource", f"arn:aws:secretsmanager:us-east-1:{HOME}:secret:db-a1b2c3"
                ),
                "accountId": HOME,
            },
            "contextVariables": context or {},
        },
        "identityPolicies": [
            {"name": "0", "policy": {"Version": "2012-10-17", "Statement": list(statements)}}
        ]
        if statements
        else [],
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
        **others,
    }


def saying(effect: str, **elements: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "*", "Resource": "*", **elements}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


NOTHING = document(saying("Allow", Action="s3:None"))
UNRESOLVED = "${aws:PrincipalTag/team}"
KNOWN_ORACLE_DEVIATIONS = [
    Deviation(
        "A grant to everybody stands for an identity policy; AWS names only users and sessions whose grant no "
        "boundary takes back",
        asked(
            resourcePolicy=document(saying("Allow", Principal="*")),
            permissionBoundaryPolicies=[{"name": "boundary", "policy": NOTHING}],
        ),
        "ImplicitlyDenied",
        "Allowed",
    ),
    Deviation(
        "A resource policy that names the session's ARN is not limited by the session policy (IAM user guide, "
        "'Session policies')",
        asked(
            asker=SESSION,
            resourcePolicy=document(saying("Allow", Principal={"AWS": SESSION})),
            sessionPolicy=NOTHING,
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "NotPrincipal must name the account beside the user (IAM user guide, 'NotPrincipal')",
        asked(
            saying("Allow"),
            resourcePolicy=document(saying("Deny", NotPrincipal={"AWS": BOB})),
        ),
        "ExplicitlyDenied",
        "Allowed",
    ),
    Deviation(
        "NotPrincipal that names an account spares nobody in it but those that it names (as above)",
        asked(
            saying("Allow"),
            resourcePolicy=document(saying("Deny", NotPrincipal={"AWS": ACCOUNT_ROOT})),
        ),
        "ExplicitlyDenied",
        "Allowed",
    ),
    Deviation(
        "Negated operators do match against a variable without value (IAM user guide, 'Policy variables with no value')",
        asked(
            saying("Allow"),
            saying("Deny", Condition={"StringNotEquals": {"aws:username": UNRESOLVED}}),
            context={"aws:username": "bob"},
        ),
        "ExplicitlyDenied",
        "Allowed",
    ),
    Deviation(
        "A resource with a variable without value matches no resource, so NotResource leaves nothing out (as above)",
        asked(
            saying("Allow"),
            {"Effect": "Deny", "Action": "*", "NotResource": f"arn:aws:iam::*:user/{UNRESOLVED}"},
            action="iam:GetUser",
            resource=BOB,
        ),
        "ExplicitlyDenied",
        "Allowed",
    ),
    Deviation(
        "IfExists makes a missing key true, whichever quantifier stands before it (IAM user guide, 'IfExists')",
        asked(saying("Allow", Condition={"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "team"}})),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "Dates are ISO 8601 or epoch seconds, in the policy too (IAM user guide, 'Date condition operators')",
        asked(
            saying("Allow", Condition={"DateLessThan": {"aws:CurrentTime": "1767225600"}}),
            context={"aws:CurrentTime": "2025-01-01T00:00:00Z"},
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "The same in the context: aws:EpochTime is epoch seconds",
        asked(
            saying("Allow", Condition={"DateGreaterThan": {"aws:EpochTime": "2026-01-01T00:00:00Z"}}),
            context={"aws:EpochTime": "1795341600"},
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "Every IPv4 address is in 0.0.0.0/0",
        asked(
            saying("Allow", Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}),
            context={"aws:SourceIp": "203.0.113.7"},
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "An IPv6 address is not an IPv4 address, also where no prefix length is written",
        asked(
            saying("Allow", Condition={"NotIpAddress": {"aws:SourceIp": "203.0.113.7"}}),
            context={"aws:SourceIp": "2001:db8::1"},
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "The predefined variable ${*} is a star wherever a variable may stand, in a StringEquals too (IAM user guide, "
        "'Policy variables')",
        asked(
            saying("Allow", Condition={"StringEquals": {"aws:username": "b${*}"}}),
            context={"aws:username": "b*"},
        ),
        "Allowed",
        "ImplicitlyDenied",
    ),
    Deviation(
        "A role is assumed by its trust policy's leave: a role without one is nobody's to assume",
        asked(saying("Allow"), action="sts:AssumeRole", resource=OTHER_ROLE),
        "ImplicitlyDenied",
        "Allowed",
    ),
]

needs_the_other = pytest.mark.skipif(
    not (shutil.which("node") and (DIRECTORY / "node_modules/@cloud-copilot/iam-simulate").is_dir()),
    reason="needs node, and @cloud-copilot/iam-simulate in .clients/iam-simulate or KEYTURN_IAM_SIMULATE",
)


def compare(count: int, seed: int) -> Counter[tuple[str, str]]:
    source = random.Random(seed)  # noqa: S311 - the same cases every time
    cases = [drawn_case(source) for _ in range(count)]
    ours = [our_verdict(case) for case in cases]
    theirs = their_verdicts(cases)
    different = [
        (mine, other, case) for mine, other, case in zip(ours, theirs, cases, strict=True) if mine != other
    ]
    assert not different, f"{len(different)} of {count} differ, first: {json.dumps(different[0], indent=1)}"
    return Counter(
        (verdict, "resource" if "resourcePolicy" in case else "identity")
        for verdict, case in zip(ours, cases, strict=True)
    )


@needs_the_other
def test_an_independent_evaluator_comes_to_the_same_verdicts() -> None:
    verdicts = compare(2000, 20121017)
    assert len(verdicts) == 6
    assert min(verdicts.values()) > 50


@needs_the_other
@pytest.mark.faults
@pytest.mark.skipif(os.environ.get("KEYTURN_FAULTS") != "long", reason="the long run: KEYTURN_FAULTS=long")
@pytest.mark.timeout(3600)
def test_an_independent_evaluator_comes_to_the_same_verdicts_at_length() -> None:
    compare(24_000, 20081017)


@needs_the_other
def test_the_other_evaluator_still_differs_where_it_is_known_to() -> None:
    theirs = their_verdicts([deviation.case for deviation in KNOWN_ORACLE_DEVIATIONS])
    for deviation, other in zip(KNOWN_ORACLE_DEVIATIONS, theirs, strict=True):
        assert (our_verdict(deviation.case), other) == (deviation.ours, deviation.theirs), deviation.reason


@pytest.mark.parametrize("deviation", KNOWN_ORACLE_DEVIATIONS, ids=lambda deviation: deviation.reason[:60])
def test_our_verdict_is_the_documented_one(deviation: Deviation) -> None:
    assert our_verdict(deviation.case) == deviation.ours
