"""A disk that is really full: reads and revocations go on, the rest is refused, and it comes back by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import apsw
import pytest

from keyturn.model.clock import Clock
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.store.interface import Transaction
from keyturn.store.reserve import Reserve
from keyturn.store.sqlite import SqliteStore, open_read_only
from keyturn.store.sqlite_backup import backup

RESERVE = 512 * 1024
CHILDREN = Path(__file__).parent / "children"


class Disk(Protocol):
    directory: Path

    def fill(self) -> None: ...

    def free(self) -> None: ...


class MovableClock(Clock, Protocol):
    seconds: float


@pytest.fixture
def disk(mount_small_disk: Callable[[str], AbstractContextManager[Disk]]) -> Iterator[Disk]:
    with mount_small_disk("6m") as mounted:
        yield mounted


def put(tx: Transaction, name: str, body: str = "") -> int:
    return tx.execute(
        "INSERT INTO notes (id, body) VALUES (:id, :body) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        {"id": name, "body": body},
    )


def names(store: SqliteStore) -> list[object]:
    with store.read() as reader:
        return [row[0] for row in reader.rows("SELECT id FROM notes ORDER BY id")]


def is_sound(database: Path) -> bool:
    connection = apsw.Connection(str(database))
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


Opener = Callable[[], SqliteStore]


@pytest.fixture
def open_store(disk: Disk, clock: MovableClock, create_database: Callable[[Path], None]) -> Opener:
    """Makes the database on the small disk and opens it, each time anew."""
    database = disk.directory / "keyturn.db"

    def opener() -> SqliteStore:
        create_database(database)
        return SqliteStore(database, clock=clock, reserve_bytes=RESERVE)

    return opener


async def fill_up(store: SqliteStore, disk: Disk) -> None:
    """Until not even the room that is left in the log takes a write."""
    disk.fill()
    for number in range(10_000):
        try:
            await store.write(partial(put, name=f"filler {number}", body="x" * 20_000))
        except StoreUnavailableError:
            return
    pytest.fail("the disk never filled up")


async def test_on_a_full_disk_only_urgent_writes_and_reads_go_on(disk: Disk, open_store: Opener) -> None:
    store = open_store()
    await store.write(partial(put, name="key", body="Active"))
    await fill_up(store, disk)
    assert store.is_low_on_space
    before = names(store)

    ran: list[str] = []

    def deactivate(tx: Transaction, name: str) -> int:
        tx.after_commit(lambda: ran.append(name))
        return put(tx, name, "Inactive" * 5_000)

    answers = await asyncio.gather(
        store.write(partial(put, name="refused")),
        store.write(partial(deactivate, name="key"), urgent=True),
        store.write(partial(deactivate, name="another"), urgent=True),
        store.write(partial(put, name="refused too")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError, int, int, StoreUnavailableError]
    assert ran == ["key", "another"]
    assert names(store) == sorted([*before, "another"], key=str)
    with store.read() as reader:
        assert reader.row("SELECT body FROM notes WHERE id = 'key'") == ("Inactive" * 5_000,)
    assert store.is_low_on_space
    assert not (disk.directory / "keyturn.db.reserve").exists()
    await store.close()
    assert is_sound(disk.directory / "keyturn.db")


async def test_urgent_writes_go_on_until_the_reserve_is_eaten(disk: Disk, open_store: Opener) -> None:
    store = open_store()
    await fill_up(store, disk)
    revoked = 0
    with suppress(StoreUnavailableError):
        while revoked < 10_000:
            await store.write(partial(put, name=f"revoked {revoked}", body="x" * 2_000), urgent=True)
            revoked += 1
    assert revoked < 10_000
    assert revoked * 2_000 > RESERVE // 2  # it goes into the database, not into a log that only grows
    assert len([name for name in names(store) if str(name).startswith("revoked")]) == revoked
    await store.close()
    assert is_sound(disk.directory / "keyturn.db")


async def test_the_reserve_is_not_given_up_for_what_can_wait(disk: Disk, open_store: Opener) -> None:
    store = open_store()
    await fill_up(store, disk)
    assert (disk.directory / "keyturn.db.reserve").stat().st_blocks * 512 >= RESERVE
    await store.close()


async def test_service_resumes_when_there_is_room_again(
    disk: Disk, open_store: Opener, clock: MovableClock
) -> None:
    store = open_store()
    await fill_up(store, disk)
    await store.write(partial(put, name="revoked", body="x" * 40_000), urgent=True)
    disk.free()
    with pytest.raises(StoreUnavailableError, match="full"):  # the disk is asked once a second, not more
        await store.write(partial(put, name="too early"))
    clock.seconds += 1
    assert await store.write(partial(put, name="resumed")) == 1
    assert not store.is_low_on_space
    assert (disk.directory / "keyturn.db.reserve").stat().st_size == RESERVE
    assert "too early" not in names(store)
    await store.close()


async def test_while_there_is_no_room_the_reserve_is_not_taken_back(
    disk: Disk, open_store: Opener, clock: MovableClock
) -> None:
    store = open_store()
    await fill_up(store, disk)
    for _ in range(3):
        clock.seconds += 10
        with pytest.raises(StoreUnavailableError):
            await store.write(partial(put, name="refused"))
        assert store.is_low_on_space
    assert await store.write(partial(put, name="revoked", body="x" * 40_000), urgent=True) == 1
    await store.close()


async def test_one_write_that_is_too_large_fails_alone(open_store: Opener) -> None:
    store = open_store()
    answers = await asyncio.gather(
        store.write(partial(put, name="small")),
        store.write(partial(put, name="huge", body="x" * 20_000_000)),
        store.write(partial(put, name="small too")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [int, StoreUnavailableError, int]
    assert names(store) == ["small", "small too"]
    assert not store.is_low_on_space
    assert await store.write(partial(put, name="later")) == 1
    await store.close()


async def test_an_urgent_write_does_not_fail_with_the_large_one_beside_it(
    disk: Disk, open_store: Opener
) -> None:
    store = open_store()
    await fill_up(store, disk)
    answers = await asyncio.gather(
        store.write(partial(put, name="huge", body="x" * 20_000_000), urgent=True),
        store.write(partial(put, name="revoked", body="x" * 20_000), urgent=True),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError, int]
    await store.close()


async def test_a_start_on_a_full_disk_serves_reads_and_revocations(disk: Disk, open_store: Opener) -> None:
    store = open_store()
    await store.write(partial(put, name="key"))
    await store.close()
    disk.fill()
    store = open_store()
    assert store.is_low_on_space
    assert names(store) == ["key"]
    with pytest.raises(StoreUnavailableError):
        await store.write(partial(put, name="refused"))
    assert await store.write(partial(put, name="key", body="Inactive"), urgent=True) == 1
    await store.close()


async def test_a_restart_while_the_disk_stays_full_serves_again(disk: Disk, open_store: Opener) -> None:
    store = open_store()
    await store.write(partial(put, name="key"))
    await fill_up(store, disk)
    for number in range(4):
        await store.write(partial(put, name="key", body=f"{number}" * 30_000), urgent=True)
        await store.close()
        disk.fill()
        store = open_store()
        assert store.is_low_on_space
    with store.read() as reader:
        assert reader.row("SELECT body FROM notes WHERE id = 'key'") == ("3" * 30_000,)
    await store.close()


async def test_a_backup_to_a_full_disk_leaves_nothing(disk: Disk, open_store: Opener, tmp_path: Path) -> None:
    store = open_store()
    await store.write(partial(put, name="key"))
    disk.fill()
    with pytest.raises(KeyturnError, match="the backup to"):
        backup(disk.directory / "keyturn.db", disk.directory / "keyturn.backup")
    assert not [entry for entry in disk.directory.iterdir() if "backup" in entry.name]
    backup(disk.directory / "keyturn.db", tmp_path / "elsewhere")
    with open_read_only(tmp_path / "elsewhere") as reader:
        assert reader.rows("SELECT id FROM notes") == [("key",)]
    await store.close()


def test_a_reserve_is_really_allocated_and_only_while_there_is_room(disk: Disk) -> None:
    reserve = Reserve(disk.directory / "x.db", RESERVE)
    file = disk.directory / "x.db.reserve"
    assert reserve.hold()
    assert reserve.hold()
    assert (file.stat().st_size, file.stat().st_blocks * 512) == (RESERVE, RESERVE)
    disk.fill()
    assert not reserve.hold()
    assert file.stat().st_size == RESERVE
    assert reserve.release()
    assert not reserve.release()
    disk.fill()
    assert not reserve.hold()
    assert not file.exists()
    disk.free()
    assert reserve.hold()


def test_a_limit_on_the_size_of_files_is_met_like_a_full_disk(
    tmp_path: Path, create_database: Callable[[Path], None]
) -> None:
    """No other disk needed: the kernel refuses to let a file grow (setrlimit(2), RLIMIT_FSIZE)."""
    database = tmp_path / "keyturn.db"
    create_database(database)
    done = subprocess.run(
        [sys.executable, str(CHILDREN / "write_under_a_limit.py"), str(database)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    acknowledged = done.stdout.split()
    assert "refused" in acknowledged
    assert acknowledged[-1] == "read-on"
    with open_read_only(database) as reader:
        kept = {str(row[0]) for row in reader.rows("SELECT id FROM notes")}
    assert kept == set(acknowledged) - {"refused", "read-on"}
    assert is_sound(database)
