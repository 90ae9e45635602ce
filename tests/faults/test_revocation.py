"""`posturegate revoke` on the real thing: streams are cut, cookies are worthless, everything is in the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.faults.world import SOON_S, Seat, World, new_http, running_world, signal_body

DEVICES = ["SER-A", "SER-B"]


@pytest.fixture
async def seats(world_and_seats: tuple[World, list[Seat]]) -> list[Seat]:
    return world_and_seats[1]


@pytest.fixture
async def world(world_and_seats: tuple[World, list[Seat]]) -> World:
    return world_and_seats[0]


@pytest.fixture
async def world_and_seats(tmp_path: Path) -> AsyncIterator[tuple[World, list[Seat]]]:
    async with running_world(tmp_path, starts=False) as world:
        seats = await world.seat(DEVICES)
        await world.start()
        async with new_http() as http:
            for device in DEVICES:
                await world.told(http, signal_body(device, f"{device}-hb", kind="heartbeat"))
        yield world, seats


async def open_socket(
    http: aiohttp.ClientSession, world: World, seat: Seat
) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect(world.url("/ws", "notes"), headers={"Cookie": seat.cookies["notes"]})
    assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
    return socket


async def close_code(socket: aiohttp.ClientWebSocketResponse, *, within_s: float = SOON_S) -> int:
    async with asyncio.timeout(within_s):
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        return message.data


async def status(http: aiohttp.ClientSession, world: World, seat: Seat) -> int:
    headers = {"Cookie": seat.cookies["notes"], "Accept": "application/json"}
    async with http.get(world.url("/x", "notes"), headers=headers) as response:
        return response.status


async def revoke(world: World, *arguments: str) -> tuple[int, str]:
    return await world.cli(
        "revoke", *arguments, "--reason", "laptop stolen", "--config", str(world.config_path)
    )


async def test_each_kind_ends_exactly_what_it_names(world: World, seats: list[Seat]) -> None:
    first, second = seats
    async with new_http() as http:
        mine, others = await open_socket(http, world, first), await open_socket(http, world, second)
        code, output = await revoke(world, "session", first.session)
        assert (code, "1 open exchanges cut" in output) == (0, True), output
        assert await close_code(mine) == 4403
        assert await status(http, world, first) == 401
        assert (await others.receive()).type is aiohttp.WSMsgType.TEXT
        assert (await revoke(world, "device", "SER-B"))[0] == 0
        assert await close_code(others) == 4403
        assert await status(http, world, second) == 401
    (audited, again) = world.events("revoked")
    assert (audited["reason"], audited["sessions"], audited["cut"]) == ("laptop stolen", [first.session], 1)
    assert audited["by"].startswith("uid ")
    assert again["kind"] == "device"


async def test_a_user_by_subject_and_what_cannot_be_done(world: World, seats: list[Seat]) -> None:
    async with new_http() as http:
        code, output = await revoke(world, "user", "user-of-SER-A", "--json")
        assert code == 0
        assert json.loads(output.splitlines()[-1])["subjects"] == ["user-of-SER-A"]
        assert [await status(http, world, seat) for seat in seats] == [401, 200]
        code, output = await revoke(world, "user", "user-of-SER-A")
        assert (code, "no live session" in output) == (1, True)
        connector = aiohttp.UnixConnector(str(world.folder / "run" / "admin.sock"))
        async with aiohttp.ClientSession(connector=connector) as admin:
            for body in (
                {"kind": "user", "id": "", "reason": "x"},
                {"kind": "tree", "id": "x", "reason": "x"},
                {},
            ):
                async with admin.post("http://gateway/revoke", json=body) as response:
                    assert response.status == 422
    await world.stop()
    code, output = await revoke(world, "user", "user-of-SER-B")
    assert (code, "no running gateway" in output) == (1, True)


async def test_an_override_keeps_a_device_out_until_it_is_taken_back(world: World, seats: list[Seat]) -> None:
    """What `revoke device` does not do: who is signed in again there stays out."""

    async def override(*arguments: str) -> tuple[int, str]:
        config = ("--reason", "laptop stolen", "--config", str(world.config_path))
        return await world.cli("device", "override", "SER-A", *arguments, *config)

    first, second = seats
    async with new_http() as http:
        mine, others = await open_socket(http, world, first), await open_socket(http, world, second)
        code, output = await override("--level", "high", "--for", "7d")
        assert code == 0, output
        assert await close_code(mine) == 4403
        assert [await status(http, world, seat) for seat in seats] == [403, 200]
        assert (await others.receive()).type is aiohttp.WSMsgType.TEXT
        code, output = await override("--end")
        assert code == 0, output
        assert await status(http, world, first) == 200
