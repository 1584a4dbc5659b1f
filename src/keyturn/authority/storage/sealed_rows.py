"""Every column that holds sealed values, in one list, and what a new master key asks of all of them alike.

A table that is forgotten here would be lost at the next rotation: a test compares the list with the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Row, Transaction, Value
from keyturn.store.sealing import Purpose


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where sealed values stand, and to what they are bound. The last three are SQL over the row."""

    table: str
    column: str
    key: tuple[str, ...]
    """The primary key."""
    owner: str
    name: str
    purpose: str


SEALED: Final = (
    SealedColumn(
        "access_keys", "sealed_secret", ("access_key_id",), "user_id", "access_key_id", "'access-key'"
    ),
    SealedColumn("mfa_devices", "sealed_seed", ("serial_number",), "'mfa'", "serial_number", "'totp'"),
    SealedColumn(
        "secret_versions", "sealed_value", ("arn", "version_id"), "arn", "version_id", "'secretsmanager'"
    ),
    SealedColumn("sealed_keys", "sealed", ("account_id", "purpose"), "'keyturn'", "purpose", "purpose"),
)

OWNER_OF_KEYS: Final = "keyturn"
"""What the values of `sealed_keys` are bound to in place of a user."""
_OTHER_KEK: Final = "(kek_id <> :kek OR substr({column}, 2, 4) <> :kek)"
"""The value itself says which master key sealed it, in the bytes after its version (see `sealing`)."""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One sealed value with all that is needed to open it and to put another in its place."""

    where: SealedColumn
    key: tuple[Value, ...]
    account_id: AccountId
    owner: str
    name: str
    purpose: Purpose
    sealed: bytes

    @property
    def told(self) -> str:
        """How a person finds it."""
        return f"{self.where.table} {self.name}"


def rows_after(
    reader: Reader,
    where: SealedColumn,
    after: tuple[Value, ...] | None,
    limit: int,
    *,
    not_under: bytes | None = None,
) -> list[SealedRow]:
    """A batch behind a key, in the order of the keys; those alone that another master key than this sealed."""
    width = len(where.key)
    conditions = [] if not_under is None else [_OTHER_KEK.format(column=where.column)]
    parameters: dict[str, Value] = {"limit": limit}
    if not_under is not None:
        parameters["kek"] = not_under
    if after is not None:
        marks = ", ".join(f":after_{number}" for number in range(width))
        conditions.append(f"({', '.join(where.key)}) > ({marks})")
        parameters |= {f"after_{number}": value for number, value in enumerate(after)}
    columns = ", ".join((*where.key, "account_id", where.owner, where.name, where.purpose, where.column))
    behind = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = reader.rows(
        f"SELECT {columns} FROM {where.table}{behind}"  # noqa: S608 - names from the list above
        f" ORDER BY {', '.join(where.key)} LIMIT :limit",
        parameters,
    )
    return [_sealed_row(where, row) for row in rows]


def _sealed_row(where: SealedColumn, row: Row) -> SealedRow:
    width = len(where.key)
    account_id, owner, name, purpose, sealed = row[width:]
    assert isinstance(sealed, bytes)
    return SealedRow(
        where,
        row[:width],
        AccountId(str(account_id)),
        str(owner),
        str(name),
        Purpose(str(purpose)),
        sealed,
    )


def replace_sealed(tx: Transaction, row: SealedRow, sealed: bytes, kek_id: bytes) -> bool:
    """Put the new value in the place of exactly this old one; False if another stands there by now."""
    where = row.where
    conditions = " AND ".join(f"{name} = :key_{number}" for number, name in enumerate(where.key))
    parameters: dict[str, Value] = {f"key_{number}": value for number, value in enumerate(row.key)}
    changed = tx.execute(
        f"UPDATE {where.table} SET {where.column} = :sealed, kek_id = :kek"  # noqa: S608 - as above
        f" WHERE {conditions} AND {where.column} = :old",
        {**parameters, "sealed": sealed, "kek": kek_id, "old": row.sealed},
    )
    return changed == 1


def count(reader: Reader, *, not_under: bytes | None = None) -> int:
    """How many sealed values there are in all, or how many that another master key than this sealed."""
    found = 0
    for where in SEALED:
        condition = "" if not_under is None else f" WHERE {_OTHER_KEK.format(column=where.column)}"
        row = reader.row(
            f"SELECT count(*) FROM {where.table}{condition}",  # noqa: S608 - as above
            {} if not_under is None else {"kek": not_under},
        )
        found += int(row[0] or 0) if row else 0
    return found


def kek_ids(reader: Reader) -> set[bytes]:
    """The ids of all master keys that sealed something here."""
    found: set[bytes] = set()
    for where in SEALED:
        for row in reader.rows(
            f"SELECT DISTINCT substr({where.column}, 2, 4) FROM {where.table}"  # noqa: S608 - as above
        ):
            assert isinstance(row[0], bytes)
            found.add(row[0])
    return found


def sealed_key(reader: Reader, account_id: AccountId, purpose: Purpose) -> bytes | None:
    row = reader.row(
        "SELECT sealed FROM sealed_keys WHERE account_id = :account AND purpose = :purpose",
        {"account": account_id, "purpose": purpose.value},
    )
    if row is None:
        return None
    assert isinstance(row[0], bytes)
    return row[0]


def insert_sealed_key(
    tx: Transaction, account_id: AccountId, purpose: Purpose, sealed: bytes, kek_id: bytes
) -> None:
    tx.execute(
        "INSERT INTO sealed_keys (account_id, purpose, sealed, kek_id)"
        " VALUES (:account, :purpose, :sealed, :kek)",
        {"account": account_id, "purpose": purpose.value, "sealed": sealed, "kek": kek_id},
    )


def replace_master_key(tx: Transaction, old_kek: bytes, new_kek: bytes, key_check: bytes) -> bool:
    """From now on the database belongs to the new master key; False if it did not belong to the old one."""
    changed = tx.execute(
        "UPDATE instance SET kek_id = :new, key_check = :check WHERE singleton = 1 AND kek_id = :old",
        {"old": old_kek, "new": new_kek, "check": key_check},
    )
    return changed == 1
