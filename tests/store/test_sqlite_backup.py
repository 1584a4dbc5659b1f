"""A backup is one moment of a store in use, whole, private, and stands alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import apsw
import pytest

from keyturn.model.errors import KeyturnError
from keyturn.store.interface import Transaction
from keyturn.store.sqlite import SqliteStore, open_read_only
from keyturn.store.sqlite_backup import backup


def insert_many(tx: Transaction) -> None:
    for number in range(200):
        tx.execute(
            "INSERT INTO notes (id, body, data) VALUES (:id, '', :data)",
            {"id": f"{number:03}", "data": bytes([number]) * 30_000},
        )


async def test_a_backup_of_a_store_in_use_is_one_moment(
    sqlite: SqliteStore, database: Path, tmp_path: Path
) -> None:
    await sqlite.write(insert_many)
    target = tmp_path / "keyturn.backup"
    seen: list[tuple[int, int]] = []
    other = apsw.Connection(str(database))

    def write_meanwhile(done: int, total: int) -> None:
        """A writer that comes between each two steps, and is kept waiting by none."""
        seen.append((done, total))
        other.execute("UPDATE notes SET body = :body, data = NULL", {"body": f"changed {done}"})

    backup(database, target, write_meanwhile)
    other.close()
    assert seen[-1][0] == seen[-1][1] > 1_024
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    with open_read_only(target) as reader:
        assert reader.rows("SELECT DISTINCT body FROM notes") == [("",)]
        assert reader.row("SELECT count(*), sum(length(data)) FROM notes") == (200, 200 * 30_000)


async def test_a_backup_stands_alone_and_is_private(
    sqlite: SqliteStore, database: Path, tmp_path: Path
) -> None:
    await sqlite.write(insert_many)
    directory = tmp_path / "backups"
    directory.mkdir()
    target = directory / "keyturn.backup"
    before = os.umask(0)
    backup(database, target)
    os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    connection = apsw.Connection(str(target), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("journal_mode") == "delete"
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    assert list(directory.iterdir()) == [target]


async def test_a_backup_of_a_stopped_store_becomes_a_store(
    sqlite: SqliteStore, database: Path, tmp_path: Path
) -> None:
    await sqlite.write(insert_many)
    await sqlite.close()
    restored = tmp_path / "restored.db"
    backup(database, restored)
    store = SqliteStore(restored, clock=sqlite._clock, reserve_bytes=65_536)
    assert await store.write(lambda tx: tx.row("SELECT count(*) FROM notes")) == (200,)
    await store.close()


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
async def test_a_backup_overwrites_nothing(database: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "taken"
    if kind == "file":
        target.write_text("precious")
    elif kind == "directory":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyturnError, match="exists already"):
        backup(database, target)
    if kind == "file":
        assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken"

    def take_it(_done: int, _total: int) -> None:
        target.write_text("precious")

    with pytest.raises(KeyturnError, match="exists already"):
        backup(database, target, take_it)
    assert target.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")] == []


def test_a_source_that_is_no_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="there is no database"):
        backup(tmp_path / "missing", tmp_path / "target")
    (tmp_path / "text").write_text("this is a text and no database, of more than a hundred bytes" * 10)
    with pytest.raises(KeyturnError, match="not a database"):
        backup(tmp_path / "text", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_target_directory_that_is_missing_is_named(database: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="No such file"):
        backup(database, tmp_path / "missing" / "target")
