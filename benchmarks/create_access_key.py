"""CreateAccessKey over HTTP at full durability, per CPU second of the server, beside the peers.

Keyturn verifies the administrator's signature, asks their policy, seals the secret, chains the audit record and
answers after COMMIT has reached the disk; the peers verify nothing and keep everything in memory. Each call is
signed beforehand for a user of its own, made beforehand too. At the end the keys in the database are counted:
as many as were answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from figures import Target, interleaved, machine, print_rounds, print_targets, ratio
from keyturn.authority.storage.access_keys import count_access_keys
from keyturn.model.access_keys import AccountId
from keyturn.settings import place
from keyturn.store.sqlite import open_read_only
from load import Asked, Load
from population import administrator, populate
from servers import (
    Server,
    directory_on_disk,
    environment_below,
    keyturn_serving,
    ministack_serving,
    moto_serving,
)
from signed_requests import Key, Signer

ROUNDS = 7
WARM_UP_ROUNDS = 1
CONNECTIONS = {"keyturn": 64, "ministack": 64, "moto_server": 4}
"""moto_server does best with few: it has a thread for each."""
CREATIONS_A_ROUND = {"keyturn": 3_000, "ministack": 500, "moto_server": 120}


def main() -> None:
    rounds = ROUNDS + WARM_UP_ROUNDS
    with directory_on_disk() as home, Load() as load:
        members = populate(home, rounds * CREATIONS_A_ROUND["keyturn"], with_keys=False)
        names = [member.name for member in members]
        with keyturn_serving(home) as keyturn, ministack_serving() as ministack, moto_serving() as moto:
            key = administrator(home)
            for peer in (ministack, moto):
                _make_users(load, peer, key, names[: rounds * CREATIONS_A_ROUND[peer.name]])
            load.hold("create", _requests(key, keyturn.port, "CreateAccessKey", names, b"<SecretAccessKey>"))
            contestants = {server.name: _round(load, server) for server in (keyturn, ministack, moto)}
            interleaved(WARM_UP_ROUNDS, contestants)
            figures = interleaved(ROUNDS, contestants)
        kept = _keys_kept(home, members[0].arn.split(":")[4])
    if kept != len(names) + 1:  # the administrator's own
        raise AssertionError(f"{len(names)} keys were answered, {kept - 1} are in the database")
    print(f"CreateAccessKey over HTTP, synchronous=FULL, {len(names):,} keys, {machine()}")
    print_rounds("keys per CPU second of the server", figures)
    ours = figures[keyturn.name]
    print_targets(
        [
            Target("CreateAccessKey per CPU second, at full durability", sorted(ours)[ROUNDS // 2], 2_000),
            Target("CreateAccessKey, durable / MiniStack's", ratio(ours, figures[ministack.name]), 1),
            Target("CreateAccessKey, durable / moto_server's", ratio(ours, figures[moto.name]), 1),
        ]
    )


def _requests(key: Key, port: int, action: str, names: Sequence[str], answer_holds: bytes) -> list[Asked]:
    signer = Signer(key, "iam")
    return [Asked(signer.request(port, action, UserName=name), answer_holds) for name in names]


def _make_users(load: Load, peer: Server, key: Key, names: Sequence[str]) -> None:
    load.hold("users", _requests(key, peer.port, "CreateUser", names, b"<UserId>"))
    load.send(peer.port, "users", range(len(names)), connections=CONNECTIONS[peer.name])


def _round(load: Load, server: Server) -> Callable[[], float]:
    """Keys per CPU second of the server, each for the next user."""
    size = CREATIONS_A_ROUND[server.name]
    following = itertools.count()

    def measure() -> float:
        before = server.cpu_seconds()
        numbers = list(itertools.islice(following, size))
        load.send(server.port, "create", numbers, connections=CONNECTIONS[server.name])
        return size / (server.cpu_seconds() - before)

    return measure


def _keys_kept(home: Path, account_id: str) -> int:
    with open_read_only(place({}, environment_below(home)).database) as reader:
        return count_access_keys(reader, AccountId(account_id))


if __name__ == "__main__":
    main()
