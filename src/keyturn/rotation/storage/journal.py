"""The journal of rotations: where each one stands, every intent and outcome, and pairs under way, sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError
from keyturn.rotation.progress import Progress, as_json, from_json
from keyturn.store.interface import UniqueViolationError
from keyturn.store.shared_sqlite import Ledger

NEW_PAIR: Final = ""
"""The holder of the new pair: no sink has an empty name."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A row of the journal: the progress, where its endpoint is, and the version that the next write must find."""

    progress: Progress
    endpoint: str
    """A URL; empty for AWS's own."""
    region: str
    profile: str
    version: int
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a rotation's record."""

    rotation_id: str
    number: int
    at: int
    kind: str
    what: str


_COLUMNS: Final = "progress, endpoint, region, profile, version, finished_at"


def _rotation(row: Sequence[object]) -> Rotation:
    progress, endpoint, region, profile, version, finished_at = row
    return Rotation(
        from_json(cast("str", progress)),
        cast("str", endpoint),
        cast("str", region),
        cast("str", profile),
        cast("int", version),
        cast("int | None", finished_at),
    )


def add(ledger: Ledger, progress: Progress, *, endpoint: str, region: str, profile: str) -> None:
    """KeyturnError if a rotation of this user is open."""
    try:
        ledger.execute(
            "INSERT INTO rotations (rotation_id, account_id, user_name, endpoint, region, profile, stage, progress,"
            " version, next_at, started_at) VALUES (:id, :account, :user, :endpoint, :region, :profile, :stage,"
            " :progress, 1, :next_at, :started_at)",
            {
                "id": progress.rotation_id,
                "account": progress.account_id,
                "user": progress.user_name,
                "endpoint": endpoint,
                "region": region,
                "profile": profile,
                "stage": progress.stage.value,
                "progress": as_json(progress),
                "next_at": progress.next_at,
                "started_at": progress.started_at,
            },
        )
    except UniqueViolationError as error:
        open_one = of_user(ledger, progress.account_id, progress.user_name)
        known = "" if open_one is None else f" ({open_one.progress.rotation_id})"
        raise KeyturnError(
            f"a rotation of {progress.user_name} is under way already{known}", "see `keyturn status`"
        ) from error


def keep(
    ledger: Ledger, rotation: Rotation, progress: Progress, *, finished_at: int | None = None
) -> Rotation:
    """Replace the progress, if nobody else has meanwhile. KeyturnError if somebody has."""
    changed = ledger.execute(
        "UPDATE rotations SET progress = :progress, stage = :stage, version = version + 1, next_at = :next_at,"
        " finished_at = :finished_at WHERE rotation_id = :id AND version = :version",
        {
            "progress": as_json(progress),
            "stage": progress.stage.value,
            "next_at": progress.next_at,
            "finished_at": finished_at,
            "id": progress.rotation_id,
            "version": rotation.version,
        },
    )
    if not changed:
        raise KeyturnError(f"the rotation {progress.rotation_id} was changed by another process", "try again")
    return Rotation(
        progress, rotation.endpoint, rotation.region, rotation.profile, rotation.version + 1, finished_at
    )


def by_id(ledger: Ledger, rotation_id: str) -> Rotation | None:
    row = ledger.row(f"SELECT {_COLUMNS} FROM rotations WHERE rotation_id = :id", {"id": rotation_id})  # noqa: S608 - a constant
    return None if row is None else _rotation(row)


def by_prefix(ledger: Ledger, prefix: str) -> Sequence[Rotation]:
    """The rotations whose id begins so, and the open ones of a user of that name."""
    rows = ledger.rows(
        f"SELECT {_COLUMNS} FROM rotations WHERE substr(rotation_id, 1, :length) = :prefix"  # noqa: S608 - a constant
        " OR (user_name = :prefix AND finished_at IS NULL) ORDER BY started_at LIMIT 3",
        {"prefix": prefix, "length": len(prefix)},
    )
    return [_rotation(row) for row in rows]


def of_user(ledger: Ledger, account_id: str, user_name: str) -> Rotation | None:
    """The open rotation of a user."""
    row = ledger.row(
        f"SELECT {_COLUMNS} FROM rotations"  # noqa: S608 - a constant
        " WHERE account_id = :account AND user_name = :user AND finished_at IS NULL",
        {"account": account_id, "user": user_name},
    )
    return None if row is None else _rotation(row)


def emergency_of(ledger: Ledger, account_id: str, dead_key: AccessKeyId) -> Rotation | None:
    """The finished rotation that has replaced this key after its death, if there is one."""
    rows = ledger.rows(
        f"SELECT {_COLUMNS} FROM rotations WHERE account_id = :account AND finished_at IS NOT NULL"  # noqa: S608 - a constant
        " AND stage = 'done' ORDER BY finished_at DESC LIMIT 10000",
        {"account": account_id},
    )
    found = (_rotation(row) for row in rows)
    return next(
        (each for each in found if each.progress.old_key == dead_key and each.progress.terms.is_emergency),
        None,
    )


def open_ones(ledger: Ledger) -> Sequence[Rotation]:
    rows = ledger.rows(f"SELECT {_COLUMNS} FROM rotations WHERE finished_at IS NULL ORDER BY started_at")  # noqa: S608 - a constant
    return [_rotation(row) for row in rows]


def latest(ledger: Ledger, most: int) -> Sequence[Rotation]:
    """The last that were finished, youngest first."""
    rows = ledger.rows(
        f"SELECT {_COLUMNS} FROM rotations WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT :most",  # noqa: S608 - a constant
        {"most": most},
    )
    return [_rotation(row) for row in rows]


def due(ledger: Ledger, now: int, most: int) -> Sequence[str]:
    """The ids of open rotations whose time has come, longest overdue first."""
    rows = ledger.rows(
        "SELECT rotation_id FROM rotations WHERE finished_at IS NULL AND next_at <= :now"
        " ORDER BY next_at LIMIT :most",
        {"now": now, "most": most},
    )
    return [cast("str", row[0]) for row in rows]


def next_due(ledger: Ledger) -> int | None:
    """When the next open rotation has something to do."""
    row = ledger.row("SELECT min(next_at) FROM rotations WHERE finished_at IS NULL")
    return None if row is None else cast("int | None", row[0])


# Events


def note(ledger: Ledger, rotation_id: str, at: int, kind: str, what: str) -> None:
    """Append a line to the record."""
    ledger.execute(
        "INSERT INTO events (rotation_id, number, at, kind, what) SELECT :id, coalesce(max(number), 0) + 1, :at,"
        " :kind, :what FROM events WHERE rotation_id = :id",
        {"id": rotation_id, "at": at, "kind": kind, "what": what},
    )


def events(ledger: Ledger, rotation_id: str) -> Sequence[Event]:
    rows = ledger.rows(
        "SELECT rotation_id, number, at, kind, what FROM events WHERE rotation_id = :id ORDER BY number",
        {"id": rotation_id},
    )
    return [_event(row) for row in rows]


def untold(ledger: Ledger, kinds: Sequence[str], most: int) -> Sequence[Event]:
    """Events of these kinds that no notification has carried yet, in their order."""
    found: list[Event] = []
    for kind in kinds:
        rows = ledger.rows(
            "SELECT rotation_id, number, at, kind, what FROM events WHERE kind = :kind AND told_at IS NULL"
            " ORDER BY at LIMIT :most",
            {"kind": kind, "most": most},
        )
        found += [_event(row) for row in rows]
    return sorted(found, key=lambda event: (event.at, event.rotation_id, event.number))[:most]


def mark_told(ledger: Ledger, event: Event, at: int) -> None:
    ledger.execute(
        "UPDATE events SET told_at = :at WHERE rotation_id = :id AND number = :number",
        {"at": at, "id": event.rotation_id, "number": event.number},
    )


def _event(row: Sequence[object]) -> Event:
    rotation_id, number, at, kind, what = row
    return Event(
        cast("str", rotation_id), cast("int", number), cast("int", at), cast("str", kind), cast("str", what)
    )


# Pairs under way


def put_sealed(ledger: Ledger, rotation_id: str, holder: str, key: AccessKeyId, sealed: bytes) -> None:
    ledger.execute(
        "INSERT INTO sealed_pairs (rotation_id, holder, access_key_id, sealed) VALUES (:id, :holder, :key, :sealed)"
        " ON CONFLICT (rotation_id, holder) DO UPDATE SET access_key_id = :key, sealed = :sealed",
        {"id": rotation_id, "holder": holder, "key": key, "sealed": sealed},
    )


def sealed(ledger: Ledger, rotation_id: str, holder: str) -> tuple[AccessKeyId, bytes] | None:
    row = ledger.row(
        "SELECT access_key_id, sealed FROM sealed_pairs WHERE rotation_id = :id AND holder = :holder",
        {"id": rotation_id, "holder": holder},
    )
    return None if row is None else (AccessKeyId(cast("str", row[0])), cast("bytes", row[1]))


def sealed_holders(ledger: Ledger, rotation_id: str) -> Sequence[str]:
    rows = ledger.rows(
        "SELECT holder FROM sealed_pairs WHERE rotation_id = :id ORDER BY holder", {"id": rotation_id}
    )
    return [cast("str", row[0]) for row in rows]


def erase(ledger: Ledger, rotation_id: str, holder: str) -> None:
    ledger.execute(
        "DELETE FROM sealed_pairs WHERE rotation_id = :id AND holder = :holder",
        {"id": rotation_id, "holder": holder},
    )


def erase_all(ledger: Ledger, rotation_id: str) -> None:
    ledger.execute("DELETE FROM sealed_pairs WHERE rotation_id = :id", {"id": rotation_id})


# Samples of last use


def add_sample(ledger: Ledger, key: AccessKeyId, at: int, last_used_at: int | None) -> None:
    ledger.execute(
        "INSERT INTO samples (access_key_id, at, last_used_at) VALUES (:key, :at, :used)"
        " ON CONFLICT (access_key_id, at) DO NOTHING",
        {"key": key, "at": at, "used": last_used_at},
    )


def samples(ledger: Ledger, key: AccessKeyId) -> Sequence[tuple[int, int | None]]:
    """(asked at, last used at) in time order."""
    rows = ledger.rows(
        "SELECT at, last_used_at FROM samples WHERE access_key_id = :key ORDER BY at", {"key": key}
    )
    return [(cast("int", at), cast("int | None", used)) for at, used in rows]
