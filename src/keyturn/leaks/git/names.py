"""Names from a repository as text that a terminal can be shown: bytes that are no text and controls escaped."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)


def readable(name: bytes) -> str:
    r"""The name as UTF-8; what is not, and what moves a cursor or turns a line around, as `\xNN` or `\uNNNN`."""
    return _UNSAFE.sub(_escaped, name.decode("utf-8", "backslashreplace"))


def _escaped(match: re.Match[str]) -> str:
    point = ord(match[0])
    return f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}"
