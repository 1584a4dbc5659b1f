"""The canonical parts, and that odd input costs no more time than plain input of its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.sigv4 import PathStyle, SignedRequest, query_parameters
from keyturn.sigv4.canonical_request import (
    SignedHeaders,
    canonical_pairs,
    canonical_path,
    canonical_query,
    gather_headers,
    split_target,
)
from sigv4.signed_examples import header_form, replaced, verify

MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("path", "normalised", "as_sent"),
    [
        (b"/", b"/", b"/"),
        (b"//", b"/", b"//"),
        (b"/a/", b"/a/", b"/a/"),
        (b"/a//b/", b"/a/b/", b"/a//b/"),
        (b"/./a/.", b"/a", b"/./a/."),
        (b"/a/b/..", b"/a", b"/a/b/.."),
        (b"/.hidden/..x", b"/.hidden/..x", b"/.hidden/..x"),
        (b"/a%20b", b"/a%2520b", b"/a%20b"),
        (b"/a b", b"/a%20b", b"/a%20b"),
        (b"/a%2fb", b"/a%252fb", b"/a%2Fb"),
        (b"/%7e~", b"/%257e~", b"/~~"),
        (b"/a=b+c:d", b"/a%3Db%2Bc%3Ad", b"/a%3Db%2Bc%3Ad"),
        ("/é".encode(), b"/%C3%A9", b"/%C3%A9"),
    ],
)
def test_a_path_has_one_canonical_form_in_each_style(path: bytes, normalised: bytes, as_sent: bytes) -> None:
    assert canonical_path(path, PathStyle.NORMALISED) == normalised
    assert canonical_path(path, PathStyle.AS_SENT) == as_sent


@pytest.mark.parametrize("path", [b"/..", b"/a/../..", b"/a/./../../b", b"//.."])
@pytest.mark.parametrize("style", PathStyle)
def test_no_path_climbs_above_the_root(path: bytes, style: PathStyle) -> None:
    assert canonical_path(path, style) is None


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        (b"", b""),
        (b"a", b"a="),
        (b"&&a=1&", b"a=1"),
        (b"b=2&a=1", b"a=1&b=2"),
        (b"a=2&a=1&a", b"a=&a=1&a=2"),
        (b"a=b=c", b"a=b%3Dc"),
        (b"a-b=1&a=1&a.b=1", b"a=1&a-b=1&a.b=1"),
        (b"%61=%7E%2b", b"a=~%2B"),
        (b"a+b=c+d", b"a%2Bb=c%2Bd"),
        (b"a=%c3%a9", b"a=%C3%A9"),
        (b"Z=1&a=1&%41=2", b"A=2&Z=1&a=1"),
    ],
)
def test_a_query_string_is_sorted_by_encoded_name_then_value(query: bytes, canonical: bytes) -> None:
    pairs = canonical_pairs(query)
    assert pairs is not None
    assert canonical_query(pairs) == canonical


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=8)), max_size=6))
def test_a_handler_reads_the_parameters_that_were_signed(pairs: list[tuple[bytes, bytes]]) -> None:
    written = b"&".join(
        b"".join(b"%%%02x" % b for b in name) + b"=" + b"".join(b"%%%02X" % b for b in value)
        for name, value in pairs
    )
    assert query_parameters(b"/?" + written) == pairs
    canonical = canonical_pairs(written)
    assert canonical is not None
    again = canonical_pairs(canonical_query(canonical))
    assert again is not None
    assert sorted(again) == sorted(canonical)


def test_header_values_are_trimmed_and_inner_runs_become_one_space() -> None:
    values = gather_headers([(b"a", b"  x \t  y\t"), (b"b", b'"p  q"'), (b"a", b"z "), (b"c", b"")])
    assert SignedHeaders((b"a", b"b", b"c")).lines(values) == b'a:x y,z\nb:"p q"\nc:\n'


def test_a_header_name_may_hold_a_percent_sign() -> None:
    assert SignedHeaders((b"%b%", b"a")).lines({b"a": b"%b", b"%b%": b"1"}) == b"%b%:1\na:%b\n"


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \t"), max_size=8), min_size=1, max_size=3))
def test_trimming_agrees_with_its_plain_description(values: list[str]) -> None:
    headers = [(b"a", value.encode()) for value in values]
    expected = ",".join(" ".join(value.split()) for value in values)
    assert SignedHeaders((b"a",)).lines(gather_headers(headers)) == f"a:{expected}\n".encode()


@pytest.mark.parametrize(
    "target", [b"", b"a", b"*", b"http://h/", b"/%", b"/%4", b"/\n", b"/a\x7f", b"/?\x00"]
)
def test_a_target_is_an_absolute_path_without_control_characters(target: bytes) -> None:
    assert split_target(target) is None


def _large_target(start: bytes, middle: bytes, end: bytes) -> SignedRequest:
    request = header_form()
    target = start + middle * (MEBIBYTE // len(middle)) + end
    return SignedRequest(request.method, target, request.headers, request.body)


def _large_header(name: str, middle: str) -> SignedRequest:
    value = middle * (MEBIBYTE // len(middle))
    request = header_form()
    if name == "authorization":
        return replaced(request, b"authorization", b"AWS4-HMAC-SHA256 " + value.encode())
    if name in {"host", "x-amz-date"}:
        return replaced(request, name.encode(), value.encode())
    return header_form(headers=[(name, value)])


PATHOLOGICAL: dict[str, Callable[[], SignedRequest]] = {
    "one long segment and a byte that is not plain": lambda: _large_target(b"/", b"a", b"!"),
    "the path that hung": lambda: _large_target(b"/photos/2026/11/", b"cat-0", b".jpg!"),
    "short segments": lambda: _large_target(b"", b"/a", b"!"),
    "dots and dashes": lambda: _large_target(b"/", b"a.-~_", b"\xff"),
    "slashes": lambda: _large_target(b"", b"/", b"!"),
    "dot segments": lambda: _large_target(b"", b"/.", b"!"),
    "down and up": lambda: _large_target(b"", b"/a/..", b""),
    "up": lambda: _large_target(b"/a", b"/..", b""),
    "escapes": lambda: _large_target(b"/", b"%41", b"%"),
    "percent signs": lambda: _large_target(b"/?", b"%", b""),
    "parameters": lambda: _large_target(b"/?", b"a=%41&", b""),
    "one parameter": lambda: _large_target(b"/?a=", b"b", b"!"),
    "equal signs": lambda: _large_target(b"/?", b"=", b""),
    "ampersands": lambda: _large_target(b"/?", b"&", b""),
    "repeated X-Amz- parameters": lambda: _large_target(b"/?X-Amz-Algorithm=1", b"&x-AMZ-a", b""),
    "a header of spaces": lambda: _large_header("x-amz-meta", " "),
    "a header of words": lambda: _large_header("x-amz-meta", "a  "),
    "an Authorization header of commas": lambda: _large_header("authorization", ","),
    "an Authorization header of parameters": lambda: _large_header("authorization", "a=b,"),
    "an Authorization header of one word": lambda: _large_header("authorization", "a"),
    "an Authorization header of spaces": lambda: _large_header("authorization", " "),
    "an Authorization header that never ends its credential": lambda: _large_header(
        "authorization", "Credential="
    ),
    "a long credential": lambda: header_form(key_id="A" * MEBIBYTE),
    "a credential of slashes": lambda: header_form(key_id="/" * MEBIBYTE),
    "a long region": lambda: header_form(region="a-" * (MEBIBYTE // 2)),
    "a long list of signed headers": lambda: header_form(
        signed_names=["host", *(f"x{n:06d}" for n in range(MEBIBYTE // 8))]
    ),
    "a date of digits": lambda: _large_header("x-amz-date", "2"),
    "a host of spaces": lambda: _large_header("host", " \t"),
    "many headers": lambda: SignedRequest(
        b"POST", b"/", [*header_form().headers, *[(b"a%d" % n, b"1") for n in range(50_000)]], b""
    ),
    "one header many times": lambda: SignedRequest(
        b"POST", b"/", [*header_form().headers, *[(b"accept", b"a  b")] * 50_000], b""
    ),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("what", PATHOLOGICAL)
def test_a_mebibyte_of_odd_input_is_answered_at_once(what: str) -> None:
    """Anything worse than linear would take hours: the bound is far above what any of these takes."""
    verify(PATHOLOGICAL[what]())


@pytest.mark.timeout(10)
@pytest.mark.parametrize("style", PathStyle)
@pytest.mark.parametrize("middle", [b"a", b"/a", b"/", b"/.", b"a.-~", b"%41", b"/a/.."])
@pytest.mark.parametrize("end", [b"", b"!"])
def test_a_mebibyte_of_path_is_read_at_once(middle: bytes, end: bytes, style: PathStyle) -> None:
    path = canonical_path(b"/x" + middle * (MEBIBYTE // len(middle)) + end, style)
    assert path is None or path.startswith(b"/")
