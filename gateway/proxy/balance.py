"""Several addresses of one app: each exchange goes to the one that has the least to do, and none to a dead one.

An address is left out while its circuit is broken (`pool.BREAK_AFTER` connections in a row that could not be made) or
while its active check fails, and comes last after as many connections in a row that brought no answer. A connection
that cannot be made costs an exchange nothing: nothing has been sent, so it goes on to the next address. When there is
none, its fault is the fault of the exchange. What may be sent twice is, when an address ends a connection unanswered:
then it is another's turn.
"""

import asyncio
import ssl
from collections.abc import Sequence

import structlog

from gateway.config.schema import HealthCheck
from gateway.proxy.links import UpstreamLink
from gateway.proxy.pool import Lessee, UpstreamPool
from gateway.proxy.ports import UpstreamFault
from gateway.tasks import spawn
from gateway.wire.faults import WireFault
from gateway.wire.fields import END_OF_HEAD
from gateway.wire.request import RequestHead
from gateway.wire.response import MAX_RESPONSE_HEAD_BYTES, parse_response

log = structlog.get_logger("proxy")

DOWN_AFTER = 2
"""An address is left out after so many failed checks in a row; one good check brings it back."""

PROBE = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: posturegate-health\r\nConnection: close\r\n\r\n"

_GOOD = range(200, 400)


class UpstreamGroup:
    """The addresses of one app, as `ports.Upstreams`. `health` has each of them asked regularly.

    With checks it needs a running loop. Every worker asks for itself: what counts is whether *it* reaches the address.
    """

    def __init__(self, pools: Sequence[UpstreamPool], health: HealthCheck | None = None) -> None:
        self._pools = tuple(pools)
        self.has_others = len(pools) > 1
        self._turn = 0
        self._attempts: dict[Lessee, _Attempt] = {}
        self._down: set[UpstreamPool] = set()
        self._checks = [
            spawn(self._keep_checking(pool, health), name="upstream-health")
            for pool in pools
            if health is not None
        ]

    # --- ports.Upstreams -------------------------------------------------------------------------------------

    def lease(self, lessee: Lessee, *, is_fresh: bool) -> None:
        """Give `lessee` a connection to the address that has the least to do."""
        attempt = self._attempts[lessee] = _Attempt(self, lessee, is_fresh=is_fresh)
        attempt.try_next(UpstreamFault.UNREACHABLE)

    def give_up(self, lessee: Lessee) -> None:
        """`lessee` no longer waits."""
        attempt = self._attempts.pop(lessee, None)
        if attempt is not None and attempt.pool is not None:
            attempt.pool.give_up(attempt)

    def close(self) -> None:
        """End the checks and close every pool."""
        for check in self._checks:
            check.cancel()
        for pool in self._pools:
            pool.close()

    # --- what attempts and checks ask ------------------------------------------------------------------------

    def choose(self, tried: Sequence[UpstreamPool]) -> UpstreamPool | None:
        """Return the address with the least to do among those that live and were not tried; equals take turns."""
        self._turn = (self._turn + 1) % len(self._pools)
        in_turn = self._pools[self._turn :] + self._pools[: self._turn]
        able = [
            pool for pool in in_turn if pool not in tried and pool not in self._down and pool.is_available
        ]
        steady = [pool for pool in able if not pool.is_suspect]
        return min(steady or able, key=lambda pool: pool.busy, default=None)

    def settle(self, lessee: Lessee) -> None:
        """The attempt of `lessee` is over."""
        self._attempts.pop(lessee, None)

    @property
    def fault(self) -> UpstreamFault:
        """Why no address can be used."""
        return self._pools[0].last_fault

    # --- active checks ---------------------------------------------------------------------------------------

    async def _keep_checking(self, pool: UpstreamPool, health: HealthCheck) -> None:
        failures = 0
        while True:
            is_good = await probe(pool, health)
            failures = 0 if is_good else failures + 1
            if is_good and pool in self._down:
                self._down.discard(pool)
                log.info("upstream-is-back", address=pool.address.name)
            elif failures == DOWN_AFTER:
                self._down.add(pool)
                log.warning("upstream-is-down", address=pool.address.name, path=health.path)
            await asyncio.sleep(health.every)


class _Attempt:
    """A lessee on its way through the addresses of a group, as a lessee of one pool after the other."""

    __slots__ = ("_group", "_is_fresh", "_lessee", "_tried", "head", "pool")

    def __init__(self, group: UpstreamGroup, lessee: Lessee, *, is_fresh: bool) -> None:
        self._group = group
        self._lessee = lessee
        self._is_fresh = is_fresh
        self._tried: list[UpstreamPool] = []
        self.head: RequestHead = lessee.head
        self.pool: UpstreamPool | None = None

    def try_next(self, fault: UpstreamFault) -> None:
        """Ask the next address; without one, `fault` (or what ails the group) is the end of it."""
        pool = self.pool = self._group.choose(self._tried)
        if pool is None:
            self._group.settle(self._lessee)
            self._lessee.upstream_failed(fault if self._tried else self._group.fault)
            return
        self._tried.append(pool)
        pool.lease(self, is_fresh=self._is_fresh)

    def upstream_ready(self, link: UpstreamLink) -> None:
        """A connection is there."""
        self._group.settle(self._lessee)
        self._lessee.upstream_ready(link)

    def upstream_failed(self, fault: UpstreamFault) -> None:
        """This address has none."""
        self.try_next(fault)


async def probe(pool: UpstreamPool, health: HealthCheck) -> bool:
    """Return whether the address answers the check with 2xx or 3xx in time. Never raises for what it does instead."""
    try:
        async with asyncio.timeout(health.timeout):
            return await _status(pool, health.path) in _GOOD
    except (OSError, ssl.SSLError, EOFError, asyncio.LimitOverrunError, WireFault):
        return False


async def _status(pool: UpstreamPool, path: str) -> int:
    """Return the status of the answer to one request on a connection of its own."""
    address, size = pool.address, MAX_RESPONSE_HEAD_BYTES
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path, limit=size)
    else:
        name = address.host if pool.tls is not None else None
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=pool.tls, server_hostname=name, limit=size
        )
    try:
        writer.write(PROBE % (path.encode(), address.authority))
        head = await reader.readuntil(END_OF_HEAD)
        return parse_response(head.removesuffix(END_OF_HEAD), "GET").status
    finally:
        writer.transport.abort()
