"""The authority that real clients meet, and the clients."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.proofs import pinned_versions
from acceptance.real_clients import CLIENTS, RealClient, missing, version_of
from acceptance.served import Endpoint, Key, served
from living_authority import LivingAuthority

seen_version = functools.cache(version_of)


@pytest.fixture(scope="session")
def served_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """`keyturn serve` in a process of its own, for all tests: each uses names of its own."""
    with served(tmp_path_factory.mktemp("served") / "home") as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(served_authority: Endpoint) -> Endpoint:
    """Where `client` goes; a module may say otherwise."""
    return served_authority


@pytest.fixture
def client_name(request: pytest.FixtureRequest) -> str:
    """A column of the page: skipped where that client is not here, and held to the version of the page."""
    name: str = request.param
    reason = missing(name)
    if reason is not None:
        pytest.skip(reason)
    if name in CLIENTS:
        assert seen_version(name) == pinned_versions()[name], "the page names another version"
    return name


@pytest.fixture
def client(client_name: str, endpoint: Endpoint) -> Iterator[RealClient]:
    found = CLIENTS[client_name](endpoint)
    try:
        yield found
    finally:
        found.close()


def endpoint_of(living: LivingAuthority, home: Path) -> Endpoint:
    key = living.administrator
    return Endpoint(living.url, home, Key(key.access_key_id, key.secret.reveal().decode()))
