"""Who can act: IAM users, sessions of roles, federated users; and roles, which act through sessions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from keyturn.model.access_keys import AccountId
from keyturn.model.arns import assumed_role_arn, federated_user_arn, role_arn, user_arn

UserId = NewType("UserId", str)
"""`AIDA` and 17 base32 characters: stays when the user is renamed."""
RoleId = NewType("RoleId", str)
"""`AROA` and 17 base32 characters."""


@dataclass(frozen=True, slots=True)
class User:
    """An IAM user as the store holds it."""

    account_id: AccountId
    user_id: UserId
    name: str
    path: str
    created_at: int
    """Epoch milliseconds."""

    @property
    def arn(self) -> str:
        return user_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.user_id


@dataclass(frozen=True, slots=True)
class Role:
    """An IAM role as the store holds it, without its policies."""

    account_id: AccountId
    role_id: RoleId
    name: str
    path: str
    created_at: int
    """Epoch milliseconds."""

    @property
    def arn(self) -> str:
        return role_arn(self.account_id, self.path, self.name)


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A session of a role."""

    role: Role
    session_name: str

    @property
    def account_id(self) -> AccountId:
        return self.role.account_id

    @property
    def arn(self) -> str:
        return assumed_role_arn(self.role.account_id, self.role.name, self.session_name)

    @property
    def unique_id(self) -> str:
        return f"{self.role.role_id}:{self.session_name}"


@dataclass(frozen=True, slots=True)
class FederatedUser:
    """Somebody whom an IAM user vouches for (STS, GetFederationToken)."""

    user: User
    """Who asked for the token."""
    name: str

    @property
    def account_id(self) -> AccountId:
        return self.user.account_id

    @property
    def arn(self) -> str:
        return federated_user_arn(self.user.account_id, self.name)

    @property
    def unique_id(self) -> str:
        return f"{self.user.account_id}:{self.name}"


@dataclass(frozen=True, slots=True)
class WebIdentityUser:
    """Somebody whom an OpenID Connect provider vouches for, on the way to a role."""

    account_id: AccountId
    provider_arn: str
    audience: str
    subject: str

    @property
    def arn(self) -> str:
        return self.provider_arn

    @property
    def unique_id(self) -> str:
        return f"{self.provider_arn}:{self.audience}:{self.subject}"


Principal = User | AssumedRole | FederatedUser | WebIdentityUser
