"""Tells what a word on the command line names: a directory, a repository, an image, a file, stdin, a URL.

`git:`, `image:`, `dir:` and `file:` before it force what it is taken for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.leaks.containers.interface import HEAD, DamagedError, Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.git.layout import is_repository
from keyturn.leaks.sources.directory import DirectorySource
from keyturn.leaks.sources.files import PIECE
from keyturn.leaks.sources.image import ImageSource, is_image, is_layout, unpacked_layer
from keyturn.leaks.sources.interface import Source
from keyturn.leaks.sources.stream import STDIN, DescriptorSource, FileSource

_FORCED: Final = re.compile(r"(git|image|dir|file):(?!//)(.+)\Z", re.DOTALL)
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|[\w.-]+@[\w.-]+:", re.ASCII | re.IGNORECASE)

Repository = Callable[[str], Source]
"""Makes the source for a repository's history: a path, or a URL."""


@dataclass(frozen=True, slots=True)
class Recogniser:
    unpacker: Unpacker
    repository: Repository
    stdin: int = 0

    def sources_of(self, words: Sequence[str]) -> Iterator[Source]:
        """One after the other: repositories that lie in a directory are known when that was read to its end."""
        for word in words:
            forced = _FORCED.match(word)
            kind, name = (forced[1], forced[2]) if forced else (self._kind(word), word)
            if kind == "git":
                yield self.repository(name)
            elif kind == "image":
                yield ImageSource(name, self.unpacker, self.stdin if name == STDIN else None)
            elif kind == "file":
                yield FileSource(name, self.unpacker)
            elif kind == "stdin":
                yield DescriptorSource(self.stdin, self.unpacker)
            elif forced:
                yield DirectorySource(name, self.unpacker)
            else:
                yield from self._directory(name)

    def _directory(self, name: str) -> Iterator[Source]:
        """The files as they lie there, and then the history of each repository among them."""
        found: list[str] = []
        yield DirectorySource(name, self.unpacker, found.append)
        repositories = [each.removesuffix("/.git") if each != ".git" else "." for each in found]
        if is_repository(Path(name)) and name not in repositories:
            repositories.insert(0, name)  # its `.git` is a file that points elsewhere
        for repository in dict.fromkeys(repositories):
            yield self.repository(repository)

    def _kind(self, word: str) -> str:
        if word == STDIN:
            return "stdin"
        path = Path(word)
        if path.is_dir():
            return "image" if is_layout(path) else "dir"
        if not path.exists() and _URL.match(word):
            return "git"
        return "image" if path.is_file() and is_image(_beginning(path)) else "file"


def _beginning(path: Path) -> bytes:
    """The first bytes, of what is inside if it is compressed."""
    try:
        with path.open("rb") as file:
            return unpacked_layer(Stream([file.read(PIECE)])).peek(HEAD)
    except (OSError, DamagedError):
        return b""
