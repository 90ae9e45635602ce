"""Opens streams, tells the gateway of compromised devices, and sees its streams end; prints one JSON object.

`python -m tests.bench.exposure_driver ORDER_JSON`, an `Order`. Streams and deliveries are in one process, so that all
times are of one clock; its own delay is in every figure.
"""

import asyncio
import gc
import sys
import time
from typing import cast

import msgspec
import uvloop

from tests.bench.gate import detection, report, serial_of
from tests.bench.holder import handshake

AT_ONCE = 32
WITHIN_S = 15.0
GRACE_S = 0.3


class Order(msgspec.Struct, frozen=True):
    """What to do. Device `n` has the sessions whose number is `n` modulo `devices`, and as many streams as it is."""

    port: int
    devices: int
    streams: int
    toggles: int
    cookies: list[str]
    host: dict[str, str]
    hook: dict[str, str]
    cookie_name: str


class Seen(msgspec.Struct):
    """What was seen, in seconds. `cut` runs from the delivery's first byte to the end of each stream.

    `cut_late` counts streams that were still open when the delivery had been answered, by our own clock.
    """

    answered: list[float] = []
    enforced: list[float] = []
    cut: list[float] = []
    cut_late: int = 0
    restored: list[float] = []


class Stream(asyncio.Protocol):
    """One WebSocket or event stream; `opened` and `ended` are futures, `ended` with the instant."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self.opened: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.opened.set_result(data.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")))
        elif data[:1] == b"\x88":
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(time.monotonic())


class Hook(asyncio.Protocol):
    """A keep-alive connection of the sensor."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._answer: asyncio.Future[bytes] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if end and body.endswith(b"}") and self._answer is not None:
            self._data = b""
            self._answer.set_result(head.split(b" ", 2)[1] + body)

    async def send(self, events: list[dict[str, object]]) -> tuple[float, float, dict[str, object]]:
        """Deliver; return when it began, when it was answered, and the answer."""
        body = msgspec.json.encode({"events": events})
        self._answer = asyncio.get_running_loop().create_future()
        head = f"POST /.gate/hooks/edr HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        began = time.monotonic()
        self.transport.write(head.encode() + body)
        async with asyncio.timeout(WITHIN_S):
            answer = await self._answer
        now = time.monotonic()
        if not answer.startswith(b"200"):
            raise SystemExit(f"the delivery was answered {answer[:300]!r}")
        return began, now, msgspec.json.decode(answer[3:], type=dict[str, object])


class Driver:
    """Holds the streams of all devices."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._streams: list[list[Stream]] = [[] for _ in range(order.devices)]
        self._room = asyncio.Semaphore(AT_ONCE)
        self.seen = Seen()

    async def run(self) -> None:
        """Open everything, then compromise one device after the other."""
        order = self._order
        loop = asyncio.get_running_loop()
        _, hook = await loop.create_connection(lambda: Hook(order.hook), "127.0.0.1", order.port)
        await asyncio.gather(*(self._open(device) for device in range(order.devices)))
        gc.disable()
        for toggle in range(order.toggles):
            device = toggle % order.devices
            await self._toggle(hook, device)
            gc.collect()
            await asyncio.sleep(0.02)

    async def _open(self, device: int) -> None:
        order = self._order
        mine = [cookie for at, cookie in enumerate(order.cookies) if at % order.devices == device]
        each = order.streams // order.devices
        opened = await asyncio.gather(*(self._open_one(mine[at % len(mine)], at) for at in range(each)))
        self._streams[device] = list(opened)

    async def _open_one(self, cookie: str, number: int) -> Stream:
        order = self._order
        headers = order.host | {"Cookie": f"{order.cookie_name}={cookie}"}
        if number % 2:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            request = f"GET /events HTTP/1.1\r\n{lines}Accept: text/event-stream\r\n\r\n".encode()
        else:
            request = handshake("/ws", headers)
        async with self._room, asyncio.timeout(WITHIN_S):
            loop = asyncio.get_running_loop()
            _, stream = await loop.create_connection(lambda: Stream(request), "127.0.0.1", order.port)
            if not await stream.opened:
                raise SystemExit("a stream was refused")
        return stream

    async def _toggle(self, hook: Hook, device: int) -> None:
        seen, streams = self.seen, self._streams[device]
        serial = serial_of(device)
        if any(stream.ended.done() for stream in streams):
            raise SystemExit("a stream ended that nobody cut")
        began, answered, answer = await hook.send([detection(serial, is_open=True)])
        async with asyncio.timeout(WITHIN_S):
            ends = await asyncio.gather(*(stream.ended for stream in streams))
        seen.answered.append(answered - began)
        seen.enforced.append(float(str(answer["enforced_in_ms"])) / 1000)
        seen.cut += [end - began for end in ends]
        seen.cut_late += sum(end > answered + GRACE_S for end in ends)
        for stream in streams:
            stream.transport.abort()
        began, answered, _ = await hook.send([detection(serial, is_open=False), report(serial)])
        seen.restored.append(answered - began)
        await self._open(device)


async def main() -> None:
    """Do what the argument says."""
    driver = Driver(msgspec.json.decode(sys.argv[1], type=Order))
    await driver.run()
    sys.stdout.write(msgspec.json.encode(driver.seen).decode())


if __name__ == "__main__":
    uvloop.run(main())
