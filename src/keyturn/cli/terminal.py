"""Owns stdout, stderr, colour and exit codes. Results go to stdout; talk goes to stderr, lower case, no full stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Final

OK: Final = 0
FAILED: Final = 1
"""It could not be done; stderr says why and what to do."""
USAGE: Final = 2
"""The command line itself is wrong."""
FOUND: Final = 3
"""A check was made and found something: `audit verify` of a trail that is not whole."""
INTERRUPTED: Final = 130
_LONGEST_LINE: Final = 1024


def result(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def ask(question: str) -> str:
    """One line from stdin; the question is put to a person only."""
    if sys.stdin.isatty():
        sys.stderr.write(question)
        sys.stderr.flush()
    return sys.stdin.readline(_LONGEST_LINE).strip()


def fail(message: str, hint: str | None = None) -> None:
    say(f"keyturn: {message}")
    if hint:
        say(f"         {hint}")


def is_for_a_person() -> bool:
    return sys.stdout.isatty()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], output: str) -> None:
    """The same rows as a table for people, or as JSON lines for programs."""
    if output == "json":
        names = [heading.lower().replace(" ", "_") for heading in headings]
        for row in rows:
            result(json.dumps(dict(zip(names, row, strict=True))))
        return
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    for row in [headings, *rows]:
        result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def progress(what: str) -> Callable[[int, int], None]:
    """Shows how far long work has come, on a terminal only and on one line."""
    if not sys.stderr.isatty():
        return lambda _done, _all: None

    def show(done: int, whole: int) -> None:
        share = 100 if whole <= 0 else min(100, done * 100 // whole)
        sys.stderr.write(f"\r{what}: {share} %" + ("\n" if done >= whole else ""))
        sys.stderr.flush()

    return show


def age(milliseconds: int) -> str:
    """An age as people say it: `3 d`, `5 h`, `12 min`."""
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
