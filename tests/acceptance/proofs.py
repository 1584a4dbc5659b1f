"""What is proved with which real client: the tests take their clients from here, and so does the page.

`docs/reference/acceptance.md` is this table with the pinned versions. `@proves` runs a test once a client;
a test knows each step here by the test that proves it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/reference/acceptance.md"
COMMAND_LINES: Final = ("aws v1", "aws v2")
THREE: Final = ("boto3", *COMMAND_LINES)
FOUR: Final = (*THREE, "JavaScript")
EVERY: Final = ("boto3", "boto3 resource", "boto3 1.34", "boto3 1.28", *COMMAND_LINES, "JavaScript")
COLUMNS: Final = (*EVERY, "curl")
SIGNERS: Final = ("boto3", "JavaScript", "curl")
"""Whoever signs a request to a service that is not AWS's: boto3 and the SDK by their own signers."""

STEPS: Final[dict[str, tuple[str, ...]]] = {
    "a new key is shown once, with AWS's five members": EVERY,
    "a second key is given, and both sign": EVERY,
    "a third key is refused": EVERY,
    "keys are listed with their dates and without their secrets": EVERY,
    "a deactivated key is refused from the next call on": EVERY,
    "the last use of a deactivated key stands still": EVERY,
    "a key that is made active again works from the next call on": EVERY,
    "a deleted key is refused, and the list shows one": EVERY,
    "each of these commands prints what AWS documents, to the letter": COMMAND_LINES,
    '`eval "$(keyturn env)"` in bash, also over a stale session token': COMMAND_LINES,
    "a profile with `endpoint_url`": THREE,
    "a profile with a `services` section": THREE,
    "IAM signed for another region than us-east-1": THREE,
    "`aws configure import` of what `keyturn key create --csv` wrote": ("aws v2",),
    "a listing page by page": FOUR,
    "an inline policy comes back as it was put": FOUR,
    "a managed policy is created, attached and listed": FOUR,
    "tags are set and listed": FOUR,
    "TLS with a private authority in `AWS_CA_BUNDLE`": ("boto3", "aws v1"),
    "a cut reply to CreateAccessKey leaves one key, and the client holds it": FOUR,
    "a presigned URL, fetched without any SDK": ("boto3",),
    "a clock that is 16 minutes wrong is told so": THREE,
    "a profile with `mfa_serial` takes a role, until its key is deactivated": FOUR,
    "a wrong code of a second factor gives no role": FOUR,
    "a web identity token is a role, until its sessions are revoked": FOUR,
    "a web identity token for another subject or audience is no role": FOUR,
    "revoked sessions of a role end, and a new one begins": FOUR,
    "a secret is created, replaced, and read by its stages": FOUR,
    "a deleted secret is restored within its window": FOUR,
    "a secret's own policy lets somebody read it, and nobody else": FOUR,
    "LookupEvents finds who used an old key, and who still tries": FOUR,
    "a request to a service of your own is verified, and its caller told": SIGNERS,
    "a wrong secret is refused by a service of your own": SIGNERS,
    "who lacks the permission is refused by a service of your own": SIGNERS,
    "temporary credentials reach a service of your own, until their key is deactivated": SIGNERS,
    "a service of your own shows in a key's last use": SIGNERS,
    "GetCallerIdentity, signed by `--aws-sigv4`": ("curl",),
}
WALK: Final = tuple(STEPS)[:9]
"""The whole procedure, proved by one walk."""


def proves(*steps: str) -> pytest.MarkDecorator:
    """Run the test with each client of these steps."""
    clients = [name for name in COLUMNS if any(name in STEPS[step] for step in steps)]
    return pytest.mark.parametrize("client_name", clients, indirect=True)


def pinned_versions() -> dict[str, str]:
    """The version of each column, read from the files that pin it."""
    runtime = _pin("runtime", "boto3")
    lock = json.loads((ROOT / "tests/acceptance/javascript/package-lock.json").read_text())
    return {
        "boto3": runtime,
        "boto3 resource": runtime,
        "boto3 1.34": _pin("boto3-1.34", "boto3"),
        "boto3 1.28": _pin("boto3-1.28", "boto3"),
        "aws v1": _pin("aws-cli", "awscli"),
        "aws v2": _aws_v2(),
        "JavaScript": lock["packages"]["node_modules/@aws-sdk/client-iam"]["version"],
        "curl": "the machine's",
    }


def _pin(file: str, package: str) -> str:
    text = (ROOT / f"requirements/{file}.txt").read_text()
    found = re.search(rf"^{package}==(\S+)", text, re.MULTILINE)
    assert found, f"requirements/{file}.txt does not pin {package}"
    return found[1]


def _aws_v2() -> str:
    """The wheel's number says nothing about the command line in it."""
    return {"2.0.198": "2.38.5"}[_pin("aws-cli-v2", "aws-cdk-asset-awscli-v2")]


def page() -> str:
    """The whole page."""
    versions = pinned_versions()
    rows = [
        ["Step", *COLUMNS],
        ["---"] * (len(COLUMNS) + 1),
        ["Version", *(versions[name] for name in COLUMNS)],
    ]
    rows += [[step, *("✓" if name in clients else "" for name in COLUMNS)] for step, clients in STEPS.items()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return _HEAD + table + _FOOT


_HEAD: Final = """# Real clients

Each mark stands for a test in `tests/acceptance` that runs the real, unmodified client against a real authority on
loopback. An empty cell says that the step was not tried with that client, not that it fails.

`make test` runs the tests; a client that is not there is skipped by name, and `make clients` fetches it. A test
compares the version that really ran with the one below, and this page with the tests.

"""

_FOOT: Final = """

- **boto3** is the client face, **boto3 resource** the object-oriented one; the older ones run as programs of their own.
  1.28 is the first that reads `AWS_ENDPOINT_URL`.
- **aws v2** is Amazon's own binary, for Linux on x86-64.
- **JavaScript** is the SDK's version 3, under the machine's Node.js: `@aws-sdk/client-iam`, whose version stands above,
  `client-sts`, `client-secrets-manager` and `client-cloudtrail`.
- A clock 16 minutes behind ours: boto3 and `aws` show `SignatureDoesNotMatch` with `Signature expired` and both times.
  boto3 does not correct its clock and does not try again.
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
