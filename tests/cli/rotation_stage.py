"""A home in which a rotation can be done at the terminal: profiles, keyturn.toml, users with keys, and who uses them."""

from __future__ import annotations

import configparser
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from command_line import Told, keyturn
from living_authority import REGION, LivingAuthority, environment_below
from real_program import KEYTURN
from secret_forms import holders

QUICK: Final = """[rotation]
quiet = "1s"
sparse_quiet = "1s"
keep_inactive = "1s"
watch_every = "1s"
poll = "1s"
proof_span = "0s"
needs_adoption = false
"""
"""Windows of seconds, as an exact endpoint allows them."""


@dataclass
class RotationStage:
    home: Path
    authority: LivingAuthority
    terms: str = QUICK
    more: str = ""
    """Further tables of keyturn.toml."""
    secrets: dict[str, bytes] = field(default_factory=dict)
    """Of every key that was ever issued to a user here, by its id."""

    def __post_init__(self) -> None:
        folder = self.home / ".aws"
        folder.mkdir(mode=0o700, parents=True)
        signer = self.authority.administrator
        (folder / "config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = {self.authority.url}\n")
        (folder / "credentials").write_text(
            f"[default]\naws_access_key_id = {signer.access_key_id}\n"
            f"aws_secret_access_key = {signer.secret.reveal().decode()}\n"
        )
        self.write()

    @property
    def toml(self) -> Path:
        return self.home / ".config/keyturn/keyturn.toml"

    @property
    def state(self) -> Path:
        return self.home / ".local/state/keyturn/rotations"

    def write(self, *users: str) -> None:
        """keyturn.toml, with a sink in a credentials file of its own for each user."""
        tables = "".join(
            f'[sinks.{user}]\ntype = "credentials_file"\nprofile = "{user}"\npath = "{self.credentials(user)}"\n'
            f'[users.{user}]\nsinks = ["{user}"]\n'
            for user in users
        )
        self.toml.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.toml.write_text(f"{self.terms}{tables}{self.more}")

    def credentials(self, user: str) -> Path:
        return self.home / f"{user}.credentials"

    def new_user(self, user: str = "ci") -> str:
        """A user with a key that lies where its consumer reads it; the key's id."""
        access_key_id, secret = self.authority.new_user_with_key(user)
        self.credentials(user).touch(mode=0o600)
        self.credentials(user).write_text(
            f"[{user}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n"
        )
        self.secrets[access_key_id] = secret.encode()
        return access_key_id

    def held(self, user: str = "ci") -> tuple[str, str]:
        """What the consumer reads now."""
        parser = configparser.RawConfigParser()
        parser.read(self.credentials(user))
        return parser[user]["aws_access_key_id"], parser[user]["aws_secret_access_key"]

    def works(self, user: str = "ci") -> bool:
        """Whether the consumer can sign with what it reads; the secret is remembered for the search."""
        access_key_id, secret = self.held(user)
        self.secrets[access_key_id] = secret.encode()
        found: str = self.authority.sts(access_key_id, secret).get_caller_identity()["Arn"]
        return found.endswith(f":user/{user}")

    def keys(self, user: str = "ci") -> dict[str, str]:
        listed = self.authority.iam().list_access_keys(UserName=user)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: str(key["Status"]) for key in listed}

    def keyturn(self, *words: str, environment: Mapping[str, str] | None = None) -> Told:
        with patch("keyturn.cli.rotations.PATIENCE_MS", 1_500):  # who tests is less patient than a person
            told = keyturn(self.home, *words, environment=environment)
        for secret in self.secrets.values():
            assert secret.decode() not in told.stdout + told.stderr
        return told

    @property
    def environment(self) -> dict[str, str]:
        return {**environment_below(self.home), "PYTHONUNBUFFERED": "1"}

    def program(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same as a program of its own, to its end."""
        return subprocess.run(
            [*KEYTURN, *words], capture_output=True, text=True, check=False, timeout=60, env=self.environment
        )

    @contextmanager
    def begin(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The same as a program of its own, to be signalled and killed; it is over when the block is."""
        process = subprocess.Popen(
            [*KEYTURN, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def rotations(self) -> list[dict[str, Any]]:
        told = self.keyturn("status", "--finished", "--output", "json")
        return [json.loads(line) for line in told.stdout.splitlines()]

    def places_with_a_secret(self) -> dict[str, list[str]]:
        """Where a user's secret lies besides the places that the configuration names."""
        named = {self.credentials(path.stem) for path in self.home.glob("*.credentials")}
        data = self.authority.settings.place.data_dir
        return {
            str(path.relative_to(self.home)): names
            for path, names in holders([self.home], self.secrets).items()
            if path not in named and data not in path.parents
        }


def argv_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
