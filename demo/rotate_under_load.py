"""Starts an authority, puts a real workload on a key, and lets the engine rotate the key under it.

Five processes of five kinds sign calls all the while, with no retries: they read a credentials file, hold a session
of a role, read a `.env`, ask Secrets Manager, ask `keyturn creds`. The real `aws` command line looks on: it makes the
key, reads its last use, and tries the old key where it has to be refused. Exits with 1 if a single call failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import boto3

from crossing_over import Use, rates, sparkline, svg
from stage import KEYTURN, Stage, authority, base_environment
from workload import Workload

USER: Final = "ci-deploy-bot"
ROLE: Final = "release"
SECRET: Final = "prod/ci-deploy-bot"  # noqa: S105 - its name
LEAST_CALLS: Final = 2_000
NEEDS_SOMEBODY: Final = 5
KEEP_INACTIVE: Final = 5
"""Seconds, as in the configuration below."""
LONGEST: Final = 150
COLUMNS: Final = 60
SVG_STEPS: Final = 80


def statement(action: str, resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@dataclass(frozen=True, slots=True)
class Places:
    """Where the key lies for its consumers, all below the demo's own home."""

    home: Path

    @property
    def credentials(self) -> Path:
        return self.home / "workload.credentials"

    @property
    def dotenv(self) -> Path:
        return self.home / "app.env"

    @property
    def configuration(self) -> Path:
        return self.home / "keyturn.toml"

    @property
    def plan(self) -> Path:
        return self.home / "plan.json"

    def pid(self, worker: str) -> Path:
        return self.home / f"{worker}.pid"

    @property
    def tell_profile_readers(self) -> Path:
        return self.home / "tell-profile-readers"


CONFIGURATION: Final = """\
[rotation]                     # windows of seconds are accepted because this endpoint revokes exactly
quiet = "3s"
sparse_quiet = "3s"
keep_inactive = "{keep_inactive}s"
poll = "1s"
watch_every = "1s"

[sinks.shared-profile]
type = "credentials_file"
path = "{home}/workload.credentials"
profile = "ci-deploy-bot"
reload = ["{home}/tell-profile-readers"]

[sinks.app-env]
type = "dotenv"
path = "{home}/app.env"
reload_pid_file = "{home}/dotenv.pid"

[sinks.vault]
type = "secretsmanager"
secret_id = "prod/ci-deploy-bot"

[sinks.jobs]
type = "credential_process"
profile = "ci-deploy-bot"

[users.ci-deploy-bot]
sinks = ["shared-profile", "app-env", "vault", "jobs"]
"""


class Demo:
    def __init__(self, stage: Stage, aws: str, places: Places) -> None:
        self.stage, self.aws, self.places = stage, aws, places
        self.workload = Workload(stage.seconds)
        self.events: list[tuple[float, str]] = []
        session = boto3.Session(
            aws_access_key_id=stage.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=stage.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=stage.environment["AWS_REGION"],
        )
        endpoint = stage.environment["AWS_ENDPOINT_URL"]
        self.iam = session.client("iam", endpoint_url=endpoint)
        self.secrets = session.client("secretsmanager", endpoint_url=endpoint)
        self.old = self.new = ""

    def ask_aws(self, *words: str) -> Any:
        return self.stage.ask(self.aws, *words, "--output", "json")

    def happened(self, what: str) -> None:
        self.events.append((self.stage.seconds(), what))

    # Before

    def set_up(self) -> str:
        """The user, its key in every place where a consumer reads it, and the consumers. Returns the secret."""
        self.ask_aws("iam", "create-user", "--user-name", USER)
        key = self.ask_aws("iam", "create-access-key", "--user-name", USER)["AccessKey"]
        self.old, secret = str(key["AccessKeyId"]), self.stage.hide(str(key["SecretAccessKey"]))
        self.stage.say(f"user {USER} has its first key, {self.old}")
        role_arn = self.permit()
        places = self.places
        private(
            places.credentials,
            f"[{USER}]\naws_access_key_id = {self.old}\naws_secret_access_key = {secret}\n",
        )
        private(
            places.dotenv,
            f"# read by the app\nAWS_ACCESS_KEY_ID={self.old}\nAWS_SECRET_ACCESS_KEY={secret}\n",
        )
        self.secrets.create_secret(
            Name=SECRET,
            SecretString=json.dumps({"AWS_ACCESS_KEY_ID": self.old, "AWS_SECRET_ACCESS_KEY": secret}),
        )
        private(places.configuration, CONFIGURATION.format(home=places.home, keep_inactive=KEEP_INACTIVE))
        told = " ".join(f'"$(cat {places.pid(name)})"' for name in ("profile", "role"))
        places.tell_profile_readers.write_text(f"#!/bin/sh\nkill -HUP {told}\n")
        places.tell_profile_readers.chmod(0o700)
        self.adopt(secret)
        self.start_workload()
        self.plan()
        self.start_session_holder(role_arn)
        return secret

    def permit(self) -> str:
        """What the consumers may do; the role's ARN."""
        user = self.iam.get_user(UserName=USER)["User"]["Arn"]
        trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole"}
        role_arn = str(
            self.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        )
        may = statement("iam:GetUser", user)
        self.iam.put_role_policy(RoleName=ROLE, PolicyName="work", PolicyDocument=document(may))
        self.iam.put_user_policy(
            UserName=USER,
            PolicyName="work",
            PolicyDocument=document(may, statement("sts:AssumeRole", role_arn)),
        )
        return role_arn

    def adopt(self, secret: str) -> None:
        """The store of `keyturn creds` holds the key that is in use, as after any rotation."""
        store = self.places.home / ".local/state/keyturn/credentials"
        store.mkdir(parents=True, mode=0o700)
        held = {
            "keyturn_credentials": 1,
            "profile": USER,
            "refresh": 300,
            "access_key_id": self.old,
            "secret_access_key": secret,
        }
        private(store / f"{USER}.json", json.dumps(held))

    @property
    def bare(self) -> dict[str, str]:
        """The environment of the consumers: where the endpoint is, and no key."""
        keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        return {name: value for name, value in self.stage.environment.items() if name not in keys}

    def start_workload(self) -> None:
        places = self.places
        config = places.home / "jobs.config"
        private(config, f"[profile {USER}]\ncredential_process = {KEYTURN} creds --profile {USER}\n")
        for name, words, more in (
            ("profile", ["profile", str(places.credentials)], {}),
            ("dotenv", ["dotenv", str(places.dotenv)], {}),
            ("secret", ["secret", SECRET], self.reader_of_the_secret()),
            ("process", ["process", USER], {"AWS_CONFIG_FILE": str(config)}),
        ):
            self.workload.start(name, words, self.bare | more, places.pid(name))
        self.workload.wait_for(2)
        count = len(self.workload.names)
        self.stage.say(f"{count} boto3 processes sign calls with it, without pause and without retries:")
        self.stage.say("  one reads a profile, one a .env, one Secrets Manager, one asks `keyturn creds`")

    def start_session_holder(self, role_arn: str) -> None:
        """Its session lives as long as it may by the old key: the gate before the deactivation has to see it."""
        words = ["role", str(self.places.credentials), role_arn]
        self.workload.start("role", words, self.bare, self.places.pid("role"))
        self.workload.wait_for(1)
        self.stage.say("a fifth one holds a session of a role: 900 s, the shortest that STS gives")

    def reader_of_the_secret(self) -> dict[str, str]:
        """An identity that may read the one secret: its own key is not the one that is rotated."""
        self.iam.create_user(UserName="app")
        arn = self.secrets.describe_secret(SecretId=SECRET)["ARN"]
        may = document(statement("secretsmanager:GetSecretValue", arn))
        self.iam.put_user_policy(UserName="app", PolicyName="read", PolicyDocument=may)
        key = self.iam.create_access_key(UserName="app")["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    # The rotation

    def plan(self) -> None:
        self.stage.say("$ keyturn plan ci-deploy-bot -o plan.json")
        config = str(self.places.configuration)
        answer = self.stage.run(KEYTURN, "plan", USER, "-o", str(self.places.plan), "--config", config)
        for line in answer.stdout.splitlines():
            self.stage.say(f"  {clipped(line.replace(str(self.places.home), '~'))}")
        if answer.returncode != 2:
            raise SystemExit(answer.stderr or "there is nothing to do")

    def apply(self) -> None:
        """The rotation, up to the one step that can't be undone: for that it asks."""
        self.stage.say("$ keyturn apply plan.json --auto-approve --wait")
        is_planned = False

        def told(line: str) -> None:
            nonlocal is_planned
            if not is_planned:  # the plan once more
                is_planned = line.startswith("plan:")
                return
            what = line.strip()
            self.stage.say(f"  {clipped(what)}")
            if what.startswith("prove AKIA") and not self.new:
                self.new = what.split()[1].rstrip(",")
                self.happened("1 created")
                self.stage.say(f"1 created the second key, {self.new}")
            elif what.startswith("adopt"):
                self.happened("2 delivered")
                self.stage.say("2 switched the workload: all four sinks hold the new key")
            elif what.startswith("… a session of "):
                self.revoke_sessions()
            elif what.startswith("watch"):
                self.happened("3 deactivated")
                self.stage.say("3 deactivated the old key")

        code = self.keyturn("apply", str(self.places.plan), "--auto-approve", "--wait", told=told)
        if code != NEEDS_SOMEBODY or self.events[-1][1] != "3 deactivated":
            raise SystemExit(f"the rotation did not come to the deactivation (exit code {code})")

    def keyturn(self, *words: str, told: Callable[[str], None]) -> int:
        return self.stage.follow(KEYTURN, *words, "--config", str(self.places.configuration), told=told)

    def revoke_sessions(self) -> None:
        """What an operator does who does not want to wait until they expire. Those of the new key are younger."""
        if any(what == "sessions revoked" for _, what in self.events):
            return
        self.workload.wait_for(1, key=self.new)
        created = next(
            key["CreateDate"]
            for key in self.iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]
            if key["AccessKeyId"] == self.new
        )
        deny = {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"DateLessThan": {"aws:TokenIssueTime": created.astimezone(UTC).isoformat()}},
        }
        self.ask_aws(
            "iam", "put-role-policy", "--role-name", ROLE, "--policy-name", "AWSRevokeOlderSessions",
            "--policy-document", document(deny),
        )  # fmt: skip
        self.happened("sessions revoked")
        self.stage.say("  every process works with the new key; sessions that are older than it are revoked")
        self.stage.say("  (aws iam put-role-policy … AWSRevokeOlderSessions), so nobody waits for their end")

    def refusal(self, secret: str) -> None:
        """What the old key gets; anything but a refusal ends the demo."""
        answer = self.stage.run(
            self.aws, "sts", "get-caller-identity", AWS_ACCESS_KEY_ID=self.old, AWS_SECRET_ACCESS_KEY=secret
        )
        if answer.returncode == 0:
            raise SystemExit(f"{self.old} is still accepted")
        self.stage.say(f"  refused: {answer.stderr.strip().splitlines()[-1]}")

    def last_used(self) -> str:
        answer = self.ask_aws("iam", "get-access-key-last-used", "--access-key-id", self.old)
        return str(answer["AccessKeyLastUsed"].get("LastUsedDate", "never"))

    def let_the_watch_pass(self, refused_at: float) -> None:
        """An attempt with the old secret, though it was ours, shows that somebody still has it."""
        self.stage.say(
            "  our own try, with the old secret, was a proved one by a stranger: it brings no key back,"
        )
        self.stage.say(f"  and the wait of {KEEP_INACTIVE} s before the deletion begins anew")
        while self.stage.seconds() < refused_at + KEEP_INACTIVE + 1:
            self.workload.wait_for(1)

    def allow_deletion(self) -> None:
        self.stage.say("$ keyturn resume ci-deploy-bot --allow-delete --wait")

        def told(line: str) -> None:
            self.stage.say(f"  {clipped(line.strip())}")

        if self.keyturn("resume", USER, "--allow-delete", "--wait", told=told) != 0:
            raise SystemExit("the rotation did not come to its end")
        self.happened("5 deleted")

    # After

    def show(self, svg_path: Path) -> tuple[int, int]:
        """Both curves, and the sums: calls, failed ones."""
        batches, until = self.workload.batches, self.stage.seconds()
        failed = sum(each.failed for each in batches)
        uses = [Use(each.at, each.key, each.calls) for each in batches]
        begin = max(0.0, min(use.at for use in uses) - 1)
        moved = [Use(use.at - begin, use.key, use.calls) for use in uses]
        shown = rates(moved, (self.old, self.new), until=until - begin, steps=COLUMNS)
        most = max(value for values in shown.values() for value in values)
        self.stage.say(f"calls, one column for {(until - begin) / COLUMNS:.1f} s:")
        for name, key in (("old key", self.old), ("new key", self.new)):
            calls = sum(use.calls for use in uses if use.key == key)
            self.stage.say(f"  {name}  {sparkline(shown[key], most)}  {calls}")
        picture = svg(
            rates(moved, (self.old, self.new), until=until - begin, steps=SVG_STEPS),
            old=self.old,
            new=self.new,
            until=until - begin,
            events=[(at - begin, what) for at, what in self.events],
            failed=failed,
        )
        svg_path.write_text(picture, encoding="utf-8")
        self.stage.say(f"the same as a picture: {svg_path}")
        by_key = {key: sum(use.calls for use in uses if use.key == key) for key in (self.old, self.new)}
        self.stage.say(
            f"{by_key[self.old]} calls were signed with the old key, {by_key[self.new]} with the new one"
        )
        for each in batches:
            if each.error:
                self.stage.say(f"process {each.worker}: {each.error}")
        return sum(use.calls for use in uses), failed


def clipped(line: str) -> str:
    """What fits a line; the agents of boto3 are long."""
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="the aws command line to use")
    parser.add_argument("--svg", default="crossing-over.svg", help="where the picture goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyturn-demo-") as directory:
        environment = base_environment(Path(directory))
        started = Stage(environment)
        with authority(environment) as (listening, administrators):
            started.environment = administrators
            started.say(listening)
            demo = Demo(started, options.aws, Places(Path(directory)))
            try:
                return rotate(demo, Path(options.svg))
            finally:
                demo.workload.kill()


def rotate(demo: Demo, svg_path: Path) -> int:
    secret = demo.set_up()
    demo.apply()
    demo.refusal(secret)
    refused_at = demo.stage.seconds()
    before = demo.last_used()
    demo.workload.wait_for(1)
    after = demo.last_used()
    demo.stage.say(
        f"4 the old key was last used {before}; {'it stays so' if before == after else f'NOW {after}'}"
    )
    demo.let_the_watch_pass(refused_at)
    demo.allow_deletion()
    demo.stage.say("5 deleted the old key")
    demo.refusal(secret)
    demo.workload.wait_for(1)
    while sum(each.calls for each in demo.workload.batches) < LEAST_CALLS:
        demo.workload.wait_for(1)
    demo.workload.end()
    calls, failed = demo.show(svg_path)
    print(f"{calls} calls, {failed} failed")
    return 1 if failed or before != after else 0


if __name__ == "__main__":
    sys.exit(main())
