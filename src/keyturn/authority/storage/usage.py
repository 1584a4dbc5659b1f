"""Rows of the usage file: last uses, who used or was refused, and what nobody proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from keyturn.model.access_keys import AccessKeyId
from keyturn.store.interface import Reader, Transaction

ROWS_PER_KEY: Final = 200
FOLDED: Final = "*"


class LastUse(NamedTuple):
    """A tuple, as `UsageKey` is: one of each is made per request."""

    at: int
    """Epoch milliseconds."""
    service: str
    region: str


@dataclass(frozen=True, slots=True)
class Unproved:
    """Attempts that anybody who knows the id could have made."""

    count: int
    at: int
    source: str


class UsageKey(NamedTuple):
    access_key_id: AccessKeyId
    outcome: str
    source: str
    user_agent: str
    service: str
    action: str

    def folded(self) -> UsageKey:
        """The row that takes what has no room of its own."""
        return UsageKey(self.access_key_id, self.outcome, FOLDED, FOLDED, FOLDED, FOLDED)


@dataclass(frozen=True, slots=True)
class UsageRow:
    key: UsageKey
    first: int
    last: int
    count: int


def add(
    tx: Transaction,
    batch: Iterable[UsageRow],
    last_uses: Mapping[AccessKeyId, LastUse],
    unproved: Mapping[AccessKeyId, Unproved],
) -> None:
    """Add to what is there. A last use never moves back."""
    for access_key_id in sorted(last_uses):
        use = last_uses[access_key_id]
        tx.execute(
            "INSERT INTO last_uses (access_key_id, used_at, service, region) VALUES (:id, :at, :service, :region)"
            " ON CONFLICT (access_key_id) DO UPDATE SET used_at = excluded.used_at,"
            " service = excluded.service, region = excluded.region WHERE excluded.used_at >= last_uses.used_at",
            {"id": access_key_id, "at": use.at, "service": use.service, "region": use.region},
        )
    held: dict[AccessKeyId, int] = {}
    for row in batch:
        _add_row(tx, row, held)
    for access_key_id in sorted(unproved):
        attempt = unproved[access_key_id]
        tx.execute(
            "INSERT INTO unproved_attempts (access_key_id, attempts, last_at, last_source)"
            " VALUES (:id, :count, :at, :source) ON CONFLICT (access_key_id) DO UPDATE SET"
            " attempts = unproved_attempts.attempts + excluded.attempts,"
            " last_at = excluded.last_at, last_source = excluded.last_source",
            {"id": access_key_id, "count": attempt.count, "at": attempt.at, "source": attempt.source},
        )


def _add_row(tx: Transaction, row: UsageRow, held: dict[AccessKeyId, int]) -> None:
    if _increase(tx, row.key, row):
        return
    access_key_id = row.key.access_key_id
    if access_key_id not in held:
        counted = tx.row(
            "SELECT count(*) FROM usage_rows WHERE access_key_id = :id AND source <> :folded",
            {"id": access_key_id, "folded": FOLDED},
        )
        held[access_key_id] = int(counted[0] or 0) if counted else 0
    key = row.key
    if key.source != FOLDED:
        if held[access_key_id] >= ROWS_PER_KEY:
            key = key.folded()
            if _increase(tx, key, row):
                return
        else:
            held[access_key_id] += 1
    tx.execute(
        "INSERT INTO usage_rows (access_key_id, outcome, source, user_agent, service, action, first_at,"
        " last_at, uses) VALUES (:id, :outcome, :source, :agent, :service, :action, :first, :last, :count)",
        _parameters(key, row),
    )


def _increase(tx: Transaction, key: UsageKey, row: UsageRow) -> bool:
    return bool(
        tx.execute(
            "UPDATE usage_rows SET uses = uses + :count,"
            " first_at = CASE WHEN first_at < :first THEN first_at ELSE :first END,"
            " last_at = CASE WHEN last_at > :last THEN last_at ELSE :last END"
            " WHERE access_key_id = :id AND outcome = :outcome AND source = :source AND user_agent = :agent"
            " AND service = :service AND action = :action",
            _parameters(key, row),
        )
    )


def _parameters(key: UsageKey, row: UsageRow) -> dict[str, str | int | bytes | None]:
    return {
        "id": key.access_key_id,
        "outcome": key.outcome,
        "source": key.source,
        "agent": key.user_agent,
        "service": key.service,
        "action": key.action,
        "first": row.first,
        "last": row.last,
        "count": row.count,
    }


def last_use(reader: Reader, access_key_id: AccessKeyId) -> LastUse | None:
    row = reader.row(
        "SELECT used_at, service, region FROM last_uses WHERE access_key_id = :id", {"id": access_key_id}
    )
    return None if row is None else LastUse(int(row[0] or 0), str(row[1]), str(row[2]))


def last_uses(reader: Reader) -> dict[AccessKeyId, LastUse]:
    """Of every key, those that are deleted too."""
    return {
        AccessKeyId(str(access_key_id)): LastUse(int(used_at or 0), str(service), str(region))
        for access_key_id, used_at, service, region in reader.rows(
            "SELECT access_key_id, used_at, service, region FROM last_uses"
        )
    }


def usage_of(reader: Reader, access_key_id: str) -> list[UsageRow]:
    """Latest first; the folded rows last."""
    found = []
    for outcome, source, agent, service, action, first, last, count in reader.rows(
        "SELECT outcome, source, user_agent, service, action, first_at, last_at, uses FROM usage_rows"
        " WHERE access_key_id = :id ORDER BY CASE WHEN source = :folded THEN 1 ELSE 0 END, last_at DESC",
        {"id": access_key_id, "folded": FOLDED},
    ):
        key = UsageKey(
            AccessKeyId(access_key_id), str(outcome), str(source), str(agent), str(service), str(action)
        )
        found.append(UsageRow(key, int(first or 0), int(last or 0), int(count or 0)))
    return found


def unproved_of(reader: Reader, access_key_id: str) -> Unproved | None:
    row = reader.row(
        "SELECT attempts, last_at, last_source FROM unproved_attempts WHERE access_key_id = :id",
        {"id": access_key_id},
    )
    return None if row is None else Unproved(int(row[0] or 0), int(row[1] or 0), str(row[2]))
