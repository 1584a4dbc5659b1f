"""`keyturn admin recover`: whoever holds the data directory and the master key can get back in."""

from __future__ import annotations

import argparse
import asyncio
import os

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_EXAMPLES = """examples:
  keyturn admin recover
  keyturn admin recover --data-dir /srv/keyturn --replace AKIA…

The server must be stopped. The user `administrator` and its policy are made again if they are gone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    recover = acts.add_parser(
        "recover",
        help="issue a new administrator key",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    recover.set_defaults(run=run)
    add_place_options(recover, key=True, mark=True)
    recover.add_argument(
        "--replace", metavar="KEYID", help="delete this key of the administrator to make room"
    )


def run(options: argparse.Namespace) -> int:
    os.umask(0o077)

    from keyturn.settings import place
    from keyturn.wiring import recover

    access_key_id, path = asyncio.run(recover(place(vars(options)), options.replace))
    terminal.say(f"the new administrator key stands in {path}")
    terminal.result(access_key_id)
    return terminal.OK
