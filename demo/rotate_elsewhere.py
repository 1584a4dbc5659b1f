"""The same procedure against an endpoint that is not Keyturn's: moto's server stands in for AWS.

It has no `/-/about`, so AWS's rules hold: three proofs in ten seconds, an hour of quiet at the least, and nothing but
the operator's own check brings a key back. So the demo goes as far as minutes go: plan, create, prove, deliver, wait;
then it changes its mind and rolls back. Exits with 1 if a sink ever holds a key that does not sign.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Final

from rotate_under_load import clipped, private
from stage import KEYTURN, Stage, base_environment

USER: Final = "ci-deploy-bot"
SECRET: Final = "prod/ci-deploy-bot"  # noqa: S105 - its name
PATIENCE: Final = 60.0
WAITING: Final = 3
CONFIGURATION: Final = """\
[sinks.shared-profile]
type = "credentials_file"
path = "{home}/workload.credentials"
profile = "ci-deploy-bot"

[sinks.vault]
type = "secretsmanager"
secret_id = "prod/ci-deploy-bot"

[users.ci-deploy-bot]
sinks = ["shared-profile", "vault"]
expected_interval = "1d"
check = ["true"]
"""


@contextmanager
def moto(program: str, home: Path) -> Iterator[str]:
    """A moto server of its own; its address."""
    with subprocess.Popen(  # noqa: S603 - ours to run
        [program, "-H", "127.0.0.1", "-p", "0"],
        env=base_environment(home) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        found: Queue[str] = Queue()
        reader = threading.Thread(target=_listen, args=(server.stderr, found))
        reader.start()
        try:
            yield found.get(timeout=PATIENCE)
        except Empty:
            raise SystemExit("moto's server did not start") from None
        finally:
            server.terminate()
            server.wait()
            reader.join()


def _listen(log: IO[str], found: Queue[str]) -> None:
    """To its end: a log that nobody reads holds the server up."""
    for line in log:
        where = re.search(r"Running on (http://127\.0\.0\.1:\d+)", line)
        if where:
            found.put(where[1])


class Demo:
    def __init__(self, stage: Stage, aws: str, home: Path) -> None:
        self.stage, self.aws, self.home = stage, aws, home
        self.old = ""

    def set_up(self) -> None:
        self.stage.ask(self.aws, "iam", "create-user", "--user-name", USER)
        answer = self.stage.ask(self.aws, "iam", "create-access-key", "--user-name", USER, "--output", "json")
        key = answer["AccessKey"]
        self.old, secret = str(key["AccessKeyId"]), self.stage.hide(str(key["SecretAccessKey"]))
        self.stage.say(f"user {USER} has its first key, {self.old}")
        pair = f"aws_access_key_id = {self.old}\naws_secret_access_key = {secret}\n"
        private(self.home / "workload.credentials", f"[{USER}]\n{pair}")
        value = self.home / "value.json"
        private(value, json.dumps({"AWS_ACCESS_KEY_ID": self.old, "AWS_SECRET_ACCESS_KEY": secret}))
        words = ("secretsmanager", "create-secret", "--name", SECRET, "--secret-string", f"file://{value}")
        self.stage.ask(self.aws, *words)
        value.unlink()
        private(self.home / "keyturn.toml", CONFIGURATION.format(home=self.home))

    def keyturn(self, *words: str) -> int:
        """Run a verb as a person would, and show what it says."""
        self.stage.say(f"$ keyturn {' '.join(words)}")

        is_planned = words[0] != "apply"

        def told(line: str) -> None:
            nonlocal is_planned
            if not is_planned:  # the plan once more
                is_planned = line.startswith("plan:")
                return
            self.stage.say(f"  {clipped(line.replace(str(self.home), '~'))}")

        return self.stage.follow(KEYTURN, *words, "--config", str(self.home / "keyturn.toml"), told=told)

    def held(self) -> str:
        """The key that the profile holds, which has to sign."""
        answer = self.stage.run(
            self.aws, "sts", "get-caller-identity", "--profile", USER,
            AWS_SHARED_CREDENTIALS_FILE=str(self.home / "workload.credentials"),
            AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="",
        )  # fmt: skip
        if answer.returncode:
            raise SystemExit(f"the profile's key does not sign: {answer.stderr.strip()}")
        text = (self.home / "workload.credentials").read_text(encoding="utf-8")
        found = re.search(r"aws_access_key_id = (\w+)", text)
        assert found is not None
        return found[1]

    def go(self) -> int:
        self.set_up()
        self.keyturn("plan", USER)
        code = self.keyturn("apply", USER, "--auto-approve")
        new = self.held()
        self.stage.say(f"the sinks hold {new}, and the old key {self.old} still signs")
        waits = code == WAITING and new != self.old
        self.keyturn("status")
        self.stage.say("35 days of waiting are no demo: back to the old key")
        code = self.keyturn("rollback", USER)
        back = self.held()
        self.stage.say(f"the sinks hold {back} again; the new key goes when it has been quiet for an hour")
        self.keyturn("status")
        self.stage.say(
            "not to be seen here: moto checks no signature, and lets an inactive key work on; and it has"
        )
        self.stage.say(
            "no LookupEvents, so who signs is not named. `make demo` shows both, on an authority of its own"
        )
        is_well = waits and code == WAITING and back == self.old
        print(
            "plan, create, prove, deliver, wait and rollback done"
            if is_well
            else "it did not go as it should"
        )
        return 0 if is_well else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="the aws command line to use")
    parser.add_argument("--moto", required=True, help="the moto_server to use")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyturn-demo-") as directory:
        home = Path(directory)
        with moto(options.moto, home) as url:
            environment = base_environment(home) | {
                "AWS_ENDPOINT_URL": url,
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "moto takes any",
            }
            stage = Stage(environment)
            stage.say(f"moto listens on {url}, in the place of AWS")
            return Demo(stage, options.aws, home).go()


if __name__ == "__main__":
    sys.exit(main())
