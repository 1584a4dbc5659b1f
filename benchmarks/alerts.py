"""From an alert to a refused key, and from a push to a refused key: seconds on the clock, each key leaked once.

A server in a process of its own, as a person runs it; nothing about it is warm but itself. Each round makes a user with
a key, proves that it is accepted, leaks it, and asks again until it is refused. The push is a real `git push` to a bare
repository on this machine, with the hook of `examples/git-hook`.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import figures
import servers
from keyturn.settings import place

HOOK = servers.REPOSITORY / "examples" / "git-hook" / "post-receive"
REGION = "eu-west-1"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Team:
    home: Path
    url: str
    hook_secret: bytes
    administrator: Key

    def client(self, service: str, key: Key) -> object:
        return boto3.client(  # type: ignore[call-overload]  # the service is a parameter
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def new_key(self, user: str) -> Key:
        iam = self.client("iam", self.administrator)
        iam.create_user(UserName=user)  # type: ignore[attr-defined]  # made by name
        made = iam.create_access_key(UserName=user)["AccessKey"]  # type: ignore[attr-defined]  # as above
        return made["AccessKeyId"], made["SecretAccessKey"]

    def seconds_to_refused(self, key: Key, leak: Callable[[Key], None]) -> float:
        """From before it is leaked until a call with it has been refused; it was accepted a moment before."""
        sts = self.client("sts", key)
        sts.get_caller_identity()  # type: ignore[attr-defined]  # made by name
        began = time.monotonic()
        leak(key)
        try:
            sts.get_caller_identity()  # type: ignore[attr-defined]  # as above
        except ClientError:
            return time.monotonic() - began
        sys.exit("a leaked key is still accepted after its alert was answered")

    def alert(self, key: Key) -> None:
        pair = {"access_key_id": key[0], "secret_access_key": key[1], "source": "a benchmark"}
        body = json.dumps({"pairs": [pair]}).encode()
        at = str(int(time.time()))
        signature = hmac.new(self.hook_secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {"Keyturn-Timestamp": at, "Keyturn-Signature": f"v1={signature}"}
        connection.request("POST", "/-/alerts", body, headers)
        connection.getresponse().read()
        connection.close()

    def git(self, *words: str, cwd: Path) -> None:
        identity = {
            f"GIT_{who}_{what}": "b@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        environment = servers.environment_below(self.home) | identity
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["git", *words], cwd=cwd, env=environment, check=True, capture_output=True)

    def clone(self) -> Path:
        """Of a bare repository with the hook in it, as its README sets it up."""
        bare, clone = self.home / "app.git", self.home / "app"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), cwd=self.home)
        shutil.copy(HOOK, bare / "hooks" / "post-receive")
        self.git("config", "keyturn.url", self.url, cwd=bare)
        self.git("config", "keyturn.secretFile", str(self.home / "hook.secret"), cwd=bare)
        self.git("clone", "--quiet", str(bare), str(clone), cwd=self.home)
        self.git("checkout", "--quiet", "-B", "main", cwd=clone)
        return clone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(f"from a leak to a refused key, {figures.machine()}")
    with servers.directory_on_disk() as home:
        secret = secrets.token_hex(32)
        (home / "hook.secret").write_text(secret + "\n")
        configuration = home / ".config" / "keyturn" / "keyturn.toml"
        configuration.parent.mkdir(parents=True, mode=0o700)
        configuration.write_text(f'[leaks]\nwebhook_secret_file = "{home}/hook.secret"\n')
        with servers.keyturn_serving(home) as server:
            team = Team(home, f"http://127.0.0.1:{server.port}", secret.encode(), _administrator(home))
            figures_of = {"a signed alert": _alerts(team, rounds), "git push": _pushes(team, rounds)}
    print(f"milliseconds to refused, median of {rounds} (lowest - highest)")
    for name, each in figures_of.items():
        told = [seconds * 1000 for seconds in each]
        print(f"  {name:<40} {statistics.median(told):8,.0f}   ({min(told):,.0f} - {max(told):,.0f})")
    targets = [
        figures.Target(f"one second / from {name} to a refused key", 1 / statistics.median(each), 1)
        for name, each in figures_of.items()
    ]
    figures.print_targets(targets)
    return int(any(target.figure < target.at_least for target in targets))


def _alerts(team: Team, rounds: int) -> list[float]:
    team.seconds_to_refused(team.new_key("warm-up"), team.alert)
    return [team.seconds_to_refused(team.new_key(f"alerted-{n}"), team.alert) for n in range(rounds)]


def _pushes(team: Team, rounds: int) -> list[float]:
    clone = team.clone()

    def push(_key: Key) -> None:
        team.git("push", "--quiet", "origin", "main", cwd=clone)

    taken: list[float] = []
    for number in range(rounds + 1):  # the first push to a repository compiles what is kept from then on
        key = team.new_key(f"pushed-{number}")
        (clone / f"{number}.env").write_text(f"AWS_ACCESS_KEY_ID={key[0]}\nAWS_SECRET_ACCESS_KEY={key[1]}\n")
        team.git("add", "--all", cwd=clone)
        team.git("commit", "--quiet", "--message", f"number {number}", cwd=clone)
        taken.append(team.seconds_to_refused(key, push))
    return taken[1:]


def _administrator(home: Path) -> Key:
    (file,) = place({}, servers.environment_below(home)).locations.config.glob("*.credentials")
    found = dict(line.split(" = ", 1) for line in file.read_text().splitlines() if " = " in line)
    return found["aws_access_key_id"], found["aws_secret_access_key"]


if __name__ == "__main__":
    sys.exit(main())
