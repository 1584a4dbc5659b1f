"""Starts an authority, puts a real workload on a key, and rotates the key with the real `aws` command line.

The five steps are those that everybody recommends: create the second key, switch the workload over,
deactivate the old key, look at its last use, delete it. Exits with 1 if a single call failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKERS = 4
USER = "ci-deploy-bot"
HERE = Path(__file__).parent
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iam:GetUser", "Resource": "arn:aws:iam::*:user/${aws:username}"}
    ],
}


class Worker:
    def __init__(self, number: int, credentials_file: Path, environment: dict[str, str]) -> None:
        self.number = number
        self.calls = self.failed = 0
        self.key = ""
        self.calls_by_key: dict[str, int] = {}
        self.errors: list[str] = []
        self.process = subprocess.Popen(  # noqa: S603 - our own worker
            [sys.executable, str(HERE / "worker.py"), str(credentials_file)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> None:
        """One more batch of calls."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"worker {self.number} has died")
        self._note(json.loads(line))

    def _note(self, said: dict[str, Any]) -> None:
        self.key = said["key"]
        self.calls_by_key[self.key] = self.calls_by_key.get(self.key, 0) + said["calls"] - self.calls
        self.calls, self.failed = said["calls"], said["failed"]
        if said["error"]:
            self.errors.append(said["error"])

    def switch(self, access_key_id: str) -> None:
        """Tell the process that its credentials have changed, and wait until it has worked with the new key."""
        self.process.send_signal(1)
        while self.key != access_key_id:
            self.read()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._note(json.loads(line))
        self.process.wait()
        self.process.stdout.close()


@dataclass
class Demo:
    aws: str
    home: Path
    started: float = field(default_factory=time.monotonic)
    workers: list[Worker] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    def run_aws(self, *words: str, **credentials: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - the real aws command line
            [self.aws, *words],
            env=self.environment | credentials,
            capture_output=True,
            text=True,
            check=False,
        )

    def ask_aws(self, *words: str) -> Any:
        answer = self.run_aws(*words, "--output", "json")
        if answer.returncode:
            raise SystemExit(f"aws {' '.join(words)}: {answer.stderr.strip()}")
        return json.loads(answer.stdout) if answer.stdout.strip() else None

    def work_on(self, batches: int = 3) -> None:
        for worker in self.workers:
            for _ in range(batches):
                worker.read()

    def last_used(self, access_key_id: str) -> str:
        answer = self.ask_aws("iam", "get-access-key-last-used", "--access-key-id", access_key_id)
        return str(answer["AccessKeyLastUsed"].get("LastUsedDate", "never"))

    def create_key(self) -> tuple[str, str]:
        key = self.ask_aws("iam", "create-access-key", "--user-name", USER)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def deliver(self, credentials_file: Path, access_key_id: str, secret: str) -> None:
        """Write the workload's credentials file, whole or not at all."""
        temporary = credentials_file.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"[{USER}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret}\n")
        temporary.replace(credentials_file)

    def refusal(self, access_key_id: str, secret: str) -> str:
        """What the old key gets; anything but a refusal ends the demo."""
        answer = self.run_aws(
            "sts", "get-caller-identity", AWS_ACCESS_KEY_ID=access_key_id, AWS_SECRET_ACCESS_KEY=secret
        )
        if answer.returncode == 0:
            raise SystemExit(f"{access_key_id} is still accepted")
        return answer.stderr.strip().splitlines()[-1]


def base_environment(home: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "XDG_", "KEYTURN_"))
    }
    return kept | {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": ""}


def exports(text: str) -> dict[str, str]:
    pairs = (line.removeprefix("export ").split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip("'") for name, value in pairs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="the aws command line to use")
    options = parser.parse_args()
    keyturn = str(Path(sys.executable).with_name("keyturn"))
    with tempfile.TemporaryDirectory(prefix="keyturn-demo-") as directory:
        home = Path(directory)
        environment = base_environment(home)
        server = subprocess.Popen(  # noqa: S603 - ours
            [keyturn, "serve", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        demo = Demo(options.aws, home)
        try:
            assert server.stdout is not None
            listening = server.stdout.readline().strip()
            if not listening:
                raise SystemExit("the authority did not start; `make serve` says why")
            told = subprocess.run(  # noqa: S603 - ours
                [keyturn, "env"], env=environment, capture_output=True, text=True, check=True
            )
            demo.environment = environment | exports(told.stdout)
            demo.say(listening)
            return rotate(demo)
        finally:
            for worker in demo.workers:
                worker.process.kill()
                worker.process.wait()
            server.terminate()
            server.wait()


def rotate(demo: Demo) -> int:
    credentials_file = demo.home / "workload.credentials"
    demo.ask_aws("iam", "create-user", "--user-name", USER)
    demo.ask_aws(
        "iam", "put-user-policy", "--user-name", USER, "--policy-name", "own-user-only",
        "--policy-document", json.dumps(POLICY),
    )  # fmt: skip
    old, old_secret = demo.create_key()
    demo.say(f"user {USER} has its first key, {old}")
    demo.deliver(credentials_file, old, old_secret)
    workload = {
        name: value
        for name, value in demo.environment.items()
        if name not in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    }
    demo.workers = [Worker(number, credentials_file, workload) for number in range(1, WORKERS + 1)]
    demo.work_on()
    demo.say(f"{WORKERS} boto3 processes sign calls with it, without pause and without retries")

    new, new_secret = demo.create_key()
    demo.say(f"1 created the second key, {new}")

    demo.deliver(credentials_file, new, new_secret)
    for worker in demo.workers:
        worker.switch(new)
    demo.work_on()
    demo.say("2 switched the workload: every process works with the new key")

    demo.ask_aws(
        "iam", "update-access-key", "--user-name", USER, "--access-key-id", old, "--status", "Inactive"
    )
    demo.say("3 deactivated the old key")
    demo.say(f"  refused: {demo.refusal(old, old_secret)}")

    before = demo.last_used(old)
    demo.work_on()
    after = demo.last_used(old)
    demo.say(f"4 the old key was last used {before}; {'it stays so' if before == after else f'NOW {after}'}")

    demo.ask_aws("iam", "delete-access-key", "--user-name", USER, "--access-key-id", old)
    demo.work_on()
    demo.say("5 deleted the old key")
    demo.say(f"  refused: {demo.refusal(old, old_secret)}")

    for worker in demo.workers:
        worker.stop()
    calls = sum(worker.calls for worker in demo.workers)
    failed = sum(worker.failed for worker in demo.workers)
    by_key = {key: sum(worker.calls_by_key.get(key, 0) for worker in demo.workers) for key in (old, new)}
    demo.say(f"{by_key[old]} calls were signed with the old key, {by_key[new]} with the new one")
    for worker in demo.workers:
        for error in worker.errors[:3]:
            demo.say(f"worker {worker.number}: {error}")
    print(f"{calls} calls, {failed} failed")
    return 1 if failed or before != after else 0


if __name__ == "__main__":
    sys.exit(main())
