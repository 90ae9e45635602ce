"""Access ends while an exchange is open: from the moment `cut` returns, no byte of the app reaches the client."""

import asyncio
import contextlib
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from compliance.model import SessionControl
from gateway.config.schema import Limits
from gateway.controls.effective import Profiles
from gateway.controls.guard import Guard
from gateway.proxy import exchange as exchange_module
from gateway.proxy.pool import DROPPED_AT_ONCE
from gateway.proxy.ports import CutReason, ResponseRules
from gateway.proxy.server import UNSENT_BYTES
from tests.wire.harness import OK, Gate, Recorder, read_to_end, running_gate, running_upstream, until

GET = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NO_DOWNLOADS = Guard(
    Profiles().effective(frozenset({SessionControl.NO_DOWNLOADS}), frozenset()), ResponseRules()
).rules
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"


# --- requests ------------------------------------------------------------------------------------------------


async def test_cut_before_the_answer_is_a_403(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    reader, writer = await gate.connect()
    writer.write(GET)
    await recorder.arrived.wait()
    gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
    recorder.connections[0].transport.write(OK)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b'"code":"access-ended"' in await reader.readuntil(b"}")
    await recorder.lost.wait()
    assert len(gate.over) == 1
    writer.close()


async def test_cut_before_the_answer_may_show_a_page(gate: Gate, recorder: Recorder) -> None:
    """The hub's page answers, without the request's body; the app's answer, if it still comes, goes nowhere."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    recorder.answer = lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\npage"
    async with running_upstream(silent) as url:
        page = gate.route
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(b"POST /a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9\r\n\r\nsecret")
        await gate.admitted.wait()
        exchange = gate.exchanges[0]
        await until(lambda: exchange._body_bytes == 6)
        exchange.cut(CutReason.RESTRICTED, page)
        exchange.cut(CutReason.ACCESS_ENDED)
        assert b"403 Forbidden" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"page"
        writer.close()
    assert recorder.requests[0].body == b""
    assert len(gate.over) == 1


async def test_cut_while_the_gatekeeper_thinks(gate: Gate, recorder: Recorder) -> None:
    route, gate.route = gate.route, None
    reader, writer = await gate.connect()
    writer.write(GET)
    await gate.admitted.wait()
    gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
    gate.exchanges[0].proceed(route)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    writer.close()
    assert recorder.raw == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
async def test_cut_in_the_middle_of_a_response(gate: Gate, framing: bytes) -> None:
    """The client sees that it does not have the whole, and nothing that the app sends later reaches it."""
    more = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        await more.wait()
        writer.write(b"6\r\nsecret\r\n0\r\n\r\n")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(GET)
        await reader.readuntil(b"hello\r\n")
        gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
        more.set()
        rest = await read_to_end(reader)
        assert rest == b""
        writer.close()
    assert len(gate.over) == 1


async def test_what_is_cut_is_closed_before_the_next_turn_of_the_loop_gets_to_an_acknowledgement(
    gate: Gate,
) -> None:
    """The feed acknowledges by `call_soon`: by then the kernel has dropped what it had, and the client knows."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 2_000_000)
        await reader.read()

    def end(client: socket.socket) -> str:
        client.setblocking(False)  # noqa: FBT003 - how sockets are told
        try:
            while client.recv(1 << 20):
                pass
        except ConnectionResetError:
            return "reset"
        except BlockingIOError:
            return "still open"
        return "complete"

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        with contextlib.ExitStack() as clients:
            opened = [
                clients.enter_context(socket.create_connection(("127.0.0.1", gate.port))) for _ in range(8)
            ]
            for client in opened:
                client.sendall(GET)
            await until(lambda: sum(each.is_write_paused for each in gate.front._connections) == len(opened))
            for exchange in gate.exchanges:
                exchange.cut(CutReason.ACCESS_ENDED)
            seen: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: seen.set_result([end(each) for each in opened]))
            assert await seen == ["reset"] * len(opened)


async def test_the_connections_to_the_upstream_are_closed_in_the_end(gate: Gate) -> None:
    """They are not waited for, and closed some at a time: here more than are closed in one turn."""
    lost: list[int] = []
    count = 2 * DROPPED_AT_ONCE + 1

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        await read_to_end(reader)
        lost.append(1)

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        clients = [await gate.connect() for _ in range(count)]
        for reader, writer in clients:
            writer.write(GET)
            await reader.readuntil(b"begun")
        for exchange in gate.exchanges:
            exchange.cut(CutReason.ACCESS_ENDED)
        assert len(gate.over) == count
        await until(lambda: len(lost) == count)
        await until(lambda: gate.route.pool.open == 0)
        for reader, writer in clients:
            assert await read_to_end(reader) == b""
            writer.close()


async def test_a_worker_that_is_killed_leaves_the_kernel_no_more_than_the_bound(gate: Gate) -> None:
    """The listener bounds what the kernel takes for a client before it has sent it; connections inherit that."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 20_000_000)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        with socket.create_connection(("127.0.0.1", gate.port)) as client:
            client.sendall(GET)
            await until(lambda: any(each.is_write_paused for each in gate.front._connections))
            (connection,) = gate.front._connections
            in_kernel = connection.unsent() - connection.write_buffered()
            assert 0 < in_kernel <= UNSENT_BYTES + 65536


async def test_cut_drops_what_a_slow_reader_has_not_read(gate: Gate) -> None:
    """Bytes written before the cut, and still in the transport or the kernel, are not delivered after it."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 20_000_000)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.transport.pause_reading()
        writer.write(GET)
        connection = next(iter(gate.front._connections))
        await until(lambda: connection.is_write_paused)
        gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
        writer.transport.resume_reading()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(20_000_000)
        writer.close()


async def test_cut_stops_an_upload(gate: Gate, recorder: Recorder) -> None:
    reader, writer = await gate.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nhello")
    await recorder.arrived.wait()
    gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
    await recorder.lost.wait()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    writer.write(b"more")
    assert b"access-ended" in await read_to_end(reader)
    assert not recorder.requests[0].is_complete
    writer.close()


async def test_cut_of_what_is_over_does_nothing(gate: Gate) -> None:
    reader, writer = await gate.connect()
    writer.write(GET)
    await reader.readuntil(b"ok")
    gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
    writer.write(GET)
    assert b"200 OK" in await reader.readuntil(b"ok")
    assert len(gate.over) == 2
    writer.close()


# --- response rules ------------------------------------------------------------------------------------------

NO_DOWNLOADS = Guard(
    Profiles().effective(frozenset({SessionControl.NO_DOWNLOADS}), frozenset(), None), ResponseRules()
).rules


@pytest.mark.parametrize(
    "headers",
    [
        b'Content-Disposition: attachment; filename="a.txt"\r\nContent-Type: text/plain\r\n',
        b"Content-Disposition: ATTACHMENT\r\n",
        b"Content-Type: application/octet-stream\r\n",
        b"Content-Type: Application/ZIP; a=b\r\n",
        b"Content-Type: application/vnd.openxmlformats-officedocument.wordprocessingml.document\r\n",
        b"Content-Type: text/csv\r\n",
        b"Content-Type: application/pdf\r\nContent-Disposition: inline\r\n",
        b"",
    ],
)
async def test_downloads_are_withheld(gate: Gate, recorder: Recorder, headers: bytes) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 6\r\n\r\nsecret"
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", rules=NO_DOWNLOADS)
    answer = await gate.talk(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'"code":"response-withheld"' in answer
    assert b"secret" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: text/html\r\n",
        b"Content-Type: application/json\r\nContent-Disposition: inline\r\n",
    ],
)
async def test_what_is_shown_passes(gate: Gate, recorder: Recorder, headers: bytes) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 4\r\n\r\npage"
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", rules=NO_DOWNLOADS)
    answer = await gate.talk(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.endswith(b"page")


# --- tunnels -------------------------------------------------------------------------------------------------


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_websocket_through_the_gate(gate: Gate) -> None:
    """Text, binary, large, fragmented, compressed, ping, and a close with its code."""
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        gate.route = gate.route_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(f"ws://127.0.0.1:{gate.port}/socket", max_size=None) as client:
            for message in ("hello", b"\x00\xff" * 10, "x" * 300_000, b"y" * 2_000_000):
                await client.send(message)
                assert await client.recv() == message
            await client.send(["frag", "ment", "ed"])
            assert await client.recv() == "fragmented"
            await (await client.ping())
            await client.close(4000, "done")
        assert client.close_code == 4000
    await gate.done.wait()
    assert gate.exchanges[0].is_tunnel


@pytest.mark.parametrize("reason", [CutReason.ACCESS_ENDED, CutReason.RESTRICTED])
async def test_cut_websocket_is_told_why(gate: Gate, reason: CutReason) -> None:
    gone = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        await connection.send("welcome")
        await connection.wait_closed()
        gone.set()

    async with serve(talk, "127.0.0.1", 0) as server:
        gate.route = gate.route_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(f"ws://127.0.0.1:{gate.port}/socket") as client:
            assert await client.recv() == "welcome"
            gate.exchanges[0].cut(reason)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 4403
            assert closed.value.rcvd.reason.startswith("access ")
        await gone.wait()
    assert len(gate.over) == 1


async def test_drain_tells_websockets_to_go_away(gate: Gate) -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        gate.route = gate.route_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(f"ws://127.0.0.1:{gate.port}/socket") as client:
            await client.send("hello")
            await client.recv()
            draining = asyncio.ensure_future(gate.front.drain(30))
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 1001
        await draining


async def test_idle_websocket_is_ended() -> None:
    async with (
        serve(echo, "127.0.0.1", 0, ping_interval=None) as server,
        running_gate(Limits(tunnel_idle_timeout=0.3)) as gate,
    ):
        gate.route = gate.route_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with connect(f"ws://127.0.0.1:{gate.port}/", ping_interval=None) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize(
    ("sent", "fits"),
    [
        (b"\x81\x05hello", True),
        (b"\x81\x05hel", False),
        (b"\x81", False),
        (b"\x82\x7e\x01\x00" + b"x" * 255, False),
        (b"\x82\x7e\x01\x00" + b"x" * 256, True),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 65536, True),
        (b"\x88\x02\x03\xe8", False),
    ],
)
async def test_close_frame_only_between_frames(gate: Gate, sent: bytes, fits: bool) -> None:
    """In the middle of a frame, or after the app's own close frame, the connection just ends."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % b"websocket" + sent)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"websocket")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(sent)) == sent
        gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
        rest = await read_to_end(reader)
        assert rest == (b"\x88\x0e\x11\x33access ended" if fits else b"")
        writer.close()


async def test_another_protocol_is_tunnelled_and_cut(gate: Gate) -> None:
    """Bytes both ways, those that come with the head included; nobody knows how to say goodbye in it."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % b"raw" + b"at once ")
        while piece := await reader.read(65536):
            writer.write(piece)

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"raw" + b"early ")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(14) == b"at once early "
        gate.exchanges[0].cut(CutReason.ACCESS_ENDED)
        writer.write(b"late")
        assert await read_to_end(reader) == b""
        writer.close()


async def test_refused_upgrade_is_an_ordinary_answer(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(
            UPGRADE % b"websocket" + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
    assert answer.count(b"HTTP/1.1 426 ") == 2


async def test_tunnel_back_pressure(gate: Gate) -> None:
    """An upstream that does not read its tunnel stops the client; memory stays bounded; then everything arrives."""
    total = 16 << 20
    begin = asyncio.Event()
    received = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % b"raw")
        await begin.wait()
        while received < total:
            received += len(await reader.read(1 << 20))
        writer.write(b"all")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"raw")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * total)
        connection = next(iter(gate.front._connections))
        await until(lambda: connection._is_read_paused)
        begin.set()
        assert await reader.readexactly(3) == b"all"
        writer.close()


async def test_upstream_that_leaves_a_tunnel(gate: Gate) -> None:
    """What it wrote before still arrives."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % b"raw" + b"bye")
        await writer.drain()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"raw")
        assert (await read_to_end(reader)).endswith(b"\r\n\r\nbye")
        writer.close()
        await gate.done.wait()


@pytest.mark.parametrize("protocol", [b"websocket", b"raw"])
async def test_a_client_that_ends_its_side_of_a_tunnel(
    gate: Gate, protocol: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream sees the end of it, and what it still has to say arrives: a shell's last output, a close frame."""
    monkeypatch.setattr(exchange_module, "HALF_CLOSED_S", 60.0)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % protocol)
        said = await reader.read()
        writer.write(b"said: " + said)
        await writer.drain()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % protocol)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"this and that")
        writer.write_eof()
        assert await read_to_end(reader) == b"said: this and that"
        await gate.done.wait()
        writer.close()


async def test_a_websocket_whose_client_went_away_is_not_kept(gate: Gate) -> None:
    """An upstream that takes no notice of the end is left all the same."""
    left = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED % b"websocket")
        assert await reader.read() == b""
        while not writer.is_closing():
            await asyncio.sleep(0.01)
            writer.write(b"\x81\x01x")
        left.set()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"websocket")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await left.wait()


async def test_a_websocket_that_opens_while_we_drain_is_told_to_go_away(gate: Gate) -> None:
    asked, drains = asyncio.Event(), asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await drains.wait()
        writer.write(SWITCHED % b"websocket" + b"\x81\x01x")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(UPGRADE % b"websocket")
        await asked.wait()
        draining = asyncio.ensure_future(gate.front.drain(5))
        await until(lambda: gate.front.is_draining)
        drains.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert (await read_to_end(reader))[2:4] == (1001).to_bytes(2)
        writer.close()
        await draining
