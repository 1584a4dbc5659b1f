"""What deciding a request costs, in process, beside moto's evaluator and beside verifying a signature.

Ten policies of twenty statements stand for the caller. Figures are CPU microseconds a request
(`time.process_time`): medians over rounds in which the contestants take turns, over requests that are allowed,
denied, and denied because nothing allows them. Moto reads a policy's JSON anew for each request; it is shown
with its reading and without. The peers live in an environment of their own, `.venv-benchmarks` (another by
KEYTURN_BENCH_PYTHON); Keyturn is read there from `src`. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import gc
import importlib
import json
import operator
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
POLICIES = 10
STATEMENTS = 20
ROUNDS = 41
PASSES_A_ROUND = 40
VERIFICATIONS_A_ROUND = 200
ACCOUNT = "123456789012"
ASKED = [
    ("iam:GetUser", f"arn:aws:iam::{ACCOUNT}:user/dev/bob"),
    ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/bob"),
    ("iam:ListUsers", "*"),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/deploy"),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:db-a1b2c3"),
]
CONTEXT = {
    "aws:username": "bob",
    "aws:userid": "AIDAQWERTYUIOPASDFGHJ",
    "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/bob",
    "aws:PrincipalAccount": ACCOUNT,
    "aws:PrincipalTag/team": "payments",
    "aws:SourceIp": "10.1.2.3",
    "aws:CurrentTime": "2026-11-22T10:00:00Z",
    "aws:EpochTime": "1795341600",
    "aws:SecureTransport": "true",
    "aws:RequestedRegion": "us-east-1",
    "aws:UserAgent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux",
}
CONDITIONS: Sequence[Mapping[str, Any]] = [
    {"StringEquals": {"aws:PrincipalTag/team": ["payments", "orders"]}},
    {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}},
    {"Bool": {"aws:SecureTransport": "true"}, "StringLike": {"aws:RequestedRegion": "us-*"}},
    {"DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"}},
    {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/${aws:username}"}},
    {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
]
ACTIONS = [
    *(
        "iam:GetUser",
        "iam:Get*",
        "iam:List*",
        "iam:*AccessKey*",
        "iam:CreateUser",
        "iam:PutUserPolicy",
        "s3:*",
    ),
    *("s3:GetObject", "ec2:Describe*", "sts:AssumeRole", "sts:*", "secretsmanager:Get*", "dynamodb:Query"),
    *("logs:PutLogEvents", "lambda:InvokeFunction", "sqs:SendMessage", "kms:Decrypt", "sns:Publish"),
]
RESOURCES = [
    *("arn:aws:iam::*:user/team/*", f"arn:aws:iam::{ACCOUNT}:user/ann", "arn:aws:s3:::bucket/*"),
    *(
        f"arn:aws:iam::{ACCOUNT}:group/*",
        f"arn:aws:iam::{ACCOUNT}:role/app-*",
        f"arn:aws:sqs:*:{ACCOUNT}:jobs",
    ),
    *(f"arn:aws:secretsmanager:*:{ACCOUNT}:secret:app/*", f"arn:aws:iam::{ACCOUNT}:user/dev/bob"),
]


class Target(NamedTuple):
    ours: str
    peer: str
    at_most: float


def run_beside_the_peers() -> None:
    """Become the interpreter that has the peers."""
    default = REPOSITORY / ".venv-benchmarks" / "bin" / "python"
    python = os.environ.get("KEYTURN_BENCH_PYTHON", str(default))
    if not Path(python).exists():
        sys.exit(f"no interpreter with the peers at {python}: make .venv-benchmarks/.installed")
    environment = os.environ | {"KEYTURN_BENCH_CHILD": "1", "PYTHONPATH": str(REPOSITORY / "src")}
    os.execve(python, [python, __file__], environment)  # noqa: S606 - the same script, on purpose


def peer(module: str) -> Any:
    """A module that this project's own environment does not have."""
    return importlib.import_module(module)


def documents(*, with_conditions: bool) -> list[str]:
    """Policies as JSON texts. One statement in ten denies; the last policy allows what was asked of IAM."""
    source = random.Random(7)  # noqa: S311 - the same policies every time
    texts = []
    for policy in range(POLICIES):
        statements = []
        for number in range(STATEMENTS):
            statement: dict[str, Any] = {
                "Effect": "Deny" if number % 10 == 9 else "Allow",
                "Action": source.sample(ACTIONS, 4),
                "Resource": source.sample(RESOURCES, 2),
            }
            if statement["Effect"] == "Deny":
                statement["Action"] = ["iam:DeleteAccountAlias", "iam:Create*Key", "organizations:*"]
            condition = source.choice(CONDITIONS)
            if with_conditions and number % 2:
                statement["Condition"] = condition
            statements.append(statement)
        if policy == POLICIES - 1:
            statements[-2] = {"Effect": "Allow", "Action": "iam:*", "Resource": "*"}
        texts.append(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return texts


def keyturn_decides(texts: Sequence[str]) -> Callable[[], None]:
    """As the authority does: documents compiled before, the context gathered for each request."""
    from keyturn.policy.document import compile_document
    from keyturn.policy.evaluation import AttachedPolicy, Policies, Request, decide
    from keyturn.policy.principals import user

    policies = Policies([AttachedPolicy(str(at), compile_document(text)) for at, text in enumerate(texts)])
    bob = user(f"arn:aws:iam::{ACCOUNT}:user/bob")

    def act() -> None:
        for _ in range(PASSES_A_ROUND):
            for action, resource in ASKED:
                decide(Request(action, resource, CONTEXT, bob), policies)

    return act


def moto_decides(texts: Sequence[str], *, reads: bool) -> Callable[[], None]:
    """As `IAMRequest.check_action_permitted` goes through a caller's policies; with `reads`, their JSON too."""
    module = peer("moto.iam.access_control")
    ready = [module.IAMPolicy(text) for text in texts]
    denied, permitted = module.PermissionResult.DENIED, module.PermissionResult.PERMITTED

    def act() -> None:
        for _ in range(PASSES_A_ROUND):
            for action, resource in ASKED:
                is_permitted = False
                for text, before in zip(texts, ready, strict=True):
                    policy = module.IAMPolicy(text) if reads else before
                    result = policy.is_action_permitted(action, resource)
                    if result == denied:
                        break
                    is_permitted = is_permitted or result == permitted

    return act


def keyturn_verifies() -> Callable[[], None]:
    """Signatures of STS forms as boto3 sends them, each a different one."""
    from keyturn.model.access_keys import AccessKeyId
    from keyturn.model.secrets import Secret
    from keyturn.sigv4 import STS, SignedRequest, SigningKey, Verified, Verifier

    key_id, secret = "AKIAQWERTYUIOPASDFGH", "wJalrXUtnFEMIxK7MDENGxbPxRfiCYzzzzzzzzzz"
    auth = peer("botocore.auth").SigV4Auth(
        peer("botocore.credentials").Credentials(key_id, secret), "sts", "us-east-1"
    )
    requests = []
    for number in range(VERIFICATIONS_A_ROUND):
        body = b"Action=GetCallerIdentity&Version=2011-06-15&Number=%d" % number
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": CONTEXT["aws:UserAgent"],
        }
        signed = peer("botocore.awsrequest").AWSRequest(
            method="POST", url="http://127.0.0.1:4590/", data=body, headers=headers
        )
        auth.add_auth(signed)
        sent = {name: str(value) for name, value in signed.headers.items()} | {
            "Host": "127.0.0.1:4590",
            "Content-Length": str(len(body)),
        }
        lines = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        requests.append(SignedRequest(b"POST", b"/", lines, body))
    held = {
        AccessKeyId(key_id): SigningKey(
            AccessKeyId(key_id), is_active=True, secret=lambda: Secret(secret.encode())
        )
    }
    verifier = Verifier(services={"sts": STS})
    now_ms = time.time_ns() // 1_000_000

    def act() -> None:
        for request in requests:
            assert isinstance(verifier.verify(request, now_ms=now_ms, look_up=held.get), Verified)

    return act


def measured(contestants: Mapping[str, tuple[Callable[[], None], int]]) -> dict[str, list[float]]:
    """CPU microseconds a request, round by round. Every round runs each contestant once, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for act, _ in contestants.values():
        act()
    for _ in range(ROUNDS):
        for name, (act, requests) in contestants.items():
            gc.collect()
            start = time.process_time()
            act()
            seconds[name].append((time.process_time() - start) / requests * 1e6)
    return seconds


def main() -> int:
    plain, conditional = documents(with_conditions=False), documents(with_conditions=True)
    decisions = PASSES_A_ROUND * len(ASKED)
    rounds = measured(
        {
            "keyturn decides": (keyturn_decides(plain), decisions),
            "keyturn decides, half with conditions": (keyturn_decides(conditional), decisions),
            "moto decides": (moto_decides(plain, reads=True), decisions),
            "moto decides, policies read before": (moto_decides(plain, reads=False), decisions),
            "keyturn verifies a signature": (keyturn_verifies(), VERIFICATIONS_A_ROUND),
        }
    )
    targets = [
        Target("keyturn decides", "moto decides", 1 / 5),
        Target("keyturn decides", "moto decides, policies read before", 1 / 5),
        Target("keyturn decides", "keyturn verifies a signature", 5),
        Target("keyturn decides, half with conditions", "keyturn verifies a signature", 5),
    ]
    print(
        f"{POLICIES} policies of {STATEMENTS} statements; CPU µs a request, median of {ROUNDS} rounds, "
        f"Python {sys.version.split()[0]}, one process"
    )
    for name, each in rounds.items():
        print(f"  {name:<40} {statistics.median(each):8.1f}")
    short = False
    print(f"{'ratio, median of the rounds':<76} {'is':>6} {'target':>7}")
    for target in targets:
        ratio = statistics.median(map(operator.truediv, rounds[target.ours], rounds[target.peer]))
        short = short or ratio > target.at_most
        verdict = "ok" if ratio <= target.at_most else "short"
        print(f"  {target.ours + ' / ' + target.peer:<74} {ratio:6.3f} {target.at_most:7.3f}  {verdict}")
    return int(short)


if __name__ == "__main__":
    if "KEYTURN_BENCH_CHILD" not in os.environ:
        run_beside_the_peers()
    sys.exit(main())
