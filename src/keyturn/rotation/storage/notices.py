"""Notices about keys that nobody uses, the record of what was done about them, and chores that are done now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.store.shared_sqlite import Ledger

NOTICE: Final = "unused"
DEACTIVATING: Final = "deactivating"
DEACTIVATED: Final = "deactivated"
WITHDRAWN: Final = "used-again"


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody was told that this key is unused."""

    access_key_id: AccessKeyId
    user_name: str
    noticed_at: int
    deactivating_at: int | None
    """The deactivation was begun; whether it was done is to be looked at."""


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """One line of a key's record."""

    number: int
    access_key_id: AccessKeyId
    user_name: str
    at: int
    kind: str
    what: str


def notices(ledger: Ledger, account_id: AccountId) -> Mapping[AccessKeyId, Notice]:
    rows = ledger.rows(
        "SELECT access_key_id, user_name, noticed_at, deactivating_at FROM notices WHERE account_id = :account",
        {"account": account_id},
    )
    found = [
        Notice(
            AccessKeyId(cast("str", key)),
            cast("str", user),
            cast("int", noticed_at),
            cast("int | None", deactivating_at),
        )
        for key, user, noticed_at, deactivating_at in rows
    ]
    return {notice.access_key_id: notice for notice in found}


def add_notice(ledger: Ledger, account_id: AccountId, key: AccessKeyId, user_name: str, at: int) -> None:
    ledger.execute(
        "INSERT INTO notices (account_id, access_key_id, user_name, noticed_at) VALUES (:account, :key, :user, :at)"
        " ON CONFLICT (account_id, access_key_id) DO NOTHING",
        {"account": account_id, "key": key, "user": user_name, "at": at},
    )


def begin_deactivation(ledger: Ledger, account_id: AccountId, key: AccessKeyId, at: int) -> None:
    ledger.execute(
        "UPDATE notices SET deactivating_at = :at WHERE account_id = :account AND access_key_id = :key",
        {"account": account_id, "key": key, "at": at},
    )


def remove_notice(ledger: Ledger, account_id: AccountId, key: AccessKeyId) -> None:
    ledger.execute(
        "DELETE FROM notices WHERE account_id = :account AND access_key_id = :key",
        {"account": account_id, "key": key},
    )


# The record


def note(
    ledger: Ledger, account_id: AccountId, key: AccessKeyId, user_name: str, at: int, kind: str, what: str
) -> None:
    ledger.execute(
        "INSERT INTO key_events (account_id, access_key_id, user_name, at, kind, what)"
        " VALUES (:account, :key, :user, :at, :kind, :what)",
        {"account": account_id, "key": key, "user": user_name, "at": at, "kind": kind, "what": what},
    )


def events_of(ledger: Ledger, key: AccessKeyId) -> Sequence[KeyEvent]:
    return _events(
        ledger.rows(
            "SELECT number, access_key_id, user_name, at, kind, what FROM key_events"
            " WHERE access_key_id = :key ORDER BY number",
            {"key": key},
        )
    )


def untold(ledger: Ledger, kinds: Sequence[str], most: int) -> Sequence[KeyEvent]:
    """What no notification has carried yet, of these kinds and in its order."""
    wanted = ", ".join(f":kind{number}" for number in range(len(kinds)))
    return _events(
        ledger.rows(
            "SELECT number, access_key_id, user_name, at, kind, what FROM key_events"  # noqa: S608 - names of parameters
            f" WHERE told_at IS NULL AND kind IN ({wanted}) ORDER BY number LIMIT :most",
            {"most": most, **{f"kind{number}": kind for number, kind in enumerate(kinds)}},
        )
    )


def mark_told(ledger: Ledger, event: KeyEvent, at: int) -> None:
    ledger.execute(
        "UPDATE key_events SET told_at = :at WHERE number = :number", {"at": at, "number": event.number}
    )


def _events(rows: Sequence[Sequence[object]]) -> Sequence[KeyEvent]:
    return [
        KeyEvent(
            cast("int", number),
            AccessKeyId(cast("str", key)),
            cast("str", user),
            cast("int", at),
            cast("str", kind),
            cast("str", what),
        )
        for number, key, user, at, kind, what in rows
    ]


# Chores


def done_at(ledger: Ledger, account_id: AccountId, name: str) -> int:
    """When it was done last; 0 if never."""
    row = ledger.row(
        "SELECT done_at FROM chores WHERE account_id = :account AND name = :name",
        {"account": account_id, "name": name},
    )
    return 0 if row is None else cast("int", row[0])


def mark_done(ledger: Ledger, account_id: AccountId, name: str, at: int) -> None:
    ledger.execute(
        "INSERT INTO chores (account_id, name, done_at) VALUES (:account, :name, :at)"
        " ON CONFLICT (account_id, name) DO UPDATE SET done_at = :at",
        {"account": account_id, "name": name, "at": at},
    )
