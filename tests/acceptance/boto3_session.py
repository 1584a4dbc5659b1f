"""A program on boto3's default session: reads calls as JSON lines, writes answers as JSON lines.

Where its credentials come from is the environment's to say; a second factor's code is asked for by boto3 itself.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore.exceptions import ClientError


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        client = boto3.client(request["service"])
        found = getattr(client, request["method"])(**request["parameters"])
    except ClientError as error:
        told = error.response["Error"]
        return {"error": {"code": told["Code"], "message": told["Message"]}}
    del found["ResponseMetadata"]
    return {"answer": found}


for line in sys.stdin:
    sys.stdout.write(json.dumps(answer(json.loads(line)), default=lambda moment: moment.isoformat()) + "\n")
    sys.stdout.flush()
