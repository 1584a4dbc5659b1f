"""A program run for a sink: no shell, bounded in time and in what it says, secrets on stdin and nowhere else.

It gets few variables of the environment: the rotation's own credentials stay here. What its exit codes mean is
left to others.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from keyturn.model.clock import Clock, SystemClock
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import SinkRefusedError, SinkUnavailableError, WriteContext

LARGEST_OUTPUT: Final = 64 * 1024

_PASSED_ON: Final = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"}
)
_LONGEST_LOOK: Final = 0.05
"""Seconds between two looks at a program whose output stays open."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended. Either output may hold a secret, and is cut at `LARGEST_OUTPUT`."""

    code: int
    stdout: Secret
    stderr: Secret


def environment_for(
    environment: Mapping[str, str], *, named: Collection[str] = (), context: WriteContext | None = None
) -> dict[str, str]:
    """The variables that a program gets: the few that each needs, those that the settings name, the rotation."""
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name in named or name.startswith("LC_")
    }
    passed.setdefault("PATH", os.defpath)
    if context is not None:
        passed |= {"KEYTURN_ROTATION_ID": context.rotation_id, "KEYTURN_USER_NAME": context.user_name}
    return passed


def find_program(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Where the program lies, without running it. SinkRefusedError if it can't be run."""
    if "/" in argv[0] and not argv[0].startswith("/"):
        raise SinkRefusedError(f"the program {argv[0]} must be named by an absolute path, or found in PATH")
    found = shutil.which(argv[0], path=environment.get("PATH", os.defpath))
    if found is None:
        raise SinkRefusedError(f"the program {argv[0]} is not there, or may not be run")
    return found


def run_bounded(
    argv: Sequence[str],
    *,
    stdin: Secret | None,
    environment: Mapping[str, str],
    seconds: float,
    clock: Clock | None = None,
) -> Finished:
    """Run to the end. SinkUnavailableError after `seconds`: the program and all that it started are killed.

    What a program leaves running when it ends in time is its own affair: nobody waits for it.
    """
    clock = clock or SystemClock()
    program = find_program(argv, environment)
    until = clock.monotonic() + seconds
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list out of the settings, never a shell's line
            [program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SinkRefusedError(f"the program {argv[0]} can't be run: {error.strerror}") from error
    try:
        outputs = _exchange(process, b"" if stdin is None else stdin.reveal(), until, clock)
        code = process.wait(max(0.0, until - clock.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        _kill(process)
        raise SinkUnavailableError(f"the program {argv[0]} took longer than {seconds:g} s") from error
    except BaseException:
        _kill(process)
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    return Finished(code, Secret(bytes(outputs[0])), Secret(bytes(outputs[1])))


def _exchange(
    process: subprocess.Popen[bytes], to_write: bytes, until: float, clock: Clock
) -> tuple[bytearray, bytearray]:
    """Hand over stdin and gather both outputs, until they are closed or the program has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in outputs:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        rest = memoryview(to_write)
        while selector.get_map():
            has_ended = process.poll() is not None
            left = until - clock.monotonic()
            if left <= 0 and not has_ended:
                raise TimeoutError
            ready = selector.select(0 if has_ended else min(left, _LONGEST_LOOK))
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = _write_some(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        with contextlib.suppress(OSError):
                            process.stdin.close()
                elif not _read_some(pipe := _as_pipe(key.fileobj), outputs[pipe]):
                    selector.unregister(pipe)
            if has_ended and (not ready or left <= 0):
                break
    return outputs[process.stdout], outputs[process.stderr]


def _as_pipe(of_selector: object) -> IO[bytes]:
    return of_selector  # type: ignore[return-value]  # only pipes were registered


def _write_some(pipe: IO[bytes], rest: memoryview) -> memoryview:
    """What is left to write; nothing once the program does not listen any more."""
    try:
        return rest[os.write(pipe.fileno(), rest[:4096]) :] if rest else rest
    except BlockingIOError:
        return rest
    except OSError:
        return memoryview(b"")


def _read_some(pipe: IO[bytes], into: bytearray) -> bool:
    """Whether more may come. What goes beyond the limit is dropped."""
    try:
        part = os.read(pipe.fileno(), 16_384)
    except BlockingIOError:
        return True
    into += part[: LARGEST_OUTPUT - len(into)]
    return bool(part)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The program is the leader of a session of its own, so its group is all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
