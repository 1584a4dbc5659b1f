"""`keyturn pause`: a rotation stands still until it is resumed. An inactive key goes on being watched."""

from __future__ import annotations

import argparse

from keyturn.cli import terminal
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import opened_room
from keyturn.rotation.progress import Progress

_EXAMPLES = """examples:
  keyturn pause 8f2c0d1e
  keyturn pause ci-deploy
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
        progress: Progress = engine.wish(found.progress.rotation_id, pause=True)
    terminal.result(
        f"{progress.rotation_id} is paused in {progress.stage.value}: keyturn resume {progress.rotation_id}"
    )
    return terminal.OK
