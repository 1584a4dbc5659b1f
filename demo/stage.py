"""What both demos stand on: an endpoint for as long as it is needed, programs run against it, a clock before each line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

KEYTURN: Final = str(Path(sys.executable).with_name("keyturn"))


class Stage:
    """Says with the seconds since the beginning; runs programs in one environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.started = time.monotonic()
        self._secrets: list[str] = []

    def hide(self, secret: str) -> str:
        """From now on a line that holds it ends the demo instead of being shown."""
        self._secrets.append(secret)
        return secret

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        if any(secret in text for secret in self._secrets):
            raise SystemExit("a line that holds a secret was about to be shown")
        print(f"{self.seconds():6.1f} s  {text}", flush=True)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - ours, or the real aws command line
            words, env=self.environment | more, capture_output=True, text=True, check=False
        )

    def ask(self, *words: str) -> Any:
        """The JSON that a program answers with. SystemExit if it fails."""
        answer = self.run(*words)
        if answer.returncode:
            raise SystemExit(f"{' '.join(words[1:4])}: {answer.stderr.strip()}")
        return json.loads(answer.stdout) if answer.stdout.strip() else None

    def follow(self, *words: str, told: Callable[[str], None]) -> int:
        """Run a program to its end, each of its lines told as it comes; its exit code."""
        with subprocess.Popen(  # noqa: S603 - ours
            words,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as program:
            try:
                assert program.stdout is not None
                for line in program.stdout:
                    told(line.rstrip())
            except BaseException:
                program.kill()
                raise
        return program.returncode


def base_environment(home: Path) -> dict[str, str]:
    """Nothing of the user's own AWS or Keyturn settings; a home that goes with the demo."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "XDG_", "KEYTURN_"))
    }
    return kept | {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": ""}


def exports(text: str) -> dict[str, str]:
    pairs = (line.removeprefix("export ").split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip("'") for name, value in pairs}


@contextmanager
def authority(environment: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """A Keyturn of its own: what it says when it listens, and the environment of its administrator."""
    server = subprocess.Popen(  # noqa: S603 - ours
        [KEYTURN, "serve", "--port", "0"],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        listening = server.stdout.readline().strip()
        if not listening:
            raise SystemExit("the authority did not start; `make serve` says why")
        told = subprocess.run(  # noqa: S603 - ours
            [KEYTURN, "env"], env=dict(environment), capture_output=True, text=True, check=True
        )
        yield listening, dict(environment) | exports(told.stdout)
    finally:
        server.terminate()
        server.wait()
