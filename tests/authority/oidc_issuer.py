"""An OpenID Connect issuer on loopback: https with a CA of its own, a discovery document, keys, and tokens."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}


class Issuer:
    """Counts what it is asked; `published` are the keys that it shows, `paths` what it serves at all."""

    def __init__(self, url: str, ca_file: Path) -> None:
        self.url = url
        self.ca_file = ca_file
        self.asked: list[str] = []
        self.keys: dict[str, Key] = {
            "rsa": RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
            "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
        }
        self.published = ["rsa", "ec"]
        self.discovery: dict[str, Any] = {"issuer": url, "jwks_uri": f"{url}/keys?version=1"}

    def new_key(self, kid: str) -> None:
        """Not published yet."""
        self.keys[kid] = ECKey.generate_key("P-256", {"kid": kid})

    @property
    def jwks(self) -> dict[str, Any]:
        shown: list[dict[str, Any]] = [
            dict(self.keys[name].as_dict(private=False)) for name in self.published
        ]
        # Of a kind that nobody knows yet: to be passed over (RFC 7517, section 5).
        return {"keys": [{"kty": "AKP", "kid": "of-tomorrow", "pub": "AA"}, *shown]}

    def claims(self, now_ms: int, **more: Any) -> dict[str, Any]:
        now = now_ms // 1000
        usual = {
            "iss": self.url,
            "sub": "repo:octo/app:ref:refs/heads/main",
            "aud": "sts.amazonaws.com",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
        }
        return {name: value for name, value in (usual | more).items() if value is not None}

    def token(self, claims: dict[str, Any], key: str = "rsa", **header: Any) -> str:
        held = self.keys[key]
        algorithm = header.pop("alg", None) or ALGORITHMS[held.key_type]
        protected = {"alg": algorithm, "kid": held.kid, "typ": "JWT"} | header
        protected = {name: value for name, value in protected.items() if value is not None}
        return jws.serialize_compact(protected, json.dumps(claims), held, algorithms=[algorithm])

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return json.dumps(self.discovery).encode()
        if path == "/keys?version=1":
            return json.dumps(self.jwks).encode()
        return None


def okp_key(kid: str) -> Key:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


@contextmanager
def living_issuer(home: Path) -> Iterator[Issuer]:
    home.mkdir()
    certificate, ca_file = _certified(home)
    issuer: Issuer | None = None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert issuer is not None
            body = issuer.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust our CA is no news."""

    server = Quiet(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    issuer = Issuer(f"https://localhost:{server.server_address[1]}", ca_file)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="issuer")
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def _certified(home: Path) -> tuple[Path, Path]:
    """A certificate with its key for localhost, and the CA's certificate."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of the tests")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.now(UTC) - timedelta(days=1)
    end = begin + timedelta(days=30)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate, ca_file = home / "issuer.pem", home / "ca.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate.write_bytes(leaf.public_bytes(Encoding.PEM) + private)
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    return certificate, ca_file
