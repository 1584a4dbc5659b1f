"""Rows of access keys, of every id ever issued, and of the creations of the last minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus, AccountId
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader, Row, Transaction


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that exists, without its secret."""

    access_key_id: AccessKeyId
    user_id: UserId
    slot: int
    status: AccessKeyStatus
    created_at: int
    """Epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """What a verification needs: the key, its sealed secret, and its user as the store has them now."""

    access_key_id: AccessKeyId
    is_active: bool
    sealed_secret: bytes
    user: User
    created_at: int
    """Of the key, in epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class IssuedId:
    """An id that was issued once; the key itself may be deleted."""

    access_key_id: AccessKeyId
    account_id: AccountId
    user_name: str
    created_at: int
    deleted_at: int | None


_SELECT: Final = "SELECT access_key_id, user_id, slot, status, created_at FROM access_keys"


def _access_key(row: Row) -> AccessKey:
    access_key_id, user_id, slot, status, created_at = row
    return AccessKey(
        AccessKeyId(str(access_key_id)),
        UserId(str(user_id)),
        int(slot or 0),
        AccessKeyStatus(str(status)),
        int(created_at or 0),
    )


def holder_of(reader: Reader, access_key_id: AccessKeyId) -> KeyHolder | None:
    row = reader.row(
        "SELECT k.status, k.sealed_secret, k.created_at, u.account_id, u.user_id, u.name, u.path, u.created_at"
        " FROM access_keys k JOIN users u ON u.user_id = k.user_id WHERE k.access_key_id = :id",
        {"id": access_key_id},
    )
    if row is None:
        return None
    status, sealed, key_created_at, account_id, user_id, name, path, created_at = row
    assert isinstance(sealed, bytes)
    user = User(AccountId(str(account_id)), UserId(str(user_id)), str(name), str(path), int(created_at or 0))
    is_active = status == AccessKeyStatus.ACTIVE
    return KeyHolder(access_key_id, is_active, sealed, user, int(key_created_at or 0))


def access_key_of_user(reader: Reader, user_id: UserId, access_key_id: str) -> AccessKey | None:
    row = reader.row(
        _SELECT + " WHERE access_key_id = :id AND user_id = :user",
        {"id": access_key_id, "user": user_id},
    )
    return _access_key(row) if row else None


def access_keys_of_user(reader: Reader, user_id: UserId) -> list[AccessKey]:
    return [
        _access_key(row)
        for row in reader.rows(
            _SELECT + " WHERE user_id = :user ORDER BY created_at, access_key_id",
            {"user": user_id},
        )
    ]


def sealed_secret_of(reader: Reader, access_key_id: AccessKeyId) -> bytes | None:
    row = reader.row("SELECT sealed_secret FROM access_keys WHERE access_key_id = :id", {"id": access_key_id})
    if row is None:
        return None
    assert isinstance(row[0], bytes)
    return row[0]


def count_access_keys(reader: Reader, account_id: AccountId) -> int:
    row = reader.row("SELECT count(*) FROM access_keys WHERE account_id = :account", {"account": account_id})
    return int(row[0] or 0) if row else 0


def issued_id(reader: Reader, access_key_id: str) -> IssuedId | None:
    row = reader.row(
        "SELECT access_key_id, account_id, user_name, created_at, deleted_at"
        " FROM issued_access_key_ids WHERE access_key_id = :id",
        {"id": access_key_id},
    )
    if row is None:
        return None
    key, account_id, user_name, created_at, deleted_at = row
    return IssuedId(
        AccessKeyId(str(key)),
        AccountId(str(account_id)),
        str(user_name),
        int(created_at or 0),
        None if deleted_at is None else int(deleted_at),
    )


def insert_access_key(
    tx: Transaction, key: AccessKey, user: User, sealed_secret: bytes, kek_id: bytes
) -> bool:
    """The id is booked for ever, the key takes its slot. False, and nothing done, if the id was ever issued;
    UniqueViolationError if the slot is taken.
    """
    booked = tx.execute(
        "INSERT INTO issued_access_key_ids (access_key_id, account_id, user_id, user_name, created_at)"
        " VALUES (:id, :account, :user, :name, :created) ON CONFLICT (access_key_id) DO NOTHING",
        {
            "id": key.access_key_id,
            "account": user.account_id,
            "user": key.user_id,
            "name": user.name,
            "created": key.created_at,
        },
    )
    if not booked:
        return False
    tx.execute(
        "INSERT INTO access_keys (access_key_id, account_id, user_id, slot, status, sealed_secret, kek_id,"
        " created_at) VALUES (:id, :account, :user, :slot, :status, :sealed, :kek, :created)",
        {
            "id": key.access_key_id,
            "account": user.account_id,
            "user": key.user_id,
            "slot": key.slot,
            "status": key.status.value,
            "sealed": sealed_secret,
            "kek": kek_id,
            "created": key.created_at,
        },
    )
    return True


def set_access_key_status(tx: Transaction, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None:
    tx.execute(
        "UPDATE access_keys SET status = :status WHERE access_key_id = :id",
        {"id": access_key_id, "status": status.value},
    )


def delete_access_key(tx: Transaction, access_key_id: AccessKeyId, user_name: str, now: int) -> None:
    """The secret is destroyed; the id stays, with the name that its user had last."""
    tx.execute("DELETE FROM access_keys WHERE access_key_id = :id", {"id": access_key_id})
    tx.execute(
        "UPDATE issued_access_key_ids SET deleted_at = :now, user_name = :name WHERE access_key_id = :id",
        {"id": access_key_id, "now": now, "name": user_name},
    )


def creation_of(reader: Reader, request_hash: bytes, since: int) -> AccessKeyId | None:
    row = reader.row(
        "SELECT access_key_id FROM access_key_creations WHERE request_hash = :hash AND created_at >= :since",
        {"hash": request_hash, "since": since},
    )
    return AccessKeyId(str(row[0])) if row else None


def creations_since(reader: Reader, since: int) -> list[tuple[AccessKeyId, int]]:
    return [
        (AccessKeyId(str(key)), int(created_at or 0))
        for key, created_at in reader.rows(
            "SELECT access_key_id, created_at FROM access_key_creations WHERE created_at >= :since",
            {"since": since},
        )
    ]


def forget_creations(tx: Transaction, before: int) -> None:
    tx.execute("DELETE FROM access_key_creations WHERE created_at < :before", {"before": before})


def note_creation(
    tx: Transaction,
    account_id: AccountId,
    request_hash: bytes,
    access_key_id: AccessKeyId,
    now: int,
) -> None:
    tx.execute(
        "INSERT INTO access_key_creations (request_hash, account_id, access_key_id, created_at)"
        " VALUES (:hash, :account, :id, :now)"
        " ON CONFLICT (request_hash) DO UPDATE SET access_key_id = excluded.access_key_id,"
        " created_at = excluded.created_at",
        {"hash": request_hash, "account": account_id, "id": access_key_id, "now": now},
    )
