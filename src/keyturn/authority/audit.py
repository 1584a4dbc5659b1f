"""The audit trail: what changed, who did it and who tried, in CloudTrail's record shape, without secrets.

Each record is written in the transaction of its change and linked to the one before by a keyed hash, so
that whoever can write the file but has no master key can't change, drop, reorder or re-link records
unseen. Source: CloudTrail user guide, "CloudTrail record contents" (eventVersion 1.11).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from keyturn.authority.authentication import Caller
from keyturn.authority.operations import Operation, Parameters, Result, WriteCall
from keyturn.authority.sessions import SessionKind
from keyturn.authority.storage import audit_trail as rows
from keyturn.authority.storage.audit_trail import AuditHead, ChainedRecord
from keyturn.model.access_keys import AccountId
from keyturn.model.clock import iso8601
from keyturn.model.principals import AssumedRole, FederatedUser, User, WebIdentityUser
from keyturn.model.secrets import Secret
from keyturn.settings import VERIFY_SERVICE
from keyturn.store.interface import Reader, Transaction
from keyturn.wire.faults import Fault

EVENT_VERSION: Final = "1.11"
_to_json: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"
_ONE_TIME_CODES: Final = frozenset({"authentication_code1", "authentication_code2", "token_code"})
"""A code that was refused may be one that still works: a wrong name beside it, a clock ahead."""
_BATCH: Final = 1000
_MOST_FAULTS: Final = 20


class AuditTrail:
    def __init__(self, chain_key: Secret, account_id: AccountId) -> None:
        self._link = Link(chain_key)
        self._account_id = account_id
        # Where the trail ended for all we know. The store compares: a group that was lost took its records along.
        self._end: tuple[int, bytes] = (0, b"")

    def append_call(
        self,
        call: WriteCall,
        operation: Operation,
        parameters: Parameters,
        outcome: Result | Fault,
    ) -> None:
        caller = call.caller
        record: dict[str, Any] = {
            "eventVersion": EVENT_VERSION,
            "userIdentity": user_identity(caller),
            "eventTime": iso8601(call.now),
            "eventSource": _source_of(operation),
            "eventName": operation.name,
            "awsRegion": call.facts.region,
            "sourceIPAddress": call.facts.source_address,
            "userAgent": call.facts.user_agent,
            "requestParameters": {
                _camel(name): _told(name, value) for name, value in parameters.items() if value is not None
            },
            "responseElements": None if isinstance(outcome, Fault) else _response(outcome),
            "requestID": call.facts.request_id,
            "eventID": _event_id(call.services.random_bytes),
            "readOnly": False,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self._account_id,
            "eventCategory": "Management",
        }
        if isinstance(outcome, Fault):
            record["errorCode"] = outcome.code
            record["errorMessage"] = outcome.message
        if call.notes:
            record["additionalEventData"] = call.notes
        self._append(
            call.tx, record, call.now, operation.name, _name_of(caller), caller.access_key_id or None
        )

    def append_event(
        self, tx: Transaction, name: str, now: int, random_bytes: Callable[[int], bytes], **details: str
    ) -> None:
        """Something that the authority itself did, or was told to do at its own command line."""
        record = {
            "eventVersion": EVENT_VERSION,
            "userIdentity": {"type": "AWSService", "invokedBy": "keyturn"},
            "eventTime": iso8601(now),
            "eventSource": VERIFY_SERVICE,
            "eventName": name,
            "requestParameters": details or None,
            "responseElements": None,
            "eventID": _event_id(random_bytes),
            "readOnly": False,
            "eventType": "AwsServiceEvent",
            "managementEvent": True,
            "recipientAccountId": self._account_id,
            "eventCategory": "Management",
        }
        self._append(tx, record, now, name, None, None)

    def _append(
        self,
        tx: Transaction,
        record: Mapping[str, Any],
        now: int,
        name: str,
        user_name: str | None,
        access_key_id: str | None,
    ) -> None:
        text = _to_json(record)
        sequence, previous = self._end
        while True:
            unlinked = ChainedRecord(
                sequence + 1, self._account_id, now, name, user_name, access_key_id, text, b""
            )
            linked = self._link.linked(unlinked, previous)
            if rows.append(tx, linked, previous):
                self._end = (linked.sequence, linked.chain)
                return
            head = rows.audit_head(tx)
            sequence, previous = head.sequence, head.chain


def user_identity(caller: Caller) -> dict[str, Any]:
    """CloudTrail's `userIdentity` (CloudTrail user guide, "CloudTrail userIdentity element")."""
    principal, session = caller.principal, caller.session
    identity: dict[str, Any] = {
        "type": "IAMUser",
        "principalId": caller.unique_id,
        "arn": caller.arn,
        "accountId": caller.account_id,
        "accessKeyId": caller.access_key_id,
    }
    if isinstance(principal, User):
        identity["userName"] = principal.name
    if isinstance(principal, WebIdentityUser):
        return {
            "type": "WebIdentityUser",
            "principalId": caller.unique_id,
            "userName": principal.subject,
            "identityProvider": principal.provider_arn,
        }
    if session is None:
        return identity
    context: dict[str, Any] = {
        "attributes": {
            "creationDate": iso8601(session.issued_at),
            "mfaAuthenticated": "false" if session.mfa_at is None else "true",
        }
    }
    if isinstance(principal, AssumedRole):
        identity["type"] = "AssumedRole"
        role = principal.role
        context["sessionIssuer"] = {
            "type": "Role",
            "principalId": role.role_id,
            "arn": role.arn,
            "accountId": role.account_id,
            "userName": role.name,
        }
    elif isinstance(principal, FederatedUser):
        identity["type"] = "FederatedUser"
        context["sessionIssuer"] = {
            "type": "IAMUser",
            "principalId": principal.user.user_id,
            "arn": principal.user.arn,
            "accountId": principal.user.account_id,
            "userName": principal.user.name,
        }
    if session.kind is SessionKind.WEB_IDENTITY:
        context["webIdFederationData"] = {"federatedProvider": session.provider, "attributes": {}}
    if session.source_identity:
        context["sourceIdentity"] = session.source_identity
    return identity | {"sessionContext": context}


def _name_of(caller: Caller) -> str:
    """What LookupEvents calls `Username`: the user's name, or the session's."""
    principal = caller.principal
    if isinstance(principal, AssumedRole):
        return principal.session_name
    if isinstance(principal, WebIdentityUser):
        return principal.subject
    return principal.name


class Link:
    """The keyed hash that ties a record to the one before."""

    def __init__(self, key: Secret) -> None:
        self._keyed = hmac.new(key.reveal(), digestmod=hashlib.sha256)

    def of(self, record: ChainedRecord, previous: bytes) -> bytes:
        parts = (
            previous,
            struct.pack(">qq", record.sequence, record.event_time),
            record.account_id.encode(),
            record.event_name.encode(),
            b"-" if record.user_name is None else b"+" + record.user_name.encode(),
            b"-" if record.access_key_id is None else b"+" + record.access_key_id.encode(),
            record.record.encode("utf-8", "surrogatepass"),
        )
        link = self._keyed.copy()
        link.update(b"".join([len(part).to_bytes(4, "big") + part for part in parts]))
        return link.digest()

    def linked(self, record: ChainedRecord, previous: bytes) -> ChainedRecord:
        return record._replace(chain=self.of(record, previous))


def _source_of(operation: Operation) -> str:
    """The authority's own operations are no service of AWS's."""
    own = operation.service == VERIFY_SERVICE
    return VERIFY_SERVICE if own else f"{operation.service}.amazonaws.com"


def _event_id(random_bytes: Callable[[int], bytes]) -> str:
    """A UUID of version 4 (RFC 9562, 5.4)."""
    digits = random_bytes(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _told(name: str, value: Any) -> Any:
    return _HIDDEN if isinstance(value, Secret) or name in _ONE_TIME_CODES else value


def _response(result: Result) -> Result | None:
    """The answer in CloudTrail's spelling. A `Secret` in it is left out, as CloudTrail leaves it out, and so is a
    session token, which CloudTrail shows: half of a credential has no business in a log.
    """
    told = {}
    for name, value in result.items():
        if isinstance(value, Secret) or name == "SessionToken":
            continue
        spelt = name.lower() if name.isupper() else name[:1].lower() + name[1:]
        told[spelt] = _response(value) if isinstance(value, dict) else value
    return told or None


@lru_cache(maxsize=1024)
def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `audit verify` found. `faults` are sentences; none means that the trail is whole."""

    records: int
    faults: tuple[str, ...]


def verify_trail(
    reader: Reader,
    chain_key: Secret,
    mark: AuditHead | None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Verdict:
    """Walk the whole chain: changed, missing, reordered and re-linked records, and a tail cut below the mark."""
    link = Link(chain_key)
    head = rows.audit_head(reader)
    faults: list[str] = []
    if rows.has_records_before_the_first(reader):
        faults.append("there are records before the first: their numbers are below 1")
    previous, expected = b"", 1
    while len(faults) < _MOST_FAULTS:
        try:
            records = rows.records_after(reader, expected - 1, _BATCH)
        except UnicodeDecodeError:
            faults.append(f"a record after {expected - 1} is no text any more: it was changed")
            break
        if not records:
            break
        for record in records:
            if record.sequence != expected:
                faults.append(f"records {expected} to {record.sequence - 1} are missing")
            elif link.of(record, previous) != record.chain:
                faults.append(
                    f"record {record.sequence} ({record.event_name}) was changed, replaced or re-linked"
                )
            if mark is not None and record.sequence == mark.sequence and record.chain != mark.chain:
                faults.append(f"record {record.sequence} is not the one that the mark file remembers")
            previous, expected = record.chain, record.sequence + 1
        progress(expected - 1, head.sequence)
    last = expected - 1
    if len(faults) >= _MOST_FAULTS:
        return Verdict(last, (*faults, "and there may be more: the rest was not looked at"))
    if head.sequence != last:
        faults.append(f"the head says record {head.sequence}, the trail ends at record {last}")
    elif head.chain != previous:
        faults.append("the head is not linked to the last record")
    if head.revision < head.sequence:
        faults.append(f"the head says revision {head.revision}, with {head.sequence} records")
    if mark is not None and last < mark.sequence:
        faults.append(f"the tail is cut: the mark file remembers record {mark.sequence}, the last is {last}")
    if mark is not None and head.revision < mark.revision:
        faults.append(f"the store is at revision {head.revision}, the mark file remembers {mark.revision}")
    return Verdict(last, tuple(faults))
