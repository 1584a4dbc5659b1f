"""What is kept of a rotation, each time in one transaction: where it stands, the line that says so, and its secrets.

An act's intent is kept before it and its outcome after it; whatever died in between finds both here.
"""

from __future__ import annotations

from collections.abc import Callable

from keyturn.model.access_keys import AccessKeyId, AccessKeyPair
from keyturn.model.errors import KeyturnError
from keyturn.rotation.progress import Progress
from keyturn.rotation.state import State
from keyturn.rotation.storage import journal
from keyturn.rotation.storage.journal import Rotation


class Record:
    """`now_ms` is the endpoint's clock. `boundary` is called, with its name, after each commit."""

    def __init__(self, state: State, now_ms: Callable[[], int], boundary: Callable[[str], None]) -> None:
        self._state = state
        self._now_ms = now_ms
        self._boundary = boundary

    def rotation(self, rotation_id: str) -> Rotation:
        """KeyturnError if there is none of that id."""
        with self._state.database.reading() as ledger:
            found = journal.by_id(ledger, rotation_id)
        if found is None:
            raise KeyturnError(f"there is no rotation {rotation_id}", "see `keyturn status`")
        return found

    def keep(
        self,
        rotation: Rotation,
        progress: Progress,
        kind: str,
        what: str,
        *,
        seal: tuple[str, AccessKeyPair] | None = None,
        erase: str | None = None,
        boundary: str | None = None,
    ) -> Rotation:
        """`seal`: a holder, and the pair to keep sealed for it; `erase`: the holder whose pair goes."""
        rotation_id = progress.rotation_id
        with self._state.database.writing() as ledger:
            if seal is not None:
                self._state.put_pair(ledger, rotation_id, progress.account_id, *seal)
            if erase is not None:
                journal.erase(ledger, rotation_id, erase)
            kept = journal.keep(ledger, rotation, progress)
            journal.note(ledger, rotation_id, self._now_ms(), kind, what)
        self._boundary(boundary or f"kept:{kind}")
        return kept

    def keep_quietly(self, rotation: Rotation, progress: Progress) -> Rotation:
        """A wait that is no news."""
        with self._state.database.writing() as ledger:
            kept = journal.keep(ledger, rotation, progress)
        self._boundary("kept:wait")
        return kept

    def finish(self, rotation: Rotation, progress: Progress, why: str) -> Rotation:
        """It is over: no secret of it is kept any longer."""
        now = self._now_ms()
        with self._state.database.writing() as ledger:
            kept = journal.keep(ledger, rotation, progress, finished_at=now)
            journal.erase_all(ledger, progress.rotation_id)
            journal.note(ledger, progress.rotation_id, now, progress.stage.value, why)
        self._boundary("kept:finish")
        return kept

    def pair(self, progress: Progress, holder: str) -> AccessKeyPair | None:
        """A pair that was sealed for this holder."""
        return self._state.pair(progress.rotation_id, progress.account_id, holder)

    def samples(self, key: AccessKeyId) -> list[tuple[int, int | None]]:
        """What was noted of a key's last use, day by day."""
        with self._state.database.reading() as ledger:
            return list(journal.samples(ledger, key))
