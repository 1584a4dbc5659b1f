"""Containers give up what is in them, and stop where they cost too much."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import zstandard

from keyturn.leaks.containers.interface import Stream
from keyturn.leaks.containers.pdf_text import lines_shown, unicode_maps
from keyturn.leaks.containers.unpack import Limits, Unpacker
from keyturn.leaks.findings import Place, Skipped
from keyturn.model.access_keys import NewAccessKey
from leaks.archive_corpus import (
    Planted,
    database_of,
    environment_of,
    new_key,
    pdf_of,
    planted,
    shown_in_pieces,
    tarred,
    zipped,
)

KEY = new_key(Random(3))  # noqa: S311 - it seeds a corpus
ENVIRONMENT = environment_of(KEY)


@dataclass
class Notes:
    skips: list[Skipped] = field(default_factory=list)

    def advanced(self, searched: int, whole: int | None) -> None:
        pass

    def skipped(self, what: Skipped) -> None:
        self.skips.append(what)

    @property
    def reasons(self) -> str:
        return "; ".join(f"{skip.place.member}: {skip.reason}" for skip in self.skips)


def holds_key(data: object) -> bool:
    return any(prefix in bytes(data) for prefix in (b"AKIA", KEY.secret.reveal()))  # type: ignore[call-overload]  # any buffer


@dataclass
class Opened:
    """What was seen of a content: every text in it that may hold a key, by its member."""

    texts: dict[str | None, bytes]
    notes: Notes

    def members_with(self, key: NewAccessKey) -> set[str | None]:
        whole = (key.access_key_id.encode(), key.secret.reveal())
        return {member for member, text in self.texts.items() if all(part in text for part in whole)}


def opened(data: bytes, limits: Limits | None = None, unpacker: Unpacker | None = None) -> Opened:
    notes, texts = Notes(), dict[str | None, bytes]()
    unpacker = unpacker or Unpacker(holds_key, limits or Limits())
    for piece in unpacker.contents(Place("test"), Stream(backing=memoryview(data)), notes):
        texts[piece.place.member] = texts.get(piece.place.member, b"") + bytes(piece.data)
    return Opened(texts, notes)


@pytest.mark.parametrize("seed", [1, 20261123])
def test_a_key_is_found_in_every_format_and_in_every_format_inside_of_every_other(seed: int) -> None:
    missed = [
        each.name for each in planted(seed) if each.member not in opened(each.data).members_with(each.key)
    ]
    assert missed == []


def test_what_is_whole_gives_no_reason_to_doubt_it() -> None:
    def doubted(each: Planted) -> str:
        return "" if "cutoff" in each.name else opened(each.data).notes.reasons

    assert [each.name for each in planted(2) if doubted(each)] == []


def test_an_encrypted_member_is_said_to_be_skipped_and_the_others_are_read() -> None:
    data = bytearray(zipped(ENVIRONMENT, "open.env"))
    for at in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
        data[at] |= 1  # README is the first member
    found = opened(bytes(data))
    assert found.notes.reasons == "README: it is encrypted"
    assert found.members_with(KEY) == {"open.env"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7z archives are not unpacked"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(64), "rar archives are not unpacked"),
        (gzip.compress(os.urandom(5000))[:-2000], "it ends in the middle"),
        (zstandard.compress(os.urandom(5000))[:2000], ""),
        (lzma.compress(os.urandom(5000))[:-900], "it ends in the middle"),
        (pdf_of(b"BT ET").replace(b"/Root 1 0 R", b"/Encrypt 9 0 R /Root 1 0 R"), "the PDF is encrypted"),
        (tarred(ENVIRONMENT)[:1600], "it ends in the middle"),
    ],
)
def test_what_can_not_be_read_is_said(data: bytes, reason: str) -> None:
    assert reason in opened(data).notes.reasons


def test_a_member_that_is_damaged_does_not_hide_its_neighbours() -> None:
    data = bytearray(zipped(ENVIRONMENT))
    begin = data.find(b"README") + len(b"README")
    data[begin : begin + 4] = b"\xff\xff\xff\xff"
    found = opened(bytes(data))
    assert found.notes.reasons.startswith("README: it is damaged")
    assert found.members_with(KEY) == {"conf/app.env"}


def test_a_comment_and_what_stands_between_the_members_of_a_zip_are_searched() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "x")
        archive.comment = ENVIRONMENT
    assert opened(out.getvalue()).members_with(KEY) == {None}


def test_a_clean_member_is_read_once_a_scan() -> None:
    asked: list[int] = []

    def may_hold(data: object) -> bool:
        asked.append(1)
        return holds_key(data)

    unpacker = Unpacker(may_hold)
    opened(zipped(ENVIRONMENT), unpacker=unpacker)
    first = len(asked)
    again = opened(zipped(ENVIRONMENT), unpacker=unpacker)
    assert again.members_with(KEY) == {"conf/app.env"}
    assert (
        len(asked) - first == first - 1
    )  # README was clean; the container and the other one were read again


# Databases, documents


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("padding", [0, 300, 900, 5000, 70_000])
def test_texts_of_a_row_come_apart_and_come_whole_however_long_it_is(page_size: int, padding: int) -> None:
    text = opened(database_of(KEY, padding=padding, page_size=page_size)).texts[None]
    assert f"\n{KEY.access_key_id}\n".encode() + KEY.secret.reveal() + b"\n" in text


def test_a_chain_of_pages_that_leads_in_a_circle_ends() -> None:
    data = bytearray(database_of(KEY, padding=5000))
    for page in range(2, len(data) // 1024):
        data[page * 1024 : page * 1024 + 4] = (page + 1).to_bytes(4, "big")
    opened(bytes(data))


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_database_is_read_as_far_as_it_goes(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - as above
    data = bytearray(database_of(KEY, padding=2000))
    for _ in range(200):
        data[chance.randrange(16, len(data))] = chance.randrange(256)
    opened(bytes(data))


def lzw(data: bytes) -> bytes:
    """As PDF has it, without ever widening: a clear code before the table grows."""
    bits = "".join(f"{256:09b}{byte:09b}" for byte in data) + f"{257:09b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize(
    ("filters", "encode"),
    [
        ("/FlateDecode", zlib.compress),
        ("/LZWDecode", lzw),
        ("/RunLengthDecode", lambda data: b"".join(bytes((0, each)) for each in data) + b"\x80"),
        ("/ASCIIHexDecode /FlateDecode", lambda data: zlib.compress(data).hex().encode() + b">"),
        ("/A85 /Fl", lambda data: b"<~" + base64.a85encode(zlib.compress(data), wrapcol=60) + b"~>"),
    ],
)
def test_the_text_of_a_page_is_put_together_through_every_filter(filters: str, encode: object) -> None:
    assert callable(encode)
    found = opened(pdf_of(shown_in_pieces(KEY), filters, encode))
    assert found.members_with(KEY) == {"object 4"}


def test_glyphs_set_one_by_one_on_a_line_are_one_word() -> None:
    text = f"{KEY.access_key_id} {KEY.secret.reveal().decode()}"
    shown = " ".join(f"1 0 0 1 {72 + 7 * at} 700 Tm ({each}) Tj" for at, each in enumerate(text))
    assert opened(pdf_of(f"BT /F1 9 Tf {shown} ET".encode())).members_with(KEY) == {"object 4"}


def test_glyph_numbers_are_read_by_the_document_s_own_map() -> None:
    text = f"{KEY.access_key_id} {KEY.secret.reveal().decode()}"
    letters = sorted(set(text))
    codes = {each: number + 3 for number, each in enumerate(letters)}
    glyphs = "".join(f"{codes[each]:04x}" for each in text)
    chars = "\n".join(f"<{codes[each]:04x}> <{ord(each):04x}>" for each in letters)
    cmap = f"1 begincodespacerange <0000> <ffff> endcodespacerange {len(letters)} beginbfchar\n{chars}\nendbfchar"
    page = zlib.compress(f"BT /F1 9 Tf <{glyphs}> Tj ET".encode())
    packed = zlib.compress(cmap.encode())
    data = b"%%PDF-1.4\n4 0 obj\n<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream\nendobj\n" % (
        len(page),
        page,
    )
    data += b"5 0 obj\n<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream\nendobj\n" % (
        len(packed),
        packed,
    )
    assert opened(data).members_with(KEY) == {"object 4"}


def test_a_sparse_file_of_a_tar_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(ENVIRONMENT)
    with_holes = subprocess.run(
        ["sh", "-c", "truncate -s 40M big && cat key >> big && truncate -s 80M big && tar -cSf - big"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    assert len(with_holes) < 100_000
    assert opened(with_holes).members_with(KEY) == {"big"}


# What costs too much


def bomb(size: int) -> bytes:
    return gzip.compress(bytes(size), 9)


def test_a_gzip_bomb_is_cut_and_said() -> None:
    found = opened(bomb(300 << 20))
    assert "a bomb" in found.notes.reasons


def test_a_bomb_in_an_archive_does_not_hide_what_comes_after_it() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("zeros", bytes(200 << 20))
        archive.writestr("app.env", ENVIRONMENT)
    found = opened(out.getvalue())
    assert "zeros: a bomb" in found.notes.reasons
    assert found.members_with(KEY) == {"app.env"}


def overlapping(count: int) -> bytes:
    """A directory that lists one member many times (the shape of Fifield's bomb)."""
    packed = zlib.compress(bytes(4 << 20), 9)[2:-4]
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), 4 << 20, 1, 0) + b"x" + packed
    entries = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), 4 << 20, 6, 0, 0, 0, 0, 0, 0
        )
        + b"%06d" % number
        for number in range(count)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count % 65536, count % 65536, len(entries), len(local), 0)
    return local + entries + end


def test_a_bomb_of_overlapping_members_is_cut_by_what_all_of_it_becomes() -> None:
    found = opened(overlapping(20_000))  # 80 GB from 1 MB
    assert "which is a bomb: the rest was left out" in found.notes.reasons


def test_small_bombs_have_one_allowance_together() -> None:
    unpacker = Unpacker(holds_key, Limits(allowance=8 << 20, pool=16 << 20, ratio=10))
    made = bomb(6 << 20)
    reasons = [opened(made, unpacker=unpacker).notes.reasons for _ in range(5)]
    assert reasons[0] == ""
    assert "bomb" in reasons[4]


@pytest.mark.parametrize(
    "wrap", [zipped, gzip.compress, tarred, lambda data: base64.b64encode(gzip.compress(data))]
)
def test_nesting_ends_at_the_eighth_level_and_says_so(wrap: object) -> None:
    assert callable(wrap)
    data = ENVIRONMENT
    for _ in range(30):
        data = wrap(data)
    found = opened(data)
    assert "nested deeper than 8" in found.notes.reasons


def test_a_tree_of_archives_that_each_hold_many_ends() -> None:
    def many(data: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for number in range(16):
                info = tarfile.TarInfo(f"{number}.tgz")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    data = b"nothing"
    for _ in range(4):
        data = many(data)
    found = opened(data, Limits(members=5000))
    assert "more than 5000 members" in found.notes.reasons
    found = opened(data, Limits(allowance=4 << 20))
    assert "which is a bomb" in found.notes.reasons


def test_an_archive_that_holds_itself_ends() -> None:
    """As a quine does: whatever is unpacked is the same archive again."""

    class Self:
        def __init__(self) -> None:
            self.data = zipped(b"x", "self.zip", zipfile.ZIP_STORED)

    unpacker = Unpacker(holds_key, Limits(depth=8))
    data = Self().data
    for _ in range(200):
        data = zipped(data, "self.zip")
    assert "nested deeper than 8" in opened(data, unpacker=unpacker).notes.reasons


def test_a_header_that_claims_a_name_of_gigabytes_costs_no_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)

    def pieces() -> Iterator[bytes]:
        yield header
        for _ in range(64):
            yield bytes(1 << 20)

    notes = Notes()
    tracemalloc.start()
    try:
        list(Unpacker(holds_key).contents(Place("test"), Stream(pieces()), notes))
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()
    assert "a header of 8589934592 bytes was cut" in notes.reasons


def test_a_container_that_must_be_held_as_a_whole_and_is_too_large_is_searched_as_it_is() -> None:
    inside = zipped(ENVIRONMENT + os.urandom(3 << 20), method=zipfile.ZIP_STORED)
    found = opened(gzip.compress(inside), Limits(held=1 << 20))
    assert "larger than the 1 MiB that may be held at once" in found.notes.reasons
    assert found.members_with(KEY) == {None}


def test_a_line_of_gigabytes_is_searched_in_bounded_memory() -> None:
    """In a process of its own, whose memory can be measured as a whole."""
    script = """
from pathlib import Path
from keyturn.leaks.containers.interface import Stream
from keyturn.leaks.containers.unpack import Unpacker
from keyturn.leaks.findings import Place
def most():  # not getrusage: there a child begins with what its parent had when it forked
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
class Notes:
    def advanced(self, *_): pass
    def skipped(self, what): print(what.reason)
def pieces():
    for number in range(2500):
        yield b"x" * (1 << 20) if number != 1600 else b"y" * 1000 + b"AKIA" + b"x" * 1000
before = most()
found = [piece.starts_at for piece in Unpacker(lambda d: b"AKIA" in d).contents(Place("x"), Stream(pieces()), Notes())]
print(len(found), found[0] < 1600 << 20 < found[0] + (16 << 20))
print(most() - before < 150_000)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[:2] == ["1 True", "True"]


def test_filters_of_a_pdf_that_make_much_and_hand_out_nothing_are_paid_for() -> None:
    once = zlib.compress(zlib.compress(bytes(24 << 20), 9), 9)
    stream = b"4 0 obj\n<< /Filter [/Fl /Fl /Fl] >>\nstream\n%s\nendstream\nendobj\n" % once
    found = opened(b"%PDF-1.4\n" + stream * 3000)
    assert "which is a bomb: the rest was left out" in found.notes.reasons


def test_a_page_of_many_pieces_and_a_map_of_billions_of_codes_are_read_in_one_pass() -> None:
    page = b"BT " + b"(a) Tj " * 300_000 + b"ET"
    assert b"a" * 300_000 in b"".join(lines_shown(page, [None]))
    ranges = b"beginbfrange\n" + b"<0000> <ffff> <0041>\n" * 50_000 + b"endbfrange"
    (codes,) = unicode_maps([ranges])
    assert len(codes) == 65_536
    assert len(unicode_maps([b"begin" + b"bfrange <00> <ff> [" * 10_000])) == 0


def test_rows_that_all_lead_into_one_long_chain_are_paid_for() -> None:
    data = bytearray(database_of(KEY, padding=200_000, page_size=4096))
    leaf = max(at for at in range(4096, len(data), 4096) if data[at] == 13)
    count = int.from_bytes(data[leaf + 3 : leaf + 5], "big")
    pointer = data[leaf + 6 + 2 * count : leaf + 8 + 2 * count]
    data[leaf + 3 : leaf + 5] = (200).to_bytes(2, "big")
    data[leaf + 8 : leaf + 408] = pointer * 200
    found = opened(bytes(data), Limits(allowance=1 << 20, ratio=2))
    assert "which is a bomb" in found.notes.reasons


def test_four_letters_that_look_like_an_archive_in_base64_raise_no_alarm() -> None:
    text = b"sha512-H4sI" + base64.b64encode(Random(9).randbytes(300))  # noqa: S311 - any bytes
    assert opened(text).notes.reasons == ""


def test_a_large_bzip2_in_base64_is_unpacked() -> None:
    packed = bz2.compress(Random(9).randbytes(60_000) + ENVIRONMENT)  # noqa: S311 - any bytes
    assert opened(base64.b64encode(packed)).members_with(KEY) == {"base64@0"}


def test_a_member_that_claims_to_be_one_that_was_clean_is_read() -> None:
    clean, hidden = (
        zipped(b"x" * len(ENVIRONMENT), "a", zipfile.ZIP_STORED),
        bytearray(zipped(ENVIRONMENT, "a", 0)),
    )
    crc = zlib.crc32(b"x" * len(ENVIRONMENT)).to_bytes(4, "little")
    hidden = bytearray(bytes(hidden).replace(zlib.crc32(ENVIRONMENT).to_bytes(4, "little"), crc))
    unpacker = Unpacker(holds_key)
    opened(clean, unpacker=unpacker)
    assert "a" in opened(bytes(hidden), unpacker=unpacker).members_with(KEY)


@pytest.mark.parametrize("seed", range(40))
def test_bytes_changed_at_random_never_raise(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - as above
    for each in planted(seed):
        if "--" in each.name and chance.random() < 0.9:
            continue
        data = bytearray(each.data)
        for _ in range(chance.randrange(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        opened(bytes(data), Limits(allowance=32 << 20))
