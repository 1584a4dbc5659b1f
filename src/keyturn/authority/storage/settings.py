"""Rows of what an account has set for itself."""

from __future__ import annotations

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction


def setting(reader: Reader, account_id: AccountId, name: str) -> str | None:
    row = reader.row(
        "SELECT value FROM account_settings WHERE account_id = :account AND name = :name",
        {"account": account_id, "name": name},
    )
    return None if row is None else str(row[0])


def put_setting(tx: Transaction, account_id: AccountId, name: str, value: str) -> None:
    tx.execute(
        "INSERT INTO account_settings (account_id, name, value) VALUES (:account, :name, :value)"
        " ON CONFLICT (account_id, name) DO UPDATE SET value = excluded.value",
        {"account": account_id, "name": name, "value": value},
    )
