"""The answer to a leak, in the order that limits the damage: the key dies first, everything else comes after.

Deactivate → quarantine, revoke sessions → sweep twice for what the holder made meanwhile → replace the key →
delete → lift the quarantine. Each step is kept before the next; each may run twice. Who replaces a key is handed in.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

from keyturn.leaks.incidents import Incident, Stage
from keyturn.leaks.issuer import (
    Answer,
    Deed,
    GoneError,
    Issuer,
    IssuerError,
    IssuerUnavailableError,
    Trace,
    TraceKind,
)
from keyturn.leaks.storage import incidents as rows
from keyturn.leaks.storage.incidents import Line, Row
from keyturn.leaks.validity import CANARY_ACCOUNTS, FALSE_REFUSAL_PAUSE
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, account_of
from keyturn.model.clock import Clock, iso8601
from keyturn.model.errors import KeyturnError
from keyturn.store.exclusive_lock import ExclusiveLock
from keyturn.store.migrations import migrate
from keyturn.store.shared_sqlite import SharedSqlite

ROOM: Final = "leaks"
MIGRATIONS: Final = files("keyturn.leaks.storage") / "migrations"
DATABASE: Final = "incidents.sqlite"
SETTLE_MS: Final = 10_000
"""Between the two sweeps, where a change takes seconds to hold everywhere (AWS: 3 to 4 s, and flapping)."""
SETTLE_EXACT_MS: Final = 250
_LOOK_BACK: Final = 90 * 24 * 3600 * 1000
_MOST_STEPS: Final = 100


class Replaced(StrEnum):
    """How far a replacement has come."""

    DONE = "done"
    WAITING = "waiting"
    NOBODY = "nobody"
    """Nothing is declared that would take a new key."""
    NEEDS_SOMEBODY = "needs-somebody"


@dataclass(frozen=True, slots=True)
class Replacement:
    state: Replaced
    name: str | None
    """What the rotator calls it."""
    why: str


class Rotator(Protocol):
    """Gives a user's consumers a new key in place of one that is dead already."""

    def replace(self, user_name: str, dead_key: AccessKeyId, name: str | None) -> Replacement:
        """Begin, or go on with the one of that name. May be asked again until it is done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    incident: Incident
    is_new: bool
    """This call opened it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What an answer would do, told before anything is done."""

    access_key_id: AccessKeyId
    user_name: str | None
    lines: tuple[str, ...]


class IncidentState:
    """The room's own file, and one lock an incident, held by the process."""

    def __init__(self, directory: Path, *, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        for each in (directory, directory / "locks"):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate(directory / DATABASE, room=ROOM, directory=MIGRATIONS)
        self.database = SharedSqlite(directory / DATABASE)
        self.clock = clock
        self.random_bytes = random_bytes
        self._locks = directory / "locks"
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    @contextlib.contextmanager
    def lock(self, access_key_id: str) -> Iterator[None]:
        """Threads of this process take turns; another process is refused at once (KeyturnError)."""
        name = hashlib.sha256(access_key_id.encode()).hexdigest()[:32]
        with self._guard:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn, ExclusiveLock(self._locks / f"{name}.lock"):
            yield

    def close(self) -> None:
        self.database.close()


class Responder:
    """Answers leaks of one issuer's keys, with an identity of its own."""

    def __init__(
        self,
        state: IncidentState,
        issuer: Issuer,
        rotator: Rotator,
        *,
        pause: Callable[[float], object],
        told: Callable[[Incident, str], None] = lambda _incident, _what: None,
        boundary: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`pause` waits for seconds; `told` hears of each line as it is kept; `boundary` is for tests."""
        self._state = state
        self._issuer = issuer
        self._rotator = rotator
        self._pause = pause
        self._told = told
        self._boundary = boundary

    # How an incident begins

    def exposed(
        self, pair: AccessKeyPair, place: str, *, exposed_at: int | None = None, only_kill: bool = False
    ) -> Outcome | None:
        """For what somebody else says has leaked: only proof kills. None: an exposed identifier, and nothing more.

        The pair is shown to its own issuer and to nobody else: a key of another account is never sent.
        `only_kill` returns when the key is dead, and leaves the rest to `answer`. IssuerUnavailableError: nobody
        said whether the pair is real.
        """
        proved = self._proved(pair) if self._is_ours(pair.access_key_id) else Answer.REFUSED
        if proved is not Answer.ACCEPTED:
            known = self._of_fingerprint(pair.fingerprint)
            if known is not None:
                return Outcome(self.answer(known.incident.incident_id, only_kill=only_kill), is_new=False)
            if proved is Answer.UNKNOWN:
                raise IssuerUnavailableError(f"nobody says whether the pair of {pair.access_key_id} is real")
            with self._state.database.writing() as ledger:
                rows.expose(ledger, pair.access_key_id, place[:500], self._issuer.now_ms())
            return None
        return self.respond(
            pair.access_key_id,
            fingerprint=pair.fingerprint,
            how=f"proved; found in {place}"[:500],
            exposed_at=exposed_at,
            only_kill=only_kill,
        )

    def mention(self, access_key_id: AccessKeyId, place: str) -> None:
        """Note an id that was seen without a secret."""
        with self._state.database.writing() as ledger:
            rows.expose(ledger, access_key_id, place[:500], self._issuer.now_ms())

    def respond(
        self,
        access_key_id: AccessKeyId,
        *,
        how: str,
        fingerprint: str | None = None,
        exposed_at: int | None = None,
        all_keys: bool = False,
        deny_all: bool = False,
        only_kill: bool = False,
    ) -> Outcome:
        """Open the incident, or find it, and carry it on. KeyturnError if the key is not one of this issuer's."""
        incident, is_new = self._opened(access_key_id, how, fingerprint, exposed_at, all_keys, deny_all)
        return Outcome(self.answer(incident.incident_id, only_kill=only_kill), is_new)

    def answer(self, incident_id: str, *, only_kill: bool = False) -> Incident:
        """Carry an incident on until it is closed, or waits for the replacement, or needs somebody.

        With `only_kill`, until its key is dead.
        """
        row = self._row(incident_id)
        with self._state.lock(row.incident.access_key_id):
            row = self._row(incident_id)
            try:
                self._keep_dead(row.incident)
            except IssuerError as error:
                kept = replace(row.incident, attention=str(error))
                return self._keep(row, kept, "problem", str(error)).incident
            for _ in range(_MOST_STEPS):
                is_dead = row.incident.stage is not Stage.DEACTIVATE
                if row.incident.is_closed or (only_kill and is_dead):
                    return row.incident
                try:
                    following = self._step(row)
                except IssuerError as error:
                    return self._keep(
                        row, replace(row.incident, attention=str(error)), "problem", str(error)
                    ).incident
                if following is None:
                    return self._row(incident_id).incident
                row = following
        raise KeyturnError(f"the incident {incident_id} goes in circles: this is a fault of Keyturn")

    def planned(
        self, access_key_id: AccessKeyId, *, all_keys: bool = False, deny_all: bool = False
    ) -> Planned:
        """What `respond` would do. Nothing is changed."""
        issuer = self._issuer
        state = issuer.state(access_key_id)
        if state is None:
            return Planned(access_key_id, None, (f"{access_key_id} is not a key of this issuer",))
        lines = [f"deactivate {access_key_id} of {state.user_name} (now {state.status.value})"]
        if self._is_acting(f":user/{state.user_name}"):
            lines.append(f"leave {state.user_name} without quarantine: it signs the answer")
        else:
            what = "a deny of everything" if deny_all else "the quarantine policy"
            lines.append(f"quarantine {state.user_name} with {what}")
        lines.append(f"revoke the sessions of {state.user_name} issued until now")
        since = issuer.now_ms() - _LOOK_BACK
        lines += [
            f"contain the {trace.kind.value} {trace.target} that it made at {iso8601(trace.at)}"
            for trace in issuer.traces(access_key_id, since=since) or ()
            if trace.kind in {TraceKind.KEY, TraceKind.USER, TraceKind.ROLE}
        ]
        others = [key for key, _, _ in issuer.keys(state.user_name) if key != access_key_id]
        lines += [f"{'deactivate' if all_keys else 'leave alone'} {key} of the same user" for key in others]
        for key in (access_key_id, *(others if all_keys else ())):
            for deed in issuer.deeds(key, since=since) or ():
                if deed.error is None:
                    lines.append(
                        f"stops: {deed.source} {deed.agent.partition(' ')[0]} ({deed.service} {deed.action}, last {iso8601(deed.last_at)})"
                    )
        lines += [
            "replace the key in every sink of the user",
            f"delete {access_key_id}",
            "lift the quarantine",
        ]
        return Planned(access_key_id, state.user_name, tuple(dict.fromkeys(lines)))

    # Steps

    def _step(self, row: Row) -> Row | None:
        """One step, kept. None: there is something to wait for."""
        match row.incident.stage:
            case Stage.DEACTIVATE:
                return self._deactivate(row)
            case Stage.CONTAIN:
                return self._contain(row)
            case Stage.SWEEP:
                return self._sweep(row, Stage.SWEEP_AGAIN)
            case Stage.SWEEP_AGAIN:
                self._settle(row.incident)
                return self._sweep(row, Stage.REPLACE)
            case Stage.REPLACE:
                return self._replace(row)
            case Stage.DELETE:
                return self._delete(row)
            case _:
                return self._lift(row)

    def _deactivate(self, row: Row) -> Row:
        incident = row.incident
        self._kill(incident.user_name, incident.access_key_id)
        self._boundary("after:deactivate")
        dead = replace(
            incident,
            stage=Stage.CONTAIN,
            deactivated_at=self._issuer.now_ms(),
            dead_keys=((incident.user_name, incident.access_key_id),),
            attention=None,
        )
        return self._keep(row, dead, "done", f"deactivated {incident.access_key_id} of {incident.user_name}")

    def _kill(self, user_name: str, access_key_id: AccessKeyId) -> None:
        with contextlib.suppress(GoneError):  # somebody was quicker
            self._issuer.set_status(user_name, access_key_id, AccessKeyStatus.INACTIVE)

    def _keep_dead(self, incident: Incident) -> None:
        """Whoever may change the user's keys may have made one active again since it died."""
        if incident.stage in {Stage.DEACTIVATE, Stage.LIFT, Stage.CLOSED}:
            return
        dead = set(incident.dead_keys)
        for user in dict.fromkeys(user for user, _ in incident.dead_keys):
            with contextlib.suppress(GoneError):
                for key, status, _ in self._issuer.keys(user):
                    if status is AccessKeyStatus.ACTIVE and (user, key) in dead:
                        self._kill(user, key)

    def _contain(self, row: Row) -> Row:
        incident = row.incident
        now = self._issuer.now_ms()
        if self._is_acting(f":user/{incident.user_name}"):
            quarantined = f"{incident.user_name} signs this answer, and is not quarantined"
        else:
            policy = self._issuer.quarantine(incident.user_name, deny_all=incident.deny_all)
            quarantined = f"quarantined {incident.user_name} with {policy}"
        self._boundary("after:quarantine")
        self._issuer.revoke_sessions(incident.user_name, before=now)
        self._boundary("after:revoke")
        contained = replace(incident, stage=Stage.SWEEP, contained_at=now, attention=None)
        what = f"{quarantined}; sessions issued before {iso8601(now)} are revoked"
        return self._keep(row, contained, "done", what)

    def _settle(self, incident: Incident) -> None:
        """A key that was deactivated a moment ago may still make another one where changes take their time."""
        settle = SETTLE_EXACT_MS if self._issuer.is_exact else SETTLE_MS
        left = (incident.swept_at or 0) + settle - self._issuer.now_ms()
        if left > 0:
            self._pause(left / 1000)

    def _sweep(self, row: Row, following: Stage) -> Row:
        incident = row.incident
        traces = self._issuer.traces(incident.access_key_id, since=incident.exposed_at)
        lines: list[str] = []
        if traces is None:
            lines.append(
                "what the holder made can't be looked up here: "
                + (
                    "keys of the user that are younger than the exposure go with it"
                    if incident.is_exposure_known
                    else "look at the user's other keys yourself, or say since when with --since"
                )
            )
        to_kill = self._keys_to_kill(incident, traces)
        for user, key in to_kill:
            self._kill(user, key)
            lines.append(f"deactivated {key} of {user}: made while the key was exposed")
        lines += self._contained(incident, traces or ())
        self._boundary(f"after:{incident.stage.value}")
        swept = replace(
            incident,
            stage=following,
            swept_at=self._issuer.now_ms(),
            dead_keys=tuple(dict.fromkeys((*incident.dead_keys, *to_kill))),
            traces=tuple(
                dict.fromkeys(
                    (
                        *incident.traces,
                        *((each.kind.value, each.action, each.target) for each in traces or ()),
                    )
                )
            ),
            attention=None,
        )
        which = "first" if following is Stage.SWEEP_AGAIN else "second"
        for line in lines:
            row = self._keep(row, row.incident, "found", line)
        return self._keep(row, swept, "done", f"{which} sweep: {len(lines) or 'nothing'} found")

    def _keys_to_kill(
        self, incident: Incident, traces: Sequence[Trace] | None
    ) -> list[tuple[str, AccessKeyId]]:
        """Keys that the holder made. Where nobody tells who made them, those of the user that appeared since a known
        exposure.

        Where it is told, another key of the user is healthy: to publish one must not end the other.
        """
        known = {key for _, key in incident.dead_keys}
        ours = self._issuer.signer()
        found = [
            (trace.owner or incident.user_name, AccessKeyId(trace.target))
            for trace in traces or ()
            if trace.kind is TraceKind.KEY
        ]
        for key, status, created in self._issuer.keys(incident.user_name):
            is_new = incident.is_exposure_known and created >= incident.exposed_at
            if status is AccessKeyStatus.ACTIVE and (incident.all_keys or (is_new and traces is None)):
                found.append((incident.user_name, key))
        return [each for each in dict.fromkeys(found) if each[1] not in known and each[1] != ours]

    def _contained(self, incident: Incident, traces: Sequence[Trace]) -> list[str]:
        """Users and roles that the holder made are denied everything; what he changed is told, for a person to judge."""
        told = set(incident.traces)
        lines = []
        for trace in traces:
            if (trace.kind.value, trace.action, trace.target) in told or trace.kind is TraceKind.KEY:
                continue
            when = f"{trace.action} {trace.target} at {iso8601(trace.at)} from {trace.source}"
            try:
                lines.append(f"{when}: {self._contain_one(incident, trace)}")
            except GoneError:
                lines.append(f"{when}: it is gone already")
        return lines

    def _contain_one(self, incident: Incident, trace: Trace) -> str:
        match trace.kind:
            case TraceKind.USER if self._is_acting(f":user/{trace.target}"):
                return "that user signs this answer: look at it, it is not contained"
            case TraceKind.ROLE if self._is_acting(f":assumed-role/{trace.target}"):
                return "that role signs this answer: look at it, it is not contained"
            case TraceKind.USER:
                self._issuer.contain_user(trace.target)
                return "that user is denied everything"
            case TraceKind.ROLE:
                self._issuer.contain_role(trace.target, before=None)
                return "that role is denied everything"
            case TraceKind.SESSION if ":assumed-role/" in trace.target:
                role = trace.target.split(":assumed-role/", 1)[1].split("/", 1)[0]
                self._issuer.contain_role(role, before=incident.contained_at or self._issuer.now_ms())
                return f"sessions of {role} issued before are revoked"
            case TraceKind.SESSION:
                return "revoked with the user's sessions"
            case _:
                return "look at it: it was not undone"

    def _replace(self, row: Row) -> Row | None:
        incident = row.incident
        got = self._rotator.replace(incident.user_name, incident.access_key_id, incident.rotation)
        self._boundary("after:replace")
        match got.state:
            case Replaced.DONE | Replaced.NOBODY:
                changed = replace(incident, stage=Stage.DELETE, rotation=got.name, attention=None)
                return self._keep(row, changed, "done", got.why)
            case Replaced.WAITING:
                attention = None
            case _:
                attention = got.why
        changed = replace(incident, rotation=got.name, attention=attention)
        if changed != incident:
            self._keep(row, changed, "waiting", got.why)
        return None

    def _delete(self, row: Row) -> Row:
        incident = row.incident
        for user, key in incident.dead_keys:
            self._issuer.delete(user, AccessKeyId(key))
            self._boundary("after:delete")
        told = ", ".join(key for _, key in incident.dead_keys)
        return self._keep(row, replace(incident, stage=Stage.LIFT, attention=None), "done", f"deleted {told}")

    def _lift(self, row: Row) -> Row:
        incident = row.incident
        now = self._issuer.now_ms()
        closed = replace(incident, stage=Stage.CLOSED, attention=None)
        took = (incident.deactivated_at or now) - incident.opened_at
        dead = f"the key was dead after {took / 1000:.1f} s"
        with self._state.database.writing() as ledger:
            # Seen and closed at once: of two that end together, the later one lifts.
            others = _others_of_user(rows.open_ones(ledger), incident)
            if others:
                what = f"the quarantine of {incident.user_name} stays for {others[0].access_key_id}; {dead}"
                row = rows.keep(ledger, row, closed, closed_at=now)
                rows.note(ledger, incident.incident_id, now, "closed", what)
        if not others:
            self._issuer.lift(incident.user_name)
            self._boundary("after:lift")
            what = f"the quarantine of {incident.user_name} is lifted; {dead}"
            with self._state.database.writing() as ledger:
                row = rows.keep(ledger, row, closed, closed_at=now)
                rows.note(ledger, incident.incident_id, now, "closed", what)
        self._told(closed, what)
        return row

    # Small parts

    def _opened(
        self,
        access_key_id: AccessKeyId,
        how: str,
        fingerprint: str | None,
        exposed_at: int | None,
        all_keys: bool,  # noqa: FBT001 - as `respond` was asked
        deny_all: bool,  # noqa: FBT001 - as above
    ) -> tuple[Incident, bool]:
        with self._state.lock(access_key_id):
            known = self._of_fingerprint(fingerprint) if fingerprint else None
            if known is None:
                with self._state.database.reading() as ledger:
                    known = rows.of_key(ledger, access_key_id)
            if known is not None:
                return self._reopened(known), False
            if access_key_id == self._issuer.signer():
                raise KeyturnError(
                    f"{access_key_id} is the key that signs this answer: it would lock itself out",
                    "sign with another identity, or end this one by hand: `keyturn admin recover` gives a new one",
                )
            state = self._issuer.state(access_key_id)
            if state is None:
                raise KeyturnError(
                    f"{access_key_id} is not a key of this issuer, or it is deleted already",
                    "name the endpoint or the profile that it belongs to",
                )
            now = self._issuer.now_ms()
            incident = Incident(
                incident_id=uuid.UUID(bytes=self._state.random_bytes(16), version=4).hex[:12],
                fingerprint=fingerprint or access_key_id,
                access_key_id=access_key_id,
                account_id=self._issuer.account_id(),
                user_name=state.user_name,
                opened_at=now,
                exposed_at=max(exposed_at if exposed_at is not None else state.created_at, now - _LOOK_BACK),
                is_exposure_known=exposed_at is not None,
                how=how,
                all_keys=all_keys,
                deny_all=deny_all,
            )
            with self._state.database.writing() as ledger:
                rows.add(ledger, incident)
                rows.note(ledger, incident.incident_id, now, "opened", f"{access_key_id}: {how}")
            self._boundary("after:open")
            return incident, True

    def _reopened(self, known: Row) -> Incident:
        """A key that lives after its incident was closed came back, from a backup for one: it dies again."""
        incident = known.incident
        if not incident.is_closed:
            return incident
        state = self._issuer.state(incident.access_key_id)
        if state is None or state.status is not AccessKeyStatus.ACTIVE:
            return incident
        again = replace(incident, stage=Stage.DEACTIVATE, deactivated_at=None, rotation=None)
        what = f"{incident.access_key_id} is active again after this was closed"
        return self._keep(known, again, "opened", what).incident

    def _is_acting(self, resource: str) -> bool:
        """Whether it signs our own calls: `:user/NAME` or `:assumed-role/NAME`, whatever the path."""
        kind, _, name = resource.partition("/")
        acting_kind, _, rest = self._issuer.acting().partition("/")
        acting = rest.partition("/")[0] if kind == ":assumed-role" else rest.rpartition("/")[2]
        return acting_kind.endswith(kind) and acting.casefold() == name.casefold()

    def _is_ours(self, access_key_id: AccessKeyId) -> bool:
        account = account_of(access_key_id)
        return account is not None and account not in CANARY_ACCOUNTS and account == self._issuer.account_id()

    def _proved(self, pair: AccessKeyPair) -> Answer:
        """One question at a time for an id; a refusal may be a false one (two secrets of one id within seconds)."""
        with self._state.lock(pair.access_key_id):
            answer = self._issuer.prove(pair)
            if answer is Answer.ACCEPTED or self._issuer.is_exact:
                return answer
            self._pause(FALSE_REFUSAL_PAUSE)
            return self._issuer.prove(pair)

    def _of_fingerprint(self, fingerprint: str) -> Row | None:
        with self._state.database.reading() as ledger:
            return rows.of_fingerprint(ledger, fingerprint)

    def _row(self, incident_id: str) -> Row:
        with self._state.database.reading() as ledger:
            row = rows.by_id(ledger, incident_id)
        if row is None:
            raise KeyturnError(f"there is no incident {incident_id}", "keyturn leak --list shows them")
        return row

    def _keep(self, row: Row, incident: Incident, kind: str, what: str) -> Row:
        with self._state.database.writing() as ledger:
            kept = rows.keep(ledger, row, incident)
            rows.note(ledger, incident.incident_id, self._issuer.now_ms(), kind, what)
        self._told(incident, what)
        self._boundary(f"kept:{kind}")
        return kept


def _others_of_user(open_ones: Sequence[Row], incident: Incident) -> Sequence[Incident]:
    """The same user's incidents that are open, and need the quarantine."""
    return [
        other
        for other in (row.incident for row in open_ones)
        if other.incident_id != incident.incident_id
        and (other.account_id, other.user_name) == (incident.account_id, incident.user_name)
    ]


def report(
    state: IncidentState, issuer: Issuer, incident: Incident
) -> tuple[Sequence[Line], Sequence[Deed] | None]:
    """The timeline, and what the key did since it was exposed: the incident report."""
    with state.database.reading() as ledger:
        lines = rows.timeline(ledger, incident.incident_id)
    try:
        deeds = issuer.deeds(incident.access_key_id, since=incident.exposed_at)
    except IssuerError:
        deeds = None
    return lines, deeds
