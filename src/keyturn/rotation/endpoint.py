"""What a rotation asks of an IAM endpoint, ours or AWS's: three-valued answers, never a guess.

Only the contract and its values stand here; `iam_endpoint` speaks it over boto3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, AccountId


@dataclass(frozen=True, slots=True)
class EndpointTraits:
    """What an endpoint promises at `/-/about`. Where that is absent, AWS's rules hold: the defaults."""

    exact_revocation: bool = False
    """A change of a key holds for the next request. On AWS it takes seconds, and flaps meanwhile."""
    reports_refused_attempts: bool = False
    """LookupEvents shows proved attempts with an inactive key."""
    idempotent_create: bool = False
    """CreateAccessKey may be asked again for 60 s with the same `amz-sdk-invocation-id`."""


@dataclass(frozen=True, slots=True)
class UserKey:
    """A key of a user, as ListAccessKeys shows it. Times are epoch milliseconds of the endpoint's clock."""

    access_key_id: AccessKeyId
    status: AccessKeyStatus
    created_at: int


@dataclass(frozen=True, slots=True)
class Used:
    """GetAccessKeyLastUsed gave a time."""

    at: int
    service: str
    region: str


@dataclass(frozen=True, slots=True)
class NeverSeen:
    """The endpoint has no use on record. That is not proof that there was none."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The question was not answered (throttled, refused, no connection): nothing follows from it."""

    why: str


LastUse = Used | NeverSeen | Unknown


@dataclass(frozen=True, slots=True)
class Consumer:
    """Somebody who signed with a key, as LookupEvents tells. `source` and `agent` together say who it is."""

    source: str
    """An address, or a service's name."""
    agent: str
    service: str
    action: str
    last_at: int
    count: int
    is_refused: bool
    """A proved attempt with an inactive key: the signature matched."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """Temporary credentials that a key obtained and that have not expired."""

    arn: str
    expires_at: int


class EndpointError(Exception):
    """The endpoint did not do it. The message is a sentence for the user, and holds no secret."""


class EndpointUnavailableError(EndpointError):
    """Try again: no answer, a throttle, a server's fault. Whether the act happened is not known."""


class EndpointRefusedError(EndpointError):
    """Ask someone: permission is missing, or a rule of the account forbids it. Nothing has happened."""


class NoSuchKeyError(EndpointError):
    """The key does not exist (any more)."""


class NoSuchUserError(EndpointError):
    """The user does not exist (any more)."""


class QuotaError(EndpointError):
    """The user has as many keys as he may have. Nothing has happened."""


class Proof(StrEnum):
    """What GetCallerIdentity said to a signature with a pair."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """InvalidClientTokenId, SignatureDoesNotMatch, AccessDenied: not (yet, or any more) a working pair."""
    UNKNOWN = "unknown"
    """No answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs the control calls."""

    account_id: AccountId
    arn: str
    access_key_id: AccessKeyId | None


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether the signer may take one of the steps."""

    action: str
    """`iam:CreateAccessKey`."""
    is_allowed: bool | None
    """None: it could not be found out without doing it."""


class Endpoint(Protocol):
    """Every call may raise EndpointError; all of them are bounded in time."""

    @property
    def url(self) -> str | None:
        """None: AWS's own, found by botocore."""

    def traits(self) -> EndpointTraits:
        """Asked once, then remembered."""

    def now_ms(self) -> int:
        """The endpoint's time: the local clock corrected by the `Date` header of its last answer."""

    def clock_offset_ms(self) -> int:
        """How far the endpoint's clock is ahead of ours (measured anew)."""

    def identity(self) -> Identity: ...

    def users(self) -> Sequence[str]:
        """The names of all users of the account."""

    def keys(self, user_name: str) -> Sequence[UserKey]:
        """NoSuchUserError if the user is gone."""

    def last_use(self, access_key_id: AccessKeyId) -> LastUse:
        """Never raises: what can't be found out is Unknown."""

    def owner(self, access_key_id: AccessKeyId) -> str | None:
        """The name of the user whose key it is, or None if the endpoint doesn't know the id."""

    def create(self, user_name: str, *, invocation_id: str, rotation_id: str) -> AccessKeyPair:
        """One attempt, never repeated here. The client's user agent ends in `keyturn-rotation/ROTATION_ID`.

        QuotaError, EndpointRefusedError: nothing has happened. EndpointUnavailableError: it is not known.
        """

    def set_status(self, user_name: str, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None: ...

    def delete(self, user_name: str, access_key_id: AccessKeyId) -> None:
        """NoSuchKeyError if it is gone already."""

    def prove(self, pair: AccessKeyPair, *, region: str | None = None) -> Proof:
        """Whether the pair signs now, by one GetCallerIdentity without retries."""

    def created_by(self, access_key_id: AccessKeyId, user_name: str) -> str | None:
        """The rotation whose agent made the key, `` for somebody else, None if it can't be found out.

        From LookupEvents, by the user agent of the CreateAccessKey call.
        """

    def consumers(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Consumer] | None:
        """Who has signed with the key, most recent first; None where LookupEvents is not to be had."""

    def sessions(self, access_key_id: AccessKeyId) -> Sequence[LiveSession] | None:
        """The unexpired sessions that the key obtained; None where it can't be found out."""

    def permissions(self, user_name: str) -> Sequence[Permission]:
        """Create, Update, Delete, List and LastUsed on this user's keys, by simulation where possible."""

    def is_under_incident(self, user_name: str) -> bool | None:
        """Whether a quarantine policy (`AWSCompromisedKeyQuarantine…`, or Keyturn's own) is on the user."""
