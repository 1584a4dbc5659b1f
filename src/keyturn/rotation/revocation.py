"""Until when a role's older sessions are revoked, by the inline policy that "Revoke active sessions" writes. Pure.

A session that may do nothing any more is missed by nobody: it need not be waited for. Only the exact shape counts
(IAM user guide, "Revoking IAM role temporary security credentials"); whatever else stands there revokes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

POLICY_NAME: Final = "AWSRevokeOlderSessions"
_FIELDS: Final = frozenset({"Sid", "Effect", "Action", "Resource", "Condition"})


def revoked_before(document: object) -> int | None:
    """Sessions that were issued before this time may do nothing (epoch milliseconds); None: none is revoked."""
    statements = document.get("Statement") if isinstance(document, Mapping) else None
    listed = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(listed, list):
        return None
    times = [time for each in listed if (time := _time_of(each)) is not None]
    return max(times, default=None)


def _time_of(statement: Any) -> int | None:
    if not isinstance(statement, Mapping) or not statement.keys() <= _FIELDS:
        return None
    if statement.get("Effect") != "Deny" or not (
        _is_all(statement, "Action") and _is_all(statement, "Resource")
    ):
        return None
    condition = statement.get("Condition")
    if not isinstance(condition, Mapping) or condition.keys() != {"DateLessThan"}:
        return None
    dates = condition["DateLessThan"]
    if not isinstance(dates, Mapping) or [str(key).lower() for key in dates] != ["aws:tokenissuetime"]:
        return None
    (time,) = dates.values()
    if isinstance(time, list) and len(time) == 1:
        (time,) = time
    try:
        at = datetime.fromisoformat(time[:40]) if isinstance(time, str) else None
        return None if at is None or at.tzinfo is None else int(at.astimezone(UTC).timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def _is_all(statement: Mapping[str, Any], name: str) -> bool:
    return statement.get(name) in ("*", ["*"])
