"""An `Issuer` over boto3: IAM, STS and CloudTrail of ours or of AWS, as any client of theirs speaks to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from keyturn.aws_clients import AwsClients
from keyturn.leaks.issuer import (
    Answer,
    Deed,
    GoneError,
    IssuerError,
    IssuerUnavailableError,
    KeyState,
    Trace,
    TraceKind,
)
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, AccountId
from keyturn.model.clock import Clock, iso8601

T = TypeVar("T")

QUARANTINE: Final = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
DENY_ALL: Final = "KeyturnQuarantineDenyAll"
CONTAINED: Final = "KeyturnContained"
"""Of what a holder has made. Apart from the quarantine's name, for nothing that we do lifts it."""
REVOKE: Final = "KeyturnRevokeOlderSessions"
_TRIES: Final = 3
_MOST_EVENTS: Final = 2_000
_MOST_FOLLOWED: Final = 50
"""Keys and sessions whose own deeds are looked up, so that an answer comes."""
_LONGEST: Final = 300
_TRY_AGAIN: Final = (
    "Throttl",
    "TooMany",
    "ServiceUnavailable",
    "InternalFailure",
    "ServiceFailure",
    "Concurrent",
)
_SESSIONS: Final = ("AssumeRole", "GetSessionToken", "GetFederationToken")
_FOLLOWED: Final = ("CreateAccessKey", "CreateUser", "CreateRole", *_SESSIONS)
"""What is asked for by name where an id signed more than is looked at: noise can't hide these."""
_KINDS: Final = {
    "CreateAccessKey": TraceKind.KEY,
    "AssumeRole": TraceKind.SESSION,
    "GetSessionToken": TraceKind.SESSION,
    "GetFederationToken": TraceKind.SESSION,
    "CreateUser": TraceKind.USER,
    "CreateRole": TraceKind.ROLE,
    "UpdateAssumeRolePolicy": TraceKind.TRUST,
    "CreateOpenIDConnectProvider": TraceKind.TRUST,
    "CreateSAMLProvider": TraceKind.TRUST,
    "CreateLoginProfile": TraceKind.PASSWORD,
    "UpdateLoginProfile": TraceKind.PASSWORD,
    "ChangePassword": TraceKind.PASSWORD,
    "AttachUserPolicy": TraceKind.PERMISSION,
    "PutUserPolicy": TraceKind.PERMISSION,
    "AttachRolePolicy": TraceKind.PERMISSION,
    "PutRolePolicy": TraceKind.PERMISSION,
    "AttachGroupPolicy": TraceKind.PERMISSION,
    "PutGroupPolicy": TraceKind.PERMISSION,
    "AddUserToGroup": TraceKind.PERMISSION,
    "CreatePolicyVersion": TraceKind.PERMISSION,
    "SetDefaultPolicyVersion": TraceKind.PERMISSION,
    "DeleteUserPermissionsBoundary": TraceKind.PERMISSION,
    "PutUserPermissionsBoundary": TraceKind.PERMISSION,
    "UpdateAccessKey": TraceKind.OTHER,
    "EnableMFADevice": TraceKind.OTHER,
    "CreateVirtualMFADevice": TraceKind.OTHER,
}


def _document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


_DENY: Final = {"Effect": "Deny", "Action": "*", "Resource": "*"}


class IamIssuer:
    """Threads may share it."""

    def __init__(self, clients: AwsClients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._exact: bool | None = None

    @property
    def is_exact(self) -> bool:
        if self._exact is None:
            try:
                told = self._clients.document("/-/about")
            except (OSError, BotoCoreError, ValueError):
                return False
            self._exact = isinstance(told, dict) and told.get("exact_revocation") is True
        return self._exact

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def account_id(self) -> AccountId:
        told = self._asked("ask who signs", lambda: self._clients.sts().get_caller_identity())
        return AccountId(told["Account"])

    def signer(self) -> AccessKeyId | None:
        signing = self._clients.signing_key_id()
        return AccessKeyId(signing) if signing and signing.startswith("AKIA") else None

    def acting(self) -> str:
        return str(self._asked("ask who signs", lambda: self._clients.sts().get_caller_identity())["Arn"])

    def state(self, access_key_id: AccessKeyId) -> KeyState | None:
        try:
            told = self._asked(
                "ask about the key",
                lambda: self._clients.iam().get_access_key_last_used(AccessKeyId=access_key_id),
            )
        except IssuerUnavailableError:
            raise
        except IssuerError:
            return None
        user = told.get("UserName")
        if not user:
            return None
        used = told["AccessKeyLastUsed"].get("LastUsedDate")
        for found, status, created in self.keys(user):
            if found == access_key_id:
                return KeyState(user, status, created, None if used is None else _epoch(used))
        return None

    def prove(self, pair: AccessKeyPair) -> Answer:
        client = self._clients.sts_of(pair, None)
        try:
            client.get_caller_identity()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in {
                "SignatureDoesNotMatch",
                "InvalidClientTokenId",
                "InvalidAccessKeyId",
                "AccessDenied",
            }:
                return Answer.REFUSED
            return Answer.UNKNOWN
        except (BotoCoreError, HTTPError, HTTPException, OSError):
            return Answer.UNKNOWN
        finally:
            client.close()
        return Answer.ACCEPTED

    def keys(self, user_name: str) -> Sequence[tuple[AccessKeyId, AccessKeyStatus, int]]:
        told = self._asked("list the keys", lambda: self._clients.iam().list_access_keys(UserName=user_name))
        return [
            (AccessKeyId(key["AccessKeyId"]), AccessKeyStatus(key["Status"]), _epoch(key["CreateDate"]))
            for key in told["AccessKeyMetadata"]
        ]

    def set_status(self, user_name: str, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None:
        self._asked(
            f"make {access_key_id} {status.value.lower()}",
            lambda: self._clients.iam().update_access_key(
                UserName=user_name, AccessKeyId=access_key_id, Status=status.value
            ),
        )

    def delete(self, user_name: str, access_key_id: AccessKeyId) -> None:
        try:
            self._asked(
                f"delete {access_key_id}",
                lambda: self._clients.iam().delete_access_key(UserName=user_name, AccessKeyId=access_key_id),
            )
        except GoneError:
            return

    def quarantine(self, user_name: str, *, deny_all: bool) -> str:
        if deny_all:
            self._put_user_policy(user_name, DENY_ALL, _document(_DENY))
            return DENY_ALL
        self._asked(
            f"quarantine {user_name}",
            lambda: self._clients.iam().attach_user_policy(UserName=user_name, PolicyArn=QUARANTINE),
        )
        return QUARANTINE.rpartition("/")[2]

    def lift(self, user_name: str) -> None:
        iam = self._clients.iam()
        for act in (
            lambda: iam.detach_user_policy(UserName=user_name, PolicyArn=QUARANTINE),
            lambda: iam.delete_user_policy(UserName=user_name, PolicyName=DENY_ALL),
        ):
            try:
                self._asked(f"lift the quarantine of {user_name}", act)
            except GoneError:
                continue

    def revoke_sessions(self, user_name: str, *, before: int) -> None:
        self._put_user_policy(user_name, REVOKE, _document(_older_than(before)))

    def contain_user(self, user_name: str) -> None:
        self._put_user_policy(user_name, CONTAINED, _document(_DENY))

    def contain_role(self, role_name: str, *, before: int | None) -> None:
        name, deny = (CONTAINED, _DENY) if before is None else (REVOKE, _older_than(before))
        self._asked(
            f"contain the role {role_name}",
            lambda: self._clients.iam().put_role_policy(
                RoleName=role_name, PolicyName=name, PolicyDocument=_document(deny)
            ),
        )

    def traces(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Trace] | None:
        """Follows what the key has made: a key or a session of it may have made more.

        Whoever holds it may sign as often as he likes to push one call out of sight. Where there is more than is looked
        at, the calls that matter most are asked for by name; and if that is too much as well, it is said.
        """
        open_ids, seen = [str(access_key_id)], {str(access_key_id)}
        found: dict[tuple[str, str, int], Trace] = {}
        by_signer: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
        while open_ids:
            signer = open_ids.pop()
            if by_signer is not None:
                events: Sequence[Mapping[str, Any]] | None = by_signer.get(signer, ())
            else:
                events = self._events("AccessKeyId", signer, since)
            if events is None:
                return None if signer == access_key_id else list(found.values())
            if by_signer is None and (len(seen) > _MOST_FOLLOWED or len(events) >= _MOST_EVENTS):
                by_signer, is_all = self._by_signer(since)
                open_ids = list(seen)  # once more: what was cut off stands there
                if not is_all:
                    more = _more_than_is_seen(access_key_id, self.now_ms())
                    found[more.action, more.target, 0] = more
            for event in events:
                trace = _trace_of(event, signer)
                if trace is None:
                    continue
                found[trace.action, trace.target, trace.at] = trace
                follow = trace.target if trace.kind is TraceKind.KEY else _temporary_id(event)
                if follow and follow not in seen:
                    seen.add(follow)
                    open_ids.append(follow)
        return sorted(found.values(), key=lambda trace: trace.at)

    def deeds(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Deed] | None:
        events = self._events("AccessKeyId", access_key_id, since)
        if events is None:
            return None
        found: dict[tuple[str, ...], Deed] = {}
        counting = [event for event in events if "count" in _map(event.get("additionalEventData"))]
        for event in counting or events:
            deed = _deed_of(event)
            key = (deed.action, deed.service, deed.source, deed.agent, deed.error or "")
            known = found.get(key)
            if known is not None:
                deed = Deed(
                    min(deed.first_at, known.first_at), max(deed.last_at, known.last_at), deed.action, deed.service,
                    deed.source, deed.agent, deed.count + known.count, deed.error,
                )  # fmt: skip
            found[key] = deed
        return sorted(found.values(), key=lambda each: each.first_at)

    # Asking

    def _put_user_policy(self, user_name: str, name: str, document: str) -> None:
        self._asked(
            f"put a deny on {user_name}",
            lambda: self._clients.iam().put_user_policy(
                UserName=user_name, PolicyName=name, PolicyDocument=document
            ),
        )

    def _by_signer(self, since: int) -> tuple[Mapping[str, Sequence[Mapping[str, Any]]], bool]:
        """The calls of `_FOLLOWED`, by the id that signed; and whether these are all."""
        by_signer: dict[str, list[Mapping[str, Any]]] = {}
        is_all = True
        for name in _FOLLOWED:
            events = self._events("EventName", name, since)
            is_all = is_all and events is not None and len(events) < _MOST_EVENTS
            for event in events or ():
                by_signer.setdefault(_word(_map(event.get("userIdentity")).get("accessKeyId")), []).append(
                    event
                )
        return by_signer, is_all

    def _events(self, attribute: str, value: str, since: int) -> Sequence[Mapping[str, Any]] | None:
        """The newest events with this attribute, since then, `_MOST_EVENTS` of a trail; None if they can't be had."""
        found: list[Mapping[str, Any]] = []
        try:
            for trail in self._asked("find the trail", self._clients.cloudtrails):
                found += self._asked(
                    "look events up",
                    lambda trail=trail: list(_pages(trail, attribute, value, since)),  # type: ignore[misc]  # bound at once
                )
        except IssuerError:
            return None
        return found

    def _asked(self, what: str, act: Callable[[], T]) -> T:
        """One call, tried again where that may help. What comes instead of an answer is a sentence."""
        last = ""
        for _ in range(_TRIES):
            try:
                return act()
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                message = str(error.response.get("Error", {}).get("Message", ""))[:_LONGEST]
                if code in {"NoSuchEntity", "NoSuchEntityException"}:
                    raise GoneError(f"can't {what}: {message}") from None
                last = f"can't {what}: {code}: {message}"
                if not code.startswith(_TRY_AGAIN):
                    raise IssuerError(last) from None
            except (BotoCoreError, HTTPError, HTTPException, OSError) as error:
                last = f"can't {what}: no answer ({type(error).__name__})"
        raise IssuerUnavailableError(last)


def _older_than(before: int) -> Mapping[str, Any]:
    return {**_DENY, "Condition": {"DateLessThan": {"aws:TokenIssueTime": iso8601(before + 999)}}}


def _pages(trail: Any, attribute: str, value: str, since: int) -> Iterator[Mapping[str, Any]]:
    question: dict[str, Any] = {
        "LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}],
        "StartTime": datetime.fromtimestamp(since / 1000, UTC),
    }
    count = 0
    while count < _MOST_EVENTS:
        page = trail.lookup_events(**question)
        for each in page.get("Events", []):
            try:
                record = json.loads(each["CloudTrailEvent"])
            except (KeyError, TypeError, ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                count += 1
                yield record
        if not page.get("NextToken"):
            return
        question["NextToken"] = page["NextToken"]


def _trace_of(event: Mapping[str, Any], signer: str) -> Trace | None:
    action = _word(event.get("eventName"))
    kind = _KINDS.get(action)
    if kind is None or "errorCode" in event or "count" in _map(event.get("additionalEventData")):
        return None  # what counts calls stands beside the record of the change itself
    asked, told = _map(event.get("requestParameters")), _map(event.get("responseElements"))
    target = _word(
        _map(told.get("accessKey")).get("accessKeyId")
        or _map(told.get("assumedRoleUser")).get("arn")
        or _map(told.get("federatedUser")).get("arn")
        or asked.get("roleName")
        or asked.get("userName")
        or asked.get("groupName")
        or asked.get("policyArn")
        or ""
    )
    made = _map(told.get("accessKey"))
    if kind is TraceKind.KEY and not made.get("accessKeyId"):
        return None
    owner = _word(
        made.get("userName") or asked.get("userName") or asked.get("roleArn") or asked.get("roleName") or ""
    )
    return Trace(
        _time(event), kind, action, target, owner, _word(event.get("sourceIPAddress")), _word(event.get("userAgent")),
        signer,
    )  # fmt: skip


def _more_than_is_seen(access_key_id: AccessKeyId, now: int) -> Trace:
    """Said as something to look at: the sweep has an end, and what lies behind it is for a person."""
    return Trace(
        now, TraceKind.OTHER, "LookupEvents", f"more events than are looked at since {access_key_id} was exposed", "",
        "", "", access_key_id,
    )  # fmt: skip


def _temporary_id(event: Mapping[str, Any]) -> str:
    if _word(event.get("eventName")) not in _SESSIONS:
        return ""
    return _word(_map(_map(event.get("responseElements")).get("credentials")).get("accessKeyId"))


def _deed_of(event: Mapping[str, Any]) -> Deed:
    more = _map(event.get("additionalEventData"))
    last = _time(event)
    count = more.get("count")
    first = _parsed(_word(more.get("firstEventTime"))) or last
    return Deed(
        min(first, last), last, _word(event.get("eventName")), _word(event.get("eventSource")).split(".")[0],
        _word(event.get("sourceIPAddress")), _word(event.get("userAgent")),
        count if type(count) is int and count > 0 else 1, _word(event.get("errorCode")) or None,
    )  # fmt: skip


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def _time(event: Mapping[str, Any]) -> int:
    return _parsed(_word(event.get("eventTime"))) or 0


def _parsed(text: str) -> int | None:
    try:
        return _epoch(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


def _epoch(at: datetime) -> int:
    return int(at.timestamp() * 1000)
