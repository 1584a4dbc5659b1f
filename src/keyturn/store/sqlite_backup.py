"""A copy of the database while it is written to: one snapshot, in a file of its own that needs no log.

Secrets stay sealed in it; the master key is never part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from keyturn.model.errors import KeyturnError
from keyturn.store.private_files import new_private_file
from keyturn.store.sqlite_connection import is_out_of_space, open_beside

_STEP_PAGES: Final = 1_024


def backup(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy `source`, in use or not, into the new file `target` (0600); it appears when it is complete.

    `progress` is told pages done and pages in all after each step. KeyturnError if `target` exists, or
    `source` can't be read, or the copy can't be written.
    """
    reading = open_beside(source)
    try:
        with new_private_file(target) as temporary:
            try:
                # The snapshot is held from first to last: the API would start over with each foreign
                # commit otherwise. In WAL mode it keeps no writer waiting.
                reading.execute("BEGIN")
                reading.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                _copy(reading, temporary, progress)
            except apsw.Error as error:
                hint = "is the disk full?" if is_out_of_space(error) else None
                raise KeyturnError(f"the backup to {target} failed: {error}", hint=hint) from error
    finally:
        reading.close()


def _copy(reading: apsw.Connection, temporary: Path, progress: Callable[[int, int], None] | None) -> None:
    writing = apsw.Connection(str(temporary), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # Nobody sees the file yet, and it is synced as a whole at the end: no journal, no lock files.
        writing.pragma("locking_mode", "EXCLUSIVE")
        writing.pragma("journal_mode", "OFF")
        writing.pragma("synchronous", "OFF")
        with writing.backup("main", reading, "main") as copy:
            while not copy.done:
                copy.step(_STEP_PAGES)
                if progress is not None:
                    progress(copy.page_count - copy.remaining, copy.page_count)
        # The copied header says WAL; a file that stands alone is better off without.
        writing.pragma("journal_mode", "DELETE")
    finally:
        writing.close()
