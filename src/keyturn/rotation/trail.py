"""What CloudTrail's events tell about a key: who made it, who signs with it, which sessions it has obtained.

Pure: `iam_endpoint` fetches the pages. Ours add to an event how many calls it stands for; AWS has one for each call.
Whatever can't be read is passed over, for what stands in an event comes from whoever made the call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId
from keyturn.rotation.endpoint import Consumer, LiveSession

MOST_PAGES: Final = 100
MOST_SLOW_PAGES: Final = 20
"""Where two requests a second are allowed: ten seconds for a question."""
MOST_SESSIONS: Final = 200
"""Keys whose own events are looked up, for the sessions that sessions obtained."""
MOST_SLOW_SESSIONS: Final = 10
LONGEST_SESSION_MS: Final = 36 * 3_600_000
"""GetSessionToken and GetFederationToken: 129,600 seconds (STS API)."""

_SESSION_MAKERS: Final = frozenset(
    {"AssumeRole", "AssumeRoleWithWebIdentity", "GetFederationToken", "GetSessionToken"}
)
_ROTATION: Final = re.compile(r"(?:\A| )keyturn-rotation/([A-Za-z0-9_-]{1,64})\Z")
_PER_CALL: Final = re.compile(r" m/[A-Za-z0-9,+-]*")
"""botocore's list of the features that a call used, in an order that differs from process to process."""
_REFUSED: Final = "InvalidClientTokenId"
_AWS_TIME: Final = "%b %d, %Y %I:%M:%S %p"
"""CloudTrail writes a session's `expiration` so: `Jan 2, 2014 3:12:16 PM`, in UTC."""
_LONGEST_WORD: Final = 512

Event = Mapping[str, Any]
"""A CloudTrail record (CloudTrail user guide, "CloudTrail record contents")."""


@dataclass(frozen=True, slots=True)
class Events:
    events: Sequence[Event]
    is_whole: bool
    """False: there were more than are asked for."""


@dataclass(frozen=True, slots=True)
class IssuedSession:
    access_key_id: str
    session: LiveSession
    issued_at: int
    """To the second, as the events tell it."""


@dataclass(frozen=True, slots=True)
class SeenRotation:
    """A rotation that has created a key."""

    rotation_id: str
    source: str
    at: int


def epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def events_in(page: Mapping[str, Any]) -> list[Event]:
    """The records of one page of LookupEvents."""
    found: list[Event] = []
    for each in page.get("Events", []):
        try:
            record = json.loads(each["CloudTrailEvent"])
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def agent_that_created(access_key_id: AccessKeyId, events: Iterable[Event]) -> str | None:
    """The user agent of the CreateAccessKey call that this key came from."""
    for event in events:
        if event.get("eventName") == "CreateAccessKey" and "errorCode" not in event:
            made = _mapping(_mapping(event.get("responseElements")).get("accessKey"))
            if made.get("accessKeyId") == access_key_id:
                return _word(event.get("userAgent"))
    return None


def rotation_in(agent: str) -> str:
    """The rotation that an agent ends in, or nothing."""
    found = _ROTATION.search(agent[-100:])
    return found[1] if found else ""


def rotations_in(events: Iterable[Event]) -> list[SeenRotation]:
    """Each rotation once, with its last call."""
    seen: dict[str, SeenRotation] = {}
    for event in events:
        rotation_id = rotation_in(_word(event.get("userAgent")))
        at = _time_of(event.get("eventTime"))
        if rotation_id and at is not None and rotation_id not in seen:
            seen[rotation_id] = SeenRotation(rotation_id, _word(event.get("sourceIPAddress")), at)
    return list(seen.values())


def consumers_in(events: Iterable[Event], *, has_counts: bool) -> list[Consumer]:
    """Who signed, most recent first.

    With `has_counts`, a change stands there twice: as itself, and in an event that counts. Only the latter is taken.
    """
    found: dict[tuple[str, str, str, str, bool], Consumer] = {}
    for event in events:
        more = _mapping(event.get("additionalEventData"))
        count = more.get("count") if has_counts else 1
        if type(count) is not int or count < 1:
            continue
        at = _time_of(more.get("lastEventTime") if has_counts else None)
        at = _time_of(event.get("eventTime")) if at is None else at
        if at is None:
            continue
        each = Consumer(
            source=_word(event.get("sourceIPAddress")),
            agent=_PER_CALL.sub("", _word(event.get("userAgent"))),
            service=_word(event.get("eventSource")).removesuffix(".amazonaws.com"),
            action=_word(event.get("eventName")),
            last_at=at,
            count=count,
            is_refused=has_counts and event.get("errorCode") == _REFUSED,
        )
        who = (each.source, each.agent, each.service, each.action, each.is_refused)
        known = found.get(who)
        if known is not None:
            each = replace(each, count=each.count + known.count, last_at=max(at, known.last_at))
        found[who] = each
    return sorted(found.values(), key=lambda each: each.last_at, reverse=True)


def sessions_in(events: Iterable[Event]) -> list[IssuedSession]:
    """The sessions that these calls obtained, expired ones too.

    Where the end of one can't be read, the longest that a session may live is taken for it.
    """
    found = []
    for event in events:
        if _word(event.get("eventName")) not in _SESSION_MAKERS or "errorCode" in event:
            continue
        answer = _mapping(event.get("responseElements"))
        credentials = _mapping(answer.get("credentials"))
        access_key_id = credentials.get("accessKeyId")
        began = _time_of(event.get("eventTime"))
        if not isinstance(access_key_id, str) or began is None:
            continue
        expires_at = _time_of(credentials.get("expiration"))
        who = (
            _mapping(answer.get("assumedRoleUser")).get("arn")
            or _mapping(answer.get("federatedUser")).get("arn")
            or _mapping(event.get("userIdentity")).get("arn")
        )
        session = LiveSession(_word(who), began + LONGEST_SESSION_MS if expires_at is None else expires_at)
        found.append(IssuedSession(access_key_id, session, began))
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object) -> str:
    return value[:_LONGEST_WORD] if isinstance(value, str) else ""


def _time_of(value: object) -> int | None:
    """Epoch milliseconds of a time as one of the endpoints writes it: a number, ISO 8601, or AWS's own way."""
    if type(value) is int:
        return value if 0 <= value < 1 << 60 else None
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value[:40])
    except ValueError:
        try:
            # AWS's runtime puts U+202F between the seconds and PM since 2023.
            at = datetime.strptime(value[:40].replace("\u202f", " "), _AWS_TIME)  # noqa: DTZ007 - set to UTC below
        except ValueError:
            return None
    try:
        return epoch_ms(at if at.tzinfo else at.replace(tzinfo=UTC))
    except (OverflowError, ValueError):
        return None
