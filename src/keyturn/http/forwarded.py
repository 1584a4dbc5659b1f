"""Whom a request comes from when a proxy stands before us.

Forwarded headers are anyone's to send, so they count only from a peer inside the networks that the operator named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple, TypeAlias

from keyturn.model.errors import KeyturnError

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

_LONGEST_ENTRY = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")
_MOST_HOPS = 32


class Source(NamedTuple):
    """Where a request comes from: an address as text without a port, and `http` or `https`."""

    address: str
    scheme: str


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Raises KeyturnError for a text that is no network, or one with host bits set."""
    found: list[Network] = []
    for cidr in cidrs:
        try:
            found.append(IPv6Network(cidr) if ":" in cidr else IPv4Network(cidr))
        except ValueError as fault:
            raise KeyturnError(
                f"'{cidr}' is not a network in CIDR form", hint="write it like 10.0.0.0/8 or fd00::/8"
            ) from fault
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ForwardedFrom:
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default."""

    proxies: tuple[Network, ...] = ()

    def believe(self, peer: str, scheme: str, headers: Sequence[tuple[bytes, bytes]]) -> Source:
        """`peer` and `scheme` are the connection's own; `headers` have lower-case names.

        The source is the right-most address that is no proxy of ours: all to its left is the client's own claim. Where
        an entry on the way there is malformed, or there are more than 32, the peer is all that is known.
        """
        if not self.proxies:
            return Source(peer, scheme)
        address = _address(peer)
        if address is None:
            return Source(peer, scheme)
        if not self._is_proxy(address):
            return Source(str(address), scheme)
        chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        claims = [value for name, value in headers if name == b"x-forwarded-proto"]
        if len(claims) == 1 and (claimed := claims[0].strip().lower()) in {b"http", b"https"}:
            scheme = claimed.decode("ascii")
        return Source(str(self._right_most(chain) or address), scheme)

    def _right_most(self, chain: bytes) -> Address | None:
        """The first address from the right that is no proxy; the left-most if all are; None if one is malformed."""
        entries = chain.rsplit(b",", _MOST_HOPS)
        address: Address | None = None
        for position, entry in enumerate(reversed(entries)):
            if position == _MOST_HOPS:
                return None
            address = _entry(entry.strip(b" \t"))
            if address is None or not self._is_proxy(address):
                return address
        return address

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self.proxies)


def _entry(entry: bytes) -> Address | None:
    """An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`."""
    if len(entry) > _LONGEST_ENTRY or not entry.isascii():
        return None
    text = entry.decode("ascii")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    return _address(text)


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isdigit() and len(text) <= 6


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    # A zone (`fe80::1%eth0`) means something on the machine that wrote it only, and may hold any text.
    if "%" in text or len(text) > _LONGEST_ENTRY:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A listener for both families sees IPv4 peers as ::ffff:192.0.2.1.
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
