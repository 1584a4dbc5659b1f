"""Keys that nobody uses: told of, then deactivated, and left alone whenever there is a doubt. On held time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyPair, AccessKeyStatus
from keyturn.rotation.configuration import Configuration, Schedule, UserEntry
from keyturn.rotation.endpoint import EndpointUnavailableError
from keyturn.rotation.fleet import Tick, tick
from keyturn.rotation.iam_endpoint import IamEndpoint
from keyturn.rotation.progress import Progress, Terms
from keyturn.rotation.reports import Exemption
from keyturn.rotation.room import Room, Where
from keyturn.rotation.storage import journal, notices
from rotation.rotation_world import ACCOUNT, DAY, HOUR, LIKE_OURS, HeldTime, World, WorldEndpoint

NOWHERE = Reach()
KEPT = Schedule(unused_after=45 * DAY, notice=10 * DAY)


class MadeUpRoom(Room):
    """A room whose endpoint is the made-up world."""

    def __init__(self, directory: Path, world: World, configuration: Configuration) -> None:
        super().__init__(
            Where(directory / "state", directory / "config"), configuration, environment={}, clock=world.time
        )
        self.world = world

    def endpoint(self, reach: Reach) -> IamEndpoint:
        del reach
        return cast("IamEndpoint", WorldEndpoint(self.world))

    def pass_days(self, days: float, *, each_hour: Callable[[], object] = lambda: None) -> list[Tick]:
        """A tick an hour at the end, as a timer would have it; before, now and then."""
        ticks = []
        hours = int(days * 24)
        steps = [12] * (max(0, hours - 24) // 12)
        for step in [*steps, *[1] * (hours - sum(steps))]:
            self.world.time.pass_(step * HOUR)
            each_hour()
            ticks.append(tick(self, NOWHERE))
        return ticks

    def record(self, pair: AccessKeyPair) -> list[str]:
        with self.state.database.reading() as ledger:
            return [event.kind for event in notices.events_of(ledger, pair.access_key_id)]


@pytest.fixture
def world() -> World:
    return World(HeldTime(), traits=LIKE_OURS)


def room_of(directory: Path, world: World, **changes: object) -> MadeUpRoom:
    return MadeUpRoom(directory, world, replace(Configuration(schedule=KEPT), **changes))  # type: ignore[arg-type]  # a test's own fields


def status(world: World, pair: AccessKeyPair) -> AccessKeyStatus:
    return world.key(pair.access_key_id).status


def test_a_key_that_nobody_uses_is_told_of_and_deactivated_after_the_notice(
    tmp_path: Path, world: World
) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(34.9)
        assert room.record(pair) == []
        (noticed,) = [each for each in room.pass_days(0.3) if each.noticed]
        assert noticed.noticed == (pair.access_key_id,)
        room.pass_days(9.5)
        assert status(world, pair) is AccessKeyStatus.ACTIVE
        (done,) = [each for each in room.pass_days(1) if each.deactivated]
        assert done.deactivated == (pair.access_key_id,)
        assert status(world, pair) is AccessKeyStatus.INACTIVE
        assert room.record(pair) == ["unused", "deactivating", "deactivated"]
        room.pass_days(60)
        assert room.record(pair) == ["unused", "deactivating", "deactivated"]
        assert not world.key(pair.access_key_id).is_deleted


def test_a_key_that_is_used_again_loses_its_notice_and_starts_anew(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(40)
        world.sign(pair)
        room.pass_days(30)
        assert room.record(pair) == ["unused", "used-again"]
        assert status(world, pair) is AccessKeyStatus.ACTIVE
        room.pass_days(6)
        assert room.record(pair) == ["unused", "used-again", "unused"]


def test_a_policy_that_begins_late_still_gives_the_whole_notice(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.sign(pair)
    world.time.pass_(400 * DAY)
    with room_of(tmp_path, world) as room:
        room.pass_days(0.1)
        assert room.record(pair) == ["unused"]
        room.pass_days(9.9)
        assert status(world, pair) is AccessKeyStatus.ACTIVE
        room.pass_days(0.3)
        assert status(world, pair) is AccessKeyStatus.INACTIVE


def test_the_key_that_signs_is_never_deactivated(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.signer = pair.access_key_id
    with room_of(tmp_path, world) as room:
        room.pass_days(100)
        assert room.record(pair) == []
        assert status(world, pair) is AccessKeyStatus.ACTIVE


def test_a_key_whose_last_use_is_unknown_is_left_alone_and_its_notice_stands(
    tmp_path: Path, world: World
) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(36)
        world.last_use_problem = "throttled"
        room.pass_days(60)
        assert status(world, pair) is AccessKeyStatus.ACTIVE
        assert room.record(pair) == ["unused"]
        world.last_use_problem = None
        room.pass_days(0.1)
        assert status(world, pair) is AccessKeyStatus.INACTIVE


@pytest.mark.parametrize("by_key", [True, False])
def test_an_exemption_holds_until_its_day(tmp_path: Path, world: World, by_key: bool) -> None:  # noqa: FBT001 - a parameter of the test
    pair = world.make()
    until = world.time.now + 80 * DAY
    exemption = (
        Exemption("ana", until, access_key_id=pair.access_key_id)
        if by_key
        else Exemption("ana", until, user_name="ci")
    )
    with room_of(tmp_path, world, exemptions=(exemption,)) as room:
        room.pass_days(79)
        assert room.record(pair) == []
        room.pass_days(12)
        assert status(world, pair) is AccessKeyStatus.INACTIVE


def test_a_key_of_a_rotation_under_way_is_left_to_it(tmp_path: Path, world: World) -> None:
    pair = world.make()
    progress = Progress("r1", ACCOUNT, "ci", pair.access_key_id, world.time.now, Terms())
    with room_of(tmp_path, world) as room:
        with room.state.database.writing() as ledger:
            far = replace(progress, next_at=world.time.now + 400 * DAY)
            journal.add(ledger, far, endpoint="", region="", profile="")
        room.pass_days(80)
        assert room.record(pair) == []
        assert status(world, pair) is AccessKeyStatus.ACTIVE


def test_a_key_that_is_used_between_the_decision_and_the_act_stays(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(44.9)
        user_lock = type(room.state).user_lock
        locked = []

        def used_meanwhile(*arguments: object) -> object:
            locked.append(world.sign(pair))
            return user_lock(*arguments)  # type: ignore[arg-type]  # handed on as they came

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(room.state), "user_lock", used_meanwhile)
            room.pass_days(0.3)
        assert locked
        assert status(world, pair) is AccessKeyStatus.ACTIVE
        assert "deactivating" not in room.record(pair)


def test_a_crash_after_the_deactivation_is_made_good_by_the_next_look(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(44.9)
        world.cut_next.add("set_status")
        ticks = room.pass_days(0.3)
        assert any(failed for each in ticks for failed in each.failed)
        assert status(world, pair) is AccessKeyStatus.INACTIVE
        room.pass_days(0.1)
        assert room.record(pair) == ["unused", "deactivating", "deactivated"]


def test_a_deactivation_that_fails_is_tried_again(tmp_path: Path, world: World) -> None:
    pair = world.make()
    world.sign(pair)
    with room_of(tmp_path, world) as room:
        room.pass_days(44.9)
        world.fail_next["set_status"] = [EndpointUnavailableError("no answer")]
        room.pass_days(0.4)
        assert status(world, pair) is AccessKeyStatus.INACTIVE


def test_only_the_users_that_the_schedule_names_are_looked_at(tmp_path: Path, world: World) -> None:
    world.users.add("other")
    mine, others = world.make(), world.make("other")
    with room_of(tmp_path, world, schedule=replace(KEPT, users=("ci",))) as room:
        room.pass_days(80)
        assert status(world, mine) is AccessKeyStatus.INACTIVE
        assert status(world, others) is AccessKeyStatus.ACTIVE


def test_a_time_below_a_day_is_refused_where_uses_are_booked_late(tmp_path: Path) -> None:
    world = World(HeldTime())
    pair = world.make()
    short = Schedule(unused_after=12 * HOUR, notice=HOUR)
    with room_of(tmp_path, world, schedule=short) as room:
        ticks = room.pass_days(3)
        assert {name for each in ticks for name, _why in each.failed} == {"unused"}
        assert status(world, pair) is AccessKeyStatus.ACTIVE


def test_uses_are_noted_once_a_day_by_ticks_too(tmp_path: Path, world: World) -> None:
    pair = world.make()
    users = {"ci": UserEntry("ci", (), Terms())}
    with room_of(tmp_path, world, schedule=Schedule(), users=users) as room:
        room.pass_days(5, each_hour=lambda: world.sign(pair))
        with room.state.database.reading() as ledger:
            assert len(journal.samples(ledger, pair.access_key_id)) in {5, 6}
