"""Signed GetCallerIdentity over HTTP, beside MiniStack and moto_server, per CPU second of the server.

Keyturn verifies each signature and answers with the ARN of the key that signed; the peers verify nothing.
All get the very same requests, each signed for itself, over keep-alive connections and in rounds that take
turns. Prints the medians and the ratios with their targets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from figures import Target, interleaved, machine, print_rounds, print_targets, ratio
from load import Asked, Load
from population import populate
from servers import Server, directory_on_disk, keyturn_serving, ministack_serving, moto_serving
from signed_requests import caller_identity_requests

USERS = 64
DISTINCT_REQUESTS = 16_000
ROUNDS = 7
CONNECTIONS = 64
MOTO_CONNECTIONS = 4
"""Where it does best: it has a thread for each connection."""
REQUESTS_A_ROUND = {"keyturn": 8_000, "ministack": 800, "moto_server": 250}
"""About half a CPU second each, so that /proc's steps of 10 ms count for little."""
WARM_UP_ROUNDS = 2


def main() -> None:
    with directory_on_disk() as home, Load() as load:
        arns = {member.key: member.arn for member in populate(home, USERS, with_keys=True) if member.key}
        with keyturn_serving(home) as keyturn, ministack_serving() as ministack, moto_serving() as moto:
            asked = caller_identity_requests(keyturn.port, arns, DISTINCT_REQUESTS)
            load.hold("verified", asked)
            load.hold("unverified", [Asked(one.request, b"<Arn>") for one in asked])
            contestants = {
                keyturn.name: _round(load, keyturn, "verified", CONNECTIONS),
                ministack.name: _round(load, ministack, "unverified", CONNECTIONS),
                moto.name: _round(load, moto, "unverified", MOTO_CONNECTIONS),
            }
            interleaved(WARM_UP_ROUNDS, contestants)
            figures = interleaved(ROUNDS, contestants)
    print(f"GetCallerIdentity over HTTP, {machine()}")
    print_rounds("answers per CPU second of the server", figures)
    ours = figures[keyturn.name]
    print_targets(
        [
            Target("GetCallerIdentity, verified / MiniStack's", ratio(ours, figures[ministack.name]), 5),
            Target("GetCallerIdentity, verified / moto_server's", ratio(ours, figures[moto.name]), 20),
        ]
    )


def _round(load: Load, server: Server, name: str, connections: int) -> Callable[[], float]:
    """Answers per CPU second of the server, over the next of the requests."""
    size = REQUESTS_A_ROUND[server.name]
    following = itertools.cycle(range(DISTINCT_REQUESTS))

    def measure() -> float:
        before = server.cpu_seconds()
        load.send(server.port, name, list(itertools.islice(following, size)), connections=connections)
        return size / (server.cpu_seconds() - before)

    return measure


if __name__ == "__main__":
    main()
