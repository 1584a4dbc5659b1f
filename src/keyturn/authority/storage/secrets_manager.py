"""Rows of the secrets manager: secrets, their sealed versions, the stages of these, and tags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import Tag
from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Row, Transaction


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """Without its values. Times are epoch milliseconds."""

    arn: str
    account_id: AccountId
    region: str
    name: str
    description: str | None
    resource_policy: str | None
    created_at: int
    changed_at: int
    deleted_at: int | None = None
    purge_at: int | None = None
    """When a deleted one can't be restored any more."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    arn: str
    version_id: str
    account_id: AccountId
    is_binary: bool
    sealed_value: bytes
    created_at: int


_COLUMNS: Final = "arn, account_id, region, name, description, resource_policy, created_at, changed_at, deleted_at, purge_at"
_ALIVE: Final = "(purge_at IS NULL OR purge_at > :now)"


def _secret(row: Row) -> StoredSecret:
    arn, account_id, region, name, description, policy, created_at, changed_at, deleted_at, purge_at = row
    return StoredSecret(
        str(arn),
        AccountId(str(account_id)),
        str(region),
        str(name),
        None if description is None else str(description),
        None if policy is None else str(policy),
        int(created_at or 0),
        int(changed_at or 0),
        None if deleted_at is None else int(deleted_at),
        None if purge_at is None else int(purge_at),
    )


def secret_by_arn(reader: Reader, arn: str, now: int) -> StoredSecret | None:
    row = reader.row(
        f"SELECT {_COLUMNS} FROM secrets WHERE arn = :arn AND {_ALIVE}",  # noqa: S608 - only constants
        {"arn": arn, "now": now},
    )
    return _secret(row) if row else None


def secret_by_name(
    reader: Reader, account_id: AccountId, region: str, name: str, now: int
) -> StoredSecret | None:
    row = reader.row(
        f"SELECT {_COLUMNS} FROM secrets WHERE account_id = :account AND region = :region"  # noqa: S608 - only constants
        f" AND name = :name AND {_ALIVE}",
        {"account": account_id, "region": region, "name": name, "now": now},
    )
    return _secret(row) if row else None


def secrets_of_region(
    reader: Reader, account_id: AccountId, region: str, now: int, *, with_deleted: bool
) -> list[StoredSecret]:
    alive = _ALIVE if with_deleted else "purge_at IS NULL AND :now = :now"
    return [
        _secret(row)
        for row in reader.rows(
            f"SELECT {_COLUMNS} FROM secrets WHERE account_id = :account AND region = :region"  # noqa: S608 - only constants
            f" AND {alive}",
            {"account": account_id, "region": region, "now": now},
        )
    ]


def count_secrets(reader: Reader, account_id: AccountId) -> int:
    row = reader.row("SELECT count(*) FROM secrets WHERE account_id = :account", {"account": account_id})
    return int(row[0] or 0) if row else 0


def insert_secret(tx: Transaction, secret: StoredSecret) -> None:
    tx.execute(
        "INSERT INTO secrets (arn, account_id, region, name, description, created_at, changed_at)"
        " VALUES (:arn, :account, :region, :name, :description, :created, :changed)",
        {
            "arn": secret.arn,
            "account": secret.account_id,
            "region": secret.region,
            "name": secret.name,
            "description": secret.description,
            "created": secret.created_at,
            "changed": secret.changed_at,
        },
    )


def update_secret(tx: Transaction, secret: StoredSecret) -> None:
    """What can change of a secret beside its versions and tags."""
    tx.execute(
        "UPDATE secrets SET description = :description, resource_policy = :policy, changed_at = :changed,"
        " deleted_at = :deleted, purge_at = :purge WHERE arn = :arn",
        {
            "arn": secret.arn,
            "description": secret.description,
            "policy": secret.resource_policy,
            "changed": secret.changed_at,
            "deleted": secret.deleted_at,
            "purge": secret.purge_at,
        },
    )


def delete_secret(tx: Transaction, arn: str) -> None:
    """The secret with all that belongs to it."""
    for table in ("secret_tags", "secret_stages", "secret_versions", "secrets"):
        tx.execute(f"DELETE FROM {table} WHERE arn = :arn", {"arn": arn})  # noqa: S608 - only constants


def expired_secrets(reader: Reader, now: int, limit: int) -> list[str]:
    """ARNs of deleted secrets whose time is up."""
    return [
        str(arn)
        for (arn,) in reader.rows(
            "SELECT arn FROM secrets WHERE purge_at IS NOT NULL AND purge_at <= :now ORDER BY purge_at"
            " LIMIT :limit",
            {"now": now, "limit": limit},
        )
    ]


# Versions and their stages

_SELECT_VERSION: Final = (
    "SELECT arn, version_id, account_id, is_binary, sealed_value, created_at FROM secret_versions"
)


def _version(row: Row) -> SecretVersion:
    arn, version_id, account_id, is_binary, sealed, created_at = row
    assert isinstance(sealed, bytes)
    return SecretVersion(
        str(arn), str(version_id), AccountId(str(account_id)), bool(is_binary), sealed, int(created_at or 0)
    )


def version_of(reader: Reader, arn: str, version_id: str) -> SecretVersion | None:
    row = reader.row(
        _SELECT_VERSION + " WHERE arn = :arn AND version_id = :version", {"arn": arn, "version": version_id}
    )
    return _version(row) if row else None


def version_times(reader: Reader, arn: str) -> list[tuple[str, int]]:
    """Ids of all versions with the time of each, latest first."""
    return [
        (str(version_id), int(created_at or 0))
        for version_id, created_at in reader.rows(
            "SELECT version_id, created_at FROM secret_versions WHERE arn = :arn"
            " ORDER BY created_at DESC, version_id",
            {"arn": arn},
        )
    ]


def stages_of(reader: Reader, arn: str) -> dict[str, str]:
    """The version that each stage is attached to, by stage."""
    return {
        str(stage): str(version_id)
        for stage, version_id in reader.rows(
            "SELECT stage, version_id FROM secret_stages WHERE arn = :arn ORDER BY stage", {"arn": arn}
        )
    }


def insert_version(tx: Transaction, version: SecretVersion, kek_id: bytes) -> None:
    tx.execute(
        "INSERT INTO secret_versions (arn, version_id, account_id, is_binary, sealed_value, kek_id, created_at)"
        " VALUES (:arn, :version, :account, :binary, :sealed, :kek, :created)",
        {
            "arn": version.arn,
            "version": version.version_id,
            "account": version.account_id,
            "binary": int(version.is_binary),
            "sealed": version.sealed_value,
            "kek": kek_id,
            "created": version.created_at,
        },
    )


def delete_version(tx: Transaction, arn: str, version_id: str) -> None:
    """A version without stages."""
    tx.execute(
        "DELETE FROM secret_versions WHERE arn = :arn AND version_id = :version",
        {"arn": arn, "version": version_id},
    )


def put_stage(tx: Transaction, account_id: AccountId, arn: str, stage: str, version_id: str) -> None:
    """Attach the stage, and take it from whatever version it was attached to."""
    tx.execute(
        "INSERT INTO secret_stages (arn, stage, version_id, account_id) VALUES (:arn, :stage, :version, :account)"
        " ON CONFLICT (arn, stage) DO UPDATE SET version_id = excluded.version_id",
        {"arn": arn, "stage": stage, "version": version_id, "account": account_id},
    )


def delete_stage(tx: Transaction, arn: str, stage: str) -> None:
    tx.execute("DELETE FROM secret_stages WHERE arn = :arn AND stage = :stage", {"arn": arn, "stage": stage})


# Tags


def tags_of_secret(reader: Reader, arn: str) -> list[Tag]:
    return [
        (str(key), str(value))
        for key, value in reader.rows(
            "SELECT key, value FROM secret_tags WHERE arn = :arn ORDER BY key", {"arn": arn}
        )
    ]


def tags_of_region(reader: Reader, account_id: AccountId, region: str) -> dict[str, list[Tag]]:
    """Of every secret that has any, by its ARN."""
    found: dict[str, list[Tag]] = {}
    for arn, key, value in reader.rows(
        "SELECT t.arn, t.key, t.value FROM secret_tags t JOIN secrets s ON s.arn = t.arn"
        " WHERE s.account_id = :account AND s.region = :region ORDER BY t.arn, t.key",
        {"account": account_id, "region": region},
    ):
        found.setdefault(str(arn), []).append((str(key), str(value)))
    return found


def put_secret_tags(tx: Transaction, account_id: AccountId, arn: str, tags: Iterable[Tag]) -> None:
    for key, value in tags:
        tx.execute(
            "INSERT INTO secret_tags (account_id, arn, key, value) VALUES (:account, :arn, :key, :value)"
            " ON CONFLICT (arn, key) DO UPDATE SET value = excluded.value",
            {"account": account_id, "arn": arn, "key": key, "value": value},
        )


def delete_secret_tags(tx: Transaction, arn: str, keys: Sequence[str]) -> None:
    for key in keys:
        tx.execute("DELETE FROM secret_tags WHERE arn = :arn AND key = :key", {"arn": arn, "key": key})
