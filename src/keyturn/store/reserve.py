"""Room kept back on the disk, so that a key can still be revoked when the disk is full.

A file whose blocks are really allocated lies beside the database and is given up for urgent writes.
When to give it up, and when to ask for it again, is left to the store.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 16 * 1024 * 1024

_HEADROOM_SHARE: Final = 16
_SMALLEST: Final = 64 * 1024
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def reserve_path(database: Path) -> Path:
    return database.with_name(database.name + ".reserve")


class Reserve:
    def __init__(self, database: Path, size: int = RESERVE_BYTES) -> None:
        self._path = reserve_path(database)
        self._size = size

    def hold(self) -> bool:
        """True if the whole reserve is allocated, now if need be, and there is some room besides it.

        The room besides is one sixteenth: without it the next write would find the disk full again.
        A reserve that is held is kept when the answer is False. A reserve of no size is always whole.
        """
        if not self._size:
            return True
        try:
            descriptor = self._open()
        except OSError:
            return False
        try:
            status = os.fstat(descriptor)
            was_whole = status.st_size >= self._size and status.st_blocks * 512 >= self._size
            try:
                _allocate(descriptor, self._size + self._size // _HEADROOM_SHARE)
                os.ftruncate(descriptor, self._size)
                os.fsync(descriptor)
            except OSError:
                if was_whole:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, self._size)
                else:
                    with contextlib.suppress(OSError):
                        self._path.unlink()
                return False
            return True
        finally:
            os.close(descriptor)

    def hold_what_fits(self) -> None:
        """Allocate as much as the disk gives: the next start needs a little room to open the database."""
        size = self._size
        while size and size >= min(_SMALLEST, self._size):
            try:
                descriptor = self._open()
            except OSError:
                return
            try:
                _allocate(descriptor, size)
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._path.unlink()
                if error.errno not in _NO_ROOM:
                    return
                size //= 2
            else:
                return
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Give the room back to the disk; False if there was none to give."""
        try:
            size = self._path.lstat().st_size
            self._path.unlink()
        except OSError:
            return False
        return size > 0

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _allocate(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NO_FALLOCATE:
            raise
        # A C library that does not stand in for the file system: write the blocks.
        block = bytes(_SMALLEST)
        for offset in range(0, size, _SMALLEST):
            os.pwrite(descriptor, block[: size - offset], offset)
