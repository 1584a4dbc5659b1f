"""A file that others read and write too, replaced as a whole: locked, compared, synced, renamed. No copy is left.

Links are followed, owner and mode are kept. What stands in the file is left to others.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import SinkChangedError, SinkRefusedError, SinkUnavailableError
from keyturn.store.private_files import PRIVATE, fsync_directory

LARGEST_FILE: Final = 1024 * 1024
_LOCK_SECONDS: Final = 10.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EINTR})
_RIGHTS: Final = frozenset({"system.posix_acl_access", "security.selinux"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file as it was read. The content of one that is not there is empty."""

    content: Secret
    status: os.stat_result | None

    def is_same_as(self, other: Snapshot) -> bool:
        """By inode, time and every byte: a time alone has a resolution, and can be set back."""
        return self._identity() == other._identity() and self.content == other.content

    def _identity(self) -> tuple[int, ...] | None:
        status = self.status
        return None if status is None else (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One path. `is_private`: rights of group and others are taken away when it is replaced."""

    path: Path
    is_private: bool
    makes_directory: bool = False
    """A missing directory is made, 0700; else it is an error."""

    def read(self) -> Snapshot:
        """SinkRefusedError if it is no text file of a sensible size, or may not be read."""
        try:
            # O_NONBLOCK: a pipe under this name must not hold us.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            return Snapshot(Secret(b""), None)
        except OSError as error:
            raise self._failed("read", error) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SinkRefusedError(f"{self.path} is not a regular file")
            content = bytearray()
            while len(content) <= LARGEST_FILE and (part := os.read(descriptor, 65_536)):
                content += part
        except OSError as error:
            raise self._failed("read", error) from error
        finally:
            os.close(descriptor)
        if len(content) > LARGEST_FILE:
            raise SinkRefusedError(f"{self.path} is longer than {LARGEST_FILE} bytes")
        if b"\0" in content:
            raise SinkRefusedError(f"{self.path} is not a text file in UTF-8")
        return Snapshot(Secret(bytes(content)), status)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else who locks as we do changes the file meanwhile. SinkUnavailableError if it takes too long."""
        target = self._target()
        try:
            if self.makes_directory:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = self._open_lock(target)
            has_it = _lock_within(descriptor, _LOCK_SECONDS)
        except OSError as error:
            raise self._failed("lock", error) from error
        if not has_it:
            raise SinkUnavailableError(f"{self.path} is locked by another process")
        try:
            yield
        finally:
            os.close(descriptor)

    def replace(self, content: Secret, *, seen: Snapshot) -> None:
        """Hold `content` from now on, if the file is still as it was seen. Only while `locked`.

        SinkChangedError if somebody who takes no lock changed it: nothing was written.
        """
        target = self._target()
        try:
            _remove_unfinished(target)
            temporary = self._written_beside(target, content, seen.status)
            try:
                if not self.read().is_same_as(seen):
                    raise SinkChangedError(f"{self.path} was changed by somebody else just now")
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            fsync_directory(target.parent)
        except OSError as error:
            raise self._failed("write", error) from error

    def test(self) -> None:
        """Write, sync and remove an empty file where the next content would be written."""
        seen = self.read()
        if self.makes_directory and not self._target().parent.exists():
            return
        with self.locked():
            target = self._target()
            try:
                self._written_beside(target, Secret(b""), seen.status).unlink()
            except OSError as error:
                raise self._failed("write", error) from error

    def _target(self) -> Path:
        """The file behind the links: it is replaced, they stay. Not one that somebody laid for us."""
        try:
            target = self.path.resolve()
            owner = _owner_of(target)
            trusted = {0, os.geteuid(), owner}
            links = [part for part in (self.path, *self.path.parents) if part.is_symlink()]
            strangers = [link for link in links if link.lstat().st_uid not in trusted]
        except (OSError, RuntimeError) as error:
            raise SinkRefusedError(f"{self.path} leads nowhere") from error
        if strangers:
            raise SinkRefusedError(
                f"{strangers[0]} is a link of another user to a file that is not theirs: it is not followed"
            )
        return target

    def _open_lock(self, target: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(target.with_name(f".{target.name}.keyturn-lock"), flags, PRIVATE)
        owner, status = _owner_of(target), os.fstat(descriptor)
        # What root has made here must be its owner's to lock; what somebody has laid here stays whose it is.
        is_new = stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_nlink == 1
        if os.geteuid() == 0 and owner not in {None, 0} and status.st_uid == 0 and is_new:
            os.fchown(descriptor, owner or 0, -1)
        return descriptor

    def _written_beside(self, target: Path, content: Secret, status: os.stat_result | None) -> Path:
        descriptor, name = tempfile.mkstemp(
            dir=target.parent, prefix=_unfinished_prefix(target), suffix=".tmp"
        )
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _take_over(file.fileno(), target, status, is_private=self.is_private, path=self.path)
                file.write(content.reveal())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _failed(self, verb: str, error: OSError) -> SinkRefusedError | SinkUnavailableError:
        sentence = f"can't {verb} {self.path}: {error.strerror}"
        return SinkUnavailableError(sentence) if error.errno in _NO_ROOM else SinkRefusedError(sentence)


def path_of(text: str, environment: Mapping[str, str], *, sink: str, field: str) -> Path:
    """An absolute path; `~/` is $HOME. KeyturnError for any other: a timer has another directory than you."""
    if text.startswith("~/") and environment.get("HOME", "").startswith("/"):
        return Path(environment["HOME"]) / text[2:]
    if not text.startswith("/") or "\0" in text:
        raise KeyturnError(f"sink {sink}: {field} must be an absolute path, or start with ~/")
    return Path(text)


def for_people(path: Path, environment: Mapping[str, str]) -> str:
    home = environment.get("HOME", "")
    if home.startswith("/") and home != "/" and path.is_relative_to(home):
        return f"~/{path.relative_to(home)}"
    return str(path)


def _owner_of(target: Path) -> int | None:
    """Who owns the file, or the directory that it would lie in."""
    for path in (target, target.parent):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_uid
    return None


def _take_over(
    descriptor: int, target: Path, status: os.stat_result | None, *, is_private: bool, path: Path
) -> None:
    """Give the new file the owner, the group and the rights of the one that it replaces."""
    if status is None:
        owner = _owner_of(target)
        if os.geteuid() == 0 and owner is not None:
            os.fchown(descriptor, owner, -1)
        os.fchmod(descriptor, PRIVATE)
        return
    if status.st_nlink > 1:
        raise SinkRefusedError(
            f"{path} has {status.st_nlink} names (hard links): the others would stay behind"
        )
    ours = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    if is_private:
        mode = (mode & 0o700) | PRIVATE
    if ours.st_uid != status.st_uid:
        try:
            os.fchown(descriptor, status.st_uid, -1)
        except PermissionError as error:
            raise SinkRefusedError(f"{path} belongs to another user, and would be taken from them") from error
    if ours.st_gid != status.st_gid:
        try:
            os.fchown(descriptor, -1, status.st_gid)
        except PermissionError as error:
            if mode & 0o070:
                raise SinkRefusedError(f"{path} belongs to a group that you are not in") from error
    os.fchmod(descriptor, mode)
    if not is_private:
        _take_over_attributes(descriptor, target)


def _take_over_attributes(descriptor: int, target: Path) -> None:
    """Access lists and labels, where there are any: a reader may have its right from one of them."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(target):
            if name not in _RIGHTS:
                continue
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(target, name))


def _unfinished_prefix(target: Path) -> str:
    return f".{target.name}.keyturn-"


def _remove_unfinished(target: Path) -> None:
    """What a killed writer left holds a secret. Whoever has the lock is the only one who writes."""
    for left in target.parent.glob(f"{glob.escape(_unfinished_prefix(target))}*.tmp"):
        left.unlink(missing_ok=True)


def _lock_within(descriptor: int, seconds: float) -> bool:
    """Take the lock, or close the file: a stopped process may hold the lock for ever, and we may not wait so long."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _wait_for_lock(descriptor, seconds)
    except OSError:
        os.close(descriptor)
        raise
    return True


def _wait_for_lock(descriptor: int, seconds: float) -> bool:
    # The kernel has no time-out for flock: a thread waits for the event itself, and gives back what comes too late.
    decided = threading.Lock()
    has_it, is_given_up = threading.Event(), threading.Event()

    def wait() -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with decided:
                if not is_given_up.is_set():
                    has_it.set()
                    return
        os.close(descriptor)

    threading.Thread(target=wait, name="keyturn-file-lock", daemon=True).start()
    has_it.wait(seconds)
    with decided:
        if not has_it.is_set():
            is_given_up.set()
    return has_it.is_set()
