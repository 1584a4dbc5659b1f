"""`keyturn apply`: begin what was planned, and carry it on for as long as the next step is near."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.cli import rotations, terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.output import plain
from keyturn.cli.plan import add_selection, chosen, show, terms_in
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import FOREGROUND_MS, carry_on, opened_room, reach_in
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.rotation.planning import Plan
    from keyturn.rotation.room import Room

_EXAMPLES = """examples:
  keyturn apply ci-deploy
  keyturn apply plan.json --auto-approve
  keyturn apply --all --older 90d --auto-approve
  keyturn apply ci-deploy --wait
  keyturn apply ci-deploy --adopt AKIAIOSFODNN7EXAMPLE

`--adopt OLDKEY` is for a state file that was lost on the way: the sinks tell which key is the new one, and the rotation
of OLDKEY goes on from there.
It asks once. Whatever ends it (Ctrl-C, a crash, a reboot), nothing is lost: `keyturn resume`, `keyturn run` from
cron, or a running `keyturn serve` go on where it stopped.
Exit code 0: done; 3: waiting; 5: somebody is needed; 6: undone; 7: another process is at it; 130: you left.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_selection(parser)
    parser.add_argument("--auto-approve", action="store_true", help="do not ask")
    parser.add_argument("--wait", action="store_true", help="stay until it is done, or somebody is needed")
    parser.add_argument(
        "--parallel", type=int, default=8, metavar="N", help="rotations at a time; default: 8"
    )
    parser.add_argument(
        "--adopt", metavar="KEYID", help="take up the rotation of this old key, whose record is lost"
    )
    add_endpoint_options(parser)
    add_room_options(parser)


def run(options: argparse.Namespace) -> int:
    with opened_room(options) as room:
        if options.adopt:
            return _adopt(room, options)
        plan = _plan(room, options)
        show(plan)
        if not plan.ready:
            return terminal.NEEDS_SOMEBODY if plan.entries else terminal.OK
        if not options.auto_approve and not terminal.asks("start? only 'yes' is accepted:", "yes"):
            terminal.say("nothing has been changed")
            return terminal.CHANGES
        terms = terms_in(options)
        begun = [room.begin(plan, entry, terms=terms) for entry in plan.ready]
        if len(begun) == 1:
            return carry_on(room, room.find(begun[0]), waits=options.wait)
        return _all(room, begun, options)


def _adopt(room: Room, options: argparse.Namespace) -> int:
    if len(options.users) != 1 or options.all or options.older:
        raise KeyturnError("whose rotation is it?", "keyturn apply USER --adopt OLDKEYID")
    rotation = room.find(room.adopt(options.users[0], AccessKeyId(options.adopt), reach_in(options)))
    terminal.say(f"{rotation.progress.old_key} -> {rotation.progress.new_key}, as the sinks hold it")
    return carry_on(room, rotation, waits=options.wait)


def _plan(room: Room, options: argparse.Namespace) -> Plan:
    from keyturn.rotation.planning import read_plan

    files = [name for name in options.users if name.endswith(".json")]
    if not files:
        return chosen(room, options)
    if len(options.users) != 1 or options.all or options.older:
        raise KeyturnError("a plan file is applied alone", "its users stand in it")
    plan = read_plan(Path(files[0]))
    _check_is_meant(plan, options)
    return plan


def _check_is_meant(plan: Plan, options: argparse.Namespace) -> None:
    """Whoever may write the file says where new keys come from; what the command line says of it holds."""
    from keyturn.aws_clients import is_aws_host

    endpoint = options.endpoint_url
    if endpoint is not None and is_aws_host(endpoint):
        endpoint = ""  # as a plan names it
    for option, wanted, planned in (
        ("--endpoint-url", endpoint, plan.endpoint),
        ("--profile", options.profile, plan.profile),
    ):
        if wanted is not None and wanted.rstrip("/") != planned.rstrip("/"):
            raise KeyturnError(
                f"the plan was made with {option} {plain(planned) or 'left out'}, and not {plain(wanted) or 'AWS'}",
                "make it again with `keyturn plan`, or leave the option out",
            )


def _stand(room: Room, rotation_id: str) -> object:
    progress = room.find(rotation_id).progress
    return progress.stage, progress.proofs, [sink.stage for sink in progress.sinks]


def _all(room: Room, rotation_ids: list[str], options: argparse.Namespace) -> int:
    """Many at once: each as far as it goes, and again when the next is due, until all wait for longer."""
    from threading import Event

    from keyturn.rotation.engine import Ended
    from keyturn.rotation.fleet import advance_all

    ends: dict[str, Ended] = {}
    pause = Event()
    show_progress = terminal.progress("rotations done or waiting")
    stages: list[object] = []
    progressed_at = room.state.clock.now_ms()
    try:
        while True:
            going = [each for each in rotation_ids if ends.get(each, Ended.WAITING) is Ended.WAITING]
            _, failed = advance_all(room, going, parallel=options.parallel, told=ends.__setitem__)
            show_progress(len(rotation_ids) - len(failed), len(rotation_ids))
            waits = [
                room.find(each).progress.next_at for each in going if ends.get(each) in {None, Ended.WAITING}
            ]
            if not waits:
                break
            now = room.state.clock.now_ms()
            stands = [_stand(room, each) for each in rotation_ids]
            if stands != stages:
                stages, progressed_at = stands, now
            left = min(waits) - now
            if not options.wait and (left > FOREGROUND_MS or now - progressed_at > rotations.PATIENCE_MS):
                terminal.say("nothing is lost if you leave: `keyturn run` carries them on")
                break
            pause.wait(max(0.05, left / 1000))
    except KeyboardInterrupt:
        terminal.say("\nnothing is lost: `keyturn run` carries them on")
        return terminal.INTERRUPTED
    counts = {end.value: sum(each is end for each in ends.values()) for end in Ended}
    terminal.result(", ".join(f"{count} {name}" for name, count in counts.items() if count))
    if counts["attention"]:
        return terminal.NEEDS_SOMEBODY
    if counts["rolled-back"] or counts["aborted"]:
        return terminal.UNDONE
    return terminal.WAITING if counts["waiting"] else terminal.OK
