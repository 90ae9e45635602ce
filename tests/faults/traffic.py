"""Who uses the gateway during a run: people with fresh requests and streams, and the sensor that raises and lowers."""

import asyncio
import random
import re
import socket
import time
from collections.abc import Awaitable, Callable

import aiohttp

from tests.faults.history import APP_STATUSES, RECEIVE_BUFFER, Change, History, Request, Stream
from tests.faults.world import APPS, Seat, World, new_http, signal_body

REQUEST_S = 8.0
PAUSE_S = 0.02
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)
STAMP = re.compile(rb"([0-9.]+) \.")
"""A line of bulk: when the app produced it, and filling."""
CLOSE_4403 = b"\x11\x33access"

Habit = Callable[[aiohttp.ClientSession, Seat, str], Awaitable[None]]


class Recorder:
    """Collects what was seen."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.requests: list[Request] = []
        self.streams: list[OpenStream] = []
        self.is_calm = False

    def history(self) -> History:
        return History(
            tuple(self.changes), tuple(self.requests), tuple(each.closed() for each in self.streams)
        )


class OpenStream:
    """A stream while it is open."""

    def __init__(self, recorder: Recorder, seat: Seat, app: str, kind: str) -> None:
        self.device, self.app, self.kind = seat.device, app, kind
        self.opened_at = time.monotonic()
        self.ended_at: float | None = None
        self.pieces: list[tuple[float, float, int]] = []
        self.end = ""
        recorder.streams.append(self)

    def piece(self, produced_at: str | bytes, size: int) -> None:
        self.pieces.append((float(produced_at), time.monotonic(), size))

    def ended(self, end: str) -> None:
        self.ended_at, self.end = time.monotonic(), end

    def closed(self) -> Stream:
        return Stream(
            self.device, self.app, self.kind, self.opened_at, self.ended_at, tuple(self.pieces), self.end
        )


class People:
    """Everybody who uses the gateway, until `stopping` is set."""

    def __init__(self, world: World, recorder: Recorder, stopping: asyncio.Event) -> None:
        self._world = world
        self._recorder = recorder
        self._stopping = stopping

    def of(self, seat: Seat) -> list[Awaitable[None]]:
        """Return what the person at `seat` does, all at the same time."""
        return [
            *(self._keep(self.fresh, seat, app) for app in APPS),
            self._keep(self.websocket, seat, "notes"),
            self._keep(self.events, seat, "wiki"),
            self._keep(self.slow_download, seat, "notes"),
            self._keep(self.slow_websocket, seat, "wiki"),
        ]

    async def _keep(self, do: Habit, seat: Seat, app: str) -> None:
        async with new_http() as http:
            while not self._stopping.is_set():
                await do(http, seat, app)
                await asyncio.sleep(PAUSE_S)

    def _noted(self, seat: Seat, app: str, began_at: float, status: int) -> None:
        now = time.monotonic()
        self._recorder.requests.append(
            Request(seat.device, app, began_at, now, status, when_calm=self._recorder.is_calm)
        )

    async def fresh(self, http: aiohttp.ClientSession, seat: Seat, app: str) -> None:
        """One request on a connection of its own."""
        began_at, is_calm = time.monotonic(), self._recorder.is_calm
        try:
            async with http.get(
                self._world.url("/x", app),
                headers={"Cookie": seat.cookies[app], "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=REQUEST_S),
                allow_redirects=False,
            ) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        if is_calm == self._recorder.is_calm:
            self._noted(seat, app, began_at, status)

    async def websocket(self, http: aiohttp.ClientSession, seat: Seat, app: str) -> None:
        """A WebSocket, read until it ends."""
        began_at = time.monotonic()
        headers = {"Cookie": seat.cookies[app]}
        timeout = aiohttp.ClientWSTimeout(ws_close=2.0)
        try:
            async with asyncio.timeout(REQUEST_S):
                ws = await http.ws_connect(self._world.url("/ws", app), headers=headers, timeout=timeout)
        except aiohttp.WSServerHandshakeError as error:
            self._noted(seat, app, began_at, error.status)
            return
        except (aiohttp.ClientError, TimeoutError, OSError):
            return
        self._noted(seat, app, began_at, 101)
        stream = OpenStream(self._recorder, seat, app, "websocket")
        try:
            async for message in ws:
                stream.piece(message.data, len(message.data))
                if self._stopping.is_set():
                    return
            stream.ended(f"code {ws.close_code}")
        except (aiohttp.ClientError, OSError) as error:
            stream.ended(repr(error))
        finally:
            ws._response.close()  # no handshake: the app does not listen

    async def events(self, http: aiohttp.ClientSession, seat: Seat, app: str) -> None:
        """A stream of server-sent events, read until it ends."""
        began_at = time.monotonic()
        headers = {"Cookie": seat.cookies[app], "Accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S)
        stream: OpenStream | None = None
        try:
            async with asyncio.timeout(REQUEST_S):
                response = await http.get(
                    self._world.url("/events", app), headers=headers, timeout=timeout, allow_redirects=False
                )
            async with response:
                self._noted(seat, app, began_at, response.status)
                if response.status != 200:
                    return
                stream = OpenStream(self._recorder, seat, app, "events")
                while line := await response.content.readline():
                    if line.startswith(b"data: "):
                        stream.piece(line[6:], len(line))
                    if self._stopping.is_set():
                        return
                stream.ended("complete")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if stream is not None:
                stream.ended(repr(error))

    async def slow_download(self, _http: aiohttp.ClientSession, seat: Seat, app: str) -> None:
        """A client that reads less than it is sent, with a small buffer, until the connection ends."""
        await self._slow(seat, app, "slow", "GET /bulk HTTP/1.1\r\nAccept: text/plain")

    async def slow_websocket(self, _http: aiohttp.ClientSession, seat: Seat, app: str) -> None:
        """The same on a WebSocket."""
        await self._slow(seat, app, "slow websocket", f"GET /bulk-ws HTTP/1.1\r\n{HANDSHAKE}")

    async def _slow(self, seat: Seat, app: str, kind: str, request: str) -> None:
        handle = socket.socket()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)
        handle.setblocking(False)  # noqa: FBT003 - how sockets are told
        began_at = time.monotonic()
        loop = asyncio.get_running_loop()
        stream: OpenStream | None = None
        try:
            async with asyncio.timeout(REQUEST_S):
                await loop.sock_connect(handle, ("127.0.0.1", self._world.port))
                head = f"{request}\r\nHost: {app}.localhost:{self._world.port}\r\nCookie: {seat.cookies[app]}"
                await loop.sock_sendall(handle, f"{head}\r\n\r\n".encode())
                first = await loop.sock_recv(handle, 2048)
            if not first:
                return
            status = int(first.split(b" ", 2)[1])
            self._noted(seat, app, began_at, status)
            if status not in APP_STATUSES:
                return
            stream = OpenStream(self._recorder, seat, app, kind)
            await self._read_slowly(handle, stream)
        except (OSError, TimeoutError) as error:
            if stream is not None:
                stream.ended(repr(error))
        finally:
            handle.close()

    async def _read_slowly(self, handle: socket.socket, stream: OpenStream) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        while not self._stopping.is_set():
            data = await loop.sock_recv(handle, 4096)
            if not data:
                stream.ended("code 4403" if CLOSE_4403 in rest else "end")
                return
            *lines, rest = (rest + data).split(b"\n")
            stamps = [match[1] for line in lines if (match := STAMP.search(line))]
            for stamp in stamps:
                stream.piece(stamp, 1024)
            await asyncio.sleep(0.02)


class Sensor:
    """Raises and lowers the risk of devices, one change of a device at a time, and waits for the answer."""

    def __init__(self, world: World, recorder: Recorder, choice: random.Random) -> None:
        self._world = world
        self._recorder = recorder
        self._random = choice
        self._count = 0

    async def change(self, http: aiohttp.ClientSession, device: str, *, is_raise: bool) -> None:
        """Tell of one change until it is acknowledged."""
        self._count += 1
        body = signal_body(device, f"{device}-{self._count}", state="open" if is_raise else "closed")
        sent_at = time.monotonic()
        await self._world.told(http, body)
        self._recorder.changes.append(Change(device, is_raise, sent_at, time.monotonic()))

    async def begin(self, devices: list[str]) -> None:
        """Make every device known and clean."""
        async with new_http() as http:
            for device in devices:
                await self._world.told(http, signal_body(device, f"{device}-known", kind="heartbeat"))
                await self.change(http, device, is_raise=False)

    async def keep(self, device: str, stopping: asyncio.Event) -> None:
        """Raise and lower one device until `stopping`; it ends lowered."""
        is_raise = True
        async with new_http() as http:
            while not stopping.is_set() or not is_raise:
                await asyncio.sleep(self._random.uniform(0.05, 0.6))
                await self.change(http, device, is_raise=is_raise)
                is_raise = not is_raise
