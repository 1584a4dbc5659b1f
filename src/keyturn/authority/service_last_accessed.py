"""Which services a user's, role's, group's or policy's holders called, from what each of them called themselves.

A report is read from the records as they are when it is asked for: a job remembers only whom it is about.
Source: IAM API, GenerateServiceLastAccessedDetails, GetServiceLastAccessedDetailsWithEntities.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Final

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
from keyturn.authority.storage import groups as group_rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage import service_access_jobs as rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.entity_uses import FOLDED, EntityUse
from keyturn.authority.storage.service_access_jobs import ServiceAccessJob
from keyturn.model.arns import role_arn, user_arn
from keyturn.model.principals import UserId
from keyturn.policy.managed import MANAGED_POLICIES
from keyturn.wire.faults import invalid_input, no_such_entity

JOBS_KEPT: Final = 1000
JOBS_KEPT_MS: Final = 7 * 86_400_000
_MOST_MEMBERS: Final = 1_000_000
_ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}|aws):(user|group|role|policy)/([!-~]+)\Z", re.ASCII)
_SERVICE_NAMES: Final = {
    "iam": "AWS Identity and Access Management",
    "sts": "AWS Security Token Service",
}
"""As AWS shows them, and always told of; another service has the name of its credential scope."""
_UNKNOWN_ACTION: Final = "-"
_BEHIND_ALL_TIMES: Final = 10**15
"""Epoch milliseconds: what is counted back from, so that the latest sorts first."""


@dataclass(frozen=True, slots=True)
class _Entity:
    """A user or role whose calls a report is about."""

    unique_id: str
    arn: str
    name: str
    path: str
    kind: str

    @property
    def info(self) -> Result:
        return {
            "Arn": self.arn,
            "Name": self.name,
            "Type": self.kind,
            "Id": self.unique_id,
            "Path": self.path,
        }


def _the_entity(_call: Call, parameters: Parameters) -> Target:
    return Target(parameters["arn"], parameters["arn"])


def _asked_about(call: Call, arn: str) -> tuple[str, str]:
    """Kind and unique id of whom an ARN names; of a policy its ARN."""
    match = _ARN.match(arn)
    if match is None:
        raise invalid_input(f"ARN {arn} is not valid.")
    kind, name = match[2], match[3].rpartition("/")[2]
    found: tuple[str, str] | None = None
    if kind == "user":
        user = user_rows.user_by_name(call.reader, call.account_id, name)
        found = (user.arn, user.user_id) if user else None
    elif kind == "role":
        row = role_rows.role_by_name(call.reader, call.account_id, name)
        found = (row.role.arn, row.role.role_id) if row else None
    elif kind == "group":
        group = group_rows.group_by_name(call.reader, call.account_id, name)
        found = (group.arn, group.group_id) if group else None
    elif call.services.authorization.is_policy(call.reader, arn):
        found = arn, arn
    if found is None or found[0] != arn:
        raise no_such_entity(f"ARN {arn} does not exist.")
    return kind, found[1]


@operation("iam", "GenerateServiceLastAccessedDetails", _the_entity, writes=True)
def generate_service_last_accessed_details(
    call: WriteCall, *, arn: str, granularity: str = "SERVICE_LEVEL"
) -> Result:
    """Jobs are kept for seven days, the last thousand."""
    kind, entity_id = _asked_about(call, arn)
    job_id = str(uuid.UUID(bytes=call.services.random_bytes(16), version=4))
    job = ServiceAccessJob(job_id, call.account_id, kind, entity_id, granularity, call.now)
    rows.insert_job(call.tx, job, oldest=call.now - JOBS_KEPT_MS, most=JOBS_KEPT)
    return {"JobId": job_id}


# Whom a report is about


def _user(call: Call, user_id: str, name: str, path: str) -> _Entity:
    return _Entity(user_id, user_arn(call.account_id, path, name), name, path, "USER")


def _role(call: Call, role_id: str, name: str, path: str) -> _Entity:
    return _Entity(role_id, role_arn(call.account_id, path, name), name, path, "ROLE")


def _members(call: Call, group_id: str) -> list[_Entity]:
    members = group_rows.members_after(call.reader, group_id, "", _MOST_MEMBERS)
    return [_user(call, member.user_id, member.name, member.path) for member in members]


def _holders(call: Call, arn: str) -> list[_Entity]:
    """Everybody whom a policy is attached to, by themselves or through a group."""
    reader, account_id = call.reader, call.account_id
    found = [
        _user(call, unique_id, name, path)
        for name, unique_id, path in policy_rows.users_with_policy(reader, account_id, arn)
    ]
    for _name, group_id, _path in policy_rows.groups_with_policy(reader, account_id, arn):
        found += _members(call, group_id)
    found += [
        _role(call, unique_id, name, path)
        for name, unique_id, path in role_rows.roles_with_policy(reader, account_id, arn)
    ]
    return list({entity.unique_id: entity for entity in found}.values())


def _job(call: Call, job_id: str) -> tuple[ServiceAccessJob, dict[str, _Entity]]:
    """The job, and those whose calls it tells of, by unique id. What is gone since has no report."""
    job = rows.job_by_id(call.reader, call.account_id, job_id)
    entities: list[_Entity] | None = None
    if job is not None and job.entity_kind == "user":
        user = user_rows.user_by_id(call.reader, UserId(job.entity_id))
        entities = [_user(call, user.user_id, user.name, user.path)] if user else None
    elif job is not None and job.entity_kind == "role":
        row = role_rows.role_by_id(call.reader, job.entity_id)
        entities = [_role(call, row.role.role_id, row.role.name, row.role.path)] if row else None
    elif job is not None and job.entity_kind == "group":
        entities = _members(call, job.entity_id)
    elif job is not None and (
        job.entity_id in MANAGED_POLICIES or policy_rows.policy_by_arn(call.reader, job.entity_id)
    ):
        entities = _holders(call, job.entity_id)
    if job is None or entities is None:
        raise no_such_entity(f"The job with id {job_id} cannot be found.")
    return job, {entity.unique_id: entity for entity in entities}


# Reports


@dataclass(slots=True)
class _Accessed:
    """One service: its last call, the last of each action, and who called."""

    last: EntityUse | None = None
    actions: dict[str, EntityUse] = field(default_factory=dict)
    callers: set[str] = field(default_factory=set)

    def note(self, use: EntityUse) -> None:
        self.callers.add(use.entity_id)
        if self.last is None or use.at >= self.last.at:
            self.last = use
        known = self.actions.get(use.action)
        if use.action not in {_UNKNOWN_ACTION, FOLDED} and (known is None or use.at >= known.at):
            self.actions[use.action] = use


def _described(
    namespace: str, accessed: _Accessed, entities: dict[str, _Entity], *, with_actions: bool
) -> Result:
    shown: Result = {
        "ServiceName": _SERVICE_NAMES.get(namespace, namespace),
        "ServiceNamespace": namespace,
        "TotalAuthenticatedEntities": len(accessed.callers),
    }
    if accessed.last is not None:
        shown |= {
            "LastAuthenticated": accessed.last.at,
            "LastAuthenticatedEntity": entities[accessed.last.entity_id].arn,
            "LastAuthenticatedRegion": accessed.last.region,
        }
    if with_actions:
        shown["TrackedActionsLastAccessed"] = [
            {
                "ActionName": action,
                "LastAccessedEntity": entities[use.entity_id].arn,
                "LastAccessedTime": use.at,
                "LastAccessedRegion": use.region,
            }
            for action, use in sorted(accessed.actions.items())
        ]
    return shown


def _head(job: ServiceAccessJob) -> Result:
    return {
        "JobStatus": "COMPLETED",
        "JobCreationDate": job.created_at,
        "JobCompletionDate": job.created_at,
    }


@operation("iam", "GetServiceLastAccessedDetails", anything)
def get_service_last_accessed_details(
    call: Call, *, job_id: str, max_items: int | None = None, marker: str | None = None
) -> Result:
    job, entities = _job(call, job_id)
    accessed = {service: _Accessed() for service in _SERVICE_NAMES}
    for use in call.services.entity_uses.of(list(entities)):
        accessed.setdefault(use.service, _Accessed()).note(use)
    listed, end = page_of(call, marker, max_items, list(accessed.items()), lambda item: item[0])
    return {
        **_head(job),
        "JobType": job.granularity,
        "ServicesLastAccessed": [
            _described(namespace, service, entities, with_actions=job.granularity == "ACTION_LEVEL")
            for namespace, service in listed
        ],
        **end,
    }


@operation("iam", "GetServiceLastAccessedDetailsWithEntities", anything)
def get_service_last_accessed_details_with_entities(
    call: Call,
    *,
    job_id: str,
    service_namespace: str,
    max_items: int | None = None,
    marker: str | None = None,
) -> Result:
    """Everybody the report is about, who called last first; who never called has no date."""
    job, entities = _job(call, job_id)
    last: dict[str, int] = {}
    for use in call.services.entity_uses.of(list(entities)):
        if use.service == service_namespace:
            last[use.entity_id] = max(use.at, last.get(use.entity_id, 0))

    def sort_key(entity: _Entity) -> str:
        return f"{_BEHIND_ALL_TIMES - last.get(entity.unique_id, 0):016d} {entity.unique_id}"

    listed, end = page_of(call, marker, max_items, list(entities.values()), sort_key)
    return {
        **_head(job),
        "EntityDetailsList": [
            {"EntityInfo": entity.info}
            | ({"LastAuthenticated": last[entity.unique_id]} if entity.unique_id in last else {})
            for entity in listed
        ],
        **end,
    }
