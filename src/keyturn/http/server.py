"""Listens on a host and port and serves one face until told to stop; then answers what has begun, and returns.

Installs no signal handlers and configures no logging: both are the caller's. What a connection may cost is `limits`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Final

from keyturn.http.asgi import ASGIApp, Message, running
from keyturn.http.connection import Connection, Traffic
from keyturn.http.exchange import Face
from keyturn.http.forwarded import Network
from keyturn.http.limits import Limits, Refusal
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError

__all__ = ["Message", "check_exposure", "new_event_loop", "run_server", "tls_context"]

_BACKLOG: Final = 2048
_OTHER_DESCRIPTORS: Final = 128
"""Kept free of connections, for the store, the logs and the listener itself."""
_ACCEPTS_AT_ONCE: Final = 64
_RETRY_ACCEPT_SECONDS: Final = 1.0
_DESCRIPTORS_GONE: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop to serve on: uvloop's where it is installed; for `asyncio.Runner(loop_factory=new_event_loop)`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def check_exposure(host: str, *, tls: bool, behind_proxy: Sequence[Network]) -> None:
    """Raises KeyturnError for a host that others can reach while nothing protects what is sent to it."""
    if tls or behind_proxy or _is_loopback(host):
        return
    raise KeyturnError(
        f"refusing to listen on '{host}' without TLS: anyone on the way could read new secret keys",
        hint="give --tls-cert and --tls-key, or --behind-proxy CIDR if a proxy there ends TLS, or listen on 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    """Names other than `localhost` count as not loopback: what they resolve to can change."""
    from ipaddress import IPv6Address, ip_address

    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return ((isinstance(address, IPv6Address) and address.ipv4_mapped) or address).is_loopback


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and newer, HTTP/1.1 by ALPN. Raises KeyturnError where the files cannot serve."""

    def refuse_a_passphrase() -> str:
        # Without this OpenSSL would ask on the terminal, where a service has nobody.
        raise KeyturnError(f"the TLS key '{key}' is encrypted", hint="give a key file without a passphrase")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, refuse_a_passphrase)
    except ssl.SSLError as fault:
        raise KeyturnError(
            f"the TLS certificate '{certificate}' and key '{key}' cannot be used together",
            hint="both are PEM files; the certificate comes first in its file, then those that signed it",
        ) from fault
    except OSError as fault:
        raise KeyturnError(
            f"can't read the TLS certificate '{certificate}' or key '{key}': {fault.strerror}"
        ) from fault
    return context


async def run_server(
    app: Face | ASGIApp,
    *,
    host: str,
    port: int,
    on_listening: Callable[[str, int], None],
    stop: asyncio.Event,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    limits: Limits | None = None,
    refusals: Counter[Refusal] | None = None,
    drain_seconds: float = 10.0,
    clock: Clock | None = None,
) -> None:
    """Serve `app` in the running loop until `stop` is set; return when what had begun is answered, or after `drain_seconds`.

    `on_listening` gets the host as given and the real port (for `port` 0). `refusals` is counted up as requests are
    turned away. `clock` tells the Date of answers. Raises KeyturnError if it can't listen or the TLS files can't be used.
    """
    limits = limits or Limits()
    context = tls_context(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    sockets = await _listen(host, port)
    face = app if isinstance(app, Face) else running(app)
    traffic = Traffic(limits, Counter() if refusals is None else refusals, face)
    server = _Server(sockets, traffic, context, clock or SystemClock())
    try:
        server.open()
        on_listening(host, sockets[0].getsockname()[1])
        await stop.wait()
        await server.drain(drain_seconds)
    finally:
        await server.cut()


async def _listen(host: str, port: int) -> list[socket.socket]:
    """One listening socket for each address of `host`, all on one port."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as fault:
        raise KeyturnError(f"can't find an address for '{host}'", hint="give --host an address") from fault
    addresses = [(family, address[0]) for family, _, _, _, address in found]
    if host.lower() == "localhost":
        # `check_exposure` took the name for loopback; a hosts file may say otherwise.
        addresses = [(family, address) for family, address in addresses if _is_loopback(str(address))]
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in dict.fromkeys(addresses):
        try:
            sockets.append(_bound(family, str(address), sockets[0].getsockname()[1] if sockets else port))
        except OSError as fault:
            # A machine may know ::1 by name and not have it; a port that is taken on one address is taken.
            if fault.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                for opened in sockets:
                    opened.close()
                raise _cannot_listen(host, port, fault) from fault
            failure = fault
    if not sockets:
        raise _cannot_listen(host, port, failure) from failure
    return sockets


def _cannot_listen(host: str, port: int, fault: OSError | None) -> KeyturnError:
    reason = "no address to listen on" if fault is None else str(fault.strerror).lower()
    return KeyturnError(
        f"can't listen on {host} port {port}: {reason}", hint="choose another with --host or --port"
    )


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _room_for_connections(wanted: int) -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - _OTHER_DESCRIPTORS, 16))


class _Server:
    """Accepts by hand, for `create_server` counts no connection before its TLS handshake is done, and can't pause."""

    def __init__(
        self,
        listeners: list[socket.socket],
        traffic: Traffic,
        context: ssl.SSLContext | None,
        clock: Clock,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._traffic = traffic
        self._context = context
        self._clock = clock
        self._most = _room_for_connections(traffic.limits.connections)
        self._is_accepting = False
        self._is_listening = True
        self._attaching: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._date_second = -1
        self._all_closed = asyncio.Event()
        traffic.on_connection_closed = self._connection_closed

    def open(self) -> None:
        self._tick()
        self._accept_on()

    # -- accepting -----------------------------------------------------------------------------------------------------

    def _accept_on(self) -> None:
        if self._is_listening and not self._is_accepting and self._traffic.open_connections < self._most:
            self._is_accepting = True
            for listener in self._listeners:
                self._loop.add_reader(listener, self._accept, listener)

    def _accept_off(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            for listener in self._listeners:
                self._loop.remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            if self._traffic.open_connections >= self._most:
                # The rest wait in the kernel's queue; whoever holds a place without asking loses it in seconds.
                self._traffic.refusals[Refusal.CONNECTIONS_FULL] += 1
                self._accept_off()
                return
            try:
                connection, _ = listener.accept()
            except OSError as fault:
                if fault.errno in _DESCRIPTORS_GONE:
                    self._traffic.refusals[Refusal.CONNECTIONS_FULL] += 1
                    self._accept_off()
                    self._loop.call_later(_RETRY_ACCEPT_SECONDS, self._accept_on)
                return
            protocol = Connection(self._traffic, self._loop)
            task = self._loop.create_task(self._attach(connection, protocol))
            self._attaching.add(task)
            task.add_done_callback(self._attaching.discard)

    async def _attach(self, connection: socket.socket, protocol: Connection) -> None:
        connection.setblocking(False)
        try:
            if self._context is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._traffic.limits.head_seconds,
                    ssl_shutdown_timeout=self._traffic.limits.linger_seconds,
                )
        except OSError:
            self._traffic.refusals[Refusal.HANDSHAKE_FAILED] += 1
            connection.close()
            protocol.closed()
        except asyncio.CancelledError:
            connection.close()
            protocol.closed()
            raise

    def _connection_closed(self) -> None:
        if self._traffic.open_connections == 0:
            self._all_closed.set()
        self._accept_on()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._loop.time()
        self._ticker = self._loop.call_later(self._traffic.limits.tick_seconds(), self._tick)
        second = self._clock.now_ms() // 1000
        if second != self._date_second:
            self._date_second = second
            self._traffic.tell_date(formatdate(second, usegmt=True).encode("ascii"))
        for connection in list(self._traffic.connections):
            connection.check(now)

    # -- stopping ------------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Take no more; answer what has begun, and what already waits in the kernel's queue."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for listener in self._listeners:
                    self._accept(listener)
                self._close_listeners()
                self._traffic.draining = True
                for connection in list(self._traffic.connections):
                    connection.shutdown()
                while self._traffic.open_connections:
                    self._all_closed.clear()
                    await self._all_closed.wait()
                while self._traffic.tasks:
                    await asyncio.wait(set(self._traffic.tasks))

    async def cut(self) -> None:
        """Leave nothing behind: no listener, timer, connection or task."""
        self._close_listeners()
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in list(self._traffic.connections):
            connection.transport.abort()
        left = self._attaching | self._traffic.tasks
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def _close_listeners(self) -> None:
        self._accept_off()
        self._is_listening = False
        for listener in self._listeners:
            listener.close()
