"""Who asks, and whom a Principal or NotPrincipal element names (IAM user guide, "Principal").

A value here is what authentication has proved; which accounts and roles exist is the authority's to know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from keyturn.policy.elements import Json, UnreadableError, mapping_of, texts_of

_ACCOUNT: Final = re.compile(r"[0-9]{12}\Z")
_AWS_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam::(?P<account>[0-9]{12}):(?:root|user/[!-~]+|role/[!-~]+)"
    r"|sts::[0-9]{12}:(?:assumed-role/[!-~]+/[!-~]+|federated-user/[!-~]+))\Z"
)
_UNIQUE_ID: Final = re.compile(
    r"(?:AIDA[A-Z0-9]{12,124}|AROA[A-Z0-9]{12,124}(?::[\w+=,.@-]{2,64})?)\Z", re.ASCII
)
"""What a user, role or role session is kept as, and shown as once it is deleted."""
_FEDERATED_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:oidc-provider|saml-provider)/[!-~]+\Z")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_CANONICAL_USER: Final = re.compile(r"[0-9a-f]{64}\Z")


class PrincipalKind(Enum):
    ROOT = "Account"
    USER = "User"
    ROLE_SESSION = "AssumedRole"
    FEDERATED_USER = "FederatedUser"
    """Of GetFederationToken."""
    FEDERATED = "Federated"
    """Comes with an identity provider's word and nothing else: AssumeRoleWithWebIdentity, AssumeRoleWithSAML."""
    SERVICE = "Service"
    ANONYMOUS = "Anonymous"


_WITHOUT_IDENTITY_POLICIES: Final = frozenset(
    {PrincipalKind.FEDERATED, PrincipalKind.SERVICE, PrincipalKind.ANONYMOUS}
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Made by one of the functions below, each of which says what it takes."""

    kind: PrincipalKind
    name: str
    """ARN of the user, session or provider; the domain of a service or provider; `*` for nobody in particular."""
    account: str | None = None
    role_arn: str | None = None
    """Of a role session, its path included."""
    parent_arn: str | None = None
    """Of a federated user: who called GetFederationToken. What denies them, denies it."""
    unique_id: str | None = None
    """Of a user; of a role session, with the session's name behind it."""
    role_id: str | None = None
    parent_id: str | None = None
    """AIDA… of the user, AROA… of the role."""
    canonical_user: str | None = None

    @property
    def has_identity_policies(self) -> bool:
        return self.kind not in _WITHOUT_IDENTITY_POLICIES


def root_of(account: str) -> Principal:
    return Principal(PrincipalKind.ROOT, f"arn:aws:iam::{account}:root", account)


def user(arn: str, user_id: str | None = None) -> Principal:
    """An IAM user, also with credentials of GetSessionToken."""
    return Principal(PrincipalKind.USER, arn, _account_of(arn), unique_id=user_id)


def role_session(session_arn: str, role_arn: str, role_id: str | None = None) -> Principal:
    """`arn:aws:sts::…:assumed-role/name/session`, and the role's own ARN with its path."""
    return Principal(
        PrincipalKind.ROLE_SESSION,
        session_arn,
        _account_of(session_arn),
        role_arn=role_arn,
        unique_id=None if role_id is None else f"{role_id}:{session_arn.rpartition('/')[2]}",
        role_id=role_id,
    )


def federated_user(arn: str, parent_arn: str, parent_id: str | None = None) -> Principal:
    """`arn:aws:sts::…:federated-user/name`, and the ARN of who called GetFederationToken."""
    return Principal(
        PrincipalKind.FEDERATED_USER, arn, _account_of(arn), parent_arn=parent_arn, parent_id=parent_id
    )


def federated(provider: str) -> Principal:
    """A provider's ARN, or the domain of one that AWS knows itself (`accounts.google.com`)."""
    return Principal(PrincipalKind.FEDERATED, provider)


def service(domain: str) -> Principal:
    return Principal(PrincipalKind.SERVICE, domain)


ANONYMOUS: Final = Principal(PrincipalKind.ANONYMOUS, "*")


def _account_of(arn: str) -> str | None:
    fields = arn.split(":", 5)
    return fields[4] if len(fields) == 6 else None


class Reach(IntEnum):
    """How far an Allow carries that names a principal (IAM user guide, "Policy evaluation logic")."""

    NOBODY = 0
    DELEGATES = 1
    """Names the account: within it, the identity's own policies decide."""
    CAPPED = 2
    """Names the role, or everybody: stands for an identity policy, under boundary and session policy."""
    BY_ITSELF = 3
    """Names the user or the very session: no implicit deny of other policies takes it back."""


@dataclass(frozen=True, slots=True)
class Principals:
    """The element, laid out by what a request can look up."""

    is_negated: bool
    everybody: bool
    accounts: frozenset[str]
    arns: frozenset[str]
    """Users, roles, sessions and unique ids."""
    federated: frozenset[str]
    services: frozenset[str]
    canonical_users: frozenset[str]

    def reach(self, principal: Principal) -> Reach:
        """What an Allow that names these gives the principal. A negated element gives nothing."""
        if self.is_negated:
            return Reach.NOBODY
        if principal.kind is PrincipalKind.SERVICE:
            is_named = principal.name in self.services or "*" in self.services
        elif principal.kind is PrincipalKind.FEDERATED:
            is_named = principal.name in self.federated
        elif principal.kind is PrincipalKind.ANONYMOUS:
            is_named = False
        else:
            return self._reach_of_identity(principal)
        return Reach.BY_ITSELF if is_named else Reach.CAPPED if self.everybody else Reach.NOBODY

    def _reach_of_identity(self, principal: Principal) -> Reach:
        if (
            self._names(principal.name, principal.unique_id)
            or principal.canonical_user in self.canonical_users
        ):
            return Reach.BY_ITSELF
        if self._names(principal.role_arn, principal.role_id) or self.everybody:
            return Reach.CAPPED
        return Reach.DELEGATES if principal.account in self.accounts else Reach.NOBODY

    def concern(self, principal: Principal, *, has_boundary: bool) -> bool:
        """Whether a Deny with these is meant for the principal.

        NotPrincipal spares whom it names on every level: "AWS might validate the account first, then the role, and
        then the assumed-role user". It "will always deny any IAM principal that has a permissions boundary policy
        attached, regardless of the values" (IAM user guide, "NotPrincipal").
        """
        if not self.is_negated:
            return (
                self.reach(principal) is not Reach.NOBODY
                or self._names(principal.parent_arn, principal.parent_id)
                or (principal.kind is PrincipalKind.FEDERATED and "*" in self.federated)
            )
        return has_boundary or not (self.everybody or self._names_every_level_of(principal))

    def _names_every_level_of(self, principal: Principal) -> bool:
        if principal.kind is PrincipalKind.SERVICE:
            return principal.name in self.services
        if principal.kind is PrincipalKind.FEDERATED:
            return principal.name in self.federated
        if principal.account not in self.accounts:
            return False
        return principal.kind is PrincipalKind.ROOT or (
            self._names(principal.name, principal.unique_id)
            and (principal.role_arn is None or self._names(principal.role_arn, principal.role_id))
        )

    def _names(self, arn: str | None, unique_id: str | None) -> bool:
        return arn in self.arns or unique_id in self.arns


def compile_principals(statement: Mapping[str, Json]) -> Principals:
    """From the one of Principal and NotPrincipal that is there. Raises UnreadableError, naming what is no principal."""
    present = [name for name in ("Principal", "NotPrincipal") if name in statement]
    if len(present) != 1:
        raise UnreadableError("a statement has either Principal or NotPrincipal")
    element = statement[present[0]]
    named: dict[str, set[str]] = {
        kind: set() for kind in ("*", "account", "AWS", "Federated", "Service", "CanonicalUser")
    }
    if element == "*":
        named["*"].add("*")
    else:
        for kind, value in mapping_of(element).items():
            for text in texts_of(value):
                named[_place(kind, text)].add(_account_in(text) if kind == "AWS" else text)
    if not any(named.values()):
        raise UnreadableError("nobody is named")
    return Principals(
        is_negated=present[0] == "NotPrincipal",
        everybody=bool(named["*"]),
        accounts=frozenset(named["account"]),
        arns=frozenset(named["AWS"]),
        federated=frozenset(named["Federated"]),
        services=frozenset(named["Service"]),
        canonical_users=frozenset(named["CanonicalUser"]),
    )


class InvalidPrincipalError(UnreadableError):
    """A text that names nobody. `kind` and `text` as written."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind} has no principal {text}")
        self.kind = kind
        self.text = text


def _place(kind: str, text: str) -> str:
    """Which of the sets the text belongs to. A wildcard stands alone or not at all."""
    if kind == "AWS":
        if text == "*":
            return "*"
        if _ACCOUNT.match(text) or (_AWS_ARN.match(text) and text.endswith(":root")):
            return "account"
        if (_AWS_ARN.match(text) and "*" not in text and "?" not in text) or _UNIQUE_ID.match(text):
            return "AWS"
    elif (
        (kind == "Federated" and (text == "*" or _FEDERATED_ARN.match(text) or _DOMAIN.match(text)))
        or (kind == "Service" and (text == "*" or _DOMAIN.match(text)))
        or (kind == "CanonicalUser" and _CANONICAL_USER.match(text))
    ):
        return kind
    raise InvalidPrincipalError(kind, text)


def _account_in(text: str) -> str:
    """An account by its id, whichever way it is written; every other text as it is."""
    return text.split(":", 5)[4] if text.endswith(":root") else text
