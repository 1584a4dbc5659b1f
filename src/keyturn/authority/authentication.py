"""The one place where a request becomes a caller. A `Caller` can be made nowhere else.

It looks keys up, asks `sigv4` and books what it learned: a use if the signature matched an active key,
a refused attempt otherwise. The cache of key holders is filled here and emptied by whoever changes one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, final

from keyturn.authority.storage import access_keys as rows
from keyturn.authority.storage.access_keys import KeyHolder
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.principals import User
from keyturn.model.secrets import Secret
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.refusals import Refusal
from keyturn.sigv4.verification import SigningKey, Verified, Verifier
from keyturn.store.interface import Reader, Store
from keyturn.store.sealing import Purpose, Sealer
from keyturn.wire.faults import Fault

_ONLY_HERE: Final = object()
_MOST_HOLDERS: Final = 100_000


@final
class Caller:
    """Who signed the request: proof that authentication has happened."""

    __slots__ = ("access_key_id", "user")

    def __init__(self, access_key_id: AccessKeyId, user: User, only_here: object) -> None:
        if only_here is not _ONLY_HERE:
            raise TypeError("a Caller is made by authentication only")
        self.access_key_id = access_key_id
        self.user = user


@dataclass(frozen=True, slots=True)
class Authenticated:
    caller: Caller
    service: str
    region: str


class Authentication:
    """Belongs to the event loop's thread: nothing in it is locked."""

    def __init__(self, store: Store, verifier: Verifier, sealer: Sealer) -> None:
        self._store = store
        self._verifier = verifier
        self._sealer = sealer
        self._holders: OrderedDict[AccessKeyId, KeyHolder] = OrderedDict()
        self._keys_of_user: dict[str, set[AccessKeyId]] = {}

    def authenticate(self, request: SignedRequest, now_ms: int) -> Authenticated | Refusal:
        outcome = self._verifier.verify(request, now_ms=now_ms, look_up=self._signing_key)
        if isinstance(outcome, Verified):
            holder = self._holder(outcome.access_key_id)
            if holder is not None and holder.is_active:
                caller = Caller(holder.access_key_id, holder.user, _ONLY_HERE)
                return Authenticated(caller, outcome.service, outcome.region)
            raise AssertionError(
                "a verified key has an active holder: nothing awaited since it was looked up"
            )
        return outcome

    def was_issued(self, access_key_id: AccessKeyId) -> bool:
        """Whether the id is, or once was, one of ours."""
        if access_key_id in self._holders:
            return True
        with self._store.read() as reader:
            return rows.issued_id(reader, access_key_id) is not None

    def forget_key(self, access_key_id: AccessKeyId) -> None:
        holder = self._holders.pop(access_key_id, None)
        if holder is not None:
            keys = self._keys_of_user.get(holder.user.user_id)
            if keys is not None:
                keys.discard(access_key_id)
                if not keys:
                    del self._keys_of_user[holder.user.user_id]
        self._verifier.forget(access_key_id)

    def forget_user(self, user_id: str) -> None:
        for access_key_id in tuple(self._keys_of_user.get(user_id, ())):
            self.forget_key(access_key_id)

    def _signing_key(self, access_key_id: AccessKeyId) -> SigningKey | None:
        holder = self._holder(access_key_id)
        if holder is None:
            return None
        return SigningKey(access_key_id, holder.is_active, lambda: self._open(holder))

    def _open(self, holder: KeyHolder) -> Secret:
        return self._sealer.unseal(
            holder.sealed_secret,
            purpose=Purpose.ACCESS_KEY,
            account_id=holder.user.account_id,
            owner=holder.user.user_id,
            name=holder.access_key_id,
        )

    def _holder(self, access_key_id: AccessKeyId) -> KeyHolder | None:
        holder = self._holders.get(access_key_id)
        if holder is not None:
            self._holders.move_to_end(access_key_id)
            return holder
        with self._store.read() as reader:
            holder = rows.holder_of(reader, access_key_id)
        if holder is not None:
            self._holders[access_key_id] = holder
            self._keys_of_user.setdefault(holder.user.user_id, set()).add(access_key_id)
            if len(self._holders) > _MOST_HOLDERS:
                self.forget_key(next(iter(self._holders)))
        return holder


def still_holds(reader: Reader, caller: Caller) -> Caller:
    """The caller as the transaction sees them. A key that was revoked meanwhile may not change anything.

    This closes the gap in which a deleted key, already verified, could still mint a new one.
    """
    holder = rows.holder_of(reader, caller.access_key_id)
    if holder is None or not holder.is_active:
        raise Fault(
            "InvalidClientTokenId", "The security token included in the request is invalid.", status=403
        )
    return Caller(holder.access_key_id, holder.user, _ONLY_HERE)
