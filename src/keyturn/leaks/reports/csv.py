"""CSV for spreadsheets (RFC 4180), with the same columns as the JSON lines. No cell is taken for a formula."""

from __future__ import annotations

import csv as library
from io import StringIO
from typing import Final

from keyturn.leaks.reports.interface import FIELDS, row_of, safe
from keyturn.leaks.scan import ScanResult

_BEGIN_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def csv(result: ScanResult) -> str:
    text = StringIO()
    writer = library.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for finding in result.findings:
        writer.writerow([_cell(value) for value in row_of(finding).values()])
    return text.getvalue()


def _cell(value: str | int | None) -> str | int:
    """An apostrophe makes a spreadsheet take what follows as text."""
    if not isinstance(value, str):
        return "" if value is None else value
    value = safe(value)
    return f"'{value}" if value.startswith(_BEGIN_FORMULAS) else value
