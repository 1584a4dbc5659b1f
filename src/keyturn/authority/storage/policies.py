"""Rows of inline policies, managed policies with their versions and tags, and what they are attached to.

An owner is a user id or a group id: the ids of the two never meet (`AIDA…`, `AGPA…`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.authority.storage.tags import Tag, fold
from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Row, Transaction


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    account_id: AccountId
    policy_id: str
    arn: str
    name: str
    path: str
    description: str | None
    default_version: int
    latest_version: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    version: int
    document: str
    created_at: int


_SELECT: Final = (
    "SELECT account_id, policy_id, arn, name, path, description, default_version, latest_version,"
    " created_at, updated_at FROM managed_policies"
)


def _policy(row: Row) -> ManagedPolicy:
    account_id, policy_id, arn, name, path, description, default, latest, created_at, updated_at = row
    return ManagedPolicy(
        AccountId(str(account_id)),
        str(policy_id),
        str(arn),
        str(name),
        str(path),
        None if description is None else str(description),
        int(default or 0),
        int(latest or 0),
        int(created_at or 0),
        int(updated_at or 0),
    )


def documents_of_owner(reader: Reader, owner_id: str) -> list[tuple[str, str, str | None]]:
    """Everything that is attached to the user or to a group of theirs, or to the role: (kind, name or ARN, document).

    `kind` is `inline` or `managed`; a managed policy without a row of ours (AWS's own) has no document.
    """
    return [
        (str(kind), str(name), None if document is None else str(document))
        for kind, name, document in reader.rows(
            "SELECT 'inline', name, document FROM inline_policies WHERE owner_id = :user"
            " UNION ALL SELECT 'inline', i.name, i.document FROM inline_policies i"
            " JOIN group_members m ON m.group_id = i.owner_id WHERE m.user_id = :user"
            " UNION ALL SELECT 'managed', a.policy_arn, v.document FROM policy_attachments a"
            " LEFT JOIN managed_policies p ON p.arn = a.policy_arn"
            " LEFT JOIN managed_policy_versions v ON v.policy_id = p.policy_id AND v.version = p.default_version"
            " WHERE a.owner_id = :user"
            " UNION ALL SELECT 'managed', a.policy_arn, v.document FROM policy_attachments a"
            " JOIN group_members m ON m.group_id = a.owner_id"
            " LEFT JOIN managed_policies p ON p.arn = a.policy_arn"
            " LEFT JOIN managed_policy_versions v ON v.policy_id = p.policy_id AND v.version = p.default_version"
            " WHERE m.user_id = :user",
            {"user": owner_id},
        )
    ]


# Inline policies


def inline_policy(reader: Reader, owner_id: str, name: str) -> str | None:
    row = reader.row(
        "SELECT document FROM inline_policies WHERE owner_id = :owner AND name = :name",
        {"owner": owner_id, "name": name},
    )
    return str(row[0]) if row else None


def inline_policy_names_after(reader: Reader, owner_id: str, after: str, limit: int) -> list[str]:
    return [
        str(name)
        for (name,) in reader.rows(
            "SELECT name FROM inline_policies WHERE owner_id = :owner AND name > :after ORDER BY name LIMIT :limit",
            {"owner": owner_id, "after": after, "limit": limit},
        )
    ]


def inline_documents(reader: Reader, owner_id: str) -> dict[str, str]:
    return {
        str(name): str(document)
        for name, document in reader.rows(
            "SELECT name, document FROM inline_policies WHERE owner_id = :owner", {"owner": owner_id}
        )
    }


def put_inline_policy(
    tx: Transaction, account_id: AccountId, owner_id: str, name: str, document: str
) -> None:
    tx.execute(
        "INSERT INTO inline_policies (account_id, owner_id, name, document)"
        " VALUES (:account, :owner, :name, :document)"
        " ON CONFLICT (owner_id, name) DO UPDATE SET document = excluded.document",
        {"account": account_id, "owner": owner_id, "name": name, "document": document},
    )


def delete_inline_policy(tx: Transaction, owner_id: str, name: str) -> int:
    return tx.execute(
        "DELETE FROM inline_policies WHERE owner_id = :owner AND name = :name",
        {"owner": owner_id, "name": name},
    )


# Managed policies


def policy_by_arn(reader: Reader, arn: str) -> ManagedPolicy | None:
    row = reader.row(_SELECT + " WHERE arn = :arn", {"arn": arn})
    return _policy(row) if row else None


def policy_name_is_taken(reader: Reader, account_id: AccountId, name: str) -> bool:
    return (
        reader.row(
            "SELECT 1 FROM managed_policies WHERE account_id = :account AND folded_name = :name",
            {"account": account_id, "name": fold(name)},
        )
        is not None
    )


def policies_of_account(reader: Reader, account_id: AccountId) -> list[ManagedPolicy]:
    """All of them: their number is bounded by IAM's quota of 1,500 an account."""
    return [
        _policy(row)
        for row in reader.rows(
            _SELECT + " WHERE account_id = :account ORDER BY folded_name",
            {"account": account_id},
        )
    ]


def count_policies(reader: Reader, account_id: AccountId) -> int:
    row = reader.row(
        "SELECT count(*) FROM managed_policies WHERE account_id = :account", {"account": account_id}
    )
    return int(row[0] or 0) if row else 0


def count_policy_versions(reader: Reader, account_id: AccountId) -> int:
    row = reader.row(
        "SELECT count(*) FROM managed_policy_versions WHERE account_id = :account", {"account": account_id}
    )
    return int(row[0] or 0) if row else 0


def insert_policy(tx: Transaction, policy: ManagedPolicy, document: str) -> None:
    tx.execute(
        "INSERT INTO managed_policies (policy_id, account_id, arn, name, folded_name, path, description,"
        " default_version, latest_version, created_at, updated_at) VALUES (:id, :account, :arn, :name, :folded,"
        " :path, :description, :default, :latest, :created, :updated)",
        {
            "id": policy.policy_id,
            "account": policy.account_id,
            "arn": policy.arn,
            "name": policy.name,
            "folded": fold(policy.name),
            "path": policy.path,
            "description": policy.description,
            "default": policy.default_version,
            "latest": policy.latest_version,
            "created": policy.created_at,
            "updated": policy.updated_at,
        },
    )
    _insert_version(
        tx, policy.account_id, policy.policy_id, policy.default_version, document, policy.created_at
    )


def _insert_version(
    tx: Transaction, account_id: AccountId, policy_id: str, version: int, document: str, now: int
) -> None:
    tx.execute(
        "INSERT INTO managed_policy_versions (account_id, policy_id, version, document, created_at)"
        " VALUES (:account, :id, :version, :document, :now)",
        {"account": account_id, "id": policy_id, "version": version, "document": document, "now": now},
    )


def add_policy_version(tx: Transaction, policy: ManagedPolicy, document: str, now: int) -> int:
    """The new version's number. Numbers are never used twice, also after a deletion."""
    version = policy.latest_version + 1
    tx.execute(
        "UPDATE managed_policies SET latest_version = :version, updated_at = :now WHERE policy_id = :id",
        {"id": policy.policy_id, "version": version, "now": now},
    )
    _insert_version(tx, policy.account_id, policy.policy_id, version, document, now)
    return version


def set_default_version(tx: Transaction, policy_id: str, version: int, now: int) -> None:
    tx.execute(
        "UPDATE managed_policies SET default_version = :version, updated_at = :now WHERE policy_id = :id",
        {"id": policy_id, "version": version, "now": now},
    )


def policy_versions(reader: Reader, policy_id: str) -> list[PolicyVersion]:
    """Newest first, as IAM lists them; at most five."""
    return [
        PolicyVersion(int(version or 0), str(document), int(created_at or 0))
        for version, document, created_at in reader.rows(
            "SELECT version, document, created_at FROM managed_policy_versions WHERE policy_id = :id"
            " ORDER BY version DESC",
            {"id": policy_id},
        )
    ]


def delete_policy_version(tx: Transaction, policy_id: str, version: int) -> None:
    tx.execute(
        "DELETE FROM managed_policy_versions WHERE policy_id = :id AND version = :version",
        {"id": policy_id, "version": version},
    )


def delete_policy(tx: Transaction, policy_id: str) -> None:
    tx.execute("DELETE FROM managed_policy_tags WHERE policy_id = :id", {"id": policy_id})
    tx.execute("DELETE FROM managed_policy_versions WHERE policy_id = :id", {"id": policy_id})
    tx.execute("DELETE FROM managed_policies WHERE policy_id = :id", {"id": policy_id})


def tags_of_policy(reader: Reader, policy_id: str) -> list[Tag]:
    """Shorter keys first, as AWS lists the tags of policies."""
    return [
        (str(key), str(value))
        for key, value in reader.rows(
            "SELECT key, value FROM managed_policy_tags WHERE policy_id = :id ORDER BY length(key), key",
            {"id": policy_id},
        )
    ]


def put_policy_tags(tx: Transaction, account_id: AccountId, policy_id: str, tags: Iterable[Tag]) -> None:
    for key, value in tags:
        tx.execute(
            "INSERT INTO managed_policy_tags (account_id, policy_id, key, value)"
            " VALUES (:account, :id, :key, :value)"
            " ON CONFLICT (policy_id, key) DO UPDATE SET value = excluded.value",
            {"account": account_id, "id": policy_id, "key": key, "value": value},
        )


def delete_policy_tags(tx: Transaction, policy_id: str, keys: Sequence[str]) -> None:
    for key in keys:
        tx.execute(
            "DELETE FROM managed_policy_tags WHERE policy_id = :id AND key = :key",
            {"id": policy_id, "key": key},
        )


# Attachments


def attached_arns(reader: Reader, owner_id: str) -> list[str]:
    return [
        str(arn)
        for (arn,) in reader.rows(
            "SELECT policy_arn FROM policy_attachments WHERE owner_id = :owner ORDER BY policy_arn",
            {"owner": owner_id},
        )
    ]


def attach(tx: Transaction, account_id: AccountId, owner_id: str, arn: str) -> None:
    tx.execute(
        "INSERT INTO policy_attachments (account_id, owner_id, policy_arn) VALUES (:account, :owner, :arn)"
        " ON CONFLICT (owner_id, policy_arn) DO NOTHING",
        {"account": account_id, "owner": owner_id, "arn": arn},
    )


def detach(tx: Transaction, owner_id: str, arn: str) -> int:
    return tx.execute(
        "DELETE FROM policy_attachments WHERE owner_id = :owner AND policy_arn = :arn",
        {"owner": owner_id, "arn": arn},
    )


def attachment_counts(reader: Reader, account_id: AccountId) -> dict[str, int]:
    """How many users and groups each policy is attached to, by ARN."""
    return {
        str(arn): int(count or 0)
        for arn, count in reader.rows(
            "SELECT policy_arn, count(*) FROM policy_attachments WHERE account_id = :account GROUP BY policy_arn",
            {"account": account_id},
        )
    }


def users_with_policy(reader: Reader, account_id: AccountId, arn: str) -> list[tuple[str, str, str]]:
    """(name, id, path) of the users that the policy is attached to, by folded name."""
    return [
        (str(name), str(user_id), str(path))
        for name, user_id, path in reader.rows(
            "SELECT u.name, u.user_id, u.path FROM policy_attachments a JOIN users u ON u.user_id = a.owner_id"
            " WHERE a.policy_arn = :arn AND a.account_id = :account ORDER BY u.folded_name",
            {"arn": arn, "account": account_id},
        )
    ]


def groups_with_policy(reader: Reader, account_id: AccountId, arn: str) -> list[tuple[str, str, str]]:
    """(name, id, path) of the groups that the policy is attached to, by folded name."""
    return [
        (str(name), str(group_id), str(path))
        for name, group_id, path in reader.rows(
            "SELECT g.name, g.group_id, g.path FROM policy_attachments a JOIN groups g ON g.group_id = a.owner_id"
            " WHERE a.policy_arn = :arn AND a.account_id = :account ORDER BY g.folded_name",
            {"arn": arn, "account": account_id},
        )
    ]
