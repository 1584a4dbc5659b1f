"""`keyturn backup FILE`: an online copy of the database. Sealed rows only, never the key file."""

from __future__ import annotations

import argparse
from pathlib import Path

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_EXAMPLES = """examples:
  keyturn backup /backups/keyturn-$(date +%F).sqlite

The copy opens only with the master key: back that up too, somewhere else. To restore, stop the server, move
the data directory away, put the copy into a new one as authority.sqlite and start once with --accept-rollback.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_place_options(parser)
    parser.add_argument("file", metavar="FILE", help="a new file; nothing is overwritten")


def run(options: argparse.Namespace) -> int:
    from keyturn.settings import place
    from keyturn.wiring import back_up

    target = Path(options.file).absolute()
    back_up(place(vars(options)), target, terminal.progress("copying"))
    terminal.say("the copy opens only with the master key: back that up too, somewhere else")
    terminal.result(str(target))
    return terminal.OK
