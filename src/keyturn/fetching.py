"""Fetching a small document over https from somewhere else: bounded in time and size, never redirected.

Only what administrators have registered is fetched. Link-local addresses (where clouds keep their instance
credentials) are refused whatever a name resolves to, and the connection goes to the address that was checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

_LARGEST: Final = 256 * 1024
_SECONDS: Final = 5.0
_MOST_ADDRESSES: Final = 4
_IMDS: Final = ipaddress.ip_address("fd00:ec2::254")


class _Checked(http.client.HTTPSConnection):
    """Connects to the first of the addresses that were checked and answers, and proves the name."""

    def __init__(self, host: str, port: int, addresses: list[str], context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_SECONDS, context=context)
        self._addresses = addresses
        self._checked_context = context

    def connect(self) -> None:
        plain = self._connected()
        try:
            self.sock = self._checked_context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _connected(self) -> socket.socket:
        for address in self._addresses[:-1]:
            try:
                return socket.create_connection((address, self.port), _SECONDS)
            except OSError:
                continue
        return socket.create_connection((self._addresses[-1], self.port), _SECONDS)


def fetch(url: str) -> bytes:
    """The body of a 200. OSError for everything else. The CA bundle is OpenSSL's default, or SSL_CERT_FILE."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        raise OSError("only https URLs without credentials are fetched")
    port = parts.port or 443
    addresses = _allowed(parts.hostname, port)
    connection = _Checked(parts.hostname, port, addresses, ssl.create_default_context())
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers={"Accept": "application/json"})
        with connection.getresponse() as answer:
            body, until = b"", time.monotonic() + _SECONDS
            while len(body) <= _LARGEST and (part := answer.read1(16_384)):
                body += part
                if time.monotonic() > until:
                    raise OSError("the answer takes too long")
    except http.client.HTTPException as error:
        raise OSError("no HTTP answer") from error
    finally:
        connection.close()
    if answer.status != 200 or len(body) > _LARGEST:
        raise OSError(f"status {answer.status}, {len(body)} bytes")
    return body


def _allowed(host: str, port: int) -> list[str]:
    """The name's addresses, at most a few; none of them if one is not to be asked."""
    found = []
    for *_rest, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:_MOST_ADDRESSES]:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        plain = (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
        if plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain == _IMDS:
            raise OSError("a link-local address is not fetched from")
        found.append(str(address))
    if not found:
        raise OSError("the name has no address")
    return found
