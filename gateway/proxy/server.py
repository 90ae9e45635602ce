"""The front: listeners, the connections they accept, one sweep over all deadlines, and the end.

front = Front(gatekeeper, limits, tls=None, trusted=TrustedNetworks([ip_network("10.0.0.0/8")]))
await front.listen_tcp("0.0.0.0", 8080, reuse_port=True)      # or listen_unix(path), listen_socket(sock)
...
await front.drain(10.0)                                       # stop listening, finish, close

class Everything:                                             # the smallest gatekeeper
    def __init__(self, pool: UpstreamPool) -> None:
        self.route = Route(pool=pool, headers=((b"X-Gate-User", b"ana"),))
    def admit(self, exchange: Exchange) -> Route | None:
        return self.route                                     # or None, and exchange.proceed(route) later
    def failed(self, exchange: Exchange, fault: UpstreamFault) -> Route | None:
        return None
    def forbidden(self, exchange: Exchange, reason: str) -> Route | None:
        return None
    def ended(self, exchange: Exchange) -> None: ...
front = Front(Everything(UpstreamPool("http://127.0.0.1:3000", limits)), limits)
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

from gateway.config.schema import Limits
from gateway.proxy.downstream import Downstream
from gateway.proxy.greeting import GreetingListener, bound_sockets
from gateway.proxy.links import as_protocol
from gateway.proxy.pool import high_water
from gateway.proxy.ports import CutReason, Gatekeeper
from gateway.wire.faults import FaultCode
from gateway.wire.forwarded import Address, TrustedNetworks
from gateway.wire.request import HeadLimits
from gateway.wire.spare import SparePages

SWEEP_S = 0.5
"""How often deadlines are looked at: they are kept to this exactness, for one timer per worker."""

BACKLOG = 4096

UNSENT_BYTES = 128 * 1024
"""Most bytes that the kernel takes for a client before it has sent them (and one segment): what a client behind its
connection may still get when a worker was killed. It does not bound what is on the way, so it costs no speed.
"""


class Stats:
    """What a front has seen. `faults` counts refused requests by code."""

    __slots__ = ("accepted", "faults", "requests")

    def __init__(self) -> None:
        self.accepted = 0
        self.requests = 0
        self.faults: Counter[FaultCode] = Counter()

    def count_fault(self, code: FaultCode) -> None:
        """Count a request that was refused."""
        self.faults[code] += 1


class Front:
    """Accepts clients and serves them by one gatekeeper.

    `trusted` are the proxies whose forwarding headers are believed; they are exempt from the cap on connections of one
    address. `announcing` are the load balancers that begin every connection with a PROXY header; None when there are
    none for as long as the front lives. `sweep_s` is for tests.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        trusted: TrustedNetworks | None = None,
        announcing: TrustedNetworks | None = None,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.limits = limits
        self.high_water = high_water(limits)
        self._head_limits = (limits, _head_limits(limits))
        self.trusted = trusted or TrustedNetworks()
        self.announcing = announcing or TrustedNetworks()
        self._is_greeted = announcing is not None
        self.stats = Stats()
        self.now = time.monotonic()
        self.date = _http_date()
        self.is_draining = False
        self.spare = SparePages()
        self._tls = tls
        self._sweep_s = sweep_s
        self._servers: list[asyncio.Server | GreetingListener] = []
        self._connections: set[Downstream] = set()
        self._per_address: Counter[Address] = Counter()
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    # --- listening -------------------------------------------------------------------------------------------

    async def listen_tcp(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen on a TCP address and return the port, which the system chooses for 0. Raises `OSError`."""
        if self._is_greeted:
            handles = bound_sockets(host, port, reuse_port=reuse_port, backlog=BACKLOG)
            for handle in handles:
                await self.listen_socket(handle)
            return int(handles[0].getsockname()[1])
        server = await asyncio.get_running_loop().create_server(
            self._accept,
            host,
            port,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_timeout_s,
            backlog=BACKLOG,
            reuse_port=reuse_port or None,
        )
        self._listening(server)
        chosen: int = server.sockets[0].getsockname()[1]
        return chosen

    async def listen_unix(self, path: Path) -> None:
        """Listen on a Unix socket. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._listening(
            await loop.create_unix_server(
                self._accept,
                str(path),
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
                backlog=BACKLOG,
            )
        )

    async def listen_socket(self, handle: socket.socket) -> None:
        """Listen on a socket that is bound already (socket activation). Raises `OSError`."""
        if self._is_greeted:
            self._listening(GreetingListener(self, handle, self._tls))
            return
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if handle.family == socket.AF_UNIX else loop.create_server
        self._listening(
            await make(
                self._accept,
                sock=handle,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
                backlog=BACKLOG,
            )
        )

    @property
    def is_listening(self) -> bool:
        """Whether new connections are accepted."""
        return bool(self._servers)

    @property
    def connections(self) -> int:
        """Number of open client connections."""
        return len(self._connections)

    async def drain(self, seconds: float) -> None:
        """Stop listening, let exchanges finish for `seconds`, then end what is left. WebSockets are told to go away."""
        self.is_draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            exchange = connection.exchange
            if exchange is not None and exchange.is_tunnel:
                exchange.cut(CutReason.GOING_AWAY)
            else:
                connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        self.close()

    def close(self) -> None:
        """Stop listening and end every connection now."""
        self.is_draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.abandon()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    # --- what connections report -----------------------------------------------------------------------------

    def admit_connection(self, connection: Downstream) -> bool:
        """Count a new connection; return False when its address has too many."""
        self.stats.accepted += 1
        self._connections.add(connection)
        self._empty.clear()
        self._per_address[connection.peer_address] += 1
        is_bearable = self._per_address[connection.peer_address] <= self.limits.connections_per_client
        return is_bearable or connection.is_peer_trusted

    def forget_connection(self, connection: Downstream) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        address = connection.peer_address
        self._per_address[address] -= 1
        if self._per_address[address] <= 0:
            del self._per_address[address]
        if not self._connections:
            self._empty.set()

    # --- inner steps -----------------------------------------------------------------------------------------

    @property
    def head_limits(self) -> HeadLimits:
        """The bounds of a request head. Connections made after `limits` was replaced keep the new ones."""
        if self._head_limits[0] is not self.limits:
            self._head_limits = (self.limits, _head_limits(self.limits))
        return self._head_limits[1]

    @property
    def _handshake_timeout_s(self) -> float | None:
        """A client that is slow to begin is as bad in TLS as in the head of a request."""
        return None if self._tls is None else self.limits.header_timeout

    def _accept(self) -> asyncio.Protocol:
        return as_protocol(Downstream(self))

    def _listening(self, server: asyncio.Server | GreetingListener) -> None:
        for handle in server.sockets:
            if handle.family != socket.AF_UNIX:
                # Accepted connections inherit it from their listener (Linux).
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._servers.append(server)
        if self._sweep is None:
            self._look_at_deadlines()

    def _look_at_deadlines(self) -> None:
        """End what has waited too long. A deadline is never early: `now` stands still between two sweeps."""
        self._sweep = asyncio.get_running_loop().call_later(self._sweep_s, self._look_at_deadlines)
        previous, self.now = self.now, time.monotonic()
        self.date = _http_date()
        for connection in [each for each in self._connections if each.deadline < previous]:
            connection.expired()


def _http_date() -> bytes:
    return formatdate(usegmt=True).encode()


def _head_limits(limits: Limits) -> HeadLimits:
    return HeadLimits(limits.request_line_bytes, limits.header_bytes, limits.headers)
