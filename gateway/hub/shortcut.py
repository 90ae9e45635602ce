"""Deliveries of sensors past the web framework, which costs as much as the delivery itself.

Every connection of a worker begins here. Small deliveries that are here whole are taken here; at the first request
that is anything else, the connection is handed to the web server, for good. So no request is ever read by two: where
one ends and the next begins is told here only while nobody else has read from the connection.
INVARIANT: a delivery ends as it would by the application.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from time import time
from typing import cast

from aiohttp import web

from gateway.hub.delivery_request import DeliveryRequest, WholeRequest
from gateway.tasks import spawn
from gateway.wire.faults import WireFault
from gateway.wire.fields import CRLF, END_OF_HEAD, Field, index_fields, parse_fields, split_lines

MAX_HEAD_BYTES = 65_536
MAX_WHOLE_BYTES = 65_536
"""Longest head, and longest body, that is waited for here; what is longer goes to the web server."""

PATIENCE_S = 0.1
"""How long a delivery that has begun may take to be here whole."""

STOP_S = 1.0
"""How long deliveries that are under way at the end are waited for."""

_BEGIN = b"POST "
_ELSEWHERE = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""Fields of requests that are not read here: their framing, or what follows them, is something else."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_ACCEPTED = (
    b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nDate: %b\r\nServer: posturegate\r\n\r\n%b"
)

Take = Callable[[DeliveryRequest, str], "Awaitable[web.Response | Accepted]"]
"""Take a delivery to a sensor that there is; return what its sender is told. A fault costs the connection."""


class Deliveries:
    """What every connection needs: `prefix` is the path before the sensor's name, `rest` makes the web server's end."""

    def __init__(
        self,
        prefix: str,
        names: Callable[[], Collection[str]],
        take: Take,
        rest: Callable[[], asyncio.Protocol],
    ) -> None:
        self.prefix = prefix.encode()
        self.names = names
        self.take = take
        self.rest = rest
        self.links: set[Link] = set()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Link(self)


class Link(asyncio.Protocol):
    """A connection of a worker, as long as nothing but deliveries came over it."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self.taking: asyncio.Task[None] | None = None
        """The delivery under way."""
        self._patience: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        # uvloop's transports do not derive from asyncio's, so this cannot be an isinstance.
        self._transport = cast("asyncio.Transport", transport)
        self._deliveries.links.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._held = self._held + data if self._held else data
        if self.taking is None:
            self._look()
        elif len(self._held) > MAX_HEAD_BYTES:
            self.close()  # a worker sends one request after the other

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is of no use
        """A delivery under way goes on: what is durable has to be enforced."""
        self._transport = None
        self._deliveries.links.discard(self)
        self._be_patient(is_waiting=False)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    # --- requests --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take the delivery if it is here, hand over what is none, wait for the rest of what may become one."""
        held = self._held
        if not held or self._transport is None:
            return
        end = held.find(END_OF_HEAD)
        if end < 0:
            is_one = len(held) <= MAX_HEAD_BYTES and held.startswith(_BEGIN[: len(held)])
            self._be_patient(is_waiting=True) if is_one else self._hand_over()
            return
        found = self._read_head(held[:end])
        if found is None:
            self._hand_over()
            return
        sensor, fields, length = found
        begin = end + len(END_OF_HEAD)
        if len(held) < begin + length:
            self._be_patient(is_waiting=True)
            return
        self._be_patient(is_waiting=False)
        self._held = held[begin + length :]
        named = [(_text(name), _text(value)) for name, value in fields]
        request = WholeRequest(named, held[begin : begin + length])
        self.taking = spawn(self._take(request, sensor), name="delivery")

    def _read_head(self, head: bytes) -> tuple[str, list[Field], int] | None:
        """Return the sensor, the fields and the body's length of a delivery, None for whatever is not read here."""
        line, _, rest = head.partition(CRLF)
        words = line.split(b" ")
        prefix = self._deliveries.prefix
        if len(words) != 3 or words[0] != b"POST" or words[2] != b"HTTP/1.1":  # noqa: PLR2004
            return None
        sensor = words[1].removeprefix(prefix).decode("ascii", "replace")
        if not words[1].startswith(prefix) or sensor not in self._deliveries.names():
            return None
        try:
            fields = parse_fields(split_lines(rest))
        except WireFault:
            return None
        known = index_fields(fields)
        length = known.get(b"content-length", b"")
        is_plain = length.isdigit() and len(length) < 6 and _ELSEWHERE.isdisjoint(known)  # noqa: PLR2004
        return (sensor, fields, int(length)) if is_plain and int(length) <= MAX_WHOLE_BYTES else None

    async def _take(self, request: DeliveryRequest, sensor: str) -> None:
        try:
            written = _written(response := await self._deliveries.take(request, sensor))
        except BaseException:
            self.close()
            raise
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(written)
            if isinstance(response, Accepted):
                response.is_sent()
        self.taking = None
        self._look()

    # --- all else --------------------------------------------------------------------------------------

    def _be_patient(self, *, is_waiting: bool) -> None:
        """Have the rest of a delivery come soon, or, when it is here, no longer look at the clock."""
        if is_waiting and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._hand_over)
        elif not is_waiting and self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _hand_over(self) -> None:
        """Let the web server have the connection, with all that it has not read yet."""
        self._be_patient(is_waiting=False)
        transport, self._transport = self._transport, None
        if transport is None or transport.is_closing():
            return
        self._deliveries.links.discard(self)
        rest = self._deliveries.rest()
        transport.set_protocol(rest)
        rest.connection_made(transport)
        rest.data_received(self._held)
        self._held = b""


class Accepted:
    """The answer to a delivery that was taken; `is_sent` is called when its last byte was handed to the connection."""

    __slots__ = ("body", "is_sent")

    def __init__(self, body: bytes, is_sent: Callable[[], object]) -> None:
        self.body = body
        self.is_sent = is_sent

    def response(self) -> web.Response:
        """Return the same for the web server."""
        return _SentResponse(self)

    def written(self, date: str) -> bytes:
        """Return the same as it is sent."""
        return _ACCEPTED % (len(self.body), date.encode(), self.body)


class _SentResponse(web.Response):
    def __init__(self, accepted: Accepted) -> None:
        super().__init__(body=accepted.body, content_type="application/json", headers=_HEADERS)
        self._accepted = accepted

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what is left of the answer."""
        await super().write_eof(data)
        self._accepted.is_sent()


class DeliverySite(web.UnixSite):
    """The socket that workers connect to, of a runner whose server gets what is no delivery."""

    def __init__(self, runner: web.AppRunner, path: Path, deliveries: Deliveries) -> None:
        super().__init__(runner, str(path))
        self._deliveries = deliveries

    async def start(self) -> None:
        """Listen."""
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._deliveries, self._path, backlog=self._backlog)

    async def stop(self) -> None:
        """Listen no more, and end every connection that is not the web server's, soon after its delivery."""
        await super().stop()
        under_way = [link.taking for link in self._deliveries.links if link.taking is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=STOP_S)
        for link in list(self._deliveries.links):
            link.close()


def _text(name_or_value: bytes) -> str:
    return name_or_value.decode("utf-8", "surrogateescape")


def _written(response: web.Response | Accepted) -> bytes:
    """Return an answer as it is sent."""
    if isinstance(response, Accepted):
        return response.written(_date(int(time())))
    body = response.body if isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name != "Content-Length"]
    lines += [f"Content-Length: {len(body)}", f"Date: {_date(int(time()))}", "Server: posturegate\r\n\r\n"]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


@lru_cache(maxsize=1)
def _date(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)
