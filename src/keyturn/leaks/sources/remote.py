"""A repository at a URL: cloned bare into a private directory, searched there as any other, and removed.

Only https, ssh, git and file URLs, and `user@host:path`. Nothing of the user's templates or hooks takes part;
credentials come from the user's own configuration, agent or helper, never from the URL.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keyturn.leaks.findings import Place
from keyturn.leaks.git.command import GitError, program
from keyturn.leaks.git.names import readable
from keyturn.leaks.sources.git_history import GitHistory
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

LARGEST_CLONE: Final = 20 << 30
LONGEST_CLONE: Final = 3600.0
_LOOK_EVERY: Final = 0.25
_SCHEMES: Final = frozenset({"https", "ssh", "git", "file"})
_SCP: Final = re.compile(r"[A-Za-z0-9_][\w.+-]*@[A-Za-z0-9][A-Za-z0-9.-]*:(?![-:/])[^\x00-\x20\x7f]+")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "init.templateDir=",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.git.allow=always",
    "protocol.file.allow=always",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "transfer.fsckObjects=false",
    "transfer.bundleURI=false",
    "fetch.uriProtocols=",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
)
_DROPPED: Final = re.compile(r"GIT_(?!SSH$|SSH_COMMAND$|SSH_VARIANT$|SSL_|PROXY|HTTP_).*")


def is_remote(name: str) -> bool:
    """Whether it is written as a URL or as `user@host:path`."""
    return "://" in name or _SCP.fullmatch(name) is not None


class RemoteRepository:
    """The clone lives from `contents` to the end of `located`, or as long as this object."""

    def __init__(
        self,
        url: str,
        *,
        since: datetime | None = None,
        largest: int = LARGEST_CLONE,
        longest: float = LONGEST_CLONE,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """SourceError if the URL is none that may be cloned."""
        self._url = _checked(url)
        self._since = since
        self._largest = largest
        self._longest = longest
        self._clock = clock
        self._environment = os.environ if environment is None else environment
        self._history: GitHistory | None = None
        self._remove: Callable[[], object] = lambda: None

    @property
    def name(self) -> str:
        return self._url

    def contents(self, may_hold: MayHold, report: Report) -> Iterator[Content]:
        self.close()
        directory = tempfile.mkdtemp(prefix="keyturn-")
        self._remove = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        try:
            clone = Path(directory) / "clone.git"
            self._clone(clone)
            self._history = GitHistory(clone, self._url, since=self._since)
            yield from self._history.contents(may_hold, report)
        except BaseException:
            self.close()
            raise

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        try:
            return places if self._history is None else self._history.located(places)
        finally:
            self.close()

    def close(self) -> None:
        """Removes the clone. Done by itself in the end."""
        self._remove()
        self._history = None

    def _clone(self, into: Path) -> None:
        try:
            command = [program(), *(part for setting in _SETTINGS for part in ("-c", setting))]
        except GitError as error:
            raise SourceError(str(error)) from error
        command += ["clone", "--quiet", "--mirror", "--template=", "--no-local", "--", self._url, str(into)]
        until = self._clock() + self._longest
        with (
            tempfile.TemporaryFile() as words,
            subprocess.Popen(  # noqa: S603 -- the URL was checked and stands behind `--`
                command,
                env=self._clone_environment(),
                cwd=into.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,
            ) as process,
        ):
            try:
                while process.poll() is None:
                    try:
                        process.wait(_LOOK_EVERY)
                    except subprocess.TimeoutExpired:
                        self._still_bounded(into, until)
                self._still_bounded(into, until)
            except BaseException:
                _end(process)
                raise
            if process.returncode:
                words.seek(0)
                raise SourceError(f"{self._url} can't be cloned: {_last_line(words.read(65536))}")

    def _still_bounded(self, directory: Path, until: float) -> None:
        if _size(directory) > self._largest:
            raise SourceError(f"{self._url} can't be cloned: it is larger than {self._largest >> 20} MiB")
        if self._clock() > until:
            raise SourceError(f"{self._url} can't be cloned: it takes too long")

    def _clone_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self._environment.items() if not _DROPPED.fullmatch(name)}
        if "GIT_SSH_COMMAND" not in kept and "GIT_SSH" not in kept:
            kept["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        return kept | {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }


def _checked(url: str) -> str:
    if _CONTROL.search(url):
        raise SourceError("a URL has no spaces and no control characters")
    if _SCP.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"that is no URL: {error}") from error
    if parts.scheme not in _SCHEMES:
        raise SourceError(f"only {', '.join(sorted(_SCHEMES))} URLs are cloned")
    if parts.password is not None or (parts.username is not None and parts.scheme == "https"):
        # Arguments can be read by every user of the machine, and this one would stand in reports as well.
        raise SourceError("a URL with credentials is not cloned: give them to git's credential helper")
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise SourceError("a file URL names an absolute path on this machine")
    elif not parts.hostname or parts.hostname.startswith("-") or port == 0:
        raise SourceError("that URL names no host")
    if (parts.username or "").startswith("-") or parts.path.startswith("/-"):
        raise SourceError("a name in that URL begins with a dash")
    return url


def _size(directory: Path) -> int:
    """Bytes of all files under it; those that go while it looks count as none."""
    total = 0
    for folder, _, names in os.walk(directory, onerror=lambda _: None):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """Git and what it has started: it leads a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, AttributeError):
        process.kill()


def _last_line(words: bytes) -> str:
    lines = [line for line in words.splitlines() if line.strip()]
    return readable(lines[-1])[:300] if lines else "git says nothing"
