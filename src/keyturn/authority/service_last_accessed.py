"""Which services a user's credentials were used for, from the usage records.

Users only: the records are kept by access key, and a session's calls stand under the key that obtained it, so of
roles, groups and policies they tell nothing that is true. Source: IAM API, GenerateServiceLastAccessedDetails.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Final

from keyturn.authority.last_used import UsageRecorder
from keyturn.authority.operations import (
    Call,
    Parameters,
    Result,
    Target,
    WriteCall,
    anything,
    operation,
    page_of,
)
from keyturn.authority.storage import credential_reports as rows
from keyturn.authority.storage.credential_reports import ServiceAccessJob
from keyturn.authority.storage.usage import FOLDED, LastUse
from keyturn.authority.storage.users import user_by_id, user_by_name
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.principals import User
from keyturn.wire.faults import invalid_input, no_such_entity, not_implemented

JOBS_KEPT: Final = 1000
MOST_KEYS: Final = 1000
"""Of one user, the latest: a key a day for almost three years."""
JOBS_KEPT_MS: Final = 7 * 86_400_000
_ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}):(user|group|role|policy)/([!-~]+)\Z", re.ASCII)
_SERVICE_NAMES: Final = {
    "iam": "AWS Identity and Access Management",
    "sts": "AWS Security Token Service",
}
"""As AWS shows them; another service has the name of its credential scope."""


def _the_entity(_call: Call, parameters: Parameters) -> Target:
    return Target(parameters["arn"], parameters["arn"])


def _find_user(call: Call, arn: str) -> User:
    match = _ARN.match(arn)
    if match is None:
        raise invalid_input(f"ARN {arn} is not valid.")
    if match[2] != "user":
        raise not_implemented("iam", f"GenerateServiceLastAccessedDetails of a {match[2]}")
    user = user_by_name(call.reader, call.account_id, match[3].rpartition("/")[2])
    if user is None or user.arn != arn:
        raise no_such_entity(f"ARN {arn} does not exist.")
    return user


@operation("iam", "GenerateServiceLastAccessedDetails", _the_entity, writes=True)
def generate_service_last_accessed_details(
    call: WriteCall, *, arn: str, granularity: str = "SERVICE_LEVEL"
) -> Result:
    """Jobs are kept for seven days, the last thousand."""
    user = _find_user(call, arn)
    job_id = str(uuid.UUID(bytes=call.services.random_bytes(16), version=4))
    job = ServiceAccessJob(job_id, call.account_id, user.user_id, granularity, call.now)
    rows.insert_job(call.tx, job, oldest=call.now - JOBS_KEPT_MS, most=JOBS_KEPT)
    return {"JobId": job_id}


@dataclass(slots=True)
class _Accessed:
    """One service: when it was last asked, and each of its actions."""

    at: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    region: str | None = None


def _accessed(usage: UsageRecorder, keys: list[AccessKeyId]) -> dict[str, _Accessed]:
    found = {service: _Accessed() for service in _SERVICE_NAMES}
    last_uses: list[LastUse] = []
    for access_key_id in keys:
        for row in usage.usage_of(access_key_id):
            if row.key.outcome == "used" and row.key.service != FOLDED:
                service = found.setdefault(row.key.service, _Accessed())
                service.at = max(service.at, row.last)
                service.actions[row.key.action] = max(service.actions.get(row.key.action, 0), row.last)
        last = usage.last_used(access_key_id)
        if last is not None:
            last_uses.append(last)
    for last in sorted(last_uses, key=lambda use: use.at):
        service = found.setdefault(last.service, _Accessed())
        if last.at >= service.at:
            service.at, service.region = last.at, last.region
    return found


def _described(namespace: str, accessed: _Accessed, user: User, *, with_actions: bool) -> Result:
    shown: Result = {
        "ServiceName": _SERVICE_NAMES.get(namespace, namespace),
        "ServiceNamespace": namespace,
        "TotalAuthenticatedEntities": 1 if accessed.at else 0,
    }
    if accessed.at:
        shown |= {
            "LastAuthenticated": accessed.at,
            "LastAuthenticatedEntity": user.arn,
            "LastAuthenticatedRegion": accessed.region,
        }
    if with_actions:
        shown["TrackedActionsLastAccessed"] = [
            {"ActionName": action, "LastAccessedEntity": user.arn, "LastAccessedTime": at}
            for action, at in sorted(accessed.actions.items())
            if action != "-"
        ]
    return shown


@operation("iam", "GetServiceLastAccessedDetails", anything)
def get_service_last_accessed_details(
    call: Call, *, job_id: str, max_items: int | None = None, marker: str | None = None
) -> Result:
    """Read from the records as they are now; the region only where the key's last use names it."""
    job = rows.job_by_id(call.reader, call.account_id, job_id)
    user = None if job is None else user_by_id(call.reader, job.user_id)
    if job is None or user is None:
        raise no_such_entity(f"The job with id {job_id} cannot be found.")
    accessed = _accessed(call.services.usage, rows.ids_issued_to(call.reader, user.user_id, MOST_KEYS))
    listed, end = page_of(call, marker, max_items, list(accessed.items()), lambda item: item[0])
    return {
        "JobStatus": "COMPLETED",
        "JobType": job.granularity,
        "JobCreationDate": job.created_at,
        "JobCompletionDate": job.created_at,
        "ServicesLastAccessed": [
            _described(namespace, service, user, with_actions=job.granularity == "ACTION_LEVEL")
            for namespace, service in listed
        ],
        **end,
    }
