"""Where objects came from: the commit that introduced a blob, its author, its date, the path it had there.

One pass over the history answers for any number of blobs: the introduction is the first commit in topological
order whose raw diff (against each parent, for merges) shows the blob as new. What no ref and no reflog leads to
is looked for among all commits that lie in the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from keyturn.leaks.git.cat_file import Unread, all_objects, named, read
from keyturn.leaks.git.command import Git, GitError
from keyturn.leaks.git.names import readable

_MOST_NAMED: Final = 1000
"""Objects that git is told on its command line to look for; for more it tells all changes."""
_DEEPEST_PIECE: Final = 1 << 20
_SIGNED_BY: Final = re.compile(
    rb"^(author|tagger) (?P<who>[^\n]*?) (?P<seconds>-?\d{1,15}) [+-]\d{4,}$", re.MULTILINE
)
_MARK: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Origin:
    """What is not known, or does not apply, is None."""

    commit: str | None = None
    author: str | None = None
    date: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Introduction:
    """An object that a commit's diff shows as new."""

    oid: bytes
    origin: Origin


def origins(
    git: Git, blobs: AbstractSet[bytes], texts: AbstractSet[bytes], index_dirs: Iterable[Path]
) -> dict[bytes, Origin]:
    """Of blobs, and of commits and tags (`texts`). An object that nothing leads to has none."""
    found = dict(_of_texts(git, texts))
    missing = set(blobs)
    for every_commit in (False, True):
        if missing:
            try:
                for introduction in _introductions(git, missing, every_commit=every_commit):
                    if introduction.oid in missing:
                        found[introduction.oid] = introduction.origin
                        missing.discard(introduction.oid)
                    if not missing:
                        break
            except (GitError, ValueError):
                continue  # a damaged history: those found before the damage are known, the others stay without
    if missing:
        for oid, path in _staged(git, index_dirs):
            if oid in missing:
                found[oid] = Origin(path=path)
                missing.discard(oid)
    return found


def introduced_since(git: Git, since: datetime) -> set[bytes]:
    """Commits made after a moment (by their committer's clock), and the blobs that they introduced."""
    oids: set[bytes] = set()
    with named(_commits(git)) as commits:
        young = _young(git, commits, since)
    if not young:
        return oids
    oids.update(young)
    with (
        named(young) as names,
        git.stream("log", *_RAW, "--no-walk=unsorted", "--stdin", stdin=names) as answers,
    ):
        oids.update(introduction.oid for introduction in _parsed(_pieces(answers)))
    return oids


_RAW: Final = (
    "--raw",
    "-z",
    "-m",
    "-r",
    "--no-abbrev",
    "--no-renames",
    "--no-show-signature",
    "--no-notes",
    "--no-color",
    "-O/dev/null",
    "--ignore-submodules=all",
    "--date=raw",
    "--format=tformat:%x02%H%x00%an <%ae>%x00%at",
)


def _introductions(git: Git, blobs: AbstractSet[bytes], *, every_commit: bool) -> Iterator[Introduction]:
    looked_for = [f"--find-object={oid.hex()}" for oid in sorted(blobs)] if len(blobs) <= _MOST_NAMED else []
    order = ("log", *_RAW, "--topo-order", "--reverse", *looked_for)
    if every_commit:
        with (
            named(_commits(git)) as names,
            git.stream(*order, "--ignore-missing", "--stdin", stdin=names) as answers,
        ):
            yield from _parsed(_pieces(answers))
    else:
        with git.stream(*order, "--all", "--reflog", "--") as answers:
            yield from _parsed(_pieces(answers))


def _commits(git: Git) -> Iterator[bytes]:
    """All that lie in the database."""
    return (listed.oid for listed in all_objects(git) if listed.kind == "commit")


def _young(git: Git, commits: IO[bytes], since: datetime) -> list[bytes]:
    earliest = int(since.timestamp())
    with git.stream(
        "log",
        "--no-walk=unsorted",
        "--stdin",
        "--no-show-signature",
        "--format=tformat:%H %ct",
        stdin=commits,
    ) as answers:
        return [
            bytes.fromhex(words[0].decode())
            for words in map(bytes.split, answers)
            if len(words) == 2 and int(words[1]) > earliest
        ]


def _pieces(answers: IO[bytes]) -> Iterator[bytes]:
    """What stands between NULs; a name without end is cut off."""
    rest = b""
    while block := answers.read(1 << 16):
        *whole, rest = (rest + block).split(b"\0")
        yield from whole
        if len(rest) > _DEEPEST_PIECE:
            raise ValueError("a name that does not end")
    if rest:
        yield rest


def _parsed(pieces: Iterator[bytes]) -> Iterator[Introduction]:
    """`MARK commit NUL author NUL seconds NUL`, then for each change `:modes oids status NUL path NUL`."""
    commit = Origin()
    for piece in pieces:
        words = piece.lstrip(b"\n")
        if words.startswith(_MARK):
            author, seconds = next(pieces, b""), next(pieces, b"")
            commit = Origin(
                commit=words[1:].decode("ascii", "replace"),
                author=readable(author),
                date=_utc(seconds.strip()),
            )
        elif words.startswith(b":"):
            path = next(pieces, b"")
            parts = words.split(b" ")
            if len(parts) == 5 and parts[3].strip(b"0") and parts[1] != b"160000":
                yield Introduction(
                    bytes.fromhex(parts[3].decode("ascii", "replace")), replace(commit, path=readable(path))
                )


def _of_texts(git: Git, texts: AbstractSet[bytes]) -> Iterator[tuple[bytes, Origin]]:
    """A commit's message stands in the commit itself; a tag has its tagger and no commit of its own."""
    for found in read(git, sorted(texts), Unread([])):
        if found.starts_at:
            continue
        header = found.data.partition(b"\n\n")[0]
        signed = _SIGNED_BY.search(header)
        yield (
            found.oid,
            Origin(
                commit=found.oid.hex() if found.kind == "commit" else None,
                author=readable(signed["who"]) if signed else None,
                date=_utc(signed["seconds"]) if signed else None,
            ),
        )


def _staged(git: Git, index_dirs: Iterable[Path]) -> Iterator[tuple[bytes, str]]:
    """What the index of each worktree holds."""
    for directory in index_dirs:
        if not (directory / "index").is_file():
            continue
        try:
            with git.with_index(directory / "index").stream("ls-files", "--stage", "-z") as answers:
                for piece in _pieces(answers):
                    words, _, path = piece.partition(b"\t")
                    parts = words.split(b" ")
                    if len(parts) == 3 and parts[0] != b"160000":
                        yield bytes.fromhex(parts[1].decode("ascii", "replace")), readable(path)
        except (GitError, ValueError):
            continue


def _utc(seconds: bytes) -> str | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
