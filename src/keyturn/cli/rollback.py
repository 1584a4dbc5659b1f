"""`keyturn rollback`: every sink gets the old key back, and the new key goes. Possible until the old one is deleted."""

from __future__ import annotations

import argparse

from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import carry_on, opened_room

_EXAMPLES = """examples:
  keyturn rollback 8f2c0d1e
  keyturn rollback ci-deploy --wait

The old key is active again first, then the sinks are written back, then the new key falls quiet, is deactivated
and, after the same waiting time, deleted. Exit codes as of `keyturn apply`.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("rotation", metavar="ID", help="a rotation, or the user whose it is")
    parser.add_argument("--wait", action="store_true", help="stay until it is undone, or somebody is needed")
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    with opened_room(options) as room:
        found = room.find(options.rotation)
        engine = room.engine_of(found)
        engine.wish(found.progress.rotation_id, roll_back=True)
        return carry_on(room, found, waits=options.wait)
