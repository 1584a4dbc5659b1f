"""Rows of groups and who is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import fold
from keyturn.model.access_keys import AccountId
from keyturn.model.arns import group_arn
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader, Row, Transaction

_SELECT: Final = "SELECT g.account_id, g.group_id, g.name, g.path, g.created_at FROM groups g"


@dataclass(frozen=True, slots=True)
class Group:
    account_id: AccountId
    group_id: str
    name: str
    path: str
    created_at: int
    """Epoch milliseconds."""

    @property
    def arn(self) -> str:
        return group_arn(self.account_id, self.path, self.name)


def _group(row: Row) -> Group:
    account_id, group_id, name, path, created_at = row
    return Group(AccountId(str(account_id)), str(group_id), str(name), str(path), int(created_at or 0))


def group_by_name(reader: Reader, account_id: AccountId, name: str) -> Group | None:
    row = reader.row(
        _SELECT + " WHERE g.account_id = :account AND g.folded_name = :name",
        {"account": account_id, "name": fold(name)},
    )
    return _group(row) if row else None


def groups_after(
    reader: Reader, account_id: AccountId, after: str, path_prefix: str, limit: int
) -> list[Group]:
    return [
        _group(row)
        for row in reader.rows(
            _SELECT + " WHERE g.account_id = :account AND g.folded_name > :after"
            " AND substr(g.path, 1, :length) = :prefix ORDER BY g.folded_name LIMIT :limit",
            {
                "account": account_id,
                "after": after,
                "length": len(path_prefix),
                "prefix": path_prefix,
                "limit": limit,
            },
        )
    ]


def groups_of_user(reader: Reader, user_id: UserId, after: str = "", limit: int = 1000) -> list[Group]:
    return [
        _group(row)
        for row in reader.rows(
            _SELECT + " JOIN group_members m ON m.group_id = g.group_id"
            " WHERE m.user_id = :user AND g.folded_name > :after ORDER BY g.folded_name LIMIT :limit",
            {"user": user_id, "after": after, "limit": limit},
        )
    ]


def members_after(reader: Reader, group_id: str, after: str, limit: int) -> list[User]:
    return [
        User(AccountId(str(account_id)), UserId(str(user_id)), str(name), str(path), int(created_at or 0))
        for account_id, user_id, name, path, created_at in reader.rows(
            "SELECT u.account_id, u.user_id, u.name, u.path, u.created_at FROM users u"
            " JOIN group_members m ON m.user_id = u.user_id"
            " WHERE m.group_id = :group AND u.folded_name > :after ORDER BY u.folded_name LIMIT :limit",
            {"group": group_id, "after": after, "limit": limit},
        )
    ]


def count_groups(reader: Reader, account_id: AccountId) -> int:
    row = reader.row("SELECT count(*) FROM groups WHERE account_id = :account", {"account": account_id})
    return int(row[0] or 0) if row else 0


def insert_group(tx: Transaction, group: Group) -> None:
    tx.execute(
        "INSERT INTO groups (group_id, account_id, name, folded_name, path, created_at)"
        " VALUES (:id, :account, :name, :folded, :path, :created)",
        {
            "id": group.group_id,
            "account": group.account_id,
            "name": group.name,
            "folded": fold(group.name),
            "path": group.path,
            "created": group.created_at,
        },
    )


def rename_group(tx: Transaction, group_id: str, name: str, path: str) -> None:
    tx.execute(
        "UPDATE groups SET name = :name, folded_name = :folded, path = :path WHERE group_id = :id",
        {"id": group_id, "name": name, "folded": fold(name), "path": path},
    )


def delete_group(tx: Transaction, group_id: str) -> None:
    tx.execute("DELETE FROM groups WHERE group_id = :id", {"id": group_id})


def add_member(tx: Transaction, account_id: AccountId, group_id: str, user_id: UserId) -> None:
    tx.execute(
        "INSERT INTO group_members (account_id, group_id, user_id) VALUES (:account, :group, :user)"
        " ON CONFLICT (group_id, user_id) DO NOTHING",
        {"account": account_id, "group": group_id, "user": user_id},
    )


def remove_member(tx: Transaction, group_id: str, user_id: UserId) -> None:
    tx.execute(
        "DELETE FROM group_members WHERE group_id = :group AND user_id = :user",
        {"group": group_id, "user": user_id},
    )
