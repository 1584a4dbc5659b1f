"""What a source of content must do, and what it may say of what it could not read.

A source hands out pieces of content that are worth looking into. It may leave out what `may_hold` says can't
hold a key, which is how a repository of gigabytes is scanned in seconds: search once, unpack what was hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyturn.leaks.findings import Place, Skipped

Buffer = bytes | bytearray | memoryview
MayHold = Callable[[Buffer], bool]
"""True for what has to be looked into: a key's prefix in any spelling, or the magic of a container."""


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of content in its place. `data` is only read, and only until the next piece is asked for."""

    place: Place
    data: Buffer
    starts_at: int = 0
    """For a window of something larger: the offset of `data` in it."""
    first_line: int = 1
    """For a window: the number of the line in which `data` begins. 0: lines mean nothing here."""
    is_unpacked: bool = False
    """Its source has already taken containers apart: this is a piece of what they held."""


class Report(Protocol):
    """Told while a scan goes on."""

    def advanced(self, searched: int, whole: int | None) -> None:
        """Bytes of content that were searched since the last call; the size of the source, once known."""

    def skipped(self, what: Skipped) -> None:
        """Something could not be read whole: the rest of the scan goes on."""


class SourceError(Exception):
    """The source as a whole can't be read (it is not there, or it is not what it was said to be).

    The message is a sentence for the user.
    """


class Source(Protocol):
    """One of the things that `keyturn scan` was told to look into."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    def contents(self, may_hold: MayHold, report: Report) -> Iterator[Content]:
        """Every piece worth looking into, each once. SourceError if there is nothing to read at all."""

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        """The same places, in the same order, with what only a second look tells: commit, author, date, path.

        Asked once, after `contents` has ended, and only for places where something was found.
        """
