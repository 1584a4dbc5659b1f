"""`keyturn abort`: give a rotation up that no sink has heard of yet. Afterwards, `rollback` is the way back."""

from __future__ import annotations

import argparse

from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import carry_on, opened_room

_EXAMPLES = """examples:
  keyturn abort 8f2c0d1e
  keyturn abort ci-deploy

Exit code 6: it is given up, and the key it had made is gone; 1: sinks hold the new key already.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("rotation", metavar="ID", help="a rotation, or the user whose it is")
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    with opened_room(options) as room:
        found = room.find(options.rotation)
        engine = room.engine_of(found)
        engine.wish(found.progress.rotation_id, abort=True)
        return carry_on(room, found, waits=False)
