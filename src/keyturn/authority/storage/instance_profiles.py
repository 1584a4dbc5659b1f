"""Rows of instance profiles, which hand a role to a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import PROFILE_TAGS, fold
from keyturn.model.access_keys import AccountId
from keyturn.model.arns import instance_profile_arn
from keyturn.model.principals import RoleId
from keyturn.store.interface import Reader, Row, Transaction

_SELECT: Final = (
    "SELECT account_id, instance_profile_id, name, path, role_id, created_at FROM instance_profiles"
)


@dataclass(frozen=True, slots=True)
class InstanceProfile:
    account_id: AccountId
    profile_id: str
    """`AIPA` and 17 base32 characters."""
    name: str
    path: str
    role_id: RoleId | None
    created_at: int
    """Epoch milliseconds."""

    @property
    def arn(self) -> str:
        return instance_profile_arn(self.account_id, self.path, self.name)


def _profile(row: Row) -> InstanceProfile:
    account_id, profile_id, name, path, role_id, created_at = row
    return InstanceProfile(
        AccountId(str(account_id)),
        str(profile_id),
        str(name),
        str(path),
        None if role_id is None else RoleId(str(role_id)),
        int(created_at or 0),
    )


def profile_by_name(reader: Reader, account_id: AccountId, name: str) -> InstanceProfile | None:
    row = reader.row(
        _SELECT + " WHERE account_id = :account AND folded_name = :name",
        {"account": account_id, "name": fold(name)},
    )
    return _profile(row) if row else None


def profiles_after(
    reader: Reader, account_id: AccountId, after: str, path_prefix: str, limit: int
) -> list[InstanceProfile]:
    """A page of those whose folded name sorts behind `after` and whose path begins with `path_prefix`."""
    return [
        _profile(row)
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


def profiles_of_role_after(
    reader: Reader, account_id: AccountId, role_id: RoleId, after: str, limit: int
) -> list[InstanceProfile]:
    return [
        _profile(row)
        for row in reader.rows(
            _SELECT + " WHERE account_id = :account AND role_id = :role AND folded_name > :after"
            " ORDER BY folded_name LIMIT :limit",
            {"account": account_id, "role": role_id, "after": after, "limit": limit},
        )
    ]


def count_profiles(reader: Reader, account_id: AccountId) -> int:
    row = reader.row(
        "SELECT count(*) FROM instance_profiles WHERE account_id = :account", {"account": account_id}
    )
    return int(row[0] or 0) if row else 0


def insert_profile(tx: Transaction, profile: InstanceProfile) -> None:
    tx.execute(
        "INSERT INTO instance_profiles (instance_profile_id, account_id, name, folded_name, path, role_id,"
        " created_at) VALUES (:id, :account, :name, :folded, :path, :role, :created)",
        {
            "id": profile.profile_id,
            "account": profile.account_id,
            "name": profile.name,
            "folded": fold(profile.name),
            "path": profile.path,
            "role": profile.role_id,
            "created": profile.created_at,
        },
    )


def set_role(tx: Transaction, profile_id: str, role_id: RoleId | None) -> None:
    tx.execute(
        "UPDATE instance_profiles SET role_id = :role WHERE instance_profile_id = :id",
        {"id": profile_id, "role": role_id},
    )


def delete_profile(tx: Transaction, profile_id: str) -> None:
    PROFILE_TAGS.delete_all(tx, profile_id)
    tx.execute("DELETE FROM instance_profiles WHERE instance_profile_id = :id", {"id": profile_id})
