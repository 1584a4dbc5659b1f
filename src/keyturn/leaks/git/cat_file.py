"""Objects as `git cat-file` gives them: for what the readers of files leave, and to check them by.

Large contents come in windows that overlap, so that memory stays bounded. Git ends at the first object that it
can't read: it is started again behind it, a bounded number of times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from keyturn.leaks.git.command import Git, GitError
from keyturn.leaks.git.objects import GitObject

WHOLE: Final = 128 << 20
"""Up to this size a content comes in one piece, so that an archive can be unpacked."""
WINDOW: Final = 16 << 20
OVERLAP: Final = 64 << 10
"""A key pair whose parts stand further apart, across a window's edge, is found as its id alone."""
LARGEST_DELTA: Final = 512 << 20
"""Git holds an object whole if it is kept as a delta; above this it is not asked to."""
_MOST_STARTS: Final = 64
_SEARCHED: Final = frozenset({b"commit", b"blob", b"tag"})


@dataclass(frozen=True, slots=True)
class Listed:
    """What git knows of an object without reading it."""

    oid: bytes
    kind: str
    size: int


@dataclass(slots=True)
class Unread:
    """What git could not give, either."""

    oids: list[bytes]
    reason: str | None = None

    def add(self, oids: Iterable[bytes], reason: str) -> None:
        self.oids.extend(oids)
        self.reason = self.reason or reason


def all_objects(git: Git) -> Iterator[Listed]:
    """Every object in the repository and its alternates, reachable or not, without trees."""
    with git.stream(
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        "--buffer",
        "--batch-check=%(objectname) %(objecttype) %(objectsize)",
    ) as answers:
        for line in answers:
            words = line.split()
            if len(words) == 3 and words[1] in _SEARCHED:
                yield Listed(bytes.fromhex(words[0].decode()), words[1].decode(), int(words[2]))


def read(git: Git, oids: Sequence[bytes], unread: Unread) -> Iterator[GitObject]:
    """The contents of these, in their order; those of trees are left out. What can't be had is added to `unread`."""
    remaining = _readable(git, oids, unread)
    for _ in range(_MOST_STARTS):
        if not remaining:
            return
        done = 0
        try:
            with (
                named(remaining) as names,
                git.stream("cat-file", "--batch", "--buffer", stdin=names) as answers,
            ):
                for oid in remaining:
                    yield from _answer(answers, oid, unread)
                    done += 1
        except (GitError, EOFError) as error:
            if done < len(remaining):
                unread.add([remaining[done]], str(error) or "git can't read it")
                done += 1
        remaining = remaining[done:]
    unread.add(remaining, "too many objects before it are damaged")


def _readable(git: Git, oids: Sequence[bytes], unread: Unread) -> list[bytes]:
    """Without trees, missing ones, and those that git would have to hold although they are huge."""
    remaining, wanted = list(oids), []
    for _ in range(_MOST_STARTS):
        if not remaining:
            break
        done = 0
        try:
            with (
                named(remaining) as names,
                git.stream(
                    "cat-file",
                    "--buffer",
                    "--batch-check=%(objectname) %(objecttype) %(objectsize) %(deltabase)",
                    stdin=names,
                ) as answers,
            ):
                for oid in remaining:
                    words = answers.readline().split()
                    if not words:
                        raise EOFError
                    if len(words) != 4:
                        unread.add([oid], "it is missing or damaged")
                    elif words[1] in _SEARCHED:
                        if int(words[2]) > LARGEST_DELTA and words[3].strip(b"0"):
                            unread.add([oid], f"it is a delta of more than {LARGEST_DELTA >> 20} MiB")
                        else:
                            wanted.append(oid)
                    done += 1
        except (GitError, EOFError) as error:
            if done < len(remaining):
                unread.add([remaining[done]], str(error) or "git can't read it")
                done += 1
        remaining = remaining[done:]
    unread.add(remaining, "too many objects before it are damaged")
    return wanted


def _answer(answers: IO[bytes], oid: bytes, unread: Unread) -> Iterator[GitObject]:
    words = answers.readline().split()
    if not words:
        raise EOFError
    if len(words) != 3:
        unread.add([oid], "it is missing")
        return
    kind, size = words[1].decode(), int(words[2])
    starts_at, first_line, before = 0, 1, b""
    left = size
    while True:
        data = answers.read(left if size <= WHOLE else min(left, WINDOW))
        left -= len(data)
        if left and not data:
            raise EOFError("git can't read it")
        window = before + data
        yield GitObject(oid, kind, window, starts_at, first_line)
        if not left:
            break
        before = window[-OVERLAP:]
        first_line += window.count(b"\n", 0, len(window) - len(before))
        starts_at += len(window) - len(before)
    if answers.read(1) != b"\n":
        raise EOFError("git can't read it")


@contextmanager
def named(oids: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """Their names in a file that has none: a pipe could fill while git waits for us to read."""
    with tempfile.TemporaryFile() as file:
        file.writelines(b"%s\n" % oid.hex().encode() for oid in oids)
        file.seek(0)
        yield file
