"""A client's connection: reads requests strictly, one at a time, and writes what their exchanges say.

The next request is not even parsed before the last response is complete and mostly sent, so pipelined requests are
answered in order and cost only the bytes they are.

What one connection holds at most in each direction: a quarter of `Limits.buffer_bytes`, above which the other side is
not read, plus one read, which in asyncio and uvloop is at most 256 KiB. A client that leaves while it is not read is
noticed at the next deadline, or at the next write to it.
"""

import asyncio
import fcntl
import math
import socket
import ssl
import struct
import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, cast

from gateway.proxy.exchange import DISCARD_BYTES, HALF_CLOSED_S, Exchange
from gateway.proxy.tls import asked_name
from gateway.wire.faults import FaultCode, RequestFault, WireFault
from gateway.wire.forwarded import Address, client_chain, forwarding_lines, parse_address, untrusted_hops
from gateway.wire.problem import problem_response
from gateway.wire.reader import RequestReader
from gateway.wire.request import RequestHead
from gateway.wire.spare import SparePage, accepted_by_person, page_response

if TYPE_CHECKING:
    from gateway.proxy.server import Front

LINGER_S = 2.0
"""How long a closing connection that goes on sending is waited for, so that the client can read our answer."""

LINGER_MAX_S = 30.0
"""How long it is read in all: a browser shows the answer to an upload only when it has sent the whole of it."""

LINGER_BYTES = 1 << 30
"""How much of it."""

NO_ADDRESS = IPv4Address("127.0.0.1")
"""Address of the peer on a Unix socket."""

UNKNOWN_ADDRESS = IPv6Address("::")
"""Address of a peer whose own cannot be read; nobody trusts it."""

OPTIONS_ANSWER = b"HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n%b\r\n"
"""What `OPTIONS *` is told: it asks about this server, and there is nothing to tell."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_SIOCOUTQNSD = 0x894B
"""Asks a TCP socket for the bytes in its send queue that were not sent. Source: linux/sockios.h."""
_COUNT = struct.Struct("i")


class Downstream:
    """One client connection, an `asyncio.Protocol`. `exchange` is the one that is being answered, None between two.

    It does not inherit from that class, which has nothing but defaults: compiled, its fields then have fixed places.

    `announced` is the client's address where a load balancer has told it (PROXY protocol), else None.
    """

    __slots__ = (
        "_announced",
        "_buffered_at_expiry",
        "_client_address",
        "_forwarding",
        "_front",
        "_half_closed",
        "_is_advancing",
        "_is_ending",
        "_is_idle",
        "_is_read_paused",
        "_is_tls",
        "_left_to_discard",
        "_linger_until",
        "_patience_s",
        "_read_ns",
        "_reader",
        "_transport",
        "asked_name",
        "deadline",
        "evidence",
        "exchange",
        "is_peer_trusted",
        "is_write_paused",
        "peer_address",
    )

    def __init__(self, front: "Front", *, announced: Address | None = None) -> None:
        self._front = front
        self._announced = announced
        self._reader = RequestReader(front.head_limits)
        self._transport: asyncio.Transport | None = None
        self._forwarding: tuple[bytes, bytes] = (b"", b"")
        self._read_ns = 0
        self._is_advancing = False
        self._is_read_paused = False
        self._is_ending = False
        self._is_idle = False
        self._half_closed = False
        self._left_to_discard = DISCARD_BYTES
        self._patience_s = math.inf
        self._linger_until = 0.0
        self._buffered_at_expiry = 0
        self.deadline = 0.0
        self.asked_name = ""
        self.evidence = b""
        self.exchange: Exchange | None = None
        self.is_peer_trusted = False
        self.is_write_paused = False
        self.peer_address: Address = NO_ADDRESS
        self._client_address: Address = self.peer_address
        self._is_tls = False

    # --- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected (and its TLS handshake is done)."""
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=self._front.high_water)
        self.peer_address = self._announced or peer_address(transport.get_extra_info("peername"))
        self._client_address = self.peer_address
        self.is_peer_trusted = self.peer_address in self._front.trusted
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._is_tls = True
            self.evidence = _peer_certificate(tls)
            self.asked_name = asked_name(tls)
        self.expect_within(self._front.limits.header_timeout)
        if not self._front.admit_connection(self):
            self._refuse(RequestFault(FaultCode.CONNECTIONS, "too many connections from this address"))

    def data_received(self, data: bytes) -> None:
        """The client sent something."""
        exchange = self.exchange
        if exchange is not None and exchange.is_tunnel:
            exchange.tunnel_from_client(data)
        elif self._is_ending:
            self._discard_ending(len(data))
        else:
            if not self._reader.buffer:
                self._read_ns = time.monotonic_ns()
            self._reader.feed(data)
            self._advance()

    def eof_received(self) -> bool:
        """The client sends no more. An answer on its way may still reach it, but is not waited for long."""
        exchange = self.exchange
        if exchange is None or self._reader.in_body or self._is_tls:
            return False
        self._patience_s = exchange.tunnel_ended() if exchange.is_tunnel else HALF_CLOSED_S
        self._half_closed = True
        self.expect_within(self._patience_s)
        return self._patience_s > 0

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is of no use
        """The connection is gone."""
        self._transport = None
        self._is_ending = True
        self._front.forget_connection(self)
        if self.exchange is not None:
            self.exchange.client_gone()
            self.exchange = None

    def pause_writing(self) -> None:
        """The client is behind in reading."""
        self.is_write_paused = True
        if self.exchange is not None:
            self.exchange.client_writable(is_writable=False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.is_write_paused = False
        if self.exchange is not None:
            self.exchange.client_writable(is_writable=True)
        elif not self._is_ending:
            self._advance()

    # --- what an exchange orders (`exchange.ClientLink`) -----------------------------------------------------

    @property
    def date(self) -> bytes:
        """Now, as the `Date` header has it."""
        return self._front.date

    def write(self, data: bytes) -> None:
        """Send to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def write_buffered(self) -> int:
        """Return how many bytes wait for the client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def unsent(self) -> int:
        """Return how many written bytes have not left yet: those in the transport and those in the kernel."""
        if self._transport is None:
            return 0
        return self._transport.get_write_buffer_size() + _unsent_in_kernel(self._transport)

    def body_wanted(self) -> None:
        """The exchange takes the body now, or became a tunnel: hand over what is there."""
        exchange = self.exchange
        if exchange is not None and exchange.is_tunnel:
            rest = self._reader.take_rest()
            if rest:
                exchange.tunnel_from_client(rest)
            self.resume_reading()
        else:
            self._advance()

    def forwarding(self, exchange: Exchange) -> bytes:
        """Return the forwarding lines for an upstream; the same as last time if nothing in them can have changed."""
        authority = exchange.head.authority
        if not self.is_peer_trusted and self._forwarding[0] == authority:
            return self._forwarding[1]
        lines = forwarding_lines(self._chain(exchange.head), exchange.scheme.encode(), authority)
        self._forwarding = (authority, lines)
        return lines

    def expect_within(self, seconds: float) -> None:
        """Have `expired` called unless something is expected anew within `seconds`."""
        self.deadline = self._front.now + min(seconds, self._patience_s)

    def spare_page(self, status: int, untrusted_accepted: bytes) -> SparePage | None:
        """Return the page that is ready for a person who cannot be told by the hub, None without one."""
        return self._front.spare.find(status, untrusted_accepted)

    def pause_reading(self) -> None:
        """Take nothing more from the client."""
        if not self._is_read_paused and self._transport is not None:
            self._is_read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._is_read_paused and self._transport is not None:
            self._is_read_paused = False
            self._transport.resume_reading()

    def over(self, *, keeps_alive: bool) -> None:
        """The response is complete: turn to the next request, or close when all has been sent."""
        self.exchange = None
        if not keeps_alive or self._front.is_draining:
            self._end()
        else:
            self._is_idle = True
            self._left_to_discard = DISCARD_BYTES
            self.expect_within(self._front.limits.idle_timeout)
            if self._reader.buffer or self._is_read_paused or self._half_closed:
                self._advance()

    def close(self) -> None:
        """Send what was written, then close."""
        self.exchange = None
        self._end(lingers=True)

    def reset(self) -> None:
        """Drop what was written and not sent, in the transport and in the kernel, and end the connection at once."""
        self.exchange = None
        self._is_ending = True
        if self._transport is not None:
            _reset_on_close(self._transport)
            self._transport.abort()

    # --- what the front orders -------------------------------------------------------------------------------

    def expired(self) -> None:
        """The deadline has passed. A client that reads slowly, but reads, is given more time."""
        buffered, before = self.write_buffered(), self._buffered_at_expiry
        self._buffered_at_expiry = buffered
        exchange = self.exchange
        if buffered and (buffered < before or not before):
            self.expect_within(self._front.limits.stream_idle_timeout)
        elif exchange is None and (self._is_ending or not self._reader.buffer):
            self.abandon()
        elif exchange is None:
            self._refuse(RequestFault(FaultCode.HEAD_TIMEOUT, "the request head took too long"))
        elif self._half_closed:
            self.abandon()
        else:
            exchange.expired()

    def abandon(self) -> None:
        """Close without another word; an exchange ends with the connection."""
        self._is_ending = True
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Finish what is being answered, then close; an idle connection closes now."""
        if self.exchange is not None:
            self.exchange.is_draining = True
        elif not self._reader.buffer:
            self._end()

    # --- inner steps -----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do all that the bytes read so far allow. Not re-entered: an exchange that ends meanwhile is seen here."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while not self._is_ending and self._step():
                pass
        except WireFault as fault:
            self._refuse(fault)
        finally:
            self._is_advancing = False
        self._after_advancing()

    def _after_advancing(self) -> None:
        """Read on unless enough waits here; close a half-closed connection on which nothing is left to answer."""
        exchange = self.exchange
        waits = exchange is not None or self.is_write_paused
        if waits and len(self._reader.buffer) >= self._front.high_water:
            self.pause_reading()
        elif self._is_read_paused and not (exchange is not None and exchange.is_tunnel):
            self.resume_reading()
        if self._half_closed and not waits:
            self._end()

    def _step(self) -> bool:
        """Take one head or one piece of a body; return whether there may be more to do. Raises `WireFault`."""
        exchange = self.exchange
        if exchange is None:
            return not self.is_write_paused and self._next_request()
        reader = self._reader
        if not (reader.in_body and exchange.takes_body):
            return False
        payload = reader.next_body()
        if not payload and reader.in_body:
            return False
        exchange.body_arrived(payload, is_last=not reader.in_body, trailers=reader.trailers)
        return True

    def _next_request(self) -> bool:
        """Take the next head, after what is left of the last body. Returns and raises as `_step`."""
        reader = self._reader
        if reader.in_body:
            return self._discard_body()
        head = reader.next_head()
        if head is not None:
            self._begin(head)
            return reader.in_body or self.exchange is None
        if reader.buffer and self._is_idle:
            self._is_idle = False
            self.expect_within(self._front.limits.header_timeout)
        return False

    def _begin(self, head: RequestHead) -> None:
        """Start the exchange of a new request."""
        front = self._front
        if head.target.path == "*":
            self.write(OPTIONS_ANSWER % (b"" if head.keeps_alive else b"Connection: close\r\n"))
            self.over(keeps_alive=head.keeps_alive)
            return
        address = self._chain(head)[0] if self.is_peer_trusted else self._client_address
        self.exchange = exchange = Exchange(
            head,
            self,
            front.gatekeeper,
            front.limits,
            client_address=address,
            scheme=self._scheme(head),
            received_ns=self._read_ns,
        )
        exchange.is_draining = front.is_draining
        front.stats.requests += 1
        self._is_idle = False
        self.deadline = front.now + front.limits.response_timeout
        route = front.gatekeeper.admit(exchange)
        if route is not None:
            exchange.proceed(route)

    def _chain(self, head: RequestHead) -> list[Address]:
        if not self.is_peer_trusted:
            return [self.peer_address]
        hops = untrusted_hops(head.header(b"x-forwarded-for"), head.header(b"forwarded"))
        return client_chain(self.peer_address, hops, self._front.trusted)

    def _scheme(self, head: RequestHead) -> str:
        """Return the scheme that the client used: a trusted proxy tells, else this connection does."""
        if self.is_peer_trusted:
            untrusted = (head.header(b"x-forwarded-proto") or b"").rpartition(b",")[2].strip().lower()
            if untrusted in {b"http", b"https"}:
                return untrusted.decode()
        return "https" if self._is_tls else "http"

    def _discard_body(self) -> bool:
        """Read away the rest of a body that nobody wants, to get to the next request; not without bound."""
        before = len(self._reader.buffer)
        self._reader.next_body()
        self._left_to_discard -= before
        if self._left_to_discard < 0:
            self._end()
            return False
        return not self._reader.in_body

    def _refuse(self, fault: WireFault) -> None:
        """Answer a request that breaks a rule, and close."""
        self._front.stats.count_fault(fault.code)
        exchange = self.exchange
        if exchange is not None:
            exchange.refuse(RequestFault(fault.code, fault.detail))
            return
        code = fault.code
        accepted = accepted_by_person(self._reader.buffer)
        page = None if accepted is None else self._front.spare.find(code.status, accepted)
        if page is None:
            self.write(problem_response(code.status, code.value, fault.detail, date=self.date, closes=True))
        else:
            self.write(page_response(code.status, page, date=self.date, closes=True))
        self._end(lingers=True)

    def _end(self, *, lingers: bool = False) -> None:
        """Close when all has been sent.

        A connection closed with unread bytes is reset, and the client may miss the answer: `lingers`, or a body that is
        still coming, has them read for a while. Over TLS only for a body: its end cannot be told before closing.
        """
        if self._is_ending or self._transport is None:
            return
        self._is_ending = True
        is_unread = self._reader.in_body or bool(self._reader.take_rest())
        can_end = self._transport.can_write_eof()
        if self._half_closed or not (is_unread or (lingers and can_end)):
            self.expect_within(self._front.limits.stream_idle_timeout)
            self._transport.close()
            return
        self._left_to_discard = LINGER_BYTES
        self._linger_until = self._front.now + LINGER_MAX_S
        self.expect_within(LINGER_S)
        self.resume_reading()
        if can_end:
            self._transport.write_eof()

    def _discard_ending(self, size: int) -> None:
        self._left_to_discard -= size
        left_s = self._linger_until - self._front.now
        if self._left_to_discard < 0 or left_s <= 0:
            self.abandon()
        else:
            self.expect_within(min(LINGER_S, left_s))


def peer_address(name: object) -> Address:
    """Return the address of a peer by what the socket calls it; that on a Unix socket has no name."""
    if isinstance(name, tuple):
        return parse_address(name[0].partition("%")[0].encode()) or UNKNOWN_ADDRESS
    return NO_ADDRESS


def _peer_certificate(tls: ssl.SSLObject) -> bytes:
    """Return the DER of the client's certificate, which the handshake has verified; empty without one."""
    return tls.getpeercert(binary_form=True) or b""


def _unsent_in_kernel(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel of this machine still has to send; 0 on a Unix socket, where none wait."""
    handle = transport.get_extra_info("socket")
    if handle is None or handle.family == socket.AF_UNIX:
        return 0
    (count,) = _COUNT.unpack(fcntl.ioctl(handle.fileno(), _SIOCOUTQNSD, bytes(_COUNT.size)))
    return int(count)


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Have the kernel drop unsent bytes and send RST when a TCP connection is closed."""
    handle = transport.get_extra_info("socket")
    if handle is not None and handle.family != socket.AF_UNIX:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
