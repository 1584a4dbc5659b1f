"""The law of rotation, at every instant and whatever happens: every sink holds a key that is accepted everywhere, and
no key is alive that no sink holds and no journal knows.

A stateful test on the made-up world, whose copies disagree: crashes at any boundary, cut answers, faults of endpoint
and sinks, hidden consumers, an operator who changes his mind, and time that jumps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keyturn.model.access_keys import AccessKeyPair, AccessKeyStatus
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import EndpointUnavailableError
from keyturn.rotation.engine import Ended, Outcome
from keyturn.rotation.plan import ActKind, Health
from keyturn.rotation.progress import Progress, Stage, Terms
from keyturn.rotation.sinks.interface import SinkRefusedError
from rotation.rotation_room import Room
from rotation.rotation_world import DAY, HOUR, LIKE_AWS, LIKE_OURS, HeldTime, MemorySink, World, unavailable

IS_LONG = os.environ.get("KEYTURN_FAULTS") == "long"
LONGEST_SPREAD = 15_000
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory in memory: thousands of commits need no disk
TERMS = Terms(
    quiet=HOUR, sparse_quiet=HOUR, keep_inactive=2 * DAY, poll=600_000, watch_every=HOUR, may_delete=True
)
FAULTY = ("keys", "create", "set_status", "delete")


class Crash(BaseException):
    """The process dies here."""


class Rotating(RuleBasedStateMachine):
    """One user and his sinks; a rotation after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.count = 0
        self.steps_to_crash: int | None = None
        self.hidden: list[AccessKeyPair] = []

    @initialize(
        is_exact=st.booleans(),
        knows_makers=st.booleans(),
        lists_lag=st.booleans(),
        sinks=st.lists(st.booleans(), min_size=1, max_size=3),
        has_key=st.booleans(),
        seed=st.integers(0, 10_000),
    )
    def begin_the_world(
        self,
        *,
        is_exact: bool,
        knows_makers: bool,
        lists_lag: bool,
        sinks: list[bool],
        has_key: bool,
        seed: int,
    ) -> None:
        self.world = World(
            HeldTime(),
            traits=LIKE_OURS if is_exact else LIKE_AWS,
            delay=(lambda: 0) if is_exact else lambda: self.world.random.randrange(LONGEST_SPREAD),
            seed=seed,
            replicas=1 if is_exact else 3,
            lists_lag=lists_lag and not is_exact,
        )
        self.world.knows_makers = is_exact or knows_makers
        pair = self.world.make() if has_key else None
        self.world.time.pass_(DAY)
        self.sinks = {
            name: MemorySink(name, pair, is_readable=is_readable)
            for name, is_readable in zip("abc", sinks, strict=False)
        }
        # One at least shows what it holds; otherwise nobody could be sent back.
        self.sinks["a"].is_readable = True
        self.room = Room(self.directory, self.world, self.sinks, boundary=self.passed)
        self.begin()

    def begin(self) -> None:
        self.count += 1
        old = self.sinks["a"].value
        self.room.begin(old.access_key_id if old else None, TERMS, rotation_id=self.name)

    @property
    def name(self) -> str:
        return f"r{self.count}"

    def progress(self) -> Progress:
        return self.room.progress(self.name)

    def passed(self, _boundary: str) -> None:
        self.every_sink_holds_a_key_that_is_accepted()
        if self.steps_to_crash is not None:
            self.steps_to_crash -= 1
            if self.steps_to_crash <= 0:
                self.steps_to_crash = None
                raise Crash

    def consume(self) -> None:
        """Whoever reads a sink signs with what it holds, and is never refused."""
        for number, sink in enumerate(self.sinks.values()):
            if sink.value is not None:
                assert self.world.sign(sink.value, source=f"10.0.0.{number}"), f"{sink.name} failed"

    def advance(self) -> Outcome | None:
        with contextlib.suppress(Crash):
            return self.room.advance(self.name)
        self.room.state.close()
        self.room.reopen()
        return None

    # What happens

    @rule(crash_at=st.none() | st.integers(1, 12))
    def advance_once(self, crash_at: int | None) -> None:
        self.steps_to_crash = crash_at
        outcome = self.advance()
        self.steps_to_crash = None
        if outcome is not None and outcome.ended is Ended.WAITING:
            self.consume()
            wait = outcome.progress.next_at - self.world.time.now
            self.world.time.pass_(max(1, min(wait, 3 * DAY)))
        self.consume()

    @rule(milliseconds=st.sampled_from([1, 500, 4_000, 40_000, 20 * 60_000, 2 * HOUR, DAY, 40 * DAY]))
    def time_passes(self, milliseconds: int) -> None:
        self.world.time.pass_(milliseconds)
        self.consume()

    @rule(operation=st.sampled_from(FAULTY), times=st.integers(1, 3))
    def the_endpoint_fails(self, operation: str, times: int) -> None:
        self.world.fail_next[operation] = [EndpointUnavailableError("Rate exceeded")] * times

    @rule(operation=st.sampled_from(["create", "set_status", "delete"]))
    def an_answer_will_be_cut(self, operation: str) -> None:
        self.world.cut_next.add(operation)

    @rule(is_down=st.booleans())
    def last_use_is_unknown_for_a_while(self, *, is_down: bool) -> None:
        self.world.last_use_problem = "Rate exceeded" if is_down else None

    @rule(name=st.sampled_from("abc"), fault=st.sampled_from(["down", "refuses", "loses", "cut"]))
    def a_sink_fails(self, name: str, fault: str) -> None:
        sink = self.sinks.get(name, self.sinks["a"])
        match fault:
            case "down":
                sink.failures = [unavailable()] * 3
            case "refuses":
                sink.failures = [SinkRefusedError("no permission to write")]
            case "loses":
                sink.loses_writes = 1
            case _:
                sink.cut_writes = 1

    @rule()
    def somebody_keeps_the_old_key_in_memory(self) -> None:
        if self.sinks["a"].value is not None:
            self.hidden.append(self.sinks["a"].value)
            self.world.sign(self.sinks["a"].value, source="10.7.7.7", agent="hidden")

    @precondition(lambda self: self.hidden)
    @rule()
    def the_hidden_consumer_signs(self) -> None:
        self.world.sign(self.hidden[-1], source="10.7.7.7", agent="hidden")

    @rule(health=st.sampled_from([Health.NONE, Health.GOOD, Health.BAD, Health.UNKNOWN]))
    def the_check_says(self, health: Health) -> None:
        self.room.health = health

    @rule(wish=st.sampled_from(["pause", "resume", "rollback", "abort", "again"]))
    def the_operator_wishes(self, wish: str) -> None:
        with contextlib.suppress(KeyturnError):
            self.room.engine().wish(
                self.name,
                pause=wish == "pause",
                roll_back=wish == "rollback",
                abort=wish == "abort",
                deliver_again=wish == "again",
            )

    @precondition(lambda self: self.progress().is_final)
    @rule()
    def the_next_one_begins(self) -> None:
        self.begin()

    # What must hold

    @invariant()
    def every_sink_holds_a_key_that_is_accepted(self) -> None:
        for sink in self.sinks.values():
            if sink.value is not None:
                assert self.world.accepts_everywhere(sink.value), f"{sink.name} holds a dead key"

    @invariant()
    def no_key_is_alive_that_no_sink_holds_and_no_journal_knows(self) -> None:
        progress = self.progress()
        known = {sink.value.access_key_id for sink in self.sinks.values() if sink.value}
        if not progress.is_final:
            known |= {each for each in (progress.old_key, progress.new_key, *progress.orphans) if each}
        intent = progress.intent
        is_creating = intent is not None and intent.act == ActKind.CREATE
        for key in self.world.living():
            name = key.pair.access_key_id
            is_sought = is_creating and intent is not None and name not in intent.keys_before
            assert name in known or is_sought, f"nobody knows {name}"

    def teardown(self) -> None:
        try:
            if hasattr(self, "room"):
                self.come_to_an_end()
                self.room.state.close()
        finally:
            shutil.rmtree(self.directory)

    def come_to_an_end(self) -> None:
        """Everything is mended, and the operator helps: then it ends, with one key in every sink."""
        self.world.fail_next.clear()
        self.world.cut_next.clear()
        self.world.last_use_problem = None
        self.room.health = Health.GOOD
        for sink in self.sinks.values():
            sink.failures, sink.loses_writes, sink.cut_writes = [], 0, 0
        outcome: Outcome | None = None
        for _ in range(20):
            if self.progress().is_final:
                break
            # The hint of a rotation that needs somebody: `keyturn resume`, or on the way back `keyturn rollback`.
            is_back = self.progress().stage is Stage.ROLL_BACK
            self.room.engine().wish(self.name, roll_back=is_back)
            outcome = self.room.run(self.name, each=self.consume, longest=100 * DAY, most=30_000)
            self.world.time.now = max(self.world.time.now, outcome.progress.next_at)
            self.consume()
        assert self.progress().is_final, f"it does not end: {outcome.why if outcome else ''}"
        living = self.world.living()
        assert len(living) <= 1, "a key is left over"
        if not living:
            assert all(sink.value is None for sink in self.sinks.values())
            return
        left = living[0]
        assert left.status is AccessKeyStatus.ACTIVE
        holding = {sink.value.fingerprint for sink in self.sinks.values() if sink.value is not None}
        assert holding == {left.pair.fingerprint}
        if self.progress().stage is Stage.DONE:
            assert all(sink.value is not None for sink in self.sinks.values())


@pytest.fixture
def profile() -> settings:
    return settings(
        max_examples=3_000 if IS_LONG else 60,
        stateful_step_count=60 if IS_LONG else 30,
        deadline=None,
        derandomize=not IS_LONG,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.mark.faults
def test_every_sink_always_holds_a_living_key_and_no_key_is_forgotten(profile: settings) -> None:
    run_state_machine_as_test(Rotating, settings=profile)
