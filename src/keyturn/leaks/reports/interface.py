"""What a report must do, and what all of them share: one row a finding, nothing of a secret, nothing that a
terminal or a spreadsheet would act upon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keyturn.leaks.findings import Finding, Place
from keyturn.leaks.scan import ScanResult

Report = Callable[[ScanResult], str]
"""The whole report as a text that ends with a line end, or is empty."""

FIELDS: Final = (
    "kind",
    "access_key_id",
    "account_id",
    "fingerprint",
    "source",
    "object",
    "commit",
    "author",
    "date",
    "path",
    "line",
    "layer",
    "member",
    "encoding",
    "verdict",
)
"""The contract of `--output jsonl`, in this order."""

Row = dict[str, str | int | None]


def row_of(finding: Finding) -> Row:
    place = finding.place
    return {
        "kind": finding.kind.value,
        "access_key_id": finding.access_key_id,
        "account_id": finding.account_id,
        "fingerprint": finding.fingerprint,
        "source": place.source,
        "object": place.object,
        "commit": place.commit,
        "author": place.author,
        "date": place.date,
        "path": place.path,
        "line": finding.line,
        "layer": place.layer,
        "member": place.member,
        "encoding": finding.encoding,
        "verdict": finding.verdict.value,
    }


def safe(text: str) -> str:
    """The text with everything that could move a cursor or turn the direction of writing made visible."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode("ascii")
        for each in text
    )


def where(place: Place) -> str:
    """A place in a few words: the path, or what stands for it, and the way into it."""
    outer = place.path or place.object or place.source
    return safe("!/".join(part for part in (outer, place.member) if part))
