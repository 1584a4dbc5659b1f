"""The `git` program, told to run nothing and fetch nothing that the scanned repository asks for.

No hooks, no system configuration, no lazy fetch, no replaced objects, no prompt, no pager, no transport. The
scanned repository's own configuration is read by git all the same: what could run a program is overruled here.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

MOST_MEMORY: Final = 2 << 30
"""Of a git process, in bytes of its own (mapped packs don't count): a delta bomb ends the process, not us."""

PATIENCE: Final = 600.0
"""Seconds for which git may say nothing: before the first line of a log it may have to read a whole history."""

_OVERRULED: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.bigFileThreshold=32m",
    "core.quotePath=false",
    "i18n.logOutputEncoding=UTF-8",
    "log.showSignature=false",
    "log.showRoot=true",
    "log.mailmap=false",
    "diff.ignoreSubmodules=all",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
)
_LAST_WORDS: Final = 4096
_KEPT: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
_STAGING: Final = (
    "GIT_INDEX_FILE",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)


class GitError(Exception):
    """git is not there, did not start, or ended badly. The message is a sentence part."""


class Git:
    """Runs git on one repository. Its answers are bytes: names in a repository are not text."""

    def __init__(
        self,
        git_dir: Path | None,
        environment: Mapping[str, str] | None = None,
        *,
        for_staging: bool = False,
        patience: float = PATIENCE,
        more_objects: Path | None = None,
    ) -> None:
        """`git_dir` None: git looks for it itself, from the environment and the working directory on.

        `more_objects`: another directory of objects, read as an alternate.
        """
        self._git_dir = git_dir
        self._patience = patience
        self._environment = hardened(
            os.environ if environment is None else environment, for_staging=for_staging
        )
        if more_objects is not None:
            self._environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(more_objects)

    def with_index(self, path: Path) -> Git:
        """The same repository, and the index of one of its worktrees."""
        return Git(
            self._git_dir,
            self._environment | {"GIT_INDEX_FILE": str(path)},
            for_staging=True,
            patience=self._patience,
        )

    def output(self, *arguments: str, stdin: IO[bytes] | None = None) -> bytes:
        """The whole of its answer; for answers that are small."""
        with self.stream(*arguments, stdin=stdin) as stream:
            return stream.read()

    @contextmanager
    def stream(self, *arguments: str, stdin: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
        """Its answer as it comes. GitError at the end if it failed, unless the reader left before."""
        where = [] if self._git_dir is None else [f"--git-dir={self._git_dir}"]
        command = [program(), *options(), *where, *arguments]
        with running(command, self._environment, stdin, self._patience) as stream:
            yield stream


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: IO[bytes] | None,
    patience: float = PATIENCE,
) -> Iterator[IO[bytes]]:
    """Starts it; a reader who leaves early ends it, and so does a silence: it may hang on a pipe in the repository."""
    # What it complains of goes to a file: a pipe that nobody reads meanwhile would stop it.
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 -- our own words; names of objects come over stdin
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
            )
        except OSError as error:
            raise GitError(f"git does not start: {error.strerror}") from error
        _bound(process.pid)
        assert process.stdout is not None
        answers = io.BufferedReader(_Answers(process.stdout.fileno(), patience), 1 << 16)
        was_read = False
        try:
            yield answers
            was_read = answers.read(1) == b""
        finally:
            if not was_read:
                process.kill()
            process.stdout.close()
            process.wait()
        if was_read and process.returncode:
            complaints.seek(max(0, complaints.seek(0, 2) - _LAST_WORDS))
            raise GitError(_last_line(complaints.read()) or f"git ended with {process.returncode}")


class _Answers(io.RawIOBase):
    """What comes through a pipe. GitError if nothing comes for too long."""

    def __init__(self, descriptor: int, patience: float) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._poll.poll(self._patience * 1000):
            raise GitError(f"git said nothing for {self._patience:g} seconds")
        return os.readv(self._descriptor, [buffer])


def program() -> str:
    found = shutil.which("git")
    if found is None:
        raise GitError("git is not installed")
    return found


def options() -> Sequence[str]:
    """What stands between `git` and its verb."""
    return [
        "--no-pager",
        "--no-replace-objects",
        "--no-optional-locks",
        "--literal-pathspecs",
        *(part for setting in _OVERRULED for part in ("-c", setting)),
        "-c",
        "protocol.allow=never",
    ]


def hardened(environment: Mapping[str, str], *, for_staging: bool = False) -> dict[str, str]:
    """No variable of git's own passes, but for those by which git tells a hook where its index is."""
    kept = {name: value for name, value in environment.items() if name in _KEPT}
    if for_staging:
        kept |= {name: value for name, value in environment.items() if name in _STAGING}
    return kept | {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _bound(pid: int) -> None:
    """Linux can bound a process that runs; elsewhere only our own bounds hold."""
    try:
        import resource

        resource.prlimit(pid, resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    except (ImportError, AttributeError, OSError, ValueError):
        return


def _last_line(words: bytes) -> str:
    from keyturn.leaks.git.names import readable

    lines = [line for line in words.splitlines() if line.strip()]
    return readable(lines[-1])[:300] if lines else ""
