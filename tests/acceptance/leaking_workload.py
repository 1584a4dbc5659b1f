"""A workload whose key leaks: boto3, signed calls without retries, its key from a profile of a credentials file.

Usage: leaking_workload.py. The environment names file, profile and endpoint. A refused call makes it read the file again,
as a program does that looks its credentials up anew. One JSON line for each change: the key, and whether it is accepted.
Ends when its standard input does.
"""

from __future__ import annotations

import json
import select
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> int:
    session, said = boto3.Session(), ""
    client = session.client("sts", config=Config(retries={"total_max_attempts": 1}))
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        credentials = session.get_credentials()
        assert credentials is not None
        key = credentials.get_frozen_credentials().access_key
        try:
            client.get_caller_identity()
            is_accepted = True
        except ClientError:
            is_accepted = False
            client.close()
            session = boto3.Session()
            client = session.client("sts", config=Config(retries={"total_max_attempts": 1}))
        line = json.dumps({"key": key, "accepted": is_accepted})
        if line != said:
            said = line
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
