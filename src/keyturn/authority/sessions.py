"""Temporary credentials that need no row: all that a session may is sealed in its own token.

The token is authenticated encryption under the session-token key, bound to the temporary key's id. Nobody
can make or change one, and nothing in it is believed alone: each request still looks at the parent key,
the user and the role as they are now. Source: STS API; IAM user guide, "Temporary security credentials".
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from keyturn.model.access_keys import TEMPORARY, AccessKeyId, AccountId, NewAccessKey, mint_access_key
from keyturn.model.secrets import Secret
from keyturn.store.sealing import Purpose, Sealer, UnsealError

LONGEST_TOKEN: Final = 12_000
"""Characters. The head of a request has 16 KiB in all."""
_PACKED_LIMIT: Final = 2048
_OWNER: Final = "session"


class SessionKind(StrEnum):
    USER = "user"
    """GetSessionToken."""
    ROLE = "role"
    """AssumeRole."""
    WEB_IDENTITY = "web-identity"
    """AssumeRoleWithWebIdentity."""
    FEDERATION = "federation"
    """GetFederationToken."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a token says. Times are epoch milliseconds."""

    kind: SessionKind
    issued_at: int
    expires_at: int
    parent_key: str | None = None
    """The long-lived key at the beginning of the chain; None for a web identity."""
    user_id: str | None = None
    role_id: str | None = None
    name: str = ""
    """The role session's or the federated user's name."""
    mfa_at: int | None = None
    """When a second factor was proved, for GetSessionToken's own credentials."""
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    transitive: tuple[str, ...] = ()
    """Names of the tags that go on to the next role of a chain."""
    source_identity: str | None = None
    provider: str | None = None
    """ARN of the OIDC provider."""
    claims: tuple[tuple[str, str], ...] = ()
    """Context keys from a web identity, such as `token.actions.githubusercontent.com:sub`."""

    def is_expired(self, now: int) -> bool:
        return now >= self.expires_at


@dataclass(frozen=True, slots=True)
class TemporaryCredentials:
    key: NewAccessKey
    token: Secret
    size: int
    """Of the token, in characters."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class OpenedToken:
    session: Session
    secret: Secret


def issue_session(
    sealer: Sealer,
    account_id: AccountId,
    session: Session,
    random_bytes: Callable[[int], bytes],
    least_size: int = 0,
) -> TemporaryCredentials:
    """`least_size` is in characters of the token (STS API, MinimumSessionTokenSize)."""
    new = mint_access_key(account_id, random_bytes, TEMPORARY)
    content = json.dumps(
        {"secret": new.secret.reveal().decode("ascii"), **asdict(session)}, separators=(",", ":")
    )
    packed = zlib.compress(content.encode())

    def token(padding: int) -> bytes:
        sealed = sealer.seal(
            Secret(packed + bytes(padding)),
            purpose=Purpose.SESSION_TOKEN,
            account_id=account_id,
            owner=_OWNER,
            name=new.access_key_id,
        )
        return base64.b64encode(sealed)

    made = token(0)
    if len(made) < least_size:
        made = token((least_size - len(made)) * 3 // 4 + 3)
    return TemporaryCredentials(new, Secret(made), len(made), session.expires_at)


def open_token(
    sealer: Sealer, account_id: AccountId, access_key_id: AccessKeyId, token: bytes
) -> OpenedToken | None:
    """What the token says, if we sealed it for exactly this temporary key; None otherwise."""
    if len(token) > LONGEST_TOKEN:
        return None
    try:
        sealed = base64.b64decode(token, validate=True)
        opened = sealer.unseal(
            sealed, purpose=Purpose.SESSION_TOKEN, account_id=account_id, owner=_OWNER, name=access_key_id
        )
    except (binascii.Error, ValueError, UnsealError):
        return None
    if base64.b64encode(sealed) != token:
        return None  # the last character has bits to spare: another spelling is another token
    # What stands behind the compressed stream is padding.
    content = json.loads(zlib.decompressobj().decompress(opened.reveal()))
    secret = Secret(content.pop("secret").encode("ascii"))
    for name in ("policy_arns", "transitive"):
        content[name] = tuple(content[name])
    for name in ("tags", "claims"):
        content[name] = tuple((key, value) for key, value in content[name])
    content["kind"] = SessionKind(content["kind"])
    return OpenedToken(Session(**content), secret)


def packed_size(policy: str | None, policy_arns: tuple[str, ...], tags: tuple[tuple[str, str], ...]) -> int:
    """Per cent of the space that policies and tags may take (STS, PackedPolicySize); over 100 is too large."""
    text = json.dumps([policy, policy_arns, tags], separators=(",", ":"))
    return -(-100 * len(zlib.compress(text.encode())) // _PACKED_LIMIT)
