"""Opens files that may be anything, and reads them in bounded pieces: for the sources that read files.

A link is not followed, a pipe does not hang, and the holes of a sparse file cost nothing.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from keyturn.leaks.containers.interface import HEAD, TAIL, Stream
from keyturn.leaks.containers.unpack import needs_whole

PIECE: Final = (16 << 20) - (64 << 10)
"""As much as one window takes: it need not be put together."""
SMALL: Final = 16 << 20
"""Read at once."""


class UnreadableError(Exception):
    """This file can't be read; the message says why, as a sentence part."""


def open_regular(
    name: str, *, directory: int | None = None, follow: bool = False
) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file, and what is known of it. UnreadableError for what is none."""
    # O_NONBLOCK: a pipe under this name must not hang the scan.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableError("it is a symbolic link") from error
        raise UnreadableError(f"it can't be read: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UnreadableError("it is no regular file")
    return descriptor, status


def data_of(descriptor: int, size: int, advanced: Callable[[int], None]) -> Iterator[bytes]:
    """The file's bytes without its holes, at most `size`: a file that grows meanwhile has an end too.

    Holes hold no line ends, so that line numbers stay right. OSError where the disk fails.
    """
    at = 0
    while at < size:
        try:
            at, end = os.lseek(descriptor, at, os.SEEK_DATA), 0
            end = os.lseek(descriptor, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            end = size  # a file system without SEEK_DATA
        while at < min(end, size):
            piece = os.pread(descriptor, min(PIECE, end - at, size - at), at)
            if not piece:
                return
            at += len(piece)
            advanced(len(piece))
            yield piece


def stream_of(descriptor: int, size: int, advanced: Callable[[int], None]) -> tuple[Stream, mmap.mmap | None]:
    """A large file as a stream. What must be jumped about in (zip, PDF, SQLite) is mapped, to be closed at the end.

    A mapped file that another process cuts short meanwhile ends this process: only large containers are mapped.
    """
    head, tail = os.pread(descriptor, HEAD, 0), os.pread(descriptor, TAIL, max(0, size - TAIL))
    if needs_whole(head, tail):
        mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        advanced(size)
        return Stream(backing=memoryview(mapped)), mapped
    status = os.fstat(descriptor)
    is_sparse = status.st_blocks * 512 < size  # then a position in the stream is none in the file
    recount = None if is_sparse else lambda begin, end: _line_ends(descriptor, begin, end)
    return Stream(data_of(descriptor, size, advanced), recount=recount), None


def _line_ends(descriptor: int, begin: int, end: int) -> int:
    return sum(piece.count(b"\n") for piece in _read_again(descriptor, begin, end))


def _read_again(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    while begin < end and (piece := os.pread(descriptor, min(PIECE, end - begin), begin)):
        begin += len(piece)
        yield piece
