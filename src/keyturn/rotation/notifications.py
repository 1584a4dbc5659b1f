"""Telling somebody what a rotation waits for, needs, or has done, and which keys nobody uses: by command or webhook.

An event is told at least once: it is marked only after it was taken, so a crash in between tells it again, with
the same idempotency key. That nobody takes it never holds a rotation up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from keyturn.model.clock import iso8601
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.configuration import Notify
from keyturn.rotation.sinks.bounded_call import call, checked_door
from keyturn.rotation.sinks.bounded_process import environment_for, run_bounded
from keyturn.rotation.sinks.interface import SinkError
from keyturn.rotation.sinks.webhook import signature
from keyturn.rotation.state import State
from keyturn.rotation.storage import journal, notices
from keyturn.rotation.storage.journal import Event
from keyturn.rotation.storage.notices import KeyEvent
from keyturn.store.shared_sqlite import Ledger

TOLD: Final = ("waiting", "attention", "done", "rolled-back", "aborted")
"""The kinds of events that are news for somebody."""
TOLD_OF_KEYS: Final = (notices.NOTICE, notices.DEACTIVATED, notices.WITHDRAWN)
_MOST: Final = 100
_SECONDS: Final = 10.0


class NotToldError(Exception):
    """Nobody took it: it stays for the next time."""


def tell(state: State, notify: Notify, environment: Mapping[str, str]) -> int:
    """Tell what was not told yet, in its order; how many were. NotToldError at the first that nobody takes."""
    if not notify.command and notify.url is None:
        return 0
    with state.database.reading() as ledger:
        events = journal.untold(ledger, TOLD, _MOST)
        of_keys = notices.untold(ledger, TOLD_OF_KEYS, _MOST)
        users = {
            rotation_id: None
            if (found := journal.by_id(ledger, rotation_id)) is None
            else found.progress.user_name
            for rotation_id in {event.rotation_id for event in events}
        }
    waiting: list[tuple[Secret, str, Callable[[Ledger, int], None]]] = [
        (
            _body(event, users[event.rotation_id]),
            f"{event.rotation_id}-{event.number}",
            lambda ledger, at, event=event: journal.mark_told(ledger, event, at),  # type: ignore[misc]  # bound now
        )
        for event in events
    ]
    waiting += [
        (
            _key_body(event),
            f"key-{event.access_key_id}-{event.number}",
            lambda ledger, at, event=event: notices.mark_told(ledger, event, at),  # type: ignore[misc]  # bound now
        )
        for event in of_keys
    ]
    for number, (body, idempotency_key, mark) in enumerate(waiting):
        try:
            _tell_one(notify, environment, body, idempotency_key, state.clock.now_ms())
        except (SinkError, KeyturnError, NotToldError) as error:
            raise NotToldError(f"{number} of {len(waiting)} were told: {error}") from error
        with state.database.writing() as ledger:
            mark(ledger, state.clock.now_ms())
    return len(waiting)


def _body(event: Event, user_name: str | None) -> Secret:
    return _json(
        {
            "rotation_id": event.rotation_id,
            "number": event.number,
            "user_name": user_name,
            "at": iso8601(event.at),
            "kind": event.kind,
            "what": event.what,
        }
    )


def _key_body(event: KeyEvent) -> Secret:
    """Of a key that nobody uses, and of no rotation."""
    return _json(
        {
            "rotation_id": None,
            "access_key_id": event.access_key_id,
            "number": event.number,
            "user_name": event.user_name,
            "at": iso8601(event.at),
            "kind": event.kind,
            "what": event.what,
        }
    )


def _json(content: Mapping[str, object]) -> Secret:
    return Secret(json.dumps(content, ensure_ascii=False).encode())


def _tell_one(notify: Notify, environment: Mapping[str, str], body: Secret, key: str, now: int) -> None:
    if notify.command:
        finished = run_bounded(
            notify.command, stdin=body, environment=environment_for(environment), seconds=_SECONDS
        )
        if finished.code != 0:
            raise NotToldError(f"{notify.command[0]} ended with {finished.code}")
    if notify.url is not None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if notify.secret_variable is not None:
            headers |= _signed(environment, notify.secret_variable, body, now)
        answer = call(
            checked_door(notify.url, sink="notify", field="notify_url"), "POST", headers=headers, body=body,
            seconds=_SECONDS,
        )  # fmt: skip
        if not 200 <= answer.status < 300:
            raise NotToldError(f"the webhook answered {answer.status}")


def _signed(environment: Mapping[str, str], variable: str, body: Secret, now: int) -> Mapping[str, str]:
    """The headers that a webhook sink sends too."""
    key = environment.get(variable, "")
    if not key:
        raise KeyturnError(f"the variable {variable} is not set: a notification is not sent unsigned")
    timestamp = str(now // 1000)
    return {
        "Keyturn-Timestamp": timestamp,
        "Keyturn-Signature": signature(Secret(key.encode()), timestamp, body),
    }
