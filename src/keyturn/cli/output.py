"""Rows for people and for programs: `--output table|wide|json|jsonl|csv|id`.

`table` shortens key ids; every other form has them whole. What others may have chosen (user names, agents, addresses)
is told without control characters, and in CSV without what a spreadsheet would run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from keyturn.cli import terminal

CHOICES: Final = ("table", "wide", "json", "jsonl", "csv", "id")

Scalar = str | int | bool | None
Value = Scalar | list[str]
"""What a program reads."""


class Cell(NamedTuple):
    """A value, and how it is told to people where that differs."""

    value: Value
    text: str | None = None
    short: str | None = None
    """In a `table` only."""


class Column(NamedTuple):
    heading: str
    name: str
    is_wide: bool = False
    """Not in a `table`."""
    is_for_programs: bool = False
    """Neither in a `table` nor in `wide`."""


def add_output_option(parser: argparse.ArgumentParser, *, ids: bool = True) -> None:
    parser.add_argument(
        "--output",
        choices=CHOICES if ids else CHOICES[:-1],
        default="table",
        help="default: table; wide has whole key ids" + ("; id has nothing else" if ids else ""),
    )


def show(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]], output: str, *, id_column: str = ""
) -> None:
    """Write the rows to stdout. An empty table is no output; an empty JSON array is one."""
    match output:
        case "json":
            terminal.result(json.dumps([_values(columns, row) for row in rows], indent=2))
        case "jsonl":
            for row in rows:
                terminal.result(json.dumps(_values(columns, row)))
        case "csv":
            terminal.result(_csv(columns, rows))
        case "id":
            for identifier in dict.fromkeys(str(row[id_column].value) for row in rows):
                terminal.result(identifier)
        case _:
            is_wide = output == "wide"
            shown = [
                column for column in columns if not column.is_for_programs and (is_wide or not column.is_wide)
            ]
            if rows:
                terminal.table(
                    [column.heading for column in shown],
                    [[_text(row[column.name], is_wide=is_wide) for column in shown] for row in rows],
                    "table",
                )


def shortened(access_key_id: str) -> str:
    """`AKIA…7Q2M`: enough to tell the keys of one account apart."""
    return f"{access_key_id[:4]}…{access_key_id[-4:]}" if len(access_key_id) > 8 else access_key_id


def plain(text: str) -> str:
    """Without what would move a terminal's cursor or turn its text around."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _text(cell: Cell, *, is_wide: bool) -> str:
    if cell.short is not None and not is_wide:
        return plain(cell.short)
    if cell.text is not None:
        return plain(cell.text)
    if isinstance(cell.value, list):
        return plain(", ".join(cell.value)) or "-"
    if isinstance(cell.value, bool):
        return "yes" if cell.value else "no"
    return "-" if cell.value is None else plain(str(cell.value))


def _values(columns: Sequence[Column], row: Mapping[str, Cell]) -> dict[str, Value]:
    return {column.name: row[column.name].value for column in columns}


def _csv(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> str:
    import csv
    import io

    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for row in rows:
        writer.writerow([_field(row[column.name].value) for column in columns])
    return lines.getvalue().removesuffix("\n")


def _field(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = plain(";".join(value) if isinstance(value, list) else str(value))
    # A spreadsheet takes these for the beginning of a formula (OWASP, "CSV injection").
    return "'" + text if text.startswith(("=", "+", "-", "@")) and not isinstance(value, int) else text
