"""Signed clients of any AWS-compatible endpoint: how Keyturn's own tools reach one, ours or AWS's alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient

    from keyturn.model.access_keys import AccessKeyId
    from keyturn.model.secrets import Secret


def iam_client(
    endpoint_url: str | None, *, region: str, access_key_id: AccessKeyId | None, secret: Secret | None
) -> IAMClient:
    """A client that signs with this key, or, without one, with what botocore finds in the environment."""
    session = boto3.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=None if secret is None else secret.reveal().decode("ascii"),
        region_name=region,
    )
    config = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=20)
    return session.client("iam", endpoint_url=endpoint_url, config=config)
