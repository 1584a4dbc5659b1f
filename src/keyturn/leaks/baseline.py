"""A file of findings that are known and accepted: pairs by fingerprint, ids by where they stand. No secret is in it.

It is meant to be committed: JSON, one finding a line, in an order that does not change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyturn.leaks.findings import Finding, Kind
from keyturn.leaks.replacing import replace_file
from keyturn.model.errors import KeyturnError

_VERSION: Final = 1
_MOST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Baseline:
    fingerprints: frozenset[str] = frozenset()
    ids: frozenset[tuple[str, str]] = frozenset()
    """An id, and the path where it may stand."""

    def accepts(self, finding: Finding) -> bool:
        if finding.kind is Kind.PAIR:
            return finding.fingerprint in self.fingerprints
        return (finding.access_key_id, _where(finding)) in self.ids


def _where(finding: Finding) -> str:
    place = finding.place
    return "!/".join(part for part in (place.path or place.object or place.source, place.member) if part)


def read_baseline(path: Path) -> Baseline:
    """KeyturnError if the file is not there or is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
    except OSError as error:
        raise KeyturnError(
            f"can't read the baseline {path}: {error.strerror}",
            f"write one: keyturn scan … --write-baseline {path}",
        ) from error
    try:
        told = json.loads(text) if len(text) <= _MOST else None
        if not isinstance(told, dict) or told.get("keyturn_baseline") != _VERSION:
            raise KeyturnError(f"{path} is no baseline of version {_VERSION}")
        return _parsed(told["accepted"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeyturnError(f"{path} is no baseline, or it is damaged") from error


def _parsed(rows: Any) -> Baseline:
    fingerprints, ids = set(), set()
    for row in rows:
        if row.get("fingerprint"):
            fingerprints.add(str(row["fingerprint"]))
        else:
            ids.add((str(row["access_key_id"]), str(row["path"])))
    return Baseline(frozenset(fingerprints), frozenset(ids))


def write_baseline(path: Path, findings: Iterable[Finding]) -> int:
    """Accept all of them from now on; how many rows that is. The old file is replaced in one step."""
    rows = set()
    for finding in findings:
        row: dict[str, str] = {"access_key_id": finding.access_key_id}
        # A scan that meets this file need not tell of the ids in it.
        row["note"] = "keyturn:allow"
        row |= {"fingerprint": finding.fingerprint} if finding.fingerprint else {"path": _where(finding)}
        rows.add(json.dumps(row, sort_keys=True))
    body = ",\n  ".join(sorted(rows))
    text = f'{{"keyturn_baseline": {_VERSION}, "accepted": [\n  {body}\n]}}\n'
    replace_file(path, text)
    return len(rows)
