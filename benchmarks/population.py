"""Users with keys, loaded through the authority's own storage functions while no server runs.

They are the rows that CreateUser, CreateAccessKey and AddUserToGroup would have left, sealed under the
instance's real master key; only the audit records of their making are missing. The first `keyturn serve`
finishes the start.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from keyturn.authority.access_keys import seal_access_key
from keyturn.authority.identifiers import GROUP_PREFIX, USER_PREFIX, mint_unique_id
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import groups as group_rows
from keyturn.authority.storage import policies as policy_rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.access_keys import AccessKey
from keyturn.authority.storage.groups import Group
from keyturn.model.access_keys import AccessKeyStatus, AccountId, mint_access_key
from keyturn.model.clock import SystemClock
from keyturn.model.principals import User, UserId
from keyturn.settings import place
from keyturn.store.interface import Transaction
from keyturn.store.sealing import Sealer
from keyturn.wiring import opened_store, reach
from servers import environment_below
from signed_requests import Key

_BATCH = 2_000
_SELF_SERVICE = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",'
    ' "Action": ["iam:*AccessKey*", "iam:GetUser"], "Resource": "arn:aws:iam::*:user/${aws:username}"}]}'
)


@dataclass(frozen=True, slots=True)
class Member:
    """A user, and the key that they hold if they were given one."""

    name: str
    arn: str
    key: Key | None


def populate(home: Path, how_many: int, *, with_keys: bool) -> list[Member]:
    """Make an authority below `home` with that many users, all in one group that may manage its own keys."""
    return asyncio.run(_populate(home, how_many, with_keys=with_keys))


def administrator(home: Path) -> Key:
    """The administrator's key. The authority has been started."""
    credentials = reach(place({}, environment_below(home))).credentials
    return Key(credentials.access_key_id, credentials.secret.reveal().decode())


async def _populate(home: Path, how_many: int, *, with_keys: bool) -> list[Member]:
    where = place({}, environment_below(home))
    members: list[Member] = []
    async with opened_store(where, SystemClock(), os.urandom, None) as (store, instance, sealer):
        account_id = instance.account_id
        group = Group(account_id, mint_unique_id(GROUP_PREFIX, os.urandom), "everyone", "/", _now())
        await store.write(lambda tx: _add_group(tx, group))
        for first in range(0, how_many, _BATCH):
            names = [f"user-{number:06d}" for number in range(first, min(first + _BATCH, how_many))]
            members += await store.write(
                lambda tx, names=names: [  # type: ignore[misc]  # binds now
                    _add_member(tx, account_id, group, name, sealer if with_keys else None) for name in names
                ]
            )
    return members


def _now() -> int:
    return SystemClock().now_ms()


def _add_group(tx: Transaction, group: Group) -> None:
    group_rows.insert_group(tx, group)
    policy_rows.put_inline_policy(tx, group.account_id, group.group_id, "SelfService", _SELF_SERVICE)


def _add_member(
    tx: Transaction, account_id: AccountId, group: Group, name: str, sealer: Sealer | None
) -> Member:
    user = User(account_id, UserId(mint_unique_id(USER_PREFIX, os.urandom)), name, "/", _now())
    user_rows.insert_user(tx, user)
    group_rows.add_member(tx, account_id, group.group_id, user.user_id)
    if sealer is None:
        return Member(name, user.arn, None)
    new = mint_access_key(account_id, os.urandom)
    key = AccessKey(new.access_key_id, user.user_id, 1, AccessKeyStatus.ACTIVE, user.created_at)
    key_rows.insert_access_key(tx, key, user, seal_access_key(sealer, user, new), sealer.kek_id)
    return Member(name, user.arn, Key(new.access_key_id, new.secret.reveal().decode()))
