"""The embedded store: SQLite behind one writer thread that commits what is queued as one group.

Each write is a SAVEPOINT of the group's transaction and is answered after its COMMIT; reads go over a
second connection on the event loop's own thread. What is in the tables is left to the rooms.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, NoReturn, TypeVar, cast

import apsw

from keyturn.model.clock import Clock
from keyturn.model.errors import StoreUnavailableError
from keyturn.store.interface import Reader, Row, Transaction, Value
from keyturn.store.reserve import RESERVE_BYTES, Reserve
from keyturn.store.sqlite_connection import (
    WRITER_PATIENCE_MS,
    is_late_constraint,
    is_out_of_space,
    is_unavailable,
    open_beside,
    open_reader,
    open_writer,
    translate,
)

T = TypeVar("T")

GROUP_LIMIT: Final = 256
"""Writes in one COMMIT: enough to share its cost, few enough to keep the wait short."""
QUEUE_LIMIT: Final = 16_384
"""Writes that may wait; the next is refused."""
SPACE_CHECK_SECONDS: Final = 1.0
"""While space is low, how often the disk is asked again."""

_NO_PARAMETERS: Final[Mapping[str, Value]] = {}
_REQUEST: Final = "request"
"""The savepoint that each request of a group runs in."""


class _Statements:
    """What a snapshot and a transaction share: statements on one connection, for as long as they last."""

    __slots__ = ("_connection", "_is_over")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._is_over = False

    def rows(self, sql: str, parameters: Mapping[str, Value] | None = None) -> list[Row]:
        return self._run(sql, parameters)

    def row(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Row | None:
        rows = self._run(sql, parameters)
        return rows[0] if rows else None

    def _run(self, sql: str, parameters: Mapping[str, Value] | None) -> list[Row]:
        if self._is_over:
            self._refuse()
        try:
            # Fetched to the end, always: a half-read cursor pins its snapshot.
            rows = self._connection.execute(sql, parameters or _NO_PARAMETERS).fetchall()
        except apsw.Error as error:
            raise self._failed(error) from error
        return cast("list[Row]", rows)

    def _failed(self, error: apsw.Error) -> Exception:
        return translate(error)

    def _refuse(self) -> NoReturn:
        raise RuntimeError("the snapshot or transaction of this statement is over")


class _Snapshot(_Statements):
    """A read transaction as a context. It begins with its first statement: who reads nothing pays nothing."""

    __slots__ = ("_has_begun",)

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self._has_begun = False

    def __enter__(self) -> Reader:
        return self

    def _run(self, sql: str, parameters: Mapping[str, Value] | None) -> list[Row]:
        if not self._has_begun:
            super()._run("BEGIN", None)
            self._has_begun = True
        return super()._run(sql, parameters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._has_begun and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class _LoopSnapshot(_Snapshot):
    """A snapshot of the event loop's connection, of which there is one at a time."""

    __slots__ = ("_store",)

    def __init__(self, connection: apsw.Connection, store: SqliteStore) -> None:
        super().__init__(connection)
        self._store = store

    def __enter__(self) -> Reader:
        self._store._begin_reading()  # noqa: SLF001 - the store's own other half
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store._is_reading = False  # noqa: SLF001 - as above
        super().__exit__(kind, error, trace)


class _SqliteTransaction(_Statements):
    """One request's savepoint. A statement that failed outside `savepoint()` leaves nothing to go on with:
    PostgreSQL would refuse the rest, so it is refused here too.
    """

    __slots__ = ("_changes_before", "_depth", "_failure", "callbacks", "fault", "group")

    def __init__(self, connection: apsw.Connection, group: object) -> None:
        super().__init__(connection)
        self.group = group
        self.callbacks: list[Callable[[], None]] = []
        self.fault: apsw.Error | None = None
        """The database itself failed: the whole group is lost, whatever the act makes of it."""
        self._failure: Exception | None = None
        self._depth = 0
        self._changes_before: int | None = connection.total_changes()
        """Of the connection, when the request began; None once the request has written."""

    def execute(self, sql: str, parameters: Mapping[str, Value] | None = None) -> int:
        self._changes_before = None
        self._run(sql, parameters)
        return self._connection.changes()

    def lock(self, sql: str, parameters: Mapping[str, Value]) -> None:
        """BEGIN IMMEDIATE has locked the whole database."""

    def savepoint(self) -> AbstractContextManager[None]:
        return _Savepoint(self)

    def _enter(self) -> tuple[str, int]:
        """Before the first write, the request's own savepoint stands where an inner one would, and serves for it."""
        if self._is_over:
            self._refuse()
        if self._depth or self._connection.total_changes() != self._changes_before:
            name = f"inner_{self._depth}"
            self._run(f"SAVEPOINT {name}", None)
        else:
            name = _REQUEST
        self._depth += 1
        return name, len(self.callbacks)

    def _keep(self, name: str) -> None:
        self._depth -= 1
        if name != _REQUEST:
            self._run(f"RELEASE {name}", None)

    def _undo(self, name: str, callbacks: int) -> None:
        self._depth -= 1
        try:
            if self.fault is None:
                self._failure = None
                self._is_over = False
                self._run(f"ROLLBACK TO {name}", None)
                if name != _REQUEST:
                    self._run(f"RELEASE {name}", None)
        finally:
            del self.callbacks[callbacks:]

    def after_commit(self, act: Callable[[], None]) -> None:
        self.callbacks.append(act)

    def finish(self) -> None:
        """The act has returned: RuntimeError if it went on after a failed statement."""
        self._require_sound()
        self._is_over = True

    def abandon(self) -> None:
        self._is_over = True

    def _failed(self, error: apsw.Error) -> Exception:
        failure = translate(error)
        self._failure = failure
        self._is_over = True
        if is_unavailable(error) or not self._connection.in_transaction:
            self.fault = error
        return failure

    def _refuse(self) -> NoReturn:
        self._require_sound()
        super()._refuse()

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise RuntimeError(
                "a statement failed in this transaction: only `savepoint()` lets it go on"
            ) from self._failure


class _Savepoint(AbstractContextManager[None]):
    """A class, for each request enters one and a generator costs as much as its statements."""

    __slots__ = ("_kept", "_name", "_transaction")

    def __init__(self, transaction: _SqliteTransaction) -> None:
        self._transaction = transaction

    def __enter__(self) -> None:
        self._name, self._kept = self._transaction._enter()  # noqa: SLF001 - the transaction's own other half

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._transaction
        try:
            if error is None:
                transaction._require_sound()  # noqa: SLF001 - as above
        except BaseException:
            transaction._undo(self._name, self._kept)  # noqa: SLF001 - as above
            raise
        if error is None:
            transaction._keep(self._name)  # noqa: SLF001 - as above
        else:
            transaction._undo(self._name, self._kept)  # noqa: SLF001 - as above


@dataclass(slots=True)
class _Outcome(Generic[T]):
    """What one request is answered: a value with its callbacks, or an error."""

    request: _Request[T]
    value: T | None = None
    error: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class _Request(Generic[T]):
    act: Callable[[Transaction], T]
    urgent: bool
    answer: asyncio.Future[_Outcome[T]]


# The queue holds requests of many result types.
_AnyRequest = _Request[object]
_AnyOutcome = _Outcome[object]


class _GroupLostError(Exception):
    """The group's transaction is gone and nothing of it has happened."""

    def __init__(self, cause: apsw.Error | None, *, may_retry: bool) -> None:
        super().__init__()
        self.cause = cause
        self.may_retry = may_retry
        """Each request alone may fare better: one of them was at fault, or there may be room for some."""

    @property
    def is_out_of_space(self) -> bool:
        return self.cause is not None and is_out_of_space(self.cause)

    def error(self) -> Exception:
        """What a request of the group is told: a new exception for each, for each has its own traceback."""
        if self.cause is None:
            return RuntimeError("an act ended the transaction that it was run in")
        if is_late_constraint(self.cause):
            return self.cause  # alone in its group: it was this request's own
        error = _full() if self.is_out_of_space else _broken(self.cause)
        error.__cause__ = self.cause
        return error


class SqliteStore:
    """A `Store` in one SQLite file of the directory that the caller has made.

    To be used on one event loop and its thread. The file's migrations have been run; that this process
    is the only writer has been made sure of with `ExclusiveLock`. KeyturnError if it can't be opened.
    """

    def __init__(self, path: Path, *, clock: Clock, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._clock = clock
        self._writer = open_writer(path)
        try:
            self._reader = open_reader(path)
        except BaseException:
            self._writer.close()
            raise
        self._reserve = Reserve(path.absolute(), reserve_bytes)
        self._is_low_on_space = not self._reserve.hold()
        self._next_space_check = clock.monotonic() + SPACE_CHECK_SECONDS
        self._queue: queue.SimpleQueue[_AnyRequest | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading_thread: int | None = None
        self._is_reading = False
        self._closed: asyncio.Future[None] | None = None
        # A daemon, so that a process that dies without close() does die; COMMIT is what makes writes safe.
        self._thread = threading.Thread(target=self._write_groups, name="keyturn-store-writer", daemon=True)
        self._thread.start()

    @property
    def is_low_on_space(self) -> bool:
        return self._is_low_on_space

    # On the event loop

    def read(self) -> AbstractContextManager[Reader]:
        return _LoopSnapshot(self._reader, self)

    def _begin_reading(self) -> None:
        if self._closed is not None and self._closed.done():
            raise StoreUnavailableError("the store is closed")
        thread = threading.get_ident()
        if self._reading_thread is None:
            self._reading_thread = thread
        if self._reading_thread != thread:
            raise RuntimeError("the store is read on the event loop's thread only")
        if self._is_reading:
            raise RuntimeError("a read is open already: it must end before the next, and before an await")
        self._is_reading = True

    async def write(self, act: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        if self._closed is not None:
            raise StoreUnavailableError("the store is closing")
        if self._queue.qsize() >= QUEUE_LIMIT:
            raise StoreUnavailableError("too many writes are waiting")
        request = _Request(act, urgent, self._bound_loop().create_future())
        self._queue.put(cast("_AnyRequest", request))
        outcome = await request.answer
        # The answer is always a result: a caller that went away leaves no exception that nobody fetched.
        try:
            if outcome.error is not None:
                raise outcome.error
            return cast("T", outcome.value)
        finally:
            del outcome

    async def close(self) -> None:
        if self._closed is None:
            self._closed = self._bound_loop().create_future()
            self._queue.put(None)
        await asyncio.shield(self._closed)

    def _bound_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError("the store belongs to another event loop")
        return loop

    def _answer(self, outcomes: list[_AnyOutcome]) -> None:
        """All caches first, then the answers: nobody hears of a write that a cache still denies."""
        for outcome in outcomes:
            for callback in outcome.callbacks:
                try:
                    callback()
                except Exception as error:  # noqa: BLE001 - the others must be answered; the loop reports it
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "an act after a commit raised", "exception": error}
                    )
        for outcome in outcomes:
            if not outcome.request.answer.done():  # its task may have been cancelled
                outcome.request.answer.set_result(outcome)

    def _finish_closing(self) -> None:
        # The last connection to close folds the log into the database and removes it.
        self._reader.close()
        if self._is_low_on_space:
            self._reserve.hold_what_fits()
        assert self._closed is not None
        if not self._closed.done():
            self._closed.set_result(None)

    # On the writer thread

    def _write_groups(self) -> None:
        is_open = True
        while is_open:
            group: list[_AnyRequest] = []
            try:
                request = self._queue.get(timeout=SPACE_CHECK_SECONDS if self._is_low_on_space else None)
                while request is not None:
                    group.append(request)
                    if len(group) == GROUP_LIMIT:
                        break
                    request = self._queue.get_nowait()
                is_open = request is not None
            except queue.Empty:
                pass
            if group:
                self._on_loop(self._answer, self._settle(group))
            elif self._is_low_on_space:
                self._space_came_back()
        self._writer.set_busy_timeout(0)  # a tool that reads beside must not hold up the end
        with contextlib.suppress(apsw.Error):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with contextlib.suppress(apsw.Error):
            self._writer.close()
        self._on_loop(self._finish_closing)

    def _on_loop(self, act: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        # A loop that was closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *arguments)

    def _settle(self, group: list[_AnyRequest]) -> list[_AnyOutcome]:
        """What each request of the group is answered, in the order of the group."""
        outcomes: list[_AnyOutcome] = []
        if self._is_low_on_space and not self._space_came_back():
            outcomes = [_refused(request, _full()) for request in group if not request.urgent]
            group = [request for request in group if request.urgent]
        if not group:
            return outcomes
        try:
            outcomes += self._commit(group)
            if self._is_low_on_space:
                self._fold_log()
            return outcomes
        except _GroupLostError as lost:
            if not lost.may_retry:
                return outcomes + [_refused(request, lost.error()) for request in group]
            if lost.is_out_of_space:
                self._give_log_back()
        except Exception as error:  # noqa: BLE001 - each is answered and the thread lives, whatever it was
            return outcomes + [_refused(request, error) for request in group]
        for request in group:
            try:
                outcomes += self._commit_alone(request)
            except _GroupLostError as lost:
                outcomes.append(_refused(request, lost.error()))
            except Exception as error:  # noqa: BLE001 - as above
                outcomes.append(_refused(request, error))
        return outcomes

    def _commit_alone(self, request: _AnyRequest) -> list[_AnyOutcome]:
        try:
            return self._commit([request])
        except _GroupLostError as lost:
            if not lost.is_out_of_space:
                raise
            # The reserve is for what can't wait: given up for less, others would eat it meanwhile.
            if not (request.urgent and self._reserve.release()):
                self._give_log_back()
                self._ask_for_space()
                raise
            self._is_low_on_space = True
            self._next_space_check = self._clock.monotonic() + SPACE_CHECK_SECONDS
        self._fold_log()
        return self._commit([request])

    def _commit(self, group: list[_AnyRequest]) -> list[_AnyOutcome]:
        """Run the group as one transaction. _GroupLostError if nothing of it has happened."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            self._roll_back()
            raise _GroupLostError(error, may_retry=is_out_of_space(error)) from error
        try:
            identity = object()
            outcomes = [self._run(request, identity) for request in group]
            self._writer.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            # A constraint that waits for COMMIT is the fault of one; an I/O error is nobody's.
            may_retry = is_out_of_space(error) or is_late_constraint(error)
            raise _GroupLostError(error, may_retry=may_retry) from error
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _run(self, request: _AnyRequest, group: object) -> _AnyOutcome:
        self._writer.execute(f"SAVEPOINT {_REQUEST}")
        transaction = _SqliteTransaction(self._writer, group)
        value: object = None
        failure: BaseException | None = None
        try:
            value = request.act(transaction)
            transaction.finish()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, and comes out of its own write
            failure = error
            transaction.abandon()
        if transaction.fault is not None or not self._writer.in_transaction:
            raise _GroupLostError(transaction.fault, may_retry=True)
        if failure is not None:
            self._writer.execute(f"ROLLBACK TO {_REQUEST}")
            self._writer.execute(f"RELEASE {_REQUEST}")
            return _Outcome(request, error=failure)
        self._writer.execute(f"RELEASE {_REQUEST}")
        return _Outcome(request, value=value, callbacks=transaction.callbacks)

    def _roll_back(self) -> None:
        # After FULL or an I/O error SQLite may have done it already.
        if self._writer.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._writer.execute("ROLLBACK")

    def _fold_log(self) -> None:
        """Move the log into the database as far as it goes: one that is through is written from its start.

        While space is low this follows each commit, so that what urgent writes use up is only what the
        database grows by.
        """
        with contextlib.suppress(apsw.Error):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _give_log_back(self) -> None:
        """Fold the log and cut its file: a write that was too large may have filled the disk with it."""
        if self._is_low_on_space:
            self._fold_log()  # what the log holds now, others could take
            return
        self._writer.set_busy_timeout(0)  # not while another process reads an old snapshot
        with contextlib.suppress(apsw.Error):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._writer.set_busy_timeout(WRITER_PATIENCE_MS)

    def _space_came_back(self) -> bool:
        if self._clock.monotonic() >= self._next_space_check:
            self._ask_for_space()
        return not self._is_low_on_space

    def _ask_for_space(self) -> None:
        self._is_low_on_space = not self._reserve.hold()
        self._next_space_check = self._clock.monotonic() + SPACE_CHECK_SECONDS


def _full() -> StoreUnavailableError:
    return StoreUnavailableError("the disk is full")


def _broken(cause: apsw.Error) -> StoreUnavailableError:
    return StoreUnavailableError(f"the database can't be written now: {cause}")


def _refused(request: _AnyRequest, error: Exception) -> _AnyOutcome:
    return _Outcome(request, error=error)


@contextlib.contextmanager
def open_read_only(path: Path) -> Iterator[Reader]:
    """One snapshot of the database for a tool beside the process that writes it, running or not.

    KeyturnError if it can't be opened. The log can't shrink while the snapshot is held: be quick.
    """
    connection = open_beside(path)
    try:
        with _Snapshot(connection) as reader:
            reader.rows("SELECT count(*) FROM sqlite_schema")  # the snapshot begins with the first read
            yield reader
    finally:
        connection.close()
