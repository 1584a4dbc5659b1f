"""How far a rotation has come, and on which terms it runs: data only, kept as JSON with a version.

A rotation may wait for weeks, across upgrades: fields are added with a default, never renamed, and what a newer
program wrote is refused by an older one instead of being guessed at.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.errors import KeyturnError

SCHEMA_VERSION: Final = 1
_SECOND: Final = 1000
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR


class Stage(StrEnum):
    """What the rotation is busy with."""

    CREATE = "create"
    PROVE = "prove"
    DELIVER = "deliver"
    ADOPT = "adopt"
    """The new key is out; the old one has to fall quiet."""
    WATCH = "watch"
    """The old key is inactive; whoever still needs it is listened for until it is deleted."""
    ROLL_BACK = "roll-back"
    REHEARSE = "rehearse"
    """No rotation: the key is inactive for a while, and comes back by itself."""
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        return self in {Stage.DONE, Stage.ROLLED_BACK, Stage.ABORTED}


class Wish(StrEnum):
    """What the operator wants of it now."""

    RUN = "run"
    PAUSE = "pause"
    ROLL_BACK = "roll-back"
    ABORT = "abort"


class SinkStage(StrEnum):
    PENDING = "pending"
    WRITING = "writing"
    """Asked to write; whether it has is to be read back."""
    CONFIRMED = "confirmed"
    RELOADED = "reloaded"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class SinkProgress:
    """One sink of one rotation."""

    name: str
    stage: SinkStage = SinkStage.PENDING
    attempts: int = 0
    problem: str | None = None
    needs_someone: bool = False
    """The sink refused; trying again by itself would change nothing."""
    next_at: int = 0
    version_before: str | None = None
    """The sink's own mark of what it held before the write."""
    had_key: AccessKeyId | None = None
    """What it held before, if it shows it."""
    is_readable: bool = True
    was_out: bool = False
    """It has taken the new key before, and is written anew."""


@dataclass(frozen=True, slots=True)
class Intent:
    """An act that was begun and whose outcome is not on record. Times are epoch milliseconds."""

    act: str
    at: int
    invocation_id: str = ""
    keys_before: tuple[AccessKeyId, ...] = ()
    target: str = ""
    may_repeat: bool = True
    """The endpoint has not yet refused to answer the same create again."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Who signed with the old key before the switch."""

    source: str
    agent: str


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms that somebody approved with the plan. Times are milliseconds."""

    proofs: int = 3
    proof_span: int = 10 * _SECOND
    prove_patience: int = 5 * 60 * _SECOND
    regions: tuple[str, ...] = ()
    """Where the consumers call: the new key is proved there. Empty: where the control calls go."""
    quiet: int = _HOUR
    """The least time for which the old key must have been quiet after the last sink confirmed."""
    sparse_quiet: int = 35 * _DAY
    """The same for a key that is used seldom, or of whose use too little is known."""
    needs_adoption: bool = True
    """Somebody has to be seen signing with the new key."""
    adopt_patience: int = 14 * _DAY
    """After this long the operator is told that the old key is still in use; nothing is given up."""
    keep_inactive: int = 35 * _DAY
    """From deactivation to deletion; never zero."""
    watch_every: int = 60 * _SECOND
    poll: int = 60 * _SECOND
    reactivates: bool = True
    may_deactivate: bool = True
    may_delete: bool = False
    free_slot: AccessKeyId | None = None
    """A key that the operator named to be deleted for the second slot."""
    is_emergency: bool = False
    """The old key is dead already, and somebody else deletes it: nothing waits for it."""
    sink_attempts: int = 8
    orphan_age: int = 15 * 60 * _SECOND
    """How old a key that may be ours must be, where its maker can't be found out."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All that is known of one rotation besides what the world itself says."""

    rotation_id: str
    account_id: AccountId
    user_name: str
    old_key: AccessKeyId | None
    started_at: int
    terms: Terms
    stage: Stage = Stage.CREATE
    stage_since: int = 0
    wish: Wish = Wish.RUN
    new_key: AccessKeyId | None = None
    intent: Intent | None = None
    proofs: int = 0
    first_proof_at: int | None = None
    last_proof_at: int | None = None
    """Our own last signature with the new key: later use is somebody else's."""
    sinks: tuple[SinkProgress, ...] = ()
    delivered_at: int | None = None
    quiet_window: int = 0
    """As sized by the old key's own history when the last sink confirmed; at least `terms.quiet`."""
    old_used_at: int | None = None
    """The old key's last use, as it was told last."""
    old_used_since: int | None = None
    """Since when that answer has been the same: a record of use may lag behind the use."""
    deactivated_at: int | None = None
    is_deactivated_by_us: bool = False
    watched_at: int = 0
    seen: tuple[Seen, ...] = ()
    reactivations: int = 0
    attention: str | None = None
    """What the operator has to look at; None if nothing."""
    waiting_for: str = ""
    next_at: int = 0
    orphans: tuple[AccessKeyId, ...] = ()
    """Keys that a create of ours left behind: to be deactivated and deleted."""
    orphan_since: int | None = None
    """When the last of them was deactivated, if who made it could not be found out."""
    old_active_since: int | None = None
    """When the old key was activated again."""
    new_deactivated_at: int | None = None
    """While rolling back: when the new key was deactivated."""
    notes: tuple[str, ...] = field(default=())

    @property
    def is_final(self) -> bool:
        return self.stage.is_final

    @property
    def staying(self) -> AccessKeyId | None:
        """The key that is to be everywhere in the end."""
        return self.old_key if self.stage is Stage.ROLL_BACK else self.new_key

    @property
    def leaving(self) -> AccessKeyId | None:
        """The key that is to be nowhere in the end."""
        return self.new_key if self.stage is Stage.ROLL_BACK else self.old_key


def as_json(value: Progress) -> str:
    """The JSON in which the state file keeps it."""
    return json.dumps(
        {"schema_version": SCHEMA_VERSION} | _fields_of(value), default=_fields_of, separators=(",", ":")
    )


def _fields_of(value: Any) -> dict[str, Any]:
    """Its own fields; the encoder comes back for what is inside. `asdict` would copy it all first, at ten times this."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(kind))


def from_json(text: str) -> Progress:
    """Read what this version, or an older one, wrote. KeyturnError for what a newer one wrote."""
    content = json.loads(text)
    if content.pop("schema_version") > SCHEMA_VERSION:
        raise KeyturnError(
            f"the rotation {content.get('rotation_id')} was written by a newer version of Keyturn",
            "run the newer program",
        )
    read: Progress = read_value(Progress, content)
    return read


def read_value(kind: Any, value: Any) -> Any:
    """A value of this kind from what JSON gave; fields that are not known are left out."""
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads one kind, worked out once."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        inner = _reader(next(each for each in arguments if each is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        each_one = _reader(arguments[0])
        return lambda value: tuple([each_one(each) for each in value])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        readers = {name: _reader(hints[name]) for name in _names(kind)}
        return lambda value: kind(
            **{name: readers[name](each) for name, each in value.items() if name in readers}
        )
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind
    return lambda value: value
