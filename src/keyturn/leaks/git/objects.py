"""An object of Git's as it is handed on: its id, its kind and its content, or a window of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMMIT: Final = 1
TREE: Final = 2
BLOB: Final = 3
TAG: Final = 4
KINDS: Final = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}
"""As packs number them."""


@dataclass(frozen=True, slots=True)
class GitObject:
    """`data` is the whole content, or a window that begins at `starts_at`, in line `first_line`."""

    oid: bytes
    kind: str
    data: bytes
    starts_at: int = 0
    first_line: int = 1
