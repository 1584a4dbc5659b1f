"""`keyturn master-key rotate`: a new master key, and everything sealed anew with it."""

from __future__ import annotations

import argparse
import asyncio
import os

from keyturn.cli import terminal
from keyturn.cli.place_options import add_place_options

_EXAMPLES = """examples:
  keyturn master-key rotate
  keyturn master-key rotate --data-dir /srv/keyturn --key-file /etc/keyturn/master.key

The server must be stopped; run it as the user that the server runs as. The new key is written beside the old
one, takes its place at the end, and is printed by its id. The old key file is kept with `.ID.old` behind its
name: backups made before need it. Killed anywhere, the next run goes on. Session tokens issued before die.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    rotate = acts.add_parser(
        "rotate",
        help="make a new master key and seal everything with it",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    rotate.set_defaults(run=run)
    add_place_options(rotate, key=True, mark=True)


def run(options: argparse.Namespace) -> int:
    os.umask(0o077)

    from keyturn.settings import place
    from keyturn.wiring import rotate_master_key

    rotated = asyncio.run(rotate_master_key(place(vars(options)), terminal.progress("sealing anew")))
    terminal.say(f"{rotated.resealed} values were sealed anew")
    terminal.say(f"the new master key stands in {rotated.key_file}: back it up, apart from the data")
    for kept in rotated.kept:
        terminal.say(f"{kept} is still needed for backups made before; delete it with the last of them")
    terminal.result(rotated.kek_id.hex())
    return terminal.OK
