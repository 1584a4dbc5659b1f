"""What a scan finds: a place, and the pair or the bare id that stood there.

The fields of `Finding` are the contract of `keyturn scan --output jsonl`. A secret stands here as a `Secret`
and leaves by no report. How findings are made, located, judged and told is left to others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId
from keyturn.model.secrets import Secret


class Kind(StrEnum):
    PAIR = "pair"
    """An id and its secret: a leak."""
    ID = "id"
    """An id alone: an exposed identifier, which is less."""


class Verdict(StrEnum):
    LIVE = "live"
    INACTIVE = "inactive"
    UNKNOWN = "unknown"
    """Its issuer was asked and does not know it, or did not answer."""
    UNVERIFIED = "unverified"
    """Nobody was asked."""
    PLACEHOLDER = "placeholder"
    DOCUMENTATION = "documentation"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of content stood. What does not apply is None."""

    source: str
    """The source as the user named it: a path, a URL, `-` for stdin."""
    object: str | None = None
    """A Git object id, a blob digest of an image."""
    commit: str | None = None
    """The commit that introduced it."""
    author: str | None = None
    date: str | None = None
    """ISO 8601, UTC."""
    path: str | None = None
    layer: str | None = None
    """An image layer's digest."""
    member: str | None = None
    """The way into nested archives: `app.jar!/BOOT-INF/lib/x.jar!/conf.properties`."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What the detector saw in one piece of content (bytes that no longer hide inside a container)."""

    access_key_id: AccessKeyId
    secret: Secret | None
    """None: the id stands alone."""
    offset: int
    """Where the id begins, in bytes from the start of the content as given (its start, if it was encoded)."""
    line: int
    """From 1."""
    encoding: str | None
    """How it was written, outermost first: `base64`, `base64+base64`, `utf-16le`, `hex`; None: plainly."""
    verdict: Verdict = Verdict.UNVERIFIED
    """UNVERIFIED, or PLACEHOLDER or DOCUMENTATION if the text itself shows that."""
    is_allowed: bool = False
    """An inline comment on its line says that it may stand there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A detection in its place: one line of the report."""

    kind: Kind
    access_key_id: AccessKeyId
    account_id: AccountId | None
    fingerprint: str | None
    """For a pair: SHA-256 in hex of `ID:SECRET`."""
    place: Place
    line: int | None
    encoding: str | None
    verdict: Verdict
    pair: AccessKeyPair | None = field(default=None, repr=False)
    """For the one who may ask its issuer; no report writes it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was not, or not wholly, looked into. A scan with one of these is not called clean."""

    place: Place
    reason: str
    """A sentence part: `nested deeper than 8`, `the pack is damaged: …`."""
