"""What the verbs of a rotation share: where the room lies, how one is told, how it is carried on in the foreground.

Nothing here loads a client before a verb needs one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keyturn.cli import terminal
from keyturn.cli.endpoint_options import told_as_sentences
from keyturn.cli.room_options import state_directory

if TYPE_CHECKING:
    from keyturn.aws_clients import Reach
    from keyturn.rotation.engine import Outcome
    from keyturn.rotation.progress import Progress
    from keyturn.rotation.room import Room
    from keyturn.rotation.storage.journal import Rotation

FOREGROUND_MS: Final = 30_000
PATIENCE_MS = 15_000
"""A step that is further away, or no progress for so long, is left to `keyturn run`, a timer or a server."""


def reach_in(options: argparse.Namespace) -> Reach:
    """The endpoint that the options name, as far as they do."""
    from keyturn.aws_clients import Reach

    region = options.region or os.environ.get("AWS_REGION")
    return Reach(options.endpoint_url, options.profile, region)


@contextmanager
def opened_room(options: argparse.Namespace) -> Iterator[Room]:
    """The room, opened for writing; what an endpoint refuses becomes a sentence for the user."""
    from pathlib import Path

    from keyturn.rotation.configuration import read_configuration
    from keyturn.rotation.room import Room, Where
    from keyturn.settings import Locations, configuration_file

    configuration = read_configuration(configuration_file(vars(options)))
    where = Where(Path(state_directory(options)), Locations.of(os.environ).config)
    with Room(where, configuration, environment=os.environ) as room, told_as_sentences():
        yield room


def carry_on(room: Room, rotation: Rotation, *, waits: bool) -> int:
    """Advance in the foreground for as long as the next step is near, or to the end; the exit code."""
    from threading import Event

    from keyturn.rotation.engine import Ended

    rotation_id, pause = rotation.progress.rotation_id, Event()
    last = ""
    said: set[str] = set()
    progressed_at = room.state.clock.now_ms()

    def tell(progress: Progress) -> None:
        nonlocal progressed_at
        line = _line(progress)
        if line not in said:
            said.add(line)
            progressed_at = room.state.clock.now_ms()
            terminal.say(f"  {line}")

    try:
        while True:
            outcome = room.advance(rotation, told=tell)
            now = room.state.clock.now_ms()
            if outcome.ended is not Ended.WAITING:
                break
            if outcome.why != last:
                terminal.say(f"  … {outcome.why}")
                last = outcome.why
            is_near = outcome.progress.next_at - now <= FOREGROUND_MS and now - progressed_at <= PATIENCE_MS
            if not waits and not is_near:
                terminal.say(f"nothing is lost if you leave: `keyturn run` carries {rotation_id} on")
                break
            pause.wait(max(0.05, (outcome.progress.next_at - now) / 1000))
    except KeyboardInterrupt:
        terminal.say(f"\nnothing is lost: keyturn resume {rotation_id}")
        return terminal.INTERRUPTED
    return told(outcome)


def told(outcome: Outcome) -> int:
    """The last line of a verb that advanced a rotation, and its exit code."""
    from keyturn.rotation.engine import Ended

    progress = outcome.progress
    match outcome.ended:
        case Ended.DONE:
            terminal.result(
                f"{progress.rotation_id} done: {progress.user_name} {arrow(progress)} ({outcome.why})"
            )
            return terminal.OK
        case Ended.ROLLED_BACK | Ended.ABORTED:
            terminal.result(f"{progress.rotation_id} {outcome.ended.value}: {outcome.why}")
            return terminal.UNDONE
        case Ended.ATTENTION:
            terminal.result(f"{progress.rotation_id} needs somebody: {progress.attention}")
            return terminal.NEEDS_SOMEBODY
        case _:
            terminal.result(f"{progress.rotation_id} {progress.stage.value}: {outcome.why}")
            return terminal.WAITING


def arrow(progress: Progress) -> str:
    return f"{progress.old_key or 'no key'} -> {progress.new_key or 'no key'}"


def _line(progress: Progress) -> str:
    ready = sum(sink.stage.value in {"confirmed", "reloaded"} for sink in progress.sinks)
    sinks = f", sinks {ready}/{len(progress.sinks)}" if progress.sinks else ""
    new = f" {progress.new_key}" if progress.new_key else ""
    proofs = (
        f", proved {progress.proofs} times" if progress.proofs and progress.stage.value == "prove" else ""
    )
    return f"{progress.stage.value}{new}{proofs}{sinks}"
