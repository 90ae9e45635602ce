"""What becomes of everything that can be open when access ends or is limited, and what is said of it afterwards."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.faults.test_measured import explained
from tests.faults.test_revocation import close_code, open_socket
from tests.faults.world import SOON_S, Seat, World, metric, new_http, running_world, signal_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = pytest.mark.parametrize("workers", [2, 0])
REPAIR = "decision: remediate, when: {compliance: [noncompliant, unknown]}"


@asynccontextmanager
async def seated(
    folder: Path, workers: int, *, repair: str = REPAIR
) -> AsyncIterator[tuple[World, Seat, aiohttp.ClientSession]]:
    """Run the gateway with one clean device; `repair` is what the policy for the others says."""
    async with running_world(folder, workers=workers, starts=False) as world, new_http() as http:
        text = world.config_path.read_text()
        assert REPAIR in text
        world.config_path.write_text(text.replace(REPAIR, repair))
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        yield world, seat, http


Seated = tuple[World, Seat, aiohttp.ClientSession]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[2, 0])
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Seated]:
    async with seated(tmp_path_factory.mktemp("gate"), request.param) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def clean(running: Seated) -> AsyncIterator[Seated]:
    """The module's gateway, whose device is clean again after each test."""
    yield running
    world, _, http = running
    await world.told(http, signal_body("SER-A", f"over-{uuid.uuid4()}", state="closed"))


async def begun(world: World, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request, and wait until the app has it."""
    world.app.is_waiting.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(request.encode())
    async with asyncio.timeout(SOON_S):
        await world.app.is_waiting.wait()
    return reader, writer


async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return the status and all the rest of an answer after which the connection ends."""
    async with asyncio.timeout(SOON_S):
        text = (await reader.read()).decode()
    return int(text.split(" ", 2)[1]), text


def head(world: World, seat: Seat, line: str, *fields: str) -> str:
    own = (
        f"Host: notes.localhost:{world.port}",
        f"Cookie: {seat.cookies['notes']}",
        "Accept: application/json",
    )
    return "\r\n".join((line, *own, *fields, "", ""))


async def test_who_waits_for_the_app_is_answered_403(clean: Seated) -> None:
    world, seat, http = clean
    before = len(world.events("exchanges-cut"))
    reader, writer = await begun(world, head(world, seat, "GET /wait HTTP/1.1", "Connection: close"))
    await world.told(http, signal_body("SER-A", "waits"))
    status, text = await answered(reader)
    writer.close()
    assert status == 403
    assert "application/problem+json" in text
    (cut,) = (await world.logged("exchanges-cut", lambda cuts: len(cuts) > before))[before:]
    assert "Credential stealer found" in await explained(world, cut["decision"])


@pytest.mark.parametrize("fields", [("Content-Length: 50000000",), ("Transfer-Encoding: chunked",)])
async def test_an_upload_is_stopped_and_answered_403(clean: Seated, fields: tuple[str, ...]) -> None:
    world, seat, http = clean
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    reader, writer = await begun(world, head(world, seat, "POST /wait HTTP/1.1", *fields))

    async def go_on() -> None:
        """As a client that looks for an answer between two pieces."""
        while not reader._buffer:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    sending = asyncio.create_task(go_on())
    await world.told(http, signal_body("SER-A", f"upload {fields[0]}"))
    async with asyncio.timeout(SOON_S):
        await sending
    status, text = await answered(reader)
    writer.close()
    assert status == 403
    assert "connection: close" in text.lower()


@WORKERS
async def test_a_limit_ends_downloads_and_sockets_that_it_forbids_and_lets_a_page_finish(
    tmp_path: Path, workers: int
) -> None:
    limited = REPAIR.replace("remediate", "restrict, controls: [no-downloads, no-websocket]")
    async with seated(tmp_path, workers, repair=limited) as (world, seat, http):
        socket = await open_socket(http, world, seat)
        cookie = {"Cookie": seat.cookies["notes"]}
        async with (
            http.get(world.url("/slow-page", "notes"), headers=cookie) as page,
            http.get(world.url("/file", "notes"), headers=cookie) as file,
        ):
            assert (page.status, file.status) == (200, 200)
            await world.told(http, signal_body("SER-A", "e1"))
            assert await close_code(socket) == 4403
            with pytest.raises(aiohttp.ClientPayloadError):
                async with asyncio.timeout(SOON_S):
                    await file.content.read()
            world.app.page_may_end.set()
            assert (await page.text()).endswith("ended")
        assert await metric(world, "posturegate_exchanges_cut_total") == 2
        cuts = await world.logged("exchanges-cut", lambda cuts: sum(each["count"] for each in cuts) >= 2)
        assert sum(cut["count"] for cut in cuts) == 2
        assert "restrict" in await explained(world, cuts[0]["decision"])


async def test_a_limit_leaves_a_socket_that_it_allows(tmp_path: Path) -> None:
    limited = REPAIR.replace("remediate", "restrict, controls: [no-store]")
    async with seated(tmp_path, 2, repair=limited) as (world, seat, http):
        socket = await open_socket(http, world, seat)
        await world.told(http, signal_body("SER-A", "e1"))
        for _ in range(20):
            assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
        assert await metric(world, "posturegate_exchanges_cut_total") == 0
