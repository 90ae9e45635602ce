"""A connection to an upstream: reads responses strictly and hands them to the exchange that leases it.

Without a lease nothing may arrive; a connection on which something does is closed and never used again.
"""

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from gateway.proxy.ports import UpstreamFault
from gateway.wire.faults import WireFault
from gateway.wire.reader import ResponseReader
from gateway.wire.response import SWITCHING_PROTOCOLS, ResponseHead

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.pool import UpstreamPool

_FINAL = 200

_RESCUED_BYTES = 256 * 1024
"""Most bytes of an early answer that are read once the connection is lost."""

_NO_HANDLE = -1


class Upstream:
    """One connection, an `asyncio.Protocol` as `Downstream` is.

    `is_reused`: it has served before. `has_answered`: a byte of this lease's answer was read.
    """

    __slots__ = (
        "_has_head",
        "_is_head",
        "_is_paused",
        "_keeps_alive",
        "_kept_handle",
        "_pool",
        "_reader",
        "_transport",
        "exchange",
        "has_answered",
        "idle_since",
        "is_reused",
        "is_write_paused",
    )

    def __init__(self, pool: "UpstreamPool") -> None:
        self._pool = pool
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self._has_head = False
        self._is_head = False
        self._is_paused = False
        self._keeps_alive = False
        self._kept_handle = _NO_HANDLE
        self.exchange: Exchange | None = None
        self.has_answered = False
        self.is_reused = False
        self.is_write_paused = False
        self.idle_since = 0.0

    # --- what an exchange orders (`exchange.UpstreamLink`) ---------------------------------------------------

    def begin(self, exchange: "Exchange", head: bytes) -> None:
        """Send a request head; the answer goes to `exchange`."""
        self.exchange = exchange
        self.has_answered = False
        self._has_head = False
        self._keeps_alive = False
        self._is_head = exchange.head.method == "HEAD"
        self._reader.expect(exchange.head.method)
        self.write(head)

    def write(self, data: bytes) -> None:
        """Send to the upstream."""
        if self._transport is not None and data:
            self._transport.write(data)

    def keep_answer(self) -> None:
        """Make sure that an answer which is sent while the request's body still comes is not lost.

        An upstream that answers early and closes resets the connection. Event loops learn that from the next write, and
        forget what the kernel has received before: a second handle on the socket lets it be read all the same.
        """
        if self._transport is None or self._kept_handle != _NO_HANDLE:
            return
        if self._transport.get_extra_info("ssl_object") is None:
            with suppress(OSError):  # Without a free descriptor it is as it was.
                self._kept_handle = os.dup(self._transport.get_extra_info("socket").fileno())

    def end(self) -> bool:
        """Send what was written, then the end of our side. Return whether there is such a thing: not in TLS."""
        if self._transport is None or not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def pause_reading(self) -> None:
        """Take nothing more from the upstream."""
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self) -> None:
        """End the lease; the connection goes back to the pool if it may be used again."""
        self.exchange = None
        self._let_go()
        self.resume_reading()
        if self._is_reusable():
            self.is_reused = True
            self._pool.put_back(self)
        else:
            self.close()

    def close(self) -> None:
        """End the lease; send what was written, then close."""
        self.exchange = None
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """End the lease and the connection at once."""
        self.exchange = None
        if self._transport is not None:
            self._transport.abort()

    def drop_soon(self) -> None:
        """End the lease at once and the connection in a moment; what arrives meanwhile reaches nobody."""
        self.exchange = None
        if self._transport is not None:
            self._pool.drop_soon(self)

    @property
    def authority(self) -> bytes:
        """The `Host` value by which this upstream knows itself."""
        return self._pool.address.authority

    @property
    def is_closing(self) -> bool:
        """Whether the connection is of no more use."""
        return self._transport is None or self._transport.is_closing()

    # --- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there (and its TLS handshake done)."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._pool.high_water)

    def data_received(self, data: bytes) -> None:
        """Hand what was read to the exchange."""
        exchange = self.exchange
        if exchange is None:
            self.drop()
        elif exchange.is_tunnel:
            exchange.tunnel_from_upstream(data)
        else:
            self.has_answered = True
            self._reader.feed(data)
            try:
                self._deliver(exchange)
            except WireFault as fault:
                exchange.fault_detail = fault.detail
                self._fail(UpstreamFault.PROTOCOL)

    def eof_received(self) -> None:
        """The upstream sends no more; that ends an unsized body, and everything else too early."""
        exchange = self.exchange
        if exchange is not None and self._has_head and self._reader.end():
            exchange.payload_arrived(b"", is_last=True, trailers=[])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is of no use
        """The connection is gone: without a complete answer, the exchange is told so."""
        self._pool.forget(self)
        self._transport = None
        rescued = self._rescued()
        if rescued:
            self.data_received(rescued)
        self._fail(UpstreamFault.RESET)

    def pause_writing(self) -> None:
        """The upstream is behind in reading."""
        self.is_write_paused = True
        if self.exchange is not None:
            self.exchange.upstream_writable(is_writable=False)

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self.is_write_paused = False
        if self.exchange is not None:
            self.exchange.upstream_writable(is_writable=True)

    # --- inner steps -----------------------------------------------------------------------------------------

    def _deliver(self, exchange: "Exchange") -> None:
        """Hand over the head if it is there, then what there is of the body. Raises `WireFault`."""
        reader = self._reader
        if not self._has_head and not self._deliver_head(exchange):
            return
        if self.exchange is exchange and not exchange.is_tunnel:
            payload = reader.next_body()
            exchange.payload_arrived(payload, is_last=not reader.in_body, trailers=reader.trailers)

    def _deliver_head(self, exchange: "Exchange") -> bool:
        """Hand over interim heads and the final one. Return whether the final one was there."""
        while (head := self._reader.next_head()) is not None:
            if head.status >= _FINAL:
                self._has_head = True
                self._keeps_alive = head.keeps_alive
                self._pool.answered()
                exchange.respond(head)
                return True
            if head.status == SWITCHING_PROTOCOLS:
                self._has_head = True
                self._switch(exchange, head)
                return True
            exchange.interim(head)
            if self.exchange is not exchange:
                return False
        return False

    def _rescued(self) -> bytes:
        """Return what had arrived when the connection was lost, as far as `keep_answer` provided for that."""
        received = b""
        if self._kept_handle != _NO_HANDLE and self.exchange is not None:
            with suppress(OSError):
                received = os.read(self._kept_handle, _RESCUED_BYTES)
        self._let_go()
        return received

    def _let_go(self) -> None:
        if self._kept_handle != _NO_HANDLE:
            os.close(self._kept_handle)
            self._kept_handle = _NO_HANDLE

    def _is_reusable(self) -> bool:
        """Return whether the next exchange can be sure that what it reads is the answer to its own request.

        INVARIANT: never after HEAD. An upstream that wrongly sends the body would have it read as the next answer, and
        nothing tells when it is too late for such bytes to arrive.
        """
        return self._keeps_alive and not self._is_head and not self._reader.buffer and not self.is_closing

    def _switch(self, exchange: "Exchange", head: ResponseHead) -> None:
        exchange.switched(head)
        rest = self._reader.take_rest()
        if rest and self.exchange is exchange and exchange.is_tunnel:
            exchange.tunnel_from_upstream(rest)

    def _fail(self, fault: UpstreamFault) -> None:
        exchange = self.exchange
        if exchange is not None:
            if self._has_head and not exchange.is_tunnel and not exchange.fault_detail:
                exchange.fault_detail = "the connection ended before the answer did"
            if not self._has_head and not self.is_reused:
                self._pool.not_answered()
            exchange.upstream_failed(fault)
