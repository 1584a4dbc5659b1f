"""What goes wrong outside: replies that are cut, clocks that are wrong, certificates that nobody knows."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, SSLError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from acceptance.conftest import endpoint_of
from acceptance.proofs import proves
from acceptance.real_clients import CLIENTS, AwsCommandLine, Boto3Client, Refused
from acceptance.served import Endpoint, Key, served
from authority.cutting_proxy import cutting_proxy
from living_authority import LivingAuthority

PEM = serialization.Encoding.PEM


@proves("a cut reply to CreateAccessKey leaves one key, and the client holds it")
def test_a_cut_reply_leaves_one_key_and_the_client_holds_it(client_name: str, endpoint: Endpoint) -> None:
    user = f"cut-{client_name.replace(' ', '-')}"
    administrator = Boto3Client(endpoint)
    arn = administrator.call("iam", "CreateUser", {"UserName": user})["User"]["Arn"]
    host, port = endpoint.url.removeprefix("http://").split(":")
    with cutting_proxy((host, int(port)), b"Action=CreateAccessKey", lambda _reply: b"") as proxy:
        # Its own retries, untouched.
        client = CLIENTS[client_name](replace(endpoint, url=proxy.url))
        created = client.create_access_key(user)
        client.close()
    assert proxy.seen == 2, "the client heard nothing and asked again"
    (held,) = administrator.list_access_keys(user)
    assert held["AccessKeyId"] == created["AccessKeyId"]
    assert administrator.arn_of(Key(created["AccessKeyId"], created["SecretAccessKey"])) == arn
    administrator.close()


@proves("a presigned URL, fetched without any SDK")
def test_a_presigned_url_is_fetched_without_any_sdk(client_name: str, endpoint: Endpoint) -> None:
    assert client_name == "boto3"
    boto = Boto3Client(endpoint)
    url = boto.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    boto.close()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        assert answer.status == 200
        assert b":user/administrator</Arn>" in answer.read()


@proves("a clock that is 16 minutes wrong is told so")
def test_a_clock_that_is_16_minutes_behind_is_told_so(
    client_name: str, authority: LivingAuthority, tmp_path: Path
) -> None:
    client = CLIENTS[client_name](endpoint_of(authority, tmp_path))
    authority.clock.advance(seconds=16 * 60)
    with pytest.raises(Refused) as refused:
        client.arn_of(client.endpoint.administrator)
    client.close()
    assert refused.value.code == "SignatureDoesNotMatch"
    assert re.fullmatch(
        r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)",
        refused.value.message,
    )


@pytest.mark.parametrize(
    ("minutes", "words"), [(16, "Signature expired: "), (-16, "Signature not yet current: ")]
)
def test_boto3_neither_corrects_its_clock_nor_tries_again(
    authority: LivingAuthority, minutes: int, words: str
) -> None:
    sts = authority.sts(retries={"mode": "standard"})
    authority.clock.advance(seconds=minutes * 60)
    for _ in range(2):
        with pytest.raises(ClientError, match=words) as refused:
            sts.get_caller_identity()
        assert refused.value.response["ResponseMetadata"]["RetryAttempts"] == 0
    authority.clock.advance(seconds=-minutes * 60)
    assert sts.get_caller_identity()["Arn"].endswith(":user/administrator")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private authority (ca.pem) and a server's certificate for 127.0.0.1 (cert.pem, key.pem)."""
    directory = tmp_path_factory.mktemp("certificates")
    now = datetime.now(UTC)

    def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a private authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        certificate("a private authority", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(authority_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id)
    leaf = (
        certificate("127.0.0.1", key)
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(ca.public_bytes(PEM))
    (directory / "cert.pem").write_bytes(leaf.public_bytes(PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory


@pytest.fixture(scope="module")
def behind_tls(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    home = tmp_path_factory.mktemp("tls") / "home"
    files = ("--tls-cert", str(certificates / "cert.pem"), "--tls-key", str(certificates / "key.pem"))
    with served(home, *files) as endpoint:
        yield endpoint


@proves("TLS with a private authority in `AWS_CA_BUNDLE`")
def test_tls_with_a_private_authority_in_aws_ca_bundle(
    client_name: str, behind_tls: Endpoint, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert behind_tls.url.startswith("https://127.0.0.1:")
    bundle = str(certificates / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    client = CLIENTS[client_name](behind_tls)
    if isinstance(client, AwsCommandLine):
        environment = behind_tls.environment() | {"AWS_CA_BUNDLE": bundle}
        arn = client.run("sts", "get-caller-identity", env=environment)["Arn"]
    else:
        arn = client.arn_of(behind_tls.administrator)
    assert arn.endswith(":user/administrator")
    client.close()


def test_a_certificate_of_an_unknown_authority_is_not_taken(behind_tls: Endpoint) -> None:
    key = behind_tls.administrator
    sts = boto3.client(
        "sts",
        endpoint_url=behind_tls.url,
        region_name="us-east-1",
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret,
    )
    with pytest.raises(SSLError):
        sts.get_caller_identity()
    sts.close()
