"""A Git repository with all that it ever held: branches, tags, notes, stashes, reflogs, dangling objects.

How objects are read and traced to their commits is `leaks.git`'s. Trees are not searched: a name in one is no
content. A blob's place has the commit that introduced it; a commit's or a tag's message has no path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.git.cat_file import Unread, read
from keyturn.leaks.git.command import PATIENCE, Git, GitError
from keyturn.leaks.git.database import Database, Known
from keyturn.leaks.git.layout import Layout, NotARepositoryError, layout_of, with_quarantine
from keyturn.leaks.git.names import readable
from keyturn.leaks.git.objects import GitObject
from keyturn.leaks.git.origins import introduced_since, origins
from keyturn.leaks.sources.incremental import Memory, StateFile
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

_IMPATIENCE: Final = 10.0
"""Seconds for git where a pipe lies in the repository, at which it may wait for ever."""


class GitHistory:
    """A repository at a path. Its name is what the user called it."""

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        *,
        since: datetime | None = None,
        state: StateFile | None = None,
        quarantine: Path | None = None,
    ) -> None:
        """`quarantine`: where git keeps what a push brings until its hook has agreed. `since`: only what commits after that moment introduced. `state`: what earlier scans have searched is
        not searched again; what they found is handed out again.
        """
        self._path = path
        self._name = str(path) if name is None else name
        self._since = since
        self._state = state
        self._quarantine = quarantine
        self._git: Git | None = None
        self._layout: Layout | None = None
        self._kinds: dict[bytes, str] = {}

    @property
    def name(self) -> str:
        return self._name

    def contents(self, may_hold: MayHold, report: Report) -> Iterator[Content]:
        try:
            layout = layout_of(self._path)
        except (NotARepositoryError, OSError) as error:
            raise SourceError(f"{self._name} is not a Git repository") from error
        incoming = None
        if self._quarantine is not None:
            quarantined = with_quarantine(layout, self._quarantine)
            incoming = None if quarantined is layout else self._quarantine
            layout = quarantined
        patience = _IMPATIENCE if layout.has_odd_files else PATIENCE
        self._layout, self._git = layout, Git(layout.git_dir, patience=patience, more_objects=incoming)
        skips = _Skips(self._name, report)
        _tell_what_is_absent(layout, self._git, skips)
        found = (
            self._everything(layout, self._git, may_hold, report, skips)
            if self._since is None
            else self._young(self._git, self._since, may_hold, report, skips)
        )
        for each in found:
            self._kinds[each.oid] = each.kind
            place = Place(source=self._name, object=each.oid.hex())
            yield Content(place, each.data, each.starts_at, each.first_line)

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        oids = {bytes.fromhex(place.object) for place in places if place.object is not None}
        if not oids or self._git is None or self._layout is None:
            return places
        blobs = {oid for oid in oids if self._kinds.get(oid) == "blob"}
        known = origins(self._git, blobs, oids - blobs, self._layout.index_dirs)
        answers = []
        for place in places:
            origin = known.get(bytes.fromhex(place.object)) if place.object is not None else None
            answers.append(
                place
                if origin is None
                else replace(
                    place, commit=origin.commit, author=origin.author, date=origin.date, path=origin.path
                )
            )
        return answers

    def _everything(
        self, layout: Layout, git: Git, may_hold: MayHold, report: Report, skips: _Skips
    ) -> Iterator[GitObject]:
        database = Database(layout, git, skips.add, remembers=self._state is not None)
        earlier = self._state.read() if self._state is not None else None
        known = Known() if earlier is None else Known(earlier.packs, earlier.prefixes)
        handed_out: set[bytes] = set()
        if earlier is not None:
            for each in database.again(earlier.found):
                handed_out.add(each.oid)
                yield each
        for each in database.objects(may_hold, known, report.advanced):
            if earlier is None or each.oid not in earlier.found:
                handed_out.add(each.oid)
                yield each
        if self._state is not None and not skips.count:
            now = database.now_known(known)
            memory = Memory(now.packs, now.prefixes, handed_out)
            if memory != earlier:
                self._state.write(memory)

    def _young(
        self, git: Git, since: datetime, may_hold: MayHold, report: Report, skips: _Skips
    ) -> Iterator[GitObject]:
        unread = Unread([])
        try:
            for each in read(git, sorted(introduced_since(git, since)), unread):
                report.advanced(len(each.data), None)
                if may_hold(each.data):
                    yield each
        except (GitError, ValueError) as error:
            skips.add(None, f"its history can't be read: {error}")
        if unread.oids:
            skips.add(None, f"{len(unread.oids)} objects can't be read: {unread.reason}")


class _Skips:
    """Counts what it reports: a scan that missed something must not be remembered as whole."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report
        self.count = 0

    def add(self, path: Path | None, reason: str) -> None:
        self.count += 1
        shown = None if path is None else readable(str(path).encode("utf-8", "surrogateescape"))
        self._report.skipped(Skipped(Place(source=self._name, path=shown), reason))


def _tell_what_is_absent(layout: Layout, git: Git, skips: _Skips) -> None:
    """A clone that is not whole is never called clean."""
    for path in layout.absent:
        skips.add(path, "the alternate object directory is not there")
    if layout.is_shallow:
        skips.add(None, "incomplete: the clone is shallow, what came before its oldest commits is not in it")
    if layout.is_partial:
        missing = _missing(git)
        if missing is None:
            skips.add(
                None, "incomplete: the clone is partial, and which of its objects are missing can't be told"
            )
        elif missing:
            skips.add(None, f"incomplete: the clone is partial, {missing} of its objects were never fetched")


def _missing(git: Git) -> int | None:
    """Objects that were promised and are not there. None if git can't say."""
    try:
        with git.stream("rev-list", "--objects", "--all", "--reflog", "--missing=print") as answers:
            return sum(line.startswith(b"?") for line in answers)
    except GitError:
        return None
