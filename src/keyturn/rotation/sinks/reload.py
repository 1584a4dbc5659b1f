"""The hook that any sink may have: after a write it tells those who read the key, by a program, a URL or a signal.

A sink type adds `FIELDS` to its own, and makes a `ReloadHook.of(...)` from the same settings. No secret passes here.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from keyturn.model.errors import KeyturnError
from keyturn.model.secrets import Secret
from keyturn.rotation.sinks.interface import (
    Field,
    SinkRefusedError,
    SinkUnavailableError,
    Surroundings,
    WriteContext,
)

TRY_AGAIN: Final = 75
"""EX_TEMPFAIL of sysexits(3)."""

_SIGNALS: Final = {name: getattr(signal, f"SIG{name}") for name in ("HUP", "USR1", "USR2", "TERM")}
_DEFAULT_SECONDS: Final = 60
_MOST_SECONDS: Final = 900
_PID_FILE_LIMIT: Final = 32
_SLACK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ReloadHook:
    """What to do when a sink has been written. All three ways unset: nothing."""

    fields: ClassVar[Sequence[Field]] = (
        Field(
            "reload", list, 'Program and arguments to run after a write, e.g. ["systemctl", "reload", "app"].'
        ),
        Field("reload_url", str, "URL to POST to after a write: https, or http on this machine."),
        Field("reload_pid_file", str, "File with the process id that gets a signal after a write."),
        Field("reload_signal", str, "The signal for reload_pid_file: HUP (the default), USR1, USR2 or TERM."),
        Field("reload_timeout", int, "Seconds that the hook may take, 1 to 900. Default: 60."),
    )

    sink: str
    argv: tuple[str, ...]
    url: str | None = field(repr=False)
    pid_file: Path | None
    signal_name: str
    seconds: int
    environment: Mapping[str, str] = field(repr=False)
    """It may hold tokens."""

    @classmethod
    def of(cls, sink: str, settings: Mapping[str, Any], surroundings: Surroundings) -> ReloadHook:
        """The hook of a sink's settings. No I/O. KeyturnError if they ask for two ways at once."""
        ways = [name for name in ("reload", "reload_url", "reload_pid_file") if settings.get(name)]
        if len(ways) > 1:
            raise KeyturnError(f"sink {sink}: one of {' and '.join(ways)} is enough")
        signal_name = str(settings.get("reload_signal", "HUP")).removeprefix("SIG")
        if signal_name not in _SIGNALS:
            raise KeyturnError(f"sink {sink}: reload_signal must be one of {', '.join(_SIGNALS)}")
        seconds = settings.get("reload_timeout", _DEFAULT_SECONDS)
        if not 1 <= seconds <= _MOST_SECONDS:
            raise KeyturnError(f"sink {sink}: reload_timeout must be 1 to {_MOST_SECONDS} seconds")
        url, pid_file = settings.get("reload_url"), settings.get("reload_pid_file")
        if url:
            from keyturn.rotation.sinks.bounded_call import checked_door

            checked_door(url, sink=sink, field="reload_url")
        if pid_file and not pid_file.startswith("/"):
            raise KeyturnError(f"sink {sink}: reload_pid_file must be an absolute path")
        return cls(
            sink=sink,
            argv=tuple(settings.get("reload", ())),
            url=url or None,
            pid_file=Path(pid_file) if pid_file else None,
            signal_name=signal_name,
            seconds=seconds,
            environment=surroundings.environment,
        )

    @property
    def is_set(self) -> bool:
        return bool(self.argv or self.url or self.pid_file)

    def test(self) -> None:
        """Find the program without running it; a URL or a pid file is only tried by `run`."""
        if self.argv:
            from keyturn.rotation.sinks.bounded_process import environment_for, find_program

            find_program(self.argv, environment_for(self.environment))

    def run(self, context: WriteContext) -> None:
        """Tell the consumers; nothing if there is no hook. May run twice. SinkError says why it failed."""
        if self.argv:
            self._run_program(context)
        elif self.url is not None:
            self._post(self.url, context)
        elif self.pid_file is not None:
            _send_signal(self.pid_file, _SIGNALS[self.signal_name])

    def _run_program(self, context: WriteContext) -> None:
        from keyturn.rotation.sinks.bounded_process import environment_for, run_bounded

        finished = run_bounded(
            self.argv,
            stdin=None,
            environment=environment_for(self.environment, context=context),
            seconds=self.seconds,
        )
        if finished.code == TRY_AGAIN:
            raise SinkUnavailableError(f"the reload hook {self.argv[0]} asks to be run again later")
        if finished.code != 0:
            raise SinkRefusedError(f"the reload hook {self.argv[0]} ended with {finished.code}")

    def _post(self, url: str, context: WriteContext) -> None:
        from keyturn.rotation.sinks.bounded_call import call, checked_door

        door = checked_door(url, sink=self.sink, field="reload_url")
        said = {"type": "reload", "rotation_id": context.rotation_id, "user_name": context.user_name}
        answer = call(
            door,
            "POST",
            headers={"Content-Type": "application/json", "Idempotency-Key": context.idempotency_key},
            body=Secret(json.dumps(said).encode()),
            seconds=self.seconds,
        )
        if answer.status in {408, 425, 429} or answer.status >= 500:
            raise SinkUnavailableError(
                f"the reload hook at {door.where} answers {answer.status}", retry_after=answer.retry_after
            )
        if not 200 <= answer.status < 300:
            raise SinkRefusedError(f"the reload hook at {door.where} answers {answer.status}")


def _send_signal(pid_file: Path, number: signal.Signals) -> None:
    try:
        with pid_file.open("rb") as file:
            written_at = os.fstat(file.fileno()).st_mtime
            text = file.read(_PID_FILE_LIMIT).strip()
    except OSError as error:
        raise SinkRefusedError(f"the pid file {pid_file} can't be read: {error.strerror}") from error
    if not text.isdigit() or int(text) < 2:
        raise SinkRefusedError(f"the pid file {pid_file} holds no process id")
    process_id = int(text)
    started_at = _started_at(process_id)
    if started_at is not None and started_at > written_at + _SLACK_SECONDS:
        raise SinkRefusedError(
            f"the pid file {pid_file} is stale: process {process_id} is younger, and somebody else's"
        )
    try:
        os.kill(process_id, number)
    except ProcessLookupError as error:
        raise SinkRefusedError(f"the process of {pid_file} does not run any more") from error
    except (OSError, OverflowError) as error:
        raise SinkRefusedError(f"the process of {pid_file} can't be signalled: {error}") from error


def _started_at(process_id: int) -> float | None:
    """Epoch seconds, or None where the kernel does not tell (proc(5), /proc/pid/stat, field 22)."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_bytes().rpartition(b")")[2].split()
        with Path("/proc/stat").open("rb") as file:
            (booted,) = [int(line.split()[1]) for line in file if line.startswith(b"btime ")]
        return booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
