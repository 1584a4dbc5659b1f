"""One process of the demo's workload: boto3, signed calls without retries, and its key from one place.

Usage: worker.py profile|dotenv FILE, worker.py role FILE ROLE_ARN, worker.py secret NAME, worker.py process PROFILE.
Prints one JSON line a batch: its calls, its failures, and the long-term key that they go back to. On SIGHUP it reads
its key again; `secret` and `process` look again by themselves, as such programs do.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BATCH = 5
PAUSE = 0.15
"""Seconds between two batches: five processes without it leave two cores to nobody else."""
LOOKS_AGAIN = 2.0
"""Seconds for which the program that reads Secrets Manager remembers what it read."""
SHORTEST_SESSION = 900
"""STS API, AssumeRole, `DurationSeconds`: there is none that is shorter."""
USER = "ci-deploy-bot"
ONCE = Config(retries={"total_max_attempts": 1})


@dataclass
class Signer:
    """What a process signs with: the long-term key, or a session that goes back to it."""

    session: boto3.Session
    access_key_id: str

    def act(self) -> Callable[[], None]:
        """A call that needs no permission, and one that really needs it."""
        iam, sts = self.session.client("iam", config=ONCE), self.session.client("sts", config=ONCE)

        def call() -> None:
            sts.get_caller_identity()
            iam.get_user(UserName=USER)

        return call


def of_pair(access_key_id: str, secret: str, **more: str) -> boto3.Session:
    return boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret, **more)  # type: ignore[arg-type]  # the rest is the session's token


def from_profile(file: str) -> Signer:
    """As any program that has a profile in a credentials file."""
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = file
    return signer_of(boto3.Session(profile_name=USER))


def from_process(profile: str) -> Signer:
    """As one job after the other: each asks the profile's `credential_process`."""
    return signer_of(boto3.Session(profile_name=profile))


def signer_of(session: boto3.Session) -> Signer:
    credentials = session.get_credentials()
    assert credentials is not None
    return Signer(session, str(credentials.get_frozen_credentials().access_key))


def from_dotenv(file: str) -> Signer:
    found = dict(re.findall(r"^(AWS_\w+)=(\S+)$", Path(file).read_text(encoding="utf-8"), re.MULTILINE))
    access_key_id = found["AWS_ACCESS_KEY_ID"]
    return Signer(of_pair(access_key_id, found["AWS_SECRET_ACCESS_KEY"]), access_key_id)


def from_secret(name: str) -> Signer:
    """As a program whose own identity may read one secret, and nothing else."""
    client = boto3.client("secretsmanager", config=ONCE)
    pair: dict[str, Any] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
    client.close()
    return Signer(
        of_pair(pair["AWS_ACCESS_KEY_ID"], pair["AWS_SECRET_ACCESS_KEY"]), pair["AWS_ACCESS_KEY_ID"]
    )


def from_role(file: str, role_arn: str) -> Signer:
    """A session of a role, obtained with the key of the profile; it lives for as short as one may."""
    holder = from_profile(file)
    sts = holder.session.client("sts", config=ONCE)
    got = sts.assume_role(RoleArn=role_arn, RoleSessionName="release", DurationSeconds=SHORTEST_SESSION)
    sts.close()
    credentials = got["Credentials"]
    session = of_pair(
        credentials["AccessKeyId"],
        credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    return Signer(session, holder.access_key_id)


SOURCES: dict[str, Callable[..., Signer]] = {
    "profile": from_profile,
    "role": from_role,
    "dotenv": from_dotenv,
    "secret": from_secret,
    "process": from_process,
}


def main() -> int:
    kind, *where = sys.argv[1:]
    wanted = {signal.SIGHUP, signal.SIGTERM}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the demo's, which ends this one
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # heard between two batches only: none is cut off
    source, read_at = SOURCES[kind], time.monotonic()
    signer = source(*where)
    call, heard = signer.act(), None
    while heard is None or heard.si_signo != signal.SIGTERM:
        is_due = {"secret": time.monotonic() - read_at > LOOKS_AGAIN, "process": True}.get(
            kind, heard is not None
        )
        failed, error = 0, None
        if is_due:
            read_at = time.monotonic()
            try:
                found = source(*where)
                if found.access_key_id != signer.access_key_id or kind == "role":
                    signer, call = found, found.act()
            except (ClientError, BotoCoreError) as problem:
                failed, error = 1, f"reading the key: {problem}"
        for _ in range(BATCH):
            try:
                call()
            except (ClientError, BotoCoreError) as problem:
                failed, error = failed + 1, str(problem)
        report(failed, signer.access_key_id, error)
        heard = signal.sigtimedwait(wanted, PAUSE)
    return 0


def report(failed: int, access_key_id: str, error: str | None) -> None:
    line = {"calls": 2 * BATCH, "failed": failed, "key": access_key_id, "error": error}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
