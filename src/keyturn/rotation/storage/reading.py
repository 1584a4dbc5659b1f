"""The journal, for commands that only look: beside whoever writes it, and without the key that seals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from keyturn.store.migrations import require_current
from keyturn.store.shared_sqlite import Ledger
from keyturn.store.sqlite_connection import open_beside

ROOM: Final = "rotation"
MIGRATIONS: Final = files("keyturn.rotation.storage") / "migrations"
DATABASE: Final = "rotations.sqlite"


@contextlib.contextmanager
def reading_state(directory: Path) -> Iterator[Ledger | None]:
    """One snapshot; None if there has never been a rotation here. KeyturnError if it is of another version."""
    if not (directory / DATABASE).exists():
        yield None
        return
    connection = open_beside(directory / DATABASE)
    try:
        connection.execute("BEGIN")
        ledger = Ledger(connection)
        require_current(ledger, room=ROOM, directory=MIGRATIONS)
        yield ledger
    finally:
        connection.close()
