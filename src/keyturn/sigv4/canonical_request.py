"""The canonical request: the bytes that both sides of a signature hash (IAM user guide, "Create a signed AWS
API request", step 1). Signing and verifying share every line of it.

All functions take bytes as they stand on the wire and run in time linear in them (sorting apart), for they
meet requests before anyone has proved who sent them. Which headers have to be signed is left to
`authorization`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final
from urllib.parse import unquote_to_bytes

from keyturn.sigv4.rules import PathStyle

Pair = tuple[bytes, bytes]


@dataclass(slots=True)
class SignedRequest:
    """A request as it stands on the wire, before anything is decoded. Not frozen, for speed; nobody changes one.

    `target` is the raw `path?query`. Header names are lower-cased by the server, their order is kept and their
    values are raw. `body` is whole; the server has bounded all of it.
    """

    method: bytes
    target: bytes
    headers: Sequence[Pair]
    body: bytes
    body_sha256: bytes | None = None
    """Of a request that somebody else received: the hash of its body, which is not here. `body` is empty then."""


_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ENCODED: Final = [bytes([b]) if b in _UNRESERVED else b"%%%02X" % b for b in range(256)]
_CONTROLS: Final = bytes([*range(0x20), 0x7F])
_CONTROLS_AND_SPACE: Final = _CONTROLS + b" "
_CONTROLS_BUT_TAB: Final = _CONTROLS.replace(b"\t", b"")

_plain_text: Final = re.compile(rb"[A-Za-z0-9._~-]*\Z").match
# Linear: each segment starts with "/", which no segment contains. A class that can end in several ways
# inside a repetition, such as (?:[\w~-]+/?)*, tries them all and takes minutes over one path.
_plain_path: Final = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?\Z").match
_broken_escape: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


def split_target(target: bytes) -> Pair | None:
    """Path and query of a request target, or None if it is not `/path?query` or holds a control character.

    The absolute form (`http://host/path`) names the authority a second time, so it is refused with the rest.
    """
    if not target.startswith(b"/") or target.translate(None, _CONTROLS) != target:
        return None
    path, _, query = target.partition(b"?")
    return None if path.find(b"%") >= 0 and _broken_escape(path) else (path, query)


def canonical_path(path: bytes, style: PathStyle) -> bytes | None:
    """The canonical URI, or None if the path climbs above the root."""
    if path == b"/" or _plain_path(path):
        return path
    segments = path.split(b"/")[1:]
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment not in {b"", b"."}:
            kept.append(segment)
    if style is PathStyle.AS_SENT:
        return b"/" + b"/".join([_canonical_text(segment) for segment in segments])
    end = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + b"/".join([_encoded(segment) for segment in kept]) + end


def canonical_pairs(query: bytes) -> list[Pair] | None:
    """Names and values of a query string in wire order, each in canonical encoding; None for a broken escape.

    Pieces are split at `&` and at the first `=`; an empty piece says nothing. A `+` is a plus sign, as the
    SDKs sign it.
    """
    if not query:
        return []
    if _broken_escape(query):
        return None
    pairs: list[Pair] = []
    for piece in query.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((_canonical_text(name), _canonical_text(value)))
    return pairs


def canonical_query(pairs: Iterable[Pair]) -> bytes:
    """Sorted by encoded name, then by encoded value: sorting joined pairs is wrong, `=` sorts after `-`."""
    return b"&".join([name + b"=" + value for name, value in sorted(pairs)])


def query_parameters(target: bytes) -> list[Pair] | None:
    """What the signature understood by the query string: decoded names and values in wire order.

    A handler must read its parameters from here, or it acts on other values than those that were signed (a
    form decoder reads `+` as a space). None for a target that verification refuses.
    """
    split = split_target(target)
    pairs = canonical_pairs(split[1]) if split else None
    return None if pairs is None else [(decoded(name), decoded(value)) for name, value in pairs]


def decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text) if b"%" in text else text


def _canonical_text(text: bytes) -> bytes:
    return text if _plain_text(text) else _encoded(unquote_to_bytes(text))


def _encoded(value: bytes) -> bytes:
    return b"".join([_ENCODED[byte] for byte in value])


def gather_headers(headers: Sequence[Pair]) -> dict[bytes, bytes]:
    """Values by name in wire order, repeated ones trimmed and joined by `,`."""
    values = dict(headers)
    if len(values) != len(headers):
        each: dict[bytes, list[bytes]] = {name: [] for name in values}
        for name, value in headers:
            each[name].append(value)
        values.update((name, b",".join(map(_trimmed, vs))) for name, vs in each.items() if len(vs) > 1)
    return values


class SignedHeaders:
    """A SignedHeaders list, ready to write the lines of its headers."""

    __slots__ = ("_line_count", "_template", "_values_of", "names")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """`names` are sorted, lower-case header names, at least one."""
        self.names = names
        self._line_count = len(names)
        self._template = b"".join([name.replace(b"%", b"%%") + b":%b\n" for name in names])
        self._values_of = itemgetter(*names)

    def lines(self, values: Mapping[bytes, bytes]) -> bytes | None:
        """One `name:value` line for each name, outer white space gone and inner runs made one space.

        None for a control character in a signed value: it could end a line and begin another header. A tab is
        white space (RFC 9110, 5.5). `values` must hold every name.
        """
        lines: bytes = self._template % self._values_of(values)
        if len(lines.translate(None, _CONTROLS_AND_SPACE)) == len(lines) - self._line_count:
            return lines
        if len(lines.translate(None, _CONTROLS_BUT_TAB)) != len(lines) - self._line_count:
            return None
        text = lines.decode("latin-1")  # `in` is slow for bytes: it asks first whether it was given a number
        if not ("  " in text or ": " in text or " \n" in text or "\t" in text):
            return lines
        return self._template % tuple([b" ".join(values[name].split()) for name in self.names])


def _trimmed(value: bytes) -> bytes:
    """Spaces and tabs only: `bytes.split()` would swallow the line ends that must be noticed."""
    return b" ".join([word for word in value.replace(b"\t", b" ").split(b" ") if word])


def canonical_request(
    method: bytes, path: bytes, query: bytes, headers: bytes, signed_headers: bytes, payload_hash: bytes
) -> bytes:
    """The six parts, each canonical already; `payload_hash` is hex or one of S3's closed set of words."""
    return b"\n".join((method, path, query, headers, signed_headers, payload_hash))
