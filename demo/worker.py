"""One process of the demo's workload: boto3, signed calls without pause, a new key on SIGHUP.

Usage: worker.py CREDENTIALS_FILE. Prints one JSON line a batch: calls and failures so far, and the key in use.
No call is retried, so that a failed one is seen.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BATCH = 20


def main() -> int:
    calls = failed = 0
    wanted: set[int] = set()
    for name in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, lambda number, _frame: wanted.add(number))
    access_key_id, act = connect(sys.argv[1])
    while signal.SIGTERM not in wanted:
        if signal.SIGHUP in wanted:
            wanted.discard(signal.SIGHUP)
            access_key_id, act = connect(sys.argv[1])
        for _ in range(BATCH):
            calls += 1
            try:
                act()
            except (ClientError, BotoCoreError) as error:
                failed += 1
                report(calls, failed, access_key_id, str(error))
        report(calls, failed, access_key_id)
    return 0


def connect(credentials_file: str) -> tuple[str, Callable[[], object]]:
    """A call that really needs permission and one that needs none, signed with the key in the file."""
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = credentials_file
    session = boto3.Session(profile_name="ci-deploy-bot")
    credentials = session.get_credentials()
    config = Config(retries={"total_max_attempts": 1})
    iam, sts = session.client("iam", config=config), session.client("sts", config=config)

    def act() -> None:
        sts.get_caller_identity()
        iam.get_user()

    return (credentials.access_key if credentials else ""), act


def report(calls: int, failed: int, access_key_id: str, error: str | None = None) -> None:
    line = {"calls": 2 * calls, "failed": failed, "key": access_key_id, "error": error}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
