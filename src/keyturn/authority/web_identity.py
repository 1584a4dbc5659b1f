"""Whether a web identity token is what its issuer signed, for us, now: AssumeRoleWithWebIdentity's first half.

The issuer must be a registered provider, the algorithm one of an asymmetric list, the audience one of the
provider's client ids. Keys come from the provider's discovery document, kept, and asked for again when a token
names one that is not known; or, for closed networks, from a key set that is pinned.
Source: STS API, AssumeRoleWithWebIdentity; OpenID Connect Discovery 1.0; RFC 7515, 7517, 7519.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from keyturn.authority.storage import oidc_providers as rows
from keyturn.authority.storage.oidc_providers import OidcProvider
from keyturn.model.access_keys import AccountId
from keyturn.model.clock import Clock
from keyturn.model.secrets import Secret
from keyturn.store.interface import Store
from keyturn.wire.faults import Fault

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Never `none`, never a symmetric one: with those, whoever can read a public key could sign."""
LONGEST_TOKEN: Final = 20_000
_LEEWAY_SECONDS: Final = 60
_KEPT_SECONDS: Final = 3600.0
_ASKED_AGAIN_SECONDS: Final = 30.0
_LEFT_ALONE_SECONDS: Final = 5.0
_LONGEST_SUBJECT: Final = 255
"""STS API, SubjectFromWebIdentityToken."""
_CLAIMS_AS_KEYS: Final = (
    "sub", "amr", "azp", "email", "jti",
    # GitHub's own (IAM user guide, "Available keys for AWS OIDC federation").
    "actor", "actor_id", "enterprise_id", "environment", "job_workflow_ref", "ref", "repository",
    "repository_id", "workflow",
)  # fmt: skip
"""Beside `aud`, which is the audience that was found good, and `oaud`, which is what the token says of it."""

Fetch = Callable[[str], bytes]
"""The body of an https URL; KeyturnError-free: raises OSError for everything that goes wrong."""


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """A verified token."""

    provider: OidcProvider
    subject: str
    audience: str
    claims: Mapping[str, str | tuple[str, ...]]
    """Condition keys, as `token.actions.githubusercontent.com:sub`, in lower case."""


@dataclass(slots=True)
class _Kept:
    keys: KeySet
    fetched_at: float


class WebIdentities:
    """Verifies tokens. Belongs to the event loop; only fetching leaves it."""

    def __init__(self, store: Store, clock: Clock, account_id: AccountId, fetch: Fetch) -> None:
        self._store = store
        self._clock = clock
        self._account_id = account_id
        self._fetch = fetch
        self._kept: dict[str, _Kept] = {}
        self._failed: dict[str, float] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        """One for each provider: one that is slow holds up its own tokens only."""

    async def verify(self, sealed: Secret) -> WebIdentity:
        """The identity, or a Fault in AWS's words."""
        token = sealed.reveal().decode("ascii", "replace")
        header, claims = _parts(token)
        issuer = claims.get("iss")
        if not isinstance(issuer, str):
            raise invalid("The ID Token provided is not a valid JWT: it has no issuer.")
        with self._store.read() as reader:
            provider = rows.provider_by_url(reader, self._account_id, issuer.removeprefix("https://"))
            client_ids = rows.client_ids(reader, provider.arn) if provider else []
        if provider is None:
            raise invalid("No OpenIDConnect provider found in your account for " + _short(issuer))
        if header.get("alg") not in ALGORITHMS:
            raise invalid("The ID Token is signed with an algorithm that is not accepted.")
        await self._check_signature(provider, token, header, claims)
        self._check_times(claims)
        audience = _audience(claims, client_ids)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise invalid("The ID Token provided has no subject of 1 to 255 characters.")
        return WebIdentity(provider, subject, audience, _context(provider.url, claims, audience))

    async def _check_signature(
        self, provider: OidcProvider, token: str, header: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> None:
        """Return if the issuer has signed exactly these claims; another reading of the bytes counts for nothing."""
        keys = await self._keys(provider, header.get("kid"))
        try:
            signed = jws.deserialize_compact(token, keys, algorithms=list(ALGORITHMS))
            is_same = json.loads(signed.payload) == claims and signed.headers() == header
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise invalid("The ID Token provided was not signed by its issuer.") from error
        if not is_same:
            raise invalid("The ID Token provided is not a valid JWT.")

    async def _keys(self, provider: OidcProvider, key_id: object) -> KeySet:
        """The provider's keys; asked for again when they are old, or when a token names one that is not there."""
        if provider.pinned_jwks is not None:
            return _key_set(provider.pinned_jwks.encode())
        async with self._asking.setdefault(provider.arn, asyncio.Lock()):
            kept = self._kept.get(provider.arn)
            age = None if kept is None else self._clock.monotonic() - kept.fetched_at
            is_known = kept is not None and (key_id is None or any(key.kid == key_id for key in kept.keys))
            if (
                kept is None
                or age is None
                or age > _KEPT_SECONDS
                or (not is_known and age > _ASKED_AGAIN_SECONDS)
            ):
                kept = await self._ask(provider)
            return kept.keys

    async def _ask(self, provider: OidcProvider) -> _Kept:
        """A provider that did not answer is left alone for a while: strangers can make us ask."""
        failed_at = self._failed.get(provider.arn)
        if failed_at is not None and self._clock.monotonic() - failed_at < _LEFT_ALONE_SECONDS:
            raise _no_keys()
        try:
            kept = _Kept(await asyncio.to_thread(self._fetched, provider.url), self._clock.monotonic())
        except Fault:
            self._failed[provider.arn] = self._clock.monotonic()
            raise
        self._failed.pop(provider.arn, None)
        self._kept[provider.arn] = kept
        return kept

    def _fetched(self, url: str) -> KeySet:
        try:
            discovery = json.loads(self._fetch(f"https://{url.rstrip('/')}/.well-known/openid-configuration"))
            location = discovery["jwks_uri"]
            if discovery["issuer"].rstrip("/") != f"https://{url.rstrip('/')}" or not location.startswith(
                "https://"
            ):
                raise ValueError("the discovery document is another issuer's")
            return _key_set(self._fetch(location))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _no_keys() from error

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now_ms() / 1000
        expires, issued, not_before = (claims.get(name) for name in ("exp", "iat", "nbf"))
        if not _is_time(expires) or (issued is not None and not _is_time(issued)):
            raise invalid("The ID Token provided has no valid times.")
        if now >= expires:
            raise Fault(
                "ExpiredTokenException",
                "Token expired: current date/time is after its expiration",
                status=400,
            )
        if _is_time(issued) and issued > now + _LEEWAY_SECONDS:
            raise invalid("The ID Token provided was issued in the future.")
        if not_before is not None and (not _is_time(not_before) or not_before > now + _LEEWAY_SECONDS):
            raise invalid("The ID Token provided is not valid yet.")


def _no_keys() -> Fault:
    text = "Couldn't retrieve verification key from your identity provider."
    return Fault("IDPCommunicationError", text, status=400)


def invalid(message: str) -> Fault:
    return Fault("InvalidIdentityToken", message, status=400)


def _parts(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims as they are claimed. Nothing of them is believed before the signature is checked."""
    parts = token.split(".")
    if len(token) > LONGEST_TOKEN or len(parts) != 3:
        raise invalid("The ID Token provided is not a valid JWT.")
    decoded = []
    for part in parts[:2]:
        try:
            value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except (binascii.Error, ValueError, RecursionError) as error:
            raise invalid("The ID Token provided is not a valid JWT.") from error
        if not isinstance(value, dict):
            raise invalid("The ID Token provided is not a valid JWT.")
        decoded.append(value)
    return decoded[0], decoded[1]


def _key_set(text: bytes) -> KeySet:
    try:
        return KeySet.import_key_set(json.loads(text))
    except (JoseError, KeyError, TypeError) as error:
        raise ValueError("not a key set") from error


def _audience(claims: Mapping[str, Any], client_ids: list[str]) -> str:
    """The client id that the token was made for: `azp` where there is one, else one of `aud`."""
    named = claims.get("aud")
    audiences = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    party = claims.get("azp")
    wanted = [party] if isinstance(party, str) and len(audiences) > 1 else audiences
    for audience in wanted:
        if isinstance(audience, str) and audience in client_ids:
            return audience
    raise invalid("Incorrect token audience")


def _context(url: str, claims: Mapping[str, Any], audience: str) -> Mapping[str, str | tuple[str, ...]]:
    values: dict[str, str | tuple[str, ...]] = {f"{url}:aud".lower(): audience}
    named = [(name, claims.get(name)) for name in _CLAIMS_AS_KEYS]
    for name, value in [*named, ("oaud", claims.get("aud"))]:
        if isinstance(value, str):
            values[f"{url}:{name}".lower()] = value
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            values[f"{url}:{name}".lower()] = tuple(value)
    return values


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**12


def _short(text: str) -> str:
    return text if len(text) <= 256 and text.isprintable() else "its issuer"
