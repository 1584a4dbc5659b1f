"""A whole authority on loopback, in a thread of the test's own process: our AWS, held by its clock.

Real server, real store, real files in a temporary directory; clients are stock boto3.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config

from keyturn.authority.instance import Credentials, read_credentials
from keyturn.http.server import new_event_loop
from keyturn.model.clock import SystemClock
from keyturn.settings import ServeSettings, serve_settings
from keyturn.wiring import Opened, keep_house, serve

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_sts import STSClient

T = TypeVar("T")
REGION = "eu-west-1"


class HeldClock(SystemClock):
    """Real time plus what the test adds to it."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def advance(self, *, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1000)


@dataclass
class LivingAuthority:
    url: str
    settings: ServeSettings
    opened: Opened
    clock: HeldClock
    loop: asyncio.AbstractEventLoop
    administrator: Credentials
    _clients: list[Any] = field(default_factory=list)

    def iam(self, access_key_id: str | None = None, secret: str | None = None, **config: Any) -> IAMClient:
        """A stock client; without a key, the administrator's. It never retries unless told to."""
        client: IAMClient = self._client("iam", access_key_id, secret, config)
        return client

    def sts(self, access_key_id: str | None = None, secret: str | None = None, **config: Any) -> STSClient:
        client: STSClient = self._client("sts", access_key_id, secret, config)
        return client

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the authority's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function on the authority's own thread."""

        async def later() -> T:
            return work()

        return self.run(later())

    def keep_house(self) -> None:
        """Write usage and mark now instead of within the second."""
        self.run(keep_house(self.opened))

    def new_user_with_key(self, name: str) -> tuple[str, str]:
        """The id and the secret of a new user's first key."""
        self.iam().create_user(UserName=name)
        key = self.iam().create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def _client(
        self, service: str, access_key_id: str | None, secret: str | None, config: dict[str, Any]
    ) -> Any:
        config.setdefault("retries", {"total_max_attempts": 1})
        if access_key_id is None:
            access_key_id = self.administrator.access_key_id
            secret = self.administrator.secret.reveal().decode()
        client = boto3.client(  # type: ignore[call-overload]  # the service is a parameter
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret,
            config=Config(**config),
        )
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()


def environment_below(home: Path) -> dict[str, str]:
    """An environment in which everything that Keyturn writes stays below `home`."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def living_authority(home: Path, clock: HeldClock | None = None, **flags: Any) -> Iterator[LivingAuthority]:
    """Start, hand out, drain and stop. `flags` are `keyturn serve`'s options, by their names."""
    settings = serve_settings({"port": 0, **flags}, environment_below(home))
    held = clock or HeldClock()
    ready = threading.Event()
    found: list[LivingAuthority] = []
    failed: list[BaseException] = []
    stopping: list[Callable[[], object]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))

        def listening(url: str, opened: Opened) -> None:
            file = settings.place.credentials_file(opened.instance.instance_id)
            found.append(LivingAuthority(url, settings, opened, held, loop, read_credentials(file)))
            ready.set()

        await serve(settings, stop=stop, on_listening=listening, clock=held)

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread below
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="living-authority")
    thread.start()
    try:
        assert ready.wait(60), "the authority did not start"
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        if found:
            found[0].close_clients()
        for stop_it in stopping:
            with suppress(RuntimeError):  # a start that failed has closed its loop
                stop_it()
        thread.join(60)
    if failed:
        raise failed[0]
