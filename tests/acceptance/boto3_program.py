"""A program around whichever boto3 is on PYTHONPATH: reads requests as JSON lines, writes answers as JSON lines."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore.exceptions import ClientError

clients: dict[tuple[str, str], Any] = {}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    where = request["service"], request["access_key_id"]
    if where not in clients:
        # The endpoint and the region come from the environment, as `keyturn env` sets it.
        clients[where] = boto3.client(
            request["service"],
            aws_access_key_id=request["access_key_id"],
            aws_secret_access_key=request["secret"],
        )
    try:
        found = getattr(clients[where], request["method"])(**request["parameters"])
    except ClientError as error:
        told = error.response["Error"]
        return {"error": {"code": told["Code"], "message": told["Message"]}}
    del found["ResponseMetadata"]
    return {"answer": found}


for line in sys.stdin:
    sys.stdout.write(json.dumps(answer(json.loads(line)), default=lambda moment: moment.isoformat()) + "\n")
    sys.stdout.flush()
