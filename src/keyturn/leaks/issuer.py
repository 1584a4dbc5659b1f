"""What an answer to a leak asks of the key's issuer, ours or AWS's. Only the contract and its values stand here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccessKeyStatus, AccountId


class IssuerError(Exception):
    """The issuer did not do it. The message is a sentence for the user, and holds no secret."""


class IssuerUnavailableError(IssuerError):
    """Try again: no answer, a throttle, a server's fault."""


class GoneError(IssuerError):
    """What the call names is not there (any more)."""


class Answer(StrEnum):
    """What GetCallerIdentity said to a pair."""

    ACCEPTED = "accepted"
    INACTIVE = "inactive"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class KeyState:
    """What the issuer says of an id. Times are epoch milliseconds."""

    user_name: str
    status: AccessKeyStatus
    created_at: int
    last_used_at: int | None


class TraceKind(StrEnum):
    """What the holder of a key has left behind."""

    KEY = "key"
    SESSION = "session"
    USER = "user"
    ROLE = "role"
    TRUST = "trust"
    PASSWORD = "password"  # noqa: S105 - a word for what was set
    PERMISSION = "permission"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that was made or changed with the key, or with what it had made."""

    at: int
    kind: TraceKind
    action: str
    target: str
    """The id of a key, the name of a user or role, the ARN of a session."""
    owner: str
    """The user or role that it belongs to, if that is another."""
    source: str
    agent: str
    by: str
    """The id that signed."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What the key did, for the report: calls of one kind from one place."""

    first_at: int
    last_at: int
    action: str
    service: str
    source: str
    agent: str
    count: int
    error: str | None


class Issuer(Protocol):
    """Every call may raise IssuerError; all of them are bounded in time, and may be repeated."""

    @property
    def is_exact(self) -> bool:
        """A change of a key holds for the next request."""

    def now_ms(self) -> int: ...

    def account_id(self) -> AccountId:
        """Whose signer we are."""

    def signer(self) -> AccessKeyId | None:
        """The key that signs our calls; None for a session."""

    def acting(self) -> str:
        """The ARN of who signs our calls."""

    def state(self, access_key_id: AccessKeyId) -> KeyState | None:
        """None: this issuer does not know the id, or does not say."""

    def prove(self, pair: AccessKeyPair) -> Answer:
        """One signed GetCallerIdentity. The caller sees to it that the issuer is the pair's own."""

    def keys(self, user_name: str) -> Sequence[tuple[AccessKeyId, AccessKeyStatus, int]]:
        """(id, status, created at)."""

    def set_status(self, user_name: str, access_key_id: AccessKeyId, status: AccessKeyStatus) -> None: ...

    def delete(self, user_name: str, access_key_id: AccessKeyId) -> None:
        """Nothing happens if it is gone."""

    def quarantine(self, user_name: str, *, deny_all: bool) -> str:
        """Put the quarantine on; which policy it is."""

    def lift(self, user_name: str) -> None:
        """Take off what `quarantine` has put on."""

    def revoke_sessions(self, user_name: str, *, before: int) -> None:
        """Deny everything to sessions of the user that were issued before then."""

    def contain_user(self, user_name: str) -> None:
        """Deny everything to a user that the holder has made."""

    def contain_role(self, role_name: str, *, before: int | None) -> None:
        """Deny everything to a role, or only to its sessions issued before then."""

    def traces(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Trace] | None:
        """What was made with the key, and with what that made; None if events are not to be had."""

    def deeds(self, access_key_id: AccessKeyId, *, since: int) -> Sequence[Deed] | None: ...
