"""Whom a request is believed to come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.http.forwarded import ForwardedFrom, Source, networks
from keyturn.model.errors import KeyturnError

PROXIES = ForwardedFrom(networks(["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]))


def forwarded(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"keys.example"), *((b"x-forwarded-for", value) for value in values)]


def believed(peer: str, *values: bytes) -> str:
    return PROXIES.believe(peer, "http", forwarded(*values)).address


def test_an_untrusted_peer_cannot_say_that_it_is_somebody_else() -> None:
    headers = [*forwarded(b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    assert PROXIES.believe("198.51.100.1", "http", headers) == Source("198.51.100.1", "http")


def test_without_proxies_nobody_is_believed() -> None:
    assert ForwardedFrom().believe("10.0.0.1", "http", forwarded(b"203.0.113.9")).address == "10.0.0.1"


def test_a_proxy_is_believed() -> None:
    assert believed("10.0.0.1", b"203.0.113.9") == "203.0.113.9"


def test_a_proxy_that_says_nothing_is_the_source_itself() -> None:
    assert PROXIES.believe("10.0.0.1", "http", []) == Source("10.0.0.1", "http")


def test_what_the_client_wrote_to_the_left_is_not_believed() -> None:
    assert believed("10.0.0.1", b"127.0.0.1, 203.0.113.9") == "203.0.113.9"
    assert believed("10.0.0.1", b"<script>, 203.0.113.9") == "203.0.113.9"


def test_a_chain_of_proxies_is_walked_from_the_right() -> None:
    assert believed("10.0.0.1", b"1.1.1.1, 203.0.113.9, 10.9.9.9,192.0.2.7") == "203.0.113.9"


def test_several_headers_are_one_chain_in_order() -> None:
    assert believed("10.0.0.1", b"203.0.113.8", b"203.0.113.9", b"10.1.1.1") == "203.0.113.9"


def test_where_every_hop_is_a_proxy_the_left_most_is_the_source() -> None:
    assert believed("10.0.0.1", b"10.3.3.3, 10.2.2.2") == "10.3.3.3"


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"unknown",
        b"_hidden",
        b"203.0.113",
        b"203.0.113.9.1",
        b"203.0.113.09",
        b"203.0.113.9:",
        b"203.0.113.9:x",
        b"203.0.113.9:123456",
        b"[2001:db8::1",
        b"[2001:db8::1]x",
        b"[203.0.113.9]",
        b"2001:db8::1%eth0",
        b"fe80::1%\x1b[31m",
        b'"203.0.113.9"',
        b"203.0.113.9 203.0.113.8",
        b"\xff",
        b"1" * 16_000,
        b"203.0.113.9,",
    ],
)
def test_a_malformed_entry_leaves_the_peer(entry: bytes) -> None:
    assert believed("10.0.0.1", entry) == "10.0.0.1"
    assert believed("10.0.0.1", b"203.0.113.9, " + entry + b", 10.1.1.1") == "10.0.0.1"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b" \t203.0.113.9\t", "203.0.113.9"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"2001:DB8:0:0::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_ports_brackets_and_both_families_are_read(entry: bytes, address: str) -> None:
    assert believed("10.0.0.1", entry) == address


def test_a_proxy_is_known_by_its_mapped_and_its_ipv6_address() -> None:
    assert believed("::ffff:10.0.0.1", b"203.0.113.9") == "203.0.113.9"
    assert believed("fd00::5", b"203.0.113.9, ::ffff:10.0.0.2") == "203.0.113.9"
    assert believed("::ffff:198.51.100.1", b"203.0.113.9") == "198.51.100.1"


def test_a_chain_longer_than_any_real_one_leaves_the_peer() -> None:
    assert believed("10.0.0.1", b"203.0.113.9" + b",10.0.0.2" * 31) == "203.0.113.9"
    assert believed("10.0.0.1", b"203.0.113.9" + b",10.0.0.2" * 32) == "10.0.0.1"
    assert believed("10.0.0.1", b"," * 16_000) == "10.0.0.1"


@pytest.mark.parametrize("peer", ["", "not-an-address", "/run/keyturn.sock"])
def test_a_peer_without_an_address_is_believed_in_nothing(peer: str) -> None:
    assert believed(peer, b"203.0.113.9") == peer


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        ([b"https"], "https"),
        ([b" HTTPS "], "https"),
        ([b"http"], "http"),
        ([b"https, http"], "http"),
        ([b"https", b"https"], "http"),
        ([b"gopher"], "http"),
        ([b""], "http"),
        ([], "http"),
    ],
)
def test_the_scheme_is_believed_where_it_is_one_known_word(values: list[bytes], scheme: str) -> None:
    headers = [(b"x-forwarded-proto", value) for value in values]
    assert PROXIES.believe("10.0.0.1", "http", headers).scheme == scheme


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "", "fd00::1/8"])
def test_a_proxy_network_that_is_none_is_refused_by_name(cidr: str) -> None:
    with pytest.raises(KeyturnError, match="CIDR") as refused:
        networks([cidr])
    assert f"'{cidr}'" in refused.value.message
    assert refused.value.hint is not None


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_no_header_can_make_the_source_anything_but_an_address(values: list[bytes]) -> None:
    address = believed("10.0.0.1", *values)
    assert set(address) <= set("0123456789abcdef.:")


@given(st.lists(st.binary(max_size=80), max_size=5), st.ip_addresses())
def test_what_stands_to_the_left_never_moves_the_source(left: list[bytes], outermost: object) -> None:
    alone = believed("10.0.0.1", str(outermost).encode(), b"10.1.1.1")
    if alone == str(outermost) and not alone.startswith(("10.", "fd", "192.0.2.7")):
        assert believed("10.0.0.1", *left, str(outermost).encode(), b"10.1.1.1") == alone
