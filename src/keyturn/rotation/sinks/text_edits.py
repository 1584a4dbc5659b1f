"""Changing pieces of a text and leaving every other byte as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Edit = tuple[int, int, bytes]
"""From, to, and what stands there afterwards."""

NEWLINE: Final = re.compile(rb"\r\n|\n|\r")


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The text with edits that don't overlap, given in any order."""
    parts, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        parts += [content[at:start], new]
        at = end
    return b"".join([*parts, content[at:]])


def newline_of(content: bytes) -> bytes:
    r"""The newline that the text uses first; `\n` if none."""
    match = NEWLINE.search(content)
    return match[0] if match else b"\n"


def ends_open(content: bytes) -> bool:
    """Whether the last line has no newline."""
    return bool(content) and not content.endswith((b"\n", b"\r"))


def after_line(content: bytes, at: int, lines: bytes, newline: bytes) -> Edit:
    """Lines put where a line ends; if that was the last and had no newline, neither has the new last one."""
    if at == len(content) and ends_open(content):
        return at, at, newline + lines.removesuffix(newline)
    return at, at, lines
