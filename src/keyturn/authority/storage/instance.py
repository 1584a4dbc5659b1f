"""The one row that says which authority this database belongs to, and the account's alias."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction


@dataclass(frozen=True, slots=True)
class Instance:
    instance_id: str
    account_id: AccountId
    created_at: int
    kek_id: bytes | None
    """Of the master key that seals this database's secrets; None until the first start has one."""
    key_check: bytes | None
    """Tells the right master key from a wrong one; tells nothing about the key."""
    is_ready: bool
    """False until the first start has made the administrator."""


def instance(reader: Reader) -> Instance | None:
    row = reader.row(
        "SELECT instance_id, account_id, created_at, kek_id, key_check, is_ready FROM instance WHERE singleton = 1"
    )
    if row is None:
        return None
    instance_id, account_id, created_at, kek_id, key_check, is_ready = row
    return Instance(
        str(instance_id),
        AccountId(str(account_id)),
        int(created_at or 0),
        kek_id if isinstance(kek_id, bytes) else None,
        key_check if isinstance(key_check, bytes) else None,
        bool(is_ready),
    )


def insert_instance(tx: Transaction, instance_id: str, account_id: AccountId, now: int) -> None:
    tx.execute(
        "INSERT INTO instance (singleton, instance_id, account_id, created_at) VALUES (1, :id, :account, :now)",
        {"id": instance_id, "account": account_id, "now": now},
    )


def set_master_key(tx: Transaction, kek_id: bytes, key_check: bytes) -> None:
    tx.execute(
        "UPDATE instance SET kek_id = :kek, key_check = :check WHERE singleton = 1 AND kek_id IS NULL",
        {"kek": kek_id, "check": key_check},
    )


def set_ready(tx: Transaction) -> None:
    tx.execute("UPDATE instance SET is_ready = 1 WHERE singleton = 1")


def account_alias(reader: Reader, account_id: AccountId) -> str | None:
    row = reader.row("SELECT alias FROM account_aliases WHERE account_id = :account", {"account": account_id})
    return str(row[0]) if row else None


def put_account_alias(tx: Transaction, account_id: AccountId, alias: str) -> None:
    tx.execute(
        "INSERT INTO account_aliases (account_id, alias) VALUES (:account, :alias)"
        " ON CONFLICT (account_id) DO UPDATE SET alias = excluded.alias",
        {"account": account_id, "alias": alias},
    )


def delete_account_alias(tx: Transaction, account_id: AccountId) -> None:
    tx.execute("DELETE FROM account_aliases WHERE account_id = :account", {"account": account_id})
