"""Holds idle WebSockets: `python -m tests.bench.holder PORT COUNT HEAD_JSON` prints `open` once all are there."""

import asyncio
import json
import sys
from typing import cast

import uvloop

AT_ONCE = 64


class Held(asyncio.Protocol):
    """One WebSocket; `opened` is set by the answer to its handshake."""

    def __init__(self, request: bytes, opened: "asyncio.Future[bool]") -> None:
        self._request = request
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._opened.done():
            self._opened.set_result(data.startswith(b"HTTP/1.1 101"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_result(False)


def handshake(path: str, headers: dict[str, str]) -> bytes:
    """Return a WebSocket's opening request."""
    lines = [
        f"GET {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


async def main(port: int, count: int, request: bytes) -> None:
    """Open `count` WebSockets, a few at a time, and hold them until the process is ended."""
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(AT_ONCE)
    held = []

    async def one() -> bool:
        async with room:
            opened: asyncio.Future[bool] = loop.create_future()
            held.append(await loop.create_connection(lambda: Held(request, opened), "127.0.0.1", port))
            async with asyncio.timeout(20):
                return await opened

    results = await asyncio.gather(*(one() for _ in range(count)))
    sys.stdout.write("open" if all(results) else f"{len(results) - sum(results)} of {count} were refused")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    path_, headers_ = json.loads(sys.argv[3])
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), handshake(path_, headers_)))
