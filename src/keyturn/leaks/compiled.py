"""Hyperscan databases, kept between runs: to compile the expressions takes a second, to load them a millisecond.

A serialised database is as good as code, so it is loaded only from a directory and a file that are this user's
alone, and only if its digest fits. Anything odd about it, and the expressions are compiled as if there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

try:
    import hyperscan
except ImportError:  # pragma: no cover - then nobody asks for a database
    hyperscan = None  # type: ignore[assignment]  # as above

_MAGIC: Final = b"keyturn hyperscan database 1\n"
_LARGEST: Final = 64 << 20
_FOREIGN: Final = 0o077


def database(expressions: Sequence[bytes], kept_in: Path | None) -> Any:
    """A block-mode database in which an expression's number is its place. `kept_in` None: compiled, and not kept."""
    name = _name(expressions) if kept_in is not None else ""
    if kept_in is not None:
        with contextlib.suppress(OSError, ValueError, TypeError, hyperscan.error):
            return _loaded(kept_in, name)
    compiled = _compiled(expressions)
    if kept_in is not None:
        with contextlib.suppress(OSError, ValueError, hyperscan.error):
            _keep(kept_in, name, hyperscan.dumpb(compiled))
    return compiled


def _compiled(expressions: Sequence[bytes]) -> Any:
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    count = len(expressions)
    made.compile(
        expressions=list(expressions),
        ids=list(range(count)),
        elements=count,
        flags=[hyperscan.HS_FLAG_DOTALL] * count,
    )
    return made


def _name(expressions: Sequence[bytes]) -> str:
    """Other expressions, another release of the engine or another processor: another file."""
    digest = hashlib.sha256(_MAGIC + _processor() + str(getattr(hyperscan, "__version__", "")).encode())
    for expression in expressions:
        digest.update(len(expression).to_bytes(4) + expression)
    return f"{digest.hexdigest()[:40]}.hyperscan"


def _processor() -> bytes:
    """What the engine's code is chosen by."""
    try:
        with open("/proc/cpuinfo", "rb") as file:  # noqa: PTH123 - pathlib has no unbuffered beginning
            first = file.read(8192).partition(b"\n\n")[0]
    except OSError:
        first = b""
    kept = [line for line in first.splitlines() if line.startswith((b"model name", b"flags", b"Features"))]
    return platform.machine().encode() + b"\n".join(kept)


def _loaded(directory: Path, name: str) -> Any:
    """ValueError for what is not ours, or damaged; OSError if there is none."""
    folder = _opened(directory)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "rb") as file:
        _must_be_ours(os.fstat(descriptor), stat.S_IFREG)
        data = file.read(_LARGEST + 1)
    at = len(_MAGIC) + hashlib.sha256().digest_size
    body = data[at:]
    if len(data) > _LARGEST or data[:at] != _MAGIC + hashlib.sha256(body).digest():
        raise ValueError("damaged")
    return hyperscan.loadb(body, hyperscan.HS_MODE_BLOCK)


def _keep(directory: Path, name: str, body: bytes) -> None:
    """Whole or not at all. Those of earlier releases stay until the cache is emptied: they are small."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(_opened(directory))
    descriptor, temporary = tempfile.mkstemp(prefix=".hyperscan.", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        Path(temporary).replace(directory / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _opened(directory: Path) -> int:
    """A descriptor of a directory that is this user's alone, and no link."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _must_be_ours(os.fstat(descriptor), stat.S_IFDIR)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _must_be_ours(status: os.stat_result, kind: int) -> None:
    if (
        stat.S_IFMT(status.st_mode) != kind
        or status.st_uid != os.geteuid()
        or stat.S_IMODE(status.st_mode) & _FOREIGN
    ):
        raise ValueError("not ours alone")
