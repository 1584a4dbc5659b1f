"""`keyturn rehearse`: deactivate a key for a while to hear who misses it; it comes back by itself."""

from __future__ import annotations

import argparse

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.plan import length
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import carry_on, opened_room, reach_in
from keyturn.model.access_keys import AccessKeyId

_EXAMPLES = """examples:
  keyturn rehearse ci-deploy --for 60s
  keyturn rehearse ci-deploy --key AKIAIOSFODNN7EXAMPLE --for 10m

The key is active again when the time is over, when the health check fails, when one who used it before tries it,
and when you press Ctrl-C; a crash is made up for by `keyturn run`. Exit code 0: it is over, and who missed the key
is named.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--key", metavar="KEYID", help="which one, where the user has two active keys")
    parser.add_argument("--for", dest="length", metavar="TIME", default="60s", help="default: 60s")
    parser.add_argument("--auto-approve", action="store_true", help="do not ask")
    add_endpoint_options(parser)
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    milliseconds = length(options.length, "--for")
    question = (
        f"{options.user}'s key will be refused for up to {options.length}. start? only 'yes' is accepted:"
    )
    if not options.auto_approve and not terminal.asks(question, "yes"):
        terminal.say("nothing has been changed")
        return terminal.CHANGES
    with opened_room(options) as room:
        key = AccessKeyId(options.key) if options.key else None
        rotation = room.find(room.rehearse(options.user, key, milliseconds, reach_in(options)))
        code = carry_on(room, rotation, waits=True)
        if code == terminal.INTERRUPTED:
            engine = room.engine_of(rotation)
            engine.wish(rotation.progress.rotation_id, pause=True)
            return carry_on(room, rotation, waits=True)
        return code
