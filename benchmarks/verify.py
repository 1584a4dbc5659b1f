"""What verifying a signature costs, in process, beside moto, botocore and asigv4 in the same interpreter.

Figures are CPU microseconds a request (`time.process_time`): medians over rounds in which the contestants
take turns. Requests are 256 different ones under 16 keys with the headers that boto3 sends, so that nothing
can profit from having seen a signature. The peers live in an environment of their own, `.venv-benchmarks`
(another by KEYTURN_BENCH_PYTHON); Keyturn is read there from `src`. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import gc
import importlib
import operator
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
DISTINCT_REQUESTS = 256
KEYS = 16
ROUNDS = 41
PASSES_A_ROUND = 1
ACCOUNT = "123456789012"
USER_AGENT = (
    "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1.0 md/arch#x86_64 lang/python#3.11.7 "
    "md/pyimpl#CPython m/N,b,e,Z,E cfg/retry-mode#standard Botocore/1.44.5"
)


@dataclass(frozen=True, slots=True)
class Key:
    access_key_id: str
    secret: str


class Wire(NamedTuple):
    """One signed request as a client sends it."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Target(NamedTuple):
    ours: str
    peer: str
    at_most: float


def run_beside_the_peers() -> None:
    """Become the interpreter that has the peers."""
    default = REPOSITORY / ".venv-benchmarks" / "bin" / "python"
    python = os.environ.get("KEYTURN_BENCH_PYTHON", str(default))
    if not Path(python).exists():
        sys.exit(f"no interpreter with the peers at {python}: make .venv-benchmarks/.installed")
    environment = os.environ | {"KEYTURN_BENCH_CHILD": "1", "PYTHONPATH": str(REPOSITORY / "src")}
    os.execve(python, [python, __file__], environment)  # noqa: S606 - the same script, on purpose


def peer(module: str) -> Any:
    """A module that this project's own environment does not have."""
    return importlib.import_module(module)


def moto_with_keys() -> tuple[Any, list[Key]]:
    """Moto's IAM backend holding 16 keys of 8 users; every contestant uses them."""
    backend = peer("moto.iam.models").iam_backends[ACCOUNT]["aws"]
    keys = []
    for number in range(KEYS // 2):
        backend.create_user("us-east-1", f"user-{number}")
        for _ in range(2):
            made = backend.create_access_key(f"user-{number}")
            keys.append(Key(made.access_key_id, made.secret_access_key))
    return backend, keys


def aws_request(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
    request = peer("botocore.awsrequest").AWSRequest(method=method, url=url, data=body, headers=headers)
    request.context["payload_signing_enabled"] = True
    return request


def signed(auth: Any, request: Any, body: bytes) -> Wire:
    """Signed by botocore, with the headers that its retry handler and HTTP client add afterwards."""
    auth.add_auth(request)
    url = urlsplit(request.url)
    headers = {
        name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()
    }
    headers |= {
        "Host": url.netloc,
        "Accept-Encoding": "identity",
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": "attempt=1; max=3",
    }
    if body:
        headers["Content-Length"] = str(len(body))
    return Wire(request.method, url.path + ("?" + url.query if url.query else ""), headers, body)


def sts_posts(keys: Sequence[Key]) -> tuple[list[Wire], list[tuple[Any, Any]]]:
    """Forms of the size that GetCallerIdentity sends: the wire requests, and what botocore signs again for its own figure."""
    credentials, sigv4 = peer("botocore.credentials").Credentials, peer("botocore.auth").SigV4Auth
    wires, to_sign = [], []
    for number in range(DISTINCT_REQUESTS):
        key = keys[number % KEYS]
        body = b"Action=GetCallerIdentity&Version=2011-06-15&Number=%d" % number
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": USER_AGENT,
        }
        auth = sigv4(credentials(key.access_key_id, key.secret), "sts", "us-east-1")
        request = aws_request("POST", "http://127.0.0.1:4590/", headers, body)
        wires.append(signed(auth, request, body))
        to_sign.append((auth, request))
    return wires, to_sign


def s3_gets(keys: Sequence[Key]) -> list[Wire]:
    credentials, sigv4 = peer("botocore.credentials").Credentials, peer("botocore.auth").S3SigV4Auth
    wires = []
    for number in range(DISTINCT_REQUESTS):
        key = keys[number % KEYS]
        auth = sigv4(credentials(key.access_key_id, key.secret), "s3", "us-east-1")
        url = f"http://127.0.0.1:4590/bucket/photos/2026/11/cat-{number}.jpg"
        wires.append(signed(auth, aws_request("GET", url, {"User-Agent": USER_AGENT}, b""), b""))
    return wires


def keyturn_verifies(wires: Sequence[Wire], keys: Sequence[Key], now_ms: int) -> Callable[[], None]:
    from keyturn.model.access_keys import AccessKeyId
    from keyturn.model.secrets import Secret
    from keyturn.sigv4 import IAM, S3, STS, SignedRequest, SigningKey, Verified, Verifier

    verifier = Verifier(services={"iam": IAM, "sts": STS, "s3": S3})
    held: dict[AccessKeyId, SigningKey] = {}
    for key in keys:
        key_id, secret = AccessKeyId(key.access_key_id), Secret(key.secret.encode())
        held[key_id] = SigningKey(key_id, is_active=True, secret=lambda secret=secret: secret)  # type: ignore[misc]  # binds now
    requests = [
        SignedRequest(
            wire.method.encode(),
            wire.target.encode(),
            [(name.lower().encode(), value.encode()) for name, value in wire.headers.items()],
            wire.body,
        )
        for wire in wires
    ]

    def verify() -> None:
        for request in requests:
            assert isinstance(verifier.verify(request, now_ms=now_ms, look_up=held.get), Verified)

    return verify


def moto_checks(wires: Sequence[Wire], *, with_look_up: bool) -> Callable[[], None]:
    iam_request = peer("moto.iam.access_control").IAMRequest

    def prepared(wire: Wire) -> Any:
        return iam_request(
            account_id=ACCOUNT,
            method=wire.method,
            path=wire.target,
            data={},
            body=wire.body,
            headers=wire.headers,
            action="GetCallerIdentity",
        )

    ready = [prepared(wire) for wire in wires]

    def check() -> None:
        for request in ready:
            request.check_signature()

    def look_up_and_check() -> None:
        for wire in wires:
            prepared(wire).check_signature()

    return look_up_and_check if with_look_up else check


def botocore_signs(to_sign: Sequence[tuple[Any, Any]]) -> Callable[[], None]:
    def sign() -> None:
        for auth, request in to_sign:
            auth.add_auth(request)

    return sign


def asigv4_verifies(wires: Sequence[Wire], keys: Sequence[Key], now_ms: int) -> Callable[[], None]:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    verifier = peer("asigv4").SigV4Verifier({k.access_key_id: k.secret for k in keys}.get, clock=lambda: now)

    def verify() -> None:
        for wire in wires:
            coroutine = verifier.verify(
                method=wire.method, path=wire.target, headers=wire.headers, query_params={}, body=wire.body
            )
            try:
                coroutine.send(None)  # it awaits nothing, so that no event loop need be paid for
            except StopIteration:
                continue
            raise RuntimeError("asigv4 waited for something")

    return verify


def measured(contestants: Mapping[str, Callable[[], None]]) -> dict[str, list[float]]:
    """CPU microseconds a request, round by round. Every round runs each contestant once, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for act in contestants.values():
        act()
    for _ in range(ROUNDS):
        for name, act in contestants.items():
            gc.collect()
            start = time.process_time()
            for _ in range(PASSES_A_ROUND):
                act()
            seconds[name].append(time.process_time() - start)
    requests = DISTINCT_REQUESTS * PASSES_A_ROUND
    return {name: [one / requests * 1e6 for one in each] for name, each in seconds.items()}


def main() -> int:
    _, keys = moto_with_keys()
    posts, to_sign = sts_posts(keys)
    gets = s3_gets(keys)
    now_ms = time.time_ns() // 1_000_000
    rounds = measured(
        {
            "keyturn verifies an STS POST": keyturn_verifies(posts, keys, now_ms),
            "moto checks it (key looked up before)": moto_checks(posts, with_look_up=False),
            "moto looks up the key and checks it": moto_checks(posts, with_look_up=True),
            "botocore signs it": botocore_signs(to_sign),
            "keyturn verifies an S3 GET": keyturn_verifies(gets, keys, now_ms),
            "asigv4 verifies it": asigv4_verifies(gets, keys, now_ms),
        }
    )
    targets = [
        Target("keyturn verifies an STS POST", "moto checks it (key looked up before)", 1 / 3),
        Target("keyturn verifies an STS POST", "botocore signs it", 1 / 4),
        Target("keyturn verifies an S3 GET", "asigv4 verifies it", 1 / 3),
    ]
    print(f"CPU µs a request, median of {ROUNDS} rounds, Python {sys.version.split()[0]}, one process")
    for name, each in rounds.items():
        print(f"  {name:<40} {statistics.median(each):8.1f}")
    short = False
    print(f"{'ratio, median of the rounds':<74} {'is':>6} {'target':>7}")
    for target in targets:
        ratio = statistics.median(map(operator.truediv, rounds[target.ours], rounds[target.peer]))
        short = short or ratio > target.at_most
        verdict = "ok" if ratio <= target.at_most else "short"
        print(f"  {target.ours + ' / ' + target.peer:<72} {ratio:6.3f} {target.at_most:7.3f}  {verdict}")
    return int(short)


if __name__ == "__main__":
    if "KEYTURN_BENCH_CHILD" not in os.environ:
        run_beside_the_peers()
    sys.exit(main())
