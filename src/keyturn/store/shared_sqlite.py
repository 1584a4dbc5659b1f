"""A SQLite file that several processes write by turns: small, synchronous, one transaction at a time.

For the state of tools (rotations, incidents), where a command and a server's loop open the same file. The
authority's own store, with its group commit, is `sqlite`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

import apsw

from keyturn.store.interface import Row, Value
from keyturn.store.sqlite_connection import open_writer, translate

_CACHE_KIB: Final = 512
"""Such files are small, and read by their keys."""


class Ledger:
    """What may be asked inside one transaction. Every result is fetched to its end."""

    __slots__ = ("_connection",)

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Value] | None = None) -> list[Row]:
        try:
            return cast("list[Row]", self._connection.execute(sql, parameters or {}).fetchall())
        except apsw.Error as error:
            raise translate(error) from error

    def row(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Row | None:
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def execute(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        """Run one statement that changes rows; the number of rows changed."""
        self.rows(sql, parameters)
        return self._connection.changes()


class SharedSqlite:
    """The file, migrated already. Its threads take turns; other processes wait for up to five seconds."""

    def __init__(self, path: Path) -> None:
        self._connection = open_writer(path)
        self._connection.pragma("cache_size", -_CACHE_KIB)
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Ledger]:
        """On disk when the block has ended; nothing of it if it raises. StoreUnavailableError if it can't be."""
        with self._turn:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield Ledger(self._connection)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except apsw.Error as error:
                raise translate(error) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Ledger]:
        """One snapshot."""
        with self._turn:
            try:
                self._connection.execute("BEGIN")
                try:
                    yield Ledger(self._connection)
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                raise translate(error) from error

    def close(self) -> None:
        with self._turn:
            self._connection.close()
