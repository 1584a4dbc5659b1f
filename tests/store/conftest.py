"""What the tests of the store share: a clock that stands, a driver, a disk that fills."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from keyturn.store.migrations import migrate
from keyturn.store.sqlite import SqliteStore

SCHEMA = """
CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, number INTEGER UNIQUE, data BLOB) STRICT;
CREATE TABLE comments (
  id TEXT NOT NULL PRIMARY KEY,
  note_id TEXT NOT NULL REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
"""


class StandingClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def make_schema(database: Path) -> None:
    directory = database.parent / "migrations"
    directory.mkdir(exist_ok=True)
    (directory / "0001_notes.sqlite.sql").write_text(SCHEMA)
    migrate(database, room="tests", directory=directory)


@pytest.fixture
def create_database() -> Callable[[Path], None]:
    return make_schema


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with the tables `notes` and `comments`."""
    path = tmp_path / "data" / "keyturn.db"
    path.parent.mkdir(mode=0o700)
    make_schema(path)
    return path


@pytest_asyncio.fixture
async def sqlite(database: Path, clock: StandingClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(database, clock=clock, reserve_bytes=65_536)
    yield store
    await store.close()


class SmallDisk:
    """A mounted file system of a few megabytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filler = directory / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink()


@contextmanager
def _mounted(directory: Path, size: str) -> Iterator[SmallDisk]:
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("a file system that is really full needs the right to mount one")
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def mount_small_disk(tmp_path: Path) -> Callable[[str], AbstractContextManager[SmallDisk]]:
    if os.geteuid() != 0:
        pytest.skip("a file system that is really full needs root to mount one")
    return lambda size: _mounted(tmp_path / "small-disk", size)
