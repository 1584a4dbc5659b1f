"""The servers that are measured: real processes on loopback, and what they have spent, read from /proc.

Keyturn is `keyturn serve` with its data on a real disk. The peers live in an environment of their own,
`.venv-benchmarks` (another by KEYTURN_BENCH_PYTHON), and keep everything in memory.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keyturn.settings import place

REPOSITORY = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 60.0
_NOT_A_DISK = {"tmpfs", "ramfs", "overlay"}


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """User and system time of the process and all its children, the dead ones too; in steps of 10 ms."""
        return sum(_ticks(pid) for pid in _family(self.pid)) / _TICKS

    def resident_bytes(self) -> int:
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in _family(self.pid)
        )


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s /proc/pid/stat from the third on; the name before them may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    return sum(map(int, _stat(pid)[11:15]))


def _family(pid: int) -> list[int]:
    members = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            for child in (task / "children").read_text().split():
                members += _family(int(child))
    return members


@contextmanager
def directory_on_disk() -> Iterator[Path]:
    """A directory that a COMMIT has to reach: below KEYTURN_BENCH_DIR, or /var/tmp."""
    parent = Path(os.environ.get("KEYTURN_BENCH_DIR", "/var/tmp"))  # noqa: S108 - a random name below it, 0700
    kind = subprocess.run(["stat", "-f", "-c", "%T", parent], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in _NOT_A_DISK:
        sys.exit(f"{parent} is {kind.stdout.strip()}, no disk: name a directory on one in KEYTURN_BENCH_DIR")
    path = Path(tempfile.mkdtemp(prefix="keyturn-benchmark-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def environment_below(home: Path) -> dict[str, str]:
    """Everything that Keyturn writes stays below `home`."""
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@contextmanager
def keyturn_serving(home: Path, *options: str) -> Iterator[Server]:
    """`keyturn serve` as a user runs it: nothing is set but a free port, and what is asked for."""
    port = _free_port()
    command = [str(Path(sys.executable).with_name("keyturn")), "serve", "--port", str(port), *options]
    environment = environment_below(home)
    with _running("keyturn", command, port, environment) as server:
        endpoint = place({}, environment).endpoint_file
        _wait_until(lambda: endpoint.exists() and str(port) in endpoint.read_text(), "keyturn is ready")
        yield server


@contextmanager
def ministack_serving() -> Iterator[Server]:
    port = _free_port()
    environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"}
    with _running("ministack", [_peer("ministack")], port, os.environ | environment) as server:
        yield server


@contextmanager
def moto_serving() -> Iterator[Server]:
    port = _free_port()
    command = [_peer("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _running("moto_server", command, port, os.environ) as server:
        yield server


def _peer(program: str) -> str:
    default = REPOSITORY / ".venv-benchmarks" / "bin" / "python"
    path = Path(os.environ.get("KEYTURN_BENCH_PYTHON", default)).parent / program
    if not path.exists():
        sys.exit(f"no peer at {path}: make .venv-benchmarks/.installed")
    return str(path)


@contextmanager
def _running(name: str, command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[Server]:
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=told)
        try:
            _wait_until(lambda: _listens(port, process), f"{name} listens")
            yield Server(name, process.pid, port)
        except BaseException:
            told.seek(0)
            print(f"{name} said:", told.read()[-2000:].decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait()


def _wait_until(is_so: Callable[[], bool], claim: str) -> None:
    never = threading.Event()
    until = time.monotonic() + _START_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"not so within a minute: {claim}")
        never.wait(0.05)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise ChildProcessError(f"{process.args!r} ended with {process.returncode}")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
