"""PDF: what its streams hold, unfiltered, and the text that its pages show, put together again.

A page shows text in pieces (`[(AKIA) -3 (ABCD)] TJ`), moved by small amounts. Pieces on one line are joined twice:
with a space where there was a gap, and without. (ISO 32000-1, 7.3, 7.4 and 9.4)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from keyturn.leaks.containers.inflating import FAULTS, ZLIB, Inflater
from keyturn.leaks.containers.interface import DamagedError, Format, Job, Member, Stream, swollen
from keyturn.leaks.containers.pdf_text import lines_shown, unicode_maps

_MOST: Final = 32 << 20
"""Of one stream. What is longer is cut, and said."""
_DICTIONARY: Final = 8192
_MOST_OF_A_MAP: Final = 1 << 20
_MOST_MAPS: Final = 32
_END: Final = re.compile(rb"endstream")
_STREAM: Final = re.compile(rb"(?<!end)stream\r?\n")
_OBJECT: Final = re.compile(rb"(\d{1,10})\s{1,8}\d{1,5}\s{1,8}obj\b")
_FILTER: Final = re.compile(rb"/Filter\s{0,8}(\[[^\]]{0,200}\]|/\w{1,30})")
_LENGTH: Final = re.compile(rb"/Length\s{1,8}(\d{1,12})(?!\s{1,8}\d{1,5}\s{1,8}R)")
_ENCRYPTED: Final = re.compile(rb"/Encrypt\s{1,8}\d{1,10}\s{1,8}\d{1,5}\s{1,8}R")
_HOLDS_NO_TEXT: Final = re.compile(
    rb"/Subtype\s{0,8}/(?:Image|Type1C|CIDFontType0C|OpenType)|/Type\s{0,8}/XRef|/Length1\s"
)


def recognises(head: bytes, _tail: bytes) -> bool:
    return b"%PDF-" in head[:1024]


def members(content: Stream, job: Job) -> Iterator[Member]:
    data = content.whole()
    if _ENCRYPTED.search(data):
        job.skipped("", "the PDF is encrypted")
        return
    cmaps: list[bytes] = []
    for name, text in _unfiltered_streams(data, job):
        yield Member(name, Stream([text]))
        if b"BT" in text:
            yield Member(name, Stream(lines_shown(text, [None])), is_reading=True)
        if b"beginbf" in text and len(text) < _MOST_OF_A_MAP and len(cmaps) < _MOST_MAPS:
            cmaps.append(text)
    maps = unicode_maps(cmaps)
    if not maps:
        return
    # Maps stand anywhere, so the pages are gone through once more: to keep them all would cost memory.
    for name, text in _unfiltered_streams(data, replace(job, skipped=lambda _name, _reason: None)):
        if b"BT" in text:
            yield Member(name, Stream(lines_shown(text, maps)), is_reading=True)


def _unfiltered_streams(data: memoryview, job: Job) -> Iterator[tuple[str, bytes]]:
    for name, dictionary, raw in _streams(data):
        if _HOLDS_NO_TEXT.search(dictionary):
            continue
        try:
            text = _unfiltered(dictionary, raw, job.pay)
        except DamagedError as error:
            job.skipped(name, str(error))
            continue
        if text is not None:
            yield name, text


def _streams(data: memoryview) -> Iterator[tuple[str, bytes, memoryview]]:
    """Each stream's name, its dictionary, and its bytes as they stand."""
    at = 0
    while found := _STREAM.search(data, at):
        before = bytes(data[max(at, found.start() - _DICTIONARY) : found.start()])
        objects = list(_OBJECT.finditer(before))
        dictionary = before[objects[-1].end() :] if objects else before
        name = f"object {objects[-1][1].decode()}" if objects else f"stream at {found.start()}"
        begin = found.end()
        length = _LENGTH.search(dictionary)
        end = begin + int(length[1]) if length else -1
        if not length or not bytes(data[end : end + 12]).lstrip().startswith(b"endstream"):
            closing = _END.search(data, begin)
            end = closing.start() if closing else len(data)
        yield name, dictionary, data[begin:end]
        at = end


def _unfiltered(dictionary: bytes, raw: memoryview, pay: Callable[[int], None]) -> bytes | None:
    """None: an image, or what else no text can stand in."""
    found = _FILTER.search(dictionary)
    if not found:
        return bytes(raw[:_MOST])
    decoders = [_FILTERS.get(name) for name in re.findall(rb"/(\w+)", found[1])]
    data = bytes(raw)
    for decode in decoders:
        if decode is None:
            return None
        data = decode(data)
        pay(len(data))
    return data


def _flate(data: bytes) -> bytes:
    inflater = Inflater(ZLIB)
    parts: list[bytes] = []
    made = 0
    while not inflater.eof and made < _MOST:
        try:
            part = inflater.decompress(data if not parts else b"", 1 << 20)
        except FAULTS as error:
            if parts:
                break  # readers show what there was; so do we
            raise DamagedError(f"it is damaged: {error}") from error
        if not part:
            break
        parts.append(part)
        made += len(part)
        if swollen(made, len(data)):
            raise DamagedError(f"a bomb: {len(data)} bytes became more than {made}")
    return b"".join(parts)


def _ascii85(data: bytes) -> bytes:
    text = bytes(data).translate(None, b" \t\r\n\f\0").removeprefix(b"<~")
    text = text.split(b"~", 1)[0]
    try:
        return base64.a85decode(text)
    except ValueError as error:
        raise DamagedError(f"it is damaged: {error}") from error


def _ascii_hex(data: bytes) -> bytes:
    text = data.split(b">", 1)[0].translate(None, b" \t\r\n\f\0")
    try:
        return binascii.unhexlify(text + b"0" * (len(text) % 2))
    except ValueError as error:
        raise DamagedError(f"it is damaged: {error}") from error


def _lzw(data: bytes) -> bytes:
    """Codes of 9 to 12 bits, 256 to begin anew, 257 to end, wider one code early (7.4.4)."""
    out = bytearray()
    table: list[bytes] = []
    previous = b""
    bits = held = at = 0
    width = 9
    base = [bytes((n,)) for n in range(256)] + [b"", b""]
    while len(out) < _MOST:
        while held < width and at < len(data):
            bits = bits << 8 | data[at]
            at += 1
            held += 8
        if held < width:
            break
        held -= width
        code = bits >> held
        bits &= (1 << held) - 1
        if code == 256:
            table, previous, width = list(base), b"", 9
            continue
        if code == 257 or not table or code > len(table):
            break
        entry = table[code] if code < len(table) else previous + previous[:1]
        out += entry
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        previous = entry
        width = min(12, max(9, (len(table) + 1).bit_length()))
        if swollen(len(out), len(data)):
            raise DamagedError(f"a bomb: {len(data)} bytes became more than {len(out)}")
    return bytes(out)


def _run_length(data: bytes) -> bytes:
    out = bytearray()
    at = 0
    while at < len(data) and len(out) < _MOST:
        count = data[at]
        at += 1
        if count == 128:
            break
        if count < 128:
            out += data[at : at + count + 1]
            at += count + 1
        else:
            out += data[at : at + 1] * (257 - count)
            at += 1
    return bytes(out)


_FILTERS: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"FlateDecode": _flate,
    b"Fl": _flate,
    b"ASCII85Decode": _ascii85,
    b"A85": _ascii85,
    b"ASCIIHexDecode": _ascii_hex,
    b"AHx": _ascii_hex,
    b"LZWDecode": _lzw,
    b"LZW": _lzw,
    b"RunLengthDecode": _run_length,
    b"RL": _run_length,
}

FORMAT: Final = Format("pdf", recognises, members, needs_whole=True)
