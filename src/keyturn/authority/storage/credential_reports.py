"""The last credential report, what goes into one, and the jobs of service last accessed details."""

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


@dataclass(frozen=True, slots=True)
class ServiceAccessJob:
    job_id: str
    account_id: AccountId
    user_id: UserId
    granularity: str
    created_at: int
    """Epoch milliseconds."""


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


def ids_issued_to(reader: Reader, user_id: UserId, limit: int) -> list[AccessKeyId]:
    """The latest, those of deleted keys too: they were used all the same."""
    return [
        AccessKeyId(str(access_key_id))
        for (access_key_id,) in reader.rows(
            "SELECT access_key_id FROM issued_access_key_ids WHERE user_id = :user"
            " ORDER BY created_at DESC LIMIT :limit",
            {"user": user_id, "limit": limit},
        )
    ]


def insert_job(tx: Transaction, job: ServiceAccessJob, *, oldest: int, most: int) -> None:
    """Jobs of before `oldest` go, and so do the oldest beyond `most`."""
    tx.execute("DELETE FROM service_access_jobs WHERE created_at < :oldest", {"oldest": oldest})
    tx.execute(
        "DELETE FROM service_access_jobs WHERE job_id IN (SELECT job_id FROM service_access_jobs"
        " ORDER BY created_at DESC, job_id LIMIT 1000000 OFFSET :most)",
        {"most": most - 1},
    )
    tx.execute(
        "INSERT INTO service_access_jobs (job_id, account_id, user_id, granularity, created_at)"
        " VALUES (:id, :account, :user, :granularity, :created)",
        {
            "id": job.job_id,
            "account": job.account_id,
            "user": job.user_id,
            "granularity": job.granularity,
            "created": job.created_at,
        },
    )


def job_by_id(reader: Reader, account_id: AccountId, job_id: str) -> ServiceAccessJob | None:
    row = reader.row(
        "SELECT user_id, granularity, created_at FROM service_access_jobs"
        " WHERE job_id = :id AND account_id = :account",
        {"id": job_id, "account": account_id},
    )
    if row is None:
        return None
    return ServiceAccessJob(job_id, account_id, UserId(str(row[0])), str(row[1]), int(row[2] or 0))
