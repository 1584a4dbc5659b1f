"""A first start that is killed anywhere is finished by the next: one instance, one master key, one administrator key."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "children" / "first_start.py"


def kill_at_steps(directory: Path, most: int) -> None:
    directory.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(CHILD), str(directory), str(most)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    unharmed, *killed = [json.loads(line) for line in done.stdout.splitlines()]
    assert unharmed["first"] == 0
    assert len(killed) >= min(most // 2, 100)
    for kill in killed:
        assert (kill["first"], kill["second"]) == (-signal.SIGKILL, 0), kill
    for kill in [unharmed, *killed]:
        check(kill["found"])


def check(found: dict[str, object]) -> None:
    """What the second start left: one of everything, and no other file that could hold a secret."""
    instances = found["instances"]
    assert isinstance(instances, list)
    (instance,) = instances
    assert found["keys"] == found["issued"] == [found["credentials"]]
    assert str(found["caller"]).endswith(":user/administrator")
    assert found["events"] == ["CreateInstance"]
    assert found["private files"] == [f"{instance}.credentials", f"{instance}.key"]
    marks = found["marks"]
    assert isinstance(marks, list)
    assert f"{instance}.mark" in marks


def test_a_first_start_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    kill_at_steps(tmp_path / "starts", 16)


@pytest.mark.faults
@pytest.mark.timeout(1_200)
@pytest.mark.skipif(os.environ.get("KEYTURN_FAULTS") != "long", reason="the long form: KEYTURN_FAULTS=long")
def test_a_first_start_killed_at_every_step_is_finished_by_the_next(tmp_path: Path) -> None:
    kill_at_steps(tmp_path / "starts", 100_000)
