"""The room's own file: the journal, what seals the pairs in it, and one lock a user, held by the process.

A lock of time would lapse while a process is paused, and its owner would wake and go on; the kernel frees this
one when its holder dies, and not before (flock(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId
from keyturn.model.clock import Clock
from keyturn.model.errors import InUseError, KeyturnError
from keyturn.rotation.storage import journal
from keyturn.rotation.storage.reading import DATABASE, MIGRATIONS, ROOM
from keyturn.store.exclusive_lock import ExclusiveLock
from keyturn.store.migrations import migrate
from keyturn.store.sealing import (
    Purpose,
    Sealer,
    create_master_key_file,
    generate_master_key,
    read_master_key,
)
from keyturn.store.shared_sqlite import Ledger, SharedSqlite
from keyturn.store.sqlite import open_read_only

KEY_FILE: Final = "rotations.key"


class LockedByAnotherError(InUseError):
    """Another process is at this user's rotation now: nothing was done."""


@dataclass(frozen=True, slots=True)
class State:
    """What every part of the room is handed."""

    database: SharedSqlite
    sealer: Sealer
    locks: Path
    clock: Clock
    random_bytes: Callable[[int], bytes]
    _held: set[str] = field(default_factory=set, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextlib.contextmanager
    def user_lock(self, account_id: AccountId, user_name: str) -> Iterator[None]:
        """LockedByAnotherError at once if another process, or another thread, has it."""
        name = hashlib.sha256(f"{account_id}/{user_name}".encode()).hexdigest()[:32]
        with self._guard:
            if name in self._held:
                raise LockedByAnotherError(f"the rotation of {user_name} is being advanced already")
            self._held.add(name)
        try:
            lock = ExclusiveLock(self.locks / f"{name}.lock")
            try:
                lock.acquire()
            except KeyturnError as error:
                raise LockedByAnotherError(
                    f"another process is at the rotation of {user_name}",
                    "it goes on by itself; `keyturn status`",
                ) from error
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                self._held.discard(name)

    def put_pair(
        self, ledger: Ledger, rotation_id: str, account: AccountId, holder: str, pair: AccessKeyPair
    ) -> None:
        """Keep a pair, sealed, for as long as the rotation needs it."""
        blob = self.sealer.seal(
            pair.secret,
            purpose=Purpose.ROTATION,
            account_id=account,
            owner=f"{rotation_id}/{holder}",
            name=pair.access_key_id,
        )
        journal.put_sealed(ledger, rotation_id, holder, pair.access_key_id, blob)

    def pair(self, rotation_id: str, account: AccountId, holder: str) -> AccessKeyPair | None:
        """A pair that was kept, or None."""
        with self.database.reading() as ledger:
            found = journal.sealed(ledger, rotation_id, holder)
        if found is None:
            return None
        key, blob = found
        secret = self.sealer.unseal(
            blob, purpose=Purpose.ROTATION, account_id=account, owner=f"{rotation_id}/{holder}", name=key
        )
        return AccessKeyPair(AccessKeyId(key), secret)

    def close(self) -> None:
        self.database.close()


def open_state(
    directory: Path, key_directory: Path, *, clock: Clock, random_bytes: Callable[[int], bytes]
) -> State:
    """Open the room's file, or make it. The key that seals lies apart from it, in the configuration directory.

    KeyturnError if a state file is there and its key is not: a new key would make what it holds unreadable.
    """
    for each in (directory, key_directory, directory / "locks"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    database, key_file = directory / DATABASE, key_directory / KEY_FILE
    # Two first starts at once: the one that makes the key goes first, the other finds it.
    with _first_start(directory / "start.lock"):
        if not key_file.exists():
            if database.exists() and _holds_pairs(database):
                raise KeyturnError(
                    f"{key_file} is missing, and {database} holds secrets that were sealed with it",
                    "restore the key file; or move the state away: open rotations are then adopted anew",
                )
            create_master_key_file(key_file, generate_master_key(random_bytes))
        migrate(database, room=ROOM, directory=MIGRATIONS)
    sealer = Sealer(read_master_key(key_file), random_bytes=random_bytes)
    return State(SharedSqlite(database), sealer, directory / "locks", clock, random_bytes)


@contextlib.contextmanager
def _first_start(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holds_pairs(database: Path) -> bool:
    with open_read_only(database) as reader:
        table = reader.row("SELECT 1 FROM sqlite_schema WHERE name = 'sealed_pairs'")
        return table is not None and reader.row("SELECT 1 FROM sealed_pairs LIMIT 1") is not None
