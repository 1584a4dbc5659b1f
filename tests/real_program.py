"""The real program in a process of its own, and a client that costs little: what a fault test kills and asks.

The client signs with `keyturn.sigv4` and reads the few members that it needs out of the XML by name.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

from keyturn.authority.instance import Credentials, read_credentials
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.clock import SystemClock
from keyturn.model.secrets import Secret
from keyturn.settings import Place, place
from keyturn.sigv4 import IAM, STS, sign_request
from living_authority import environment_below

KEYTURN: Final = (sys.executable, "-m", "keyturn.cli.main")
_LISTENS: Final = re.compile(r"keyturn listens on (https?://\S+)\n")
_REGION: Final = "eu-west-1"
_VERSIONS: Final = {"iam": "2010-05-08", "sts": "2011-06-15"}
_RULES: Final = {"iam": IAM, "sts": STS}


def run_keyturn(home: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end. `options` are subprocess.run's."""
    return subprocess.run(  # type: ignore[no-any-return, call-overload]  # options of any kind
        [*KEYTURN, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment_below(home),
        **options,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    request_id: str

    def texts(self, member: str) -> list[str]:
        return [text.decode() for text in re.findall(rf"<{member}>([^<]*)</{member}>".encode(), self.body)]

    def text(self, member: str) -> str:
        (text,) = self.texts(member)
        return text

    @property
    def code(self) -> str:
        return "" if self.status == 200 else self.text("Code")


class CheapClient:
    """One connection, one key. Raises OSError or HTTPException when the server is gone."""

    def __init__(self, url: str, access_key_id: str, secret: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=30)
        self._access_key_id = AccessKeyId(access_key_id)
        self._secret = Secret(secret.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, service: str, action: str, invocation_id: str | None = None, **members: str) -> Answer:
        body = urlencode({"Action": action, "Version": _VERSIONS[service], **members}).encode()
        signed = sign_request(
            method=b"POST",
            target=b"/",
            headers=[
                (b"host", self._host.encode()),
                (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),
                (b"amz-sdk-invocation-id", (invocation_id or str(uuid.uuid4())).encode()),
            ],
            body=body,
            access_key_id=self._access_key_id,
            secret=self._secret,
            region=_REGION,
            service=service,
            now_ms=SystemClock().now_ms(),
            rules=_RULES[service],
        )
        headers = {name.decode(): value.decode() for name, value in signed.headers}
        self._connection.request("POST", "/", body, headers)
        with self._connection.getresponse() as response:
            return Answer(response.status, response.read(), response.headers["x-amzn-requestid"])


class ServedAuthority:
    """`keyturn serve` on a free port. Its stdout stays open, its stderr goes to `log`."""

    def __init__(self, home: Path, *flags: str, umask: int = -1) -> None:
        self.home = home
        self.log = home / "serve.log"
        self.environment = environment_below(home)
        home.mkdir(mode=0o700, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*KEYTURN, "serve", "--port", "0", *flags],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                umask=umask,
            )
        assert self.process.stdout is not None
        first_line = self.process.stdout.readline().decode()
        match = _LISTENS.fullmatch(first_line)
        if match is None:
            self.kill()
            raise AssertionError(f"keyturn did not start: {self.log.read_text()}")
        self.url = match[1]
        self.stdout = first_line
        (self.credentials_file,) = self.place.locations.config.glob("*.credentials")
        self.administrator: Credentials = read_credentials(self.credentials_file)

    @property
    def place(self) -> Place:
        return place({}, self.environment)

    def client(self, access_key_id: str | None = None, secret: str | None = None) -> CheapClient:
        """Without a key, the administrator's."""
        if access_key_id is None or secret is None:
            held = self.administrator
            return CheapClient(self.url, held.access_key_id, held.secret.reveal().decode())
        return CheapClient(self.url, access_key_id, secret)

    def signal_kill(self) -> None:
        """SIGKILL, from any thread, without waiting for the end."""
        os.kill(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, and wait for the end; nothing more if it has ended."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM, drain; the exit code."""
        self.process.terminate()
        self._end()
        return self.process.returncode

    def _end(self) -> None:
        rest, _ = self.process.communicate(timeout=60)
        if hasattr(self, "stdout"):
            self.stdout += rest.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.kill()


def environment_of(pid: int) -> Mapping[bytes, bytes]:
    """What the kernel shows of a process's first environment (proc(5), /proc/pid/environ)."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.partition(b"=")[::2] for pair in pairs if pair)
