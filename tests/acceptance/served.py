"""Where real clients go: `keyturn serve` as a person runs it, and the environment that points a client there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from real_program import ServedAuthority

KEYTURN: Final = str(Path(sys.executable).with_name("keyturn"))


@dataclass(frozen=True, slots=True)
class Key:
    """What a client signs with."""

    access_key_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client finds an authority, and the home in which the client keeps its own files."""

    url: str
    home: Path
    administrator: Key

    def environment(self, key: Key | None = None, *, region: str = "us-east-1") -> dict[str, str]:
        """What `keyturn env` exports, in an environment that holds nothing else of AWS's."""
        key = key or self.administrator
        return bare_environment(self.home) | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }


def bare_environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "AWS_PAGER": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def run(*words: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=env, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


@contextmanager
def served(home: Path, *options: str) -> Iterator[Endpoint]:
    """`keyturn serve` in a process of its own: start, hand out, stop as SIGTERM stops it."""
    with ServedAuthority(home, *options) as running:
        key = running.administrator
        yield Endpoint(running.url, home, Key(key.access_key_id, key.secret.reveal().decode()))
        assert running.stop() == 0, running.log.read_text()
