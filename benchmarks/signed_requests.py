"""Requests as boto3 sends them, signed by botocore beforehand and written out as the bytes on the wire.

Each one is signed for itself: no two have the same signature, so that nothing can profit from having seen one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from load import Asked

REGION = "us-east-1"
_VERSIONS = {"iam": "2010-05-08", "sts": "2011-06-15"}
_USER_AGENT = (
    "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.7 "
    "md/pyimpl#CPython m/N,b,e,Z,E cfg/retry-mode#standard Botocore/1.44.5"
)


@dataclass(frozen=True, slots=True)
class Key:
    access_key_id: str
    secret: str


class Signer:
    """Signs for one key and service, with the headers that boto3's retry handler and HTTP client add afterwards."""

    def __init__(self, key: Key, service: str) -> None:
        self._service = service
        self._auth = SigV4Auth(Credentials(key.access_key_id, key.secret), service, REGION)

    def request(self, port: int, action: str, **parameters: str) -> bytes:
        form = {"Action": action, "Version": _VERSIONS[self._service], **parameters}
        body = urlencode(form).encode()
        request = AWSRequest(
            method="POST",
            url=f"http://127.0.0.1:{port}/",
            data=body,
            headers={
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "User-Agent": _USER_AGENT,
                "amz-sdk-invocation-id": str(uuid.uuid4()),
                "amz-sdk-request": "attempt=1",
            },
        )
        self._auth.add_auth(request)
        return on_the_wire(port, request.headers.items(), body)


def on_the_wire(
    port: int, headers: Sequence[tuple[str, str | bytes]], body: bytes, *, target: bytes = b"/"
) -> bytes:
    lines = [b"POST %s HTTP/1.1" % target, b"Host: 127.0.0.1:%d" % port, b"Accept-Encoding: identity"]
    for name, value in headers:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def caller_identity_requests(port: int, arns: Mapping[Key, str], how_many: int) -> list[Asked]:
    """Signed GetCallerIdentity calls, the keys in turn; each must be answered with its key's own ARN."""
    signers = [(Signer(key, "sts"), f"<Arn>{arn}</Arn>".encode()) for key, arn in arns.items()]
    asked = []
    for number in range(how_many):
        signer, arn = signers[number % len(signers)]
        asked.append(Asked(signer.request(port, "GetCallerIdentity"), arn))
    return asked
