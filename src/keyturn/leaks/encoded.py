"""Undoes what encodes a whole stretch of bytes: base64, hex and its dumps, character codes, UTF-16.

Around a hit of the prefilter, or, for what has no prefix, wherever such a stretch decodes to text. Escapes within a
text are `escapes`', strings that a program joins `literals`'.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final

from keyturn.leaks.prefilter import Hit, Spelling
from keyturn.leaks.views import Budget, View, alphabet, runs

_MAX_RUN: Final = 4 << 20
"""Bytes of one encoded stretch."""

_IN_BASE64: Final = rb"A-Za-z0-9+/_\-"
_TOKEN_LEFT: Final = re.compile(rb"[" + _IN_BASE64 + rb"]*\Z")
_TOKEN_RIGHT: Final = re.compile(rb"[" + _IN_BASE64 + rb"]*={0,2}")
_LINE_OF_BASE64: Final = re.compile(rb"[ \t>|#*\"']*([" + _IN_BASE64 + rb"]+={0,2})[ \t\"',+\\]*\r?\Z")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def _token(data: bytes, at: int, limit: int = _MAX_RUN) -> tuple[int, int]:
    """The run of base64 characters around a position."""
    start = at
    step = 256
    while start > 0 and at - start < limit:
        low = max(0, start - step)
        match = _TOKEN_LEFT.search(data[low:start])
        size = len(match.group()) if match else 0
        start -= size
        if size < step:
            break
    right = _TOKEN_RIGHT.match(data, at, min(len(data), at + limit))
    return start, right.end() if right else at


def _lines_of_base64(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """The stretches that belong to the same wrapped text as the one given, it included, in order."""
    before: list[tuple[int, int]] = []
    first, total = start, end - start
    while total < _MAX_RUN:
        line_start = data.rfind(b"\n", max(0, first - 512), first) + 1
        if line_start == 0 or data[line_start:first].strip(b" \t>|#*\"'"):
            break
        above_end = line_start - 1
        above_start = data.rfind(b"\n", max(0, above_end - 512), above_end) + 1
        line = data[above_start:above_end]
        match = _LINE_OF_BASE64.match(line)
        if match and len(match[1]) >= 16 and not match[1].endswith(b"="):
            first = above_start + match.start(1)
            before.append((first, above_start + match.end(1)))
        else:
            tail = re.search(rb"[ :=\"'>|(,]([" + _IN_BASE64 + rb"]{16,})[\"']?\r?\Z", line)
            if tail:
                before.append((above_start + tail.start(1), above_start + tail.end(1)))
            break
        total += match.end(1) - match.start(1)
    after: list[tuple[int, int]] = []
    last = end
    while total < _MAX_RUN and data[last - 1 : last] != b"=":
        line_end = data.find(b"\n", last, last + 64)
        if line_end < 0 or data[last:line_end].strip(b" \t\r\"',+\\"):
            break
        next_end = data.find(b"\n", line_end + 1, line_end + 1025)
        if next_end < 0:
            next_end = min(len(data), line_end + 1025)
        head = re.match(rb"[ \t>|#*\"']*([" + _IN_BASE64 + rb"]+={0,2})", data[line_end + 1 : next_end])
        if not head or len(head[1]) < 2:
            break
        last = line_end + 1 + head.end(1)
        after.append((line_end + 1 + head.start(1), last))
        total += len(head[1])
        if data[last:next_end].strip(b" \t\r\"',+\\"):
            break
    return [*reversed(before), (start, end), *after]


def _decode_base64(view: View, pieces: list[tuple[int, int]], skip: int) -> View | None:
    """The pieces, joined and decoded from the character `skip` on."""
    text = b"".join(view.data[a:b] for a, b in pieces).rstrip(b"=").translate(_URL_SAFE)[skip:]
    text = text[: len(text) - 1] if len(text) % 4 == 1 else text
    if len(text) < 16:
        return None
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    here, above, seen = [0], [pieces[0][0] + skip], 0
    for start, end in pieces:
        if seen:
            here.append(max(0, seen - skip) * 3 // 4)
            above.append(start)
        seen += end - start
    return View(data, (*view.encoding, "base64"), view, (here, above), (4, 3))


def base64_around(view: View, at: int, holds: Callable[[bytes], bool]) -> tuple[View | None, int]:
    """The base64 text around a hit, decoded; and where it ends. `holds` tells whether an alignment was right."""
    start, end = _token(view.data, at)
    wrapped = _lines_of_base64(view.data, start, end)
    tries = [wrapped]
    if len(wrapped) > 1:
        tries += [wrapped[wrapped.index((start, end)) :], [(start, end)]]
    for pieces in tries:
        for skip in range(4):
            decoded = _decode_base64(view, pieces, skip)
            if decoded is not None and holds(decoded.data):
                return decoded, pieces[-1][1]
    return None, end


# --- hex, numbers, UTF-16 ----------------------------------------------------------------------------------------

_HEX_RUN: Final = re.compile(rb"(?:(?:0[xX])?[0-9a-fA-F]{2}[ \t:,;-]{0,2}(?:\r?\n[ \t]*)?){16,}")
_HEX_REACH: Final = 1 << 18
"""Bytes to each side of a hit."""
_HEX_PAIR: Final = re.compile(rb"(?:0[xX])?([0-9a-fA-F]{2})")
_XXD: Final = re.compile(
    rb"^[0-9a-fA-F]{6,8}:?[ \t]{1,2}((?:[0-9a-fA-F]{2,8}[ \t]{1,2}){1,16})[ \t]{0,60}\|?.{0,18}$",
    re.MULTILINE,
)
_NUMBERS: Final = re.compile(rb"(?:[0-9]{2,3}[, \r\n\t]{1,3}){10,}[0-9]{2,3}")


def _hex_view(view: View, start: int, end: int) -> View:
    here: list[int] = []
    above: list[int] = []
    data = bytearray()
    for match in _HEX_PAIR.finditer(view.data, start, end):
        here.append(len(data))
        above.append(match.start(1))
        data.append(int(match[1], 16))
    return View(bytes(data), (*view.encoding, "hex"), view, (here or [0], above or [start]))


def hex_around(view: View, at: int) -> tuple[View | None, int]:
    """The hex digits around a hit, decoded, with whatever separates them; and where they end."""
    low = max(0, at - _HEX_REACH)
    for run in _HEX_RUN.finditer(view.data, low, min(len(view.data), at + _HEX_REACH)):
        if run.end() > at:
            start = run.start()
            if view.data[start:at].isalnum() and (at - start) % 2:
                start += 1  # a letter of the word before was taken for a digit
            return (_hex_view(view, start, run.end()), run.end()) if start <= at else (None, run.start())
    return None, at + _HEX_REACH


def hex_dump_around(view: View, at: int) -> View | None:
    """A dump as `xxd` and `hexdump -C` write it: the offsets and the text beside are no part of it."""
    start = view.data.rfind(b"\n", max(0, at - 128), at) + 1
    data = bytearray()
    here: list[int] = []
    above: list[int] = []
    low = max(0, start - 65_536)
    for line in _XXD.finditer(
        view.data, view.data.find(b"\n", low, start) + 1 if low else 0, min(len(view.data), at + 65_536)
    ):
        here.append(len(data))
        above.append(line.start(1))
        digits = b"".join(line[1].split())
        data += bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    return View(bytes(data), (*view.encoding, "hex"), view, (here, above), (5, 2)) if data else None


def numbers_around(view: View, at: int) -> tuple[View | None, int]:
    """Character codes in decimal around a hit, as in `[65, 75, 73, 65, …]`; and where they end."""
    for run in _NUMBERS.finditer(view.data, max(0, at - 8_192), min(len(view.data), at + 65_536)):
        if run.end() > at:
            return (_numbers_view(view, run), run.end()) if run.start() <= at else (None, run.start())
    return None, at + 65_536


def _numbers_view(view: View, run: re.Match[bytes]) -> View:
    here: list[int] = []
    above: list[int] = []
    data = bytearray()
    for number in re.finditer(rb"[0-9]{2,3}", run.group()):
        here.append(len(data))
        above.append(run.start() + number.start())
        data.append(min(255, int(number.group())))
    return View(bytes(data), (*view.encoding, "decimal"), view, (here, above))


def utf16_around(view: View, at: int) -> tuple[View | None, int]:
    """The stretch around a hit in which NULs separate the characters, without them; and where it ends."""
    data = view.data
    gap = 1
    while data[at + gap : at + gap + 1] == b"\0":
        gap += 1
    if gap not in {2, 4}:
        return None, at + 4
    start, end = at, at
    # A character outside Latin-1 has no NUL: a few of them in a row do not end the text.
    strange = 0
    while start - gap >= 0 and strange < 64 and at - start < _MAX_RUN:
        strange = 0 if data[start - gap + 1 : start] == b"\0" * (gap - 1) else strange + 1
        start -= gap
    strange = 0
    while end + gap <= len(data) and strange < 64 and end - at < _MAX_RUN:
        strange = 0 if data[end + 1 : end + gap] == b"\0" * (gap - 1) else strange + 1
        end += gap
    end = min(end + 1, len(data))
    name = ("utf-16le" if _is_little(data, start, at, gap) else "utf-16be") if gap == 2 else "utf-32"
    return View(data[start:end:gap], (*view.encoding, name), view, ([0], [start]), (gap, 1)), end


def _is_little(data: bytes, start: int, at: int, gap: int) -> bool:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data[:2] == b"\xff\xfe"
    return not (
        start == 1 or (start >= 1 and data[start - 1] == 0 and (at - start) % gap == 0 and start - 1 == 0)
    )


# --- what holds no prefix ----------------------------------------------------------------------------------------

_BASE64: Final = alphabet(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-")
_LETTERS: Final = alphabet(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_HEX_AND_BLANKS: Final = alphabet(b"0123456789abcdefABCDEFxX:,;- \t\r\n")
_DIGITS_AND_BLANKS: Final = alphabet(b"0123456789, \t\r\n")
_ALL_HEX: Final = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)\Z")
_SEPARATED_HEX: Final = re.compile(
    rb"(?:(?:0[xX])?[0-9a-fA-F]{2}(?:[:,;-][ \t]?|[ \t])(?:\r?\n[ \t]*)?){39,}(?:0[xX])?[0-9a-fA-F]{2}"
)
_TEXT: Final = re.compile(rb"[\t\r\n\x1b -\x7e]*\Z")
_WIDE_TEXT: Final = re.compile(rb"(?:[\t\r\n -\x7e]\x00)*\Z")
_LEAST_BASE64: Final = 54
"""A secret's forty characters in base64, without padding."""
_LEAST_HEX: Final = 80
_LONGEST: Final = 65_536


def encoded_texts(view: View) -> Iterator[View]:
    """Stretches of base64 or hex that decode to text: where a secret may hide, which has no prefix to be hit."""
    data = view.data
    tried_until = 0
    for start, end in runs(data, _BASE64, _LEAST_BASE64):
        if end - start > _LONGEST:
            continue
        pieces = [(start, end)]
        # A wrapped text is decoded from its first line on, and not again from each of its lines.
        if start >= tried_until and re.match(rb"={0,2}\r?\n[ \t]*[A-Za-z0-9+/]", data[end : end + 80]):
            pieces = [piece for piece in _lines_of_base64(data, start, end) if piece[0] >= start]
            tried_until = pieces[-1][1]
        for tried in [pieces, [(start, end)]] if len(pieces) > 1 else [pieces]:
            decoded = _decode_base64(view, tried, 0)
            if decoded is not None and _TEXT.match(decoded.data):
                yield decoded
                break
            if decoded is not None and _WIDE_TEXT.match(decoded.data):
                yield View(decoded.data[::2], (*decoded.encoding, "utf-16le"), decoded, scale=(2, 1))
                break
    for low, high in runs(data, _HEX_AND_BLANKS, 3 * 40 - 1):
        for match in _SEPARATED_HEX.finditer(data, low, high):
            decoded = _hex_view(view, *match.span())
            if _TEXT.match(decoded.data):
                yield decoded
    for low, high in runs(data, _DIGITS_AND_BLANKS, 110):
        for match in _NUMBERS.finditer(data, low, high):
            if match.end() - match.start() > 110:
                decoded = _numbers_view(view, match)
                if _TEXT.match(decoded.data):
                    yield decoded
    for start, end in runs(data, _LETTERS, _LEAST_HEX):
        if end - start <= _LONGEST and _ALL_HEX.match(data, start, end):
            decoded = _hex_view(view, start, end)
            if _TEXT.match(decoded.data):
                yield decoded


def views_of(view: View, hits: list[Hit], holds: Callable[[bytes], bool], budget: Budget) -> Iterator[View]:
    """The encoded stretches around hits, decoded, each once. Rewritten text is the caller's to ask for."""
    done: dict[Spelling, int] = {}
    dumped = 0
    for hit in hits:
        if hit.spelling in {Spelling.HEX, Spelling.BROKEN} and hit.start >= dumped:
            line = view.data.rfind(b"\n", max(0, hit.start - 128), hit.start) + 1
            if _XXD.match(view.data, line, line + 128):
                dump = hex_dump_around(view, hit.start)
                dumped = hit.start + 65_536
                if dump is not None:
                    if not budget.take(len(dump.data)):
                        return
                    yield dump
        if hit.start < done.get(hit.spelling, 0):
            continue
        found: View | None
        match hit.spelling:
            case Spelling.BASE64:
                found, end = base64_around(view, hit.start, holds)
            case Spelling.HEX:
                found, end = hex_around(view, hit.start)
            case Spelling.UTF16:
                found, end = utf16_around(view, hit.start)
            case Spelling.DECIMAL:
                found, end = numbers_around(view, hit.start)
            case _:
                continue
        done[hit.spelling] = max(end, hit.start + 1)
        if found is not None:
            if not budget.take(len(found.data)):
                return
            yield found
