"""Does it stay as fast with 100,000 users as with 1,000? CPU and memory of the server, in one run.

Three authorities with 1,000, 10,000 and 100,000 users (one key each, loaded through the store) stand side by side
and take turns. What is asked: GetCallerIdentity signed by a random key, first by keys that the server has not seen
since it started and then by keys that it knows; ListAccessKeys and GetAccessKeyLastUsed of random users, signed by
the administrator. Flat means that the figure for 100,000 users is at least three quarters of that for 1,000.
Draws docs/reference/scale.svg when asked with --draw.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from curve import draw
from figures import Target, interleaved, machine, print_targets, ratio
from load import Asked, Load
from population import Member, administrator, populate
from servers import REPOSITORY, Server, directory_on_disk, keyturn_serving
from signed_requests import Signer

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 7
CONNECTIONS = 64
REQUESTS_A_ROUND = 2_000
DISTINCT_REQUESTS = 10_000
FLAT = 0.75
DRAWING = REPOSITORY / "docs" / "reference" / "scale.svg"
NEW, KNOWN, LIST, LAST_USED = (
    "GetCallerIdentity, keys not seen before",
    "GetCallerIdentity, known keys",
    "ListAccessKeys",
    "GetAccessKeyLastUsed",
)


@dataclass(frozen=True, slots=True)
class Authority:
    """One of the three, with its requests held by the load under its size."""

    users: int
    server: Server
    at_start: int
    """Resident bytes before the first request."""


def main() -> None:
    with ExitStack() as stack:
        load = stack.enter_context(Load())
        authorities = [_started(stack, load, size) for size in SIZES]
        cold = {a.users: _first_sight(load, a) for a in authorities}
        figures = {question: _measured(load, authorities, question) for question in (KNOWN, LIST, LAST_USED)}
        memory = {a.users: (a.at_start, a.server.resident_bytes()) for a in authorities}
    print(f"1,000 to 100,000 users, {machine()}")
    _print(cold, figures, memory)
    smallest, largest = SIZES[0], SIZES[-1]
    print_targets(
        [Target(f"{NEW}: 100,000 users / 1,000", cold[largest] / cold[smallest], FLAT)]
        + [
            Target(f"{question}: 100,000 users / 1,000", ratio(each[largest], each[smallest]), FLAT)
            for question, each in figures.items()
        ]
    )
    if "--draw" in sys.argv:
        draw(DRAWING, _relative(cold, figures), {size: used for size, (_, used) in memory.items()})
        print(f"drawn: {Path('docs/reference') / DRAWING.name}")


def _started(stack: ExitStack, load: Load, size: int) -> Authority:
    home = stack.enter_context(directory_on_disk())
    members = populate(home, size, with_keys=True)
    server = stack.enter_context(keyturn_serving(home))
    at_start = server.resident_bytes()
    asked = _requests(server.port, members, home)
    for question, each in asked.items():
        load.hold(f"{question} {size}", each)
    return Authority(size, server, at_start)


def _requests(port: int, members: Sequence[Member], home: Path) -> Mapping[str, list[Asked]]:
    """Random users, the same number of distinct requests whatever the size."""
    chance = random.Random(4590)  # noqa: S311 - the same choice in each run
    chosen = [chance.choice(members) for _ in range(DISTINCT_REQUESTS)]
    every = [member for member in members if member.key is not None]
    admin = Signer(administrator(home), "iam")
    return {
        NEW: [_identity(port, member) for member in chance.sample(every, len(every))],
        LIST: [
            Asked(admin.request(port, "ListAccessKeys", UserName=member.name), _key_id(member))
            for member in chosen
        ],
        LAST_USED: [
            Asked(
                admin.request(port, "GetAccessKeyLastUsed", AccessKeyId=_key_id(member).decode()),
                f"<UserName>{member.name}</UserName>".encode(),
            )
            for member in chosen
        ],
    }


def _identity(port: int, member: Member) -> Asked:
    assert member.key is not None
    request = Signer(member.key, "sts").request(port, "GetCallerIdentity")
    return Asked(request, f"<Arn>{member.arn}</Arn>".encode())


def _key_id(member: Member) -> bytes:
    assert member.key is not None
    return member.key.access_key_id.encode()


def _first_sight(load: Load, authority: Authority) -> float:
    """Answers per CPU second while each key of the authority signs its first request, in random order."""
    return _per_cpu_second(load, authority, NEW, range(authority.users))


def _per_cpu_second(load: Load, authority: Authority, held: str, numbers: Sequence[int]) -> float:
    before = authority.server.cpu_seconds()
    load.send(authority.server.port, f"{held} {authority.users}", numbers, connections=CONNECTIONS)
    return len(numbers) / (authority.server.cpu_seconds() - before)


def _measured(load: Load, authorities: Sequence[Authority], question: str) -> dict[int, list[float]]:
    """Per size, answers per CPU second, round by round."""
    chance = random.Random(question)  # noqa: S311 - the same choice in each run

    def contestant(authority: Authority) -> Callable[[], float]:
        held = NEW if question == KNOWN else question
        among = authority.users if question == KNOWN else DISTINCT_REQUESTS

        def measure() -> float:
            numbers = [chance.randrange(among) for _ in range(REQUESTS_A_ROUND)]
            return _per_cpu_second(load, authority, held, numbers)

        return measure

    contestants = {str(authority.users): contestant(authority) for authority in authorities}
    interleaved(1, contestants)
    return {int(size): each for size, each in interleaved(ROUNDS, contestants).items()}


def _relative(
    cold: Mapping[int, float], figures: Mapping[str, Mapping[int, Sequence[float]]]
) -> dict[str, dict[int, float]]:
    """Each curve as a multiple of its own figure for the fewest users."""
    smallest = SIZES[0]
    curves = {NEW: {size: cold[size] / cold[smallest] for size in SIZES}}
    for question, each in figures.items():
        curves[question] = {size: ratio(each[size], each[smallest]) for size in SIZES}
    return curves


def _print(
    cold: Mapping[int, float],
    figures: Mapping[str, Mapping[int, Sequence[float]]],
    memory: Mapping[int, tuple[int, int]],
) -> None:
    print(f"answers per CPU second of the server, median of {ROUNDS} rounds (the first line: one pass)")
    print(f"  {'users':<42}" + "".join(f"{size:>12,}" for size in SIZES))
    print(f"  {NEW:<42}" + "".join(f"{cold[size]:>12,.0f}" for size in SIZES))
    for question, each in figures.items():
        print(f"  {question:<42}" + "".join(f"{statistics.median(each[size]):>12,.0f}" for size in SIZES))
    for when, place in (("resident MiB at the start", 0), ("resident MiB, every key seen", 1)):
        print(f"  {when:<42}" + "".join(f"{memory[size][place] / 2**20:>12,.0f}" for size in SIZES))


if __name__ == "__main__":
    main()
