"""A new key for consumers whose old one is dead already: no waiting for its silence, the rest as in any rotation.

Whoever killed the key deletes it; where it takes the slot that the new one needs, that is done here, first.
"""

from __future__ import annotations

from dataclasses import replace

from keyturn.aws_clients import Reach
from keyturn.model.access_keys import KEYS_PER_USER, AccessKeyId, AccessKeyStatus
from keyturn.model.errors import KeyturnError
from keyturn.rotation.endpoint import NoSuchKeyError
from keyturn.rotation.engine import Ended, Outcome
from keyturn.rotation.progress import SinkProgress, Stage
from keyturn.rotation.room import Room
from keyturn.rotation.storage import journal
from keyturn.rotation.storage.journal import Rotation


def replace_dead(
    room: Room, reach: Reach, user_name: str, dead_key: AccessKeyId, name: str | None
) -> Outcome | None:
    """Begin, or go on with the rotation of that name. None: no sink is declared for the user.

    KeyturnError: the user's slots are full of keys that are not dead, or a rotation is in the way.
    """
    rotation = _known(room, reach, user_name, dead_key, name)
    if rotation is None:
        sinks = room.configuration.user(user_name).sinks
        if not sinks:
            return None
        _free_slot(room, reach, user_name, dead_key)
        rotation = room.find(_begin(room, reach, user_name, dead_key, sinks))
    elif rotation.finished_at is None and not rotation.progress.terms.is_emergency:
        rotation = _take_over(room, reach, rotation, dead_key)
    return room.advance(rotation)


def is_done(outcome: Outcome) -> bool:
    """Every sink holds the new key."""
    return outcome.ended is Ended.DONE or outcome.progress.stage in {Stage.ADOPT, Stage.WATCH}


def _known(
    room: Room, reach: Reach, user_name: str, dead_key: AccessKeyId, name: str | None
) -> Rotation | None:
    """The rotation of that name; else one that is under way, or that has replaced this very key already."""
    if name is not None:
        return room.find(name)
    account = room.endpoint(reach).identity().account_id
    with room.state.database.reading() as ledger:
        return journal.of_user(ledger, account, user_name) or journal.emergency_of(ledger, account, dead_key)


def _take_over(room: Room, reach: Reach, rotation: Rotation, dead_key: AccessKeyId) -> Rotation:
    """A rotation of this very key was under way: from now on nothing in it waits for the old key."""
    progress = rotation.progress
    if progress.new_key == dead_key or progress.stage in {Stage.ROLL_BACK, Stage.REHEARSE}:
        raise KeyturnError(
            f"the rotation {progress.rotation_id} of {progress.user_name} leads back to the leaked key",
            f"keyturn status {progress.rotation_id}; end it, then `keyturn leak` goes on",
        )
    engine = room.engine(reach)
    engine.wish(
        progress.rotation_id, terms=lambda terms: replace(terms, is_emergency=True, needs_adoption=False)
    )
    return room.find(progress.rotation_id)


def _free_slot(room: Room, reach: Reach, user_name: str, dead_key: AccessKeyId) -> None:
    endpoint = room.endpoint(reach)
    keys = endpoint.keys(user_name)
    if len(keys) < KEYS_PER_USER:
        return
    for key in keys:
        if key.access_key_id == dead_key and key.status is AccessKeyStatus.INACTIVE:
            try:
                endpoint.delete(user_name, dead_key)
            except NoSuchKeyError:
                return
            return
    others = ", ".join(key.access_key_id for key in keys)
    raise KeyturnError(
        f"{user_name} has no slot for a new key: {others}",
        "delete the one that nobody uses; `keyturn why KEYID`",
    )


def _begin(room: Room, reach: Reach, user_name: str, dead_key: AccessKeyId, sinks: tuple[str, ...]) -> str:
    terms = replace(room.configuration.user(user_name).terms, is_emergency=True, needs_adoption=False)
    to_write = tuple(SinkProgress(name) for name in sinks)
    progress = room.unplanned(user_name, dead_key, terms, reach, sinks=to_write)
    room.note_begun(progress, reach, f"{dead_key} is dead: its consumers need another key")
    return progress.rotation_id
