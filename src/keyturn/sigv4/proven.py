"""What matching signatures have proved, kept for the next request.

Nothing enters before a signature matched an existing key, so that a flood of forged requests under a public
access key id neither fills nor flushes anything. What enters is bounded, oldest out first, and one key's
holder can only push out their own credentials.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

from keyturn.model.access_keys import AccessKeyId
from keyturn.sigv4.authorization import Credential
from keyturn.sigv4.signature import KeyedHmac

K = TypeVar("K")
V = TypeVar("V")

CREDENTIALS_PER_KEY: Final = 8
"""Two services in a region or two, with the neighbour day around midnight."""


class ProvenCredential(NamedTuple):
    """A credential as parsed, its region, service and terminator found right, with its signing key."""

    credential: Credential
    key: KeyedHmac


class Bounded(Generic[K, V]):
    """A mapping of at most `limit` entries; the oldest makes room."""

    __slots__ = ("_entries", "_limit", "get")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, V] = {}
        self.get = self._entries.get

    def put(self, key: K, value: V) -> None:
        if key not in self._entries and len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


class ProvenCredentials:
    """Signing keys by access key id, then by the credential as it is sent."""

    __slots__ = ("_by_key_id",)

    def __init__(self, max_keys: int) -> None:
        self._by_key_id: Bounded[bytes, Bounded[bytes, ProvenCredential]] = Bounded(max_keys)

    def get(self, credential: bytes) -> ProvenCredential | None:
        of_key = self._by_key_id.get(credential.partition(b"/")[0])
        return of_key.get(credential) if of_key is not None else None

    def put(self, credential: bytes, proven: ProvenCredential) -> None:
        key_id = credential.partition(b"/")[0]
        of_key = self._by_key_id.get(key_id)
        if of_key is None:
            of_key = Bounded(CREDENTIALS_PER_KEY)
            self._by_key_id.put(key_id, of_key)
        of_key.put(credential, proven)

    def forget(self, access_key_id: AccessKeyId) -> None:
        self._by_key_id.drop(access_key_id.encode())

    def __len__(self) -> int:
        return len(self._by_key_id)
