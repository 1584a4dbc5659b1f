"""Real servers on loopback, as long as a test module needs them: moto_server and OpenBao, if `.venv-servers` is there."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from keyturn.model.secrets import Secret

_BIN: Final = Path(__file__).parents[3] / ".venv-servers" / "bin"
MOTO: Final = _BIN / "moto_server"
BAO: Final = _BIN / "bao"


def needs(program: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not program.exists(), reason=f"{program.name} is not there: make .venv-servers/.installed"
    )


@dataclass(frozen=True, slots=True)
class BaoServer:
    url: str
    root_token: Secret


@contextmanager
def moto_server(home: Path) -> Iterator[str]:
    """Its URL."""
    with _running(
        [str(MOTO), "-H", "127.0.0.1", "-p", "0"], {"HOME": str(home)}, r"Running on (http://\S+)"
    ) as url:
        yield url


@contextmanager
def openbao_server(home: Path) -> Iterator[BaoServer]:
    """A development server: unsealed, in memory, KV version 2 at `secret`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = Secret(secrets.token_hex(12).encode())
    environment = {"HOME": str(home), "BAO_DEV_ROOT_TOKEN_ID": token.reveal().decode()}
    argv = [str(BAO), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"]
    with _running(argv, environment, r"(server started)"):
        yield BaoServer(f"http://127.0.0.1:{port}", token)


@contextmanager
def _running(argv: Sequence[str], environment: dict[str, str], ready: str) -> Iterator[str]:
    """Start, wait for the line that says it listens, hand out what the line says, stop."""
    with subprocess.Popen(
        argv,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen: list[str] = []
        found: list[str] = []
        told = threading.Event()

        def listen() -> None:
            """To the end: a pipe that nobody empties would stop the server."""
            for line in process.stdout or ():
                match = None if found else re.search(ready, line)
                if match is not None:
                    found.append(match.group(1))
                    told.set()
                seen.append(line)
            told.set()

        ears = threading.Thread(target=listen, name=argv[0])
        ears.start()
        try:
            told.wait(60)
            if not found:
                pytest.fail(f"the server did not start: {''.join(seen)[-2000:]}")
            yield found[0]
        finally:
            process.terminate()
            ears.join(30)
