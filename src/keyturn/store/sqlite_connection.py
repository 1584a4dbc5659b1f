"""Connections to a SQLite file, set up one way: WAL, synchronous FULL, private files, nothing trusted.

What an error of SQLite means to a caller is said here too. Who uses which connection in which thread
is left to `sqlite`, `sqlite_backup` and `migrations`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, cast

import apsw

from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.store.interface import UniqueViolationError
from keyturn.store.private_files import PRIVATE, fsync_directory
from keyturn.store.reserve import Reserve

OLDEST_SQLITE: Final = (3, 51, 3)
"""Before it, a write that meets a checkpoint could corrupt the file (sqlite.org/wal.html, WAL-reset bug)."""

WRITER_PATIENCE_MS: Final = 5_000
"""How long a write waits for another process's lock."""
_READER_PATIENCE_MS: Final = 1_000
_STATEMENTS: Final = 256
_WAL_PAGES: Final = 1_000
_WAL_LEFT_BYTES: Final = 8 * 1024 * 1024
_CACHE_KIB: Final = 8 * 1024

_UNIQUE: Final = frozenset(
    {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID}
)
_UNAVAILABLE: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.ProtocolError,
)
# SQLite says FULL only for ENOSPC on a plain write; a quota, a file size limit and a full disk under the
# shared memory or a delayed allocation come as these.
_MAYBE_FULL: Final = frozenset(
    {
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
        apsw.SQLITE_IOERR_TRUNCATE,
        apsw.SQLITE_IOERR_SHMSIZE,
        apsw.SQLITE_IOERR_SHMMAP,
    }
)


def check_library(version: str | None = None) -> None:
    """KeyturnError if the SQLite at hand is older than `OLDEST_SQLITE`."""
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise KeyturnError(
            f"SQLite {found} can corrupt a database; {oldest} or later is needed",
            hint="install apsw as a wheel: it brings its own SQLite",
        )


def open_writer(path: Path) -> apsw.Connection:
    """A connection that writes; the file is made if it is missing, and it and its companions are 0600.

    A full disk leaves no room even to open: then the reserve beside the database is given up.
    KeyturnError if the file can't be opened, is no database, or can't have a write-ahead log.
    """
    check_library()
    path = path.absolute()
    try:
        _make_private(path)
    except OSError as error:
        raise KeyturnError(f"can't open the database {path}: {error.strerror}") from error
    try:
        return _open_writer(path)
    except (apsw.IOError, apsw.FullError, apsw.CantOpenError) as error:
        if not Reserve(path).release():
            raise _cannot_open(path, error) from error
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    try:
        return _open_writer(path)
    except apsw.Error as error:
        raise _cannot_open(path, error) from error


def open_reader(path: Path) -> apsw.Connection:
    """A connection for the reads of the process that writes; `open_writer` has been called."""
    path = path.absolute()
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, _READER_PATIENCE_MS)
        connection.pragma("query_only", True)
        connection.pragma("cache_size", -_CACHE_KIB)
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    return connection


def open_beside(path: Path) -> apsw.Connection:
    """A read-only connection for another process, with the store running or not."""
    check_library()
    path = path.absolute()
    if not path.is_file():
        raise KeyturnError(f"there is no database {path}", hint="name the data directory: --data-dir DIR")
    try:
        connection = _connect(path, apsw.SQLITE_OPEN_READONLY, WRITER_PATIENCE_MS)
        try:
            connection.pragma("schema_version")  # opening is lazy: find out here
        except apsw.Error:
            connection.close()
            raise
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    return connection


def translate(error: apsw.Error) -> Exception:
    """The error as the interface knows it; a fault of the program stays what it is."""
    if isinstance(error, apsw.ConstraintError) and _code(error) in _UNIQUE:
        return UniqueViolationError(str(error))
    if isinstance(error, _UNAVAILABLE):
        return StoreUnavailableError(f"the database can't be used now: {error}")
    return error


def is_unavailable(error: apsw.Error) -> bool:
    """Whether the database failed, and not what was asked of it."""
    return isinstance(error, _UNAVAILABLE)


def is_out_of_space(error: apsw.Error) -> bool:
    """Whether room on the disk may be what is missing."""
    return isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and _code(error) in _MAYBE_FULL
    )


def is_late_constraint(error: apsw.Error) -> bool:
    """Whether one request broke a foreign key that is only checked at COMMIT."""
    return _code(error) == apsw.SQLITE_CONSTRAINT_FOREIGNKEY


def _code(error: apsw.Error) -> int:
    return cast("int", getattr(error, "extendedresult", 0))  # its type stubs leave the attribute out


def _make_private(path: Path) -> None:
    # SQLite gives the log and the shared memory the mode of the database file, whatever the umask.
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        try:
            os.fchmod(descriptor, PRIVATE)
        finally:
            os.close(descriptor)
        fsync_directory(path.parent)
        return
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            if companion.stat().st_mode & 0o177:
                companion.chmod(PRIVATE)


def _connect(path: Path, flags: int, patience_ms: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS)
    try:
        connection.set_busy_timeout(patience_ms)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # "text" in double quotes is a name, as PostgreSQL has it.
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        # Without it a join is parsed and planned anew each time another value is bound to it: ten times the cost.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.pragma("trusted_schema", False)
        connection.pragma("foreign_keys", True)
        connection.pragma("mmap_size", 0)
        connection.pragma("temp_store", "MEMORY")  # a sort must not need the disk that is full
    except apsw.Error:
        connection.close()
        raise
    return connection


def _open_writer(path: Path) -> apsw.Connection:
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, WRITER_PATIENCE_MS)
    try:
        mode = connection.pragma("journal_mode", "WAL")
        if mode != "wal":
            raise KeyturnError(
                f"{path} can't have a write-ahead log (SQLite answered {mode!r})",
                hint="put the data directory on a local disk: a network file system has no shared memory",
            )
        connection.pragma("cache_size", -_CACHE_KIB)
        connection.pragma("synchronous", "FULL")
        connection.pragma("fullfsync", True)
        connection.pragma("secure_delete", True)  # a deleted key's sealed secret leaves the file with it
        connection.pragma("journal_size_limit", _WAL_LEFT_BYTES)
        connection.wal_autocheckpoint(_WAL_PAGES)
        connection.pragma("schema_version")  # touch the log and the shared memory: fail here or not at all
    except (apsw.Error, KeyturnError):
        connection.close()
        raise
    return connection


def _cannot_open(path: Path, error: apsw.Error) -> KeyturnError:
    if isinstance(error, apsw.NotADBError):
        return KeyturnError(f"{path} is not a database of Keyturn")
    hint = "is its disk full?" if is_out_of_space(error) else None
    return KeyturnError(f"can't open the database {path}: {error}", hint=hint)
