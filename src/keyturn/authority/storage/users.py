"""Rows of users."""

from __future__ import annotations

from typing import Final

from keyturn.authority.storage.tags import USER_TAGS, fold
from keyturn.model.access_keys import AccountId
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader, Row, Transaction

_SELECT: Final = "SELECT account_id, user_id, name, path, created_at FROM users"


def _user(row: Row) -> User:
    account_id, user_id, name, path, created_at = row
    return User(AccountId(str(account_id)), UserId(str(user_id)), str(name), str(path), int(created_at or 0))


def user_by_name(reader: Reader, account_id: AccountId, name: str) -> User | None:
    row = reader.row(
        _SELECT + " WHERE account_id = :account AND folded_name = :name",
        {"account": account_id, "name": fold(name)},
    )
    return _user(row) if row else None


def user_and_boundary(reader: Reader, account_id: AccountId, name: str) -> tuple[User, str | None] | None:
    """The user with the ARN of their permissions boundary."""
    row = reader.row(
        "SELECT account_id, user_id, name, path, created_at, boundary_arn FROM users"
        " WHERE account_id = :account AND folded_name = :name",
        {"account": account_id, "name": fold(name)},
    )
    return (_user(row[:5]), None if row[5] is None else str(row[5])) if row else None


def user_by_id(reader: Reader, user_id: UserId) -> User | None:
    row = reader.row(_SELECT + " WHERE user_id = :id", {"id": user_id})
    return _user(row) if row else None


def users_after(
    reader: Reader, account_id: AccountId, after: str, path_prefix: str, limit: int
) -> list[User]:
    """A page of users whose folded name sorts behind `after` and whose path begins with `path_prefix`."""
    return [
        _user(row)
        for row in reader.rows(
            _SELECT + " WHERE account_id = :account AND folded_name > :after"
            " AND substr(path, 1, :length) = :prefix ORDER BY folded_name LIMIT :limit",
            {
                "account": account_id,
                "after": after,
                "length": len(path_prefix),
                "prefix": path_prefix,
                "limit": limit,
            },
        )
    ]


def count_users(reader: Reader, account_id: AccountId) -> int:
    row = reader.row("SELECT count(*) FROM users WHERE account_id = :account", {"account": account_id})
    return int(row[0] or 0) if row else 0


def insert_user(tx: Transaction, user: User) -> None:
    tx.execute(
        "INSERT INTO users (user_id, account_id, name, folded_name, path, created_at)"
        " VALUES (:id, :account, :name, :folded, :path, :created)",
        {
            "id": user.user_id,
            "account": user.account_id,
            "name": user.name,
            "folded": fold(user.name),
            "path": user.path,
            "created": user.created_at,
        },
    )


def rename_user(tx: Transaction, user_id: UserId, name: str, path: str) -> None:
    tx.execute(
        "UPDATE users SET name = :name, folded_name = :folded, path = :path WHERE user_id = :id",
        {"id": user_id, "name": name, "folded": fold(name), "path": path},
    )


def delete_user(tx: Transaction, user_id: UserId) -> None:
    USER_TAGS.delete_all(tx, user_id)
    tx.execute("DELETE FROM users WHERE user_id = :id", {"id": user_id})


def lock_user(tx: Transaction, user_id: UserId) -> None:
    """Nobody else changes this user's keys meanwhile."""
    tx.lock("UPDATE users SET created_at = created_at WHERE user_id = :id", {"id": user_id})
