"""`keyturn schedule`: what keyturn.toml says of when keys are rotated, who is due, and how `keyturn run` is timed."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.output import Cell, Column, add_output_option, show
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import opened_room, reach_in

_EXAMPLES = """examples:
  keyturn schedule
  keyturn schedule --output json
  keyturn schedule --cron | crontab -
  keyturn schedule --systemd

It is set in the table [schedule] of keyturn.toml:
  [schedule]
  every = "90d"
  windows = ["mon-thu 09:00-15:00"]
  max_parallel = 20
"""
_COLUMNS: Final = (
    Column("User", "user"),
    Column("Key", "access_key_id"),
    Column("Age", "age"),
    Column("Due", "due"),
)
_SYSTEMD: Final = """# ~/.config/systemd/user/keyturn-run.service
[Service]
Type=oneshot
ExecStart={keyturn} run --quiet
SuccessExitStatus=3 5 75

# ~/.config/systemd/user/keyturn-run.timer
[Timer]
OnCalendar=*:0/5
Persistent=true

[Install]
WantedBy=timers.target"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("--cron", action="store_true", help="print a crontab line that carries rotations on")
    parser.add_argument("--systemd", action="store_true", help="print a service and a timer that do")
    add_output_option(parser, ids=False)
    add_endpoint_options(parser)
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    from keyturn.cli.terminal import age
    from keyturn.rotation.fleet import is_open

    if options.cron:
        terminal.result(f"*/5 * * * * {sys.argv[0]} run --quiet")
        return terminal.OK
    if options.systemd:
        terminal.result(_SYSTEMD.format(keyturn=sys.argv[0]))
        return terminal.OK
    with opened_room(options) as room:
        schedule = room.configuration.schedule
        if schedule.every is None:
            terminal.say(
                f"nothing is begun by itself: [schedule] in {room.configuration.path} has no `every`"
            )
            return terminal.OK
        endpoint = room.endpoint(reach_in(options))
        now = endpoint.now_ms()
        rows = []
        for user in schedule.users or tuple(room.configuration.users):
            for key in endpoint.keys(user):
                old, left = now - key.created_at, key.created_at + schedule.every - now
                due = "now" if left <= 0 else f"in {age(left)}"
                rows.append(
                    {
                        "user": Cell(user),
                        "access_key_id": Cell(key.access_key_id),
                        "age": Cell(old // 1000, age(old)),
                        "due": Cell(max(0, left) // 1000, due),
                    }
                )
        is_now = "rotations may begin now" if is_open(schedule, now) else "no window is open now"
        terminal.say(f"every {age(schedule.every)}, at most {schedule.max_parallel} at a time; {is_now}")
        show(_COLUMNS, rows, options.output)
    return terminal.OK
