"""Killed with -9 after every single effect and between every two steps: nothing is lost, nothing is left behind.

On a real authority, with real sinks: a credentials file, a `.env` file and a secret in its own secrets manager.
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
from rotation.rotation_cases import Case, begun, require_end_state

CHILD = Path(__file__).parent / "children" / "dying_rotator.py"
IS_LONG = os.environ.get("KEYTURN_FAULTS") == "long"
TIMES = 20 if IS_LONG else 1


class Rotators:
    """Hands cases to processes that die."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, case: Case, *, die_at: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        told = {
            "state": str(case.directory),
            "config": str(case.directory / "keyturn.toml"),
            "rotation": case.rotation_id,
            "die_at": die_at,
            "environment": case.environment,
        }
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def rotators() -> Iterator[Rotators]:
    found = Rotators()
    yield found
    found.close()


@pytest.mark.faults
def test_killed_at_every_boundary_a_rotation_still_ends_with_one_key_in_every_sink(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators
) -> None:
    whole = begun(shared_authority, tmp_path / "whole", "whole")
    assert rotators.run(whole, die_at=0) == {"signal": None, "code": 0}
    require_end_state(whole)
    boundaries = whole.boundaries()
    assert {"after:create", "after:write:vaulted", "after:deactivate", "after:delete"} <= set(boundaries)
    for number, name in enumerate(boundaries, 1):
        # In short: after each effect, when its outcome is on no record, and a sample of the rest.
        if not (IS_LONG or name.startswith("after:") or number % 5 == 0):
            continue
        for time in range(TIMES):
            user = f"killed-{number}-{time}"
            case = begun(shared_authority, tmp_path / user, user)
            died = rotators.run(case, die_at=number)
            at = case.boundaries()[-1]
            assert died["signal"] == 9, (at, died)
            # At this very instant every sink holds a key that the authority accepts.
            assert all(case.accepts(pair) for pair in case.held().values()), at
            assert rotators.run(case, die_at=0) == {"signal": None, "code": 0}, at
            require_end_state(case)


def test_killed_again_and_again_it_still_arrives(
    shared_authority: LivingAuthority, tmp_path: Path, rotators: Rotators
) -> None:
    case = begun(shared_authority, tmp_path / "again", "again")
    for die_at in (3, 2, 4, 3, 2, 5, 3, 2, 3, 4, 3, 6):
        if rotators.run(case, die_at=die_at)["signal"] is None:
            break
    rotators.run(case, die_at=0)
    require_end_state(case)
