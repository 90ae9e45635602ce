"""The connections to one address of an upstream: reused last-in-first-out, bounded in number, with a bounded queue.

Connecting is the one thing on the data path that takes a task; a lease of an idle connection is a list operation.
"""

import asyncio
import ssl
import time
from collections import deque
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from gateway.config.schema import Limits
from gateway.proxy.exchange import IDEMPOTENT
from gateway.proxy.links import UpstreamLink, as_protocol
from gateway.proxy.ports import UpstreamFault
from gateway.proxy.upstream import Upstream
from gateway.tasks import spawn
from gateway.wire.request import RequestHead

IDLE_S = 50.0
"""How long an unused connection is kept."""

UNSAFE_IDLE_S = 1.0
"""How long a connection may have been idle for a request that must not be repeated: most servers close idle ones
after two seconds or more, and such a request on a connection that is just being closed fails."""

WAITING_PER_CONNECTION = 4
"""How many exchanges may wait per allowed connection before the next one is answered 503."""

BREAK_AFTER = 5
"""After so many connections in a row that could not be made, none is tried for `BREAK_S`: leases fail at once."""

BREAK_S = 1.0

MIN_HIGH_WATER_BYTES = 4096
"""Least number of waiting bytes at which the other side is paused."""

DROP_AFTER_S = 0.25
DROPPED_AT_ONCE = 50
"""When the connections of exchanges that were cut are closed, and how many between two turns of the event loop.

Closing one takes the kernel about as long as all that we do to cut an exchange. When a thousand are cut, whoever waits
for that should not wait for the closing of connections on which nothing is passed on any more.
"""

SWEEP_S = 5.0
"""How often idle connections are looked through."""


class Lessee(Protocol):
    """Who asks for a connection: an exchange."""

    head: RequestHead

    def upstream_ready(self, link: UpstreamLink) -> None:
        """A connection is there."""
        ...

    def upstream_failed(self, fault: UpstreamFault) -> None:
        """There is none, and will be none."""
        ...


class Address(NamedTuple):
    """Where an upstream listens. `path` is that of a Unix socket, else empty; `is_tls` for https."""

    host: str
    port: int
    path: str = ""
    is_tls: bool = False

    @property
    def name(self) -> str:
        """Return how logs call it."""
        return f"unix:{self.path}" if self.path else self.authority.decode()

    @property
    def authority(self) -> bytes:
        """Return the `Host` value by which the upstream knows itself."""
        if self.path:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.encode() if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}".encode()


def parse_upstream(url: str) -> Address:
    """Return the address of `http://host:port`, `https://host:port` or `unix:/path`. Raises `ValueError`."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"upstream `{url}`: a Unix socket needs an absolute path")
        return Address("", 0, path=path)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"upstream `{url}`: expected `http://host:port`, `https://host:port` or `unix:/path`"
        )
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"upstream `{url}`: only a host and a port, no path, query or credentials")
    is_tls = parts.scheme == "https"
    return Address(parts.hostname, parts.port or (443 if is_tls else 80), is_tls=is_tls)


def upstream_tls(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context that verifies the upstream's chain and name: by `ca_file` alone, else by the system store."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def high_water(limits: Limits) -> int:
    """Return at how many bytes that wait for one side the other side is no longer read."""
    return max(limits.buffer_bytes // 4, MIN_HIGH_WATER_BYTES)


class UpstreamPool:
    """Connections to one upstream address. `url` as in the configuration; `tls` defaults to `upstream_tls()` for https.

    Raises `ValueError` for an unusable `url`.
    """

    def __init__(self, url: str, limits: Limits, *, tls: ssl.SSLContext | None = None) -> None:
        self.address = parse_upstream(url)
        self.has_others = False
        self.tls = (tls or upstream_tls()) if self.address.is_tls else None
        self.high_water = high_water(limits)
        self._connect_timeout_s = limits.connect_timeout
        self._max_open = limits.upstream_connections
        self._idle: list[Upstream] = []
        self._open: set[Upstream] = set()
        self._connecting = 0
        self._waiting: deque[Lessee] = deque()
        self._leaving: list[Upstream] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._failures = 0
        self._broken_until = 0.0
        self._unanswered = 0
        self._suspect_until = 0.0
        self._last_fault = UpstreamFault.UNREACHABLE

    @property
    def busy(self) -> int:
        """Number of exchanges that have a connection or wait for one."""
        return len(self._open) - len(self._idle) + len(self._waiting)

    @property
    def is_available(self) -> bool:
        """Whether to send somebody here who could go elsewhere.

        Not while the circuit is broken; afterwards one exchange at a time tries whether the address is back.
        """
        if self._failures < BREAK_AFTER:
            return True
        return time.monotonic() >= self._broken_until and not self._waiting

    @property
    def is_suspect(self) -> bool:
        """Whether it takes connections but has ended or garbled the last `BREAK_AFTER` answers, a moment ago.

        Such an address is free at once, and would draw all exchanges to it.
        """
        return self._unanswered >= BREAK_AFTER and time.monotonic() < self._suspect_until

    @property
    def last_fault(self) -> UpstreamFault:
        """Why the last connection that could not be made was not."""
        return self._last_fault

    @property
    def open(self) -> int:
        """Number of connections, those being made included."""
        return len(self._open) + self._connecting

    @property
    def idle(self) -> int:
        """Number of connections that nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Number of exchanges that wait for a connection."""
        return len(self._waiting)

    # --- leasing ---------------------------------------------------------------------------------------------

    def lease(self, lessee: Lessee, *, is_fresh: bool) -> None:
        """Give `lessee` a connection, now or later; `upstream_failed` when there can be none.

        `is_fresh`: none that has been used before, because one of those has just turned out to be dead.
        """
        if not is_fresh and (link := self._take_idle(lessee)) is not None:
            lessee.upstream_ready(link)
        elif self._is_closed or len(self._waiting) >= self._max_open * WAITING_PER_CONNECTION:
            lessee.upstream_failed(UpstreamFault.OVERLOADED)
        elif self._failures >= BREAK_AFTER and time.monotonic() < self._broken_until:
            lessee.upstream_failed(self._last_fault)
        else:
            self._waiting.append(lessee)
            self._connect_for_waiting()

    def give_up(self, lessee: Lessee) -> None:
        """`lessee` no longer waits."""
        if lessee in self._waiting:
            self._waiting.remove(lessee)

    def put_back(self, link: Upstream) -> None:
        """Take a connection back from its lessee: the longest waiting exchange gets it, else it becomes idle."""
        if self._is_closed:
            link.close()
        elif self._waiting:
            self._waiting.popleft().upstream_ready(link)
        else:
            link.idle_since = time.monotonic()
            self._idle.append(link)

    def forget(self, link: Upstream) -> None:
        """A connection is gone."""
        self._open.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if self._waiting:
            self._connect_for_waiting()

    def drop_soon(self, link: Upstream) -> None:
        """Drop a connection in a moment, when others are served; one that ends by itself before is just gone."""
        if self._is_closed:
            link.drop()
            return
        self._leaving.append(link)
        if len(self._leaving) == 1:
            asyncio.get_running_loop().call_later(DROP_AFTER_S, self._drop_leaving)

    def answered(self) -> None:
        """An exchange got the head of its answer."""
        self._unanswered = 0

    def not_answered(self) -> None:
        """A new connection ended, or brought nonsense, instead of an answer."""
        self._unanswered += 1
        self._suspect_until = time.monotonic() + BREAK_S

    def close(self) -> None:
        """Close idle connections now, and leased ones as they come back. Nobody can lease any more."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for link in self._idle:
            link.close()
        self._idle.clear()
        for link in self._leaving:
            link.drop()
        self._leaving.clear()
        while self._waiting:
            self._waiting.popleft().upstream_failed(UpstreamFault.OVERLOADED)

    # --- inner steps -----------------------------------------------------------------------------------------

    def _take_idle(self, lessee: Lessee) -> Upstream | None:
        idle = self._idle
        if (
            idle
            and lessee.head.method not in IDEMPOTENT
            and idle[-1].idle_since < time.monotonic() - UNSAFE_IDLE_S
        ):
            return None
        while idle:
            link = idle.pop()
            if not link.is_closing:
                return link
        return None

    def _connect_for_waiting(self) -> None:
        """Begin as many connections as there are exchanges waiting and the limit allows."""
        while self._connecting < len(self._waiting) and self._has_room():
            self._connecting += 1
            spawn(self._connect(), name="upstream-connect")

    def _has_room(self) -> bool:
        """Return whether one more connection may be made; an idle one makes way for it."""
        if self.open < self._max_open:
            return True
        if self._idle:
            link = self._idle.pop(0)
            self._open.discard(link)
            link.close()
            return True
        if self._leaving:
            self._drop_leaving()  # when they are gone, `forget` looks here again
        return False

    async def _connect(self) -> None:
        """Make one connection for whoever waits longest; its failure is the failure of who waits longest too."""
        fault: UpstreamFault | None = None
        link = None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                link = await self._open_connection()
        except TimeoutError:
            fault = UpstreamFault.CONNECT_TIMEOUT
        except ssl.SSLError:
            fault = UpstreamFault.TLS
        except OSError:
            fault = UpstreamFault.UNREACHABLE
        finally:
            self._connecting -= 1
        if link is not None:
            self._failures = 0
            self._open.add(link)
            self._watch()
            self.put_back(link)
        elif fault is not None:
            self._connect_failed(fault)

    def _connect_failed(self, fault: UpstreamFault) -> None:
        self._failures += 1
        self._last_fault = fault
        self._broken_until = time.monotonic() + BREAK_S
        if self._waiting:
            self._waiting.popleft().upstream_failed(fault)
        self._connect_for_waiting()

    async def _open_connection(self) -> Upstream:
        loop, address, link = asyncio.get_running_loop(), self.address, Upstream(self)
        protocol = as_protocol(link)
        if address.path:
            await loop.create_unix_connection(lambda: protocol, address.path)
        elif self.tls is not None:
            await loop.create_connection(
                lambda: protocol, address.host, address.port, ssl=self.tls, server_hostname=address.host
            )
        else:
            await loop.create_connection(lambda: protocol, address.host, address.port)
        return link

    def _drop_leaving(self) -> None:
        some, self._leaving = self._leaving[:DROPPED_AT_ONCE], self._leaving[DROPPED_AT_ONCE:]
        for link in some:
            link.drop()
        if self._leaving:
            asyncio.get_running_loop().call_soon(self._drop_leaving)

    def _watch(self) -> None:
        if self._sweep is None and not self._is_closed:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._close_idle)

    def _close_idle(self) -> None:
        """Close connections that nobody has used for long; go on as long as there are any."""
        self._sweep = None
        oldest = time.monotonic() - IDLE_S
        for link in [link for link in self._idle if link.idle_since < oldest]:
            self._idle.remove(link)
            link.close()
        if self._open:
            self._watch()
