"""Many rotations: what is due is carried on, in parallel and within the account's rate; what is old is begun.

One `tick` does what is due now and returns, for cron or a timer; the loop of a server calls it again and again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyStatus
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.rotation.configuration import Schedule
from keyturn.rotation.endpoint import EndpointError, NeverSeen, Unknown, Used, UserKey
from keyturn.rotation.engine import Ended
from keyturn.rotation.notifications import NotToldError, tell
from keyturn.rotation.reports import KeyFacts
from keyturn.rotation.room import Room
from keyturn.rotation.state import LockedByAnotherError
from keyturn.rotation.storage import journal, notices
from keyturn.rotation.unused import Done, keep_policy

_log = logging.getLogger("keyturn.rotation")
_BATCH: Final = 500
_LONGEST_PAUSE: Final = 5.0
_SHORTEST_PAUSE: Final = 0.2
"""Seconds between two ticks of the loop."""
_SAMPLE_EVERY: Final = 24 * 3600 * 1000
_LOOK_EVERY: Final = 3600 * 1000
"""How often all keys are looked at for use. Milliseconds."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick did."""

    advanced: int = 0
    begun: tuple[str, ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()
    """(user, why) of those that are due and could not be begun."""
    failed: tuple[tuple[str, str], ...] = ()
    """(rotation, why) of those whose round ended with an error: they are tried again."""
    need_somebody: int = 0
    noticed: tuple[str, ...] = ()
    """Unused keys of which somebody is told now."""
    deactivated: tuple[str, ...] = ()
    """Unused keys whose notice is over."""
    next_at: int | None = None
    is_told: bool = True


def tick(room: Room, reach: Reach | None, *, parallel: int = 8) -> Tick:
    """Carry on what is due, and, where there is a schedule and a `reach`, begin what is old enough."""
    begun: tuple[str, ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()
    if reach is not None and room.configuration.schedule.every is not None:
        begun, blocked = begin_due(room, reach)
    unused = Done()
    chores: tuple[tuple[str, str], ...] = ()
    if reach is not None:
        unused, chores = do_chores(room, reach)
    now = room.state.clock.now_ms()
    with room.state.database.reading() as ledger:
        due = journal.due(ledger, now + 1, _BATCH)
    ended, failed = advance_all(room, due, parallel=parallel)
    is_told = True
    try:
        tell(room.state, room.configuration.notify, room.environment)
    except NotToldError as error:
        _log.warning("a notification waits: %s", error)
        is_told = False
    with room.state.database.reading() as ledger:
        next_at = journal.next_due(ledger)
    return Tick(
        advanced=len(ended),
        begun=begun,
        blocked=blocked,
        failed=(*failed, *chores, *unused.failed),
        need_somebody=sum(each is Ended.ATTENTION for each in ended),
        noticed=unused.noticed,
        deactivated=unused.deactivated,
        next_at=next_at,
        is_told=is_told,
    )


def do_chores(room: Room, reach: Reach) -> tuple[Done, tuple[tuple[str, str], ...]]:
    """What is due once a day or an hour: noting uses, and the policy for unused keys; (what it did, what failed).

    When it was done last stands in the state file: a tick from cron knows nothing of the one before.
    """
    schedule, endpoint = room.configuration.schedule, room.endpoint(reach)
    if not (room.configuration.users or schedule.users or schedule.unused_after):
        return Done(), ()
    done, failed = Done(), []
    for name, every in (("samples", _SAMPLE_EVERY), ("unused", _LOOK_EVERY)):
        if name == "unused" and schedule.unused_after is None:
            continue
        try:
            account, now = endpoint.identity().account_id, endpoint.now_ms()
            with room.state.database.reading() as ledger:
                if now - notices.done_at(ledger, account, name) < min(every, schedule.unused_after or every):
                    continue
            if name == "samples":
                sample_uses(room, reach)
            else:
                done = keep_policy(room.state, endpoint, room.configuration)
            with room.state.database.writing() as ledger:
                notices.mark_done(ledger, account, name, now)
        except (KeyturnError, EndpointError, StoreUnavailableError, OSError) as error:
            _log.warning("%s: %s", name, error)
            failed.append((name, str(error)))
    return done, tuple(failed)


def advance_all(
    room: Room,
    rotation_ids: Sequence[str],
    *,
    parallel: int = 8,
    told: Callable[[str, Ended], None] | None = None,
) -> tuple[list[Ended], tuple[tuple[str, str], ...]]:
    """Advance each once; (how they ended, those that failed). One that fails does not stop the others."""

    def one(rotation_id: str) -> Ended | tuple[str, str] | None:
        try:
            with room.state.database.reading() as ledger:
                rotation = journal.by_id(ledger, rotation_id)
            if rotation is None:
                return None
            ended = room.advance(rotation).ended
        except LockedByAnotherError:
            return None  # it is being advanced: that is all we want
        except (KeyturnError, EndpointError, StoreUnavailableError, OSError) as error:
            _log.warning("rotation %s: %s", rotation_id, error)
            return rotation_id, str(error)
        if told is not None:
            told(rotation_id, ended)
        return ended

    with ThreadPoolExecutor(max_workers=max(1, min(parallel, len(rotation_ids) or 1))) as pool:
        results = list(pool.map(one, rotation_ids))
    ended = [each for each in results if isinstance(each, Ended)]
    return ended, tuple(each for each in results if isinstance(each, tuple))


def begin_due(room: Room, reach: Reach) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Begin rotations of keys that are older than the schedule allows, in its windows and up to its limit."""
    schedule = room.configuration.schedule
    endpoint = room.endpoint(reach)
    now = endpoint.now_ms()
    assert schedule.every is not None
    if not is_open(schedule, now):
        return (), ()
    with room.state.database.reading() as ledger:
        under_way = journal.open_ones(ledger)
    room_for = schedule.max_parallel - len(under_way)
    busy = {rotation.progress.user_name for rotation in under_way}
    begun: list[str] = []
    blocked: list[tuple[str, str]] = []
    for user in schedule.users or tuple(room.configuration.users):
        if room_for <= 0:
            break
        if user in busy:
            continue
        try:
            keys = endpoint.keys(user)
            old = [
                key
                for key in keys
                if key.status is AccessKeyStatus.ACTIVE
                and now - key.created_at > schedule.every
                and not _is_exempt(room, user, key, now)
            ]
            if not old:
                continue
            plan = room.plan([user], reach)
            entry = plan.entries[0]
            if entry.blocked is not None:
                blocked.append((user, entry.blocked))
                continue
            begun.append(room.begin(plan, entry))
        except (KeyturnError, EndpointError) as error:
            blocked.append((user, str(error)))
            continue
        room_for -= 1
    return tuple(begun), tuple(blocked)


def _is_exempt(room: Room, user: str, key: UserKey, now: int) -> bool:
    facts = KeyFacts(user, key, NeverSeen())
    return any(each.covers(facts, now) for each in room.configuration.exemptions)


def is_open(schedule: Schedule, now: int) -> bool:
    """Whether rotations may begin now. Without windows: always."""
    if not schedule.windows:
        return True
    at = datetime.fromtimestamp(now / 1000, UTC)
    minute = at.hour * 60 + at.minute
    return any(at.weekday() in each.days and each.begins <= minute < each.ends for each in schedule.windows)


def sample_uses(room: Room, reach: Reach) -> int:
    """Note each key's last use, once a day: from this the quiet windows of later rotations are sized."""
    endpoint = room.endpoint(reach)
    now = endpoint.now_ms() // _SAMPLE_EVERY * _SAMPLE_EVERY
    taken = 0
    for user in room.configuration.schedule.users or tuple(room.configuration.users):
        for key in endpoint.keys(user):
            use = endpoint.last_use(key.access_key_id)
            if isinstance(use, Unknown):
                continue
            with room.state.database.writing() as ledger:
                journal.add_sample(ledger, key.access_key_id, now, use.at if isinstance(use, Used) else None)
            taken += 1
    return taken


def older_than(room: Room, reach: Reach, age: int, users: Sequence[str] | None = None) -> list[str]:
    """The users with an active key older than `age` milliseconds."""
    endpoint = room.endpoint(reach)
    now = endpoint.now_ms()
    return [
        user
        for user in (endpoint.users() if users is None else users)
        if any(
            key.status is AccessKeyStatus.ACTIVE and now - key.created_at > age for key in endpoint.keys(user)
        )
    ]


def keep_ticking(room: Room, reach: Reach | None, stop: threading.Event) -> None:
    """The loop of a server: a tick whenever something is due, until `stop` is set. What fails is tried again."""
    while True:
        pause = _LONGEST_PAUSE
        try:
            done = tick(room, reach)
            now = room.state.clock.now_ms()
            if done.next_at is not None and not done.failed:
                pause = min(pause, max(_SHORTEST_PAUSE, (done.next_at - now) / 1000))
        except (KeyturnError, EndpointError, StoreUnavailableError, OSError) as error:
            _log.warning("rotations wait: %s", error)
        if stop.wait(pause):
            return
