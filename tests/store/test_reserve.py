"""The room that is kept back: allocated, private, given up once."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from keyturn.store.reserve import Reserve, reserve_path

SIZE = 1024 * 1024


def test_it_is_allocated_and_private(tmp_path: Path) -> None:
    database = tmp_path / "keyturn.db"
    reserve = Reserve(database, SIZE)
    assert reserve.hold()
    status = reserve_path(database).stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (SIZE, 0o600)
    assert status.st_blocks * 512 >= SIZE
    assert reserve.release()
    assert not reserve_path(database).exists()
    assert not reserve.release()


def test_a_file_with_holes_is_no_reserve(tmp_path: Path) -> None:
    database = tmp_path / "keyturn.db"
    with reserve_path(database).open("wb") as file:
        file.truncate(SIZE)
    assert Reserve(database, SIZE).hold()
    assert reserve_path(database).stat().st_blocks * 512 >= SIZE


def test_what_fits_is_better_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = os.posix_fallocate

    def nearly_full(descriptor: int, offset: int, size: int) -> None:
        if size > SIZE // 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    reserve = Reserve(tmp_path / "keyturn.db", SIZE)
    assert not reserve.hold()
    reserve.hold_what_fits()
    assert reserve_path(tmp_path / "keyturn.db").stat().st_size == SIZE // 4
    assert reserve.release()


def test_a_file_system_that_can_not_allocate_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    reserve = Reserve(tmp_path / "keyturn.db", SIZE)
    assert reserve.hold()
    assert reserve_path(tmp_path / "keyturn.db").stat().st_blocks * 512 >= SIZE


def test_no_link_is_followed(tmp_path: Path) -> None:
    reserve_path(tmp_path / "keyturn.db").symlink_to(tmp_path / "elsewhere")
    assert not Reserve(tmp_path / "keyturn.db", SIZE).hold()
    assert not (tmp_path / "elsewhere").exists()


def test_a_store_may_do_without_one(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "keyturn.db", 0)
    assert reserve.hold()
    reserve.hold_what_fits()
    assert not reserve.release()
    assert list(tmp_path.iterdir()) == []
