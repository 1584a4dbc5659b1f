"""The last credential report, and what goes into one."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.authority.storage.access_keys import AccessKey
from keyturn.model.access_keys import AccessKeyId, AccessKeyStatus, AccountId
from keyturn.model.principals import User, UserId
from keyturn.store.interface import Reader, Transaction


@dataclass(frozen=True, slots=True)
class CredentialReport:
    generated_at: int
    """Epoch milliseconds."""
    content: str


def credential_report(reader: Reader, account_id: AccountId) -> CredentialReport | None:
    row = reader.row(
        "SELECT generated_at, content FROM credential_reports WHERE account_id = :account",
        {"account": account_id},
    )
    return CredentialReport(int(row[0] or 0), str(row[1])) if row else None


def put_credential_report(tx: Transaction, account_id: AccountId, report: CredentialReport) -> None:
    tx.execute(
        "INSERT INTO credential_reports (account_id, generated_at, content)"
        " VALUES (:account, :at, :content) ON CONFLICT (account_id)"
        " DO UPDATE SET generated_at = excluded.generated_at, content = excluded.content",
        {"account": account_id, "at": report.generated_at, "content": report.content},
    )


def users_of_account(reader: Reader, account_id: AccountId) -> list[User]:
    """Everybody, by name: a report has them all."""
    return [
        User(account_id, UserId(str(user_id)), str(name), str(path), int(created_at or 0))
        for user_id, name, path, created_at in reader.rows(
            "SELECT user_id, name, path, created_at FROM users WHERE account_id = :account"
            " ORDER BY folded_name",
            {"account": account_id},
        )
    ]


def access_keys_by_user(reader: Reader, account_id: AccountId) -> dict[UserId, list[AccessKey]]:
    """Each user's keys, the newest first."""
    found: dict[UserId, list[AccessKey]] = {}
    for access_key_id, user_id, slot, status, created_at in reader.rows(
        "SELECT access_key_id, user_id, slot, status, created_at FROM access_keys"
        " WHERE account_id = :account ORDER BY created_at DESC, slot DESC",
        {"account": account_id},
    ):
        key = AccessKey(
            AccessKeyId(str(access_key_id)),
            UserId(str(user_id)),
            int(slot or 0),
            AccessKeyStatus(str(status)),
            int(created_at or 0),
        )
        found.setdefault(key.user_id, []).append(key)
    return found
