"""A consumer that nobody knows and that comes every 31 days is found before the old key is deleted, in every run.

Time is handed in. What the daily look at each key's last use has gathered sizes the window, as a room wires it.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from keyturn.model.access_keys import AccessKeyPair
from keyturn.rotation.endpoint import Consumer, NeverSeen, Used
from keyturn.rotation.engine import Ended, Engine
from keyturn.rotation.planning import window_of
from keyturn.rotation.progress import Progress, Terms
from keyturn.rotation.storage import journal
from rotation.rotation_room import Room
from rotation.rotation_world import (
    DAY,
    HOUR,
    LIKE_AWS,
    LIKE_OURS,
    SECOND,
    HeldTime,
    MemorySink,
    World,
    WorldEndpoint,
)

IS_LONG = os.environ.get("KEYTURN_FAULTS") == "long"
RUNS = 200 if IS_LONG else 8
MONTHLY = 31 * DAY
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory in memory
TERMS = Terms(may_delete=True, poll=6 * HOUR, watch_every=6 * HOUR)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


@dataclass
class SizingRoom(Room):
    """Its windows are sized by the key's own history, and by what a sink's `expected_interval` says."""

    expected: tuple[int, ...] = ()

    def engine(self) -> Engine:
        def window(
            progress: Progress,
            samples: Sequence[tuple[int, int | None]],
            consumers: Sequence[Consumer],
            now: int,
        ) -> int:
            del now
            return window_of(
                progress.terms, self.expected, samples, consumers, self.world.traits
            ).milliseconds

        return Engine(
            self.state,
            WorldEndpoint(self.world),
            sinks=self.sinks.__getitem__,
            check=lambda _progress: self.health,
            window=window,
            boundary=self.boundary,
        )


class Life:
    """Days go by: consumers read their sinks and sign every few hours, and one comes every 31 days on its own."""

    def __init__(self, home: Path, world: World, hidden_next: int) -> None:
        self.world = world
        self.pair = world.make()
        self.sinks = {name: MemorySink(name, self.pair) for name in "ab"}
        self.room = SizingRoom(home, world, self.sinks)
        self.hidden_next = world.time.now + hidden_next
        self.hidden_refused = 0
        self.hidden_came = 0

    def until(self, at: int, *, regulars: bool = True) -> None:
        """Let time pass until then, with whoever comes meanwhile."""
        if regulars:
            for number, sink in enumerate(self.sinks.values()):
                assert sink.value is not None
                assert self.world.accepts_everywhere(sink.value)
                assert self.world.sign(sink.value, source=f"10.0.0.{number}")
        while self.hidden_next <= at:
            self.world.time.now = self.hidden_next
            self.hidden_came += 1
            self.hidden_refused += not self.world.sign(self.pair, source="10.7.7.7", agent="monthly")
            self.hidden_next += MONTHLY
        self.world.time.now = max(at, self.world.time.now)

    def sample(self) -> None:
        """The daily look."""
        now = self.world.time.now
        use = WorldEndpoint(self.world).last_use(self.pair.access_key_id)
        with self.room.state.database.writing() as ledger:
            if isinstance(use, Used | NeverSeen):
                at = use.at if isinstance(use, Used) else None
                journal.add_sample(ledger, self.pair.access_key_id, now, at)


def carried_on(life: Life, days: int) -> None:
    """As a server's loop does it, whoever is told of what meanwhile."""
    until = life.world.time.now + days * DAY
    while life.world.time.now < until:
        outcome = life.room.advance()
        if outcome.progress.is_final:
            return
        life.until(max(life.world.time.now + 1, outcome.progress.next_at))


@pytest.mark.parametrize("days_known", [0, 3, 100])
@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("is_masked", [False, True])
def test_who_comes_every_31_days_is_found_before_the_deletion(
    home: Path, days_known: int, *, is_exact: bool, is_masked: bool
) -> None:
    """Whether the key was looked at for long or never. Masked: others sign with the same key every day.

    A record that tells only the last use can't show who is masked, so there the sink has to say how seldom its
    consumers come. Where refused attempts are told, that is enough.
    """
    chance = random.Random(days_known)  # noqa: S311 - a test that can be repeated
    for run in range(RUNS):
        world = World(
            HeldTime(), traits=LIKE_OURS if is_exact else LIKE_AWS, seed=run, replicas=1 if is_exact else 3
        )
        life = Life(home / str(run), world, chance.randrange(1, MONTHLY))
        if not is_exact:
            world.delay = lambda world=world: world.random.randrange(15 * SECOND)  # type: ignore[misc]
        if is_masked and not is_exact:
            life.room.expected = (MONTHLY,)
        for _ in range(days_known):
            life.until(world.time.now + DAY, regulars=is_masked)
            life.sample()
        world.time.pass_(60_000)
        before = life.hidden_came
        life.room.begin(life.pair.access_key_id, TERMS)
        carried_on(life, 130)
        assert life.hidden_came >= before + 2
        assert not world.keys[0].is_deleted, f"run {run}: deleted, though it came {life.hidden_came} times"
        assert any("10.7.7.7" in line or "the old key was last used" in line for line in life.room.events())
        life.room.state.close()


def test_consumers_that_read_their_sinks_are_never_refused_while_copies_disagree(home: Path) -> None:
    for run in range(RUNS * 3):
        world = World(HeldTime(), seed=run, replicas=5, lists_lag=run % 2 == 0)
        life = Life(home / str(run), world, 400 * DAY)
        world.delay = lambda world=world: world.random.randrange(15 * SECOND)  # type: ignore[misc]
        world.time.pass_(60_000)
        life.room.boundary = lambda _name, life=life: accepted(life)  # type: ignore[misc]
        terms = replace(TERMS, sparse_quiet=2 * HOUR, keep_inactive=2 * DAY, poll=HOUR)
        life.room.begin(life.pair.access_key_id, terms)
        if run % 3 == 0:
            life.room.run(each=lambda life=life: life.until(life.world.time.now), longest=HOUR * (run % 9))  # type: ignore[misc]
            life.room.engine().wish("r1", roll_back=True)
        outcome = life.room.run(each=lambda life=life: life.until(life.world.time.now))  # type: ignore[misc]
        assert outcome.ended in {Ended.DONE, Ended.ROLLED_BACK}


def accepted(life: Life) -> None:
    pairs: list[AccessKeyPair | None] = [sink.value for sink in life.sinks.values()]
    for pair in pairs:
        assert pair is not None
        assert life.world.accepts_everywhere(pair)
