"""A view of some content: decoded or rewritten bytes that know where each of them came from.

What is undone, and how, stands in `encoded`, `escapes` and `literals`; here is what they share. Every function is
linear in its input, and what they make is charged to a `Budget`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_DEPTH: Final = 4
"""Encodings inside of each other."""


@dataclass(slots=True)
class Budget:
    """How many decoded bytes may still be made, over all views of one content."""

    left: int
    is_spent: bool = False

    def take(self, size: int) -> bool:
        if size > self.left:
            self.is_spent = True
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Decoded bytes. `anchors` are pairs of a position here and the position above that it came from."""

    data: bytes
    encoding: tuple[str, ...] = ()
    """What was decoded as a whole, outermost first."""
    above: View | None = None
    anchors: tuple[list[int], list[int]] = field(default_factory=lambda: ([0], [0]))
    scale: tuple[int, int] = (1, 1)
    """How many bytes above stand for how many here, between anchors."""
    changes: tuple[list[int], list[str]] = field(default_factory=lambda: ([], []))
    """Where something was rewritten, in order, and what that is called."""

    def position_above(self, position: int) -> int:
        here, above = self.anchors
        index = bisect_right(here, position) - 1
        up, down = self.scale
        limit = above[index + 1] if index + 1 < len(above) else above[index] + (1 << 60)
        return min(above[index] + (position - here[index]) * up // down, limit)

    def position_in_root(self, position: int) -> int:
        view = self
        while view.above is not None:
            position = view.position_above(position)
            view = view.above
        return position


def within(view: View, start: int, end: int) -> View:
    """A stretch of a view, unchanged."""
    return View(view.data[start:end], view.encoding, view, ([0], [start]))


def encoding_of(view: View, start: int, end: int) -> list[str]:
    """How what stands there was written, outermost first: what was decoded, and what was rewritten inside of it."""
    names: list[str] = []
    at: View | None = view
    while at is not None:
        here, called = at.changes
        inside = called[bisect_left(here, start) : bisect_right(here, end - 1)]
        names[:0] = list(dict.fromkeys(inside))
        above = at.above
        if above is not None:
            names[:0] = at.encoding[len(above.encoding) :]
            start, end = at.position_above(start), at.position_above(end - 1) + 1
        at = above
    return names


def rewritten(
    view: View, pattern: re.Pattern[bytes], replace: Callable[[re.Match[bytes]], tuple[bytes, str] | None]
) -> View | None:
    """The view with each match replaced by what it says and what that is called (None: left as it is).

    None if nothing was.
    """
    out: list[bytes] = []
    here, above = [0], [0]
    changed: list[int] = []
    called: list[str] = []
    size = last = 0
    for match in pattern.finditer(view.data):
        by = replace(match)
        if by is None:
            continue
        text, name = by
        kept = view.data[last : match.start()]
        out += (kept, text)
        changed.append(size + len(kept))
        called.append(name)
        if text:
            here.append(size + len(kept))
            above.append(match.start())
        size += len(kept) + len(text)
        last = match.end()
        here.append(size)
        above.append(last)
    if not changed:
        return None
    out.append(view.data[last:])
    return View(b"".join(out), view.encoding, view, (here, above), changes=(changed, called))


def alphabet(characters: bytes) -> bytes:
    """A table for `runs`: what belongs to it."""
    return bytes(120 if byte in characters else 32 for byte in range(256))


def runs(data: bytes, table: bytes, least: int) -> Iterator[tuple[int, int]]:
    """Where at least so many characters of an alphabet stand in a row. Many times faster than an expression."""
    marked = data.translate(table)
    sought = b"x" * least
    start = marked.find(sought)
    while start >= 0:
        end = marked.find(b" ", start + least)
        end = end if end >= 0 else len(marked)
        yield start, end
        start = marked.find(sought, end)
