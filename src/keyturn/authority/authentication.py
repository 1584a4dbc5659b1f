"""The one place where a request becomes a caller. A `Caller` can be made nowhere else.

It looks keys up, asks `sigv4` and books what it learned: a use if the signature matched an active key,
a refused attempt otherwise. The cache of known keys is filled here and emptied by whoever changes one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from keyturn.authority.sessions import OpenedToken, Session, SessionKind, open_token
from keyturn.authority.storage import access_keys as rows
from keyturn.authority.storage import oidc_providers as oidc_rows
from keyturn.authority.storage import roles as role_rows
from keyturn.authority.storage.access_keys import KeyHolder
from keyturn.authority.web_identity import WebIdentities, WebIdentity
from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.principals import AssumedRole, FederatedUser, Principal, User, WebIdentityUser
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

    __slots__ = ("access_key_id", "answers", "booked_on", "key_created_at", "principal", "session")

    def __init__(
        self,
        access_key_id: AccessKeyId,
        principal: Principal,
        session: Session | None,
        key_created_at: int | None,
        only_here: object,
    ) -> None:
        """`key_created_at` is of the key that it is booked on, in epoch milliseconds; None where no key is."""
        if only_here is not _ONLY_HERE:
            raise TypeError("a Caller is made by authentication only")
        self.access_key_id = access_key_id
        self.principal = principal
        self.session = session
        self.key_created_at = key_created_at
        self.booked_on = _booked_on(access_key_id, principal, session)
        """The key whose use this is: for a session, the key that obtained it; None where no key did."""
        self.answers: dict[object, tuple[bytes, bytes]] = {}
        """Answers that tell of the caller and of nothing else, around the request's id, by what encodes them. They go
        with the caller: of a key with its place in the cache, so with the next change of the key, name or path."""

    @property
    def user(self) -> User | None:
        """The IAM user, with a key of their own or a token of GetSessionToken; None for anybody else."""
        return self.principal if isinstance(self.principal, User) else None

    @property
    def account_id(self) -> AccountId:
        return self.principal.account_id

    @property
    def arn(self) -> str:
        return self.principal.arn

    @property
    def unique_id(self) -> str:
        return self.principal.unique_id


def _booked_on(
    access_key_id: AccessKeyId, principal: Principal, session: Session | None
) -> AccessKeyId | None:
    if session is None:
        return None if isinstance(principal, WebIdentityUser) else access_key_id
    return None if session.parent_key is None else AccessKeyId(session.parent_key)


class Authenticated(NamedTuple):
    """A tuple, for one is made per request."""

    caller: Caller
    service: str
    region: str
    signed_at: int
    """Epoch milliseconds."""
    signed_headers: tuple[bytes, ...] = ()
    has_signed_payload: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    refusal: Refusal
    booked_on: AccessKeyId | None
    """The key that the attempt is noted under: for a session's, the key that obtained it."""


@final
class _KnownKey:
    """A key and its user as the store has them, and what verification asks of it (`KeyRecord`)."""

    __slots__ = ("_holder", "_sealer", "caller", "is_active", "key_created_at", "principal", "user")

    session_token = None
    is_expired = False

    def __init__(self, holder: KeyHolder, sealer: Sealer) -> None:
        self._holder = holder
        self._sealer = sealer
        self.is_active = holder.is_active
        self.user = holder.user
        self.principal: Principal | None = holder.user
        self.key_created_at: int | None = holder.created_at
        self.caller: Caller | None = None
        """Made when a signature first matches, and the same from then on."""

    def secret(self) -> Secret:
        return self._sealer.unseal(
            self._holder.sealed_secret,
            purpose=Purpose.ACCESS_KEY,
            account_id=self.user.account_id,
            owner=self.user.user_id,
            name=self._holder.access_key_id,
        )

    def called(self, access_key_id: AccessKeyId) -> Caller:
        """To be asked for only where a signature has matched."""
        self.caller = Caller(access_key_id, self.user, None, self.key_created_at, _ONLY_HERE)
        return self.caller


@final
class _TemporaryKey:
    """A session's key, as its token and the store tell it (`KeyRecord`)."""

    __slots__ = (
        *("_secret", "is_active", "is_expired", "key_created_at", "principal"),
        *("session", "session_token"),
    )

    def __init__(self, opened: OpenedToken, token: Secret, standing: Standing, *, is_expired: bool) -> None:
        self._secret = opened.secret
        self.session = opened.session
        self.session_token = token
        self.principal = standing.principal
        self.key_created_at = standing.key_created_at
        self.is_active = standing.principal is not None
        self.is_expired = is_expired

    def secret(self) -> Secret:
        return self._secret


class Authentication:
    """Belongs to the event loop's thread: nothing in it is locked."""

    def __init__(
        self,
        store: Store,
        verifier: Verifier,
        sealer: Sealer,
        account_id: AccountId,
        web_identities: WebIdentities,
        further: Iterable[Verifier] = (),
    ) -> None:
        """`further` verifiers are for other scopes than those of direct calls, and are named with each call."""
        self._store = store
        self._verifier = verifier
        self._verifiers = (verifier, *further)
        self._sealer = sealer
        self._account_id = account_id
        self._web_identities = web_identities
        self._known: OrderedDict[AccessKeyId, _KnownKey] = OrderedDict()
        self._keys_of_user: dict[str, set[AccessKeyId]] = {}

    def authenticate(
        self, request: SignedRequest, now_ms: int, verifier: Verifier | None = None
    ) -> Authenticated | Refused:
        """Who signed, by the rules and scopes of direct calls or of a further verifier."""
        temporary: _TemporaryKey | None = None

        def look_up_temporary(access_key_id: AccessKeyId, token: bytes) -> _TemporaryKey | None:
            nonlocal temporary
            temporary = self._temporary(access_key_id, token, now_ms)
            return temporary

        outcome = (verifier or self._verifier).verify(
            request, now_ms=now_ms, look_up=self._look_up, look_up_temporary=look_up_temporary
        )
        if isinstance(outcome, Verified):
            key = temporary or self._known.get(outcome.access_key_id)
            if key is None or not key.is_active or key.principal is None:
                raise AssertionError(
                    "a verified key is known and active: nothing awaited since it was looked up"
                )
            if isinstance(key, _TemporaryKey):
                session = key.session
                caller = Caller(outcome.access_key_id, key.principal, session, key.key_created_at, _ONLY_HERE)
            else:
                caller = key.caller or key.called(outcome.access_key_id)
            return Authenticated(
                caller,
                outcome.service,
                outcome.region,
                outcome.signed_at_ms,
                outcome.signed_headers,
                outcome.signed_payload,
            )
        booked_on = outcome.access_key_id
        if temporary is not None:
            parent = temporary.session.parent_key
            booked_on = None if parent is None else AccessKeyId(parent)
        return Refused(outcome, booked_on)

    async def authenticate_web_identity(self, token: Secret) -> tuple[Caller, WebIdentity]:
        """Who a token of a registered provider vouches for. Raises a Fault in AWS's words."""
        identity = await self._web_identities.verify(token)
        user = WebIdentityUser(self._account_id, identity.provider.arn, identity.audience, identity.subject)
        return Caller(AccessKeyId(""), user, None, None, _ONLY_HERE), identity

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
        for verifier in self._verifiers:
            verifier.forget(access_key_id)

    def forget_user(self, user_id: str) -> None:
        for access_key_id in tuple(self._keys_of_user.get(user_id, ())):
            self.forget_key(access_key_id)

    def _temporary(self, access_key_id: AccessKeyId, token: bytes, now: int) -> _TemporaryKey | None:
        """A temporary key as its token tells it, and as its parent key, user and role are now."""
        opened = open_token(self._sealer, self._account_id, access_key_id, token)
        if opened is None:
            return None
        with self._store.read() as reader:
            standing = standing_of(reader, opened.session)
        return _TemporaryKey(opened, Secret(token), standing, is_expired=opened.session.is_expired(now))

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


class Standing(NamedTuple):
    """Who a session acts as now, and since when its parent key is there."""

    principal: Principal | None
    """None if its key, user, role or identity provider is not what it was."""
    key_created_at: int | None = None


_ENDED: Final = Standing(None)


def standing_of(reader: Reader, session: Session) -> Standing:
    """Deactivating a key ends the sessions that it obtained: on AWS they live on for up to 36 hours."""
    user: User | None = None
    key_created_at: int | None = None
    if session.parent_key is not None:
        holder = rows.holder_of(reader, AccessKeyId(session.parent_key))
        if holder is None or not holder.is_active:
            return _ENDED
        user, key_created_at = holder.user, holder.created_at
        if session.user_id is not None and user.user_id != session.user_id:
            return _ENDED
    elif session.provider is None or not oidc_rows.provider_exists(reader, session.provider):
        return _ENDED
    if session.role_id is not None:
        row = role_rows.role_by_id(reader, session.role_id)
        return _ENDED if row is None else Standing(AssumedRole(row.role, session.name), key_created_at)
    if user is None:
        return _ENDED
    is_federated = session.kind is SessionKind.FEDERATION
    return Standing(FederatedUser(user, session.name) if is_federated else user, key_created_at)


def still_holds(reader: Reader, caller: Caller, now: int) -> Caller:
    """The caller as the transaction sees them. A key that was revoked meanwhile may not change anything.

    This closes the gap in which a deleted key, already verified, could still mint a new one.
    """
    principal: Principal | None
    if isinstance(caller.principal, WebIdentityUser):
        exists = oidc_rows.provider_exists(reader, caller.principal.provider_arn)
        principal = caller.principal if exists else None
    elif caller.session is None:
        holder = rows.holder_of(reader, caller.access_key_id)
        principal = holder.user if holder is not None and holder.is_active else None
    else:
        principal = None if caller.session.is_expired(now) else standing_of(reader, caller.session).principal
    if principal is None:
        raise Fault(
            "InvalidClientTokenId", "The security token included in the request is invalid.", status=403
        )
    return Caller(caller.access_key_id, principal, caller.session, caller.key_created_at, _ONLY_HERE)
