"""What a container format must do, and the stream of bytes that it reads.

A format is one record, `FORMAT`, in a file of its own. It turns a stream into members, which are streams again,
and says what it could not read. Budgets, nesting and windows are left to `unpack`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from keyturn.leaks.sources.interface import Buffer

CHUNK: Final = 256 * 1024
"""What a format hands on at once, at most."""
HEAD: Final = 16 * 1024
"""What is looked at to tell what a stream holds."""
TAIL: Final = 64 * 1024
"""What is looked at from behind, where the end is at hand: a zip may follow a program."""


class DamagedError(Exception):
    """This container can't be read further; what stands beside it can. The message is a sentence part."""


class SpentError(Exception):
    """The whole content has cost what it may: no more of it is looked into."""


class Stream:
    """Bytes that come once, from front to back."""

    __slots__ = ("_at", "_chunks", "_held", "backing", "position", "recount")

    def __init__(
        self,
        chunks: Iterable[Buffer] = (),
        *,
        backing: memoryview | None = None,
        recount: Callable[[int, int], int] | None = None,
    ) -> None:
        self.recount = recount
        """Counts the line ends between two positions by reading once more, where that can be done."""
        self.backing = backing
        """The whole of it, where that is at hand already."""
        self._chunks: Iterator[Buffer] = iter(_slices(backing) if backing is not None else chunks)
        self._held: Buffer = b""
        self._at = 0
        self.position = 0
        """How many bytes were handed out."""

    def _fill(self, size: int) -> None:
        """Hold `size` bytes that were not handed out yet, if there are so many."""
        held = len(self._held) - self._at
        if held >= size:
            return
        parts: list[Buffer] = [self._held[self._at :]] if held else []
        while held < size and (chunk := next(self._chunks, None)) is not None:
            if len(chunk):
                parts.append(chunk)
                held += len(chunk)
        self._held = parts[0] if len(parts) == 1 else b"".join(parts)
        self._at = 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end. They stay."""
        self._fill(size)
        return bytes(self._held[self._at : self._at + size])

    def tail(self) -> bytes:
        """The last bytes, if the whole is at hand."""
        return bytes(self.backing[-TAIL:]) if self.backing is not None else b""

    def pieces(self, size: int | None = None) -> Iterator[Buffer]:
        """The next `size` bytes, or all that is left, piece by piece."""
        while size is None or size > 0:
            self._fill(1)
            if self._at >= len(self._held):
                return
            piece = self._held[self._at : None if size is None else self._at + size]
            self._at += len(piece)
            self.position += len(piece)
            if size is not None:
                size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        return b"".join(self.pieces(size))

    def skip(self, size: int) -> int:
        """How many of the next `size` bytes there were."""
        return sum(len(piece) for piece in self.pieces(size))

    def whole(self, limit: int = 0) -> memoryview:
        """All of it at once. DamagedError if that is more than `limit` bytes and not at hand; none are lost then."""
        if self.backing is not None and not self.position:
            self.position = len(self.backing)
            return self.backing
        self._fill(limit + 1)
        if len(self._held) - self._at > limit:
            raise DamagedError(f"larger than the {limit >> 20} MiB that may be held at once: not unpacked")
        data = memoryview(self._held)[self._at :]
        self._at = len(self._held)
        self.position += len(data)
        return data


def _slices(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


@dataclass(frozen=True, slots=True)
class Member:
    """Something that a container holds. It is read before the next one is asked for."""

    name: str
    """What it is called in there; empty for the only content of a compressed file and for a second reading."""
    content: Stream
    is_reading: bool = False
    """A reading of the container's own text (strings of a PDF, rows of a database): it has no lines, and holds no
    containers."""
    identity: Hashable | None = None
    """Equal for members that surely hold the same: what was clean once need not be looked into again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a format is told."""

    skipped: Callable[[str, str], None]
    """Takes a member's name and the reason why it is not, or not wholly, looked into."""
    may_hold: Callable[[Buffer], bool]
    """Whether these bytes may hold a key, in any spelling."""
    pay: Callable[[int], None]
    """Takes the bytes that were made and not handed out as a member's. SpentError when it is too much."""
    window_limit: int
    """What a decompressor may keep of the past."""


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    recognises: Callable[[bytes, bytes], bool]
    """By its first bytes, and its last ones where they are at hand."""
    members: Callable[[Stream, Job], Iterator[Member]]
    """Everything in it. DamagedError where it can't be read further."""
    needs_whole: bool = False
    """Whether it jumps back and forth. Then it gets a stream that is at hand as a whole, and the container's own
    bytes are searched as well: what stands between its members, or plainly in it."""


def swollen(made: int, taken: int) -> bool:
    """Whether a stream grows as no honest one does. Logs come to 1:30; deflate can't go beyond 1:1032."""
    return made > (64 << 20) and made > 250 * taken
