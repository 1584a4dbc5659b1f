"""AssumeRoleWithWebIdentity: a token of a registered issuer for a role that trusts it, and no other token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from joserfc.jwk import RSAKey

from authority.calls import audit_records
from authority.oidc_issuer import Issuer, living_issuer, okp_key
from authority.role_calls import Seen, account_of, refusal
from authority.sts_calls import (
    INVALID_TOKEN,
    Holder,
    allow,
    document,
    let_clients_follow,
    new_trusting_role,
    trust,
)
from keyturn.authority.refused_identities import MOST_OF_ONE
from keyturn.authority.storage import audit_trail, oidc_providers
from keyturn.fetching import fetch
from living_authority import REGION, HeldClock, LivingAuthority, living_authority

if TYPE_CHECKING:
    from types_boto3_sts import STSClient

WEB = "sts:AssumeRoleWithWebIdentity"
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "repo:octo/app:ref:refs/heads/main"


class WholeClock(HeldClock):
    """Both its times go ahead."""

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_ms / 1000


@dataclass
class Exchange:
    """An authority that knows an issuer, a role that trusts it, and a client without credentials."""

    authority: LivingAuthority
    issuer: Issuer
    sts: STSClient
    provider: str
    role: str

    @property
    def host(self) -> str:
        return self.issuer.url.removeprefix("https://")

    def token(self, key: str = "rsa", header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = self.authority.clock.now_ms()
        return self.issuer.token(self.issuer.claims(now, **claims), key, **(header or {}))

    def assume(self, token: str | None = None, role: str = "", **more: Any) -> Holder:
        return Holder.of(self.authority, self.answer(token, role, **more))

    def answer(self, token: str | None = None, role: str = "", **more: Any) -> Any:
        return self.sts.assume_role_with_web_identity(
            RoleArn=role or self.role,
            RoleSessionName="ci",
            WebIdentityToken=self.token() if token is None else token,
            **more,
        )

    def refused(self, token: str | None = None, role: str = "", **more: Any) -> Seen:
        return refusal(self.answer, token=token, role=role, **more)

    def new_role(self, name: str, **condition: Any) -> str:
        return new_trusting_role(self.authority, name, trust({"Federated": self.provider}, WEB, **condition))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with living_issuer(tmp_path_factory.mktemp("issuer") / "home") as living:
        yield living


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Exchange]:
    with living_authority(tmp_path_factory.mktemp("home"), clock=WholeClock()) as authority:
        sts = boto3.client(
            "sts",
            endpoint_url=authority.url,
            region_name=REGION,
            config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
        )
        provider = authority.iam().create_open_id_connect_provider(Url=issuer.url, ClientIDList=[AUDIENCE])
        arn = provider["OpenIDConnectProviderArn"]
        host = issuer.url.removeprefix("https://")
        role = new_trusting_role(
            authority,
            "ci",
            trust(
                {"Federated": arn},
                WEB,
                StringEquals={f"{host}:aud": AUDIENCE},
                StringLike={f"{host}:sub": "repo:octo/app:*"},
            ),
            may=(allow("iam:ListUsers"), allow("sts:AssumeRole")),
        )
        yield Exchange(authority, issuer, sts, arn, role)
        sts.close()


@pytest.fixture
def exchange(living: Exchange, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setenv("SSL_CERT_FILE", str(living.issuer.ca_file))
    let_clients_follow(living.authority, monkeypatch)
    living.issuer.published = ["rsa", "ec"]
    living.issuer.discovery = {
        "issuer": living.issuer.url,
        "jwks_uri": f"{living.issuer.url}/keys?version=1",
    }
    return living


# A good token


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_a_token_is_exchanged_for_a_session_of_the_role(exchange: Exchange, key: str) -> None:
    given = exchange.answer(exchange.token(key))
    account = account_of(exchange.authority)
    arn = f"arn:aws:sts::{account}:assumed-role/ci/ci"
    role_id = exchange.authority.iam().get_role(RoleName="ci")["Role"]["RoleId"]
    assert given["AssumedRoleUser"] == {"AssumedRoleId": f"{role_id}:ci", "Arn": arn}
    assert given["SubjectFromWebIdentityToken"] == SUBJECT
    assert (given["Provider"], given["Audience"]) == (exchange.provider, AUDIENCE)
    assert "PackedPolicySize" not in given
    session = Holder.of(exchange.authority, given)
    assert session.arn == arn
    session.iam.list_users()
    assert refusal(session.iam.list_roles)[0] == "AccessDenied"


@pytest.mark.parametrize("algorithm", ["RS384", "PS256", "PS512"])
def test_other_asymmetric_algorithms_are_accepted(exchange: Exchange, algorithm: str) -> None:
    exchange.answer(exchange.token(header={"alg": algorithm}))


def test_a_client_reads_its_token_from_a_file(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(exchange.token())
    for name, value in {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": exchange.role,
        "AWS_ROLE_SESSION_NAME": "from-a-file",
        "AWS_ENDPOINT_URL": exchange.authority.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    sts = boto3.Session().client("sts")
    assert sts.get_caller_identity()["Arn"].endswith(":assumed-role/ci/from-a-file")
    sts.close()


def test_the_sessions_policy_and_time_are_the_callers_to_limit(exchange: Exchange) -> None:
    narrow = exchange.assume(Policy=document(allow("iam:ListRoles")), DurationSeconds=900)
    assert refusal(narrow.iam.list_users)[0] == "AccessDenied"
    assert exchange.answer(Policy=document(allow("iam:ListRoles")))["PackedPolicySize"] > 0
    refused = exchange.refused(DurationSeconds=3601)
    assert refused == (
        "ValidationError",
        400,
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )


def test_a_session_goes_on_to_another_role_but_not_to_a_users_session(exchange: Exchange) -> None:
    second = new_trusting_role(exchange.authority, "after-ci", trust({"AWS": exchange.role}))
    session = exchange.assume()
    assert session.assume(second).arn.endswith(":assumed-role/after-ci/job")
    assert refusal(session.sts.get_session_token)[0] == "AccessDenied"


def test_a_subject_that_is_refused_again_and_again_does_not_fill_the_trail(exchange: Exchange) -> None:
    authority = exchange.authority

    def settle() -> None:
        authority.clock.advance(seconds=61)
        authority.keep_house()

    settle()
    before = len(audit_records(authority, "RefusedWebIdentities"))
    records = len(audit_records(authority, "AssumeRoleWithWebIdentity"))
    token = exchange.token(sub="repo:stranger/app:ref")
    for _ in range(MOST_OF_ONE + 4):
        assert exchange.refused(token)[0] == "AccessDenied"
    refused = audit_records(authority, "AssumeRoleWithWebIdentity")[records:]
    assert [record["errorCode"] for record in refused] == ["AccessDenied"] * MOST_OF_ONE
    exchange.answer()
    settle()
    (told,) = audit_records(authority, "RefusedWebIdentities")[before:]
    assert told["requestParameters"]["count"] == "4"
    assert set(told["requestParameters"]) == {"count", "firstAt", "lastAt"}
    settle()
    assert len(audit_records(authority, "RefusedWebIdentities")) == before + 1


def test_the_audit_trail_names_the_subject_and_the_issuer(exchange: Exchange) -> None:
    token = exchange.token()
    session = exchange.assume(token)
    exchange.refused(exchange.token(sub="repo:eve/app:ref"))

    def last() -> list[str]:
        with exchange.authority.opened.store.read() as reader:
            return [row.record for row in audit_trail.records_after(reader, 0, 10_000)][-2:]

    given, refused = (json.loads(record) for record in exchange.authority.call(last))
    assert given["eventName"] == "AssumeRoleWithWebIdentity"
    assert given["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{exchange.provider}:{AUDIENCE}:{SUBJECT}",
        "userName": SUBJECT,
        "identityProvider": exchange.provider,
    }
    assert given["additionalEventData"] == {"issuedAccessKeyId": session.key}
    assert refused["errorCode"] == "AccessDenied"
    assert token not in json.dumps([given, refused])


# Trust


NOT_AUTHORIZED = ("AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def test_who_is_not_trusted_is_refused_and_not_told_whether_the_role_is_there(exchange: Exchange) -> None:
    assert exchange.refused(exchange.token(sub="repo:eve/app:ref")) == NOT_AUTHORIZED
    assert exchange.refused(role=exchange.role + "-that-is-not-there") == NOT_AUTHORIZED
    users_only = new_trusting_role(
        exchange.authority,
        "users-only",
        trust({"AWS": f"arn:aws:iam::{account_of(exchange.authority)}:root"}),
    )
    assert exchange.refused(role=users_only) == NOT_AUTHORIZED
    assert exchange.refused(role="nothing-valid-in-here")[0] == "ValidationError"


def test_claims_are_condition_keys_of_the_trust_policy(exchange: Exchange) -> None:
    host = exchange.host
    role = exchange.new_role(
        "by-claims",
        StringEquals={f"{host}:repository": "octo/app", f"{host.upper()}:environment": "production"},
        **{"ForAnyValue:StringEquals": {f"{host}:amr": "mfa"}},
    )
    claims: dict[str, Any] = {"repository": "octo/app", "environment": "production", "amr": ["pwd", "mfa"]}
    exchange.assume(exchange.token(**claims), role)
    for wrong in ({"repository": "octo/other"}, {"environment": None}, {"amr": ["pwd"]}):
        assert exchange.refused(exchange.token(**(claims | wrong)), role) == NOT_AUTHORIZED


def test_the_subject_names_the_session_and_the_provider_is_known_later(exchange: Exchange) -> None:
    role = new_trusting_role(
        exchange.authority,
        "known-later",
        trust({"Federated": exchange.provider}, WEB, StringEquals={"sts:RoleSessionName": "ci"}),
        may=(
            allow("iam:ListUsers", StringEquals={"aws:FederatedProvider": exchange.provider}),
            allow("iam:ListRoles", StringEquals={f"{exchange.host}:sub": SUBJECT}),
            allow("iam:ListGroups", StringEquals={f"{exchange.host}:sub": "repo:eve/app"}),
        ),
    )
    session = exchange.assume(role=role)
    session.iam.list_users()
    session.iam.list_roles()
    assert refusal(session.iam.list_groups)[0] == "AccessDenied"


def test_a_trust_in_everybody_of_this_account_fits_no_web_identity(exchange: Exchange) -> None:
    account = account_of(exchange.authority)
    everybody = {"AWS": "*"}
    role = new_trusting_role(
        exchange.authority,
        "of-this-account",
        trust(
            everybody,
            ["sts:AssumeRole", WEB],
            StringEquals={"aws:PrincipalAccount": account},
            StringLike={"token.actions.githubusercontent.com:sub": "repo:octo/app:*"},
        ),
        trust(everybody, "sts:AssumeRole", StringEquals={"aws:PrincipalAccount": account}),
    )
    assert exchange.refused(role=role) == NOT_AUTHORIZED


def test_a_trust_in_all_of_github_is_refused_when_it_is_written(exchange: Exchange) -> None:
    iam = exchange.authority.iam()
    github = (
        f"arn:aws:iam::{account_of(exchange.authority)}:oidc-provider/token.actions.githubusercontent.com"
    )
    only_audience = {"StringEquals": {"token.actions.githubusercontent.com:aud": AUDIENCE}}
    refused = refusal(
        iam.create_role,
        RoleName="of-github",
        AssumeRolePolicyDocument=document(trust({"Federated": github}, WEB, **only_audience)),
    )
    assert refused[:2] == ("MalformedPolicyDocument", 400)


# Tokens that are no good


def segment(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_an_unsigned_token_is_refused(exchange: Exchange) -> None:
    claims = exchange.issuer.claims(exchange.authority.clock.now_ms())
    for algorithm in ("none", "None", "NONE", "", None):
        for signature in ("", segment(b"x" * 64)):
            token = f"{segment({'alg': algorithm, 'kid': 'rsa'})}.{segment(claims)}.{signature}"
            assert exchange.refused(token)[:2] == ("InvalidIdentityToken", 400)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_secret_to_sign_with(exchange: Exchange, algorithm: str) -> None:
    claims = exchange.issuer.claims(exchange.authority.clock.now_ms())
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    key = exchange.issuer.keys["rsa"]
    assert isinstance(key, RSAKey)
    public = [key.as_pem(private=False), json.dumps(key.as_dict(private=False)).encode(), b""]
    for secret in public:
        signed = f"{segment({'alg': algorithm, 'kid': 'rsa', 'typ': 'JWT'})}.{segment(claims)}"
        signature = hmac.digest(secret, signed.encode(), digest)
        refused = exchange.refused(f"{signed}.{segment(signature)}")
        assert refused[:2] == ("InvalidIdentityToken", 400)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": -1}, "ExpiredTokenException"),
        ({"exp": 0}, "ExpiredTokenException"),
        ({"nbf": 120}, "InvalidIdentityToken"),
        ({"iat": 120}, "InvalidIdentityToken"),
    ],
)
def test_a_token_out_of_its_time_is_refused(exchange: Exchange, claims: dict[str, int], code: str) -> None:
    now = exchange.authority.clock.now_ms() // 1000
    shifted: dict[str, Any] = {name: now + seconds for name, seconds in claims.items()}
    assert exchange.refused(exchange.token(**shifted))[:2] == (code, 400)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"exp": [9999999999]},
        {"iat": "now"},
        {"nbf": "now"},
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": []},
        {"aud": {"sts.amazonaws.com": 1}},
        {"aud": [AUDIENCE, "another"], "azp": "another"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"iss": None},
        {"iss": 7},
        {"iss": "https://issuer.invalid"},
        {"iss": "https://localhost"},
    ],
)
def test_a_token_that_does_not_say_what_it_must_is_refused(
    exchange: Exchange, claims: dict[str, Any]
) -> None:
    assert exchange.refused(exchange.token(**claims))[:2] == ("InvalidIdentityToken", 400)


def test_one_of_several_audiences_may_be_ours_if_the_token_was_made_for_it(exchange: Exchange) -> None:
    exchange.assume(exchange.token(aud=[AUDIENCE, "another"], azp=AUDIENCE))
    exchange.assume(exchange.token(aud=[AUDIENCE]))


def test_an_issuer_that_is_not_registered_is_never_asked(exchange: Exchange) -> None:
    before = len(exchange.issuer.asked)
    for issuer in (f"{exchange.issuer.url}/realm", exchange.issuer.url.replace("localhost", "127.0.0.1")):
        refused = exchange.refused(exchange.token(iss=issuer))
        assert refused[:2] == ("InvalidIdentityToken", 400)
        assert refused[2].startswith("No OpenIDConnect provider found in your account for ")
    assert len(exchange.issuer.asked) == before


def test_a_signature_by_another_key_is_refused(exchange: Exchange) -> None:
    issuer = exchange.issuer
    issuer.new_key("strangers")
    claims = issuer.claims(exchange.authority.clock.now_ms())
    good = exchange.token("ec")
    head, body, signature = good.split(".")
    forged = [
        issuer.token(claims, "strangers", kid="ec"),
        issuer.token(claims, "strangers", kid=None),
        issuer.token(claims, "strangers", jwk=issuer.keys["strangers"].as_dict(private=False), kid="ec"),
        exchange.token("ec", header={"kid": "rsa"}),
        f"{head}.{segment(claims | {'sub': 'repo:octo/app:forged'})}.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}.",
        f"{head}.{body[:10]}!{body[10:]}.{signature}",
    ]
    for token in forged:
        assert exchange.refused(token)[:2] == ("InvalidIdentityToken", 400)


@pytest.mark.parametrize(
    "token",
    [
        "none",
        "a.b.c",
        "....",
        "é.é.é",
        f"{segment([])}.{segment({})}.",
        f"{segment({})}.{segment('x')}.",
        f"{segment(b'[' * 9000)}.{segment({})}.",
        "." * 20_000,
    ],
)
def test_a_text_that_is_no_token_is_refused(exchange: Exchange, token: str) -> None:
    assert exchange.refused(token)[:2] == ("InvalidIdentityToken", 400)


def test_a_token_over_the_size_limit_is_refused_without_being_shown(exchange: Exchange) -> None:
    code, status, message = exchange.refused("x" * 20_001)
    assert (code, status) == ("ValidationError", 400)
    assert "xxx" not in message


def test_a_critical_header_that_we_do_not_know_is_refused(exchange: Exchange) -> None:
    header = segment({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": False})
    claims = json.dumps(exchange.issuer.claims(exchange.authority.clock.now_ms()))
    assert exchange.refused(f"{header}.{segment(claims.encode())}.AAAA")[0] == "InvalidIdentityToken"


def test_a_signature_of_sigv4_is_no_way_in_for_this_call(exchange: Exchange) -> None:
    administrator = exchange.authority.administrator
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": exchange.role,
        "RoleSessionName": "ci",
        "WebIdentityToken": exchange.token(),
    }
    request = AWSRequest("POST", exchange.authority.url + "/", data=form)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded"
    credentials = Credentials(administrator.access_key_id, administrator.secret.reveal().decode())
    SigV4Auth(credentials, "sts", REGION).add_auth(request)
    session = URLLib3Session()
    answer = session.send(request.prepare())
    session.close()
    assert answer.status_code == 400
    assert b"<Code>ValidationError</Code>" in answer.content


# Where the keys come from


def test_keys_are_asked_for_once_and_again_for_a_new_one_at_most_every_half_minute(
    exchange: Exchange,
) -> None:
    issuer, clock = exchange.issuer, exchange.authority.clock
    exchange.assume()
    before = len(issuer.asked)
    for key in ("rsa", "ec", "rsa"):
        exchange.assume(exchange.token(key))
    assert len(issuer.asked) == before

    issuer.new_key("new")
    clock.advance(seconds=31)
    assert exchange.refused(exchange.token("new"))[0] == "InvalidIdentityToken"
    assert issuer.asked[before:] == ["/.well-known/openid-configuration", "/keys?version=1"]
    for _ in range(5):
        assert exchange.refused(exchange.token("new"))[0] == "InvalidIdentityToken"
    assert len(issuer.asked) == before + 2

    issuer.published = ["new"]
    clock.advance(seconds=31)
    exchange.assume(exchange.token("new"))
    assert len(issuer.asked) == before + 4
    assert exchange.refused(exchange.token("rsa"))[0] == "InvalidIdentityToken"


def test_keys_grow_old_in_an_hour(exchange: Exchange) -> None:
    clock = exchange.authority.clock
    clock.advance(seconds=31)
    exchange.refused(exchange.token("ec", header={"kid": "made-up"}))
    exchange.assume()
    before = len(exchange.issuer.asked)
    clock.advance(seconds=3601)
    exchange.assume()
    assert len(exchange.issuer.asked) == before + 2


@pytest.mark.parametrize(
    "discovery",
    [
        {},
        {"issuer": "https://another.invalid", "jwks_uri": "https://another.invalid/keys"},
        {"issuer": "{url}"},
        {"issuer": "{url}", "jwks_uri": "http://127.0.0.1/keys"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}", "jwks_uri": "https://169.254.169.254/latest/meta-data/"},
        {"issuer": "{url}", "jwks_uri": "{url}/nowhere"},
        {"issuer": "{url}", "jwks_uri": ["{url}/keys"]},
    ],
)
def test_an_issuer_that_gives_no_keys_is_told_apart_from_a_bad_token(
    exchange: Exchange, discovery: dict[str, Any]
) -> None:
    issuer = exchange.issuer
    text = json.dumps(discovery).replace("{url}", issuer.url)
    issuer.discovery = json.loads(text)
    exchange.authority.clock.advance(seconds=3700)
    assert exchange.refused()[:2] == ("IDPCommunicationError", 400)
    # Left alone for a while: strangers can make us ask.
    before = len(issuer.asked)
    assert exchange.refused()[:2] == ("IDPCommunicationError", 400)
    assert len(issuer.asked) == before


def test_an_issuer_with_a_certificate_of_nobody_is_not_believed(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.authority.clock.advance(seconds=3700)
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    assert exchange.refused()[:2] == ("IDPCommunicationError", 400)
    monkeypatch.setenv("SSL_CERT_FILE", str(exchange.issuer.ca_file))
    exchange.authority.clock.advance(seconds=10)
    exchange.assume()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/keys",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fd00:ec2::254]/",
        "https://0.0.0.0/",
        "https://user:pass@127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)
def test_what_is_not_fetched(url: str) -> None:
    with pytest.raises(OSError, match=r"only https|link-local"):
        fetch(url)


def test_a_pinned_key_set_needs_no_network(exchange: Exchange) -> None:
    authority, issuer = exchange.authority, exchange.issuer
    issuer.keys["pinned"] = okp_key("pinned")
    url = "https://closed.example"
    arn = authority.iam().create_open_id_connect_provider(Url=url, ClientIDList=[AUDIENCE])[
        "OpenIDConnectProviderArn"
    ]
    role = new_trusting_role(authority, "pinned", trust({"Federated": arn}, WEB))
    text = json.dumps({"keys": [issuer.keys["pinned"].as_dict(private=False)]})
    authority.run(authority.opened.store.write(lambda tx: oidc_providers.set_pinned_jwks(tx, arn, text)))
    before = len(issuer.asked)
    session = exchange.assume(exchange.token("pinned", iss=url), role)
    assert session.arn.endswith(":assumed-role/pinned/ci")
    assert exchange.refused(exchange.token("ec", iss=url), role)[0] == "InvalidIdentityToken"
    assert len(issuer.asked) == before

    # The sessions that a provider vouched for end with it.
    authority.iam().delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert refusal(session.sts.get_caller_identity)[:2] == INVALID_TOKEN
    assert exchange.refused(exchange.token("pinned", iss=url), role)[0] == "InvalidIdentityToken"
