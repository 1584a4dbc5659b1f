"""Which key a rotation replaces, and which one may be given up for the second slot. Never "the oldest".

A user has two slots. A key that is in the way is deleted only if it is inactive, was not used for long, is held
by no sink, and the operator names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.model.access_keys import KEYS_PER_USER, AccessKeyId, AccessKeyStatus
from keyturn.rotation.endpoint import LastUse, NeverSeen, Unknown, Used, UserKey

_DAY: Final = 24 * 3600 * 1000
UNUSED_AFTER: Final = 90 * _DAY
"""A key that nobody used for so long may be given up, if the operator names it."""
GRACE: Final = 7 * _DAY
"""A key that was never used and is younger may still be on its way to its consumers."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is replaced, and what goes for it."""

    old_key: AccessKeyId | None
    """None: the user's first key."""
    free_slot: AccessKeyId | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class NeedsWord:
    """It could be done if the operator says so."""

    why: str
    then: str


def choose(
    user_name: str,
    keys: Sequence[UserKey],
    uses: Mapping[AccessKeyId, LastUse],
    held_by: Mapping[AccessKeyId, Sequence[str]],
    now: int,
    *,
    free_slot: AccessKeyId | None = None,
    old_key: AccessKeyId | None = None,
) -> Chosen | NeedsWord:
    """The decision table. `free_slot` and `old_key` are what the operator named."""
    ids = {key.access_key_id for key in keys}
    for said in (free_slot, old_key):
        if said is not None and said not in ids:
            return NeedsWord(f"{said} is not a key of {user_name}", f"keyturn keys --user {user_name}")
    if len(keys) < KEYS_PER_USER:
        return Chosen(old_key or (keys[0].access_key_id if keys else None))
    if old_key is not None:
        rest = [key for key in keys if key.access_key_id != old_key]
        return _giving_up(user_name, rest, uses, held_by, now, old_key, free_slot)
    inactive = [key for key in keys if key.status is AccessKeyStatus.INACTIVE]
    active = [key for key in keys if key.status is AccessKeyStatus.ACTIVE]
    if len(active) == 1:
        return _giving_up(user_name, inactive, uses, held_by, now, active[0].access_key_id, free_slot)
    if not active:
        kept = max(keys, key=lambda key: (_used_at(uses[key.access_key_id]), key.created_at))
        rest = [key for key in keys if key is not kept]
        return _giving_up(user_name, rest, uses, held_by, now, kept.access_key_id, free_slot)
    return _two_active(user_name, active, uses, held_by, now)


def _giving_up(
    user_name: str,
    rest: Sequence[UserKey],
    uses: Mapping[AccessKeyId, LastUse],
    held_by: Mapping[AccessKeyId, Sequence[str]],
    now: int,
    old_key: AccessKeyId,
    free_slot: AccessKeyId | None,
) -> Chosen | NeedsWord:
    for key in rest:
        blocked = _may_go(user_name, key, uses[key.access_key_id], held_by.get(key.access_key_id, ()), now)
        if blocked is not None:
            return blocked
    if len(rest) == 1 and free_slot is None:
        spare = rest[0]
        return NeedsWord(
            f"{spare.access_key_id} is {_told(spare, uses[spare.access_key_id], now)} and takes the second slot",
            f"say that it may be deleted: --free-slot={spare.access_key_id}",
        )
    if free_slot is None or len(rest) > 1 or free_slot == old_key:
        return NeedsWord(f"{user_name} has {len(rest) + 1} keys", "delete by hand what is not needed")
    return Chosen(old_key, free_slot, _told(rest[0], uses[free_slot], now))


def _may_go(user_name: str, key: UserKey, use: LastUse, sinks: Sequence[str], now: int) -> NeedsWord | None:
    """Why this key is not given up for a slot, even if it is named."""
    name = key.access_key_id
    if isinstance(use, Unknown):
        return NeedsWord(f"when {name} was last used is not known: {use.why}", "try again when it is")
    if sinks:
        return NeedsWord(f"{name} is held by {', '.join(sinks)}", "write another key there first")
    if key.status is AccessKeyStatus.ACTIVE:
        deactivate = (
            f"aws iam update-access-key --user-name {user_name} --access-key-id {name} --status Inactive"
        )
        return NeedsWord(f"{name} is {_told(key, use, now)}, and an active key is never given up", deactivate)
    last = max(use.at if isinstance(use, Used) else 0, 0 if isinstance(use, Used) else key.created_at)
    needed = UNUSED_AFTER if isinstance(use, Used) else GRACE
    if now - last < needed:
        return NeedsWord(
            f"{name} is {_told(key, use, now)}: it may still be missed",
            f"delete it by hand if you know better, or wait until it is {needed // _DAY} days",
        )
    return None


def _two_active(
    user_name: str,
    active: Sequence[UserKey],
    uses: Mapping[AccessKeyId, LastUse],
    held_by: Mapping[AccessKeyId, Sequence[str]],
    now: int,
) -> NeedsWord:
    told = " and ".join(f"{key.access_key_id} ({_told(key, uses[key.access_key_id], now)})" for key in active)
    both = f"{user_name} has two active keys, {told}"
    for key in active:
        if isinstance(use := uses[key.access_key_id], Unknown):
            return NeedsWord(f"{both}, and what is in use is not known: {use.why}", "try again when it is")
    idle = [
        key
        for key in active
        if not held_by.get(key.access_key_id)
        and now - max(_used_at(uses[key.access_key_id]), key.created_at)
        > (GRACE if isinstance(uses[key.access_key_id], NeverSeen) else UNUSED_AFTER)
    ]
    if len(idle) == 1:
        name = idle[0].access_key_id
        return NeedsWord(
            both,
            f"deactivate the one that nobody uses, and watch: aws iam update-access-key --user-name {user_name}"
            f" --access-key-id {name} --status Inactive",
        )
    free = [key.access_key_id for key in active if not held_by.get(key.access_key_id)]
    if len(free) == 1:
        return NeedsWord(both, f"no sink holds {free[0]}: find out who uses it with `keyturn why {free[0]}`")
    return NeedsWord(both, "find out who uses which: `keyturn why KEYID`; one of them has to go first")


def _used_at(use: LastUse) -> int:
    return use.at if isinstance(use, Used) else 0


def _told(key: UserKey, use: LastUse, now: int) -> str:
    status = key.status.value.lower()
    if isinstance(use, Used):
        return f"{status}, unused for {max(0, now - use.at) // _DAY} d"
    if isinstance(use, Unknown):
        return f"{status}, last use unknown"
    return f"{status}, never seen in use in {max(0, now - key.created_at) // _DAY} d"
