r"""A real front on loopback with a gatekeeper that lets everything through, and upstreams that record what they get.

async def test_something(gate: Gate, recorder: Recorder) -> None:
    answer = await gate.talk(b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert recorder.requests[0].target == b"/"
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

import httptools
import msgspec

from gateway.config.schema import Limits
from gateway.proxy.exchange import Exchange
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.ports import Route, UpstreamFault
from gateway.proxy.server import Front
from gateway.wire.forwarded import TrustedNetworks

SWEEP_S = 0.02
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Seen(msgspec.Struct):
    """A request as an independent parser (llhttp) reads it at the upstream."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    is_complete: bool = False

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


class RecorderConnection(asyncio.Protocol):
    """One connection to the recorder."""

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._seen: Seen | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._recorder.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._recorder.lost.set()

    def data_received(self, data: bytes) -> None:
        self._recorder.raw += data
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._seen.headers if self._seen else self._headers).append((name, value))

    def on_headers_complete(self) -> None:
        self._seen = Seen(self._parser.get_method(), self._url, self._headers)
        self._recorder.requests.append(self._seen)
        self._recorder.arrived.set()

    def on_body(self, data: bytes) -> None:
        self._seen.body += data

    def on_message_complete(self) -> None:
        seen, self._seen = self._seen, None
        seen.is_complete = True
        answer = self._recorder.answer(seen)
        if answer is None:
            self.transport.close()
        else:
            self.transport.write(answer)


class Recorder:
    """An upstream that records every request and answers by `answer`, which a test may replace."""

    def __init__(self) -> None:
        self.raw = b""
        self.requests: list[Seen] = []
        self.connections: list[RecorderConnection] = []
        self.answer: Callable[[Seen], bytes | None] = lambda _: OK
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()
        self.port = 0


class Gate:
    """A front with the simplest gatekeeper. `route` is where everything goes; the other attributes steer the rest."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.port = 0
        self.front: Front
        self.route: Route | None = None
        self.failed_route: Route | None = None
        self.forbidden_route: Route | None = None
        self.exchanges: list[Exchange] = []
        self.over: list[Exchange] = []
        self.faults: list[UpstreamFault] = []
        self.admitted = asyncio.Event()
        self.done = asyncio.Event()
        self.pools: list[UpstreamPool] = []

    def pool(self, url: str, *, tls: ssl.SSLContext | None = None) -> UpstreamPool:
        pool = UpstreamPool(url, self.limits, tls=tls)
        self.pools.append(pool)
        return pool

    def route_to(self, url: str, *, tls: ssl.SSLContext | None = None, **options: object) -> Route:
        return Route(pool=self.pool(url, tls=tls), headers=options.pop("headers", ()), **options)

    def admit(self, exchange: Exchange) -> Route | None:
        self.exchanges.append(exchange)
        self.admitted.set()
        return self.route

    def failed(self, exchange: Exchange, fault: UpstreamFault) -> Route | None:
        self.faults.append(fault)
        return self.failed_route

    def forbidden(self, exchange: Exchange, reason: str) -> Route | None:
        return self.forbidden_route

    def ended(self, exchange: Exchange) -> None:
        self.over.append(exchange)
        self.done.set()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, data: bytes) -> bytes:
        """Send `data`, return everything up to the end of the connection, however it ends."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await read_to_end(reader)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running_gate(
    limits: Limits | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    trusted: tuple[str, ...] = (),
) -> AsyncIterator[Gate]:
    """Run a front on a free loopback port."""
    gate = Gate(limits or Limits())
    networks = TrustedNetworks([ip_network(cidr) for cidr in trusted])
    gate.front = Front(gate, gate.limits, tls=tls, trusted=networks, sweep_s=SWEEP_S)
    gate.port = await gate.front.listen_tcp("127.0.0.1", 0)
    try:
        yield gate
    finally:
        gate.front.close()
        for pool in gate.pools:
            pool.close()
        await closed_transports()


@contextlib.asynccontextmanager
async def running_recorder() -> AsyncIterator[Recorder]:
    """Run a recording upstream on a free loopback port."""
    recorder = Recorder()
    server = await asyncio.get_running_loop().create_server(
        lambda: RecorderConnection(recorder), "127.0.0.1", 0
    )
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
        for connection in recorder.connections:
            connection.transport.abort()
        await closed_transports()


@contextlib.asynccontextmanager
async def running_upstream(handler: Handler, *, path: Path | None = None) -> AsyncIterator[str]:
    """Run an upstream whose connections `handler` plays byte by byte; yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.close()

    if path is None:
        server = await asyncio.start_server(play, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(play, str(path))
        url = f"unix:{path}"
    try:
        yield url
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await closed_transports()


async def closed_transports() -> None:
    """Let the loop finish closing what was closed or aborted, so that nothing is left open at its end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return what still comes; a reset is an end too."""
    received = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := await reader.read(65536):
            received += piece
    return received


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the loop has made `condition` true; the test's own timeout ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event and shall not get one for tests
        await asyncio.sleep(0.001)
