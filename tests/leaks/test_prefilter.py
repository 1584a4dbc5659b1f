"""The prefilter misses no spelling, with the engine or without it, and costs nothing where there is nothing."""

from __future__ import annotations

import base64
import gzip
import lzma
import re
import threading
import zlib
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.leaks.prefilter import _PATTERNS, Magic, Prefilter
from leaks.corpus import Maker, planted

ENGINE: Final = Prefilter()
PURE: Final = Prefilter(pure=True)


def test_no_planted_file_is_passed_over() -> None:
    for one in planted(1):
        if one.ids:
            assert ENGINE.may_hold(one.content), one.how


def test_both_ways_of_searching_give_the_same_hits() -> None:
    for one in planted(2)[::7]:
        assert ENGINE.hits(one.content) == PURE.hits(one.content), one.how
        assert ENGINE.has_prefix(one.content) == PURE.has_prefix(one.content), one.how


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
@given(st.data())
def test_the_engine_sees_what_each_expression_says_wherever_it_stands(data: st.DataObject) -> None:
    """Hyperscan 5.4 passes over some expressions behind some sixty bytes of text: none of ours may be such."""
    pattern = data.draw(st.sampled_from(_PATTERNS))
    text = data.draw(st.from_regex(re.compile(pattern.expression, re.DOTALL), fullmatch=True))
    for before in (b"", b"x", b"lorem ipsum " * 20):
        assert ENGINE.has_prefix(before + text + b" dolor" * 40), pattern.expression


@pytest.mark.parametrize("alignment", range(9))
def test_an_id_in_base64_of_base64_is_seen_in_each_alignment(alignment: int) -> None:
    once = base64.b64encode(b"x" * (alignment % 3) + Maker(1).id().encode() + b"yy")
    assert ENGINE.has_prefix(base64.b64encode(b"z" * (alignment // 3) + once))


@pytest.mark.parametrize("prefilter", [ENGINE, PURE], ids=["engine", "pure"])
@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04....",
        b"7z\xbc\xaf\x27\x1c....",
        b"Rar!\x1a\x07\x01\x00",
        b"!<arch>\ndebian-binary   ",
        b"\xed\xab\xee\xdb\x03\x00",
        zlib.compress(b"text" * 100),
        lzma.compress(b"text" * 100, lzma.FORMAT_ALONE),
        b"\x7fELF" + bytes(5000) + b"PK\x05\x06" + bytes(18),
        b"notes.txt".ljust(148, b"\0") + b"012345\0 0" + bytes(355),
        b"user_data: " + base64.b64encode(gzip.compress(b"text" * 100)),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_containers_are_looked_into_wherever_they_begin(prefilter: Prefilter, data: bytes) -> None:
    assert prefilter.may_hold(data)
    assert not prefilter.has_prefix(data)
    assert prefilter.hits(data) == []


def test_the_list_of_magics_can_be_extended() -> None:
    assert Prefilter([Magic(b"late", offset=3, within=2)], pure=True).may_hold(b"12345late")


def test_ordinary_text_gives_no_hit() -> None:
    maker = Maker(1)
    text = (
        maker.prose(200) + "\nASIA PACIFIC, COLUMBIA, Arabia\n" + maker.b64(20_000) + maker.hex(9_000)
    ).encode()
    assert ENGINE.hits(text) == []


def test_threads_do_not_share_their_scratch_space() -> None:
    text = b"x" * 10_000 + Maker(1).id().encode()
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(ENGINE.has_prefix(text) for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 800
