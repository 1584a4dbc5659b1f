"""A long-running program with one boto3 client. For each line on stdin it makes a call and prints whose key signed it."""

from __future__ import annotations

import sys

import boto3

signed_by: list[str] = []


def note(request: object, **_: object) -> None:
    """After signing, before sending: the header names the key. Nothing returned means: send it."""
    authorization = request.headers["Authorization"]  # type: ignore[attr-defined]  # botocore's AWSRequest
    text = authorization.decode() if isinstance(authorization, bytes) else authorization
    signed_by.append(text.split("Credential=")[1].split("/")[0])


client = boto3.client("sts")
client.meta.events.register("before-send.sts.GetCallerIdentity", note)
for _line in sys.stdin:
    client.get_caller_identity()
    sys.stdout.write(signed_by[-1] + "\n")
    sys.stdout.flush()
client.close()
