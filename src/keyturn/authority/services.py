"""What handlers may reach beside the database: sealing, randomness, last uses. Handed in, so that tests can hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keyturn.authority.authorization import Authorization
from keyturn.authority.entity_uses import EntityUses
from keyturn.authority.last_used import UsageRecorder
from keyturn.authority.repeats import Repeats
from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.store.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Services:
    account_id: AccountId
    sealer: Sealer
    random_bytes: Callable[[int], bytes]
    usage: UsageRecorder
    entity_uses: EntityUses
    repeats: Repeats
    authorization: Authorization
    forget_key: Callable[[AccessKeyId], None]
    """Drops what is cached of one key; runs after COMMIT and before the answer."""
    forget_user: Callable[[str], None]
    """Drops what is cached of a user's keys (their name or path has changed)."""
