"""JSON lines: the contract for programs. Every field on every line, null where it does not apply; ASCII only."""

from __future__ import annotations

import json

from keyturn.leaks.reports.interface import row_of
from keyturn.leaks.scan import ScanResult


def jsonl(result: ScanResult) -> str:
    return "".join(json.dumps(row_of(finding), ensure_ascii=True) + "\n" for finding in result.findings)
