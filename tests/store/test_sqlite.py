"""What is the SQLite driver's own: its files, the COMMIT that fails, its threads, its readers beside."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from keyturn.model.clock import SystemClock
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.store import sqlite as sqlite_module
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import SqliteStore, open_read_only
from keyturn.store.sqlite_connection import check_library


def insert(tx: Transaction, name: str) -> int:
    return tx.execute("INSERT INTO notes (id, body) VALUES (:id, '')", {"id": name})


def names(store: SqliteStore) -> list[object]:
    with store.read() as reader:
        return [row[0] for row in reader.rows("SELECT id FROM notes ORDER BY id")]


def modes(directory: Path) -> dict[str, int]:
    return {
        entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in directory.iterdir() if entry.is_file()
    }


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    assert tmp_path.is_dir()  # made before the mask would shut it
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_every_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    directory = tmp_path / "private"
    directory.mkdir()
    directory.chmod(0o700)
    store = SqliteStore(directory / "keyturn.db", clock=SystemClock(), reserve_bytes=65_536)
    await store.write(lambda tx: tx.execute("CREATE TABLE notes (id TEXT)"))
    companions = ("", "-wal", "-shm", ".reserve")
    assert modes(directory) == {f"keyturn.db{companion}": 0o600 for companion in companions}
    await store.close()
    assert modes(directory) == {"keyturn.db": 0o600, "keyturn.db.reserve": 0o600}


async def test_a_database_that_others_could_read_is_made_private(database: Path) -> None:
    database.chmod(0o644)
    store = SqliteStore(database, clock=SystemClock(), reserve_bytes=65_536)
    assert modes(database.parent)["keyturn.db"] == 0o600
    await store.close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.0"])
def test_a_sqlite_that_can_corrupt_is_refused(version: str) -> None:
    with pytest.raises(KeyturnError, match=rf"SQLite {version} can corrupt"):
        check_library(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_sound_sqlite_is_taken(version: str) -> None:
    check_library(version)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keyturn.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(KeyturnError, match="not a database"):
        SqliteStore(path, clock=SystemClock())
    with pytest.raises(KeyturnError, match="not a database"), open_read_only(path):
        pass


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="No such file"):
        SqliteStore(tmp_path / "missing" / "keyturn.db", clock=SystemClock())


def test_a_database_that_can_have_no_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own driver for file systems without shared memory: it answers as one of them would."""
    monkeypatch.setattr(apsw, "Connection", partial(apsw.Connection, vfs="unix-dotfile"))
    with pytest.raises(KeyturnError, match="write-ahead log"):
        SqliteStore(tmp_path / "keyturn.db", clock=SystemClock())


async def test_it_runs_with_full_durability(sqlite: SqliteStore) -> None:
    pragmas = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "mmap_size": 0,
        "trusted_schema": 0,
    }
    assert {name: sqlite._writer.pragma(name) for name in pragmas} == pragmas
    assert sqlite._reader.pragma("mmap_size") == 0


async def test_when_the_commit_fails_nothing_of_its_group_is_acknowledged(sqlite: SqliteStore) -> None:
    ran: list[str] = []

    def act(tx: Transaction, name: str) -> None:
        insert(tx, name)
        tx.after_commit(lambda: ran.append(name))

    sqlite._writer.set_commit_hook(lambda: True)
    answers = await asyncio.gather(
        *(sqlite.write(partial(act, name=name)) for name in "abc"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 3
    sqlite._writer.set_commit_hook(None)
    assert (ran, names(sqlite)) == ([], [])
    await sqlite.write(partial(act, name="d"))
    assert (ran, names(sqlite)) == (["d"], ["d"])


async def test_when_another_process_keeps_the_lock_nothing_is_acknowledged(
    sqlite: SqliteStore, database: Path
) -> None:
    other = apsw.Connection(str(database))
    other.execute("BEGIN IMMEDIATE")
    sqlite._writer.set_busy_timeout(0)
    answers = await asyncio.gather(
        *(sqlite.write(partial(insert, name=name), urgent=True) for name in "ab"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 2
    other.execute("ROLLBACK")
    other.close()
    assert await sqlite.write(partial(insert, name="c")) == 1
    assert names(sqlite) == ["c"]


async def test_an_act_that_hides_a_failing_database_is_not_acknowledged(sqlite: SqliteStore) -> None:
    def hide(tx: Transaction) -> str:
        insert(tx, "a")
        # The database fails under the act for real: it may not grow.
        sqlite._writer.pragma("max_page_count", 1)
        with pytest.raises(StoreUnavailableError):
            tx.execute("INSERT INTO notes (id, body) VALUES ('b', :body)", {"body": "x" * 100_000})
        return "all is well"

    with pytest.raises(StoreUnavailableError):
        await sqlite.write(hide)
    sqlite._writer.pragma("max_page_count", 1_000_000)
    assert names(sqlite) == []


async def test_an_act_that_ends_the_transaction_is_told_so(sqlite: SqliteStore) -> None:
    with pytest.raises(RuntimeError, match="ended the transaction"):
        await sqlite.write(lambda tx: tx.execute("ROLLBACK"))
    assert await sqlite.write(partial(insert, name="a")) == 1


async def test_a_callback_that_raises_is_reported_and_keeps_no_answer_back(sqlite: SqliteStore) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail() -> None:
        raise LookupError

    def act(tx: Transaction) -> str:
        tx.after_commit(fail)
        return "answered"

    assert await sqlite.write(act) == "answered"
    assert [type(error) for error in reported] == [LookupError]


async def test_only_one_thread_reads(sqlite: SqliteStore) -> None:
    assert names(sqlite) == []
    with pytest.raises(RuntimeError, match="thread"):
        await asyncio.to_thread(names, sqlite)


def test_only_one_event_loop_writes(database: Path) -> None:
    store = SqliteStore(database, clock=SystemClock(), reserve_bytes=65_536)
    asyncio.run(store.write(partial(insert, name="a")))
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(store.close())
    store._queue.put(None)
    store._thread.join()
    store._reader.close()


async def test_writes_that_pile_up_are_refused(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "QUEUE_LIMIT", 0)
    with pytest.raises(StoreUnavailableError, match="waiting"):
        await sqlite.write(partial(insert, name="a"))


async def test_the_log_stays_bounded(sqlite: SqliteStore, database: Path) -> None:
    log = database.with_name(database.name + "-wal")
    for number in range(40):
        await sqlite.write(
            lambda tx, number=number: tx.execute(  # type: ignore[misc]  # a default binds it
                "INSERT INTO notes (id, body) VALUES (:id, :body)", {"id": str(number), "body": "x" * 500_000}
            )
        )
        assert log.stat().st_size < 8 * 1024 * 1024
    await sqlite.close()
    assert not log.exists()


async def test_a_tool_reads_beside_the_writer(sqlite: SqliteStore, database: Path) -> None:
    await sqlite.write(partial(insert, name="a"))
    with open_read_only(database) as reader:
        assert reader.rows("SELECT id FROM notes") == [("a",)]
        await sqlite.write(partial(insert, name="b"))
        assert reader.rows("SELECT id FROM notes") == [("a",)]
        with pytest.raises(apsw.ReadOnlyError):
            reader.rows("DELETE FROM notes RETURNING id")
    with open_read_only(database) as reader:
        assert reader.rows("SELECT id FROM notes ORDER BY id") == [("a",), ("b",)]


def test_a_tool_reads_a_store_that_is_not_running(database: Path) -> None:
    with open_read_only(database) as reader:
        assert reader.rows("SELECT id FROM notes") == []
    assert set(modes(database.parent).values()) == {0o600} | {
        mode for name, mode in modes(database.parent).items() if name.endswith(".sql")
    }


def test_a_tool_is_told_when_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="there is no database"), open_read_only(tmp_path / "keyturn.db"):
        pass
    assert list(tmp_path.iterdir()) == []
