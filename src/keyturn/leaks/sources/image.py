"""Container images: what `docker save` writes, and the OCI layout, as a directory or in a tar, gzipped or not.

Every layer is read for itself, so that what a later one deletes is found; so are configurations, whose
environment and history hold what a Dockerfile was given. (OCI image-spec, image-layout.md and config.md)
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from keyturn.leaks.containers import gzip, tar, zstd
from keyturn.leaks.containers.interface import HEAD, DamagedError, Job, Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.findings import Place, Skipped
from keyturn.leaks.sources.files import PIECE, UnreadableError, data_of, open_regular
from keyturn.leaks.sources.interface import Content, MayHold, Report, SourceError

_MOST_JSON: Final = 8 << 20
_MOST_STRINGS: Final = 200_000
_BLOB: Final = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]{64,128})\Z")
_DIGEST: Final = re.compile(r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})\Z")
_MEMBER: Final = re.compile(
    r"(?:blobs/(?:sha256(?:/[0-9a-f]{64})?/?)?|[0-9a-f]{64}(?:\.json|\.tar|/.*)?|manifest\.json|index\.json|oci-layout|repositories)\Z"
)
"""The names in an image's archive, and no others."""


def is_image(head: bytes) -> bool:
    """Whether a tar that begins like this is an image."""
    name = head[:100].split(b"\0", 1)[0].decode("ascii", "replace")
    return tar.recognises(head, b"") and _MEMBER.match(name) is not None


def is_layout(path: Path) -> bool:
    return (path / "oci-layout").is_file() and (path / "blobs").is_dir()


@dataclass(slots=True)
class _Known:
    """What the image's own papers say, as far as they were read."""

    layers: dict[str, str] = field(default_factory=dict)
    """`docker save`'s names of layers, to their digests."""
    layer_names: list[tuple[str, list[str]]] = field(default_factory=list)
    """A configuration's name, and its layers' names, of each image in a manifest.json."""
    diff_ids: dict[str, list[str]] = field(default_factory=dict)
    """A configuration's name to the digests of its layers, unpacked."""
    named: set[str] = field(default_factory=set)
    """Digests of blobs that a manifest speaks of."""
    seen: set[str] = field(default_factory=set)

    def settle(self) -> None:
        for config, names in self.layer_names:
            self.layers.update(zip(names, self.diff_ids.get(config, []), strict=False))


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An archive (a file, `-` for an open descriptor) or a layout's directory."""

    name: str
    unpacker: Unpacker
    descriptor: int | None = None
    _known: _Known = field(default_factory=_Known)

    def contents(self, _may_hold: MayHold, report: Report) -> Iterator[Content]:
        if self.descriptor is None and Path(self.name).is_dir():
            yield from self._layout(report)
        else:
            yield from self._archive(report)
        self._known.settle()
        for digest in sorted(self._known.named - self._known.seen):
            report.skipped(Skipped(Place(self.name, object=digest), "a manifest names it and it is not here"))

    def located(self, places: Sequence[Place]) -> Sequence[Place]:
        """`docker save` tells the digests of its layers in papers that come last."""
        layers = self._known.layers
        return [
            replace(place, layer=layers.get(place.layer, place.layer)) if place.layer else place
            for place in places
        ]

    def _archive(self, report: Report) -> Iterator[Content]:
        try:
            descriptor, size = self._open()
        except UnreadableError as error:
            raise SourceError(f"can't scan {self.name}: {error}") from error
        try:
            stream = unpacked_layer(Stream(self._pieces(descriptor, size, report)))
            if not tar.recognises(stream.peek(HEAD), b""):
                raise SourceError(f"{self.name} is no image: `docker save` writes a tar, and this is none")
            for member in tar.members(stream, self._job(report)):
                yield from self._entry(member.name, member.content, report)
        except DamagedError as error:
            report.skipped(Skipped(Place(self.name), str(error)))
        except OSError as error:
            report.skipped(Skipped(Place(self.name), f"it can't be read further: {error.strerror}"))
        finally:
            if self.descriptor is None:
                os.close(descriptor)

    def _pieces(self, descriptor: int, size: int, report: Report) -> Iterator[bytes]:
        if self.descriptor is None:
            yield from data_of(descriptor, size, lambda read: report.advanced(read, size))
            return
        while piece := os.read(descriptor, PIECE):
            report.advanced(len(piece), None)
            yield piece

    def _open(self) -> tuple[int, int]:
        if self.descriptor is not None:
            return self.descriptor, 0
        descriptor, status = open_regular(self.name, follow=True)
        return descriptor, status.st_size

    def _layout(self, report: Report) -> Iterator[Content]:
        """Every blob that lies there, also such as no manifest speaks of any more."""
        root = Path(self.name)
        names = [name for name in ("index.json", "manifest.json") if (root / name).is_file()]
        for algorithm in ("sha256", "sha512"):
            try:
                blobs = sorted(each.name for each in (root / "blobs" / algorithm).iterdir())
                names += [f"blobs/{algorithm}/{each}" for each in blobs]
            except FileNotFoundError:
                continue
            except OSError as error:
                report.skipped(
                    Skipped(Place(self.name), f"blobs/{algorithm} can't be listed: {error.strerror}")
                )
        for name in names:
            try:
                descriptor, status = open_regular(f"{self.name}/{name}")
            except UnreadableError as error:
                report.skipped(Skipped(Place(self.name, path=name), str(error)))
                continue
            try:
                pieces = data_of(descriptor, status.st_size, lambda read: report.advanced(read, None))
                yield from self._entry(name, Stream(pieces), report)
            except OSError as error:
                report.skipped(Skipped(Place(self.name, path=name), f"it can't be read: {error.strerror}"))
            finally:
                os.close(descriptor)

    def _entry(self, name: str, content: Stream, report: Report) -> Iterator[Content]:
        """One file of the archive: a paper in JSON, or a layer."""
        name = name.removeprefix("./")
        blob = _BLOB.match(name)
        digest = f"{blob[1]}:{blob[2]}" if blob else None
        if digest is not None:
            self._known.seen.add(digest)
        place = Place(self.name, object=digest)
        try:
            if content.peek(1) in {b"{", b"["}:
                paper = content.read(_MOST_JSON)
                if content.peek(1):
                    report.skipped(Skipped(place, f"a paper of more than {_MOST_JSON} bytes was cut"))
                yield from self._paper(name, place, paper, report)
                return
            layer = unpacked_layer(content)
            if not tar.recognises(layer.peek(HEAD), b""):
                if layer.peek(1):
                    yield from self.unpacker.contents(
                        replace(place, path=None if blob else name), layer, report
                    )
                return
            place = replace(place, layer=digest or name)
            for member in tar.members(layer, self._job(report, place)):
                yield from self.unpacker.contents(replace(place, path=member.name), member.content, report)
        except DamagedError as error:
            report.skipped(Skipped(place, str(error)))

    def _paper(self, name: str, place: Place, paper: bytes, report: Report) -> Iterator[Content]:
        """A configuration or a manifest: as it stands, and its strings one a line."""
        yield from self.unpacker.contents(place, Stream(backing=memoryview(paper)), report)
        try:
            told = json.loads(paper)
        except (ValueError, RecursionError) as error:
            report.skipped(
                Skipped(place, f"it is no whole JSON: {type(error).__name__}; searched as it stands")
            )
            return
        self._learn(name, told)
        text = "\n".join(_strings(told)).encode("utf-8", "replace")
        if self.unpacker.may_hold(text):
            yield Content(place, text, first_line=0, is_unpacked=True)

    def _learn(self, name: str, told: Any) -> None:
        for image in told if isinstance(told, list) else []:
            match image:
                case {"Config": str(config), "Layers": [*layers]}:
                    self._known.layer_names.append(
                        (config, [each for each in layers if isinstance(each, str)])
                    )
        match told:
            case {"rootfs": {"diff_ids": [*diff_ids]}}:
                self._known.diff_ids[name] = [each for each in diff_ids if isinstance(each, str)]
        if isinstance(told, Mapping) and "schemaVersion" in told:
            # What an index lists may be of other platforms, which nobody has to have.
            for descriptor in [told.get("config"), *_list(told.get("layers"))]:
                match descriptor:
                    case {"digest": str(digest)} if _DIGEST.match(digest):
                        self._known.named.add(digest)

    def _job(self, report: Report, place: Place | None = None) -> Job:
        outer = place or Place(self.name)
        return Job(
            skipped=lambda name, reason: report.skipped(Skipped(replace(outer, path=name or None), reason)),
            may_hold=self.unpacker.may_hold,
            pay=lambda _made: None,  # a tar makes nothing by itself
            window_limit=128 << 20,
        )


def unpacked_layer(content: Stream) -> Stream:
    """A layer's tar, unpacked if it was packed (media types +gzip and +zstd; what it is shows in its first bytes)."""
    head = content.peek(HEAD)
    for each in (gzip.FORMAT, zstd.FORMAT):
        if each.recognises(head, b""):
            job = Job(
                skipped=lambda _name, _reason: None,
                may_hold=lambda _data: False,
                pay=lambda _made: None,
                window_limit=128 << 20,
            )
            return next(each.members(content, job)).content
    return content


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(told: Any) -> Iterator[str]:
    """Every string, keys included, in the order in which they stand."""
    left = [told]
    count = 0
    while left and count < _MOST_STRINGS:
        value = left.pop()
        count += 1
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += reversed([each for item in value.items() for each in item])
        elif isinstance(value, list):
            left += reversed(value)
