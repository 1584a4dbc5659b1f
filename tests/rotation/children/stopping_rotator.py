"""Carries rotations on in processes that are stopped (SIGSTOP) half way, while others try to take over.

Reads JSON lines: {"first", "second", "stop_at"}, each rotator as `dying_rotator` takes it. The first one stops itself
at boundary `stop_at`; then the second runs; then, if `kill` is true, the first one is killed, or else it is woken.
Answers {"stopped", "second", "first"}: whether it was stopped, and how both ended (exit code, 7: the user's lock is
held by another, -9: killed).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from keyturn.rotation.state import LockedByAnotherError
from rotation.children.dying_rotator import carry_on

LOCKED = 7


def forked(case: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 5
    try:
        code = carry_on(case)
    except LockedByAnotherError:
        code = LOCKED
    except BaseException:  # noqa: BLE001 - told on stderr, and by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main() -> None:
    # Loaded once, before the forks.
    import boto3  # noqa: F401

    for line in sys.stdin:
        told = json.loads(line)
        stop = {"die_at": told["stop_at"], "signal": signal.SIGSTOP}
        first = forked(told["first"] | stop)
        _, status = os.waitpid(first, os.WUNTRACED)
        answer: dict[str, Any] = {"stopped": os.WIFSTOPPED(status)}
        if answer["stopped"]:
            _, other = os.waitpid(forked(told["second"] | {"die_at": 0}), 0)
            answer["second"] = ended(other)
            os.kill(first, signal.SIGKILL if told["kill"] else signal.SIGCONT)
            _, status = os.waitpid(first, 0)
        answer["first"] = ended(status)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
