"""A team on one machine: an authority, a bare repository with the shipped hook, a clone, and a workload with a key."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.secrets import Secret
from living_authority import LivingAuthority, living_authority

ROOT: Final = Path(__file__).parents[2]
HOOK: Final = ROOT / "examples" / "git-hook" / "post-receive"
USER: Final = "web"


@dataclass
class Team:
    home: Path
    authority: LivingAuthority
    bare: Path
    clone: Path
    shared: Path
    """The credentials file that the workload reads."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Carl",
            "GIT_AUTHOR_EMAIL": "carl@example.com",
            "GIT_COMMITTER_NAME": "Carl",
            "GIT_COMMITTER_EMAIL": "carl@example.com",
        }

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def new_key(self, user: str) -> AccessKeyPair:
        key, secret = self.authority.new_user_with_key(user)
        return AccessKeyPair(AccessKeyId(key), Secret(secret.encode()))

    def hand_over(self, pair: AccessKeyPair) -> None:
        """The workload's profile gets its key."""
        self.shared.write_text(
            f"[{USER}]\naws_access_key_id = {pair.access_key_id}\n"
            f"aws_secret_access_key = {pair.secret.reveal().decode()}\n"
        )
        self.shared.chmod(0o600)

    def commit(self, name: str, text: str) -> None:
        (self.clone / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"add {name}")

    def push(self) -> tuple[str, int, int]:
        """What the server said, and when it began and ended, in epoch milliseconds."""
        began = time.time_ns() // 1_000_000
        said = self.git("push", "origin", "main")
        return said, began, time.time_ns() // 1_000_000

    @contextmanager
    def workload(self) -> Iterator[IO[str]]:
        """Its lines, while it runs."""
        environment = self.environment | {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.shared),
            "AWS_PROFILE": USER,
            "AWS_ENDPOINT_URL": self.authority.url,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        program = Path(__file__).with_name("leaking_workload.py")
        with subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        ) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            try:
                yield running.stdout
            finally:
                running.stdin.close()
                running.wait(60)

    def incident(self, access_key_id: str) -> dict[str, Any] | None:
        """As `keyturn leak --report --output json` has it, read from the room's own file."""
        from keyturn.leaks.incidents import as_json
        from keyturn.leaks.storage import incidents as rows
        from keyturn.store.shared_sqlite import SharedSqlite

        file = self.authority.settings.place.locations.state / "incidents" / "incidents.sqlite"
        database = SharedSqlite(file)
        try:
            with database.reading() as ledger:
                row = rows.of_key(ledger, access_key_id)
                return None if row is None else dict(json.loads(as_json(row.incident)))
        finally:
            database.close()


@contextmanager
def team(home: Path) -> Iterator[Team]:
    """Everything set up as the hook's README says."""
    home.mkdir(parents=True, exist_ok=True)
    secret, shared = home / "hook.secret", home / "credentials"
    secret.write_text(secrets.token_hex(32) + "\n")
    (home / "keyturn.toml").write_text(
        f'[leaks]\nwebhook_secret_file = "{secret}"\n'
        f'[sinks.shared]\ntype = "credentials_file"\npath = "{shared}"\nprofile = "{USER}"\n'
        f'[users.{USER}]\nsinks = ["shared"]\n'
    )
    with living_authority(home, config=str(home / "keyturn.toml")) as authority:
        here = Team(home, authority, home / "app.git", home / "app", shared)
        here.git("init", "--quiet", "--bare", "--initial-branch=main", str(here.bare), cwd=home)
        shutil.copy(HOOK, here.bare / "hooks" / "post-receive")
        here.git("config", "keyturn.url", authority.url, cwd=here.bare)
        here.git("config", "keyturn.secretFile", str(secret), cwd=here.bare)
        here.git("clone", "--quiet", str(here.bare), str(here.clone), cwd=home)
        here.git("checkout", "--quiet", "-B", "main")
        yield here
