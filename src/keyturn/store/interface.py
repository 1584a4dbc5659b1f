"""What a room may ask of a database: read, and write in one transaction that is answered after COMMIT.

The tables, their SQL and their migrations live in the room that owns them. SQL keeps to what SQLite and
PostgreSQL both speak, with `:name` parameters; every result is fetched to its end before it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

T = TypeVar("T")
Value = str | int | bytes | None
Row = tuple[Value, ...]


class Reader(Protocol):
    """One consistent snapshot of the database."""

    def rows(self, sql: str, parameters: Mapping[str, Value] | None = None) -> list[Row]:
        """All rows of a query, fetched to the end."""

    def row(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Row | None:
        """The first row of a query (fetched to the end all the same), or None."""


class Transaction(Reader, Protocol):
    """One request's part of a group commit: a savepoint, kept or undone whole."""

    @property
    def group(self) -> object:
        """Tells commits apart by its identity: writes that are kept or lost together have the same one."""

    def execute(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        """Run one statement that changes rows; the number of rows changed."""

    def lock(self, sql: str, parameters: Mapping[str, Value]) -> None:
        """Lock rows by an UPDATE that changes nothing. A database with a single writer has locked everything
        and does not run it.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """What is done inside is undone if the block raises; the exception goes on."""

    def after_commit(self, act: Callable[[], None]) -> None:
        """Run `act` on the event loop after COMMIT and before the request is answered.

        This is how a revocation is exact: cache entries are dropped here. Not run if the savepoint,
        or the whole commit, is undone. `act` must not raise.
        """


class UniqueViolationError(Exception):
    """A unique constraint refused the row. Inside `savepoint()` the transaction can go on, else it can't."""


class Store(Protocol):
    @property
    def is_low_on_space(self) -> bool:
        """True while the disk is full: only urgent writes are tried until the reserve is whole again."""

    def read(self) -> AbstractContextManager[Reader]:
        """A snapshot for the event loop's own thread. Never held across an `await`."""

    async def write(self, act: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        """Run `act` on the writer thread inside a SAVEPOINT of the current group; answer after COMMIT.

        If `act` raises, its savepoint is undone and the exception comes out here; the others of the group
        commit. `act` may run again if the group was lost, each time with nothing of the last run left: it
        must change nothing but the transaction. Once queued, a write goes on even if its task is cancelled.
        Raises StoreUnavailableError when the disk is full or the store is closing. An `urgent`
        write (a revocation) may use the reserve that is kept for a full disk.
        """

    async def close(self) -> None:
        """Refuse new writes, finish the queued ones, close every connection."""
