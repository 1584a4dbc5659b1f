"""What others tell of leaked keys: which of three kinds a body is, whether its sender signed it, and what it says.

Bytes in, values out. Nothing of a body is read before its signature is checked over the raw bytes. That a key really
is somebody's is for the issuer to say: whoever can sign an alert can make us ask, and nothing more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, parse_access_key_id
from keyturn.model.secrets import Secret

LARGEST: Final = 1024 * 1024
MOST_TOKENS: Final = 1000
WINDOW_SECONDS: Final = 300
"""How far the timestamp of a signed alert may be from now."""
_LONGEST_PLACE: Final = 300

GITHUB_SIGNATURE: Final = b"x-hub-signature-256"
GITHUB_EVENT: Final = b"x-github-event"
GITHUB_DELIVERY: Final = b"x-github-delivery"
SIGNED_TIMESTAMP: Final = b"keyturn-timestamp"
SIGNED_SIGNATURE: Final = b"keyturn-signature"
PARTNER_KEY_ID: Final = b"github-public-key-identifier"
PARTNER_SIGNATURE: Final = b"github-public-key-signature"

_ACTIONS: Final = frozenset({"created", "reopened", "publicly_leaked"})
"""Of `secret_scanning_alert`; the others say that a person or GitHub has changed something about an old one."""
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}\Z")
_MAC: Final = re.compile(r"[0-9a-f]{64}\Z")
_SECONDS: Final = re.compile(r"[0-9]{1,12}\Z")
_DELIVERY: Final = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8,128}\Z")
_SECRET: Final = re.compile(r"[A-Za-z0-9+/]{40}\Z")
_ID_IN_TOKEN: Final = re.compile(r"A[KS]IA[A-Z2-7]{16}")
_ENDS_WITH_SECRET: Final = re.compile(r"(?:\A|[^A-Za-z0-9+/])([A-Za-z0-9+/]{40})\Z")

Headers = Mapping[bytes, bytes]
"""Names in lower case."""


class Kind(StrEnum):
    GITHUB = "github"
    """`secret_scanning_alert`, from the team's own organisation."""
    SIGNED = "signed"
    """Pairs and ids, from whoever shares a key with us."""
    PARTNER = "partner"
    """GitHub's secret scanning partner programme."""


class NotBelievedError(Exception):
    """It is not signed by whom it should be, or not now. Its sender is told nothing more."""


class NotReadableError(Exception):
    """It is signed, and is not what it should be. The message is for the sender, and repeats nothing of the body."""


@dataclass(frozen=True, slots=True)
class GitHubAlert:
    """An alert of secret scanning. The secret is not in it: REST has it."""

    repository: str
    """`owner/name`."""
    number: int


@dataclass(frozen=True, slots=True)
class Reported:
    """What stood in a signed alert."""

    pairs: Sequence[tuple[AccessKeyPair, str]]
    """Each with where it was seen."""
    ids: Sequence[tuple[AccessKeyId, str]]


@dataclass(frozen=True, slots=True)
class PartnerToken:
    """One match. The token itself is not kept: its hash names it in the answer."""

    token_hash: str
    token_type: str
    place: str
    access_key_id: AccessKeyId | None
    """Found in it, or None."""
    secret: Secret | None


def kind_of(headers: Headers) -> Kind | None:
    """By the headers that only one kind has; None: it is signed in no way that we know."""
    if GITHUB_SIGNATURE in headers:
        return Kind.GITHUB
    if SIGNED_SIGNATURE in headers:
        return Kind.SIGNED
    return Kind.PARTNER if PARTNER_SIGNATURE in headers else None


# GitHub's webhook ("Validating webhook deliveries"; webhook event `secret_scanning_alert`)


def read_github_alert(headers: Headers, body: bytes, secret: Secret) -> GitHubAlert | None:
    """None: it is genuine, and nothing follows from it (a ping, another event or action)."""
    given = _ascii(headers.get(GITHUB_SIGNATURE)).removeprefix("sha256=")
    if not _is_mac(given, secret, body) or not _DELIVERY.match(_ascii(headers.get(GITHUB_DELIVERY))):
        raise NotBelievedError
    # The event's name is not signed: a body of another event under this name must still be read with care.
    if headers.get(GITHUB_EVENT) != b"secret_scanning_alert":
        return None
    content = _json_object(body)
    if content.get("action") not in _ACTIONS:
        return None
    alert, repository = content.get("alert"), content.get("repository")
    number = alert.get("number") if isinstance(alert, dict) else None
    name = repository.get("full_name") if isinstance(repository, dict) else None
    if type(number) is not int or not 0 < number < 1 << 53:
        raise NotReadableError("'alert.number' is missing or is no number")
    if not isinstance(name, str) or not _REPOSITORY.match(name):
        raise NotReadableError("'repository.full_name' is missing or is no name of a repository")
    return GitHubAlert(name, number)


# The webhook that anybody can write


def read_signed(headers: Headers, body: bytes, secret: Secret, now_ms: int) -> Reported:
    """`Keyturn-Signature: v1=` HMAC-SHA256 over `TIMESTAMP.BODY`, not older or younger than `WINDOW_SECONDS`."""
    timestamp = _ascii(headers.get(SIGNED_TIMESTAMP))
    given = _ascii(headers.get(SIGNED_SIGNATURE)).removeprefix("v1=")
    if not _SECONDS.match(timestamp) or not _is_mac(given, secret, timestamp.encode() + b"." + body):
        raise NotBelievedError
    if abs(int(timestamp) - now_ms // 1000) > WINDOW_SECONDS:
        raise NotBelievedError
    content = _json_object(body)
    if not content.keys() <= {"pairs", "ids"}:
        raise NotReadableError("the members are 'pairs' and 'ids'")
    pairs, ids = _list(content.get("pairs", []), "pairs"), _list(content.get("ids", []), "ids")
    if len(pairs) + len(ids) > MOST_TOKENS:
        raise NotReadableError(f"an alert has at most {MOST_TOKENS} pairs and ids")
    return Reported([_pair(each) for each in pairs], [_id(each) for each in ids])


def _pair(value: object) -> tuple[AccessKeyPair, str]:
    if not isinstance(value, dict) or not value.keys() <= {"access_key_id", "secret_access_key", "source"}:
        raise NotReadableError("a pair has 'access_key_id', 'secret_access_key' and 'source'")
    secret = value.get("secret_access_key")
    if not isinstance(secret, str) or not _SECRET.match(secret):
        raise NotReadableError("'secret_access_key' has 40 characters of A-Z a-z 0-9 + /")
    return AccessKeyPair(_access_key_id(value), Secret(secret.encode())), _place(value.get("source"))


def _id(value: object) -> tuple[AccessKeyId, str]:
    told = {"access_key_id": value} if isinstance(value, str) else value
    if not isinstance(told, dict) or not told.keys() <= {"access_key_id", "source"}:
        raise NotReadableError("an id is a text, or has 'access_key_id' and 'source'")
    return _access_key_id(told), _place(told.get("source"))


def _access_key_id(value: Mapping[str, object]) -> AccessKeyId:
    text = value.get("access_key_id")
    found = parse_access_key_id(text) if isinstance(text, str) else None
    if found is None:
        raise NotReadableError("'access_key_id' is missing or is no access key id")
    return found


# GitHub's partner programme ("Secret scanning partner program")


def partner_key_id(headers: Headers) -> str:
    """Which of GitHub's keys is said to have signed it."""
    found = _ascii(headers.get(PARTNER_KEY_ID))
    if not _KEY_ID.match(found):
        raise NotBelievedError
    return found.lower()


def read_partner(headers: Headers, body: bytes, key: ec.EllipticCurvePublicKey) -> Sequence[PartnerToken]:
    """ECDSA on P-256 with SHA-256 over the raw body; then a JSON array of matches."""
    try:
        signature = base64.b64decode(headers.get(PARTNER_SIGNATURE, b""), validate=True)
        key.verify(signature, body, ec.ECDSA(hashes.SHA256()))
    except (binascii.Error, ValueError, InvalidSignature):
        raise NotBelievedError from None
    matches = _list(_json(body), "the body")
    if len(matches) > MOST_TOKENS:
        raise NotReadableError(f"an alert has at most {MOST_TOKENS} tokens")
    return [_match(each) for each in matches]


def _match(value: object) -> PartnerToken:
    token = value.get("token") if isinstance(value, dict) else None
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(token, str) or not isinstance(kind, str):
        raise NotReadableError("a match has 'token', 'type', 'url' and 'source'")
    place = " ".join(filter(None, (_place(value.get("url"), ""), _place(value.get("source"), ""))))
    found = _ID_IN_TOKEN.search(token)
    rest = token[found.end() :] if found else token
    secret = _ENDS_WITH_SECRET.search(rest)
    return PartnerToken(
        token_hash=hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest(),
        token_type=kind[:_LONGEST_PLACE],
        place=place or "GitHub's partner programme",
        access_key_id=AccessKeyId(found[0]) if found else None,
        secret=Secret(secret[1].encode()) if secret else None,
    )


def partner_answer(judged: Sequence[tuple[PartnerToken, bool]]) -> bytes:
    """The feedback: which token was real. The hash stands for it, so that no answer carries a secret."""
    return json.dumps(
        [
            {
                "token_hash": token.token_hash,
                "token_type": token.token_type,
                "label": "true_positive" if is_real else "false_positive",
            }
            for token, is_real in judged
        ]
    ).encode()


def secret_in(text: object) -> Secret | None:
    """What REST calls the secret of an alert, if it has the shape of a secret access key."""
    return Secret(text.encode()) if isinstance(text, str) and _SECRET.match(text) else None


# What came already


class Replays:
    """Answers by what was asked, for a while: the same alert is worked on once. Belongs to one thread."""

    def __init__(self, *, kept_seconds: float = 3600, most: int = 2000) -> None:
        self._kept_seconds = kept_seconds
        self._most = most
        self._seen: OrderedDict[bytes, tuple[float, Any]] = OrderedDict()

    def known(self, name: bytes, now: float) -> Any:
        """What `note` was given; None for what is new."""
        while self._seen:
            oldest, (at, _) = next(iter(self._seen.items()))
            if now - at <= self._kept_seconds and len(self._seen) <= self._most:
                break
            del self._seen[oldest]
        found = self._seen.get(name)
        return None if found is None else found[1]

    def note(self, name: bytes, now: float, what: Any) -> None:
        self._seen[name] = (now, what)
        self._seen.move_to_end(name)

    def forget(self, name: bytes) -> None:
        self._seen.pop(name, None)


# Small parts


def _is_mac(given: str, secret: Secret, signed: bytes) -> bool:
    expected = hmac.new(secret.reveal(), signed, hashlib.sha256).hexdigest()
    return bool(_MAC.match(given)) and hmac.compare_digest(expected, given)


def _ascii(value: bytes | None) -> str:
    return "" if value is None else value.decode("ascii", "replace")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise NotReadableError("the body is no JSON in UTF-8") from None


def _json_object(body: bytes) -> dict[str, Any]:
    content = _json(body)
    if not isinstance(content, dict):
        raise NotReadableError("the body is no JSON object")
    return content


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotReadableError(f"{name} is no list")
    return value


def _place(value: object, otherwise: str = "an alert") -> str:
    """As it may stand in a report: one line of what can be printed."""
    if not isinstance(value, str) or not value:
        return otherwise
    return "".join(char if char.isprintable() else "?" for char in value[:_LONGEST_PLACE])
