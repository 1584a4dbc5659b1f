"""Who can act: today IAM users; sessions of roles will stand beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from keyturn.model.access_keys import AccountId
from keyturn.model.arns import user_arn

UserId = NewType("UserId", str)
"""`AIDA` and 17 base32 characters: stays when the user is renamed."""


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
