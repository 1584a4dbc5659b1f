"""The report for people: what was found and where, what to do next, and what was not looked into."""

from __future__ import annotations

from typing import Final

from keyturn.leaks.findings import Finding, Kind, Verdict
from keyturn.leaks.reports.interface import safe, where
from keyturn.leaks.scan import ScanResult

_RED: Final = "\x1b[31m"
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"
_HARMLESS: Final = (Verdict.PLACEHOLDER, Verdict.DOCUMENTATION, Verdict.INACTIVE)
_MOST_SKIPPED: Final = 20


def table(result: ScanResult, *, is_coloured: bool = False) -> str:
    rows = [_cells(result, finding) for finding in result.findings]
    if not rows:
        return ""
    headings = ("Kind", "Access key id", "Account", "Verdict", "Where", "Since")
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = [_line(headings, widths)]
    for finding, row in zip(result.findings, rows, strict=True):
        line = _line(row, widths)
        if is_coloured:
            is_less = finding.kind is Kind.ID or finding.verdict in _HARMLESS
            line = f"{_DIM if is_less else _RED}{line}{_PLAIN}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def summary(result: ScanResult) -> list[str]:
    """What is said beside the table, a line each."""
    pairs = sum(finding.kind is Kind.PAIR for finding in result.findings)
    lines = [
        f"{_count(pairs, 'leaked pair')}, {_count(result.ids, 'id')} alone; {size(result.searched)} searched"
    ]
    if result.allowed:
        lines.append(f"{result.allowed} left out because of a comment beside them")
    if result.accepted:
        lines.append(f"{result.accepted} left out because the baseline knows them")
    if result.skipped_in_all:
        lines.append(f"not looked into: {result.skipped_in_all}")
        lines += [f"  {where(each.place)}: {safe(each.reason)}" for each in result.skipped[:_MOST_SKIPPED]]
        more = result.skipped_in_all - min(_MOST_SKIPPED, len(result.skipped))
        if more:
            lines.append(f"  and {more} more")
    return lines


def size(count: int) -> str:
    """Bytes as people say them."""
    number = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cells(result: ScanResult, finding: Finding) -> tuple[str, ...]:
    place = finding.place
    line = f":{finding.line}" if finding.line is not None else ""
    layer = f" in layer {safe(place.layer)[:19]}" if place.layer else ""
    since = " ".join(
        safe(part) for part in (place.commit and place.commit[:12], place.date, place.author) if part
    )
    account = finding.account_id or "-"
    return (
        finding.kind.value,
        finding.access_key_id,
        f"{account} (ours)" if result.is_ours(finding) else account,
        finding.verdict.value,
        f"{where(place)}{line}{layer}",
        since or "-",
    )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
