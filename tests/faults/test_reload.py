"""A reload while streams are open: who may stay stays, who may not is cut, and nobody dies of it."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.faults.test_revocation import close_code, open_socket, status
from tests.faults.world import SOON_S, World, new_http, running_world, signal_body

WORKERS = pytest.mark.parametrize("workers", [2, 0])


async def reloaded(world: World, *changes: tuple[str, str]) -> None:
    text = world.config_path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    world.config_path.write_text(text)
    code, output = await world.cli("reload", "--config", str(world.config_path))
    assert code == 0, output


@WORKERS
async def test_streams_go_on_when_their_app_gets_another_upstream(tmp_path: Path, workers: int) -> None:
    async with running_world(tmp_path, workers=workers, starts=False) as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        before, socket = world.pids("worker"), await open_socket(http, world, seat)
        await reloaded(
            world, (f'"http://127.0.0.1:{world.app_port}"', f'"http://localhost:{world.app_port}"')
        )
        assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
        assert await status(http, world, seat) == 200
        assert world.pids("worker") == before
        await world.told(http, signal_body("SER-A", "e1"))
        assert await close_code(socket) == 4403


@WORKERS
async def test_streams_of_a_public_path_end_when_it_is_public_no_longer(tmp_path: Path, workers: int) -> None:
    name = "{name: notes, "
    async with running_world(tmp_path, workers=workers) as world, new_http() as http:
        await reloaded(world, (name, name + "public_paths: [/ws, /events, /x], "))
        socket = await http.ws_connect(world.url("/ws", "notes"))
        accept = {"Accept": "text/event-stream"}
        async with http.get(world.url("/events", "notes"), headers=accept) as events:
            assert events.status == 200
            await reloaded(world, ("public_paths: [/ws, /events, /x], ", "public_paths: [/x], "))
            assert await close_code(socket) == 4403
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(SOON_S):
                    await events.content.read()
        async with http.get(world.url("/x", "notes")) as page:
            assert page.status == 200
    assert sum(cut["count"] for cut in world.events("exchanges-cut")) == 2


async def test_a_stream_ends_when_its_path_becomes_part_of_another_app(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False) as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        socket = await open_socket(http, world, seat)
        line = f'  - {{name: live, host: notes.localhost, path_prefix: /ws, upstream: "http://127.0.0.1:{world.app_port}"}}\n'
        await reloaded(world, ("devices:\n", line + "devices:\n"))
        assert await close_code(socket) == 4403
        assert await status(http, world, seat) == 200


async def test_a_reload_that_comes_while_the_hub_starts_does_not_end_it(tmp_path: Path) -> None:
    """SIGHUP without a handler kills: the supervisor's must wait until the hub can take it."""
    async with running_world(tmp_path, starts=False) as world:
        starting = asyncio.create_task(world.start())
        while not starting.done():
            if world.process is not None and world.children():
                world.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.02)
        await starting
        async with asyncio.timeout(SOON_S):
            while not world.events("reloaded"):  # noqa: ASYNC110 - a line of a log file
                await asyncio.sleep(0.05)
        assert world.events("child-ended") == []
