"""Secrets at rest: sealed with AES-256-GCM under keys for one purpose each, bound to the row they stand in.

SigV4 must recompute, so secrets can't be hashed. Where the master key file lies, and which rows hold
sealed values, is left to others.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyturn.model.access_keys import AccountId
from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.store.private_files import create_private_file, read_private_file

KEY_BYTES: Final = 32
KEK_ID_BYTES: Final = 4
KEY_CHECK_BYTES: Final = 16

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = len(_VERSION) + KEK_ID_BYTES + _NONCE_BYTES
_LENGTH: Final = struct.Struct(">I")

_KEY_FILE_LIMIT: Final = 256
_KEY_LINE: Final = re.compile(rb"keyturn-master-key v1 ([0-9a-f]{8}) ([A-Za-z0-9+/]{43}=)\r?\n?\Z")


class Purpose(StrEnum):
    """What a derived key is for. The text goes into the derivation: it never changes once used."""

    ACCESS_KEY = "access-key"
    SESSION_TOKEN = "session-token"  # noqa: S105 - the name of a purpose
    TOTP = "totp"
    SECRETS_MANAGER = "secretsmanager"
    AUDIT_CHAIN = "audit-chain"
    AUDIT_CHECKPOINT = "audit-checkpoint"
    CREATE_RETRY = "create-retry"
    ROTATION = "rotation"


class UnsealError(Exception):
    """A sealed value does not open here: it was changed, stands in another's place, or has another key.

    Never carries any of the value.
    """


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The key-encryption key that all others come from, and the id that sealed values carry."""

    kek_id: bytes
    """4 bytes, derived from the key: it tells keys apart and a mistyped key from a right one."""
    key: Secret
    """32 bytes."""


def generate_master_key(random_bytes: Callable[[int], bytes]) -> MasterKey:
    return _master_key(random_bytes(KEY_BYTES))


def parse_master_key(text: Secret) -> MasterKey:
    """Read `keyturn-master-key v1 <kek id, hex> <key, base64>`, one line. KeyturnError if it is not that."""
    match = _KEY_LINE.match(text.reveal())
    if match is None:
        raise KeyturnError(
            "this is not a master key: one line `keyturn-master-key v1 ID KEY` is expected",
            hint="restore the key file from its own backup",
        )
    try:
        master = _master_key(base64.b64decode(match[2], validate=True))
    except binascii.Error as error:
        raise _damaged() from error
    if master.kek_id.hex().encode() != match[1]:
        raise _damaged()
    return master


def format_master_key(master: MasterKey) -> Secret:
    """The line of the key file, with its newline."""
    key = base64.b64encode(master.key.reveal())
    return Secret(b"keyturn-master-key v1 %s %s\n" % (master.kek_id.hex().encode(), key))


def read_master_key(path: Path) -> MasterKey:
    """The key of a file that nobody else can read. KeyturnError, with what to do, if it can't be had."""
    try:
        return parse_master_key(read_private_file(path, limit=_KEY_FILE_LIMIT))
    except KeyturnError as error:
        raise KeyturnError(
            f"the master key file {path} can't be used: {error.message}", error.hint
        ) from error


def create_master_key_file(path: Path, master: MasterKey) -> None:
    """A new key file, 0600, whole or not at all. KeyturnError if `path` exists or can't be written."""
    create_private_file(path, format_master_key(master))


class Sealer:
    """Seals with the current master key; unseals with any that it was given, by the id in the value.

    A random nonce allows 2^32 values under one purpose of one master key (NIST SP 800-38D, 8.3).
    `random_bytes` must be a cryptographic source: a nonce that repeats opens everything.
    """

    def __init__(
        self, current: MasterKey, *, random_bytes: Callable[[int], bytes], older: Iterable[MasterKey] = ()
    ) -> None:
        self._random_bytes = random_bytes
        self._kek_id = current.kek_id
        self._masters = {master.kek_id: master for master in (*older, current)}
        self._ciphers: dict[tuple[bytes, Purpose], AESGCM] = {}

    @property
    def kek_id(self) -> bytes:
        """The id of the key that seals now, 4 bytes."""
        return self._kek_id

    def seal(
        self, secret: Secret, *, purpose: Purpose, account_id: AccountId, owner: str, name: str
    ) -> bytes:
        """`01 ‖ kek id (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`: 33 bytes more than the secret.

        `owner` is the user id and `name` the access key id; the value opens with the same ones only.
        """
        nonce = self._random_bytes(_NONCE_BYTES)
        bound = _bound(account_id, owner, name, self._kek_id, purpose)
        sealed = self._cipher(self._kek_id, purpose).encrypt(nonce, secret.reveal(), bound)
        return _VERSION + self._kek_id + nonce + sealed

    def unseal(
        self, blob: bytes, *, purpose: Purpose, account_id: AccountId, owner: str, name: str
    ) -> Secret:
        """The secret, if the value was sealed for exactly this place. UnsealError otherwise."""
        if len(blob) < _HEAD_BYTES + _TAG_BYTES or blob[:1] != _VERSION:
            raise UnsealError("this is no sealed value of a known version")
        kek_id = blob[1 : 1 + KEK_ID_BYTES]
        if kek_id not in self._masters:
            raise UnsealError(f"sealed with the master key {kek_id.hex()}, which is not at hand")
        nonce = blob[1 + KEK_ID_BYTES : _HEAD_BYTES]
        bound = _bound(account_id, owner, name, kek_id, purpose)
        try:
            return Secret(self._cipher(kek_id, purpose).decrypt(nonce, blob[_HEAD_BYTES:], bound))
        except InvalidTag as error:
            raise UnsealError("the sealed value was changed or belongs to another place") from error

    def derive_mac_key(self, purpose: Purpose, *, kek_id: bytes | None = None) -> Secret:
        """32 bytes for an HMAC of this purpose, from the current master key or an older one by its id.

        UnsealError if that master key is not at hand.
        """
        master = self._masters.get(self._kek_id if kek_id is None else kek_id)
        if master is None:
            raise UnsealError("made with a master key that is not at hand")
        return Secret(_derive(master.key, f"mac/{purpose}", KEY_BYTES))

    def key_check(self) -> bytes:
        """16 bytes for the database, by which the right key file is known. They tell nothing of the key."""
        return _derive(self._masters[self._kek_id].key, "key-check", KEY_CHECK_BYTES)

    def is_key_check(self, value: bytes) -> bool:
        return hmac.compare_digest(self.key_check(), value)

    def _cipher(self, kek_id: bytes, purpose: Purpose) -> AESGCM:
        cipher = self._ciphers.get((kek_id, purpose))
        if cipher is None:
            cipher = AESGCM(_derive(self._masters[kek_id].key, f"seal/{purpose}", KEY_BYTES))
            self._ciphers[kek_id, purpose] = cipher
        return cipher


def _master_key(key: bytes) -> MasterKey:
    if len(key) != KEY_BYTES:
        raise _damaged()
    secret = Secret(key)
    return MasterKey(_derive(secret, "kek-id", KEK_ID_BYTES), secret)


def _damaged() -> KeyturnError:
    return KeyturnError("the master key is damaged", hint="restore the key file from its own backup")


def _derive(key: Secret, label: str, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869). The master key is uniform, so no salt is needed (section 3.1)."""
    return HKDF(SHA256(), length, salt=None, info=f"keyturn/v1/{label}".encode()).derive(key.reveal())


def _bound(account_id: str, owner: str, name: str, kek_id: bytes, purpose: str) -> bytes:
    """What a value is bound to. Each field has its length before it, so that none can lend another a byte."""
    fields = (account_id.encode(), owner.encode(), name.encode(), kek_id, purpose.encode())
    return _VERSION + b"".join(_LENGTH.pack(len(part)) + part for part in fields)
