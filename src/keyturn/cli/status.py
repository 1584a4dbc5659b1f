"""`keyturn status`: open rotations, what each waits for, and until when. Reads the journal and nothing else.

It is asked often, so it loads as little as it can: see `rotation.storage.glance`.
"""

from __future__ import annotations

import time

from keyturn.cli import terminal
from keyturn.cli.room_options import add_room_options, state_directory
from keyturn.model.errors import KeyturnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from keyturn.rotation.storage.glance import Summary
    from keyturn.rotation.storage.journal import Event, Rotation

    Sinks = Mapping[str, Sequence[tuple[str, str]]]

_EXAMPLES = """examples:
  keyturn status
  keyturn status 8f2c0d1e
  keyturn status --watch
  keyturn status --finished --output json

Exit code 0: nothing is open; 3: something waits; 5: somebody is needed.
"""
_WATCH_SECONDS = 1.0
_MOST_FINISHED = 20
_STAGES = ("create", "prove", "deliver", "adopt", "watch", "done")
_BAR = 20
_SIGNS = {"pending": "·", "writing": "…", "confirmed": "✔", "reloaded": "✔", "restored": "↩"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("rotation", metavar="ID", nargs="?", help="with its record: every intent and outcome")
    parser.add_argument("--watch", action="store_true", help="show it anew each second until you leave")
    parser.add_argument("--finished", action="store_true", help="the last ones that are over, too")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    add_room_options(parser)


class Plain:
    """The options of `keyturn status` alone, as the parser would give them: a prompt need not wait for one."""

    rotation = None
    watch = finished = False
    output = "table"
    config = state_dir = None


def run(options: argparse.Namespace | Plain) -> int:
    if not options.watch:
        return _once(options)
    from threading import Event

    never = Event()
    try:
        while True:
            if terminal.is_for_a_person():
                terminal.result("\x1b[H\x1b[2J")
            code = _once(options)
            if never.wait(_WATCH_SECONDS):
                return code
    except KeyboardInterrupt:
        return terminal.OK


def _once(options: argparse.Namespace | Plain) -> int:
    rotations, sinks, events = _read(options)
    if options.output == "json":
        import json

        for rotation in rotations:
            terminal.result(json.dumps(_as_json(rotation, sinks, events)))
    else:
        for rotation in rotations:
            _show(rotation, sinks)
        _show_events(events)
        if not rotations:
            terminal.result("no rotation is open")
    open_ones = [each for each in rotations if each["finished_at"] is None]
    if any(each["attention"] for each in open_ones):
        return terminal.NEEDS_SOMEBODY
    return terminal.WAITING if open_ones else terminal.OK


def _read(options: argparse.Namespace | Plain) -> tuple[Sequence[Summary], Sinks, Sequence[Event]]:
    directory = state_directory(options)
    if not options.rotation and not options.finished:
        from keyturn.rotation.storage.glance import open_rotations

        return *open_rotations(directory), ()
    found, events = _looked_up(directory, options.rotation)
    sinks = {
        each.progress.rotation_id: [(sink.name, sink.stage.value) for sink in each.progress.sinks]
        for each in found
    }
    return [_summary(each) for each in found], sinks, events


def _looked_up(directory: str, rotation: str | None) -> tuple[Sequence[Rotation], Sequence[Event]]:
    """One with its record, or all with those that are over."""
    from pathlib import Path

    from keyturn.rotation.storage import journal
    from keyturn.rotation.storage.reading import reading_state

    with reading_state(Path(directory)) as ledger:
        if ledger is None:
            if rotation:
                raise KeyturnError(f"{rotation} is no rotation: there has been none yet", "keyturn plan USER")
            return (), ()
        if not rotation:
            return [*journal.open_ones(ledger), *journal.latest(ledger, _MOST_FINISHED)], ()
        found = journal.by_prefix(ledger, rotation)
        if len(found) != 1:
            what = "is more than one rotation" if found else "is no rotation"
            raise KeyturnError(f"{rotation} {what}", "keyturn status --finished shows their ids")
        return found, journal.events(ledger, found[0].progress.rotation_id)


def _summary(rotation: Rotation) -> Summary:
    progress = rotation.progress
    return {
        "rotation_id": progress.rotation_id,
        "user_name": progress.user_name,
        "account_id": progress.account_id,
        "endpoint": rotation.endpoint,
        "stage": progress.stage.value,
        "next_at": progress.next_at,
        "started_at": progress.started_at,
        "finished_at": rotation.finished_at,
        "old_key": progress.old_key,
        "new_key": progress.new_key,
        "waiting_for": progress.waiting_for,
        "attention": progress.attention,
        "wish": progress.wish.value,
    }


def _show(rotation: Summary, sinks: Sinks) -> None:
    whose = f"{rotation['user_name']}  {rotation['rotation_id']}"
    keys = f"{rotation['old_key'] or 'no key'} -> {rotation['new_key'] or 'no key'}"
    if rotation["finished_at"] is not None:
        from keyturn.model.clock import iso8601

        terminal.result(f"{whose}  {rotation['stage']} at {iso8601(int(rotation['finished_at']))}  {keys}")
        return
    stage = str(rotation["stage"])
    paused = ", paused" if rotation["wish"] == "pause" else ""
    terminal.result(f"{whose}  {_bar(stage)}  {stage}{paused}")
    if rotation["waiting_for"]:
        looks = f"(looks again {_until(int(rotation['next_at'] or 0))}; safe to close this)"
        terminal.result(f"  … {rotation['waiting_for']}  {looks}")
    if rotation["new_key"] or rotation["old_key"]:
        terminal.result(f"  {keys}")
    own = sinks.get(str(rotation["rotation_id"]), ())
    if own:
        terminal.result("  " + " ".join(f"{_SIGNS.get(at, '?')} {name}" for name, at in own))
    if rotation["attention"]:
        terminal.result(f"  ⚠ {rotation['attention']}")


def _show_events(events: Sequence[Event]) -> None:
    if events:
        from keyturn.model.clock import iso8601

        for event in events:
            terminal.result(f"  {iso8601(event.at)}  {event.kind:<9}  {event.what}")


def _bar(stage: str) -> str:
    """How far it is: `███████████████░░░░░  4/6`."""
    number = _STAGES.index(stage) + 1 if stage in _STAGES else 0
    filled = _BAR * number // len(_STAGES)
    return "█" * filled + "░" * (_BAR - filled) + f"  {number}/{len(_STAGES)}"


def _until(at: int) -> str:
    left = at - time.time_ns() // 1_000_000
    return f"in {terminal.age(left)}" if left > 0 else "at the next `keyturn run`"


def _as_json(rotation: Summary, sinks: Sinks, events: Sequence[Event]) -> Mapping[str, object]:
    from keyturn.model.clock import iso8601

    def told(at: str | int | None) -> str | None:
        return None if at is None else iso8601(int(at))

    content: dict[str, object] = {name: each for name, each in rotation.items() if name != "schema_version"}
    content |= {name: told(rotation[name]) for name in ("next_at", "started_at", "finished_at")}
    content["sinks"] = dict(sinks.get(str(rotation["rotation_id"]), ()))
    if events:
        content["events"] = [
            {"at": iso8601(event.at), "kind": event.kind, "what": event.what} for event in events
        ]
    return content
