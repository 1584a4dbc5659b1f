"""The one place where a request becomes a caller. A `Caller` can be made nowhere else.

It looks keys up, asks `sigv4` and books what it learned: a use if the signature matched an active key,
a refused attempt otherwise. The cache of known keys is filled here and emptied by whoever changes one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, final

from keyturn.authority.storage import access_keys as rows
from keyturn.authority.storage.access_keys import KeyHolder
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.principals import User
from keyturn.model.secrets import Secret
from keyturn.sigv4.canonical_request import SignedRequest
from keyturn.sigv4.refusals import Refusal
from keyturn.sigv4.verification import Verified, Verifier
from keyturn.store.interface import Reader, Store
from keyturn.store.sealing import Purpose, Sealer
from keyturn.wire.faults import Fault

_ONLY_HERE: Final = object()
_MOST_KNOWN: Final = 100_000


@final
class Caller:
    """Who signed the request: proof that authentication has happened."""

    __slots__ = ("access_key_id", "user")

    def __init__(self, access_key_id: AccessKeyId, user: User, only_here: object) -> None:
        if only_here is not _ONLY_HERE:
            raise TypeError("a Caller is made by authentication only")
        self.access_key_id = access_key_id
        self.user = user


class Authenticated(NamedTuple):
    """A tuple, for one is made per request."""

    caller: Caller
    service: str
    region: str


@final
class _KnownKey:
    """A key and its user as the store has them, and what verification asks of it (`KeyRecord`)."""

    __slots__ = ("_holder", "_sealer", "is_active", "user")

    session_token = None

    def __init__(self, holder: KeyHolder, sealer: Sealer) -> None:
        self._holder = holder
        self._sealer = sealer
        self.is_active = holder.is_active
        self.user = holder.user

    def secret(self) -> Secret:
        return self._sealer.unseal(
            self._holder.sealed_secret,
            purpose=Purpose.ACCESS_KEY,
            account_id=self.user.account_id,
            owner=self.user.user_id,
            name=self._holder.access_key_id,
        )


class Authentication:
    """Belongs to the event loop's thread: nothing in it is locked."""

    def __init__(self, store: Store, verifier: Verifier, sealer: Sealer) -> None:
        self._store = store
        self._verifier = verifier
        self._sealer = sealer
        self._known: OrderedDict[AccessKeyId, _KnownKey] = OrderedDict()
        self._keys_of_user: dict[str, set[AccessKeyId]] = {}

    def authenticate(self, request: SignedRequest, now_ms: int) -> Authenticated | Refusal:
        outcome = self._verifier.verify(request, now_ms=now_ms, look_up=self._look_up)
        if isinstance(outcome, Verified):
            key = self._known.get(outcome.access_key_id)
            if key is not None and key.is_active:
                caller = Caller(outcome.access_key_id, key.user, _ONLY_HERE)
                return Authenticated(caller, outcome.service, outcome.region)
            raise AssertionError("a verified key is known and active: nothing awaited since it was looked up")
        return outcome

    def was_issued(self, access_key_id: AccessKeyId) -> bool:
        """Whether the id was ever one of ours."""
        if access_key_id in self._known:
            return True
        with self._store.read() as reader:
            return rows.issued_id(reader, access_key_id) is not None

    def forget_key(self, access_key_id: AccessKeyId) -> None:
        known = self._known.pop(access_key_id, None)
        if known is not None:
            user_id = known.user.user_id
            keys = self._keys_of_user.get(user_id)
            if keys is not None:
                keys.discard(access_key_id)
                if not keys:
                    del self._keys_of_user[user_id]
        self._verifier.forget(access_key_id)

    def forget_user(self, user_id: str) -> None:
        for access_key_id in tuple(self._keys_of_user.get(user_id, ())):
            self.forget_key(access_key_id)

    def _look_up(self, access_key_id: AccessKeyId) -> _KnownKey | None:
        known = self._known.get(access_key_id)
        if known is not None:
            self._known.move_to_end(access_key_id)
            return known
        with self._store.read() as reader:
            holder = rows.holder_of(reader, access_key_id)
        if holder is None:
            return None
        known = self._known[access_key_id] = _KnownKey(holder, self._sealer)
        self._keys_of_user.setdefault(holder.user.user_id, set()).add(access_key_id)
        if len(self._known) > _MOST_KNOWN:
            self.forget_key(next(iter(self._known)))
        return known


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
