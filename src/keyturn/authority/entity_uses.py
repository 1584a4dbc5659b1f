"""What each user and role last called: in memory at once, in the usage file within a second.

AWS tells it of roles (`RoleLastUsed`) and of services (`GetServiceLastAccessedDetails`), and means the principal of
the call: of a role's session the role, and not the user whose key obtained the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keyturn.authority.storage import entity_uses as rows
from keyturn.authority.storage.entity_uses import FOLDED, EntityUse
from keyturn.model.principals import AssumedRole, FederatedUser, Principal, User
from keyturn.store.interface import Store

_MOST_PENDING: Final = 50_000


class EntityUses:
    """Belongs to the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[tuple[str, str, str], EntityUse] = {}
        self._writing: dict[tuple[str, str, str], EntityUse] = {}
        """On its way into the file: nobody may miss it meanwhile."""

    def record(self, principal: Principal, *, at: int, service: str, region: str, action: str) -> None:
        """A signature matched, also when policy then denies: AWS counts attempts (`LastAuthenticated`)."""
        if isinstance(principal, User):
            entity_id: str = principal.user_id
        elif isinstance(principal, AssumedRole):
            entity_id = principal.role.role_id
        elif isinstance(principal, FederatedUser):
            entity_id = principal.user.user_id
        else:
            return
        use = EntityUse(entity_id, service, action, at, region)
        key = (entity_id, service, action)
        if key in self._pending:
            self._pending[key] = use
        else:
            self._note(use)

    def of(self, entity_ids: Sequence[str]) -> list[EntityUse]:
        """Every service and action of each, in no order."""
        wanted = set(entity_ids)
        with self._store.read() as reader:
            written = {use[:3]: use for use in rows.uses_of(reader, entity_ids)}
        for held in (self._writing, self._pending):
            written |= {key: use for key, use in held.items() if key[0] in wanted}
        return list(written.values())

    def last_of(self, entity_id: str) -> EntityUse | None:
        return max(self.of([entity_id]), key=lambda use: use.at, default=None)

    async def flush(self) -> None:
        """Write what is pending. If the store can't take it now, it stays pending."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        self._writing = pending
        try:
            await self._store.write(lambda tx: rows.add(tx, pending.values()))
        except BaseException:
            later, self._pending = self._pending, pending
            for use in later.values():
                self._note(use)
            raise
        finally:
            self._writing = {}

    def _note(self, use: EntityUse) -> None:
        key = use[:3]
        if key not in self._pending and len(self._pending) >= _MOST_PENDING:
            use = use._replace(action=FOLDED)
            key = use[:3]
        self._pending[key] = use
