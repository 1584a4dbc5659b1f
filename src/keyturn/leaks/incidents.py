"""An incident: one leaked pair, and how far its answer has come. Data only, kept as JSON with a version."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.errors import KeyturnError

SCHEMA_VERSION: Final = 1


class Stage(StrEnum):
    """What is done next. The order is the reverse of a rotation's: the key dies first."""

    DEACTIVATE = "deactivate"
    CONTAIN = "contain"
    SWEEP = "sweep"
    SWEEP_AGAIN = "sweep-again"
    REPLACE = "replace"
    DELETE = "delete"
    LIFT = "lift"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """All that is known of it besides what the issuer says. Times are epoch milliseconds."""

    incident_id: str
    fingerprint: str
    """Of the pair; the id itself, where an operator gave only that."""
    access_key_id: AccessKeyId
    account_id: AccountId
    user_name: str
    opened_at: int
    exposed_at: int
    """Since when it may have been in the wrong hands: the sweep looks back to then."""
    how: str
    """How we learned of it: `typed by …`, `proved, found in …`."""
    is_exposure_known: bool = False
    """Somebody said when it was exposed; otherwise `exposed_at` is the key's own creation."""
    stage: Stage = Stage.DEACTIVATE
    all_keys: bool = False
    deny_all: bool = False
    deactivated_at: int | None = None
    contained_at: int | None = None
    swept_at: int | None = None
    dead_keys: tuple[tuple[str, str], ...] = ()
    """(user, id) of every key that was deactivated for this incident, the leaked one first."""
    traces: tuple[tuple[str, str, str], ...] = ()
    """(kind, action, target) of what the holder had made or changed, as told already."""
    rotation: str | None = None
    """What the rotator calls the replacement."""
    attention: str | None = None

    @property
    def is_closed(self) -> bool:
        return self.stage is Stage.CLOSED


def as_json(value: Incident) -> str:
    return json.dumps({"schema_version": SCHEMA_VERSION} | dataclasses.asdict(value), separators=(",", ":"))


def from_json(text: str) -> Incident:
    """KeyturnError for what a newer program wrote."""
    content: dict[str, Any] = json.loads(text)
    if content.pop("schema_version") > SCHEMA_VERSION:
        raise KeyturnError(
            f"the incident {content.get('incident_id')} was written by a newer version of Keyturn",
            "run the newer program",
        )
    known = {each.name for each in dataclasses.fields(Incident)}
    content = {name: value for name, value in content.items() if name in known}
    content["stage"] = Stage(content["stage"])
    for name in ("dead_keys", "traces"):
        content[name] = tuple(tuple(each) for each in content.get(name, ()))
    return Incident(**content)
