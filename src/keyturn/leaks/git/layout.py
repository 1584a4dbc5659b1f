"""Where a repository keeps its things: git directory, common directory, object directories, object format.

Read from the files themselves and not asked of git, so that a repository newer than the installed git (SHA-256,
reftable) can still be searched. What the objects hold is left to others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

_SMALL: Final = 1 << 20
_MOST_OBJECT_DIRECTORIES: Final = 64
_MOST_LOOKED_AT: Final = 200_000
_SHA256: Final = re.compile(
    rb"^[ \t]*objectformat[ \t]*=[ \t]*\"?sha256\"?[ \t]*(?:[#;].*)?\r?$", re.IGNORECASE | re.MULTILINE
)
_PARTIAL: Final = re.compile(
    rb"^[ \t]*(?:partialclone[ \t]*=|promisor[ \t]*=[ \t]*(?:true|yes|on|1)\b)", re.IGNORECASE | re.MULTILINE
)


class NotARepositoryError(Exception):
    """There is no Git repository at that path."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One repository's places. All paths exist when it was made, but for what another process removes."""

    git_dir: Path
    """Of this worktree."""
    common_dir: Path
    """Of the repository."""
    object_dirs: Sequence[Path]
    """Its own first, then its alternates, each once."""
    oid_size: int
    """Bytes in an object id: 20, or 32 under SHA-256."""
    is_shallow: bool
    is_partial: bool
    absent: Sequence[Path]
    """Alternates that are named and not there: the objects in them can't be searched."""

    @property
    def has_odd_files(self) -> bool:
        """Whether a pipe or a device lies where git would open a file, and wait."""
        roots = {self.git_dir, self.common_dir, *(each / "info" for each in self.object_dirs)}
        return any(_has_odd_files(root, _MOST_LOOKED_AT) for root in roots)

    @property
    def index_dirs(self) -> Sequence[Path]:
        """Every directory that may hold an index: the repository's and each linked worktree's."""
        worktrees = self.common_dir / "worktrees"
        linked = sorted(worktrees.iterdir()) if worktrees.is_dir() else []
        return [self.common_dir, *(each for each in linked if each.is_dir())]


def layout_of(path: Path) -> Layout:
    """Of a worktree, a bare repository, a `.git` directory or file. NotARepositoryError if it is none of these."""
    git_dir = _git_dir(path)
    common_dir = _pointed(git_dir / "commondir", git_dir) or git_dir
    objects = common_dir / "objects"
    if not objects.is_dir():
        raise NotARepositoryError(f"{path} is not a Git repository")
    object_dirs, absent = _with_alternates(objects)
    config = _read(common_dir / "config")
    packs = objects / "pack"
    return Layout(
        git_dir=git_dir,
        common_dir=common_dir,
        object_dirs=object_dirs,
        oid_size=32 if _SHA256.search(config) else 20,
        is_shallow=bool(_read(common_dir / "shallow").strip()),
        is_partial=bool(_PARTIAL.search(config)) or (packs.is_dir() and any(packs.glob("*.promisor"))),
        absent=absent,
    )


def with_quarantine(layout: Layout, quarantine: Path) -> Layout:
    """With the objects of a push that a hook is asked about; as it is, if that push goes to another repository.

    git-receive-pack(1), QUARANTINE ENVIRONMENT: `objects/tmp_objdir-incoming-…`, until the hook has agreed.
    """
    incoming = quarantine.resolve()
    if incoming.parent != (layout.common_dir / "objects").resolve() or not incoming.is_dir():
        return layout
    return replace(layout, object_dirs=[*layout.object_dirs, incoming])


def is_repository(path: Path) -> bool:
    try:
        layout_of(path)
    except (NotARepositoryError, OSError):
        return False
    return True


def _has_odd_files(root: Path, at_most: int) -> bool:
    waiting = [root]
    while waiting and at_most > 0:
        try:
            with os.scandir(waiting.pop()) as listing:
                for entry in listing:
                    at_most -= 1
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != "objects":
                            waiting.append(Path(entry.path))
                    elif not entry.is_file() and not entry.is_dir() and not _leads_nowhere(entry):
                        return True
        except OSError:
            continue
    return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def _git_dir(path: Path) -> Path:
    dot_git = path / ".git"
    for candidate in (dot_git, path):
        if candidate.is_file():
            pointed = _gitfile(candidate)
            if pointed is not None:
                return pointed
        elif (candidate / "HEAD").exists() and (
            (candidate / "objects").is_dir() or (candidate / "commondir").is_file()
        ):
            return candidate.resolve()
    raise NotARepositoryError(f"{path} is not a Git repository")


def _gitfile(path: Path) -> Path | None:
    words = _read(path)
    if not words.startswith(b"gitdir:"):
        return None
    named = Path(_text(words[len(b"gitdir:") :].strip()))
    return (path.parent / named).resolve()


def _pointed(path: Path, beside: Path) -> Path | None:
    words = _read(path).strip()
    return (beside / _text(words)).resolve() if words else None


def _with_alternates(objects: Path) -> tuple[Sequence[Path], Sequence[Path]]:
    """Breadth first, each directory once, as many as are sane: alternates may name each other in a circle."""
    found, absent = [objects.resolve()], []
    for directory in found:
        for line in _read(directory / "info" / "alternates").splitlines():
            if not line or line.startswith(b"#"):
                continue
            alternate = (directory / _text(line)).resolve()
            if alternate in found or alternate in absent:
                continue
            if alternate.is_dir() and len(found) < _MOST_OBJECT_DIRECTORIES:
                found.append(alternate)
            else:
                absent.append(alternate)
    return found, absent


def _text(words: bytes) -> str:
    return words.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def _read(path: Path) -> bytes:
    """A small file's bytes; none if there is none. A pipe by that name would keep us waiting."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_SMALL)
    except OSError:
        return b""
