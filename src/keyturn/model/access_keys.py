"""What an access key is: an id that carries its account, a secret, a status.

The id is AWS's own encoding: `AKIA`, then 16 base32 characters that hold 80 bits: a top bit of 1, 40 bits
of account id, 39 random bits. `sts get-access-key-info` and offline decoders read the account back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from keyturn.model.secrets import Secret

AccessKeyId = NewType("AccessKeyId", str)
AccountId = NewType("AccountId", str)

KEYS_PER_USER: Final = 2
"""Two, active or not: exactly enough to rotate without a gap (IAM quotas)."""

LONG_LIVED: Final = "AKIA"
TEMPORARY: Final = "ASIA"

_RANDOM_BITS: Final = 39
_ACCOUNT_BITS: Final = 40
_SHAPE: Final = re.compile(r"A(?:KIA|SIA)[A-Z2-7]{16}\Z")
_ACCOUNT_SHAPE: Final = re.compile(r"[0-9]{12}\Z")


class AccessKeyStatus(StrEnum):
    """The two states of a key that exists (IAM API, `statusType`)."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """A key at the only moment when its secret is at hand."""

    access_key_id: AccessKeyId
    secret: Secret


@dataclass(frozen=True, slots=True)
class AccessKeyPair:
    """An id with its secret, on the way from one holder to another."""

    access_key_id: AccessKeyId
    secret: Secret

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `ID:SECRET`, 64 hex digits: tells pairs apart, and tells nothing of the secret.

        A plain hash is safe because a secret has 240 random bits.
        """
        return hashlib.sha256(self.access_key_id.encode() + b":" + self.secret.reveal()).hexdigest()


def parse_access_key_id(text: str) -> AccessKeyId | None:
    """The text as an id if it has the shape of one (20 characters, base32), else None."""
    return AccessKeyId(text) if _SHAPE.match(text) else None


def parse_account_id(text: str) -> AccountId | None:
    """The text as an account id if it is 12 digits and not all zeros, else None."""
    return AccountId(text) if _ACCOUNT_SHAPE.match(text) and int(text) else None


def mint_access_key(
    account_id: AccountId, random_bytes: Callable[[int], bytes], prefix: str = LONG_LIVED
) -> NewAccessKey:
    """A new id and a secret of 40 characters from 30 random bytes. The caller makes sure the id is unique."""
    random_part = int.from_bytes(random_bytes(5), "big") >> 1
    bits = (1 << 79) | (int(account_id) << _RANDOM_BITS) | random_part
    access_key_id = AccessKeyId(prefix + base64.b32encode(bits.to_bytes(10, "big")).decode("ascii"))
    return NewAccessKey(access_key_id, Secret(base64.b64encode(random_bytes(30))))


def account_of(access_key_id: AccessKeyId) -> AccountId | None:
    """The account that an id names, or None for an id of before AWS's encoding (top bit 0)."""
    try:
        bits = int.from_bytes(base64.b32decode(access_key_id[4:]), "big")
    except (binascii.Error, ValueError):
        return None
    if not bits >> 79:
        return None
    number = (bits >> _RANDOM_BITS) & ((1 << _ACCOUNT_BITS) - 1)
    return AccountId(f"{number:012d}") if number < 10**12 else None
