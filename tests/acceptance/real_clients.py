"""The real, unmodified clients behind one small face: an operation by AWS's own name, or a refusal.

Each reaches the authority as its user would make it: through AWS_ENDPOINT_URL and what its own vendor documents.
What a client needs to be there is said by `find`, as the reason of a skip.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError

from acceptance.served import Endpoint, Key, run

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
AWS_V1: Final = ROOT / ".venv-aws/bin/aws"
AWS_V2: Final = ROOT / ".clients/aws-cli-v2/dist/aws"
FETCH: Final = "`make clients` fetches it"
_JAVASCRIPT: Final = ROOT / ".clients/javascript/node_modules/@aws-sdk/client-iam/package.json"
_JAVASCRIPT_PACKAGES: Final = [
    ROOT / f".clients/javascript/node_modules/@aws-sdk/client-{service}"
    for service in ("cloudtrail", "iam", "secrets-manager", "sts")
]
_ERROR: Final = re.compile(
    r"An error occurred \((?P<code>[^)]+)\) when calling the \w+ operation(?: \([^)]*\))?: (?P<message>.*)"
)

Parameters = Mapping[str, Any]


class Refused(Exception):  # noqa: N818 - a refusal belongs to the field
    """What the client told its user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RealClient:
    """The article's acts, on top of `call`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def call(
        self, service: str, operation: str, parameters: Parameters, key: Key | None = None
    ) -> dict[str, Any]:
        """The answer's members, or Refused. Without a key, as the administrator."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing running and nothing open."""

    def create_access_key(self, user: str) -> dict[str, Any]:
        return dict(self.call("iam", "CreateAccessKey", {"UserName": user})["AccessKey"])

    def list_access_keys(self, user: str) -> list[dict[str, Any]]:
        return list(self.call("iam", "ListAccessKeys", {"UserName": user})["AccessKeyMetadata"])

    def update_access_key(self, user: str, access_key_id: str, status: str) -> None:
        self.call(
            "iam", "UpdateAccessKey", {"UserName": user, "AccessKeyId": access_key_id, "Status": status}
        )

    def delete_access_key(self, user: str, access_key_id: str) -> None:
        self.call("iam", "DeleteAccessKey", {"UserName": user, "AccessKeyId": access_key_id})

    def last_used(self, access_key_id: str) -> dict[str, Any]:
        return self.call("iam", "GetAccessKeyLastUsed", {"AccessKeyId": access_key_id})

    def arn_of(self, key: Key) -> str:
        return str(self.call("sts", "GetCallerIdentity", {}, key)["Arn"])


class Boto3Client(RealClient):
    """The boto3 that we run on ourselves, in this process."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._clients: dict[tuple[str, Key], Any] = {}

    def client(self, service: str, key: Key | None = None) -> Any:
        key = key or self.endpoint.administrator
        found = self._clients.get((service, key))
        if found is None:
            found = boto3.client(  # type: ignore[call-overload]  # the service is a parameter
                service,
                endpoint_url=self.endpoint.url,
                region_name="us-east-1",
                aws_access_key_id=key.access_key_id,
                aws_secret_access_key=key.secret,
            )
            self._clients[service, key] = found
        return found

    def call(
        self, service: str, operation: str, parameters: Parameters, key: Key | None = None
    ) -> dict[str, Any]:
        return self._told(lambda: getattr(self.client(service, key), xform_name(operation))(**parameters))

    def _told(self, act: Callable[[], Any]) -> dict[str, Any]:
        try:
            answer = act()
        except ClientError as error:
            told = error.response["Error"]
            raise Refused(told["Code"], told["Message"]) from error
        return {name: value for name, value in (answer or {}).items() if name != "ResponseMetadata"}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


class Boto3Resource(Boto3Client):
    """boto3's object-oriented face: `iam.User(…)`, `iam.AccessKey(…)`."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        key = endpoint.administrator
        self._iam = boto3.resource(
            "iam",
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id=key.access_key_id,
            aws_secret_access_key=key.secret,
        )

    def create_access_key(self, user: str) -> dict[str, Any]:
        return self._told(lambda: self._iam.User(user).create_access_key_pair().meta.data)

    def list_access_keys(self, user: str) -> list[dict[str, Any]]:
        return [key.meta.data for key in self._iam.User(user).access_keys.all()]

    def update_access_key(self, user: str, access_key_id: str, status: str) -> None:
        key = self._iam.AccessKey(user, access_key_id)
        self._told(key.activate if status == "Active" else key.deactivate)

    def delete_access_key(self, user: str, access_key_id: str) -> None:
        self._told(self._iam.AccessKey(user, access_key_id).delete)

    def close(self) -> None:
        self._iam.meta.client.close()
        super().close()


class AwsCommandLine(RealClient):
    """`aws`, one process a command; nothing but its defaults."""

    def __init__(self, endpoint: Endpoint, program: Path) -> None:
        super().__init__(endpoint)
        self.program = program
        self.printed: dict[str, str] = {}
        """What each command line printed when it last succeeded."""

    def call(
        self, service: str, operation: str, parameters: Parameters, key: Key | None = None
    ) -> dict[str, Any]:
        words = [service, xform_name(operation, "-")]
        for name, value in parameters.items():
            text = value if isinstance(value, str) else json.dumps(value)
            words += [f"--{xform_name(name, '-')}", text]
        return self.run(*words, env=self.endpoint.environment(key))

    def run(self, *words: str, env: dict[str, str]) -> dict[str, Any]:
        answer = run(self.program, *words, env=env)
        if answer.returncode:
            told = _ERROR.search(answer.stderr)
            assert told, f"aws {' '.join(words)}: {answer.stderr}"
            raise Refused(told["code"], told["message"])
        assert not answer.stderr, answer.stderr
        self.printed[" ".join(("aws", *words))] = answer.stdout
        return dict(json.loads(answer.stdout)) if answer.stdout.strip() else {}


class LineClient(RealClient):
    """A program that holds a client of its own: requests as JSON lines on stdin, answers on stdout."""

    def __init__(self, endpoint: Endpoint, command: list[str | Path], environment: dict[str, str]) -> None:
        super().__init__(endpoint)
        self._process = subprocess.Popen(
            command,
            env=endpoint.environment() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(
        self, service: str, operation: str, parameters: Parameters, key: Key | None = None
    ) -> dict[str, Any]:
        key = key or self.endpoint.administrator
        request = {
            "service": service,
            "operation": operation,
            "method": xform_name(operation),
            "parameters": dict(parameters),
            "access_key_id": key.access_key_id,
            "secret": key.secret,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"]["code"], answer["error"]["message"])
        return dict(answer["answer"])

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


def _javascript(endpoint: Endpoint) -> RealClient:
    command: list[str | Path] = ["node", HERE / "javascript/client.mjs", ROOT / ".clients/javascript"]
    return LineClient(endpoint, command, {})


def _old_boto3(version: str) -> Callable[[Endpoint], RealClient]:
    def start(endpoint: Endpoint) -> RealClient:
        # An old boto3 warns of what later Pythons take away; that is between the two.
        command: list[str | Path] = [sys.executable, "-W", "ignore", HERE / "boto3_program.py"]
        return LineClient(endpoint, command, {"PYTHONPATH": str(ROOT / f".clients/boto3-{version}")})

    return start


CLIENTS: Final[dict[str, Callable[[Endpoint], RealClient]]] = {
    "boto3": Boto3Client,
    "boto3 resource": Boto3Resource,
    "boto3 1.34": _old_boto3("1.34"),
    "boto3 1.28": _old_boto3("1.28"),
    "aws v1": lambda endpoint: AwsCommandLine(endpoint, AWS_V1),
    "aws v2": lambda endpoint: AwsCommandLine(endpoint, AWS_V2),
    "JavaScript": _javascript,
}
"""By the names that they have in docs/reference/acceptance.md."""


@functools.cache
def missing(name: str) -> str | None:
    """Why this client can't run here, or None."""
    if name == "aws v1" and not AWS_V1.exists():
        return "the aws command line version 1 is not here: `make pytest` installs it"
    if name == "aws v2" and not AWS_V2.exists():
        return f"the aws command line version 2 is not here: {FETCH}"
    if name == "curl" and not _curl_signs():
        return "there is no curl with --aws-sigv4 on this machine"
    if name in {"boto3 1.28", "boto3 1.34"} and not (ROOT / ".clients" / name.replace(" ", "-")).exists():
        return f"{name} is not here: {FETCH}"
    if name == "JavaScript":
        if shutil.which("node") is None:
            return "there is no node on this machine"
        if not all(package.exists() for package in _JAVASCRIPT_PACKAGES):
            return f"the AWS SDK for JavaScript is not here: {FETCH}"
        wanted = re.findall(r"\d+", json.loads(_JAVASCRIPT.read_text())["engines"]["node"])[0]
        node = run("node", "--version", env={"PATH": os.environ["PATH"]}).stdout.strip()
        if int(node.removeprefix("v").split(".")[0]) < int(wanted):
            return f"the AWS SDK for JavaScript wants Node.js {wanted}, and here is {node}"
    return None


def _curl_signs() -> bool:
    return (
        shutil.which("curl") is not None
        and "--aws-sigv4" in run("curl", "--help", "all", env={"PATH": os.environ["PATH"]}).stdout
    )


def version_of(name: str) -> str:
    """The version that is really here, from the client itself."""
    if name in {"aws v1", "aws v2"}:
        answer = run(AWS_V1 if name == "aws v1" else AWS_V2, "--version", env={"PATH": os.environ["PATH"]})
        return answer.stdout.split()[0].removeprefix("aws-cli/")
    if name == "JavaScript":
        return str(json.loads(_JAVASCRIPT.read_text())["version"])
    if name.startswith("boto3 1."):
        text = (ROOT / ".clients" / name.replace(" ", "-") / "boto3/__init__.py").read_text()
        found = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
        assert found
        return found[1]
    return boto3.__version__


def moment(value: Any) -> datetime:
    """A time as a client gives it: a datetime, or text with its offset."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    assert found.tzinfo is not None, f"{value} has no time zone"
    return found.astimezone(UTC)
