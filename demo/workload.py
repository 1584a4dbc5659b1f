"""The demo's workload seen from outside: its processes, and what they say of their calls."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Some calls of one process, when they were done, and the long-term key that they go back to."""

    at: float
    worker: str
    key: str
    calls: int
    failed: int
    error: str | None


class Workload:
    """Processes that call without pause. Their lines are read as they come, so that none has to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._batches: list[Batch] = []
        self._changed = threading.Condition()

    @property
    def batches(self) -> list[Batch]:
        with self._changed:
            return list(self._batches)

    @property
    def names(self) -> list[str]:
        return list(self._processes)

    def start(self, name: str, words: Iterable[str], environment: Mapping[str, str], pid_file: Path) -> None:
        """One more process; its id lies in `pid_file`, for the reload hook of its sink."""
        process = subprocess.Popen(  # noqa: S603 - our own worker
            [sys.executable, str(HERE / "worker.py"), *words],
            env=dict(environment),
            stdout=subprocess.PIPE,
            text=True,
        )
        pid_file.write_text(f"{process.pid}\n")
        self._processes[name] = process
        reader = threading.Thread(target=self._read, args=(name, process), name=name)
        reader.start()
        self._readers.append(reader)

    def wait_for(self, count: int, *, key: str | None = None) -> None:
        """Until each process has done so many more batches (with this key). SystemExit if one has died."""
        begin = len(self.batches)
        deadline = self._clock() + PATIENCE
        with self._changed:
            while True:
                news = [each for each in self._batches[begin:] if key in {None, each.key}]
                slow = [name for name in self._processes if sum(each.worker == name for each in news) < count]
                if not slow:
                    return
                dead = [name for name in slow if self._processes[name].poll() is not None]
                if dead or self._clock() > deadline:
                    raise SystemExit(f"the process {(dead or slow)[0]} does not work (any more)")
                self._changed.wait(1.0)

    def end(self) -> None:
        """Each finishes its batch and goes."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                batch = Batch(self._clock(), name, said["key"], said["calls"], said["failed"], said["error"])
                with self._changed:
                    self._batches.append(batch)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
