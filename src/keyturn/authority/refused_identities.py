"""How many records the refusals of web identities may write: so many a minute, and of the rest a count.

Whoever holds a token of a registered issuer for our audience can be refused as often as they like, with no key of
ours: they must not be able to fill the disk with it, nor to hide another's refusals among their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

WINDOW_MS: Final = 60_000
MOST_RECORDS: Final = 60
MOST_OF_ONE: Final = 10
"""Records a window of one subject of one provider."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Refusals that have no record of their own."""

    count: int
    first_at: int
    """Epoch milliseconds."""
    last_at: int


class RefusedIdentities:
    """Belongs to the event loop's thread, and to the writer's transaction in it."""

    def __init__(self) -> None:
        self._began_at = 0
        self._recorded: Counter[str] = Counter()
        self._folded: Folded | None = None

    def may_be_recorded(self, identity: str, now: int) -> bool:
        """Whether this refusal gets a record. If not, it is counted."""
        if not 0 <= now - self._began_at < WINDOW_MS:
            self._began_at = now
            self._recorded.clear()
        if self._recorded.total() < MOST_RECORDS and self._recorded[identity] < MOST_OF_ONE:
            self._recorded[identity] += 1
            return True
        before = self._folded
        self._folded = Folded(1 + before.count, before.first_at, now) if before else Folded(1, now, now)
        return False

    def due(self, now: int, *, is_last: bool = False) -> Folded | None:
        """What was counted, once its window is over: to be written, and then `settled`."""
        folded = self._folded
        if folded is None or not (is_last or now - folded.first_at >= WINDOW_MS):
            return None
        return folded

    def settled(self, folded: Folded) -> None:
        """It has been written; what was counted meanwhile stays."""
        later = self._folded
        more = 0 if later is None else later.count - folded.count
        self._folded = Folded(more, folded.last_at, later.last_at) if later and more else None
