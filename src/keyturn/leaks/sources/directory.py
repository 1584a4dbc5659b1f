"""A directory and all below it, as it lies on the disk. Links are not followed, special files are passed by.

Directories are walked by their descriptors, so that nobody can lead the scan elsewhere meanwhile. Repositories in
it are told to whoever asks: their history is another source's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.leaks.containers.interface import Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.sources.files import SMALL, UnreadableError, open_regular, stream_of
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

_DEEPEST: Final = 200
"""Each level holds a descriptor open."""
_REPOSITORY: Final = frozenset({"HEAD", "objects", "refs"})
"""What makes a directory a Git repository, bare or not (gitrepository-layout(5))."""


@dataclass(frozen=True, slots=True)
class DirectorySource:
    name: str
    unpacker: Unpacker
    repository_found: Callable[[str], None] | None = None
    """Takes the path of each Git repository below, a work tree's `.git` among them. Without it they are read as
    any other directory."""

    def contents(self, _may_hold: MayHold, report: Report) -> Iterator[Content]:
        try:
            descriptor = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"can't scan {self.name}: {error.strerror}") from error
        yield from self._directory(descriptor, "", 0, report)

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        return places

    def _directory(self, descriptor: int, path: str, depth: int, report: Report) -> Iterator[Content]:
        """Everything in an open directory, in the order of its names. Closes it."""
        try:
            with os.scandir(descriptor) as listing:
                entries = sorted((entry.name, _kind(entry)) for entry in listing)
            if self.repository_found is not None and _directories(entries) >= _REPOSITORY:
                self.repository_found(f"{self.name}/{path}" if path else self.name)
                entries.remove(("objects", stat.S_IFDIR))
            for name, kind in entries:
                below = f"{path}/{name}" if path else name
                if kind == stat.S_IFDIR:
                    try:
                        child = os.open(
                            name,
                            os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                            dir_fd=descriptor,
                        )
                    except OSError as error:
                        report.skipped(Skipped(self._place(below), f"it can't be read: {error.strerror}"))
                        continue
                    if depth >= _DEEPEST:
                        os.close(child)
                        report.skipped(
                            Skipped(self._place(below), f"nested deeper than {_DEEPEST} directories")
                        )
                        continue
                    yield from self._directory(child, below, depth + 1, report)
                elif kind == stat.S_IFREG:
                    yield from self._file(descriptor, name, self._place(below), report)
        except OSError as error:
            report.skipped(Skipped(self._place(path or "."), f"it can't be listed: {error.strerror}"))
        finally:
            os.close(descriptor)

    def _file(self, directory: int, name: str, place: Place, report: Report) -> Iterator[Content]:
        try:
            descriptor, status = open_regular(name, directory=directory)
        except UnreadableError as error:
            report.skipped(Skipped(place, str(error)))
            return
        try:
            if status.st_size <= SMALL:
                data = os.read(descriptor, SMALL)
                # A sparse or growing file may hold more than one read gives.
                while len(data) < status.st_size and (more := os.read(descriptor, SMALL - len(data))):
                    data += more
                report.advanced(len(data), None)
                yield from self.unpacker.contents(place, Stream(backing=memoryview(data)), report)
            else:
                stream, mapped = stream_of(
                    descriptor, status.st_size, lambda size: report.advanced(size, None)
                )
                yield from self.unpacker.contents(place, stream, report)
                del mapped
        except OSError as error:
            report.skipped(Skipped(place, f"it can't be read: {error.strerror}"))
        finally:
            os.close(descriptor)

    def _place(self, path: str) -> Place:
        return Place(
            source=self.name, path=path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        )


def _directories(entries: Sequence[tuple[str, int]]) -> set[str]:
    """The names of directories, and `HEAD`, which is a file or was a link."""
    return {name for name, kind in entries if kind == stat.S_IFDIR or name == "HEAD"}


def _kind(entry: os.DirEntry[str]) -> int:
    """Of the entry itself, not of what a link leads to."""
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else 0
