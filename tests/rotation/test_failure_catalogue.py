"""What goes wrong while a key is replaced, each with its right answer, by number.

Most rows run on the made-up world, which has the habits of a distributed IAM; what has to be shown on a real server,
in real files or by real processes is shown where it lives, and named here.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus
from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError
from keyturn.rotation.configuration import Configuration, Schedule, SinkEntry, UserEntry, Window
from keyturn.rotation.endpoint import (
    EndpointTraits,
    EndpointUnavailableError,
    LastUse,
    NeverSeen,
    Unknown,
    Used,
    UserKey,
)
from keyturn.rotation.engine import Ended, Outcome
from keyturn.rotation.fleet import is_open
from keyturn.rotation.plan import Health
from keyturn.rotation.planning import Entry, Planner, adopted
from keyturn.rotation.progress import Progress, SinkProgress, Stage, Terms, as_json, from_json
from keyturn.rotation.sinks.interface import Held, SinkTraits, WriteContext
from keyturn.rotation.slots import Chosen, NeedsWord, choose
from keyturn.rotation.state import open_state
from keyturn.rotation.storage import journal
from keyturn.rotation.usage import UsageHistory
from rotation.rotation_room import Room, room
from rotation.rotation_world import (
    ACCOUNT,
    DAY,
    HOUR,
    LIKE_AWS,
    LIKE_OURS,
    SECOND,
    HeldTime,
    MemorySink,
    World,
    WorldEndpoint,
    unavailable,
)

TERMS = Terms(may_delete=True, poll=10 * 60_000, watch_every=HOUR, keep_inactive=2 * DAY)
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory in memory
GOLDEN: Final = Path(__file__).parent / "slots_of_two_keys.txt"


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what a commit on a disk survives is shown elsewhere, and here are thousands of them."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


def begun(home: Path, world: World | None = None, terms: Terms = TERMS, sinks: Sequence[str] = ()) -> Room:
    here = room(home, world, *sinks)
    here.begin(here.world.keys[0].pair.access_key_id, terms)
    return here


def working(here: Room) -> list[bool]:
    """Every consumer signs with what its sink holds; what each was answered."""
    return [
        here.world.sign(sink.value, source=f"10.0.0.{number}")
        for number, sink in enumerate(here.sinks.values())
        if sink.value
    ]


def in_service(here: Room) -> Callable[[], None]:
    """Between any two steps, every consumer has to be served."""

    def check() -> None:
        assert all(working(here)), "a consumer that reads its sink was refused"

    return check


def old_status(here: Room) -> AccessKeyStatus:
    return here.world.keys[0].status


def require_one_key_everywhere(here: Room) -> None:
    (left,) = here.world.living()
    assert left.status is AccessKeyStatus.ACTIVE
    assert {sink.value.fingerprint for sink in here.sinks.values() if sink.value} == {left.pair.fingerprint}


def dying_at(number: int) -> Callable[[str], None]:
    passed = 0

    def boundary(_name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == number:
            raise Crash

    return boundary


def boundaries_of(home: Path, traits: EndpointTraits) -> list[str]:
    """The boundaries of an undisturbed rotation, in their order."""
    names: list[str] = []
    here = begun(home, World(HeldTime(), traits=traits))
    here.boundary = names.append
    assert here.run(each=in_service(here)).ended is Ended.DONE
    return names


# 1: two keys already

FIRST, SECOND_KEY = AccessKeyId("AKIAIOSFODNN7EXAMPLE"), AccessKeyId("AKIAI44QH8DHBEXAMPLE")
NOW = 1_800_000_000_000
STATUSES = {"A": AccessKeyStatus.ACTIVE, "I": AccessKeyStatus.INACTIVE}
USES: Mapping[str, LastUse] = {
    "now": Used(NOW, "s3", "eu-west-1"),
    "1d": Used(NOW - DAY, "s3", "eu-west-1"),
    "100d": Used(NOW - 100 * DAY, "s3", "eu-west-1"),
    "never": NeverSeen(),
    "unknown": Unknown("Rate exceeded"),
}


def decided(first: tuple[str, str], second: tuple[str, str], free_slot: AccessKeyId | None) -> str:
    keys = [
        UserKey(FIRST, STATUSES[first[0]], NOW - 200 * DAY),
        UserKey(SECOND_KEY, STATUSES[second[0]], NOW - 150 * DAY),
    ]
    uses = {FIRST: USES[first[1]], SECOND_KEY: USES[second[1]]}
    found = choose("ci", keys, uses, {}, NOW, free_slot=free_slot)
    text = (
        f"replaces {found.old_key}, deletes {found.free_slot}"
        if isinstance(found, Chosen)
        else f"asks: {found.why}; {found.then}"
    )
    return text.replace(FIRST, "FIRST").replace(SECOND_KEY, "SECOND")


def test_row_01_of_two_keys_none_is_given_up_that_was_not_named_is_active_or_may_be_missed() -> None:
    states = list(product(STATUSES, USES))
    lines = []
    for first, second in product(states, states):
        lines.append(f"FIRST {' '.join(first)}, SECOND {' '.join(second)}")
        lines += [
            f"  {said}: {decided(first, second, named)}"
            for said, named in (
                ("unasked", None),
                ("--free-slot FIRST", FIRST),
                ("--free-slot SECOND", SECOND_KEY),
            )
        ]
        assert "deletes" not in decided(first, second, None)
        for named, (status, use) in ((FIRST, first), (SECOND_KEY, second)):
            if "deletes" in decided(first, second, named):
                assert status == "I"
                assert use in {"100d", "never"}
    assert len(states) ** 2 == 100
    text = "\n".join(lines) + "\n"
    if os.environ.get("KEYTURN_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


# 2: died after the create


def crash_after_create(here: Room) -> None:
    def boundary(name: str) -> None:
        if name == "after:create":
            raise Crash

    here.boundary = boundary
    with pytest.raises(Crash):
        here.advance()
    here.boundary = lambda _name: None


@pytest.mark.parametrize("knows_makers", [True, False])
@pytest.mark.parametrize("traits", [LIKE_AWS, LIKE_OURS])
def test_row_02_a_secret_that_was_lost_after_the_create_leaves_no_orphan(
    tmp_path: Path, traits: EndpointTraits, *, knows_makers: bool
) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=traits))
    here.world.knows_makers = knows_makers
    crash_after_create(here)
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)
    creates = [act for act, _ in here.world.acts].count("create")
    assert creates == (1 if traits.idempotent_create else 2), (
        "a repeat within 60 s is answered with the same key"
    )


def test_row_02_when_the_repeat_comes_too_late_the_orphan_rule_applies(tmp_path: Path) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    crash_after_create(here)
    here.world.time.pass_(10 * 60_000)
    here.world.repeats.clear()
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)
    assert [act for act, _ in here.world.acts][:3] == ["create", "Inactive", "delete"]


def test_row_02_a_suspect_that_is_in_use_stops_the_rotation_and_asks_and_an_abort_leaves_it_alone(
    tmp_path: Path,
) -> None:
    here = begun(tmp_path)
    here.world.knows_makers = False
    here.world.fail_next["create"] = [EndpointUnavailableError("no answer")]
    here.advance()
    foreign = here.world.make()
    here.world.sign(foreign, source="10.8.8.8")
    outcome = here.run(longest=DAY)
    assert outcome.ended is Ended.ATTENTION
    assert foreign.access_key_id in outcome.why
    here.engine().wish("r1", abort=True)
    assert here.run().ended is Ended.ABORTED
    assert here.world.accepts_everywhere(foreign)


def test_row_02_an_orphan_that_turns_out_to_be_used_is_not_deleted(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.knows_makers = False
    here.world.fail_next["create"] = [EndpointUnavailableError("no answer")]
    here.advance()
    foreign = here.world.make()
    here.run(longest=14 * 60_000)
    key = here.world.key(foreign.access_key_id)
    assert key.status is AccessKeyStatus.INACTIVE, "the suspect was deactivated first"
    key.status = AccessKeyStatus.ACTIVE  # its owner missed it
    here.world.sign(foreign, source="10.8.8.8")
    assert here.run(longest=2 * DAY).ended is Ended.ATTENTION
    assert here.world.accepts_everywhere(foreign)


# 3: not valid yet


def test_row_03_a_new_key_that_is_still_on_its_way_and_flaps_reaches_no_consumer(tmp_path: Path) -> None:
    tries = 0
    for seed in range(12):
        world = World(HeldTime(), seed=seed, replicas=5)
        here = begun(tmp_path / str(seed), world)
        world.delay = lambda world=world: world.random.randrange(15 * SECOND)  # type: ignore[misc]

        def boundary(name: str, here: Room = here) -> None:
            nonlocal tries
            tries += name == "before:prove"
            for sink in here.sinks.values():
                assert_accepted(here, sink)

        here.boundary = boundary
        assert here.run(each=in_service(here)).ended is Ended.DONE
    assert tries > 3 * 12, "no proof was ever refused: the copies did not disagree"


def assert_accepted(here: Room, sink: MemorySink) -> None:
    assert sink.value is not None
    assert here.world.accepts_everywhere(sink.value), f"{sink.name} holds a key that some copy refuses"


def test_row_03_after_five_minutes_somebody_is_told_and_it_goes_on_trying(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.delay = lambda: 20 * 60_000
    outcome = here.run()
    assert outcome.ended is Ended.ATTENTION
    assert "still not accepted" in outcome.why
    here.world.time.pass_(20 * 60_000)
    assert here.run(each=in_service(here)).ended is Ended.DONE


def test_row_03_a_rotation_that_slept_through_its_patience_proves_the_key_all_the_same(
    tmp_path: Path,
) -> None:
    here = begun(tmp_path)
    here.boundary = dying_at(4)
    with pytest.raises(Crash):
        here.run()
    assert here.progress().stage is Stage.PROVE
    here.boundary = lambda _name: None
    here.world.time.pass_(DAY)
    assert here.run(each=in_service(here)).ended is Ended.DONE


# 4: torn pairs


class TwoFields(MemorySink):
    """Takes id and secret one after the other; a reader may come in between."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def describe(self) -> SinkTraits:
        return replace(super().describe(), is_atomic=False)

    def write(self, pair: AccessKeyPair, *, expect: Held, context: WriteContext) -> None:
        self.between()
        super().write(pair, expect=expect, context=context)


def test_row_04_while_a_sink_of_two_fields_is_written_both_keys_are_active(tmp_path: Path) -> None:
    # What readers of each sink see meanwhile is counted by sinks/torn_reads.py.
    here = begun(tmp_path)
    sink = TwoFields("a", here.sinks["a"].value)
    seen: list[bool] = []
    sink.between = lambda: seen.append(
        all(here.world.accepts_everywhere(key.pair) for key in here.world.living())
    )
    here.sinks["a"] = sink
    assert here.run(each=in_service(here)).ended is Ended.DONE
    assert seen
    assert all(seen)


# 5, 6: sinks that fail


@pytest.mark.parametrize("failing", ["a", "b", "c", "d", "e"])
@pytest.mark.parametrize("times", [1, 3, 1_000])
def test_row_05_one_sink_of_five_that_fails_holds_up_only_the_deactivation(
    tmp_path: Path, failing: str, times: int
) -> None:
    here = begun(tmp_path, sinks="abcde")
    here.sinks[failing].failures = [unavailable()] * times
    if times < 1_000:
        assert here.run(each=in_service(here)).ended is Ended.DONE
        return
    outcome = here.run(longest=3 * DAY, each=in_service(here))
    assert outcome.ended is Ended.ATTENTION
    assert "sinks 4/5" in outcome.why
    assert failing in outcome.why
    new = here.progress().new_key
    assert [name for name, sink in here.sinks.items() if sink.value and sink.value.access_key_id != new] == [
        failing
    ]
    assert all(here.world.accepts_everywhere(key.pair) for key in here.world.living())
    assert here.world.acts == [("create", new)]
    here.engine().wish("r1", roll_back=True)
    assert here.run(each=in_service(here)).ended is Ended.ROLLED_BACK
    require_one_key_everywhere(here)


@pytest.mark.parametrize("is_readable", [True, False])
def test_row_06_a_sink_that_says_yes_and_drops_the_value_is_noticed(
    tmp_path: Path, *, is_readable: bool
) -> None:
    here = begun(tmp_path)
    here.sinks["b"].is_readable = is_readable
    here.sinks["b"].loses_writes = 2
    outcome = here.run(each=in_service(here))
    assert any("does not hold the new key" in line for line in here.events())
    assert outcome.ended is Ended.DONE
    require_one_key_everywhere(here)


def test_row_06_a_sink_that_loses_the_value_later_stops_the_deactivation(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old = here.sinks["a"].value
    here.run(longest=60_000)
    assert here.progress().stage is Stage.ADOPT
    here.sinks["a"].value = old
    outcome = here.run(each=lambda: here.world.sign(here.world.keys[1].pair))
    assert outcome.ended is Ended.ATTENTION
    assert old_status(here) is AccessKeyStatus.ACTIVE
    here.engine().wish("r1", deliver_again=True)
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)


def test_row_06_a_delivery_asked_for_again_can_still_be_rolled_back_and_not_aborted(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000)
    here.engine().wish("r1", deliver_again=True)
    with pytest.raises(KeyturnError, match="taken the new key"):
        here.engine().wish("r1", abort=True)
    here.engine().wish("r1", roll_back=True)
    assert here.run(each=in_service(here)).ended is Ended.ROLLED_BACK
    require_one_key_everywhere(here)


# 7: killed anywhere (with real signals: test_rotation_kills)


@pytest.mark.parametrize("traits", [LIKE_AWS, LIKE_OURS])
def test_row_07_it_arrives_whichever_step_it_died_at(tmp_path: Path, traits: EndpointTraits) -> None:
    for number, name in enumerate(boundaries_of(tmp_path / "whole", traits), 1):
        here = begun(tmp_path / f"died-{number}", World(HeldTime(), traits=traits))
        here.boundary = dying_at(number)
        with pytest.raises(Crash):
            here.run(each=in_service(here))
        here.boundary = lambda _name: None
        here.state.close()
        here.reopen()
        assert here.run(each=in_service(here)).ended is Ended.DONE, name
        require_one_key_everywhere(here)
        here.state.close()


# 8-11: the record of use


def test_row_08_a_record_of_use_that_is_coarse_and_late_hides_nobody(tmp_path: Path) -> None:
    for minutes in (1, 7, 14, 16, 31, 44):
        here = begun(tmp_path / str(minutes))
        old = here.world.keys[0].pair
        here.world.books_every, here.world.books_late = 15 * 60_000, 15 * 60_000
        called = here.world.time.now

        def consume(here: Room = here, old: AccessKeyPair = old, every: int = minutes * 60_000) -> None:
            nonlocal called
            in_service(here)()
            now = here.world.time.now
            while called + every <= now:  # the hidden consumer, at its own times
                called += every
                here.world.time.now = called
                assert here.world.sign(old, source="10.7.7.7", agent="hidden"), f"every {every} ms: refused"
            here.world.time.now = now

        here.run(longest=2 * DAY, each=consume)
        assert old_status(here) is AccessKeyStatus.ACTIVE


def test_row_08_the_record_is_known_to_be_coarse_so_a_window_is_never_below_an_hour() -> None:
    # The sizes of the windows: test_usage.
    assert UsageHistory.of([(0, None)]).is_sparse


def test_row_09_where_refused_attempts_leave_no_trace_silence_proves_nothing_and_the_check_decides(
    tmp_path: Path,
) -> None:
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    here.run(longest=2 * HOUR, each=in_service(here))
    assert old_status(here) is AccessKeyStatus.INACTIVE
    assert not here.world.sign(old, source="10.7.7.7")
    here.world.time.pass_(HOUR)
    here.advance()
    assert old_status(here) is AccessKeyStatus.INACTIVE
    here.health = Health.BAD
    here.world.time.pass_(HOUR)
    here.advance()
    assert old_status(here) is AccessKeyStatus.ACTIVE


def test_row_09_a_check_without_a_result_or_a_record_without_an_answer_holds_the_deletion_back(
    tmp_path: Path,
) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    here.run(longest=2 * HOUR, each=in_service(here))
    here.health = Health.UNKNOWN
    assert here.run(longest=5 * DAY, each=in_service(here)).ended is Ended.ATTENTION
    here.health = Health.GOOD
    here.world.knows_consumers = False
    outcome = here.run(longest=5 * DAY, each=in_service(here))
    assert "whether anybody misses the old key is not known" in outcome.why
    assert not here.world.keys[0].is_deleted
    here.world.knows_consumers = True
    assert here.run(each=in_service(here)).ended is Ended.DONE


# 10: test_hidden_consumer


@pytest.mark.parametrize("traits", [LIKE_AWS, LIKE_OURS])
def test_row_11_a_consumer_that_nobody_knows_keeps_the_old_key_alive_and_is_named(
    tmp_path: Path, traits: EndpointTraits
) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=traits))
    here.world.knows_consumers = True
    old = here.world.keys[0].pair

    def consume() -> None:
        in_service(here)()
        assert here.world.sign(old, source="192.0.2.7", agent="legacy-batch")

    outcome = here.run(longest=30 * DAY, each=consume)
    assert old_status(here) is AccessKeyStatus.ACTIVE
    assert "192.0.2.7 legacy-batch" in outcome.why
    assert outcome.ended is Ended.ATTENTION, "after two weeks somebody is told"


# 12: clocks


class OffClock:
    """A local clock that is wrong by so much."""

    def __init__(self, time_: HeldTime, off: int) -> None:
        self.time, self.off = time_, off

    def now_ms(self) -> int:
        return self.time.now + self.off

    def monotonic(self) -> float:
        return self.time.monotonic()


@pytest.mark.parametrize("off", [-DAY, -600_000, 600_000, DAY])
def test_row_12_ages_and_waits_go_by_the_endpoint_s_clock(tmp_path: Path, off: int) -> None:
    here = begun(tmp_path)
    here.state.close()
    here.state = open_state(
        tmp_path / "state", tmp_path / "config", clock=OffClock(here.world.time, off), random_bytes=os.urandom
    )
    begin = here.world.time.now
    here.run(longest=TERMS.quiet - 20 * 60_000, each=in_service(here))
    assert old_status(here) is AccessKeyStatus.ACTIVE
    assert here.run(each=in_service(here)).ended is Ended.DONE
    assert here.world.time.now - begin >= TERMS.quiet + TERMS.keep_inactive


@pytest.mark.parametrize(("off", "is_blocked"), [(59_000, False), (61_000, True), (-61_000, True)])
def test_row_12_a_clock_that_is_off_by_more_than_a_minute_stops_the_plan(
    tmp_path: Path, off: int, *, is_blocked: bool
) -> None:
    here = room(tmp_path)
    here.world.clock_offset = off
    entry = planned(here)
    assert (entry.blocked is not None) == is_blocked


def planned(here: Room) -> Entry:
    sinks = {name: SinkEntry(name, "memory", {}, None, "") for name in here.sinks}
    configuration = Configuration(
        sinks=sinks, users={"ci": UserEntry("ci", tuple(sinks), TERMS)}, path="keyturn.toml"
    )
    planner = Planner(WorldEndpoint(here.world), configuration, here.sinks.__getitem__, lambda _key: ())
    return planner.plan_for("ci")


# 13, 14: an endpoint that holds back


def test_row_13_with_a_third_of_all_calls_throttled_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    for seed in range(8):
        here = begun(tmp_path / str(seed), World(HeldTime(), seed=seed))
        here.world.throttled = 0.3
        outcome = here.run(each=in_service(here))
        for _ in range(20):  # a stage that somebody was told of goes on by itself
            if outcome.ended is Ended.DONE:
                break
            here.world.time.pass_(HOUR)
            outcome = here.run(each=in_service(here))
        assert outcome.ended is Ended.DONE
        require_one_key_everywhere(here)
        assert [act for act, _ in here.world.acts].count("create") == 1


@pytest.mark.parametrize(
    "action",
    ["CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "ListAccessKeys", "GetAccessKeyLastUsed"],
)
def test_row_14_a_permission_that_is_missing_is_found_before_anything_is_made(
    tmp_path: Path, action: str
) -> None:
    here = room(tmp_path)
    here.world.denied = {f"iam:{action}"}
    blocked = planned(here).blocked
    assert blocked is not None
    assert action in blocked
    assert here.world.acts == []


# 15, 16: consumers that keep what they have read


def test_row_15_every_sink_s_consumers_are_told_and_adoption_waits_for_them(tmp_path: Path) -> None:
    # A living client that switches without a restart: sinks/switching_program.py; each kind of hook: test_sink_reload.
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    cached = [old]

    def consume() -> None:
        assert here.world.sign(cached[0])

    here.run(longest=3 * DAY, each=consume)
    assert all(sink.reloads == 1 for sink in here.sinks.values())
    assert old_status(here) is AccessKeyStatus.ACTIVE
    assert here.sinks["a"].value is not None
    cached[0] = here.sinks["a"].value
    assert here.run(each=consume).ended is Ended.DONE


def test_row_16_a_job_that_runs_for_six_hours_with_the_old_key_finishes_with_it(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old, ends = here.world.keys[0].pair, here.world.time.now + 6 * HOUR

    def consume() -> None:
        in_service(here)()
        if here.world.time.now < ends:
            assert here.world.sign(old, source="10.7.7.7", agent="ci-job")

    assert here.run(each=consume).ended is Ended.DONE


# 17: the rotator's own key


def test_row_17_a_plan_that_would_replace_the_signing_key_is_refused(tmp_path: Path) -> None:
    here = room(tmp_path)
    here.world.signer = here.world.keys[0].pair.access_key_id
    blocked = planned(here).blocked
    assert blocked is not None
    assert "signed with" in blocked


@pytest.mark.parametrize("is_back", [False, True])
def test_row_17_whichever_key_has_come_to_sign_the_calls_is_not_taken_away(
    tmp_path: Path, *, is_back: bool
) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000, each=in_service(here))
    key = here.world.keys[1 if is_back else 0]
    here.world.signer = key.pair.access_key_id
    if is_back:
        here.engine().wish("r1", roll_back=True)
    outcome = here.run(each=in_service(here))
    assert outcome.ended is Ended.ATTENTION
    assert key.status is AccessKeyStatus.ACTIVE
    here.world.signer = None
    assert here.run(each=in_service(here)).ended is (Ended.ROLLED_BACK if is_back else Ended.DONE)


# 18: two rotators


def two_rotators(home: Path, world: World) -> tuple[Room, Room]:
    """Two that know nothing of each other: each has a state directory of its own; the sinks are the same."""
    first = room(home / "first", world)
    second = Room(home / "second", world, first.sinks)
    for here in (first, second):
        here.begin(world.keys[0].pair.access_key_id, TERMS, rotation_id=f"r-{here.directory.name}")
    return first, second


@pytest.mark.parametrize("quota", [2, 8])
@pytest.mark.parametrize("knows_makers", [True, False])
def test_row_18_two_rotators_of_one_user_lose_nobody_a_key(
    tmp_path: Path, quota: int, *, knows_makers: bool
) -> None:
    for seed in range(6):
        world = World(HeldTime(), seed=seed)
        world.quota, world.knows_makers = quota, knows_makers
        first, second = two_rotators(tmp_path / str(seed), world)
        rooms = {"r-first": first, "r-second": second}
        ended: dict[str, Outcome] = {}
        for _ in range(3_000):
            name = world.random.choice([*rooms])
            here = rooms[name]
            here.boundary = dying_at(world.random.randrange(1, 15))
            try:
                ended[name] = here.advance(name)
            except Crash:
                continue
            world.time.pass_(world.random.choice([1, 5_000, HOUR]))
            in_service(here)()
            if len(ended) == 2 and all(each.progress.is_final for each in ended.values()):
                break
        in_service(first)()
        # With a racy quota each backs off from the other; with a strict one, who came second finds the old key gone.
        assert all(each.progress.is_final for each in ended.values()), [each.why for each in ended.values()]
        require_one_key_everywhere(first)


def test_row_18_a_key_that_appears_beside_ours_right_after_the_create_makes_ours_go(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.quota = 8
    here.advance()
    foreign = here.world.make(made_by="")
    outcome = here.run(each=in_service(here))
    assert outcome.ended is Ended.ROLLED_BACK
    assert any("another rotator" in line for line in here.events())
    assert {key.pair.access_key_id for key in here.world.living()} == {
        here.world.keys[0].pair.access_key_id,
        foreign.access_key_id,
    }
    assert all(sink.writes == 0 for sink in here.sinks.values())


def test_row_18_a_process_that_woke_after_others_changed_the_keys_does_not_act_on_what_it_saw(
    tmp_path: Path,
) -> None:
    here = begun(tmp_path)
    here.run(longest=2 * HOUR, each=in_service(here))
    here.world.time.pass_(3 * DAY)
    woken: list[str] = []

    def boundary(name: str) -> None:
        if name == "before:delete" and not woken:
            woken.append(name)
            here.world.keys[0].status = AccessKeyStatus.ACTIVE  # while this process was stopped

    here.boundary = boundary
    here.advance()
    assert woken
    assert not here.world.keys[0].is_deleted


# 19: deleted by hand


@pytest.mark.parametrize("what", ["old", "new", "user"])
@pytest.mark.parametrize("traits", [LIKE_AWS, LIKE_OURS])
def test_row_19_whatever_is_deleted_by_hand_half_way_the_rotation_ends_and_keeps_what_works(
    tmp_path: Path, what: str, traits: EndpointTraits
) -> None:
    for number, name in enumerate(boundaries_of(tmp_path / "whole", traits), 1):
        here = begun(tmp_path / f"{what}-{number}", World(HeldTime(), traits=traits))
        passed = 0

        def boundary(_name: str, here: Room = here, number: int = number) -> None:
            nonlocal passed
            passed += 1
            if passed == number:
                delete_by_hand(here, what)

        here.boundary = boundary
        outcome = here.run(each=lambda here=here: working(here))  # type: ignore[misc]
        assert outcome.progress.is_final, (name, outcome.why)
        if what == "user":
            assert outcome.ended in {Ended.ABORTED, Ended.DONE}
        elif living := here.world.living():
            (left,) = living
            assert left.status is AccessKeyStatus.ACTIVE, name
            assert (
                all(sink.value == left.pair for sink in here.sinks.values()) or outcome.ended is Ended.ABORTED
            )
        here.state.close()


def delete_by_hand(here: Room, what: str) -> None:
    if what == "user":
        here.world.users.clear()
        return
    index = 0 if what == "old" else 1
    if index < len(here.world.keys):
        here.world.keys[index].is_deleted = True


# 20: secrets


def test_row_20_no_file_of_the_state_holds_a_secret_at_any_step(tmp_path: Path) -> None:
    # Logs, arguments, environments and memory of processes: test_secrets_search.
    here = begun(tmp_path)
    looked = 0

    def look(_name: str) -> None:
        nonlocal looked
        written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        for key in here.world.keys:
            assert key.pair.secret.reveal() not in written
        looked += 1

    here.boundary = look
    assert here.run(each=in_service(here)).ended is Ended.DONE
    assert looked > 20


# 21, 22: how files are written is shown by test_sink_credentials_file and test_sink_dotenv.

# 23: too late


def test_row_23_a_rollback_that_comes_after_the_deletion_goes_on_to_the_new_key(tmp_path: Path) -> None:
    here = begun(tmp_path)

    def boundary(name: str) -> None:
        if name == "after:delete":
            raise Crash

    here.boundary = boundary
    with pytest.raises(Crash):
        here.run(each=in_service(here))
    here.boundary = lambda _name: None
    here.engine().wish("r1", roll_back=True)
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)
    with pytest.raises(KeyturnError, match="is over"):
        here.engine().wish("r1", roll_back=True)


def test_row_23_an_old_key_that_vanishes_on_the_way_back_turns_the_rotation_around(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000, each=in_service(here))
    here.engine().wish("r1", roll_back=True)
    here.sinks["b"].failures = [unavailable()] * 2
    here.advance()
    assert here.sinks["a"].value == here.world.keys[0].pair
    here.world.keys[0].is_deleted = True
    assert here.run(each=lambda: working(here)).ended is Ended.DONE
    require_one_key_everywhere(here)


def test_row_23_nothing_is_deleted_in_the_first_run_unless_that_was_allowed(tmp_path: Path) -> None:
    assert not Terms().may_delete
    assert Terms().keep_inactive == 35 * DAY
    here = begun(tmp_path, terms=replace(TERMS, may_delete=False))
    assert here.run(each=in_service(here)).ended is Ended.ATTENTION
    assert not here.world.keys[0].is_deleted


# 24: the way back is cut off


def test_row_24_a_re_activation_that_finds_the_key_deleted_says_so(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=2 * HOUR, each=in_service(here))
    here.health = Health.BAD

    def boundary(name: str) -> None:
        if name == "before:reactivate":
            here.world.keys[0].is_deleted = True

    here.boundary = boundary
    here.world.time.pass_(HOUR)
    here.advance()
    outcome = here.run(each=in_service(here))
    assert outcome.ended is Ended.DONE
    assert any("reactivate" in line and "left undone" in line for line in here.events())
    require_one_key_everywhere(here)


def test_row_24_a_re_activation_that_is_refused_asks_for_somebody(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=2 * HOUR, each=in_service(here))
    here.health = Health.BAD
    here.world.fail_next["set_status"] = [EndpointUnavailableError("Rate exceeded")] * 2
    here.world.time.pass_(HOUR)
    here.run(longest=60_000)
    assert old_status(here) is AccessKeyStatus.ACTIVE, "it was asked again, within seconds"


# 25: the record is lost


@pytest.mark.parametrize("stage", [Stage.PROVE, Stage.ADOPT, Stage.WATCH])
def test_row_25_a_lost_record_leads_to_no_guess_and_the_world_is_enough_to_take_it_up_again(
    tmp_path: Path, stage: Stage
) -> None:
    here = begun(tmp_path / "lost")
    for _ in range(50):
        outcome = here.advance()
        if outcome.progress.stage is stage:
            break
        here.world.time.now = outcome.progress.next_at
        in_service(here)()
    old, new = (key.pair.access_key_id for key in here.world.keys)
    here.state.close()
    anew = Room(tmp_path / "new", here.world, here.sinks)
    assert planned(anew).blocked is not None, "with two keys, nothing is done unasked"
    assert len(here.world.living()) == 2
    if stage is Stage.PROVE:
        return  # nobody holds the new key: it is for the operator to delete it
    with anew.state.database.writing() as ledger:
        now = here.world.time.now
        sinks = tuple(SinkProgress(name) for name in here.sinks)
        started = Progress("r1", ACCOUNT, "ci", old, now, TERMS, stage_since=now, sinks=sinks)
        journal.add(ledger, adopted(started, new), endpoint="", region="", profile="")
    assert anew.run(each=in_service(anew)).ended is Ended.DONE
    require_one_key_everywhere(anew)


def test_row_25_a_record_restored_from_a_backup_follows_the_world(tmp_path: Path) -> None:
    here = begun(tmp_path)
    progress = here.progress()
    saved = [progress]
    while not progress.is_final:
        outcome = here.advance()
        progress = outcome.progress
        saved.append(progress)
        here.world.time.now = max(here.world.time.now + 1, progress.next_at)
        in_service(here)()
        if progress.stage is Stage.WATCH:
            break
    # The journal as it was when the sinks had just been written.
    back = next(each for each in saved if each.stage is Stage.ADOPT)
    with here.state.database.writing() as ledger:
        found = journal.by_id(ledger, "r1")
        assert found is not None
        journal.keep(ledger, found, back)
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)


# 26: upgrades

OLDEST: Final = Path(__file__).parent / "progress_of_version_1.json"


def test_row_26_what_the_first_version_wrote_is_carried_to_its_end(tmp_path: Path) -> None:
    here = room(tmp_path)
    old = here.world.keys[0].pair
    new = here.world.make(made_by="r1")
    here.sinks["a"].value = here.sinks["b"].value = new
    text = OLDEST.read_text()
    text = text.replace("AKIAIOSFODNN7EXAMPLE", old.access_key_id).replace(
        "AKIAI44QH8DHBEXAMPLE", new.access_key_id
    )
    progress = from_json(text)
    assert progress.stage is Stage.ADOPT
    with here.state.database.writing() as ledger:
        journal.add(ledger, progress, endpoint="", region="", profile="")
    assert here.run(each=in_service(here)).ended is Ended.DONE
    require_one_key_everywhere(here)


def test_row_26_a_field_that_a_newer_program_adds_later_does_not_break_an_old_journal(tmp_path: Path) -> None:
    here = begun(tmp_path)
    written = json.loads(as_json(here.progress()))
    for name in ("old_active_since", "orphan_since"):
        del written[name]
    for sink in written["sinks"]:
        del sink["was_out"]
    assert from_json(json.dumps(written)) == here.progress()
    with pytest.raises(KeyturnError, match="newer version"):
        from_json(json.dumps(written | {"schema_version": 2}))


# 27: a leak that is answered while its rotation runs


def test_row_27_a_key_under_an_open_incident_is_never_activated_again(tmp_path: Path) -> None:
    # The response itself is the leak room's; here the rotation must not undo it.
    here = begun(tmp_path)
    here.run(longest=2 * HOUR, each=in_service(here))
    here.world.incident = True
    here.health = Health.BAD
    here.world.keys[1].is_deleted = True  # the sweep has removed the new key as well
    here.world.time.pass_(HOUR)
    here.run(longest=3 * DAY)
    assert old_status(here) is AccessKeyStatus.INACTIVE
    here.engine().wish("r1", roll_back=True)
    assert here.run(longest=3 * DAY).ended is Ended.ATTENTION
    assert old_status(here) is AccessKeyStatus.INACTIVE


# 28-30


def test_row_28_a_key_that_was_never_seen_in_use_is_not_unused() -> None:
    young = UserKey(SECOND_KEY, AccessKeyStatus.INACTIVE, NOW - DAY)
    used = UserKey(FIRST, AccessKeyStatus.ACTIVE, NOW - 200 * DAY)
    uses: dict[AccessKeyId, LastUse] = {FIRST: USES["now"], SECOND_KEY: NeverSeen()}
    found = choose("ci", [used, young], uses, {}, NOW, free_slot=SECOND_KEY)
    assert isinstance(found, NeedsWord)
    assert "may still be missed" in found.why


def test_row_29_ages_and_windows_are_in_utc_wherever_the_machine_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monday_noon = 1_800_273_600_000  # 2027-01-18T12:00:00Z
    schedule = Schedule(windows=(Window((0,), 11 * 60, 13 * 60),))
    try:
        for zone in ("US/Eastern", "Asia/Kolkata", "UTC"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert iso8601(monday_noon) == "2027-01-18T12:00:00Z"
            assert is_open(schedule, monday_noon)
            assert not is_open(schedule, monday_noon + 2 * HOUR)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_row_30_a_consumer_is_known_by_its_source_and_agent_wherever_it_calls(tmp_path: Path) -> None:
    # An S3 client may be reported in us-east-1 whichever bucket it calls. Partitions: test_iam_endpoint.
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    old = here.world.keys[0].pair
    here.world.sign(old, source="10.7.7.7", agent="cron", service="s3")
    here.run(longest=2 * HOUR, each=in_service(here))
    here.world.sign(old, source="10.7.7.7", agent="cron", service="dynamodb")
    here.world.time.pass_(HOUR)
    here.advance()
    assert old_status(here) is AccessKeyStatus.ACTIVE
