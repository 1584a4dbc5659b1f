"""Alerts as their senders sign them, made with other code than the one that checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.model.access_keys import AccessKeyPair
from keyturn.model.secrets import Secret

Alert = tuple[dict[str, str], bytes]
"""Headers and body."""


def github_alert(body: bytes, secret: Secret, **headers: str) -> Alert:
    mac = hmac.new(secret.reveal(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={mac}",
        "X-GitHub-Event": "secret_scanning_alert",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "Content-Type": "application/json",
    } | headers, body


def signed_alert(content: object, secret: Secret, at: int) -> Alert:
    """`at` in epoch seconds."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    mac = hmac.new(secret.reveal(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return {"Keyturn-Timestamp": str(at), "Keyturn-Signature": f"v1={mac}"}, body


class Partner:
    """GitHub's part of the partner programme: it publishes keys, and signs with one."""

    def __init__(self) -> None:
        self.fetches = 0
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.new_key("90a4" + "0" * 60)

    def new_key(self, key_id: str, curve: ec.EllipticCurve | None = None) -> None:
        self.current = key_id
        self.keys[key_id] = ec.generate_private_key(curve or ec.SECP256R1())

    def fetch(self, url: str) -> bytes:
        assert url.startswith("https://")
        self.fetches += 1
        public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        listed = [
            {
                "key_identifier": key_id,
                "key": key.public_key().public_bytes(*public).decode(),
                "is_current": key_id == self.current,
            }
            for key_id, key in self.keys.items()
        ]
        return json.dumps({"public_keys": listed}).encode()

    def alert(self, tokens: object, key_id: str | None = None) -> Alert:
        key_id = key_id or self.current
        body = json.dumps(tokens).encode()
        signature = self.keys[key_id].sign(body, ec.ECDSA(hashes.SHA256()))
        return {
            "Github-Public-Key-Identifier": key_id,
            "Github-Public-Key-Signature": base64.b64encode(signature).decode(),
        }, body


def token_of(pair: AccessKeyPair, prefix: str = "acme_") -> str:
    """A token under a prefix of one's own: id and secret in one."""
    return f"{prefix}{pair.access_key_id}:{pair.secret.reveal().decode()}"


def match(
    token: str, kind: str = "acme_key", url: str = "https://github.example/o/r/blob/1/a"
) -> Mapping[str, str]:
    return {"token": token, "type": kind, "url": url, "source": "content"}


def lowered(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}
