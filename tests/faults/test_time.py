"""Time alone ends access: no event comes, and every open stream is cut all the same.

Short times go through the real configuration; the tests wait for what must happen, never for how long it takes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.faults.test_revocation import close_code, open_socket, status
from tests.faults.world import SOON_S, Seat, World, new_http, running_world, signal_body

USED_AFTER_S = 25
"""How long a session lives that is made before its gateway: it takes so long to start where many others do."""


@contextlib.asynccontextmanager
async def heard_of(world: World, seat: Seat) -> AsyncIterator[None]:
    """Let the sensor say again and again that all is well, until the block ends."""

    async def beat() -> None:
        number = 0
        async with new_http() as http:
            while True:
                number += 1
                await world.told(http, signal_body(seat.device, f"beat-{number}", kind="heartbeat"))
                await asyncio.sleep(0.2)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


async def cut_by_time(world: World, seat: Seat, *, is_heard_of: bool = False) -> int:
    """Open a WebSocket and an event stream, wait until time has ended both; return what a request gets then.

    With `is_heard_of` the sensor speaks until both are open.
    """
    async with new_http() as http, contextlib.AsyncExitStack() as opening:
        if is_heard_of:
            await opening.enter_async_context(heard_of(world, seat))
        assert await status(http, world, seat) == 200
        socket = await open_socket(http, world, seat)
        headers = {"Cookie": seat.cookies["wiki"], "Accept": "text/event-stream"}
        async with http.get(world.url("/events", "wiki"), headers=headers) as events:
            assert events.status == 200
            await opening.aclose()
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(SOON_S):
                    await events.content.read()
        assert await close_code(socket) == 4403
        return await status(http, world, seat)


async def test_a_sensor_that_falls_silent(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False, max_silence="2s") as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        assert await cut_by_time(world, seat, is_heard_of=True) == 403
        async with heard_of(world, seat):
            await world.told(http, signal_body("SER-A", "hb2", kind="heartbeat"))
            assert await status(http, world, seat) == 200


async def test_a_grace_deadline(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False, grace=", grace: 8s") as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "e1"))
        assert await cut_by_time(world, seat) == 403


async def test_a_signal_that_expires_opens_again(tmp_path: Path) -> None:
    """The other direction: an open finding expires, and the status stream of the page tells of it by itself."""
    async with running_world(tmp_path, starts=False, expires="5s") as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "e1"))
        assert await status(http, world, seat) == 403
        headers = {"Cookie": seat.cookies["notes"], "Accept": "text/event-stream"}
        async with http.get(world.url("/.gate/status/stream", "notes"), headers=headers) as stream:
            async with asyncio.timeout(SOON_S):
                while b'"can_continue":true' not in await stream.content.readline():
                    pass
        assert await status(http, world, seat) == 200


async def test_a_session_that_reaches_its_absolute_end(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False) as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"], lives=timedelta(seconds=USED_AFTER_S))
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        assert await cut_by_time(world, seat) == 401


async def test_a_session_that_nobody_uses(tmp_path: Path) -> None:
    """Idle: streams that were open do not outlive the session, and the page's status stream says signed out."""
    extra = f"sessions: {{idle: {USED_AFTER_S}s, absolute: 1h}}"
    async with running_world(tmp_path, starts=False, extra=extra) as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        headers = {"Cookie": seat.cookies["notes"], "Accept": "text/event-stream"}
        async with http.get(world.url("/.gate/status/stream", "notes"), headers=headers) as stream:
            async with asyncio.timeout(SOON_S):
                assert b"event: signed-out" in await stream.content.read()
        assert await status(http, world, seat) == 401
