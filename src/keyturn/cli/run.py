"""`keyturn run`: one tick, for cron or a timer: whatever is due is carried on, whatever is old enough is begun."""

from __future__ import annotations

import argparse
import json

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import opened_room, reach_in
from keyturn.model.clock import iso8601

_EXAMPLES = """examples:
  keyturn run
  keyturn run --output json
  */5 * * * *  keyturn run --quiet

Where [schedule] has `unused_after`, keys that nobody uses are told of, and deactivated after the notice.
Rotations are begun only where keyturn.toml has a [schedule] with `every`, and inside its windows.
Exit code 0: nothing is open; 3: something waits; 5: somebody is needed; 75: something failed and is tried again.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "--parallel", type=int, default=8, metavar="N", help="rotations at a time; default: 8"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing unless somebody is needed")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    add_endpoint_options(parser)
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    from keyturn.rotation.fleet import tick

    with opened_room(options) as room:
        done = tick(room, reach_in(options), parallel=options.parallel)
    if options.output == "json":
        content = {
            "advanced": done.advanced,
            "begun": list(done.begun),
            "blocked": dict(done.blocked),
            "failed": dict(done.failed),
            "need_somebody": done.need_somebody,
            "noticed": list(done.noticed),
            "deactivated": list(done.deactivated),
            "next_at": None if done.next_at is None else iso8601(done.next_at),
        }
        terminal.result(json.dumps(content))
    elif not options.quiet or done.need_somebody or done.failed:
        until = "nothing is open" if done.next_at is None else f"next at {iso8601(done.next_at)}"
        terminal.result(f"{done.advanced} advanced, {len(done.begun)} begun, {until}")
        for words, keys in (("told to be unused", done.noticed), ("deactivated, unused", done.deactivated)):
            for key in keys:
                terminal.result(f"{key} {words}")
    for name, why in (*done.blocked, *done.failed):
        terminal.say(f"{name}: {why}")
    if done.failed or not done.is_told:
        return terminal.TRY_AGAIN
    if done.need_somebody or done.blocked:
        return terminal.NEEDS_SOMEBODY
    return terminal.OK if done.next_at is None else terminal.WAITING
