"""Files that belong to one user: they appear whole or not at all, 0600, and never replace another.

Who may read a file is judged on the open file, so that nobody can swap it in between. What stands in
the files is left to others; so are the directories around them.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret

PRIVATE: Final = 0o600

_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

# acl(5) as the kernel keeps it (include/uapi/linux/posix_acl_xattr.h): a version, then (tag, perm, id).
_ACL_XATTR: Final = "system.posix_acl_access"
_ACL_VERSION: Final = 2
_ACL_HEADER: Final = struct.Struct("<I")
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER_OBJ: Final = 0x01
_ACL_USER: Final = 0x02
_ACL_MASK: Final = 0x10


def fsync_directory(directory: Path) -> None:
    """Make names in `directory` outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_private_file(path: Path) -> Iterator[Path]:
    """An empty 0600 file beside `path` to be written in the block; after it, synced, it becomes `path`.

    If the block raises, nothing is left. KeyturnError if `path` exists, before the block or after it,
    or can't be written.
    """
    if os.path.lexists(path):
        raise _exists(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            os.fchmod(descriptor, PRIVATE)  # a strict umask would leave less
        finally:
            os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            _fsync_file(temporary)
            _publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_directory(path.parent)
    except OSError as error:
        raise KeyturnError(f"can't write {path}: {error.strerror}") from error


def remove_unfinished(path: Path) -> None:
    """Remove what a killed `new_private_file(path)` left beside it: it may hold, or be, what stands in `path`.

    Only for a path that nobody else is writing now.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def create_private_file(path: Path, content: Secret) -> None:
    """Write `content` to a new file. KeyturnError if `path` exists or can't be written."""
    with new_private_file(path) as temporary, temporary.open("wb") as file:
        file.write(content.reveal())


def read_private_file(path: Path, *, limit: int) -> Secret:
    """The content of a file that only its owner can read, at most `limit` bytes.

    Links are followed (an orchestrator mounts secrets behind them): it is the file that is judged. Its
    owner must be this user or root. KeyturnError with the next command otherwise.
    """
    try:
        # O_NONBLOCK: a pipe under this name must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise KeyturnError(f"can't read {path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyturnError(f"{path} is not a regular file")
        if status.st_uid not in {0, os.geteuid()} and os.geteuid() != 0:
            raise KeyturnError(f"{path} belongs to another user", hint=f"chown it: chown $(id -u) {path}")
        if _others_may_use(descriptor, status):
            raise KeyturnError(f"{path} can be read by others", hint=f"chmod 600 {path}")
        content = bytearray()
        while len(content) <= limit and (part := os.read(descriptor, limit + 1 - len(content))):
            content += part
    except OSError as error:
        raise KeyturnError(f"can't read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise KeyturnError(f"{path} is longer than {limit} bytes: it is not the file that is meant")
    return Secret(bytes(content))


def _exists(path: Path) -> KeyturnError:
    return KeyturnError(f"{path} exists already", hint="choose another name: nothing is overwritten")


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary: Path, path: Path) -> None:
    """Give the file its name. A hard link refuses a name that is taken, in one step."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return
    # A file system without hard links: take the name first, then replace what is our own empty file.
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    except FileExistsError as error:
        raise _exists(path) from error
    temporary.rename(path)


def _others_may_use(descriptor: int, status: os.stat_result) -> bool:
    """Whether anyone besides the owner and this user has rights on the file.

    With an access list the group's bits of the mode are the list's mask and say nothing of the group:
    systemd hands credentials to a service that way (systemd.exec(5), LoadCredential=), shown as 0440.
    """
    if not status.st_mode & 0o077:
        return False
    if status.st_mode & 0o007:
        return True
    try:
        access_list = os.getxattr(descriptor, _ACL_XATTR)
    except (OSError, AttributeError):
        return True  # no list: the bits mean the group
    if len(access_list) < 4 or _ACL_HEADER.unpack_from(access_list)[0] != _ACL_VERSION:
        return True
    entries = access_list[_ACL_HEADER.size :]
    if len(entries) % _ACL_ENTRY.size:
        return True
    ours = {0, os.geteuid()}
    return any(
        permissions and tag not in {_ACL_USER_OBJ, _ACL_MASK} and not (tag == _ACL_USER and who in ours)
        for tag, permissions, who in _ACL_ENTRY.iter_unpack(entries)
    )
