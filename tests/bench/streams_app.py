"""An upstream with streams: `python -m tests.bench.streams_app PORT`. Raw protocols, so that it is no bottleneck.

`/idle` is a WebSocket on which nothing happens, `/ws` one that ticks, `/events` an event stream that ticks; any POST
is read to its end and answered.
"""

import asyncio
import base64
import hashlib
import random
import sys
from typing import cast

import uvloop

TICK_S = 2.0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"c\r\ndata: tick\n\n\r\n"
_FRAME = b"\x81\x04tick"
_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class StreamsApp(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left = 0
        self._tick = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._tick:
            return
        if self._left:
            self._take(len(data))
            return
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = b""
            self._begin(head, body)

    def _begin(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        line, *rest = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in rest)}
        path = line.split(b" ")[1]
        if path in {b"/ws", b"/idle"}:
            key = hashlib.sha1(fields[b"sec-websocket-key"] + _MAGIC).digest()  # noqa: S324 - RFC 6455
            accept = b"Sec-WebSocket-Accept: " + base64.b64encode(key)
            switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            self._transport.write(switched + accept + b"\r\n\r\n")
            self._stream(_FRAME, is_idle=path == b"/idle")
        elif path == b"/events":
            self._transport.write(_EVENTS + _CHUNK)
            self._stream(_CHUNK, is_idle=False)
        else:
            self._left = int(fields.get(b"content-length", b"0")) or -1
            self._take(len(body))

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and self._transport is not None:
            self._left = 0
            self._transport.write(_DONE)

    def _stream(self, tick: bytes, *, is_idle: bool) -> None:
        self._tick = tick
        if not is_idle:
            asyncio.get_running_loop().call_later(random.uniform(0, TICK_S), self._beat)  # noqa: S311

    def _beat(self) -> None:
        if self._transport is not None:
            self._transport.write(self._tick)
            asyncio.get_running_loop().call_later(TICK_S, self._beat)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(StreamsApp, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
