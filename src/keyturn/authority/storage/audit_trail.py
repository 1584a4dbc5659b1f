"""Rows of the audit trail, and its head: the last link of the chain and the store's revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction


@dataclass(frozen=True, slots=True)
class AuditHead:
    sequence: int
    """Number of the last record; 0 before the first."""
    chain: bytes
    """The last record's link; empty before the first."""
    revision: int
    """Grows by one with each change to the store."""


class ChainedRecord(NamedTuple):
    sequence: int
    account_id: AccountId
    event_time: int
    event_name: str
    user_name: str | None
    access_key_id: str | None
    record: str
    chain: bytes


def audit_head(reader: Reader) -> AuditHead:
    row = reader.row("SELECT sequence, chain, revision FROM audit_head WHERE singleton = 1")
    assert row is not None, "the migration makes this row"
    sequence, chain, revision = row
    assert isinstance(chain, bytes)
    return AuditHead(int(sequence or 0), chain, int(revision or 0))


def append(tx: Transaction, record: ChainedRecord, previous: bytes) -> bool:
    """The record and the new head, in one transaction with the change that they tell of.

    False, and nothing done, if the head is not the record before with the link `previous`.
    """
    moved = tx.execute(
        "UPDATE audit_head SET sequence = :sequence, chain = :chain, revision = revision + 1"
        " WHERE singleton = 1 AND sequence = :before AND chain = :previous",
        {
            "sequence": record.sequence,
            "chain": record.chain,
            "before": record.sequence - 1,
            "previous": previous,
        },
    )
    if not moved:
        return False
    tx.execute(
        "INSERT INTO audit_records (sequence, account_id, event_time, event_name, user_name, access_key_id,"
        " record, chain) VALUES (:sequence, :account, :time, :name, :user, :key, :record, :chain)",
        {
            "sequence": record.sequence,
            "account": record.account_id,
            "time": record.event_time,
            "name": record.event_name,
            "user": record.user_name,
            "key": record.access_key_id,
            "record": record.record,
            "chain": record.chain,
        },
    )
    return True


def records_after(reader: Reader, sequence: int, limit: int) -> list[ChainedRecord]:
    records = []
    for row in reader.rows(
        "SELECT sequence, account_id, event_time, event_name, user_name, access_key_id, record, chain"
        " FROM audit_records WHERE sequence > :after ORDER BY sequence LIMIT :limit",
        {"after": sequence, "limit": limit},
    ):
        number, account_id, time, name, user, key, record, chain = row
        assert isinstance(chain, bytes)
        records.append(
            ChainedRecord(
                int(number or 0),
                AccountId(str(account_id)),
                int(time or 0),
                str(name),
                None if user is None else str(user),
                None if key is None else str(key),
                str(record),
                chain,
            )
        )
    return records


def has_records_before_the_first(reader: Reader) -> bool:
    return reader.row("SELECT 1 FROM audit_records WHERE sequence < 1 LIMIT 1") is not None


def chain_at(reader: Reader, sequence: int) -> bytes | None:
    row = reader.row("SELECT chain FROM audit_records WHERE sequence = :sequence", {"sequence": sequence})
    if row is None:
        return None
    assert isinstance(row[0], bytes)
    return row[0]
