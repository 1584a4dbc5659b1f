"""Jobs of service last accessed details, and whom each asks about."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.model.access_keys import AccountId
from keyturn.store.interface import Reader, Transaction


@dataclass(frozen=True, slots=True)
class ServiceAccessJob:
    job_id: str
    account_id: AccountId
    entity_kind: str
    """`user`, `role`, `group` or `policy`."""
    entity_id: str
    """Unique id; of a policy its ARN."""
    granularity: str
    created_at: int
    """Epoch milliseconds."""


def insert_job(tx: Transaction, job: ServiceAccessJob, *, oldest: int, most: int) -> None:
    """Jobs of before `oldest` go, and so do the oldest beyond `most`."""
    tx.execute("DELETE FROM service_access_jobs WHERE created_at < :oldest", {"oldest": oldest})
    tx.execute(
        "DELETE FROM service_access_jobs WHERE job_id IN (SELECT job_id FROM service_access_jobs"
        " ORDER BY created_at DESC, job_id LIMIT 1000000 OFFSET :most)",
        {"most": most - 1},
    )
    tx.execute(
        "INSERT INTO service_access_jobs (job_id, account_id, entity_kind, entity_id, granularity, created_at)"
        " VALUES (:id, :account, :kind, :entity, :granularity, :created)",
        {
            "id": job.job_id,
            "account": job.account_id,
            "kind": job.entity_kind,
            "entity": job.entity_id,
            "granularity": job.granularity,
            "created": job.created_at,
        },
    )


def job_by_id(reader: Reader, account_id: AccountId, job_id: str) -> ServiceAccessJob | None:
    row = reader.row(
        "SELECT entity_kind, entity_id, granularity, created_at FROM service_access_jobs"
        " WHERE job_id = :id AND account_id = :account",
        {"id": job_id, "account": account_id},
    )
    if row is None:
        return None
    kind, entity_id, granularity, created_at = row
    return ServiceAccessJob(
        job_id, account_id, str(kind), str(entity_id), str(granularity), int(created_at or 0)
    )
