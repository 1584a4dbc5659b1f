"""What tests of sessions ask with: clients for any credentials, roles by their trust, second factors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pyotp
import pytest
from botocore import auth, compat
from botocore.config import Config

from living_authority import REGION, LivingAuthority

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_sts import STSClient

_CONFIG = Config(retries={"total_max_attempts": 1})
_SESSION = boto3.Session()
INVALID_TOKEN = ("InvalidClientTokenId", 403)
Statement = Mapping[str, Any]


def document(*statements: Statement) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | list[str], resource: str = "*", **condition: Any) -> Statement:
    return statement("Allow", action, resource, condition)


def deny(action: str | list[str], resource: str = "*", **condition: Any) -> Statement:
    return statement("Deny", action, resource, condition)


def statement(effect: str, action: str | list[str], resource: str, condition: Statement) -> Statement:
    made = {"Effect": effect, "Action": action, "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def trust(principal: Any, action: str | list[str] = "sts:AssumeRole", **condition: Any) -> Statement:
    made = {"Effect": "Allow", "Principal": principal, "Action": action}
    return made | ({"Condition": condition} if condition else {})


class Holder:
    """Somebody's credentials, with their clients."""

    def __init__(self, authority: LivingAuthority, key: str, secret: str, token: str | None = None) -> None:
        self.authority = authority
        self.key = key
        self.secret = secret
        self.token = token

    @classmethod
    def of(cls, authority: LivingAuthority, answer: Mapping[str, Any]) -> Holder:
        """From an answer of STS."""
        given = answer["Credentials"]
        return cls(authority, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def with_token(self, token: str | None) -> Holder:
        return Holder(self.authority, self.key, self.secret, token)

    @property
    def iam(self) -> IAMClient:
        client: IAMClient = self._client("iam")
        return client

    @property
    def sts(self) -> STSClient:
        client: STSClient = self._client("sts")
        return client

    @property
    def arn(self) -> str:
        """Who they are to GetCallerIdentity."""
        return self.sts.get_caller_identity()["Arn"]

    def assume(self, role: str, name: str = "job", **more: Any) -> Holder:
        return Holder.of(self.authority, self.sts.assume_role(RoleArn=role, RoleSessionName=name, **more))

    def _client(self, service: str) -> Any:
        client = _SESSION.client(  # type: ignore[call-overload]  # the service is a parameter
            service,
            endpoint_url=self.authority.url,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
            config=_CONFIG,
        )
        self.authority._clients.append(client)
        return client


def new_holder(authority: LivingAuthority, name: str, *statements: Statement, **more: Any) -> Holder:
    """A new user with a key and what the statements say."""
    iam = authority.iam()
    iam.create_user(UserName=name, **more)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Holder(authority, key["AccessKeyId"], key["SecretAccessKey"])


def new_trusting_role(
    authority: LivingAuthority, name: str, *trusts: Statement, may: tuple[Statement, ...] = (), **more: Any
) -> str:
    """The ARN of a new role."""
    iam = authority.iam()
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(*trusts), **more)["Role"]
    if may:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*may))
    return role["Arn"]


class Device:
    """Somebody's telephone. The clock is at the beginning of a step; `next_step` makes a new code."""

    def __init__(self, authority: LivingAuthority, user: str) -> None:
        self.authority = authority
        iam = authority.iam()
        made = iam.create_virtual_mfa_device(VirtualMFADeviceName=user)["VirtualMFADevice"]
        self.serial = made["SerialNumber"]
        self.seed = made["Base32StringSeed"].decode()
        iam.enable_mfa_device(
            UserName=user,
            SerialNumber=self.serial,
            AuthenticationCode1=self.code(-1),
            AuthenticationCode2=self.code(0),
        )
        self.next_step()

    def code(self, offset: int = 0) -> str:
        return pyotp.HOTP(self.seed).at(self.authority.clock.now_ms() // 30_000 + offset)

    def next_step(self) -> None:
        self.authority.clock.advance(seconds=30)

    @property
    def proof(self) -> dict[str, str]:
        """Parameters that prove the factor; each time with a code of its own."""
        self.next_step()
        return {"SerialNumber": self.serial, "TokenCode": self.code()}


def session_of(holder: Holder, **more: Any) -> Holder:
    """Of GetSessionToken."""
    return Holder.of(holder.authority, holder.sts.get_session_token(**more))


def let_clients_follow(authority: LivingAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on clients sign by the authority's clock, so that it can go ahead for hours."""
    now = compat.get_current_datetime

    def then(*, remove_tzinfo: bool = True) -> datetime:
        moment: datetime = now(remove_tzinfo=remove_tzinfo)
        return moment + timedelta(milliseconds=authority.clock.ahead_ms)

    monkeypatch.setattr(auth, "get_current_datetime", then)
