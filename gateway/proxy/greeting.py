"""A listener whose listed peers begin each connection with a PROXY header; everybody else is a client of their own.

The header is read from the bare socket, byte-exact, before anything else owns the connection: TLS, if any, begins right
behind it. A listed peer that sends none, a wrong one, or not in time is closed without an answer, which it might take
for that of a client.
"""

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from gateway.proxy.downstream import Downstream, peer_address
from gateway.proxy.links import as_protocol
from gateway.tasks import spawn
from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.forwarded import Address
from gateway.wire.proxy_protocol import ProxyHeader

if TYPE_CHECKING:
    from gateway.proxy.server import Front

ACCEPT_PAUSE_S = 0.1
"""How long nothing is accepted after the system could not: most likely no file descriptor is left."""


class GreetingListener:
    """Accepts on a bound socket, which it owns, for `front`. Needs a running loop. `sockets` holds that one."""

    def __init__(self, front: "Front", handle: socket.socket, tls: ssl.SSLContext | None) -> None:
        handle.settimeout(0)
        self.sockets = (handle,)
        self._front = front
        self._tls = tls
        self._greeted: set[asyncio.Task[None]] = set()
        self._accepting = spawn(self._accept(handle), name="proxy-accept")

    def close(self) -> None:
        """Stop accepting; connections that have not yet said who they are end."""
        self._accepting.cancel()
        for each in self._greeted:
            each.cancel()

    async def _accept(self, handle: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with handle:
            while True:
                try:
                    connection, peer = await loop.sock_accept(handle)
                except OSError:
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                    continue
                greeting = spawn(self._greet(connection, peer_address(peer)), name="proxy-greeting")
                self._greeted.add(greeting)
                greeting.add_done_callback(self._greeted.discard)

    async def _greet(self, connection: socket.socket, peer: Address) -> None:
        """Learn who the client is, then let the front serve it."""
        front = self._front
        try:
            async with asyncio.timeout(front.limits.header_timeout):
                source = await _read_header(connection) if peer in front.announcing else None
        except TimeoutError:
            front.stats.count_fault(FaultCode.HEAD_TIMEOUT)
            connection.close()
        except WireFault as fault:
            front.stats.count_fault(fault.code)
            connection.close()
        except (OSError, EOFError, asyncio.CancelledError):
            connection.close()
        else:
            await self._serve(connection, source)

    async def _serve(self, connection: socket.socket, source: Address | None) -> None:
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: as_protocol(Downstream(self._front, announced=source)),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self._front.limits.header_timeout,
            )
        except (OSError, EOFError):
            return  # The handshake failed; the loop has closed the connection.


async def _read_header(connection: socket.socket) -> Address | None:
    """Read a PROXY header and not one byte more. Raises `WireFault`, `OSError`, or `EOFError` when the peer leaves."""
    loop, header = asyncio.get_running_loop(), ProxyHeader()
    while header.needs:
        data = await loop.sock_recv(connection, header.needs)
        if not data:
            raise EOFError
        header.feed(data)
    return header.source


def bound_sockets(host: str, port: int, *, reuse_port: bool, backlog: int) -> list[socket.socket]:
    """Return listening sockets for every address of `host`. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    handles: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            handle = socket.socket(family, socket.SOCK_STREAM)
            handles.append(handle)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            handle.bind(address)
            handle.listen(backlog)
    except OSError:
        for handle in handles:
            handle.close()
        raise
    return handles
