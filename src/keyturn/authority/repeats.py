"""Which new keys may still be answered again to a client whose first reply was cut.

A key may be answered again for a minute, and only while it has never signed: from its first use on, its
secret is known to have arrived.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Final

from keyturn.model.access_keys import AccessKeyId

WINDOW_MS: Final = 60_000


class Repeats:
    """Keys made in the last minute that have not signed. The writer notes and asks, the event loop strikes out."""

    def __init__(self) -> None:
        self._unused: dict[AccessKeyId, int] = {}
        self._lock = threading.Lock()
        self._next_cleaning = 0

    def is_cleaning_due(self, now: int) -> bool:
        """Once a second: rows that are too old are passed over in any case. Asked by the writer only."""
        if self._next_cleaning - 1000 <= now < self._next_cleaning:
            return False
        self._next_cleaning = now + 1000
        return True

    def note_created(self, access_key_id: AccessKeyId, now: int) -> None:
        """To be called inside the transaction: a repeat may stand right behind the first try, in one commit.

        A key whose commit is lost may be noted; nothing finds it, for its row is lost too.
        """
        with self._lock:
            # The oldest come first, and a few at a time will do: looking through all would cost each of thousands.
            for key in tuple(islice(self._unused, 16)):
                if self._unused[key] >= now - WINDOW_MS:
                    break
                del self._unused[key]
            self._unused[access_key_id] = now

    def note_used(self, access_key_id: AccessKeyId) -> None:
        if access_key_id in self._unused:
            with self._lock:
                self._unused.pop(access_key_id, None)

    def may_repeat(self, access_key_id: AccessKeyId, now: int) -> bool:
        made = self._unused.get(access_key_id)
        return made is not None and made >= now - WINDOW_MS
