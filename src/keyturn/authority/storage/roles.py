"""Rows of roles, and permission boundaries of users and roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import ROLE_TAGS, fold
from keyturn.model.access_keys import AccountId
from keyturn.model.principals import Role, RoleId, UserId
from keyturn.store.interface import Reader, Row, Transaction

_SELECT: Final = (
    "SELECT account_id, role_id, name, path, created_at, trust_policy, description, max_session_seconds,"
    " boundary_arn FROM roles"
)


@dataclass(frozen=True, slots=True)
class RoleRow:
    """A role with what only IAM's own operations need."""

    role: Role
    trust_policy: str
    description: str | None
    max_session_seconds: int
    boundary_arn: str | None


def _role(row: Row) -> RoleRow:
    account_id, role_id, name, path, created_at, trust, description, seconds, boundary = row
    return RoleRow(
        Role(AccountId(str(account_id)), RoleId(str(role_id)), str(name), str(path), int(created_at or 0)),
        str(trust),
        None if description is None else str(description),
        int(seconds or 0),
        None if boundary is None else str(boundary),
    )


def role_by_name(reader: Reader, account_id: AccountId, name: str) -> RoleRow | None:
    row = reader.row(
        _SELECT + " WHERE account_id = :account AND folded_name = :name",
        {"account": account_id, "name": fold(name)},
    )
    return _role(row) if row else None


def role_by_id(reader: Reader, role_id: str) -> RoleRow | None:
    row = reader.row(_SELECT + " WHERE role_id = :id", {"id": role_id})
    return _role(row) if row else None


def roles_after(
    reader: Reader, account_id: AccountId, after: str, path_prefix: str, limit: int
) -> list[RoleRow]:
    return [
        _role(row)
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


def count_roles(reader: Reader, account_id: AccountId) -> int:
    row = reader.row("SELECT count(*) FROM roles WHERE account_id = :account", {"account": account_id})
    return int(row[0] or 0) if row else 0


def insert_role(tx: Transaction, row: RoleRow) -> None:
    role = row.role
    tx.execute(
        "INSERT INTO roles (role_id, account_id, name, folded_name, path, trust_policy, description,"
        " max_session_seconds, boundary_arn, created_at) VALUES (:id, :account, :name, :folded, :path,"
        " :trust, :description, :seconds, :boundary, :created)",
        {
            "id": role.role_id,
            "account": role.account_id,
            "name": role.name,
            "folded": fold(role.name),
            "path": role.path,
            "trust": row.trust_policy,
            "description": row.description,
            "seconds": row.max_session_seconds,
            "boundary": row.boundary_arn,
            "created": role.created_at,
        },
    )


def update_role(tx: Transaction, row: RoleRow) -> None:
    """Everything that may change of a role: trust, description, longest session, boundary."""
    tx.execute(
        "UPDATE roles SET trust_policy = :trust, description = :description, max_session_seconds = :seconds,"
        " boundary_arn = :boundary WHERE role_id = :id",
        {
            "id": row.role.role_id,
            "trust": row.trust_policy,
            "description": row.description,
            "seconds": row.max_session_seconds,
            "boundary": row.boundary_arn,
        },
    )


def delete_role(tx: Transaction, role_id: RoleId) -> None:
    ROLE_TAGS.delete_all(tx, role_id)
    tx.execute("DELETE FROM roles WHERE role_id = :id", {"id": role_id})


Holder = tuple[str, str, str]
"""Name, unique id and path of a user, a group or a role."""


def _holders(rows: Iterable[Row]) -> list[Holder]:
    return [(str(name), str(unique_id), str(path)) for name, unique_id, path in rows]


def roles_with_policy(reader: Reader, account_id: AccountId, arn: str) -> list[Holder]:
    """The roles that the policy is attached to, by folded name."""
    return _holders(
        reader.rows(
            "SELECT r.name, r.role_id, r.path FROM policy_attachments a JOIN roles r ON r.role_id = a.owner_id"
            " WHERE a.policy_arn = :arn AND a.account_id = :account ORDER BY r.folded_name",
            {"arn": arn, "account": account_id},
        )
    )


# Permission boundaries


def boundary_of_user(reader: Reader, user_id: UserId) -> str | None:
    row = reader.row("SELECT boundary_arn FROM users WHERE user_id = :id", {"id": user_id})
    return None if row is None or row[0] is None else str(row[0])


def set_boundary_of_user(tx: Transaction, user_id: UserId, arn: str | None) -> None:
    tx.execute("UPDATE users SET boundary_arn = :arn WHERE user_id = :id", {"id": user_id, "arn": arn})


def boundary_counts(reader: Reader, account_id: AccountId) -> dict[str, int]:
    """How many users and roles each policy is the boundary of, by ARN."""
    return {
        str(arn): int(count or 0)
        for arn, count in reader.rows(
            "SELECT boundary_arn, count(*) FROM (SELECT boundary_arn FROM users WHERE account_id = :account"
            " UNION ALL SELECT boundary_arn FROM roles WHERE account_id = :account) AS held"
            " WHERE boundary_arn IS NOT NULL GROUP BY boundary_arn",
            {"account": account_id},
        )
    }


def users_with_boundary(reader: Reader, account_id: AccountId, arn: str) -> list[Holder]:
    """The users whose boundary the policy is, by folded name."""
    return _holders(
        reader.rows(
            "SELECT name, user_id, path FROM users WHERE boundary_arn = :arn AND account_id = :account"
            " ORDER BY folded_name",
            {"arn": arn, "account": account_id},
        )
    )


def roles_with_boundary(reader: Reader, account_id: AccountId, arn: str) -> list[Holder]:
    """The roles whose boundary the policy is, by folded name."""
    return _holders(
        reader.rows(
            "SELECT name, role_id, path FROM roles WHERE boundary_arn = :arn AND account_id = :account"
            " ORDER BY folded_name",
            {"arn": arn, "account": account_id},
        )
    )
