"""Real clients that take a role, by a profile with a second factor or for a web identity token, and lose it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyotp
import pytest

from acceptance.proofs import proves
from acceptance.real_clients import Refused
from acceptance.served import bare_environment
from acceptance.session_clients import SessionClient, session_client
from authority.oidc_issuer import Issuer, living_issuer
from living_authority import LivingAuthority

AUDIENCE: Final = "keyturn"
SUBJECT: Final = "repo:example/shop:ref:refs/heads/main"
ROLE: Final = "operator"
STEP_MS: Final = 30_000
CONFIG: Final = """[profile ana]
aws_access_key_id = {key}
aws_secret_access_key = {secret}

[profile operator]
role_arn = {role}
source_profile = ana
mfa_serial = {serial}
"""


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def environment(authority: LivingAuthority, home: Path) -> dict[str, str]:
    (home / ".aws").mkdir(parents=True)
    return bare_environment(home) | {
        "AWS_ENDPOINT_URL": authority.url,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }


def new_role(authority: LivingAuthority, trust: dict[str, Any]) -> str:
    """The ARN of a role that may list users, and nothing else."""
    iam = authority.iam()
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=document(trust))["Role"]
    listing = {"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}
    iam.put_role_policy(RoleName=ROLE, PolicyName="list", PolicyDocument=document(listing))
    return role["Arn"]


def revoke_older_sessions(authority: LivingAuthority) -> None:
    """What the AWS console attaches for "Revoke active sessions", a minute later."""
    authority.clock.advance(seconds=60)
    now = datetime.fromtimestamp(authority.clock.now_ms() / 1000, UTC)
    older = {"DateLessThan": {"aws:TokenIssueTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    denial = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": older}
    authority.iam().put_role_policy(
        RoleName=ROLE, PolicyName="AWSRevokeOlderSessions", PolicyDocument=document(denial)
    )


def assert_lists_users(client: SessionClient) -> None:
    """With what it has: nothing is asked for."""
    assert "administrator" in [user["UserName"] for user in client.call("iam", "ListUsers")["Users"]]


def refused(client: SessionClient, operation: str = "ListUsers") -> Refused:
    with pytest.raises(Refused) as found:
        client.call("iam", operation)
    return found.value


# By a profile


@dataclass(frozen=True, slots=True)
class Ana:
    """Somebody with a key, a telephone and the right to become the operator, if both are shown."""

    authority: LivingAuthority
    access_key_id: str
    serial: str
    seed: str
    env: dict[str, str]

    def code(self) -> str:
        """Each time a new one: a code works once."""
        self.authority.clock.advance(seconds=STEP_MS / 1000)
        return pyotp.HOTP(self.seed).at(self.authority.clock.now_ms() // STEP_MS)

    def become_operator(self, client: SessionClient, code: str | None = None) -> str:
        """The session's ARN."""
        answer = client.call_with_code(self.serial, code or self.code(), "sts", "GetCallerIdentity")
        return str(answer["Arn"])

    def forget_session(self) -> None:
        """As a person forgets the one that `aws` keeps."""
        for file in Path(self.env["HOME"]).glob(".aws/cli/cache/*.json"):
            file.unlink()


@pytest.fixture
def ana(authority: LivingAuthority, tmp_path: Path) -> Ana:
    iam = authority.iam()
    key, secret = authority.new_user_with_key("ana")
    may = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    iam.put_user_policy(UserName="ana", PolicyName="own", PolicyDocument=document(may))
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="ana")["VirtualMFADevice"]
    seed = device["Base32StringSeed"].decode()
    step = authority.clock.now_ms() // STEP_MS
    iam.enable_mfa_device(
        UserName="ana",
        SerialNumber=device["SerialNumber"],
        AuthenticationCode1=pyotp.HOTP(seed).at(step - 1),
        AuthenticationCode2=pyotp.HOTP(seed).at(step),
    )
    role = new_role(
        authority,
        {
            "Effect": "Allow",
            "Principal": {"AWS": iam.get_user(UserName="ana")["User"]["Arn"]},
            "Action": "sts:AssumeRole",
            "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
        },
    )
    env = environment(authority, tmp_path / "home") | {"AWS_PROFILE": ROLE}
    config = CONFIG.format(key=key, secret=secret, role=role, serial=device["SerialNumber"])
    Path(env["HOME"], ".aws/config").write_text(config)
    return Ana(authority, key, device["SerialNumber"], seed, env)


@proves("a profile with `mfa_serial` takes a role, until its key is deactivated")
def test_a_profile_with_mfa_serial_takes_a_role_until_its_key_is_deactivated(
    client_name: str, ana: Ana
) -> None:
    with session_client(client_name, ana.env) as client:
        session = ana.become_operator(client)
        assert f":assumed-role/{ROLE}/" in session
        assert_lists_users(client)
        not_allowed = refused(client, "ListRoles")
        assert not_allowed.code == "AccessDenied"
        assert not_allowed.message.startswith(f"User: {session} is not authorized to perform: iam:ListRoles")
        administrator = ana.authority.iam()
        administrator.update_access_key(UserName="ana", AccessKeyId=ana.access_key_id, Status="Inactive")
        assert refused(client).code == "InvalidClientTokenId"


@proves("revoked sessions of a role end, and a new one begins")
def test_revoked_sessions_of_a_role_end_and_a_new_one_begins(client_name: str, ana: Ana) -> None:
    with session_client(client_name, ana.env) as client:
        ana.become_operator(client)
        assert_lists_users(client)
        revoke_older_sessions(ana.authority)
        denied = refused(client)
        assert denied.code == "AccessDenied"
        assert denied.message.endswith("with an explicit deny in an identity-based policy")
    ana.forget_session()
    with session_client(client_name, ana.env) as client:
        assert f":assumed-role/{ROLE}/" in ana.become_operator(client)
        assert_lists_users(client)


@proves("a wrong code of a second factor gives no role")
def test_a_wrong_code_gives_no_role(client_name: str, ana: Ana) -> None:
    right = ana.code()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    with session_client(client_name, ana.env) as client:
        with pytest.raises(Refused) as denied:
            ana.become_operator(client, wrong)
        assert denied.value.code == "AccessDenied"
        assert denied.value.message == "MultiFactorAuthentication failed with invalid MFA one time pass code."


# For a web identity token


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with living_issuer(tmp_path_factory.mktemp("issuer") / "home") as found:
        yield found


@dataclass(frozen=True, slots=True)
class Workflow:
    """A machine that has nothing but the token in its file."""

    authority: LivingAuthority
    issuer: Issuer
    env: dict[str, str]

    def write_token(self, **claims: str) -> None:
        usual = {"sub": SUBJECT, "aud": AUDIENCE}
        token = self.issuer.token(self.issuer.claims(self.authority.clock.now_ms(), **(usual | claims)))
        Path(self.env["AWS_WEB_IDENTITY_TOKEN_FILE"]).write_text(token)


@pytest.fixture
def workflow(
    authority: LivingAuthority, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workflow:
    # The authority runs in this process: here it learns whom to trust, as OpenSSL lets every program learn it.
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.ca_file))
    provider = authority.iam().create_open_id_connect_provider(Url=issuer.url, ClientIDList=[AUDIENCE])
    host = issuer.url.removeprefix("https://")
    role = new_role(
        authority,
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider["OpenIDConnectProviderArn"]},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{host}:aud": AUDIENCE, f"{host}:sub": SUBJECT}},
        },
    )
    env = environment(authority, tmp_path / "home") | {
        "AWS_ROLE_ARN": role,
        "AWS_ROLE_SESSION_NAME": "build-4711",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
    }
    found = Workflow(authority, issuer, env)
    found.write_token()
    return found


@proves("a web identity token is a role, until its sessions are revoked")
def test_a_web_identity_token_is_a_role_until_its_sessions_are_revoked(
    client_name: str, workflow: Workflow
) -> None:
    with session_client(client_name, workflow.env) as client:
        session = client.call("sts", "GetCallerIdentity")["Arn"]
        assert session.endswith(f":assumed-role/{ROLE}/build-4711")
        assert_lists_users(client)
        revoke_older_sessions(workflow.authority)
        denied = refused(client)
        assert denied.code == "AccessDenied"
        assert denied.message.endswith("with an explicit deny in an identity-based policy")


@proves("a web identity token for another subject or audience is no role")
@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "repo:example/other:ref:refs/heads/main"}, "AccessDenied"),
        ({"aud": "somebody else"}, "InvalidIdentityToken"),
    ],
)
def test_a_token_for_another_is_no_role(
    client_name: str, workflow: Workflow, claims: dict[str, str], code: str
) -> None:
    workflow.write_token(**claims)
    with session_client(client_name, workflow.env) as client:
        assert refused(client).code == code
