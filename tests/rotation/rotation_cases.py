"""Rotations on a real authority, begun and not yet carried on, for processes that die or are stopped at them.

Each has a user, one key in three sinks (a credentials file, a `.env` file, a secret in a secrets manager), and a
journal of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import boto3
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
SINKS = ("profile", "env", "vaulted")


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
    journal_anew(authority, directory, user, old, rotation_id=user)
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


def journal_anew(
    authority: LivingAuthority, directory: Path, user: str, old: str, *, rotation_id: str
) -> None:
    """The journal's row of a rotation that has not done anything."""
    directory.mkdir(exist_ok=True)
    clock = SystemClock()
    state = open_state(directory, directory / "keys", clock=clock, random_bytes=os.urandom)
    now = clock.now_ms()
    account = account_of(AccessKeyId(old)) or AccountId("0")
    sinks = tuple(SinkProgress(name) for name in SINKS)
    progress = Progress(
        rotation_id, account, user, AccessKeyId(old), now, TERMS, stage_since=now, sinks=sinks
    )
    with state.database.writing() as ledger:
        journal.add(ledger, progress, endpoint=authority.url, region=REGION, profile="")
    state.close()


def require_end_state(case: Case) -> None:
    held = case.held()
    assert len(set(held.values())) == 1, "the sinks hold different pairs"
    (pair,) = set(held.values())
    assert pair[0] != case.old
    assert case.accepts(pair)
    assert case.keys() == {pair[0]: "Active"}, "a key is left that no sink holds"
