"""Where alerts are worked on, behind whoever takes them: prove, kill, say so; what comes after a kill goes on here.

A few threads prove and kill, one carries opened incidents on; none of them holds up a caller or the end of the
process, for every start is a recovery. What is proved, and how a key dies, stands in `response`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from keyturn.leaks.incidents import Incident
from keyturn.leaks.issuer import IssuerError, IssuerUnavailableError
from keyturn.leaks.response import IncidentState, Responder
from keyturn.leaks.storage import incidents as rows
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId, account_of
from keyturn.model.errors import KeyturnError, StoreUnavailableError

_log = logging.getLogger("keyturn.leaks")
_WAITING: Final = 64
"""Alerts that may wait for a thread."""
_TRIES: Final = (1.0, 5.0, 30.0)
"""Seconds before an alert is tried again whose issuer or reporter does not answer."""
_LOOK_AGAIN_SECONDS: Final = 30.0
"""How often incidents that wait for a replacement are carried on."""


class Label(StrEnum):
    TRUE_POSITIVE = "true_positive"
    """The pair was proved, and its key is dead."""
    FALSE_POSITIVE = "false_positive"
    """Nothing was proved, and nothing has changed."""
    UNKNOWN = "unknown"
    """Nobody answered: it is tried again."""


class AgainError(Exception):
    """The work can't be done now, and may be later. The message is a sentence without a secret."""


@dataclass(frozen=True, slots=True)
class Judged:
    access_key_id: AccessKeyId
    label: Label
    incident_id: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a piece of work is given: an opened responder, and whose keys it answers for."""

    responder: Responder
    state: IncidentState
    account_id: AccountId
    carry_on: Callable[[str], None]

    def is_ours(self, access_key_id: AccessKeyId) -> bool:
        return account_of(access_key_id) == self.account_id

    def judge(self, pair: AccessKeyPair, place: str) -> Judged:
        """Prove the pair; if its issuer accepts it, its key is dead when this returns."""
        known = self._judged_already(pair, place)
        if known is not None:
            return known
        try:
            outcome = self.responder.exposed(pair, place, only_kill=True)
        except IssuerUnavailableError:
            return Judged(pair.access_key_id, Label.UNKNOWN)
        except IssuerError as error:
            _log.error("%s: %s", pair.access_key_id, error)
            return Judged(pair.access_key_id, Label.UNKNOWN)
        except KeyturnError as error:  # the key that signs here, or another process is at it
            _log.error("%s: %s", pair.access_key_id, error.message)
            return Judged(pair.access_key_id, Label.UNKNOWN)
        if outcome is None:
            return Judged(pair.access_key_id, Label.FALSE_POSITIVE)
        self.carry_on(outcome.incident.incident_id)
        is_dead = outcome.incident.deactivated_at is not None
        label = Label.TRUE_POSITIVE if is_dead else Label.UNKNOWN
        return Judged(pair.access_key_id, label, outcome.incident.incident_id)

    def mention(self, access_key_id: AccessKeyId, place: str) -> Judged:
        """An id alone proves nothing."""
        self.responder.mention(access_key_id, place)
        return Judged(access_key_id, Label.FALSE_POSITIVE)

    def _judged_already(self, pair: AccessKeyPair, place: str) -> Judged | None:
        """Of a key that a pair has killed before: nobody waits for the incident's lock to hear that again."""
        with self.state.database.reading() as ledger:
            row = rows.of_key(ledger, pair.access_key_id)
        if row is None or row.incident.deactivated_at is None or row.incident.is_closed:
            return None  # a key may have come back after its incident was closed: it is proved again
        if row.incident.fingerprint == pair.fingerprint:
            return Judged(pair.access_key_id, Label.TRUE_POSITIVE, row.incident.incident_id)
        if row.incident.fingerprint == pair.access_key_id:
            return None  # an operator gave only the id: nobody knows its secret yet
        return self.mention(pair.access_key_id, place)


Work = Callable[[Bench, "Task"], None]
"""Puts what it finds into the task as it goes. AgainError: not now."""


@dataclass(eq=False)
class Task:
    """One alert under way."""

    work: Work = field(repr=False)
    judged: list[Judged] = field(default_factory=list)
    """As far as it has come; replaced before another try."""
    tried: Future[bool] = field(default_factory=Future)
    """Set after the first try: whether it has come to its end."""
    on_end: Callable[[bool], None] = lambda _is_done: None
    """Called by a thread of the desk, when nothing more will come: whether it was done."""
    tries: int = 0


class Desk:
    """Threads may share it. `begin`, then `carry_on` until `end`."""

    def __init__(self, ending: threading.Event, *, at_once: int, waiting: int = _WAITING) -> None:
        self._ending = ending
        self._tasks: queue.Queue[Task | None] = queue.Queue(maxsize=waiting)
        """None: nothing more comes."""
        self._incidents: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._at_once = at_once
        self._bench: Bench | None = None
        self._guard = threading.Lock()
        self._postponed = 0
        self._has_threads = False
        self._said: dict[str, str] = {}
        """What was logged of an incident that needs somebody: once, and not twice a minute."""
        self.is_broken = False
        """It could not begin: what it takes would wait for nobody knows how long."""

    def take(self, task: Task) -> bool:
        """False: there is too much to do already."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            return False
        return True

    def begin(self, responder: Responder, state: IncidentState, account_id: AccountId) -> None:
        """From now on, what was taken is worked on."""
        self._bench = Bench(responder, state, account_id, self._incidents.put)
        self.is_broken = False
        if self._has_threads:
            return
        self._has_threads = True
        for number in range(self._at_once):
            # Daemons: an endpoint that does not answer must not hold up the end.
            threading.Thread(target=self._work, name=f"keyturn-alerts-{number}", daemon=True).start()

    def carry_on(self) -> None:
        """Until the end: what was killed is contained, replaced and deleted, and so is what an earlier run left."""
        assert self._bench is not None
        while not self._ending.is_set():
            for incident_id in self._open_incidents():
                self._answer(incident_id)
            try:
                while not self._ending.is_set():
                    self._answer(self._incidents.get(timeout=_LOOK_AGAIN_SECONDS))
            except queue.Empty:
                continue

    def end(self) -> None:
        """After `ending` is set: wake whoever waits."""
        self._incidents.put("")
        with contextlib.suppress(queue.Full):  # then nobody waits
            for _ in range(self._at_once):
                self._tasks.put_nowait(None)

    def _open_incidents(self) -> Sequence[str]:
        bench = self._bench
        assert bench is not None
        try:
            with bench.state.database.reading() as ledger:
                found = [row.incident for row in rows.open_ones(ledger)]
        except (KeyturnError, StoreUnavailableError) as error:
            _log.warning("incidents can't be read: %s", error)
            return []
        return [each.incident_id for each in found if _is_here(each, bench.account_id)]

    def _answer(self, incident_id: str) -> None:
        if not incident_id or self._bench is None:
            return
        try:
            incident = self._bench.responder.answer(incident_id)
        except (IssuerError, KeyturnError, StoreUnavailableError, OSError) as error:
            _log.warning("the incident %s waits: %s", incident_id, error)
            return
        if incident.attention and self._said.get(incident_id) != incident.attention:
            _log.error("the incident %s of %s: %s", incident_id, incident.access_key_id, incident.attention)
            self._said[incident_id] = incident.attention
        if incident.is_closed:
            self._said.pop(incident_id, None)

    def _work(self) -> None:
        while not self._ending.is_set():
            task = self._tasks.get()
            if task is None:
                return
            is_done = self._tried(task)
            task.tries += 1
            if is_done or not self._later(task):
                task.on_end(is_done)
            if not task.tried.done():
                task.tried.set_result(is_done)

    def _later(self, task: Task) -> bool:
        """Have it tried again, without a thread waiting for that; False if it is given up."""
        with self._guard:
            is_given_up = task.tries > len(_TRIES) or self._postponed >= _WAITING
            self._postponed += not is_given_up
        if is_given_up:
            _log.error("an alert was given up: no result in %d tries", task.tries)
            return False
        timer = threading.Timer(_TRIES[task.tries - 1], self._again, (task,))
        timer.daemon = True
        timer.start()
        return True

    def _again(self, task: Task) -> None:
        with self._guard:
            self._postponed -= 1
        task.judged = []
        if not self.take(task):
            _log.error("an alert was given up: there is too much to do")
            task.on_end(False)

    def _tried(self, task: Task) -> bool:
        assert self._bench is not None
        try:
            task.work(self._bench, task)
        except AgainError as error:
            _log.warning("an alert waits: %s", error)
            return False
        except (IssuerError, KeyturnError, StoreUnavailableError, OSError) as error:
            _log.warning("an alert waits: %s", error)
            return False
        except Exception as error:  # noqa: BLE001 - the last line: the thread goes on with the next alert
            # Only the kind is logged: a message may hold what nobody should read.
            _log.error("an alert failed: %s", type(error).__name__)
            return False
        return all(each.label is not Label.UNKNOWN for each in task.judged)


def _is_here(incident: Incident, account_id: AccountId) -> bool:
    """The file is shared with the command line, which answers for other endpoints too."""
    return incident.account_id == account_id
