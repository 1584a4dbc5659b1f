"""Owns stdout, stderr, colour and exit codes. Results go to stdout; talk goes to stderr, lower case, no full stop."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # not from `typing`: every verb loads this file, and `status` must come at once
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

OK: Final = 0
FAILED: Final = 1
"""It could not be done; stderr says why and what to do."""
USAGE: Final = 2
"""The command line itself is wrong."""
FOUND: Final = 3
"""A check was made and found something: `audit verify` of a trail that is not whole, `scan` of a leaked key."""
INCOMPLETE: Final = 4
"""A check was made, found nothing, and could not look into everything: `scan` never calls that clean."""
WAITING: Final = 3
"""A rotation is healthy and not finished."""
NEEDS_SOMEBODY: Final = 5
"""A rotation needs somebody: a sink refuses, the old key is still in use, a deletion is to be approved."""
UNDONE: Final = 6
"""A rotation was rolled back, or aborted."""
LOCKED: Final = 7
"""Another process is at this very thing."""
CHANGES: Final = 2
"""`plan`: there is something to do."""
TRY_AGAIN: Final = 75
"""It can't be done at the moment (sysexits.h, EX_TEMPFAIL)."""
INTERRUPTED: Final = 130
"""You left it (Ctrl-C)."""
_USUAL_WIDTH: Final = 80
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


def width() -> int:
    """Columns of the screen: `COLUMNS`, then the terminal itself, then 80. Without `shutil`, for speed."""
    named = os.environ.get("COLUMNS", "")
    if named.isascii() and named.isdigit() and int(named):
        return int(named)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _USUAL_WIDTH  # type: ignore[union-attr]  # AttributeError is caught
    except (AttributeError, ValueError, OSError):
        return _USUAL_WIDTH


def is_for_a_person() -> bool:
    return sys.stdout.isatty()


def is_coloured() -> bool:
    """On a terminal, unless the user wants none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], output: str) -> None:
    """The same rows as a table for people, or as JSON lines for programs."""
    if output == "json":
        import json

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


def throughput(what: str, monotonic: Callable[[], float]) -> Callable[[int, int | None], None]:
    """As `progress`, in bytes, with how many of them a second; a few times a second at most."""
    if not sys.stderr.isatty():
        return lambda _done, _whole: None
    began = monotonic()
    shown_at = began - 1

    def show(done: int, whole: int | None) -> None:
        nonlocal shown_at
        now = monotonic()
        if now - shown_at < 0.2:
            return
        shown_at = now
        rate = done / max(0.001, now - began) / 1e6
        share = f"{min(100, done * 100 // whole)} %, " if whole else ""
        sys.stderr.write(f"\r\x1b[K{what}: {share}{done / 1e6:.0f} MB, {rate:.0f} MB/s")
        sys.stderr.flush()

    return show


def asks(question: str, wanted: str) -> bool:
    """Whether a person at the terminal typed exactly this. Where nobody is there, nobody has agreed."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} ")
    sys.stderr.flush()
    return sys.stdin.readline(64).strip() == wanted


def end_of_line() -> None:
    """Takes away what `throughput` left on its line."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def age(milliseconds: int) -> str:
    """An age as people say it: `3 d`, `5 h`, `12 min`."""
    seconds = max(0, milliseconds // 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
