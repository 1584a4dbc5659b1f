"""Who used a key: in memory at once, in the usage file within a second.

`GetAccessKeyLastUsed` moves only when a signature matched an active key. Beyond AWS, each key has up to
200 rows of who used it and who was refused; what is more folds into one row. Nothing here is secret, and
an id that was never issued is not recorded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from keyturn.authority.storage import event_history as history_rows
from keyturn.authority.storage import usage as rows
from keyturn.authority.storage.event_history import UsagePosition
from keyturn.authority.storage.usage import LastUse, Unproved, UsageKey, UsageRow
from keyturn.model.access_keys import AccessKeyId
from keyturn.store.interface import Store, Transaction

ROWS_PER_KEY: Final = rows.ROWS_PER_KEY
_MOST_RECENT: Final = 50_000
_MOST_PENDING: Final = 50_000
_LONGEST_AGENT: Final = 256

Outcome = Literal["used", "refused"]


@dataclass(slots=True)
class _Tally:
    first: int
    last: int
    count: int


class UsageRecorder:
    """Belongs to the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[UsageKey, _Tally] = {}
        # Where a key's last use was added, to add the next one to; of what is pending only.
        self._at_hand: dict[AccessKeyId, tuple[tuple[str, str, str, str], _Tally]] = {}
        self._rows_of_key: dict[AccessKeyId, int] = {}
        self._pending_last: dict[AccessKeyId, LastUse] = {}
        self._pending_unproved: dict[AccessKeyId, Unproved] = {}
        self._recent: OrderedDict[AccessKeyId, LastUse] = OrderedDict()

    def record_use(
        self,
        access_key_id: AccessKeyId,
        *,
        at: int,
        source: str,
        user_agent: str,
        service: str,
        region: str,
        action: str,
        is_session: bool = False,
    ) -> None:
        """A signature matched an active key (also when policy then denies).

        A session's call is a use of the key that obtained it, but not what AWS calls that key's last use.
        """
        if not is_session:
            self._note_last(access_key_id, LastUse(at, service, region))
        by_whom = (source, user_agent, service, action)
        at_hand = self._at_hand.get(access_key_id)
        if at_hand is not None and at_hand[0] == by_whom and at >= at_hand[1].last:
            tally = at_hand[1]
            tally.last = at
            tally.count += 1
            return
        key = UsageKey(access_key_id, "used", source, user_agent[:_LONGEST_AGENT], service, action)
        tally = self._add(key, at, at, 1)
        self._at_hand[access_key_id] = (by_whom, tally)

    def _note_last(self, access_key_id: AccessKeyId, use: LastUse) -> None:
        self._pending_last[access_key_id] = use
        self._recent[access_key_id] = use
        self._recent.move_to_end(access_key_id)
        if len(self._recent) > _MOST_RECENT:
            self._recent.popitem(last=False)

    def record_proved_refusal(
        self,
        access_key_id: AccessKeyId,
        *,
        at: int,
        source: str,
        user_agent: str,
        service: str,
        action: str,
    ) -> None:
        """A signature matched an inactive key: whoever sent it holds the secret."""
        self._tally("refused", access_key_id, at, source, user_agent, service, action)

    def record_unproved_refusal(self, access_key_id: AccessKeyId, *, at: int, source: str) -> None:
        """A wrong signature, or a deleted key: anybody who knows the id can cause this, so it is only counted."""
        held = self._pending_unproved.get(access_key_id)
        if held is None and len(self._pending_unproved) >= _MOST_PENDING:
            return
        self._pending_unproved[access_key_id] = Unproved(1 + (held.count if held else 0), at, source)

    def last_used(self, access_key_id: AccessKeyId) -> LastUse | None:
        recent = self._recent.get(access_key_id)
        if recent is not None:
            return recent
        with self._store.read() as reader:
            return rows.last_use(reader, access_key_id)

    def last_uses(self) -> dict[AccessKeyId, LastUse]:
        """Of every key at once, for reports."""
        with self._store.read() as reader:
            return rows.last_uses(reader) | self._recent

    def usage_of(self, access_key_id: AccessKeyId) -> list[UsageRow]:
        """Who used a key and who was refused, at most a second behind."""
        with self._store.read() as reader:
            return rows.usage_of(reader, access_key_id)

    def rows_behind(
        self, position: UsagePosition, start: int, limit: int, keys: Sequence[str] | None
    ) -> list[UsageRow]:
        """Of all keys or of some, latest first, at most a second behind."""
        with self._store.read() as reader:
            return history_rows.usage_rows_behind(reader, position, start, limit, keys)

    async def flush(self) -> None:
        """Write what is pending. If the store can't take it now, it stays pending."""
        if not (self._pending or self._pending_last or self._pending_unproved):
            return
        tallies, last, unproved = self._pending, self._pending_last, self._pending_unproved
        self._pending, self._pending_last, self._pending_unproved = {}, {}, {}
        self._rows_of_key = {}
        self._at_hand = {}
        batch = [UsageRow(key, tally.first, tally.last, tally.count) for key, tally in tallies.items()]

        def write(tx: Transaction) -> None:
            rows.add(tx, batch, last, unproved)

        try:
            await self._store.write(write)
        except BaseException:
            self._put_back(batch, last, unproved)
            raise

    def _put_back(
        self,
        batch: Iterable[UsageRow],
        last: dict[AccessKeyId, LastUse],
        unproved: dict[AccessKeyId, Unproved],
    ) -> None:
        for row in batch:
            self._add(row.key, row.first, row.last, row.count)
        self._pending_last = last | self._pending_last
        for access_key_id, earlier in unproved.items():
            later = self._pending_unproved.get(access_key_id)
            self._pending_unproved[access_key_id] = (
                earlier if later is None else Unproved(earlier.count + later.count, later.at, later.source)
            )

    def _tally(
        self,
        outcome: Outcome,
        access_key_id: AccessKeyId,
        at: int,
        source: str,
        user_agent: str,
        service: str,
        action: str,
    ) -> None:
        key = UsageKey(access_key_id, outcome, source, user_agent[:_LONGEST_AGENT], service, action)
        self._add(key, at, at, 1)

    def _add(self, key: UsageKey, first: int, last: int, count: int) -> _Tally:
        tally = self._pending.get(key)
        if tally is None:
            held = self._rows_of_key.get(key.access_key_id, 0)
            if held >= ROWS_PER_KEY or len(self._pending) >= _MOST_PENDING:
                key = key.folded()
                tally = self._pending.get(key)
            else:
                self._rows_of_key[key.access_key_id] = held + 1
        if tally is None:
            tally = self._pending[key] = _Tally(first, last, count)
        else:
            tally.first = min(tally.first, first)
            tally.last = max(tally.last, last)
            tally.count += count
        return tally
