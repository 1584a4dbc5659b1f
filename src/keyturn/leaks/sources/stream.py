"""A single file or stdin, of any size: read once from front to back, containers taken apart on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from keyturn.leaks.containers.interface import Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.sources.files import PIECE, UnreadableError, open_regular, stream_of
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file. It was named by the user, so that a link is followed."""

    name: str
    unpacker: Unpacker

    def contents(self, _may_hold: MayHold, report: Report) -> Iterator[Content]:
        place = Place(source=self.name, path=os.fspath(self.name))
        try:
            descriptor, status = open_regular(self.name, follow=True)
        except UnreadableError as error:
            raise SourceError(f"can't scan {self.name}: {error}") from error
        mapped = None
        try:
            report.advanced(0, status.st_size)
            stream, mapped = stream_of(
                descriptor, status.st_size, lambda size: report.advanced(size, status.st_size)
            )
            yield from self.unpacker.contents(place, stream, report)
        except OSError as error:
            report.skipped(Skipped(place, f"it can't be read further: {error.strerror}"))
        finally:
            os.close(descriptor)
        del mapped  # closed when the last view of it is gone

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        return places


@dataclass(frozen=True, slots=True)
class DescriptorSource:
    """Stdin, or another open descriptor."""

    descriptor: int
    unpacker: Unpacker
    name: str = STDIN

    def contents(self, _may_hold: MayHold, report: Report) -> Iterator[Content]:
        place = Place(source=self.name)

        def pieces() -> Iterator[bytes]:
            while piece := os.read(self.descriptor, PIECE):
                report.advanced(len(piece), None)
                yield piece

        try:
            yield from self.unpacker.contents(place, Stream(pieces()), report)
        except OSError as error:
            report.skipped(Skipped(place, f"it can't be read further: {error.strerror}"))

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        return places
