"""One process at a time: a lock that the kernel frees when its holder dies, also by kill -9."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from keyturn.model.errors import KeyturnError

_PID_LENGTH = 20


class InUseError(KeyturnError):
    """Another process has the lock: ask that one, or wait until it has stopped."""


class ExclusiveLock:
    """`flock` on a file that holds the holder's process id. The file stays: to unlink it would race.

    Only the open file holds the lock, so it is not for a file system that several machines mount.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. KeyturnError names the directory and the process that has it."""
        if self._descriptor is not None:
            raise RuntimeError("this lock is held already")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise KeyturnError(f"can't open the lock file {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InUseError(
                f"{self._path.parent} is in use by {holder}",
                hint="stop it first: it is the only writer there",
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise KeyturnError(f"can't lock {self._path}: {error.strerror}") from error
        # The id helps a person; the lock does not rest on it, so a full disk must not keep us from it.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, _PID_LENGTH, 0).strip()
    return f"process {int(text)}" if text.isdigit() else "another process"
