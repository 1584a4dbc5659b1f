"""The journal of incidents and of exposed identifiers. One function a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from keyturn.leaks.incidents import Incident, as_json, from_json
from keyturn.model.errors import KeyturnError
from keyturn.store.shared_sqlite import Ledger


@dataclass(frozen=True, slots=True)
class Row:
    """An incident, and the version that the next write must find."""

    incident: Incident
    version: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an incident's timeline."""

    at: int
    kind: str
    what: str


_COLUMNS: Final = "progress, version"


def _row(row: Sequence[object]) -> Row:
    return Row(from_json(cast("str", row[0])), cast("int", row[1]))


def add(ledger: Ledger, incident: Incident) -> None:
    ledger.execute(
        "INSERT INTO incidents (incident_id, fingerprint, access_key_id, account_id, stage, progress, version,"
        " opened_at) VALUES (:id, :fingerprint, :key, :account, :stage, :progress, 1, :at)",
        {
            "id": incident.incident_id,
            "fingerprint": incident.fingerprint,
            "key": incident.access_key_id,
            "account": incident.account_id,
            "stage": incident.stage.value,
            "progress": as_json(incident),
            "at": incident.opened_at,
        },
    )


def keep(ledger: Ledger, row: Row, incident: Incident, *, closed_at: int | None = None) -> Row:
    """Replace what is known, if nobody else has meanwhile. KeyturnError if somebody has."""
    changed = ledger.execute(
        "UPDATE incidents SET progress = :progress, stage = :stage, version = version + 1, closed_at = :closed"
        " WHERE incident_id = :id AND version = :version",
        {
            "progress": as_json(incident),
            "stage": incident.stage.value,
            "closed": closed_at,
            "id": incident.incident_id,
            "version": row.version,
        },
    )
    if not changed:
        raise KeyturnError(f"the incident {incident.incident_id} was changed by another process", "try again")
    return Row(incident, row.version + 1)


def by_id(ledger: Ledger, incident_id: str) -> Row | None:
    row = ledger.row(
        f"SELECT {_COLUMNS} FROM incidents WHERE incident_id = :id",  # noqa: S608 - a constant
        {"id": incident_id},
    )
    return None if row is None else _row(row)


def of_fingerprint(ledger: Ledger, fingerprint: str) -> Row | None:
    row = ledger.row(
        f"SELECT {_COLUMNS} FROM incidents WHERE fingerprint = :fingerprint",  # noqa: S608 - a constant
        {"fingerprint": fingerprint},
    )
    return None if row is None else _row(row)


def of_key(ledger: Ledger, access_key_id: str) -> Row | None:
    """The last incident of an id, whichever its fingerprint."""
    row = ledger.row(
        f"SELECT {_COLUMNS} FROM incidents WHERE access_key_id = :key ORDER BY opened_at DESC LIMIT 1",  # noqa: S608 - a constant
        {"key": access_key_id},
    )
    return None if row is None else _row(row)


def open_ones(ledger: Ledger) -> Sequence[Row]:
    rows = ledger.rows(f"SELECT {_COLUMNS} FROM incidents WHERE closed_at IS NULL ORDER BY opened_at")  # noqa: S608 - a constant
    return [_row(row) for row in rows]


def latest(ledger: Ledger, most: int) -> Sequence[Row]:
    rows = ledger.rows(
        f"SELECT {_COLUMNS} FROM incidents ORDER BY opened_at DESC LIMIT :most",  # noqa: S608 - a constant
        {"most": most},
    )
    return [_row(row) for row in rows]


def note(ledger: Ledger, incident_id: str, at: int, kind: str, what: str) -> None:
    ledger.execute(
        "INSERT INTO timeline (incident_id, number, at, kind, what) SELECT :id, coalesce(max(number), 0) + 1, :at,"
        " :kind, :what FROM timeline WHERE incident_id = :id",
        {"id": incident_id, "at": at, "kind": kind, "what": what},
    )


def timeline(ledger: Ledger, incident_id: str) -> Sequence[Line]:
    rows = ledger.rows(
        "SELECT at, kind, what FROM timeline WHERE incident_id = :id ORDER BY number", {"id": incident_id}
    )
    return [Line(cast("int", at), cast("str", kind), cast("str", what)) for at, kind, what in rows]


def expose(ledger: Ledger, access_key_id: str, place: str, at: int) -> None:
    """Note that an id was seen without a secret that works. Rows per id are bounded: the rest is counted in one."""
    rows = ledger.row(
        "SELECT count(*) FROM exposed_identifiers WHERE access_key_id = :key", {"key": access_key_id}
    )
    where = place if rows is None or cast("int", rows[0]) < 50 else "elsewhere"
    ledger.execute(
        "INSERT INTO exposed_identifiers (access_key_id, place, first_at, last_at, count)"
        " VALUES (:key, :place, :at, :at, 1) ON CONFLICT (access_key_id, place)"
        " DO UPDATE SET last_at = :at, count = exposed_identifiers.count + 1",
        {"key": access_key_id, "place": where, "at": at},
    )


def exposed(ledger: Ledger, most: int) -> Sequence[tuple[str, str, int, int, int]]:
    """(id, place, first at, last at, count), most recent first."""
    rows = ledger.rows(
        "SELECT access_key_id, place, first_at, last_at, count FROM exposed_identifiers"
        " ORDER BY last_at DESC LIMIT :most",
        {"most": most},
    )
    return [cast("tuple[str, str, int, int, int]", tuple(row)) for row in rows]
