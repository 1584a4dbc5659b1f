"""Killed with -9 after every single effect and between every two steps: nothing is lost, nothing is left behind.

On a real authority, with real sinks: a credentials file, a `.env` file and a secret in its own secrets manager.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from keyturn.model.access_keys import AccessKeyId, AccountId, account_of
from keyturn.model.clock import SystemClock
from keyturn.rotation.progress import Progress, SinkProgress, Terms
from keyturn.rotation.state import open_state
from keyturn.rotation.storage import journal
from living_authority import REGION, LivingAuthority

TERMS = Terms(
    quiet=5, sparse_quiet=5, keep_inactive=10, watch_every=5, poll=5, needs_adoption=False, may_delete=True
)
CHILD = Path(__file__).parent / "children" / "dying_rotator.py"
SINKS = ("profile", "env", "vaulted")
IS_LONG = os.environ.get("KEYTURN_FAULTS") == "long"
TIMES = 20 if IS_LONG else 1


@dataclass
class Case:
    """One user, his sinks, and a rotation that was begun."""

    authority: LivingAuthority
    directory: Path
    user: str
    old: str
    rotation_id: str
    environment: dict[str, str]

    def held(self) -> dict[str, tuple[str, str]]:
        """The pair in each sink, as a consumer reads it."""
        profile = dict(
            line.split(" = ")
            for line in (self.directory / "credentials").read_text().splitlines()
            if " = " in line
        )
        env = dict(line.split("=", 1) for line in (self.directory / "app.env").read_text().splitlines())
        secret = self.authority._client("secretsmanager", None, None, {})
        vaulted = json.loads(secret.get_secret_value(SecretId=self.user)["SecretString"])
        secret.close()
        return {
            "profile": (profile["aws_access_key_id"], profile["aws_secret_access_key"]),
            "env": (env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]),
            "vaulted": (vaulted["access_key_id"], vaulted["secret_access_key"]),
        }

    def keys(self) -> dict[str, str]:
        listed = self.authority.iam().list_access_keys(UserName=self.user)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: key["Status"] for key in listed}

    def accepts(self, pair: tuple[str, str]) -> bool:
        client = boto3.client(
            "sts",
            endpoint_url=self.authority.url,
            region_name=REGION,
            aws_access_key_id=pair[0],
            aws_secret_access_key=pair[1],
            config=Config(retries={"total_max_attempts": 1}),
        )
        try:
            client.get_caller_identity()
        except ClientError:
            return False
        finally:
            client.close()
        return True

    def boundaries(self) -> list[str]:
        return (self.directory / f"{self.rotation_id}.boundaries").read_text().splitlines()


class Rotators:
    """Hands cases to processes that die."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, case: Case, *, die_at: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = {
            "state": str(case.directory),
            "config": str(case.directory / "keyturn.toml"),
            "rotation": case.rotation_id,
            "die_at": die_at,
            "environment": case.environment,
        }
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def rotators() -> Iterator[Rotators]:
    found = Rotators()
    yield found
    found.close()


def begun(authority: LivingAuthority, directory: Path, user: str) -> Case:
    """A user whose one key is in three sinks, and the journal's row of a rotation that has not done anything."""
    directory.mkdir()
    old, secret = authority.new_user_with_key(user)
    (directory / "credentials").write_text(
        f"[other]\nx = 1\n[{user}]\naws_access_key_id = {old}\naws_secret_access_key = {secret}\n"
    )
    (directory / "credentials").chmod(0o600)
    (directory / "app.env").write_text(f"AWS_ACCESS_KEY_ID={old}\nAWS_SECRET_ACCESS_KEY={secret}\n")
    (directory / "app.env").chmod(0o600)
    vault = authority._client("secretsmanager", None, None, {})
    pair = {"access_key_id": old, "secret_access_key": secret}
    vault.create_secret(Name=user, SecretString=json.dumps(pair))
    vault.close()
    (directory / "keyturn.toml").write_text(
        f'[sinks.profile]\ntype = "credentials_file"\nprofile = "{user}"\npath = "{directory}/credentials"\n'
        f'[sinks.env]\ntype = "dotenv"\npath = "{directory}/app.env"\n'
        f'[sinks.vaulted]\ntype = "secretsmanager"\nsecret_id = "{user}"\n'
        'id_field = "access_key_id"\nsecret_field = "secret_access_key"\n'
        f'[users.{user}]\nsinks = ["profile", "env", "vaulted"]\n'
    )
    clock = SystemClock()
    state = open_state(directory, directory / "keys", clock=clock, random_bytes=os.urandom)
    now = clock.now_ms()
    account = account_of(AccessKeyId(old))
    progress = Progress(
        user, account or AccountId("0"), user, AccessKeyId(old), now, TERMS, stage_since=now,
        sinks=tuple(SinkProgress(name) for name in SINKS),
    )  # fmt: skip
    with state.database.writing() as ledger:
        journal.add(ledger, progress, endpoint=authority.url, region=REGION, profile="")
    state.close()
    administrator = authority.administrator
    environment = {
        "AWS_ACCESS_KEY_ID": administrator.access_key_id,
        "AWS_SECRET_ACCESS_KEY": administrator.secret.reveal().decode(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "HOME": str(directory),
    }
    return Case(authority, directory, user, old, user, environment)


def require_end_state(case: Case) -> None:
    held = case.held()
    assert len(set(held.values())) == 1, "the sinks hold different pairs"
    (pair,) = set(held.values())
    assert pair[0] != case.old
    assert case.accepts(pair)
    assert case.keys() == {pair[0]: "Active"}, "a key is left that no sink holds"


@pytest.mark.faults
def test_killed_at_every_boundary_a_rotation_still_ends_with_one_key_in_every_sink(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators
) -> None:
    whole = begun(shared_authority, tmp_path / "whole", "whole")
    assert rotators.run(whole, die_at=0) == {"signal": None, "code": 0}
    require_end_state(whole)
    boundaries = whole.boundaries()
    assert {"after:create", "after:write:vaulted", "after:deactivate", "after:delete"} <= set(boundaries)
    for number, name in enumerate(boundaries, 1):
        # In short: after each effect, when its outcome is on no record, and a sample of the rest.
        if not (IS_LONG or name.startswith("after:") or number % 5 == 0):
            continue
        for time in range(TIMES):
            user = f"killed-{number}-{time}"
            case = begun(shared_authority, tmp_path / user, user)
            died = rotators.run(case, die_at=number)
            at = case.boundaries()[-1]
            assert died["signal"] == 9, (at, died)
            # At this very instant every sink holds a key that the authority accepts.
            assert all(case.accepts(pair) for pair in case.held().values()), at
            assert rotators.run(case, die_at=0) == {"signal": None, "code": 0}, at
            require_end_state(case)


def test_killed_again_and_again_it_still_arrives(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators
) -> None:
    case = begun(shared_authority, tmp_path / "again", "again")
    for die_at in (3, 2, 4, 3, 2, 5, 3, 2, 3, 4, 3, 6):
        if rotators.run(case, die_at=die_at)["signal"] is None:
            break
    rotators.run(case, die_at=0)
    require_end_state(case)
