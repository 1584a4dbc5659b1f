"""CloudTrail's LookupEvents over the audit trail and the usage records: who is using a key, in AWS's own words.

The trail has each change by itself, also if it was refused. A usage record stands for many calls that differ in
their time only, changes among them: it becomes one event, at the time of the last call, whose `additionalEventData`
says how many there were and since when. Calls with a key that was inactive are among them, if their signature
proved that the caller has the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keyturn.authority.audit import EVENT_VERSION
from keyturn.authority.operations import OPERATIONS, Call, Result, operation
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import event_history as rows
from keyturn.authority.storage.event_history import AuditPosition, RecordedEvent, UsagePosition
from keyturn.authority.storage.usage import FOLDED, UsageRow
from keyturn.model.clock import iso8601
from keyturn.wire.faults import Fault

PAGE: Final = 50
_BATCH: Final = 200
_MOST_SCANNED: Final = 5_000
"""Events that one call looks at. A page may so be short, or empty, and still have a next one, as on AWS."""
_NO_SERVICE: Final = "-"
_READING: Final = ("Get", "List", "Describe", "Lookup", "Simulate", "BatchGet", "Validate")
_REFUSED: Final = "InvalidClientTokenId"
_REFUSED_MESSAGE: Final = "The security token included in the request is invalid."
_RESOURCES: Final = {
    "accessKeyId": "AWS::IAM::AccessKey",
    "groupName": "AWS::IAM::Group",
    "instanceProfileName": "AWS::IAM::InstanceProfile",
    "openIDConnectProviderArn": "AWS::IAM::OIDCProvider",
    "policyArn": "AWS::IAM::Policy",
    "roleArn": "AWS::IAM::Role",
    "roleName": "AWS::IAM::Role",
    "secretId": "AWS::SecretsManager::Secret",
    "serialNumber": "AWS::IAM::MfaDevice",
    "userName": "AWS::IAM::User",
}
"""What a request parameter names."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where the next page goes on, in both."""

    audit: AuditPosition
    usage: UsagePosition

    def token(self) -> str:
        parts = ["LookupEvents", self.audit.time, self.audit.sequence, self.usage.time, *self.usage.key]
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode("ascii")

    @classmethod
    def of_token(cls, token: str) -> _Position:
        try:
            parts = json.loads(base64.urlsafe_b64decode(token[:8192].encode("ascii")))
            name, audit_time, sequence, usage_time, *key = parts
            times = (audit_time, sequence, usage_time)
            if (
                name == "LookupEvents"
                and all(type(each) is int and 0 <= each < 1 << 60 for each in times)
                and all(isinstance(each, str) for each in key)
                and len(key) == 6
            ):
                "".join(key).encode()  # JSON can hold half a surrogate pair, which no database takes
                a, b, c, d, e, f = key
                return cls(AuditPosition(audit_time, sequence), UsagePosition(usage_time, (a, b, c, d, e, f)))
        except (ValueError, TypeError, binascii.Error, RecursionError):
            pass
        raise Fault("InvalidNextTokenException", "The NextToken value is invalid.", status=400)

    def behind(self, entry: RecordedEvent | UsageRow) -> _Position:
        if isinstance(entry, RecordedEvent):
            return _Position(AuditPosition(entry.time, entry.sequence), self.usage)
        return _Position(self.audit, UsagePosition.of(entry))


@operation("cloudtrail", "LookupEvents")
def lookup_events(
    call: Call,
    *,
    lookup_attributes: Sequence[Result] = (),
    start_time: int | None = None,
    end_time: int | None = None,
    event_category: str | None = None,
    max_results: int = PAGE,
    next_token: str | None = None,
) -> Result:
    """Newest first. One attribute at most, as on AWS; the usage records are at most a second behind."""
    if len(lookup_attributes) > 1:
        raise Fault(
            "InvalidLookupAttributesException", "You can specify one lookup attribute at most.", status=400
        )
    start, end = start_time or 0, call.now if end_time is None else end_time
    if start > end:
        raise Fault("InvalidTimeRangeException", "The start time is after the end time.", status=400)
    if event_category is not None:  # insights: there are none
        return {"Events": []}
    wanted = lookup_attributes[0] if lookup_attributes else None
    # Clients send whole seconds: the last one counts to its end.
    last = (end // 1000 + 1) * 1000
    position = _Position(AuditPosition(last), UsagePosition(last))
    if next_token is not None:
        position = _Position.of_token(next_token)
    events: list[Result] = []
    names: dict[str, _Holder] = {}
    for scanned, entry in enumerate(_newest_first(call, position, start, wanted)):
        if len(events) == max_results or scanned == _MOST_SCANNED:
            return {"Events": events, "NextToken": position.token()}
        position = position.behind(entry)
        event = _recorded(entry) if isinstance(entry, RecordedEvent) else _used(call, entry, names)
        if wanted is None or _fits(event, wanted["AttributeKey"], wanted["AttributeValue"]):
            events.append(event)
    return {"Events": events}


def _newest_first(
    call: Call, position: _Position, start: int, wanted: Mapping[str, str] | None
) -> Iterator[RecordedEvent | UsageRow]:
    key = value = None
    if wanted is not None:
        key, value = wanted["AttributeKey"], wanted["AttributeValue"]
    access_key_id = value if key == "AccessKeyId" else None
    user_name = value if key == "Username" else None
    keys: list[str] | None = None
    if access_key_id is not None:
        keys = [access_key_id]
    elif user_name is not None:
        keys = rows.keys_of_user_named(call.reader, call.account_id, user_name)
    audited = _audited(call, position.audit, start, access_key_id, user_name)
    used = _uses(call, position.usage, start, keys)
    return heapq.merge(audited, used, key=_time, reverse=True)


def _time(entry: RecordedEvent | UsageRow) -> int:
    return entry.time if isinstance(entry, RecordedEvent) else entry.last


def _audited(
    call: Call, position: AuditPosition, start: int, access_key_id: str | None, user_name: str | None
) -> Iterator[RecordedEvent]:
    while True:
        batch = rows.audit_records_behind(
            call.reader, position, start, _BATCH, access_key_id=access_key_id, user_name=user_name
        )
        yield from batch
        if len(batch) < _BATCH:
            return
        position = AuditPosition(batch[-1].time, batch[-1].sequence)


def _uses(call: Call, position: UsagePosition, start: int, keys: Sequence[str] | None) -> Iterator[UsageRow]:
    while True:
        batch = call.services.usage.rows_behind(position, start, _BATCH, keys)
        yield from batch
        if len(batch) < _BATCH:
            return
        position = UsagePosition.of(batch[-1])


def _fits(event: Result, key: str, value: str) -> bool:
    match key:
        case "ResourceName":
            return any(each["ResourceName"] == value for each in event["Resources"])
        case "ResourceType":
            return any(each["ResourceType"] == value for each in event["Resources"])
        case _:  # the members are called like the attributes
            return event.get(key) == value


def _recorded(entry: RecordedEvent) -> Result:
    record = json.loads(entry.record)
    return {
        "EventId": record["eventID"],
        "EventName": entry.name,
        "ReadOnly": "true" if record["readOnly"] else "false",
        "AccessKeyId": entry.access_key_id,
        "EventTime": _whole_second(entry.time),
        "EventSource": record["eventSource"],
        "Username": entry.user_name,
        "Resources": _resources(record),
        "CloudTrailEvent": entry.record,
    }


def _resources(record: Mapping[str, Any]) -> list[Result]:
    named = dict(record.get("requestParameters") or {})
    for element in (record.get("responseElements") or {}).values():
        if isinstance(element, dict):
            named |= element
    return [
        {"ResourceType": kind, "ResourceName": named[parameter]}
        for parameter, kind in _RESOURCES.items()
        if isinstance(named.get(parameter), str)
    ]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whose key it is, or was."""

    user_name: str | None
    identity: Mapping[str, Any]


def _holder(call: Call, access_key_id: str, known: dict[str, _Holder]) -> _Holder:
    if access_key_id in known:
        return known[access_key_id]
    issued = key_rows.issued_id(call.reader, access_key_id)
    identity: dict[str, Any] = {"type": "IAMUser", "accountId": call.account_id, "accessKeyId": access_key_id}
    name = None
    if issued is not None:
        held = key_rows.holder_of(call.reader, issued.access_key_id)
        name = issued.user_name if held is None else held.user.name
        identity["userName"] = name
        if held is not None:
            identity |= {"principalId": held.user.user_id, "arn": held.user.arn}
    known[access_key_id] = _Holder(name, identity)
    return known[access_key_id]


def _used(call: Call, row: UsageRow, known: dict[str, _Holder]) -> Result:
    key = row.key
    is_folded = key.source == FOLDED
    source = f"{key.service}.amazonaws.com" if key.service not in {FOLDED, _NO_SERVICE} else key.service
    registered = OPERATIONS.get((key.service, key.action))
    reads = key.action.startswith(_READING) if registered is None else not registered.writes
    holder = _holder(call, key.access_key_id, known)
    event_id = str(
        uuid.UUID(bytes=hashlib.sha256(repr(UsagePosition.of(row).key).encode()).digest()[:16], version=4)
    )
    more: dict[str, Any] = {
        "count": row.count,
        "firstEventTime": iso8601(row.first),
        "lastEventTime": iso8601(row.last),
    }
    if is_folded:
        more["folded"] = "calls that had no room of their own: * stands for any value"
    record: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": holder.identity,
        "eventTime": iso8601(row.last),
        "eventSource": source,
        "eventName": key.action,
        "sourceIPAddress": key.source,
        "userAgent": key.user_agent,
        "requestParameters": None,
        "responseElements": None,
        "additionalEventData": more,
        "eventID": event_id,
        "readOnly": reads,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": call.account_id,
        "eventCategory": "Management",
    }
    if key.outcome == "refused":
        record |= {"errorCode": _REFUSED, "errorMessage": _REFUSED_MESSAGE}
    return {
        "EventId": event_id,
        "EventName": key.action,
        "ReadOnly": "true" if reads else "false",
        "AccessKeyId": str(key.access_key_id),
        "EventTime": _whole_second(row.last),
        "EventSource": source,
        "Username": holder.user_name,
        "Resources": [],
        "CloudTrailEvent": json.dumps(record, separators=(",", ":")),
    }


def _whole_second(milliseconds: int) -> int:
    return milliseconds // 1000 * 1000
