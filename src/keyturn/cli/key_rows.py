"""How a key is told in rows: what `keys`, `why` and the reports share."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.output import Cell, Column, shortened

if TYPE_CHECKING:
    from keyturn.rotation.endpoint import LastUse
    from keyturn.rotation.reports import KeyFacts, Verdict

_DURATION: Final = re.compile(r"([0-9]{1,5})([smhd])\Z")
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

KEY_COLUMNS: Final = (
    Column("User", "user"),
    Column("Key", "access_key_id"),
    Column("Status", "status"),
    Column("Age", "age_seconds"),
    Column("Created", "created_at", is_wide=True),
    Column("Last used", "last_used"),
    Column("Last used at", "last_used_at", is_for_programs=True),
    Column("Service", "last_used_service", is_for_programs=True),
)


def duration(text: str) -> int:
    """`90d`, `12h` as milliseconds."""
    found = _DURATION.match(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90d, 12h or 30m")
    return int(found[1]) * _UNITS[found[2]]


def key_cells(facts: KeyFacts, now: int) -> dict[str, Cell]:
    from keyturn.model.clock import iso8601
    from keyturn.rotation.endpoint import Used
    from keyturn.rotation.reports import age_of

    used = facts.last_use if isinstance(facts.last_use, Used) else None
    age = age_of(facts, now)
    return {
        "user": Cell(facts.user_name),
        "access_key_id": Cell(facts.key.access_key_id, short=shortened(facts.key.access_key_id)),
        "status": Cell(facts.key.status.value),
        "age_seconds": Cell(age // 1000, terminal.age(age)),
        "created_at": Cell(iso8601(facts.key.created_at)),
        "last_used": Cell(_last_use_word(facts.last_use), last_use_text(facts.last_use, now)),
        "last_used_at": Cell(None if used is None else iso8601(used.at)),
        "last_used_service": Cell(None if used is None else used.service),
    }


def verdict_cell(verdict: Verdict) -> Cell:
    return Cell(verdict.text)


def last_use_text(last_use: LastUse, now: int) -> str:
    from keyturn.rotation.endpoint import NeverSeen, Used

    match last_use:
        case Used(at=at, service=service):
            return f"{terminal.age(now - at)} ago  {service}".rstrip()
        case NeverSeen():
            return "never"
    return "unknown"


def _last_use_word(last_use: LastUse) -> str:
    from keyturn.rotation.endpoint import NeverSeen, Used

    return "used" if isinstance(last_use, Used) else "never" if isinstance(last_use, NeverSeen) else "unknown"
