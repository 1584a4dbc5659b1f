"""What is staged for the next commit, for a pre-commit hook: the blobs in the index that HEAD does not have.

Git tells a hook by its environment which index that is. Before the first commit everything is new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.git.cat_file import Unread, read
from keyturn.leaks.git.command import Git, GitError
from keyturn.leaks.git.layout import NotARepositoryError, layout_of
from keyturn.leaks.git.names import readable
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

_LINK: Final = b"160000"


class Staged:
    """The index of the repository at a path, or of the one that git has told a hook of."""

    def __init__(
        self, path: Path, name: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._path = path
        self._name = str(path) if name is None else name
        self._environment = os.environ if environment is None else environment

    @property
    def name(self) -> str:
        return self._name

    def contents(self, may_hold: MayHold, report: Report) -> Iterator[Content]:
        git = self._git()
        try:
            paths = _staged_paths(git)
        except GitError as error:
            raise SourceError(f"what is staged in {self._name} can't be read: {error}") from error
        unread = Unread([])
        for found in read(git, list(paths), unread):
            report.advanced(len(found.data), None)
            if may_hold(found.data):
                for path in paths[found.oid]:
                    place = Place(source=self._name, object=found.oid.hex(), path=readable(path))
                    yield Content(place, found.data, found.starts_at, found.first_line)
        for oid in unread.oids:
            place = Place(source=self._name, object=oid.hex(), path=readable(paths[oid][0]))
            report.skipped(Skipped(place, f"it can't be read: {unread.reason}"))

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        """Nothing of it has been committed yet."""
        return places

    def _git(self) -> Git:
        told = {name: value for name, value in self._environment.items() if name != "GIT_DIR"}
        pointed = self._environment.get("GIT_DIR")
        try:
            layout = layout_of(self._path / pointed if pointed else _top(self._path.resolve()))
        except (NotARepositoryError, OSError) as error:
            raise SourceError(f"{self._name} is not in a Git repository") from error
        index = told.get("GIT_INDEX_FILE")
        if index is not None:
            told["GIT_INDEX_FILE"] = str(self._path.absolute() / index)
        return Git(layout.git_dir, told, for_staging=True)


def _top(path: Path) -> Path:
    """The nearest directory upwards that is a repository: hooks and people start anywhere in the worktree."""
    for directory in (path, *path.parents):
        try:
            layout_of(directory)
        except NotARepositoryError:
            continue
        return directory
    raise NotARepositoryError(f"{path} is not in a Git repository")


def _staged_paths(git: Git) -> dict[bytes, list[bytes]]:
    """By blob, in the order of the index: each path at which it is new."""
    answer = git.output(
        "diff",
        "--cached",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--no-ext-diff",
        "--no-color",
        "--diff-filter=d",
        "--ignore-submodules=all",
        "-O/dev/null",
    )
    paths: dict[bytes, list[bytes]] = {}
    pieces = iter(answer.split(b"\0"))
    for words in pieces:
        path = next(pieces, b"")
        parts = words.split(b" ")
        if len(parts) == 5 and parts[1] != _LINK and parts[3].strip(b"0"):
            paths.setdefault(bytes.fromhex(parts[3].decode("ascii")), []).append(path)
    return paths
