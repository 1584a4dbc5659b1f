"""A rotation room in a temporary directory, on a made-up world or on a real endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyturn.model.access_keys import AccessKeyId
from keyturn.rotation.endpoint import Consumer
from keyturn.rotation.engine import Ended, Engine, Outcome
from keyturn.rotation.plan import Health
from keyturn.rotation.progress import Progress, SinkProgress, Terms
from keyturn.rotation.state import State, open_state
from keyturn.rotation.storage import journal
from rotation.rotation_world import ACCOUNT, HeldTime, MemorySink, World, WorldEndpoint


@dataclass
class Room:
    """Its engine is made anew for each call: nothing may live in memory."""

    directory: Path
    world: World
    sinks: dict[str, MemorySink]
    health: Health = Health.NONE
    boundary: Callable[[str], None] = lambda _name: None
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.reopen()

    def reopen(self) -> None:
        self.state = open_state(
            self.directory / "state",
            self.directory / "config",
            clock=self.world.time,
            random_bytes=os.urandom,
        )

    def engine(self) -> Engine:
        return Engine(
            self.state,
            WorldEndpoint(self.world),
            sinks=self.sinks.__getitem__,
            check=lambda _progress: self.health,
            window=_window,
            boundary=self.boundary,
        )

    def begin(self, old: str | None, terms: Terms, *, rotation_id: str = "r1", user: str = "ci") -> str:
        now = self.world.time.now
        progress = Progress(
            rotation_id,
            ACCOUNT,
            user,
            None if old is None else AccessKeyId(old),
            now,
            terms,
            stage_since=now,
            sinks=tuple(SinkProgress(name) for name in self.sinks),
        )
        with self.state.database.writing() as ledger:
            journal.add(ledger, progress, endpoint="", region="eu-west-1", profile="")
        return rotation_id

    def advance(self, rotation_id: str = "r1") -> Outcome:
        return self.engine().advance(rotation_id)

    def run(
        self,
        rotation_id: str = "r1",
        *,
        each: Callable[[], object] = lambda: None,
        longest: int = 400 * 86_400_000,
        most: int = 100_000,
    ) -> Outcome:
        """Advance, let time pass until the rotation's next step, and again, until it ends or needs somebody."""
        until = self.world.time.now + longest
        for _ in range(most):
            outcome = self.advance(rotation_id)
            if outcome.ended is not Ended.WAITING or self.world.time.now >= until:
                return outcome
            self.world.time.now = max(self.world.time.now + 1, outcome.progress.next_at)
            each()
        raise AssertionError(f"it does not end: {outcome.why}")

    def progress(self, rotation_id: str = "r1") -> Progress:
        with self.state.database.reading() as ledger:
            found = journal.by_id(ledger, rotation_id)
        assert found is not None
        return found.progress

    def events(self, rotation_id: str = "r1") -> list[str]:
        with self.state.database.reading() as ledger:
            return [f"{event.kind}: {event.what}" for event in journal.events(ledger, rotation_id)]


def _window(
    progress: Progress, samples: Sequence[tuple[int, int | None]], consumers: Sequence[Consumer], now: int
) -> int:
    del samples, consumers, now
    return progress.terms.quiet


def room(directory: Path, world: World | None = None, *names: str) -> Room:
    """A room whose sinks all hold the user's one key."""
    world = world or World(HeldTime())
    pair = world.make()
    return Room(directory, world, {name: MemorySink(name, pair) for name in names or ("a", "b")})
