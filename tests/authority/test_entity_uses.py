"""What users and roles last called: bounded, kept when the disk is full, never moving back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from keyturn.authority.entity_uses import EntityUses
from keyturn.authority.storage.entity_uses import ACTIONS_PER_SERVICE, FOLDED, EntityUse, add
from keyturn.model.access_keys import AccountId
from keyturn.model.clock import SystemClock
from keyturn.model.errors import StoreUnavailableError
from keyturn.model.principals import User, UserId, WebIdentityUser
from keyturn.store.interface import Transaction
from keyturn.store.migrations import migrate
from keyturn.store.sqlite import SqliteStore
from keyturn.wiring import _USAGE_MIGRATIONS, _USAGE_ROOM

T = TypeVar("T")
ANA = User(AccountId("123456789012"), UserId("AIDAQWERTYUIOPASDFGHJ"), "ana", "/", 0)


class _FullDisk(SqliteStore):
    is_full = False

    async def write(self, act: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        if self.is_full:
            raise StoreUnavailableError("the disk is full")
        return await super().write(act, urgent=urgent)


@pytest.fixture
def store(tmp_path: Path) -> _FullDisk:
    migrate(tmp_path / "usage.db", room=_USAGE_ROOM, directory=_USAGE_MIGRATIONS)
    return _FullDisk(tmp_path / "usage.db", clock=SystemClock())


def record(uses: EntityUses, action: str, at: int) -> None:
    uses.record(ANA, at=at, service="iam", region="eu-west-1", action=action)


def test_what_can_not_be_written_now_is_written_later(store: _FullDisk) -> None:
    async def story() -> None:
        uses = EntityUses(store)
        store.is_full = True
        record(uses, "ListUsers", 1)
        with pytest.raises(StoreUnavailableError):
            await uses.flush()
        record(uses, "GetUser", 2)
        assert {use.action for use in uses.of([ANA.user_id])} == {"ListUsers", "GetUser"}
        store.is_full = False
        await uses.flush()
        assert {use.action for use in EntityUses(store).of([ANA.user_id])} == {"ListUsers", "GetUser"}
        await store.close()

    asyncio.run(story())


def test_what_is_just_being_written_is_told_too(store: _FullDisk) -> None:
    async def story() -> None:
        uses = EntityUses(store)
        record(uses, "ListUsers", 1)
        flushing = asyncio.ensure_future(uses.flush())
        while not flushing.done():
            assert [use.action for use in uses.of([ANA.user_id])] == ["ListUsers"]
            await asyncio.wait([flushing], timeout=0)
        assert [use.action for use in uses.of([ANA.user_id])] == ["ListUsers"]
        await store.close()

    asyncio.run(story())


def test_actions_without_end_fold_into_one_row(store: _FullDisk) -> None:
    async def story() -> None:
        uses = EntityUses(store)
        for number in range(ACTIONS_PER_SERVICE + 20):
            record(uses, f"Action{number}", number)
        await uses.flush()
        kept = uses.of([ANA.user_id])
        assert len(kept) == ACTIONS_PER_SERVICE + 1
        assert max(kept, key=lambda use: use.at) == EntityUse(
            ANA.user_id, "iam", FOLDED, ACTIONS_PER_SERVICE + 19, "eu-west-1"
        )
        await store.close()

    asyncio.run(story())


def test_a_last_use_never_moves_back(store: _FullDisk) -> None:
    async def story() -> None:
        for at, region in ((20, "eu-west-1"), (10, "us-east-1")):
            use = EntityUse(ANA.user_id, "sts", "GetCallerIdentity", at, region)
            await store.write(partial(add, uses=[use]))
        last = EntityUses(store).last_of(ANA.user_id)
        assert last is not None
        assert (last.at, last.region) == (20, "eu-west-1")
        await store.close()

    asyncio.run(story())


def test_who_is_no_user_or_role_of_ours_has_no_uses(store: _FullDisk) -> None:
    uses = EntityUses(store)
    stranger = WebIdentityUser(ANA.account_id, "arn:aws:iam::123456789012:oidc-provider/x", "a", "s")
    uses.record(stranger, at=1, service="sts", region="us-east-1", action="AssumeRoleWithWebIdentity")
    assert not uses.of([stranger.unique_id])
    asyncio.run(store.close())
