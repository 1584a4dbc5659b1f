"""What LookupEvents looks through, newest first: rows of the audit trail and of the usage file.

Each page goes on behind a position, so that no call reads more than it was told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.usage import UsageKey, UsageRow
from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.store.interface import Reader, Value

MOST_KEYS: Final = 500


@dataclass(frozen=True, slots=True)
class AuditPosition:
    """Behind this record, which need not exist. Times are epoch milliseconds."""

    time: int
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class UsagePosition:
    """Behind this row, which need not exist."""

    time: int
    key: tuple[str, str, str, str, str, str] = ("", "", "", "", "", "")

    @classmethod
    def of(cls, row: UsageRow) -> UsagePosition:
        key = row.key
        return cls(
            row.last, (key.access_key_id, key.outcome, key.source, key.user_agent, key.service, key.action)
        )


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    time: int
    sequence: int
    name: str
    user_name: str | None
    access_key_id: str | None
    record: str
    """JSON, as CloudTrail writes it."""


def audit_records_behind(
    reader: Reader,
    position: AuditPosition,
    start: int,
    limit: int,
    *,
    access_key_id: str | None = None,
    user_name: str | None = None,
) -> list[RecordedEvent]:
    """Of one key or user, if one is given; none older than `start`."""
    condition = ""
    parameters: dict[str, Value] = {
        "start": start,
        "time": position.time,
        "sequence": position.sequence,
        "limit": limit,
    }
    if access_key_id is not None:
        condition, parameters["key"] = " AND access_key_id = :key", access_key_id
    elif user_name is not None:
        condition, parameters["user"] = " AND user_name = :user", user_name
    return [
        RecordedEvent(
            int(time or 0),
            int(sequence or 0),
            str(name),
            None if user is None else str(user),
            None if key is None else str(key),
            str(record),
        )
        for time, sequence, name, user, key, record in reader.rows(
            "SELECT event_time, sequence, event_name, user_name, access_key_id, record FROM audit_records"  # noqa: S608 - only constants
            " WHERE event_time >= :start AND event_time <= :time"
            f" AND (event_time < :time OR sequence < :sequence){condition}"
            " ORDER BY event_time DESC, sequence DESC LIMIT :limit",
            parameters,
        )
    ]


def usage_rows_behind(
    reader: Reader, position: UsagePosition, start: int, limit: int, keys: Sequence[str] | None = None
) -> list[UsageRow]:
    """By the time of their last use; of these keys only, if any are given."""
    parameters: dict[str, Value] = {"start": start, "time": position.time, "limit": limit}
    parameters |= {f"at{place}": part for place, part in enumerate(position.key)}
    condition = ""
    if keys is not None:
        named = {f"key{place}": key for place, key in enumerate(keys[:MOST_KEYS])}
        parameters |= named
        condition = f" AND access_key_id IN ({', '.join(f':{name}' for name in named)})"
    return [
        UsageRow(
            UsageKey(AccessKeyId(str(key)), str(outcome), str(source), str(agent), str(service), str(action)),
            int(first or 0),
            int(last or 0),
            int(count or 0),
        )
        for key, outcome, source, agent, service, action, first, last, count in reader.rows(
            "SELECT access_key_id, outcome, source, user_agent, service, action, first_at, last_at, uses"  # noqa: S608 - only constants
            " FROM usage_rows WHERE last_at >= :start AND last_at <= :time"
            " AND (last_at, access_key_id, outcome, source, user_agent, service, action)"
            f" < (:time, :at0, :at1, :at2, :at3, :at4, :at5){condition}"
            " ORDER BY last_at DESC, access_key_id DESC, outcome DESC, source DESC, user_agent DESC,"
            " service DESC, action DESC LIMIT :limit",
            parameters,
        )
    ]


def keys_of_user_named(reader: Reader, account_id: AccountId, user_name: str) -> list[str]:
    """Those that the user has, and those that a user of that name had."""
    living = reader.rows(
        "SELECT k.access_key_id FROM users u JOIN access_keys k ON k.user_id = u.user_id"
        " WHERE u.account_id = :account AND u.name = :name",
        {"account": account_id, "name": user_name},
    )
    deleted = reader.rows(
        "SELECT access_key_id FROM issued_access_key_ids WHERE user_name = :name AND account_id = :account"
        " AND deleted_at IS NOT NULL ORDER BY deleted_at DESC LIMIT :limit",
        {"account": account_id, "name": user_name, "limit": MOST_KEYS},
    )
    return [str(key) for (key,) in (*living, *deleted)]
