"""What `keyturn status` and `keyturn --help` cost beside an interpreter that does nothing: CPU seconds, user and system.

`status` reads a state file with open rotations. Contestants take turns, and what counts are ratios within a round.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from figures import Target, interleaved, machine, print_rounds, print_targets, ratio
from keyturn.model.access_keys import AccessKeyId, AccountId
from keyturn.model.clock import SystemClock
from keyturn.rotation.progress import Progress, SinkProgress, Stage, Terms
from keyturn.rotation.state import open_state
from keyturn.rotation.storage import journal

ROUNDS = 20
OPEN_ROTATIONS = 10
MOST = 3.0


def cpu_of(arguments: list[str], environment: Mapping[str, str]) -> Callable[[], float]:
    """CPU microseconds of one run."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, check=False, stdout=subprocess.DEVNULL, env=dict(environment))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e6

    return run


def fill(home: Path) -> None:
    state = open_state(
        home / ".local/state/keyturn/rotations",
        home / ".config/keyturn",
        clock=SystemClock(),
        random_bytes=os.urandom,
    )
    now = state.clock.now_ms()
    waiting = Progress(
        "",
        AccountId("123456789012"),
        "",
        AccessKeyId("AKIAIOSFODNN7EXAMPLE"),
        now,
        Terms(),
        stage=Stage.ADOPT,
        sinks=(SinkProgress("profile"), SinkProgress("vault")),
        waiting_for="the old key is to be quiet",
        next_at=now + 3_600_000,
    )
    with state.database.writing() as ledger:
        for number in range(OPEN_ROTATIONS):
            one = replace(waiting, rotation_id=f"{number:08x}", user_name=f"user-{number}")
            journal.add(ledger, one, endpoint="", region="", profile="")
    state.close()


def main() -> None:
    program = str(Path(sys.executable).parent / "keyturn")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home)
        environment = {"HOME": folder, "PATH": os.environ["PATH"]}
        contestants = {
            "python -c pass": cpu_of([sys.executable, "-c", "pass"], environment),
            "keyturn --help": cpu_of([program, "--help"], environment),
            "keyturn status": cpu_of([program, "status"], environment),
        }
        interleaved(2, contestants)  # what has to be compiled is compiled
        figures = interleaved(ROUNDS, contestants)
    print(f"CPU µs a run, {OPEN_ROTATIONS} open rotations; {machine()}")
    print_rounds("CPU µs", figures)
    nothing = figures["python -c pass"]
    print_targets(
        [
            Target(
                f"{MOST:.0f} times an interpreter that does nothing / {name}",
                MOST / ratio(figures[name], nothing),
                1.0,
            )
            for name in ("keyturn --help", "keyturn status")
        ]
    )
    for name in ("keyturn --help", "keyturn status"):
        print(f"  {name}: {ratio(figures[name], nothing):.2f} times `python -c pass`")


if __name__ == "__main__":
    main()
