"""Rows of what each user and role last called, by service and action."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from keyturn.store.interface import Reader, Transaction

ACTIONS_PER_SERVICE: Final = 500
"""Of one user or role. What is more folds into one row: IAM, the largest, has fewer."""
FOLDED: Final = "*"


class EntityUse(NamedTuple):
    entity_id: str
    """Unique id of a user or role."""
    service: str
    action: str
    at: int
    """Epoch milliseconds."""
    region: str


def add(tx: Transaction, uses: Iterable[EntityUse]) -> None:
    """A last use never moves back."""
    held: dict[tuple[str, str], int] = {}
    for use in uses:
        if not _move(tx, use):
            _insert(tx, use, held)


def _move(tx: Transaction, use: EntityUse) -> bool:
    """Whether there was a row."""
    return bool(
        tx.execute(
            "UPDATE entity_uses SET used_at = CASE WHEN used_at > :at THEN used_at ELSE :at END,"
            " region = CASE WHEN used_at > :at THEN region ELSE :region END"
            " WHERE entity_id = :id AND service = :service AND action = :action",
            _parameters(use),
        )
    )


def _insert(tx: Transaction, use: EntityUse, held: dict[tuple[str, str], int]) -> None:
    place = use.entity_id, use.service
    if place not in held:
        counted = tx.row(
            "SELECT count(*) FROM entity_uses WHERE entity_id = :id AND service = :service",
            {"id": use.entity_id, "service": use.service},
        )
        held[place] = int(counted[0] or 0) if counted else 0
    if held[place] >= ACTIONS_PER_SERVICE and use.action != FOLDED:
        use = use._replace(action=FOLDED)
        if _move(tx, use):
            return
    held[place] += 1
    tx.execute(
        "INSERT INTO entity_uses (entity_id, service, action, used_at, region)"
        " VALUES (:id, :service, :action, :at, :region)",
        _parameters(use),
    )


def _parameters(use: EntityUse) -> dict[str, str | int | bytes | None]:
    return {
        "id": use.entity_id,
        "service": use.service,
        "action": use.action,
        "at": use.at,
        "region": use.region,
    }


def uses_of(reader: Reader, entity_ids: Sequence[str]) -> list[EntityUse]:
    return [
        EntityUse(entity_id, str(service), str(action), int(at or 0), str(region))
        for entity_id in entity_ids
        for service, action, at, region in reader.rows(
            "SELECT service, action, used_at, region FROM entity_uses WHERE entity_id = :id",
            {"id": entity_id},
        )
    ]
