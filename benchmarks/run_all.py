"""Runs every benchmark of this directory and gathers what must hold in one table.

A script is a program of its own; its target lines (`what  is  must  ok`) are read from its output. Exit code 0
also when a target is missed, for a shared machine proves little: 1 only if a script broke. `--draw` makes
`scale.py` draw its curves anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    "verify.py",
    "policy.py",
    "caller_identity.py",
    "own_service.py",
    "create_access_key.py",
    "scale.py",
    "rotations.py",
    "alerts.py",
    "start_up.py",
    "scan.py",
    "real_sources.py",
)
_TARGET = re.compile(
    r"  (?P<what>\S.*?) +(?P<figure>[\d.,]+) +(?:>= )?(?P<must>[\d.,]+)  (?P<verdict>ok|short)\Z"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    script: str
    targets: Sequence[re.Match[str]]
    exit_code: int

    @property
    def broke(self) -> bool:
        """A script that fails because it missed a target has said so."""
        missed = any(target["verdict"] == "short" for target in self.targets)
        return not self.targets or (self.exit_code != 0 and not missed)


def main() -> int:
    outcomes = [_run(name) for name in SCRIPTS if (HERE / name).exists()]
    print("\nall targets")
    for outcome in outcomes:
        for target in outcome.targets:
            print(f"  {outcome.script:<22}{target[0].strip()}")
        if outcome.broke:
            print(f"  {outcome.script:<22}broke with exit code {outcome.exit_code}")
    return int(any(outcome.broke for outcome in outcomes))


def _run(name: str) -> Outcome:
    """Its output goes on as it comes."""
    print(f"\n== {name}", flush=True)
    targets = []
    command = [sys.executable, "-u", str(HERE / name)]
    if name == "scale.py" and "--draw" in sys.argv:
        command.append("--draw")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            found = _TARGET.match(line.rstrip("\n"))
            if found is not None:
                targets.append(found)
    return Outcome(name, targets, process.returncode)


if __name__ == "__main__":
    sys.exit(main())
