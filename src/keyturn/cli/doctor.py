"""`keyturn doctor`: whether a rotation could start here, step by step, without changing anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import add_endpoint_options, opened_endpoint
from keyturn.cli.output import Cell, Column, add_output_option, show
from keyturn.cli.room_options import add_room_options, state_directory
from keyturn.cli.rotations import opened_room, reach_in
from keyturn.model.errors import KeyturnError

if TYPE_CHECKING:
    from keyturn.rotation.iam_endpoint import IamEndpoint

_EXAMPLES: Final = """examples:
  keyturn doctor
  keyturn doctor --user ci-deploy
  keyturn doctor --endpoint-url http://127.0.0.1:4590 --output json

Nothing is changed. Exit code 0: nothing stands in the way; 3: something does; 1: could not be looked at.
"""
_MOST_SKEW_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_LATE_MS: Final = 3_600_000
_LATEST: Final = 1_000
_AT_ONCE: Final = 8

_COLUMNS: Final = (Column("Check", "check"), Column("State", "state"), Column("What was found", "found"))


class Check(NamedTuple):
    """One answer. `is_well` None: it could not be found out, or it is for somebody to judge."""

    name: str
    is_well: bool | None
    found: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "--user", metavar="USER", help="whose keys; default: whoever signs, or the first user"
    )
    add_endpoint_options(parser)
    add_room_options(parser)
    add_output_option(parser, ids=False)


def run(options: argparse.Namespace) -> int:
    checks: list[Check] = []
    with opened_endpoint(options) as endpoint:
        for ask in (_endpoint, _clock, _identity, _permissions, _other_rotators):
            checks += _answered(ask, endpoint, options)
    checks += [*_state(options), *_journal(options), *_configuration(options)]
    words = {True: "ok", False: "wrong", None: "look"}
    rows = [
        {
            "check": Cell(check.name),
            "state": Cell(words[check.is_well]),
            "found": Cell(check.found),
        }
        for check in checks
    ]
    show(_COLUMNS, rows, options.output)
    wrong = sum(check.is_well is False for check in checks)
    terminal.say(f"{wrong} of {len(checks)} checks are wrong" if wrong else "nothing stands in the way")
    return terminal.FOUND if wrong else terminal.OK


def _answered(
    ask: Callable[[IamEndpoint, argparse.Namespace], Iterator[Check]],
    endpoint: IamEndpoint,
    options: argparse.Namespace,
) -> list[Check]:
    """What one check says, or why it got no answer."""
    from keyturn.rotation.endpoint import EndpointError

    checks: list[Check] = []
    try:
        checks.extend(ask(endpoint, options))
    except EndpointError as error:
        checks.append(Check(ask.__name__.strip("_").replace("_", " "), is_well=False, found=str(error)))
    return checks


def _endpoint(endpoint: IamEndpoint, _options: argparse.Namespace) -> Iterator[Check]:
    traits = endpoint.traits()
    promised = {
        "a change of a key holds at once": traits.exact_revocation,
        "attempts with a deactivated key are reported": traits.reports_refused_attempts,
        "creating may be repeated": traits.idempotent_create,
    }
    kept = [words for words, is_kept in promised.items() if is_kept]
    rules = (
        "; ".join(kept)
        if kept
        else "the rules of AWS: changes take seconds, and refused attempts are not seen"
    )
    yield Check("endpoint", is_well=True, found=f"{endpoint.url or 'AWS'}: {rules}")


def _clock(endpoint: IamEndpoint, _options: argparse.Namespace) -> Iterator[Check]:
    offset = endpoint.clock_offset_ms()
    if not offset:
        yield Check("clock", is_well=True, found="in step with the endpoint's")
        return
    found = f"{abs(offset) // 1000} s {'behind' if offset > 0 else 'ahead of'} the endpoint's"
    if abs(offset) > _MOST_SKEW_MS:
        found += ": set it right, more than 60 s stops a rotation"
    yield Check("clock", is_well=abs(offset) <= _MOST_SKEW_MS, found=found)


def _identity(endpoint: IamEndpoint, _options: argparse.Namespace) -> Iterator[Check]:
    yield Check("identity", is_well=True, found=endpoint.identity().arn)


def _permissions(endpoint: IamEndpoint, options: argparse.Namespace) -> Iterator[Check]:
    arn = endpoint.identity().arn
    user_name = options.user or (arn.rpartition("/")[2] if ":user/" in arn else None)
    if user_name is None:
        user_name = next(iter(endpoint.users()), None)
    if user_name is None:
        yield Check("permissions", is_well=None, found="there is no user to ask about")
        return
    words = {True: "allowed", False: "not allowed", None: "could not be found out without doing it"}
    for permission in endpoint.permissions(user_name):
        told = f"{words[permission.is_allowed]} on {user_name}"
        yield Check(permission.action, is_well=permission.is_allowed, found=told)
    incident = endpoint.is_under_incident(user_name)
    if incident:
        yield Check("incident", is_well=False, found=f"a quarantine policy is on {user_name}")


def _other_rotators(endpoint: IamEndpoint, options: argparse.Namespace) -> Iterator[Check]:
    seen = endpoint.rotations_seen(since=endpoint.now_ms() - _DAY_MS)
    if seen is None:
        yield Check("other rotators", is_well=None, found="LookupEvents gave no answer")
        return
    own = _own_rotations(options)
    others = [rotation for rotation in seen if rotation.rotation_id not in own]
    sources = sorted({rotation.source for rotation in others})
    ours = f"; {len(seen) - len(others)} of our own" if len(others) < len(seen) else ""
    if sources:
        found = f"keys were created within a day by rotations that this journal does not know, from {', '.join(sources)}"
        yield Check("other rotators", is_well=None, found=found + ours)
    else:
        yield Check("other rotators", is_well=True, found=f"none within a day{ours}")


def _own_rotations(options: argparse.Namespace) -> set[str]:
    """The ids that this state file knows. A journal that can't be read has a check of its own."""
    import contextlib
    from pathlib import Path

    from keyturn.model.errors import StoreUnavailableError
    from keyturn.rotation.storage import journal
    from keyturn.rotation.storage.reading import reading_state

    with (
        contextlib.suppress(KeyturnError, StoreUnavailableError, OSError),
        reading_state(Path(state_directory(options))) as ledger,
    ):
        if ledger is not None:
            known = [*journal.open_ones(ledger), *journal.latest(ledger, _LATEST)]
            return {each.progress.rotation_id for each in known}
    return set()


def _state(options: argparse.Namespace) -> Iterator[Check]:
    """That the directory of the rotations' own file can be written; it is made by the first rotation."""
    import os
    from pathlib import Path

    directory = Path(state_directory(options))
    nearest = next(each for each in (directory, *directory.parents) if each.exists())
    is_writable = os.access(nearest, os.W_OK | os.X_OK)
    found = f"{directory} {'can be written' if is_writable else 'can not be written'}"
    yield Check("state", is_well=is_writable, found=found)


def _journal(options: argparse.Namespace) -> Iterator[Check]:
    """That it can be read, is of this version, and what is open in it."""
    import time

    from keyturn.model.errors import StoreUnavailableError
    from keyturn.rotation.storage.glance import open_rotations

    try:
        found, _ = open_rotations(state_directory(options))
    except (KeyturnError, StoreUnavailableError, OSError) as error:
        yield Check("journal", is_well=False, found=str(error))
        return
    now = time.time_ns() // 1_000_000
    needy = [each for each in found if each["attention"]]
    late = [each for each in found if now - int(each["next_at"] or 0) > _LATE_MS and each["wish"] != "pause"]
    open_ones = f"{len(found)} open" if found else "nothing is open"
    yield Check("journal", is_well=True, found=f"it can be read; {open_ones}")
    for each in needy:
        told = f"{each['rotation_id']} of {each['user_name']} needs somebody: {each['attention']}"
        yield Check("open rotations", is_well=None, found=told)
    if late:
        told = f"{len(late)} wait for `keyturn run` for more than an hour: is there a timer, or a server?"
        yield Check("open rotations", is_well=None, found=told)


def _configuration(options: argparse.Namespace) -> Iterator[Check]:
    """That keyturn.toml is right, and that every sink in it can be reached and written."""
    from keyturn.rotation.configuration import read_configuration
    from keyturn.settings import configuration_file

    try:
        configuration = read_configuration(configuration_file(vars(options)))
    except KeyturnError as error:
        yield Check("configuration", is_well=False, found=error.message)
        return
    if not configuration.sinks:
        told = f"{configuration.path} declares no sink: a new secret would reach nobody"
        yield Check("configuration", is_well=None, found=told)
        return
    told = f"{len(configuration.sinks)} sinks, {len(configuration.users)} users in {configuration.path}"
    yield Check("configuration", is_well=True, found=told)
    yield from _sinks(options)


def _sinks(options: argparse.Namespace) -> Iterator[Check]:
    from concurrent.futures import ThreadPoolExecutor

    from keyturn.rotation.room import Room
    from keyturn.rotation.sinks.interface import SinkError

    def tried(room: Room, name: str) -> Check:
        try:
            sink = room.sink(name, reach_in(options))
            sink.test()
        except (SinkError, KeyturnError) as error:
            return Check(f"sink {name}", is_well=False, found=str(error))
        return Check(f"sink {name}", is_well=True, found=f"{sink.describe().where} can be written")

    try:
        with opened_room(options) as room, ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(lambda name: tried(room, name), room.configuration.sinks)
    except KeyturnError as error:
        yield Check("sinks", is_well=False, found=error.message)
