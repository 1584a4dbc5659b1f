"""How these tests ask and what they look at: refusals as plain values, people with a policy, raw signed requests."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from keyturn.authority.authentication import Authenticated, Caller
from keyturn.authority.operations import RequestFacts
from keyturn.sigv4.canonical_request import SignedRequest
from living_authority import REGION, LivingAuthority

VERSIONS = {"iam": "2010-05-08", "sts": "2011-06-15"}
ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess"
IAM_FULL_ACCESS = "arn:aws:iam::aws:policy/IAMFullAccess"


@dataclass(frozen=True, slots=True)
class Refused:
    """What a client sees of a refusal."""

    code: str
    status: int
    message: str


def refused(act: Callable[..., object], **parameters: Any) -> Refused:
    """The refusal of a call that must be refused."""
    with pytest.raises(ClientError) as raised:
        act(**parameters)
    response = raised.value.response
    error = response["Error"]
    return Refused(error["Code"], response["ResponseMetadata"]["HTTPStatusCode"], error["Message"])


def members(response: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed answer without what the client itself put in."""
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


def no_such_entity(message: str) -> Refused:
    return Refused("NoSuchEntity", 404, message)


def no_such_user(name: str) -> Refused:
    return no_such_entity(f"The user with name {name} cannot be found.")


def validation_error(*faults: str) -> Refused:
    noun = "error" if len(faults) == 1 else "errors"
    return Refused("ValidationError", 400, f"{len(faults)} validation {noun} detected: {'; '.join(faults)}")


def must(member: str, constraint: str) -> str:
    """One broken constraint, as IAM words it."""
    return f"Value at '{member}' failed to satisfy constraint: Member must {constraint}"


# Policies and people


def statement(effect: str, action: str | list[str], resource: str | list[str] = "*", **more: Any) -> Any:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def document(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


ALLOW_LIST_USERS = document(statement("Allow", "iam:ListUsers"))


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the test's, with a key."""

    authority: LivingAuthority
    name: str
    access_key_id: str
    secret: str

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{account(self.authority)}:user/{self.name}"

    def iam(self, **config: Any) -> Any:
        return self.authority.iam(self.access_key_id, self.secret, **config)

    def sts(self, **config: Any) -> Any:
        return self.authority.sts(self.access_key_id, self.secret, **config)


def person(authority: LivingAuthority, name: str, *statements: Any) -> Person:
    """A new user with one key and, if there are statements, an inline policy `own`."""
    access_key_id, secret = authority.new_user_with_key(name)
    if statements:
        authority.iam().put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    return Person(authority, name, access_key_id, secret)


def account(authority: LivingAuthority) -> str:
    return authority.opened.instance.account_id


def key_ids(authority: LivingAuthority, name: str) -> set[str]:
    keys = authority.iam().list_access_keys(UserName=name)["AccessKeyMetadata"]
    return {key["AccessKeyId"] for key in keys}


def verified(authority: LivingAuthority, access_key_id: str, secret: str) -> Caller:
    """A caller as the authority itself sees one between verification and the act."""
    body = form("sts", "GetCallerIdentity")
    signed = AWSRequest("POST", authority.url + "/", data=body)
    signed.headers["Host"] = urlsplit(authority.url).netloc
    SigV4Auth(Credentials(access_key_id, secret), "sts", REGION).add_auth(signed)
    headers = [(name.lower().encode(), str(value).encode()) for name, value in signed.headers.items()]
    request = SignedRequest(b"POST", b"/", headers, body)
    authentication = authority.opened.authority.authentication
    outcome = authority.call(lambda: authentication.authenticate(request, authority.clock.now_ms()))
    assert isinstance(outcome, Authenticated)
    return outcome.caller


def facts(invocation_id: str | None = None) -> RequestFacts:
    return RequestFacts(
        "request", "127.0.0.1", "test", "iam", REGION, is_secure=False, invocation_id=invocation_id
    )


def audit_records(authority: LivingAuthority, event: str) -> list[dict[str, Any]]:
    """The records of one kind of event, oldest first, each with its `sequence`."""

    def read() -> list[dict[str, Any]]:
        with authority.opened.store.read() as reader:
            rows = reader.rows(
                "SELECT sequence, record FROM audit_records WHERE event_name = :event ORDER BY sequence",
                {"event": event},
            )
        return [json.loads(str(record)) | {"sequence": sequence} for sequence, record in rows]

    return authority.call(read)


# Raw requests


@dataclass(frozen=True, slots=True)
class RawAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def xml(self) -> ET.Element:
        """The body without its namespace."""
        return ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", self.body))  # noqa: S314 - our own answer

    @property
    def namespace(self) -> str:
        found = re.search(rb' xmlns="([^"]*)"', self.body)
        return found[1].decode() if found else ""

    @property
    def error(self) -> Refused:
        return Refused(
            self.xml.findtext("Error/Code") or "", self.status, self.xml.findtext("Error/Message") or ""
        )

    @property
    def request_id(self) -> str:
        """Wherever the answer keeps it."""
        return self.xml.findtext("RequestId") or self.xml.findtext("ResponseMetadata/RequestId") or ""


def send(
    authority: LivingAuthority,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> RawAnswer:
    """One request as it stands, on a connection of its own."""
    url = urlsplit(authority.url)
    assert url.hostname
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(method, target, body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        return RawAnswer(
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )
    finally:
        connection.close()


def form(service: str, action: str, **parameters: str) -> bytes:
    pairs = {"Action": action, "Version": VERSIONS[service], **parameters}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs.items()).encode()


def send_signed(
    authority: LivingAuthority,
    service: str,
    body: bytes,
    *,
    target: str = "/",
    method: str = "POST",
    key: tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    region: str = REGION,
) -> RawAnswer:
    """A request with botocore's signature, the administrator's unless a key is given."""
    access_key_id, secret = key or (
        authority.administrator.access_key_id,
        authority.administrator.secret.reveal().decode(),
    )
    request = AWSRequest(method, authority.url + target, data=body, headers=dict(headers or {}))
    if body:
        request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    SigV4Auth(Credentials(access_key_id, secret), service, region).add_auth(request)
    return send(authority, method, target, headers=dict(request.headers.items()), body=body)
