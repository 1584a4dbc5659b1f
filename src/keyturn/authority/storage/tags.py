"""Rows of tags: for each kind of thing a table of its own, of one shape. And how names fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction

Tag = tuple[str, str]
"""Key and value."""


def fold(name: str) -> str:
    """IAM names are unique without regard to case, and listings sort that way."""
    return name.lower()


class TagTable:
    """The questions about one table. Its name and that of the owner's column are constants of this package.

    Where case counts, `folded_key` holds the key as it is (IAM user guide, "Tagging IAM resources").
    """

    def __init__(self, table: str, owner: str, *, case_counts: bool = False) -> None:
        self._same = str if case_counts else fold
        self._select: Final = f"SELECT key, value FROM {table} WHERE {owner} = :owner ORDER BY folded_key"  # noqa: S608 - only constants
        self._put: Final = (
            f"INSERT INTO {table} (account_id, {owner}, folded_key, key, value)"  # noqa: S608 - only constants
            " VALUES (:account, :owner, :folded, :key, :value)"
            f" ON CONFLICT ({owner}, folded_key) DO UPDATE SET key = excluded.key, value = excluded.value"
        )
        self._delete: Final = f"DELETE FROM {table} WHERE {owner} = :owner AND folded_key = :folded"  # noqa: S608 - only constants
        self._delete_all: Final = f"DELETE FROM {table} WHERE {owner} = :owner"  # noqa: S608 - only constants

    def of(self, reader: Reader, owner_id: str) -> list[Tag]:
        return [(str(key), str(value)) for key, value in reader.rows(self._select, {"owner": owner_id})]

    def put(self, tx: Transaction, account_id: AccountId, owner_id: str, tags: Iterable[Tag]) -> None:
        for key, value in tags:
            tx.execute(
                self._put,
                {
                    "account": account_id,
                    "owner": owner_id,
                    "folded": self._same(key),
                    "key": key,
                    "value": value,
                },
            )

    def delete(self, tx: Transaction, owner_id: str, keys: Sequence[str]) -> None:
        for key in keys:
            tx.execute(self._delete, {"owner": owner_id, "folded": self._same(key)})

    def delete_all(self, tx: Transaction, owner_id: str) -> None:
        tx.execute(self._delete_all, {"owner": owner_id})


USER_TAGS: Final = TagTable("user_tags", "user_id")
ROLE_TAGS: Final = TagTable("role_tags", "role_id")
DEVICE_TAGS: Final = TagTable("mfa_device_tags", "serial_number")
PROFILE_TAGS: Final = TagTable("instance_profile_tags", "instance_profile_id", case_counts=True)
PROVIDER_TAGS: Final = TagTable("oidc_tags", "arn", case_counts=True)
