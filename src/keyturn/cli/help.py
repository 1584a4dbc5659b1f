"""`keyturn help`: the help of a verb, and what the exit codes mean."""

from __future__ import annotations

from keyturn.cli import terminal
from keyturn.model.errors import KeyturnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Final

_EXAMPLES = """examples:
  keyturn help
  keyturn help plan
  keyturn help exit-codes
"""
EXIT_CODES: Final = (
    (terminal.OK, "done, or nothing to do"),
    (terminal.FAILED, "it could not be done; stderr says why and what to do"),
    (terminal.USAGE, "the command line itself is wrong"),
    (
        terminal.CHANGES,
        "`plan`: there is something to do; `apply`, `rehearse`: nobody agreed, nothing was changed",
    ),
    (terminal.FOUND, "a check found something (`audit verify`, `scan`, `report`, `doctor`)"),
    (
        terminal.WAITING,
        "a rotation is healthy and not finished (`apply`, `status`, `resume`, `rollback`, `run`)",
    ),
    (terminal.INCOMPLETE, "a check found nothing, and could not look into everything (`scan`)"),
    (terminal.NEEDS_SOMEBODY, "a rotation needs somebody, or may not begin; what to do is said"),
    (terminal.UNDONE, "a rotation was rolled back or aborted"),
    (terminal.LOCKED, "another process is at this very rotation: it goes on by itself"),
    (terminal.TRY_AGAIN, "not at the moment: `run` had a failure, and tries it again the next time"),
    (terminal.INTERRUPTED, "you left it with Ctrl-C; a rotation goes on with `keyturn resume`"),
)
"""All of them. What a verb may end with stands in its own help, too."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "topic", metavar="VERB", nargs="?", help="a verb, or `exit-codes`; default: all verbs"
    )


def run(options: argparse.Namespace) -> int:
    from keyturn.cli.main import VERBS, overview, parser_for

    match options.topic:
        case None:
            terminal.result(overview().rstrip("\n"))
        case "exit-codes":
            for code, meaning in EXIT_CODES:
                terminal.result(f"{code:>3}  {meaning}")
        case verb if verb in VERBS:
            terminal.result(parser_for(verb).format_help().rstrip("\n"))
        case word:
            raise KeyturnError(f"there is no verb {word!r}", "`keyturn --help` lists them")
    return terminal.OK
