"""The room, opened: its state file, the endpoints it talks to, the sinks of the configuration, the engine over them.

A rotation carries where its endpoint is, so that a command and a server's loop find the same one. Everything here
only plugs together; what is done next stands in `plan`, and how in `engine`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError
from keyturn.rotation.configuration import Configuration
from keyturn.rotation.endpoint import Consumer
from keyturn.rotation.engine import Engine, Outcome
from keyturn.rotation.iam_endpoint import IamEndpoint
from keyturn.rotation.plan import Health
from keyturn.rotation.planning import (
    Entry,
    Plan,
    Planner,
    adopted,
    begun,
    expected_intervals,
    new_id,
    out_of_date,
    window_of,
)
from keyturn.rotation.progress import Progress, SinkProgress, Stage, Terms
from keyturn.rotation.sinks.bounded_process import environment_for, run_bounded
from keyturn.rotation.sinks.interface import ReadBack, Sink, SinkError, Surroundings
from keyturn.rotation.sinks.registry import open_sink
from keyturn.rotation.state import State, open_state
from keyturn.rotation.storage import journal
from keyturn.rotation.storage.journal import Rotation
from keyturn.rotation.throttle import TokenBucket

CHECK_SECONDS: Final = 30.0
NO_RESULT: Final = 75
"""What a health check exits with when it came to no result (sysexits.h, EX_TEMPFAIL)."""
_TRAIL_RATE: Final = 2.0
"""LookupEvents a second and account (AWS CloudTrail quotas)."""


@dataclass(frozen=True, slots=True)
class Where:
    """The directories of the room."""

    state: Path
    keys: Path


class Room:
    """Threads may share it. Close it when done."""

    def __init__(
        self,
        where: Where,
        configuration: Configuration,
        *,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        boundary: Callable[[str], None] = lambda _name: None,
        signer: Callable[[Reach], AccessKeyPair | None] = lambda _reach: None,
    ) -> None:
        """`signer` may name the pair that signs for an endpoint; None: as botocore finds it."""
        self.configuration = configuration
        self.environment = environment
        self.state: State = open_state(
            where.state, where.keys, clock=clock or SystemClock(), random_bytes=random_bytes
        )
        self._boundary = boundary
        self._signer = signer
        self._guard = threading.Lock()
        self._endpoints: dict[Reach, IamEndpoint] = {}
        self._pause = threading.Event()

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.close()
        self.state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # What there is

    def endpoint(self, reach: Reach) -> IamEndpoint:
        """One client, and one pair of buckets, for each account and way to it."""
        with self._guard:
            if reach not in self._endpoints:
                clock, rate = self.state.clock, self.configuration.schedule.calls_per_second
                endpoint = IamEndpoint(reach, clock=clock, pair=self._signer(reach))
                if not endpoint.traits().exact_revocation:
                    calls = TokenBucket(clock, rate, max(rate * 2, 20), self._pause.wait)
                    endpoint.pace(calls, TokenBucket(clock, _TRAIL_RATE, 2, self._pause.wait))
                self._endpoints[reach] = endpoint
            return self._endpoints[reach]

    def sink(self, name: str, reach: Reach) -> Sink:
        """KeyturnError names the line if its settings are wrong, or if there is no such sink."""
        entry = self.configuration.sinks.get(name)
        if entry is None:
            known = ", ".join(self.configuration.sinks) or "none yet"
            raise KeyturnError(
                f"there is no sink {name} in {self.configuration.path}", f"the sinks are {known}"
            )
        surroundings = Surroundings(self.environment, self.endpoint(reach).url, reach.region)
        try:
            return open_sink(name, {"type": entry.type, **entry.settings}, surroundings)
        except KeyturnError as error:
            raise KeyturnError(f"{entry.where}: {error.message}", error.hint) from error

    def engine(self, reach: Reach) -> Engine:
        endpoint = self.endpoint(reach)

        def window(
            progress: Progress,
            samples: Sequence[tuple[int, int | None]],
            consumers: Sequence[Consumer],
            now: int,
        ) -> int:
            del now  # the history is up to date as it comes
            user = self.configuration.user(progress.user_name)
            expected = expected_intervals(self.configuration, user)
            return window_of(progress.terms, expected, samples, consumers, endpoint.traits()).milliseconds

        return Engine(
            self.state,
            endpoint,
            sinks=lambda name: self.sink(name, reach),
            check=self.health,
            window=window,
            boundary=self._boundary,
        )

    def health(self, progress: Progress) -> Health:
        """The operator's own check of this user's service."""
        argv = self.configuration.user(progress.user_name).check
        if not argv:
            return Health.NONE
        try:
            finished = run_bounded(
                argv, stdin=None, environment=environment_for(self.environment), seconds=CHECK_SECONDS
            )
        except SinkError:
            return Health.UNKNOWN
        return (
            Health.GOOD
            if finished.code == 0
            else Health.UNKNOWN
            if finished.code == NO_RESULT
            else Health.BAD
        )

    # Planning and doing

    def planner(self, reach: Reach) -> Planner:
        def samples(key: AccessKeyId) -> Sequence[tuple[int, int | None]]:
            with self.state.database.reading() as ledger:
                return journal.samples(ledger, key)

        return Planner(self.endpoint(reach), self.configuration, lambda name: self.sink(name, reach), samples)

    def plan(self, users: Sequence[str], reach: Reach, **options: Any) -> Plan:
        """A plan for these users. `options` are those of `Planner.plan_for`."""
        planner, endpoint = self.planner(reach), self.endpoint(reach)
        identity = endpoint.identity()
        return Plan(
            plan_id=new_id(self.state.random_bytes),
            made_at=endpoint.now_ms(),
            account_id=identity.account_id,
            endpoint=endpoint.url or "",
            region=reach.region or "",
            profile=reach.profile or "",
            is_exact=endpoint.traits().exact_revocation,
            entries=tuple(planner.plan_for(user, **options) for user in users),
        )

    def begin(
        self, plan: Plan, entry: Entry, *, terms: Callable[[Terms], Terms] = lambda terms: terms
    ) -> str:
        """Note that this rotation runs from now on; its id. KeyturnError if the plan is out of date."""
        reach = reach_of(plan.endpoint, plan.profile, plan.region)
        endpoint = self.endpoint(reach)
        if entry.blocked is not None:
            raise KeyturnError(f"{entry.user_name} can't be rotated: {entry.blocked}", entry.then)
        declared = self.configuration.user(entry.user_name).sinks
        if {sink.name for sink in entry.sinks} != set(declared):
            # A new key is written nowhere but where the configuration has it, whatever the plan's file says.
            raise KeyturnError(
                f"the plan is out of date: the sinks of {entry.user_name} are {', '.join(declared) or 'none'}",
                "make it again with `keyturn plan`",
            )
        identity = endpoint.identity()
        if identity.account_id != plan.account_id:
            raise KeyturnError(
                f"the plan is for account {plan.account_id}, and this signer is in {identity.account_id}",
                "choose the profile that the plan was made with",
            )
        changed = out_of_date(entry, endpoint)
        if changed is not None:
            raise KeyturnError(f"the plan is out of date: {changed}", "make it again with `keyturn plan`")
        rotation_id = self.unused_id()
        progress = begun(replace(entry, terms=terms(entry.terms)), plan, rotation_id, endpoint.now_ms())
        self.note_begun(progress, reach, f"begun by {identity.arn} from plan {plan.plan_id}")
        return rotation_id

    def unplanned(
        self,
        user_name: str,
        old_key: AccessKeyId,
        terms: Terms,
        reach: Reach,
        *,
        sinks: tuple[SinkProgress, ...] = (),
    ) -> Progress:
        """A rotation that begins now with no plan behind it; not on record yet."""
        endpoint = self.endpoint(reach)
        now = endpoint.now_ms()
        return Progress(
            rotation_id=self.unused_id(),
            account_id=endpoint.identity().account_id,
            user_name=user_name,
            old_key=old_key,
            started_at=now,
            terms=terms,
            stage_since=now,
            sinks=sinks,
            next_at=now,
        )

    def note_begun(self, progress: Progress, reach: Reach, what: str) -> None:
        """Note that this runs from now on. KeyturnError if another rotation of the user is under way."""
        endpoint = self.endpoint(reach)
        with (
            self.state.user_lock(progress.account_id, progress.user_name),
            self.state.database.writing() as ledger,
        ):
            journal.add(
                ledger,
                progress,
                endpoint=endpoint.url or "",
                region=reach.region or "",
                profile=reach.profile or "",
            )
            journal.note(ledger, progress.rotation_id, endpoint.now_ms(), "begun", what)

    def adopt(self, user_name: str, old_key: AccessKeyId, reach: Reach) -> str:
        """Take up a rotation whose record was lost: the sinks tell which key is the new one; its id here.

        KeyturnError if they don't agree, or if it can't be this rotation.
        """
        endpoint = self.endpoint(reach)
        keys = {key.access_key_id for key in endpoint.keys(user_name)}
        user = self.configuration.user(user_name)
        found: set[AccessKeyId] = set()
        sinks = []
        for name in user.sinks:
            sink = self.sink(name, reach)
            held = sink.read()
            readable = sink.describe().read_back is ReadBack.PAIR
            sinks.append(SinkProgress(name, is_readable=readable))
            if held.access_key_id is not None:
                found.add(held.access_key_id)
        new = found - {old_key}
        if old_key not in keys or len(new) != 1 or not new <= keys:
            told = ", ".join(sorted(found)) or "no key"
            raise KeyturnError(
                f"the sinks of {user_name} hold {told}: which rotation that was can't be told from it",
                f"keyturn keys {user_name} shows the keys; what no sink holds can be deactivated by hand",
            )
        identity = endpoint.identity()
        started = self.unplanned(user_name, old_key, user.terms, reach, sinks=tuple(sinks))
        progress = adopted(started, new.pop())
        self.note_begun(progress, reach, f"adopted by {identity.arn}: the record was lost")
        return progress.rotation_id

    def rehearse(self, user_name: str, key: AccessKeyId | None, length: int, reach: Reach) -> str:
        """Note that a key is to be inactive for `length` milliseconds; the id under which it is carried on."""
        endpoint = self.endpoint(reach)
        keys = [each for each in endpoint.keys(user_name) if each.status is AccessKeyStatus.ACTIVE]
        chosen = [each for each in keys if key in {None, each.access_key_id}]
        if len(chosen) != 1:
            what = f"has {len(keys)} active keys" if key is None else f"has no active key {key}"
            raise KeyturnError(f"{user_name} {what}", "name the one: --key KEYID")
        identity = endpoint.identity()
        terms = replace(
            self.configuration.user(user_name).terms, keep_inactive=length, watch_every=min(5_000, length)
        )
        progress = replace(
            self.unplanned(user_name, chosen[0].access_key_id, terms, reach), stage=Stage.REHEARSE
        )
        self.note_begun(progress, reach, f"a rehearsal, by {identity.arn}")
        return progress.rotation_id

    def find(self, word: str) -> Rotation:
        """A rotation by its id, the beginning of its id, or its user's name. KeyturnError if it is not one."""
        with self.state.database.reading() as ledger:
            found = journal.by_prefix(ledger, word)
        if len(found) != 1:
            what = "is more than one rotation" if found else "is no rotation"
            raise KeyturnError(f"{word} {what}", "keyturn status shows their ids")
        return found[0]

    def advance(self, rotation: Rotation, *, told: Callable[[Progress], None] | None = None) -> Outcome:
        return self.engine_of(rotation).advance(rotation.progress.rotation_id, told=told)

    def engine_of(self, rotation: Rotation) -> Engine:
        """The engine on the endpoint that the rotation was begun on."""
        return self.engine(reach_of(rotation.endpoint, rotation.profile, rotation.region))

    def unused_id(self) -> str:
        while True:
            rotation_id = new_id(self.state.random_bytes)
            with self.state.database.reading() as ledger:
                if journal.by_id(ledger, rotation_id) is None:
                    return rotation_id


def reach_of(endpoint: str, profile: str, region: str) -> Reach:
    """How the journal writes it, as the clients take it."""
    return Reach(endpoint or None, profile or None, region or None)
