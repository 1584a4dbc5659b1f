"""`keyturn plan`: what a rotation would do, and whether it may. Nothing is changed."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options
from keyturn.cli.room_options import add_room_options
from keyturn.cli.rotations import opened_room, reach_in
from keyturn.model.access_keys import AccessKeyId
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.rotation.planning import Plan
    from keyturn.rotation.progress import Terms
    from keyturn.rotation.room import Room

_EXAMPLES = """examples:
  keyturn plan ci-deploy
  keyturn plan --all --older 90d -o plan.json
  keyturn plan ci-deploy --free-slot AKIAIOSFODNN7EXAMPLE
  keyturn plan ci-deploy --output json

Exit code 0: nothing to do; 2: there is something to do; 5: something is due and blocked; 1: it failed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    add_selection(parser)
    parser.add_argument(
        "-o", "--output-file", metavar="FILE", help="write the plan there, for `keyturn apply`"
    )
    parser.add_argument("--output", choices=("table", "json"), default="table")
    add_endpoint_options(parser)
    add_room_options(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The options that choose users and terms."""
    parser.add_argument("users", metavar="USER", nargs="*")
    parser.add_argument("--all", action="store_true", help="every user that has sinks in keyturn.toml")
    parser.add_argument(
        "--older", metavar="AGE", help="only users with an active key older than this, as `90d`"
    )
    parser.add_argument("--key", metavar="KEYID", help="the key to replace, where a user has two")
    parser.add_argument("--free-slot", metavar="KEYID", help="this inactive, unused key may be deleted first")
    parser.add_argument("--allow-delete", action="store_true", help="delete the old key without asking again")
    parser.add_argument("--keep-inactive", metavar="TIME", help="from deactivation to deletion; default: 35d")
    parser.add_argument("--quiet", metavar="TIME", help="how long the old key must at least be quiet")


def chosen(room: Room, options: argparse.Namespace) -> Plan:
    """The plan that the options ask for. KeyturnError if they name nobody."""
    from keyturn.rotation.fleet import older_than

    reach = reach_in(options)
    users = list(dict.fromkeys(options.users))
    if options.all:
        users = users or list(room.configuration.users)
        if not users:
            raise KeyturnError(
                f"no user has sinks in {room.configuration.path}", 'write [users."NAME"] with sinks = [...]'
            )
    if options.older is not None:
        users = older_than(room, reach, length(options.older, "--older"), users or None)
    elif not users:
        raise KeyturnError("whose keys?", "name users, or --all, or --older 90d")
    if len(users) != 1 and (options.key or options.free_slot):
        raise KeyturnError("--key and --free-slot are for one user", "name that user alone")
    return room.plan(
        users,
        reach,
        free_slot=AccessKeyId(options.free_slot) if options.free_slot else None,
        old_key=AccessKeyId(options.key) if options.key else None,
        terms=terms_in(options),
    )


def terms_in(options: argparse.Namespace) -> Callable[[Terms], Terms]:
    """What the options change of the terms in keyturn.toml."""
    changes: dict[str, object] = {}
    for name in ("keep_inactive", "quiet"):
        text = getattr(options, name, None)
        if text is not None:
            changes[name] = length(text, f"--{name.replace('_', '-')}")
    if options.allow_delete:
        changes["may_delete"] = True
    return lambda terms: dataclasses.replace(terms, **changes)  # type: ignore[arg-type]  # names and kinds as above


def length(text: str, option: str) -> int:
    """A length of time in milliseconds, not 0."""
    from keyturn.rotation.configuration import duration

    found = duration(text)
    if not found:
        raise KeyturnError(f"{option} is a length of time such as 90s, 6h or 35d, and not '{text}'")
    return found


def run(options: argparse.Namespace) -> int:
    from keyturn.rotation.planning import write_plan

    with opened_room(options) as room:
        plan = chosen(room, options)
        if options.output == "json":
            terminal.result(json.dumps(dataclasses.asdict(plan), indent=2))
        else:
            show(plan)
        if options.output_file:
            write_plan(plan, Path(options.output_file))
            terminal.say(f"nothing has been changed; saved: {options.output_file}")
    if plan.ready:
        return terminal.CHANGES
    return terminal.NEEDS_SOMEBODY if plan.entries else terminal.OK


def show(plan: Plan) -> None:
    """The plan, for people."""
    from keyturn.rotation.planning import lines

    if not plan.entries:
        terminal.result("nothing to do")
        return
    profile = f", profile {plan.profile}" if plan.profile else ""
    terminal.result(f"account {plan.account_id}, endpoint {plan.endpoint or 'AWS'}{profile}")
    for entry in plan.entries:
        terminal.result(f"# user {entry.user_name}")
        if entry.blocked is not None:
            terminal.result(f"  ✗ {entry.blocked}")
            if entry.then:
                terminal.result(f"    {entry.then}")
            continue
        steps = lines(entry, plan)
        width = max(len(what) for _, _, what, _ in steps)
        for number, sign, what, how in steps:
            terminal.result(f"  {number:>2}  {sign} {what.ljust(width)}  {how}")
        for warning in entry.warnings:
            terminal.result(f"  ⚠ {warning}")
    ready = plan.ready
    sinks = sum(len(entry.sinks) for entry in ready)
    disabled = sum(entry.old_key is not None for entry in ready)
    blocked = len(plan.entries) - len(ready)
    text = f"plan: {len(ready)} to create, {sinks} sinks to write, {disabled} to disable and delete"
    terminal.result(text + (f", {blocked} blocked" if blocked else ""))
