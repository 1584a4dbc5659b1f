"""`keyturn resume`: go on with a rotation that was paused, left, or that needed somebody."""

from __future__ import annotations

import argparse
import dataclasses

from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import carry_on, opened_room
from keyturn.rotation.progress import Terms

_EXAMPLES = """examples:
  keyturn resume 8f2c0d1e
  keyturn resume ci-deploy --wait
  keyturn resume 8f2c0d1e --allow-delete
  keyturn resume 8f2c0d1e --deliver-again

Sinks that refused are asked again. Exit codes as of `keyturn apply`.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("rotation", metavar="ID", help="a rotation, or the user whose it is")
    parser.add_argument(
        "--allow-delete", action="store_true", help="the old key may be deleted: no way back then"
    )
    parser.add_argument("--allow-deactivate", action="store_true", help="the old key may be deactivated")
    parser.add_argument("--deliver-again", action="store_true", help="write every sink anew")
    parser.add_argument("--wait", action="store_true", help="stay until it is done, or somebody is needed")
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    def terms(given: Terms) -> Terms:
        return dataclasses.replace(
            given,
            may_delete=given.may_delete or options.allow_delete,
            may_deactivate=given.may_deactivate or options.allow_deactivate,
        )

    with opened_room(options) as room:
        found = room.find(options.rotation)
        engine = room.engine_of(found)
        engine.wish(found.progress.rotation_id, terms=terms, deliver_again=options.deliver_again)
        return carry_on(room, found, waits=options.wait)
