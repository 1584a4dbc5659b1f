"""The example service, as its page says it is run: what real signers send comes through, and nothing else does."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from acceptance.proofs import proves
from living_authority import LivingAuthority, living_authority

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples/orders"
JAVASCRIPT: Final = ROOT / ".clients/javascript"
REGION: Final = "eu-west-1"


@dataclass(frozen=True)
class Answer:
    status: int
    content: str

    @property
    def told(self) -> Any:
        return json.loads(self.content)


def policy(action: str, resource: str = "*") -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def new_user(living: LivingAuthority, name: str, document: str | None) -> Credentials:
    key = living.new_user_with_key(name)
    if document is not None:
        living.iam().put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    return Credentials(*key)


@contextmanager
def running(program: list[str], environment: dict[str, str]) -> Iterator[str]:
    """The URL on which uvicorn says that it runs."""
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            seen = ""
            for line in process.stderr:
                seen += line
                if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                    yield found[1]
                    return
            raise AssertionError(seen)
        finally:
            process.terminate()
            assert process.stderr is not None
            process.stderr.read()


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingAuthority]:
    with living_authority(tmp_path_factory.mktemp("home"), services="iam,sts,orders") as authority:
        yield authority


@pytest.fixture(scope="module")
def orders(living: LivingAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the example."""
    key = new_user(living, "orders-service", policy("keyturn:Verify", "arn:aws:keyturn:*:*:service/orders"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path_factory.mktemp("service")),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "KEYTURN_URL": living.url,
        "AWS_ACCESS_KEY_ID": key.access_key,
        "AWS_SECRET_ACCESS_KEY": key.secret_key,
    }
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLE), "--factory", "app:application"]
    with running([*command, "--port", "0"], environment) as url:
        yield url


@pytest.fixture(scope="module")
def buyer(living: LivingAuthority) -> Credentials:
    return new_user(
        living, "buyer", policy("execute-api:Invoke", "arn:aws:execute-api:*:*:orders/*/*/orders*")
    )


def plainly(url: str, method: str, body: str, headers: dict[str, str]) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(
            method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers
        )
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


def signed_headers(url: str, method: str, body: str, key: Credentials) -> dict[str, str]:
    request = AWSRequest(method, url, {"content-type": "application/json"}, body.encode())
    SigV4Auth(key, "orders", REGION).add_auth(request)
    return dict(request.headers.items())


def by_boto3(url: str, method: str, body: str, key: Credentials) -> Answer:
    return plainly(url, method, body, signed_headers(url, method, body, key))


def by_curl(url: str, method: str, body: str, key: Credentials) -> Answer:
    command = ["curl", "-sS", "--aws-sigv4", f"aws:amz:{REGION}:orders", "--request", method]
    command += ["--user", f"{key.access_key}:{key.secret_key}", "--write-out", "\n%{http_code}"]
    if key.token:
        command += ["--header", f"x-amz-security-token: {key.token}"]
    if body:
        command += ["--header", "content-type: application/json", "--data-binary", body]
    done = subprocess.run(
        [*command, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    content, _, status = done.stdout.rpartition("\n")
    return Answer(int(status), content)


def by_javascript(url: str, method: str, body: str, key: Credentials) -> Answer:
    asked = {
        "url": url,
        "method": method,
        "body": body,
        "service": "orders",
        "region": REGION,
        "credentials": {
            "accessKeyId": key.access_key,
            "secretAccessKey": key.secret_key,
            "sessionToken": key.token,
        },
    }
    done = subprocess.run(
        ["node", Path(__file__).parent / "javascript/signed_request.mjs", JAVASCRIPT],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    return Answer(**json.loads(done.stdout))


Signer = Callable[[str, str, str, Credentials], Answer]
SIGNERS: Final[dict[str, Signer]] = {"boto3": by_boto3, "curl": by_curl, "JavaScript": by_javascript}


@pytest.fixture
def signer(client_name: str) -> Signer:
    return SIGNERS[client_name]


@proves("a request to a service of your own is verified, and its caller told")
def test_an_order_is_placed_and_read_back(orders: str, buyer: Credentials, signer: Signer) -> None:
    placed = signer(f"{orders}/orders", "POST", '{"what": "apples"}', buyer)
    assert placed.status == 201, placed
    assert placed.told["by"].endswith(":user/buyer")
    assert placed.told["wanted"] == {"what": "apples"}
    read = signer(f"{orders}/orders/{placed.told['number']}", "GET", "", buyer)
    assert (read.status, read.told) == (200, placed.told)
    assert signer(f"{orders}/orders?state=open", "GET", "", buyer).status == 200


@proves("a wrong secret is refused by a service of your own")
def test_a_wrong_secret_is_refused(orders: str, buyer: Credentials, signer: Signer) -> None:
    answer = signer(f"{orders}/orders", "GET", "", Credentials(buyer.access_key, "x" * 40))
    assert (answer.status, answer.told["__type"]) == (403, "SignatureDoesNotMatch")


@proves("who lacks the permission is refused by a service of your own")
def test_a_caller_without_permission_is_refused(orders: str, living: LivingAuthority, signer: Signer) -> None:
    name = f"stranger-{signer.__name__}"
    answer = signer(f"{orders}/orders", "GET", "", new_user(living, name, None))
    assert (answer.status, answer.told["__type"]) == (403, "AccessDenied")
    assert "execute-api:Invoke" in answer.told["message"]


@proves("temporary credentials reach a service of your own, until their key is deactivated")
def test_temporary_credentials_come_through_until_their_key_is_deactivated(
    orders: str, living: LivingAuthority, signer: Signer
) -> None:
    name = f"visitor-{signer.__name__}"
    key = new_user(living, name, policy("execute-api:Invoke"))
    given = living.sts(key.access_key, key.secret_key).get_session_token()["Credentials"]
    session = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert signer(f"{orders}/orders", "GET", "", session).status == 200
    living.iam().update_access_key(UserName=name, AccessKeyId=key.access_key, Status="Inactive")
    assert signer(f"{orders}/orders", "GET", "", session).status == 403


@proves("a service of your own shows in a key's last use")
def test_the_key_was_last_used_for_orders(
    orders: str, living: LivingAuthority, buyer: Credentials, signer: Signer
) -> None:
    assert signer(f"{orders}/orders", "GET", "", buyer).status == 200
    used = living.iam().get_access_key_last_used(AccessKeyId=buyer.access_key)["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("orders", REGION)


def test_an_unsigned_request_is_refused(orders: str) -> None:
    answer = plainly(f"{orders}/orders", "GET", "", {})
    assert (answer.status, answer.told["__type"]) == (403, "MissingAuthenticationToken")


def test_a_request_that_was_changed_on_the_way_is_refused(orders: str, buyer: Credentials) -> None:
    url = f"{orders}/orders"
    headers = signed_headers(url, "POST", '{"what": "apples"}', buyer)
    assert plainly(url, "POST", '{"what": "rubies"}', headers).status == 403
    assert plainly(url, "PUT", '{"what": "apples"}', headers).status == 403
    assert plainly(f"{url}/1", "POST", '{"what": "apples"}', headers).status == 403
    assert plainly(f"{orders}/x/../orders", "POST", '{"what": "apples"}', headers).status == 400
    assert plainly(url, "POST", '{"what": "apples"}', headers).status == 201


def test_a_header_that_names_somebody_else_changes_nothing(orders: str, buyer: Credentials) -> None:
    url = f"{orders}/orders"
    headers = signed_headers(url, "GET", "", buyer) | {
        "X-Keyturn-Arn": "arn:aws:iam::1:root",
        "X-Forwarded-User": "root",
    }
    answer = plainly(url, "GET", "", headers)
    assert answer.told["caller"].endswith(":user/buyer")
