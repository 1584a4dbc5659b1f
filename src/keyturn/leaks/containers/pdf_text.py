"""The text that a PDF's content stream shows: its operators read one by one, in one pass (ISO 32000-1, 9.4).

Which font a page means by a name is not looked up: every ToUnicode map of the document is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from keyturn.leaks.containers.interface import CHUNK

_TOKEN: Final = re.compile(
    rb"(?P<open>\()|<(?P<hex>[0-9A-Fa-f\s]*)>|(?P<array>[\[\]])|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+))"
    rb"|/[^\s()<>\[\]{}/%]*|(?P<operator>[A-Za-z'\"*]+\d*)"
)
_IN_STRING: Final = re.compile(rb"[()\\]")
_ESCAPED: Final = re.compile(rb"\\(\r\n|[0-7]{1,3}|[\s\S])")
_SHORT: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_GAP: Final = -180
"""Thousandths of the font's size: a space is about 250 wide, kerning rarely 100."""
_MOST_CODES: Final = 200_000
"""Of one map. A few bytes may claim 65,536 of them, again and again."""

UnicodeMap = Mapping[bytes, bytes]


def lines_shown(stream: bytes, maps: Sequence[UnicodeMap | None]) -> Iterator[bytes]:
    """The lines with their gaps as spaces, and again without any gap; by each map, None being the codes as they are."""
    held: list[list[bytearray]] = []
    size = 0
    for line in _lines(stream):
        held.append(line)
        size += 64 + sum(len(piece) for piece in line)
        if size >= CHUNK:
            yield from _readings(held, maps)
            held, size = [], 0
    yield from _readings(held, maps)


def _readings(lines: list[list[bytearray]], maps: Sequence[UnicodeMap | None]) -> Iterator[bytes]:
    has_gaps = any(len(line) > 1 for line in lines)
    for decode in maps:
        decoded = [[_decoded(bytes(piece), decode) for piece in line] for line in lines]
        for gap in (b" ", b"") if has_gaps else (b"",):
            yield b"\n".join(gap.join(line) for line in decoded) + b"\n\n"


def _decoded(piece: bytes, decode: UnicodeMap | None) -> bytes:
    if decode is not None:
        width = len(next(iter(decode)))
        return b"".join(decode.get(piece[at : at + width], b"") for at in range(0, len(piece), width))
    if len(piece) > 2 and not len(piece) % 2 and not any(piece[::2]):
        return piece[1::2]  # two bytes a character, the first always zero
    return piece


def _lines(stream: bytes) -> Iterator[list[bytearray]]:
    """Pieces that stand on one line, those without a gap between them already joined."""
    line: list[bytearray] = []
    operands: list[bytes | float] = []
    height = 0.0
    at = 0
    joined = False
    while found := _TOKEN.search(stream, at):
        at = found.end()
        if found["open"]:
            text, at = _string(stream, at)
            operands.append(text)
        elif found["hex"] is not None:
            digits = re.sub(rb"\s", b"", found["hex"])
            operands.append(bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode()))
        elif found["number"]:
            operands.append(float(found["number"][:30]))
        elif found["operator"]:
            operator = found["operator"]
            if operator in {b"Tj", b"TJ", b"'", b'"'}:
                if operator in {b"'", b'"'} and line:
                    yield line
                    line, joined = [], False
                for operand in operands:
                    if isinstance(operand, float):
                        joined = joined and operand > _GAP
                    elif joined and line:
                        line[-1] += operand
                    else:
                        line.append(bytearray(operand))
                        joined = True
                joined = True
            elif operator in {b"Td", b"TD", b"Tm", b"T*", b"BT", b"ET"}:
                numbers = [operand for operand in operands if isinstance(operand, float)]
                moved = _moved(operator, numbers, height)
                height = numbers[5] if operator == b"Tm" and len(numbers) >= 6 else height
                joined = False
                if moved and line:
                    yield line
                    line = []
            operands = []
        if len(operands) > 10_000:
            texts = [each for each in operands if isinstance(each, bytes)]
            operands = list(texts[-5_000:])
    if line:
        yield line


def _moved(operator: bytes, numbers: Sequence[float], height: float) -> bool:
    """Whether what follows stands on another line."""
    if operator in {b"Td", b"TD"}:
        return len(numbers) < 2 or numbers[1] != 0
    if operator == b"Tm":
        return len(numbers) < 6 or numbers[5] != height
    return operator == b"T*"


def _string(stream: bytes, begin: int) -> tuple[bytes, int]:
    """A literal string behind its `(`, and where it ends. One that never ends takes all that is left."""
    depth = 1
    at = begin
    while found := _IN_STRING.search(stream, at):
        at = found.end()
        if found[0] == b"\\":
            at += 1
        elif found[0] == b"(":
            depth += 1
        else:
            depth -= 1
            if not depth:
                return _ESCAPED.sub(_unescaped, stream[begin : at - 1]), at
    return stream[begin:], len(stream)


def _unescaped(found: re.Match[bytes]) -> bytes:
    mark = found[1]
    if mark[:1] in b"01234567":
        return bytes((int(mark, 8) & 0xFF,))
    if mark in {b"\n", b"\r", b"\r\n"}:
        return b""
    return _SHORT.get(mark, mark)


_RANGES: Final = re.compile(rb"begin(bfchar|bfrange)\s(.*?)end(?:bfchar|bfrange)", re.DOTALL)
_HEX: Final = re.compile(rb"<\s*([0-9A-Fa-f\s]{1,64})>|(\[)|(\])")


def unicode_maps(cmaps: Iterable[bytes]) -> list[UnicodeMap]:
    """What ToUnicode streams say of codes (9.10.3)."""
    maps: list[UnicodeMap] = []
    for cmap in cmaps:
        found = dict(islice(_codes(cmap), _MOST_CODES))
        if len({len(code) for code in found}) == 1 and found not in maps:
            maps.append(found)
    return maps


def _codes(cmap: bytes) -> Iterator[tuple[bytes, bytes]]:
    for section in _RANGES.finditer(cmap):
        words = [_word(each) for each in _HEX.finditer(section[2])]
        if section[1] == b"bfchar":
            pairs = zip(words[::2], words[1::2], strict=False)
            yield from ((code, _utf8(text)) for code, text in pairs if code and text)
        else:
            yield from _ranges(words)


def _word(found: re.Match[bytes]) -> bytes | None:
    """None for a bracket."""
    digits = re.sub(rb"\s", b"", found[1] or b"")
    return bytes.fromhex(digits.decode()) if digits and not len(digits) % 2 else None


def _ranges(words: Sequence[bytes | None]) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 2 < len(words):
        first, last, target = words[at : at + 3]
        at += 3
        if first is None or last is None:
            continue
        width = len(first)
        low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
        codes = range(low, min(high, low + 0xFFFF) + 1)
        if target is not None:
            start = int.from_bytes(target, "big")
            for offset, code in enumerate(codes):
                text = (start + offset).to_bytes(len(target) + 1, "big")[1:]
                yield code.to_bytes(width + 1, "big")[1:], _utf8(text)
            continue
        for code in codes:  # an array: a target for each code
            text_or_end = words[at] if at < len(words) else None
            at += 1
            if text_or_end is None:
                break
            yield code.to_bytes(width + 1, "big")[1:], _utf8(text_or_end)
        while at < len(words) and words[at] is None:
            at += 1


def _utf8(text: bytes) -> bytes:
    return text.decode("utf-16-be", "replace").encode("utf-8", "replace")
