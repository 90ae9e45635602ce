"""What else ends an open stream, all on one gateway.

An expiring signal, a sign-out in another tab, a window of time, and a change that was accepted while others were told
that no more can be taken. And what is said to those who ask while the hub is away.
"""

import asyncio
import os
import signal
import sqlite3
import struct
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from tests.faults.test_reload import reloaded
from tests.faults.test_revocation import close_code, open_socket, status
from tests.faults.world import SECRET, SOON_S, Seat, World, new_http, running_world, signal_body

DISK = "        - {type: fact, name: disk, fact: disk, equals: true}\n"
COMES_S = 5
"""After so many seconds time ends access."""
SIGNALS = 9_000
"""Of one delivery: three are more than wait for the store of one sensor."""


async def test_what_else_ends_streams(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False, rules=DISK, expires="1h") as world, new_http() as http:
        seats = await world.seat(["SER-A", "SER-B", "SER-C", "SER-D"])
        world.environment["PYTHONTZPATH"] = f"{tmp_path / 'zones'}:/usr/share/zoneinfo"
        await world.start()
        for seat in seats:
            await world.told(http, healthy(seat, "first"))
        expires, signs_out, is_flooded, is_late = seats
        await signed_out_in_another_tab(http, world, signs_out)
        await enforced_while_others_are_told_to_wait(http, world, is_flooded)
        await outlived_by_a_signal(http, world, expires)
        await kept_out_by_a_window_of_time(http, world, is_late)
        await told_that_the_gateway_restarts(http, world)


def healthy(seat: Seat, event: str) -> dict[str, object]:
    return signal_body(seat.device, f"{seat.device}-{event}", kind="heartbeat", disk=True)


async def outlived_by_a_signal(http: aiohttp.ClientSession, world: World, seat: Seat) -> None:
    """What was told of the disk is not true for ever: unknown is not compliant."""
    await reloaded(world, ("expires_after: 1h", f"expires_after: {COMES_S}s"))
    await world.told(http, healthy(seat, "again"))
    socket = await open_socket(http, world, seat)
    assert await close_code(socket) == 4403
    assert await status(http, world, seat) == 403


async def signed_out_in_another_tab(http: aiohttp.ClientSession, world: World, seat: Seat) -> None:
    socket = await open_socket(http, world, seat)
    url = world.url("/.gate/logout", "notes")
    headers = {"Cookie": seat.cookies["notes"], "Origin": world.url("", "notes")}
    async with http.post(url, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 303
    assert await close_code(socket) == 4403
    assert await status(http, world, seat) == 401


async def enforced_while_others_are_told_to_wait(
    http: aiohttp.ClientSession, world: World, seat: Seat
) -> None:
    """A noisy sensor fills its share of the intake while the store stands still; another one's change is enforced."""
    socket = await open_socket(http, world, seat)
    with closing(sqlite3.connect(world.folder / "state.db", isolation_level=None, timeout=5)) as held:
        held.execute("BEGIN IMMEDIATE")
        floods = [asyncio.ensure_future(flood(http, world, number)) for number in range(3)]
        done, waiting = await asyncio.wait(floods, timeout=SOON_S, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result() for each in done] == [(429, True)]
        assert len(waiting) == 2
        raised = asyncio.ensure_future(world.deliver(http, signal_body(seat.device, "raised")))
        held.execute("ROLLBACK")
    assert await raised == 200
    assert await close_code(socket) == 4403
    assert await status(http, world, seat) == 403
    assert [await each for each in waiting] == [(200, False)] * 2


async def flood(http: aiohttp.ClientSession, world: World, number: int) -> tuple[int, bool]:
    """Deliver many signals at once; return the status, and whether it said when to try again."""
    events = [
        {"serial": f"SER-F{at % 50}", "kind": "heartbeat", "event": f"{number}-{at}", "condition": "here"}
        for at in range(SIGNALS)
    ]
    headers = {"Authorization": f"Bearer {SECRET}"}
    url = f"http://login.localhost:{world.port}/.gate/hooks/mdm"
    async with http.post(url, json=events, headers=headers) as answer:
        return answer.status, "Retry-After" in answer.headers


async def kept_out_by_a_window_of_time(http: aiohttp.ClientSession, world: World, seat: Seat) -> None:
    """A policy begins to hold because it is time; the zone is one whose next minute is a few seconds away."""
    starts = zone_with_a_minute_in(world.folder / "zones" / "Test" / "Soon", seconds=COMES_S)
    window = f"{{start: '{starts}', end: '24:00', zone: Test/Soon}}"
    closing_time = f"- {{name: closed, decision: block, when: {{times: [{window}]}}, reason: Closed.}}"
    socket = await open_socket(http, world, seat)
    await reloaded(
        world,
        ("- {name: staff,", f"{closing_time}\n    - {{name: staff,"),
        (f"expires_after: {COMES_S}s", "expires_after: 1h"),
    )
    await world.told(http, healthy(seat, "still"))
    assert await close_code(socket) == 4403
    assert await status(http, world, seat) == 403


async def told_that_the_gateway_restarts(http: aiohttp.ClientSession, world: World) -> None:
    """Who is not known here is neither let in nor told of a broken app: it is the gateway, and only for a moment."""
    assert world.process is not None
    world.process.send_signal(signal.SIGSTOP)  # so that nobody starts a new hub meanwhile
    (hub,) = world.pids("hub")
    os.kill(hub, signal.SIGKILL)
    programs = {"Accept": "application/json"}
    people = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with http.get(world.url("/", "notes"), headers=programs) as told:
        assert (told.status, told.headers["Retry-After"]) == (503, "5")
        assert (await told.json())["code"] == "gateway-restarting"
    async with http.get(world.url("/", "notes"), headers=people) as told:
        assert (told.status, told.headers["Retry-After"]) == (503, "5")
        assert "The gateway is restarting" in await told.text()


def zone_with_a_minute_in(path: Path, *, seconds: int) -> str:
    """Write a time zone in which a minute begins so soon; return that minute. Source: RFC 8536 section 3."""
    now = int(time.time())
    offset = -(now + seconds) % 60
    local = datetime.fromtimestamp(now + seconds + offset, UTC)
    counts = struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"TZif\0" + bytes(15) + counts + struct.pack(">iBB", offset, 0, 0) + b"TST\0")
    return f"{local:%H:%M}"
