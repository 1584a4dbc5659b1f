"""What a delta adds to its base: the only bytes of a result that need searching if the base was found clean.

A match in the result either stands in the base as well, or touches a literal or a seam between two copies. So
the literals and seams are searched, widened by the longest spelling of a key's prefix; and the beginning of the
content whenever it changed, for that is where a container's magic stands.
"""

from __future__ import annotations

from typing import Final

REACH: Final = 256
"""`may_hold` says yes for bytes that stand within so many of each other …"""
BEGINNING: Final = 2048
"""… or because of what stands in the first so many."""
_READING: Final = 100
_STARTING: Final = 6000
"""Reading a delta here costs as much as searching so many bytes, and so many for each byte of it."""
_OFFSETS: Final = [
    [shift for bit, shift in enumerate((0, 8, 16, 24)) if bits >> bit & 1] for bits in range(16)
]
_SIZES: Final = [[shift for bit, shift in enumerate((0, 8, 16)) if bits >> bit & 1] for bits in range(8)]
"""Which bytes of an offset and of a size follow an instruction, by its bits."""


def is_worth_reading(delta: bytes, size: int) -> bool:
    return len(delta) * _READING + _STARTING < size


def additions(delta: bytes, base_size: int, result: bytes) -> bytes:
    """The windows of the result around everything that is new, one after the other.

    The delta has been applied, so its instructions are known to be whole.
    """
    at = _after_sizes(delta)
    windows: list[bytes] = []
    low, high = 0, -1
    position = expected = 0
    while at < len(delta):
        instruction = delta[at]
        at += 1
        if instruction & 0x80:
            offset = size = 0
            for shift in _OFFSETS[instruction & 15]:
                offset |= delta[at] << shift
                at += 1
            for shift in _SIZES[instruction >> 4 & 7]:
                size |= delta[at] << shift
                at += 1
            size = size or 0x10000
            begins, ends = position, position
            is_new = offset != expected
            expected = offset + size
            position += size
        else:
            begins, ends = position, position + instruction
            is_new = True
            at += instruction
            position = ends
            expected = -1
        if is_new:
            if begins > high + REACH:
                if high >= 0:
                    windows.append(result[low : high + REACH])
                low = max(begins - REACH, 0) if begins > BEGINNING else 0
            high = ends
    if expected != base_size:
        if position > high + REACH:
            if high >= 0:
                windows.append(result[low : high + REACH])
            low = max(position - REACH, 0) if position > BEGINNING else 0
        high = position
    if high >= 0:
        windows.append(result[low : high + REACH])
    return b"".join(windows)


def result_size(delta: bytes) -> int:
    """The second of a delta's two sizes. IndexError if it is cut short."""
    at = 0
    while delta[at] & 0x80:
        at += 1
    at += 1
    byte = delta[at]
    size, shift = byte & 0x7F, 7
    while byte & 0x80:
        at += 1
        byte = delta[at]
        size |= (byte & 0x7F) << shift
        shift += 7
    return size


def _after_sizes(delta: bytes) -> int:
    at = 0
    for _ in range(2):
        while delta[at] & 0x80:
            at += 1
        at += 1
    return at
