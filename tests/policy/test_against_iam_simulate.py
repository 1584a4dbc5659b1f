"""Our verdicts beside those of an independent evaluator, run as a program of its own.

`npm install @cloud-copilot/iam-simulate` somewhere and name that directory in KEYTURN_IAM_SIMULATE.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keyturn.policy.evaluation import AttachedPolicy, Decision, Request, decide
from keyturn.policy.validation import validate

DIRECTORY = os.environ.get("KEYTURN_IAM_SIMULATE", "")
CASES = 2000
ACCOUNT = "123456789012"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
ASKED = [
    ("iam:GetUser", BOB),
    ("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/team/ann"),
    ("iam:CreateAccessKey", BOB),
    ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/bobby"),
    ("iam:DeleteGroup", f"arn:aws:iam::{ACCOUNT}:group/team/makers"),
    ("iam:GetPolicy", f"arn:aws:iam::{ACCOUNT}:policy/bob"),
    ("iam:ListUsers", "*"),
    ("sts:GetSessionToken", "*"),
]
# What AWS documents, and what the other evaluator takes otherwise, stays out of the drawn cases: variables in
# Version 2008-10-17, a NotResource with fewer than six fields, `*` that crosses a colon.
ACTIONS = [
    "*",
    "iam:*",
    "sts:*",
    "s3:*",
    "iam:Get*",
    "iam:*User",
    "iam:*e*",
    "iam:?etUser",
    "iam:Create??cessKey",
    "iam:GetUser",
    "IAM:getuser",
    "iam:CreateAccessKey",
    "iam:ListUsers",
    "sts:GetSessionToken",
    "iam:Delete*",
]
RESOURCES = [
    "*",
    BOB,
    "arn:aws:iam::*:*",
    "arn:aws:iam::*:user/*",
    f"arn:aws:iam::{ACCOUNT}:user/team/*",
    f"{BOB}*",
    "arn:aws:iam::*:user/${aws:username}",
    "arn:aws:iam::*:user/${aws:username}?y",
    "arn:aws:iam::12*:user/b?b",
    "arn:aws:iam::*:user/*/bob",
    "arn:aws:iam::*:group/*makers",
    "arn:aws:iam::*:user/b${*}",
    "arn:aws:s3:::bucket/*",
    "arn:aws:iam::*:user/*a*n*",
    "arn:aws:iam::210987654321:user/*",
    "arn:aws:iam::*:user/t*m/*",
]
SHORT = ["arn:aws:iam::*", "arn:aws:iam", "arn:aws:s3:::*"]


def drawn(source: random.Random) -> dict[str, Any]:
    resource_element = source.choice(["Resource", "Resource", "Resource", "NotResource"])
    return {
        "Effect": source.choice(["Allow", "Allow", "Deny"]),
        source.choice(["Action", "Action", "Action", "NotAction"]): source.sample(
            ACTIONS, source.randint(1, 3)
        ),
        resource_element: source.sample(
            RESOURCES + (SHORT if resource_element == "Resource" else []), source.randint(1, 3)
        ),
    }


def verdict(decision: Decision) -> str:
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.explicit_deny else "ImplicitlyDenied"


@pytest.mark.skipif(
    not (DIRECTORY and shutil.which("node")),
    reason="needs node, and @cloud-copilot/iam-simulate in KEYTURN_IAM_SIMULATE",
)
def test_an_independent_evaluator_comes_to_the_same_verdicts() -> None:
    source = random.Random(20121017)  # noqa: S311 - the same cases every time
    simulations, ours = [], []
    for _ in range(CASES):
        action, resource = source.choice(ASKED)
        documents = [
            {"Version": "2012-10-17", "Statement": [drawn(source) for _ in range(source.randint(1, 3))]}
            for _ in range(source.randint(1, 3))
        ]
        simulations.append(
            {
                "request": {
                    "principal": BOB,
                    "action": action,
                    "resource": {"resource": resource, "accountId": ACCOUNT},
                    "contextVariables": {"aws:username": "bob"},
                },
                "identityPolicies": [{"name": str(at), "policy": one} for at, one in enumerate(documents)],
                "serviceControlPolicies": [],
                "resourceControlPolicies": [],
            }
        )
        policies = [AttachedPolicy(str(at), validate(json.dumps(one))) for at, one in enumerate(documents)]
        ours.append(verdict(decide(Request(action, resource, {"aws:username": "bob"}), policies)))
    theirs = json.loads(
        subprocess.run(
            ["node", str(Path(__file__).with_name("iam_simulate.mjs")), DIRECTORY],
            input=json.dumps(simulations),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
    )
    different = [
        (mine, other, simulation)
        for mine, other, simulation in zip(ours, theirs, simulations, strict=True)
        if mine != other
    ]
    assert not different, f"{len(different)} of {CASES}, first: {json.dumps(different[0], indent=1)}"
    assert {*ours} == {"Allowed", "ImplicitlyDenied", "ExplicitlyDenied"}
