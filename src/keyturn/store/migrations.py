"""Numbered plain-SQL migrations, forward only, each in one transaction with the version that it leads to.

The files live in the room that owns the tables, as `0001_name.sqlite.sql`; rooms are counted apart. A kill
in the middle leaves the version before.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, cast

import apsw

from keyturn.model.errors import KeyturnError
from keyturn.store.interface import Reader
from keyturn.store.sqlite_connection import is_out_of_space, open_writer

_FILE_NAME: Final = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.([a-z0-9]+)\.sql\Z")

_HAS_TABLE: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'"
_VERSION: Final = "SELECT version FROM schema_version WHERE room = :room"
_CREATE_TABLE: Final = "CREATE TABLE IF NOT EXISTS schema_version (room TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT"
_SET_VERSION: Final = (
    "INSERT INTO schema_version (room, version) VALUES (:room, :version)"
    " ON CONFLICT (room) DO UPDATE SET version = excluded.version"
)


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


def discover(directory: Traversable, *, dialect: str = "sqlite") -> tuple[Migration, ...]:
    """The migrations of one dialect in their order. KeyturnError if a number is missing or there twice."""
    found: list[Migration] = []
    for entry in directory.iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.match(entry.name)
        if match is None:
            raise _incomplete(f"{entry.name} is not called NNNN_name.dialect.sql")
        if match[3] == dialect:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise _incomplete(f"number {expected} was expected, {migration.number} was found")
    return tuple(found)


def migrate(path: Path, *, room: str, directory: Traversable) -> tuple[int, int]:
    """Bring the tables of `room` in the database at `path` up to date; the version before and after.

    The file is made if it is missing. KeyturnError if the database is newer than this program, or if a
    migration fails: then the database is as the one before left it.
    """
    migrations = discover(directory)
    connection = open_writer(path)
    try:
        before = _version_in(connection, room)
        _refuse_newer(room, before, len(migrations))
        # Tables are rebuilt by making, copying, dropping and renaming (sqlite.org/lang_altertable.html, 7):
        # with foreign keys on, dropping would take rows elsewhere along. They are checked before COMMIT.
        connection.pragma("foreign_keys", False)
        for migration in migrations[before:]:
            _apply(connection, room, migration)
        return before, len(migrations)
    finally:
        connection.close()


def version(reader: Reader, room: str) -> int:
    """How many migrations of `room` the database has had; 0 if none."""
    if reader.row(_HAS_TABLE) is None:
        return 0
    row = reader.row(_VERSION, {"room": room})
    return 0 if row is None else cast("int", row[0])


def require_current(reader: Reader, *, room: str, directory: Traversable) -> None:
    """For tools that only read: KeyturnError if the database is of another version than this program."""
    found, known = version(reader, room), len(discover(directory))
    _refuse_newer(room, found, known)
    if found < known:
        raise KeyturnError(
            f"the database is of version {found} for {room}, this program needs {known}",
            hint="start the server of this version once: it brings the database up to date",
        )


def _apply(connection: apsw.Connection, room: str, migration: Migration) -> None:
    label = f"migration {migration.number} ({migration.name}) of {room}"
    try:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            # Asked again under the lock: another process may have been quicker.
            if _version_in(connection, room) >= migration.number:
                connection.execute("ROLLBACK")
                return
            connection.execute(_CREATE_TABLE)
            _run_script(connection, migration.sql)
            if connection.execute("PRAGMA foreign_key_check").fetchall():
                raise KeyturnError(f"{label} would leave rows that point nowhere; the database is unchanged")
            connection.execute(_SET_VERSION, {"room": room, "version": migration.number})
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(apsw.Error):
                    connection.execute("ROLLBACK")
            raise
    except apsw.Error as error:
        hint = "free some space on the disk" if is_out_of_space(error) else None
        raise KeyturnError(f"{label} failed, the database is unchanged: {error}", hint=hint) from error


def _run_script(connection: apsw.Connection, sql: str) -> None:
    connection.authorizer = _no_transactions
    try:
        connection.execute(sql).fetchall()
    finally:
        connection.authorizer = None


def _no_transactions(
    action: int, _first: str | None, _second: str | None, _database: str | None, _inner: str | None
) -> int:
    """A script that commits would leave a half of itself behind."""
    return apsw.SQLITE_DENY if action == apsw.SQLITE_TRANSACTION else apsw.SQLITE_OK


def _version_in(connection: apsw.Connection, room: str) -> int:
    if not connection.execute(_HAS_TABLE).fetchall():
        return 0
    rows = connection.execute(_VERSION, {"room": room}).fetchall()
    return cast("int", rows[0][0]) if rows else 0


def _refuse_newer(room: str, found: int, known: int) -> None:
    if found > known:
        raise KeyturnError(
            f"the database is of version {found} for {room}, this program knows {known}",
            hint="start the newer program again, or restore the backup from before the upgrade",
        )


def _incomplete(what: str) -> KeyturnError:
    return KeyturnError(
        f"the migrations of this installation are not complete: {what}", hint="install it again"
    )
