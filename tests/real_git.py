"""Repositories made by the real git, with identities and dates of their own, and what a source says of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import hyperscan

from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.sources.git_history import GitHistory
from keyturn.leaks.sources.incremental import StateFile
from keyturn.leaks.sources.interface import Buffer, Content, Source

KEY = "AKIAIOSFODNN7EXAMPLE"
FIRST_SECOND = 1_700_000_000
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Carl Committer",
    "GIT_COMMITTER_EMAIL": "carl@example.com",
    "LC_ALL": "C",
}


def _database() -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[b"(?:AKIA|ASIA)[A-Z2-7]{16}"], ids=[0], elements=1, flags=[hyperscan.HS_FLAG_SINGLEMATCH]
    )
    return database


_DATABASE = _database()


def may_hold(data: Buffer) -> bool:
    """A key's id, plainly written: what these tests look for."""
    found: list[int] = []
    _DATABASE.scan(bytes(data), match_event_handler=lambda *match: found.append(match[0]))
    return bool(found)


class Repository:
    """A repository in a directory. Each commit is ten minutes younger than the one before."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.second = FIRST_SECOND
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", *options)

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        date = f"{self.second} +0100"
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", "-c", "gc.auto=0", *arguments],
            cwd=self.path,
            env=ENVIRONMENT | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, path: str, text: str | bytes) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self, message: str = "a change", **files: str) -> str:
        """All that has changed, and these files (`a__txt` is `a.txt`). Its id."""
        for name, text in files.items():
            self.write(name.replace("__", "."), text)
        self.second += 600
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def blob(self, text: str | bytes) -> str:
        """Written into the database, with nothing that leads to it."""
        data = text.encode() if isinstance(text, str) else text
        return self.git("hash-object", "-w", "--stdin", stdin=data)

    def pack(self, *options: str) -> Path:
        """Everything into one pack."""
        self.git("repack", "-adfq", *options)
        return next(self.packs().glob("*.pack"))

    def packs(self) -> Path:
        return Path(self.path, self.git("rev-parse", "--git-path", "objects/pack"))


@dataclass(slots=True)
class Told:
    """A report that keeps what it is told."""

    searched: int = 0
    skips: list[Skipped] = field(default_factory=list)

    def advanced(self, searched: int, _whole: int | None) -> None:
        self.searched += searched

    def skipped(self, what: Skipped) -> None:
        self.skips.append(what)

    @property
    def reasons(self) -> list[str]:
        return [skip.reason for skip in self.skips]


@dataclass(frozen=True, slots=True)
class Scanned:
    places: Sequence[Place]
    contents: Sequence[Content]
    report: Told

    @property
    def objects(self) -> set[str | None]:
        return {place.object for place in self.places}

    @property
    def only(self) -> Place:
        assert len(self.places) == 1, self.places
        return self.places[0]


def scanned(source: Source) -> Scanned:
    """All that a source hands out, located."""
    report = Told()
    contents = list(source.contents(may_hold, report))
    return Scanned(source.located([content.place for content in contents]), contents, report)


def history(path: Path, *, since: datetime | None = None, state: StateFile | None = None) -> Scanned:
    return scanned(GitHistory(path, "it", since=since, state=state))


def as_git_says(repository: Repository) -> set[str]:
    """The objects that hold a key, by `git cat-file --batch-all-objects`, trees left out."""
    answer = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--unordered", "--batch", "--buffer"],
        cwd=repository.path,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    ).stdout
    found, at = set(), 0
    while at < len(answer):
        end = answer.index(b"\n", at)
        oid, kind, size = answer[at:end].split()
        data = answer[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)
        if kind != b"tree" and may_hold(data):
            found.add(oid.decode())
    return found
