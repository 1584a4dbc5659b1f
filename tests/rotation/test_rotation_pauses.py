"""Rotators that are stopped (SIGSTOP) for as long as it takes others to try, and woken: nobody is left without a key.

With one state directory the stopped one keeps the user's lock, and nobody takes over; with two, which know nothing
of each other, whoever comes second finds the world changed and does no harm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from living_authority import LivingAuthority
from rotation.rotation_cases import Case, begun, journal_anew, require_end_state

CHILD = Path(__file__).parent / "children" / "stopping_rotator.py"
IS_LONG = os.environ.get("KEYTURN_FAULTS") == "long"
PAUSES = 500 if IS_LONG else 6
BOUNDARIES = 42
"""As many as a rotation with three sinks has, or a few more: what is beyond the end stops nobody."""
LOCKED = 7


class Rotators:
    """Hands cases to processes that are stopped."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, case: Case, other: Path, *, stop_at: int, kill: bool = False) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = {
            "first": told_of(case, case.directory),
            "second": told_of(case, other),
            "stop_at": stop_at,
            "kill": kill,
        }
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def run_alone(self, case: Case, state: Path) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = {"first": told_of(case, state), "second": None, "stop_at": 0, "kill": False}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def close(self) -> None:
        self.process.communicate()


def told_of(case: Case, state: Path) -> dict[str, Any]:
    return {
        "state": str(state),
        "config": str(case.directory / "keyturn.toml"),
        "rotation": state.name,
        "environment": case.environment,
    }


@pytest.fixture(scope="module")
def rotators() -> Iterator[Rotators]:
    found = Rotators()
    yield found
    found.close()


def where_to_stop(number: int) -> int:
    """Spread over the whole rotation in a short run; every boundary, again and again, in a long one."""
    return 1 + (number if IS_LONG else number * 7 + 2) % BOUNDARIES


@pytest.mark.faults
def test_a_rotator_that_is_stopped_and_woken_keeps_its_lock_and_nobody_loses_a_key(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators
) -> None:
    stopped = 0
    for number in range(PAUSES):
        case = begun(shared_authority, tmp_path / f"paused-{number}", f"paused-{number}")
        answer = rotators.run(case, case.directory, stop_at=where_to_stop(number))
        if answer["stopped"]:
            stopped += 1
            assert answer["second"] == LOCKED, answer
        assert answer["first"] == 0, (answer, case.boundaries()[-1])
        require_end_state(case)
    assert stopped > PAUSES // 2


@pytest.mark.faults
@pytest.mark.parametrize("kill", [False, True])
def test_of_two_rotators_with_separate_states_neither_takes_a_key_from_anybody(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators, *, kill: bool
) -> None:
    for number in range(PAUSES // 2):
        user = f"raced-{number}-{kill}".lower()
        case = begun(shared_authority, tmp_path / user, user)
        other = tmp_path / f"{user}-other"
        journal_anew(shared_authority, other, user, case.old, rotation_id=other.name)
        answer = rotators.run(case, other, stop_at=where_to_stop(number), kill=kill)
        # At this very instant every sink holds a key that the authority accepts.
        assert all(case.accepts(pair) for pair in case.held().values()), answer
        # Each that needs somebody, or was killed, is started again; whose old key is gone says so and ends.
        for state in (other, case.directory) * 2:
            rotators.run_alone(case, state)
            assert all(case.accepts(pair) for pair in case.held().values()), answer
        require_end_state(case)
