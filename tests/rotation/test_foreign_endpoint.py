"""What a rotation sees of an endpoint that is not ours: moto's server, with the rules of AWS."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import IO
from uuid import uuid4

import pytest

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus
from keyturn.model.clock import SystemClock
from keyturn.model.secrets import Secret
from keyturn.rotation.endpoint import (
    EndpointTraits,
    NeverSeen,
    NoSuchKeyError,
    NoSuchUserError,
    Proof,
    QuotaError,
    Used,
)
from keyturn.rotation.iam_endpoint import IamEndpoint

MOTO = Path(__file__).parents[2] / ".venv-servers/bin/moto_server"

pytestmark = pytest.mark.skipif(not MOTO.exists(), reason="moto's server is not there: `make clients`")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {
        "HOME": str(tmp_path_factory.mktemp("moto")),
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", "0"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        ready: Queue[str] = Queue()
        listener = threading.Thread(target=_listen, args=(server.stderr, ready), name="moto-log")
        listener.start()
        try:
            yield ready.get(timeout=60)
        finally:
            server.terminate()
            server.wait(30)
            listener.join(30)


def _listen(log: IO[str], ready: Queue[str]) -> None:
    """To its end: a log that nobody reads holds the server up."""
    for line in log:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", line)
        if found:
            ready.put(found[1])


@pytest.fixture
def foreign(moto: str) -> Iterator[IamEndpoint]:
    signer = AccessKeyPair(AccessKeyId("AKIAIOSFODNN7EXAMPLE"), Secret(b"s" * 40))
    endpoint = IamEndpoint(Reach(moto, region="us-east-1"), clock=SystemClock(), pair=signer)
    yield endpoint
    endpoint.close()


@pytest.fixture
def user(foreign: IamEndpoint) -> str:
    name = f"user-{uuid4()}"
    foreign._clients.iam().create_user(UserName=name)
    return name


def new_pair(endpoint: IamEndpoint, user: str, invocation_id: str) -> AccessKeyPair:
    return endpoint.create(user, invocation_id=invocation_id, rotation_id="r1")


def test_it_promises_nothing(foreign: IamEndpoint, moto: str) -> None:
    assert foreign.traits() == EndpointTraits()
    assert foreign.url == moto
    assert abs(foreign.clock_offset_ms()) < 3_000


def test_the_life_of_a_key(foreign: IamEndpoint, user: str) -> None:
    pair = new_pair(foreign, user, "one")
    assert foreign.owner(pair.access_key_id) == user
    assert foreign.last_use(pair.access_key_id) == NeverSeen()
    assert foreign.prove(pair) is Proof.ACCEPTED
    assert isinstance(foreign.last_use(pair.access_key_id), Used)
    foreign.set_status(user, pair.access_key_id, AccessKeyStatus.INACTIVE)
    (key,) = foreign.keys(user)
    assert (key.access_key_id, key.status) == (pair.access_key_id, AccessKeyStatus.INACTIVE)
    foreign.delete(user, pair.access_key_id)
    with pytest.raises(NoSuchKeyError):
        foreign.delete(user, pair.access_key_id)
    with pytest.raises(NoSuchUserError):
        foreign.delete("nobody", pair.access_key_id)
    with pytest.raises(NoSuchUserError):
        foreign.keys("nobody")
    assert user in foreign.users()
    assert foreign.is_under_incident(user) is False


def test_a_repeat_makes_a_second_key_and_the_third_finds_no_room(foreign: IamEndpoint, user: str) -> None:
    assert new_pair(foreign, user, "same") != new_pair(foreign, user, "same")
    with pytest.raises(QuotaError):
        new_pair(foreign, user, "same")


def test_where_events_are_not_to_be_had_nothing_is_claimed(foreign: IamEndpoint, user: str) -> None:
    pair = new_pair(foreign, user, "one")
    foreign.prove(pair)
    assert foreign.consumers(pair.access_key_id, since=0) is None
    assert foreign.sessions(pair.access_key_id) is None
    assert foreign.created_by(pair.access_key_id, user) is None
    assert foreign.rotations_seen(since=0) is None
    told = {each.action: each.is_allowed for each in foreign.permissions(user)}
    assert told["iam:ListAccessKeys"] is True
