"""What someone sees who has no key: that the server is alive, what it is, and that everything else needs a signature."""

from __future__ import annotations

import http.client
import json
from itertools import product
from urllib.parse import urlencode, urlsplit

import pytest

from keyturn.authority.operations import OPERATIONS
from living_authority import LivingAuthority
from secret_forms import names_found

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW")
PATHS = (
    "/",
    "//",
    "/-",
    "/-/",
    "/-/live",
    "/-/ready",
    "/-/about",
    "/-/live/",
    "/-/metrics",
    "/-/health",
    "/-/about/../../authority.sqlite",
    "/-/%2e%2e/%2e%2e/etc/passwd",
    "//-/about",
    "/authority.sqlite",
    "/usage.sqlite",
    "/serve.lock",
    "/endpoint",
    "/keyturn.toml",
    "/favicon.ico",
    "/robots.txt",
    "/.git/config",
    "/.env",
    "/latest/meta-data/iam/security-credentials/",
    "/health",
    "/docs",
    "/openapi.json",
    "/console",
    "/iam/",
    "/sts/",
    "/?wsdl",
    "/?Action=ListUsers&Version=2010-05-08",
    "/?Action=CreateAccessKey&UserName=ana&Version=2010-05-08",
    "/?X-Amz-Algorithm=AWS4-HMAC-SHA256",
)
OURS = {"/-/live": {"live"}, "/-/ready": {"ready", "low_on_space"}, "/-/about": None}
ABOUT = {"product", "version", "exact_revocation", "reports_refused_attempts", "idempotent_create"}


def ask(
    living: LivingAuthority, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(urlsplit(living.url).netloc, timeout=30)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, target, body, headers)
        with connection.getresponse() as response:
            return response.status, response.read(), {k.lower(): v for k, v in response.headers.items()}
    finally:
        connection.close()


@pytest.fixture(scope="module")
def known(shared_authority: LivingAuthority) -> dict[str, bytes]:
    """What nobody without a key may learn: secrets, ids, names, places."""
    access_key_id, secret = shared_authority.new_user_with_key("ana-who-is-there")
    instance = shared_authority.opened.instance
    return {
        "secret": secret.encode(),
        "administrator's secret": shared_authority.administrator.secret.reveal(),
        "access key id": access_key_id.encode(),
        "administrator's key id": shared_authority.administrator.access_key_id.encode(),
        "user": b"ana-who-is-there",
        "account": instance.account_id.encode(),
        "instance": instance.instance_id.encode(),
        "data directory": str(shared_authority.settings.place.data_dir).encode(),
    }


def test_a_crawl_of_every_path_and_method_finds_only_live_ready_and_about(
    shared_authority: LivingAuthority, known: dict[str, bytes]
) -> None:
    for method, path in product(METHODS, PATHS):
        status, body, headers = ask(shared_authority, method, path)
        told = body + repr(headers).encode()
        assert names_found(told, known) == [], (method, path)
        if path in OURS and method in {"GET", "HEAD"}:
            assert status == 200
            members = set(json.loads(body)) if method == "GET" else None
            assert members == ((OURS[path] or ABOUT) if method == "GET" else None)
        else:
            assert 400 <= status < 500 or status == 501, (method, path, status)
        assert "server" not in headers
        assert set(headers) <= {
            "date",
            "content-type",
            "content-length",
            "connection",
            "x-amzn-requestid",
            "allow",
        }


def test_every_operation_answers_the_unsigned_alike(
    shared_authority: LivingAuthority, known: dict[str, bytes]
) -> None:
    """Before routing: an operation that exists, one that does not, a user that exists and one that does not."""
    answers = set()
    signed = [
        named for named in OPERATIONS if named != ("sts", "AssumeRoleWithWebIdentity")
    ]  # comes with a token
    for service, action in [*signed, ("iam", "NoSuchOperation")]:
        version = "2010-05-08" if service == "iam" else "2011-06-15"
        for user in ("ana-who-is-there", "nobody"):
            body = urlencode({"Action": action, "Version": version, "UserName": user}).encode()
            status, content, headers = ask(shared_authority, "POST", "/", body)
            assert names_found(content, known) == []
            answers.add((status, content.replace(headers["x-amzn-requestid"].encode(), b"")))
    ((status, content),) = answers
    assert status == 403
    assert b"<Code>MissingAuthenticationToken</Code>" in content
