"""Carries rotations on in processes that die where they are told to.

Reads JSON lines: {"state", "config", "rotation", "die_at", "environment"}. For each it forks; the child advances the
rotation to its end, counts the boundaries that the engine passes, and sends itself SIGKILL at number `die_at` (0:
never). Answers one JSON line: {"signal", "code"} of the child. The fork spares each case the start of an interpreter.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from keyturn.rotation.configuration import Configuration, read_configuration
from keyturn.rotation.engine import Ended
from keyturn.rotation.room import Room, Where
from keyturn.settings import configuration_file


def carry_on(case: dict[str, Any]) -> int:
    os.environ.update(case["environment"])
    configuration: Configuration = read_configuration(configuration_file({"config": case["config"]}))
    passed = 0
    names = Path(case["state"]) / f"{case['rotation']}.boundaries"

    def boundary(name: str) -> None:
        nonlocal passed
        passed += 1
        with names.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        if passed == case["die_at"]:
            os.kill(os.getpid(), case.get("signal", signal.SIGKILL))

    where = Where(Path(case["state"]), Path(case["state"]) / "keys")
    pause = threading.Event()
    with Room(where, configuration, environment=os.environ, boundary=boundary) as room:
        for _ in range(400):
            outcome = room.advance(room.find(case["rotation"]))
            if outcome.ended is not Ended.WAITING:
                return 0 if outcome.ended is Ended.DONE else 3
            pause.wait(0.005)
    return 4


def main() -> None:
    # Loaded once, before the forks.
    import boto3  # noqa: F401

    for line in sys.stdin:
        case = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 5
            try:
                code = carry_on(case)
            except BaseException:  # noqa: BLE001 - told on stderr, and by the exit code
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        answer = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
