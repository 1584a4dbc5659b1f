"""A rotation from its first step to its last, and what happens when something comes between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keyturn.model.access_keys import AccessKeyStatus
from keyturn.rotation.endpoint import EndpointUnavailableError, LiveSession
from keyturn.rotation.engine import Ended
from keyturn.rotation.plan import Health
from keyturn.rotation.progress import Stage, Terms
from keyturn.rotation.sinks.interface import SinkRefusedError
from keyturn.rotation.state import LockedByAnotherError
from rotation.rotation_room import Room, room
from rotation.rotation_world import ACCOUNT, DAY, HOUR, LIKE_OURS, HeldTime, World, unavailable

TERMS = Terms(may_delete=True, poll=10 * 60_000, watch_every=HOUR, keep_inactive=2 * DAY)


def begun(home: Path, world: World | None = None, terms: Terms = TERMS) -> Room:
    here = room(home, world)
    here.begin(here.world.keys[0].pair.access_key_id, terms)
    return here


def is_active(here: Room) -> bool:
    """Whether the old key is."""
    return here.world.keys[0].status is AccessKeyStatus.ACTIVE


def working(here: Room) -> list[bool]:
    """Every consumer signs with what its sink holds; what each was answered."""
    return [
        here.world.sign(sink.value, source=f"10.0.0.{number}")
        for number, sink in enumerate(here.sinks.values())
        if sink.value
    ]


def test_a_rotation_replaces_the_key_in_every_sink_and_ends_with_one_key(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    served: list[bool] = []
    outcome = here.run(each=lambda: served.extend(working(here)))
    assert outcome.ended is Ended.DONE
    assert all(served)
    (left,) = here.world.living()
    assert left.pair.access_key_id != old.access_key_id
    assert {sink.value.access_key_id for sink in here.sinks.values() if sink.value} == {
        left.pair.access_key_id
    }
    assert [act for act, _ in here.world.acts] == ["create", "Inactive", "delete"]
    assert all(sink.reloads == 1 for sink in here.sinks.values())


def test_nothing_sealed_is_left_when_it_is_over(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(each=lambda: working(here))
    with here.state.database.reading() as ledger:
        assert ledger.rows("SELECT holder FROM sealed_pairs") == []


def test_the_new_secret_is_erased_when_the_last_sink_has_confirmed(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000)
    assert here.progress().stage is Stage.ADOPT
    with here.state.database.reading() as ledger:
        assert {row[0] for row in ledger.rows("SELECT holder FROM sealed_pairs")} == {"a", "b"}


def test_the_old_key_stays_while_anybody_uses_it(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    here.run(longest=DAY, each=lambda: (working(here), here.world.sign(old, source="10.7.7.7")))
    assert is_active(here)
    assert here.progress().stage is Stage.ADOPT


def test_it_waits_for_somebody_to_sign_with_the_new_key(tmp_path: Path) -> None:
    here = begun(tmp_path)
    outcome = here.run(longest=DAY)
    assert outcome.progress.stage is Stage.ADOPT
    assert "nobody has been seen signing with the new key" in outcome.why


def test_what_is_not_known_blocks(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000)
    here.world.last_use_problem = "Rate exceeded"
    outcome = here.run(longest=DAY, each=lambda: working(here))
    assert outcome.progress.stage is Stage.ADOPT
    assert "Rate exceeded" in outcome.why


def test_a_sink_that_fails_blocks_the_deactivation_and_not_the_other_sinks(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.sinks["a"].failures = [unavailable()] * 1000
    outcome = here.run(longest=2 * DAY)
    assert outcome.ended is Ended.ATTENTION
    assert "sinks 1/2" in outcome.why
    new = here.progress().new_key
    assert here.sinks["b"].value is not None
    assert here.sinks["b"].value.access_key_id == new
    assert all(key.status is AccessKeyStatus.ACTIVE for key in here.world.living())


def test_a_sink_that_comes_back_is_written_and_the_rotation_goes_on(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.sinks["a"].failures = [unavailable(), unavailable()]
    here.sinks["b"].loses_writes = 1
    assert here.run(each=lambda: working(here)).ended is Ended.DONE


def test_a_sink_that_refuses_asks_for_somebody_at_once(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.sinks["a"].failures = [SinkRefusedError("no permission to write")]
    outcome = here.run()
    assert outcome.ended is Ended.ATTENTION
    assert "no permission to write" in outcome.why


def test_a_known_consumer_that_misses_the_old_key_brings_it_back_once(tmp_path: Path) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    old = here.world.keys[0].pair
    here.world.sign(old, source="10.7.7.7", agent="cron")
    here.run(longest=2 * HOUR, each=lambda: working(here))
    assert not is_active(here)
    assert not here.world.sign(old, source="10.7.7.7", agent="cron")
    here.world.time.pass_(60_000)
    here.advance()
    assert is_active(here)
    here.run(longest=3 * HOUR, each=lambda: working(here))
    assert not is_active(here)
    assert not here.world.sign(old, source="10.7.7.7", agent="cron")
    here.world.time.pass_(60_000)
    assert here.advance().ended is Ended.ATTENTION
    assert not is_active(here)


@pytest.mark.parametrize(("source", "agent"), [("203.0.113.5", "app"), ("10.7.7.7", "curl")])
def test_a_thief_with_the_secret_does_not_bring_the_key_back(tmp_path: Path, source: str, agent: str) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    old = here.world.keys[0].pair
    here.world.sign(old, source="10.7.7.7", agent="cron")
    here.run(longest=2 * HOUR, each=lambda: working(here))
    assert not here.world.sign(old, source=source, agent=agent)
    here.world.time.pass_(60_000)
    outcome = here.advance()
    assert not is_active(here)
    assert outcome.progress.attention is not None
    assert source in outcome.progress.attention


def test_a_failing_health_check_brings_the_key_back_and_an_open_incident_forbids_it(tmp_path: Path) -> None:
    for incident, expected in (
        (False, AccessKeyStatus.ACTIVE),
        (True, AccessKeyStatus.INACTIVE),
        (None, AccessKeyStatus.INACTIVE),
    ):
        here = begun(tmp_path / str(incident))
        here.run(longest=2 * HOUR, each=lambda here=here: working(here))  # type: ignore[misc]
        assert not is_active(here)
        here.health, here.world.incident = Health.BAD, incident
        here.world.time.pass_(60_000)
        here.advance()
        assert here.world.keys[0].status is expected


def test_a_session_of_the_old_key_holds_the_deactivation_back_where_it_would_end_it(tmp_path: Path) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    until = here.world.time.now + 12 * HOUR
    here.world.keys[0].sessions.append(LiveSession("arn:aws:sts::123456789012:assumed-role/r/s", until))
    here.run(longest=11 * HOUR, each=lambda: working(here))
    assert is_active(here)
    here.run(longest=2 * HOUR, each=lambda: working(here))
    assert not is_active(here)


def test_deletion_asks_unless_it_was_allowed(tmp_path: Path) -> None:
    here = begun(tmp_path, terms=replace(TERMS, may_delete=False))
    outcome = here.run(each=lambda: working(here))
    assert outcome.ended is Ended.ATTENTION
    assert outcome.progress.attention is not None
    assert "--allow-delete" in outcome.progress.attention
    assert not is_active(here)
    assert not here.world.keys[0].is_deleted


def test_a_sink_that_somebody_set_back_stops_the_deactivation(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    here.run(longest=60_000)
    here.sinks["a"].value = old
    outcome = here.run(longest=2 * DAY, each=lambda: here.world.sign(here.world.keys[1].pair))
    assert outcome.ended is Ended.ATTENTION
    assert "somebody else has written it" in outcome.why
    assert is_active(here)


def test_the_key_that_signs_the_control_calls_is_never_deactivated(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.signer = here.world.keys[0].pair.access_key_id
    outcome = here.run(each=lambda: working(here))
    assert outcome.ended is Ended.ATTENTION
    assert is_active(here)


def test_a_create_whose_answer_was_cut_leaves_one_key_with_a_known_secret(tmp_path: Path) -> None:
    for name, traits in (("ours", LIKE_OURS), ("aws", World(HeldTime()).traits)):
        here = begun(tmp_path / name, World(HeldTime(), traits=traits))
        here.world.cut_next.add("create")
        assert here.run(each=lambda here=here: working(here)).ended is Ended.DONE  # type: ignore[misc]
        (left,) = here.world.living()
        assert all(
            sink.value is not None and sink.value.fingerprint == left.pair.fingerprint
            for sink in here.sinks.values()
        )


def test_an_orphan_whose_maker_is_unknown_is_watched_then_deactivated_then_deleted(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.knows_makers = False
    here.world.cut_next.add("create")
    begin = here.world.time.now
    here.run(longest=14 * 60_000)
    assert len(here.world.living()) == 2
    assert here.run(each=lambda: working(here)).ended is Ended.DONE
    acts = [act for act, _ in here.world.acts]
    assert acts == ["create", "Inactive", "delete", "create", "Inactive", "delete"]
    assert here.world.keys[2].created_at >= begin + 30 * 60_000


def test_a_key_that_somebody_else_made_meanwhile_is_never_touched(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.fail_next["create"] = [EndpointUnavailableError("no answer")]
    here.advance()
    foreign = here.world.make(made_by="")
    outcome = here.run(longest=2 * HOUR)
    assert outcome.ended is Ended.ATTENTION
    assert here.world.key(foreign.access_key_id).status is AccessKeyStatus.ACTIVE


def test_a_rollback_leaves_everything_as_it_was(tmp_path: Path) -> None:
    here = begun(tmp_path)
    old = here.world.keys[0].pair
    here.run(longest=2 * HOUR, each=lambda: working(here))
    assert here.progress().stage is Stage.WATCH
    here.engine().wish("r1", roll_back=True)
    served: list[bool] = []
    assert here.run(each=lambda: served.extend(working(here))).ended is Ended.ROLLED_BACK
    assert all(served)
    (left,) = here.world.living()
    assert left.pair.access_key_id == old.access_key_id
    assert left.status is AccessKeyStatus.ACTIVE
    assert all(sink.value == old for sink in here.sinks.values())


def test_a_new_key_that_somebody_deleted_sends_everything_back(tmp_path: Path) -> None:
    here = begun(tmp_path, World(HeldTime(), traits=LIKE_OURS))
    here.run(longest=60_000)
    here.world.keys[1].is_deleted = True
    assert here.run(each=lambda: working(here)).ended is Ended.ROLLED_BACK
    assert all(sink.value == here.world.keys[0].pair for sink in here.sinks.values())


def test_an_old_key_that_is_gone_before_anything_was_done_ends_it(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.world.keys[0].is_deleted = True
    assert here.advance().ended is Ended.ABORTED
    assert here.world.acts == []


def test_only_one_process_is_at_a_user_at_a_time(tmp_path: Path) -> None:
    here = begun(tmp_path)
    with here.state.user_lock(ACCOUNT, "ci"), pytest.raises(LockedByAnotherError):
        here.advance()
    assert here.world.acts == []


def test_a_paused_rotation_does_nothing(tmp_path: Path) -> None:
    here = begun(tmp_path)
    here.run(longest=60_000)
    here.engine().wish("r1", pause=True)
    here.run(longest=DAY, each=lambda: working(here))
    assert here.progress().stage is Stage.ADOPT
    here.engine().wish("r1")
    assert here.run(each=lambda: working(here)).ended is Ended.DONE
