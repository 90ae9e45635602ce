"""WebSockets through the gate behave as without it: the cases of the Autobahn suite, against the `websockets` library.

Every case runs twice, directly and through the gate, and what came back must be the same, byte by byte where the client
breaks the protocol. Source of the cases: sections 1 to 7, 9, 12 and 13 of the Autobahn test suite.
"""

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.wire.harness import Gate, read_to_end, until

MAX_MESSAGE = 32 << 20
MASK = b"\x12\x34\x56\x78"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)

Scenario = Callable[[ClientConnection], Awaitable[object]]


class Echo:
    """An upstream that sends every message back in the fragments in which it came, and notes how connections ended."""

    def __init__(self) -> None:
        self.server: Server
        self.closes: list[tuple[int | None, str | None]] = []

    @property
    def port(self) -> int:
        return self.server.sockets[0].getsockname()[1]

    async def handle(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                fragments = [fragment async for fragment in connection.recv_streaming()]
                if len(fragments) == 1 and fragments[0] in WORDS:
                    await WORDS[fragments[0]](connection)
                else:
                    await connection.send(fragments[0] if len(fragments) == 1 else fragments)
        self.closes.append((connection.close_code, connection.close_reason))


async def _ping(connection: ServerConnection) -> None:
    await (await connection.ping(b"are you there"))
    await connection.send("there you are")


async def _close(connection: ServerConnection) -> None:
    await connection.close(4321, "as you wish ✓")


async def _break_off(connection: ServerConnection) -> None:
    connection.transport.abort()


WORDS = {"ping me": _ping, "close me": _close, "break off": _break_off}


@pytest.fixture(params=[None, "deflate"], ids=["plain", "deflate"])
def compression(request: pytest.FixtureRequest) -> str | None:
    return request.param


@contextlib.asynccontextmanager
async def echoing(gate: Gate, compression: str | None = None) -> AsyncIterator[Echo]:
    """Run the upstream, with the gate's route to it."""
    echo = Echo()
    echo.server = await serve(
        echo.handle, "127.0.0.1", 0, compression=compression, max_size=MAX_MESSAGE, ping_interval=None
    )
    gate.route = gate.route_to(f"http://127.0.0.1:{echo.port}")
    try:
        yield echo
    finally:
        echo.server.close()
        await echo.server.wait_closed()


async def both_ways(
    gate: Gate, scenario: Scenario, compression: str | None = None, offered: str | None = "deflate"
) -> object:
    """Return what `scenario` gives, after checking that it gives the same directly and through the gate."""
    async with echoing(gate, compression) as echo:
        results = []
        for port in (echo.port, gate.port):
            async with connect(
                f"ws://127.0.0.1:{port}/chat",
                compression=offered,
                max_size=MAX_MESSAGE,
                ping_interval=None,
                proxy=None,
            ) as client:
                outcome = await scenario(client)
                extensions = client.response.headers.get("Sec-WebSocket-Extensions")
            results.append((outcome, extensions, client.close_code, client.close_reason))
        await until(lambda: len(echo.closes) == 2)
        assert results[0] == results[1]
        assert echo.closes[0] == echo.closes[1]
        return results[0]


# --- messages that keep to the protocol ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20, 16 << 20])
@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_messages_of_all_sizes(gate: Gate, compression: str | None, size: int, kind: str) -> None:
    if compression:
        size = min(size, 2 << 20)  # the ends need seconds for each time that they compress more
    chance = random.Random(size)  # noqa: S311 - the same message every time
    block = (
        chance.randbytes(min(size, 1 << 16)).hex() if kind == "text" else chance.randbytes(min(size, 1 << 16))
    )
    message = (block * (size // max(len(block), 1) + 1))[:size]

    async def scenario(client: ClientConnection) -> bool:
        await client.send(message)
        return await client.recv() == message

    outcome, extensions, code, _ = await both_ways(gate, scenario, compression)
    assert outcome is True
    assert (extensions is not None) is (compression is not None)
    assert code == 1000


@pytest.mark.parametrize("offered", [None, "deflate"])
async def test_compression_is_negotiated_by_the_ends(
    gate: Gate, compression: str | None, offered: str | None
) -> None:
    async def scenario(client: ClientConnection) -> list[object]:
        for _ in range(3):
            await client.send("again and again and again " * 100)
        return [await client.recv() for _ in range(3)]

    _, extensions, _, _ = await both_ways(gate, scenario, compression, offered)
    assert ("permessage-deflate" in (extensions or "")) is bool(offered and compression)


@pytest.mark.parametrize(
    "fragments", [["a", "b", "c"], ["", "", ""], [b"\x00" * 70000] * 40, ["é" * 1000, "", "ü"]]
)
async def test_fragments_stay_fragments(gate: Gate, compression: str | None, fragments: list) -> None:
    async def scenario(client: ClientConnection) -> list[object]:
        await client.send(fragments)
        return [each async for each in client.recv_streaming()]

    outcome, *_ = await both_ways(gate, scenario, compression)
    assert (
        "".join(outcome) == "".join(fragments)
        if isinstance(fragments[0], str)
        else b"".join(fragments) == b"".join(outcome)
    )
    assert len(outcome) >= len(fragments)


async def test_many_messages_in_flight(gate: Gate, compression: str | None) -> None:
    """Both sides write at once, and neither waits for the other."""

    async def scenario(client: ClientConnection) -> list[object]:
        async def send() -> None:
            for number in range(1000):
                await client.send(f"{number} " * (number % 100 + 1))

        sending = asyncio.create_task(send())
        received = [await client.recv() for _ in range(1000)]
        await sending
        return received

    outcome, *_ = await both_ways(gate, scenario, compression)
    assert outcome == [f"{number} " * (number % 100 + 1) for number in range(1000)]


@pytest.mark.parametrize("payload", [b"", b"\x00\xff", b"x" * 125])
async def test_pings_of_the_client(gate: Gate, payload: bytes) -> None:
    async def scenario(client: ClientConnection) -> bool:
        pongs = [await client.ping(bytes((number,)) + payload[:124]) for number in range(10)]
        return all([await pong >= 0 for pong in pongs])

    assert (await both_ways(gate, scenario))[0] is True


async def test_pings_of_the_upstream(gate: Gate, compression: str | None) -> None:
    async def scenario(client: ClientConnection) -> object:
        await client.send("ping me")
        return await client.recv()

    assert (await both_ways(gate, scenario, compression))[0] == "there you are"


# --- ends ----------------------------------------------------------------------------------------------------

VALID_CODES = [
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4403,
    4999,
]


@pytest.mark.parametrize("code", VALID_CODES)
async def test_the_client_closes(gate: Gate, code: int) -> None:
    async def scenario(client: ClientConnection) -> None:
        await client.close(code, "so long ✓")

    assert (await both_ways(gate, scenario))[2:] == (code, "so long ✓")


async def test_the_upstream_closes(gate: Gate, compression: str | None) -> None:
    async def scenario(client: ClientConnection) -> object:
        await client.send("close me")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        return caught.value.rcvd.code, caught.value.rcvd_then_sent

    assert (await both_ways(gate, scenario, compression))[0] == (4321, True)


async def test_the_upstream_breaks_off(gate: Gate) -> None:
    async def scenario(client: ClientConnection) -> object:
        await client.send("break off")
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        return caught.value.rcvd

    assert (await both_ways(gate, scenario))[0] is None


# --- clients that break the protocol -------------------------------------------------------------------------


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    size = len(payload)
    length = bytes((size,)) if size < 126 else b"\x7e" + struct.pack("!H", size)
    head = bytes((fin << 7 | rsv << 4 | opcode, length[0] | masked << 7)) + length[1:]
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


BYE = close(1000)
INVALID_UTF8 = [
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82", b"ok\xf0\x9f\x98",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
]  # fmt: skip
RAW = {
    **{
        f"rsv{rsv} on {op:x}": frame(op, b"hi", rsv=rsv) + BYE
        for rsv in range(1, 8)
        for op in (TEXT, BINARY, PING, CLOSE)
    },
    **{f"reserved opcode {op:x}": frame(op, b"hi") + BYE for op in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)},
    **{f"text {bad!r}": frame(TEXT, bad) for bad in INVALID_UTF8},
    **{
        f"text in pieces {bad!r}": frame(TEXT, bad[:1], fin=False) + frame(CONT, bad[1:])
        for bad in INVALID_UTF8
    },
    **{f"close reason {bad!r}": close(1000, bad) for bad in INVALID_UTF8},
    **{
        f"close {code}": close(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    **{f"close {code} is fine": close(code, b"bye") for code in VALID_CODES},
    "close without a code": frame(CLOSE),
    "close with one byte": frame(CLOSE, b"\x03"),
    "close with 125 bytes": close(1000, b"x" * 123),
    "close too long": close(1000, b"x" * 124),
    "close in pieces": frame(CLOSE, b"\x03", fin=False) + frame(CONT, b"\xe8"),
    "two closes": BYE + BYE,
    "text after close": BYE + frame(TEXT, b"late"),
    "ping after close": BYE + frame(PING, b"late"),
    "ping too long": frame(PING, b"x" * 126) + BYE,
    "ping in pieces": frame(PING, b"x", fin=False) + frame(CONT, b"y") + BYE,
    "pong nobody asked for": frame(PONG, b"here I am") + BYE,
    "ten pings": b"".join(frame(PING, b"%d" % number) for number in range(10)) + BYE,
    "close amid a message": frame(TEXT, b"a", fin=False) + BYE,
    "continuation of nothing": frame(CONT, b"x") + BYE,
    "unfinished continuation of nothing": frame(CONT, b"x", fin=False) + BYE,
    "text within a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b") + BYE,
    "not masked": frame(TEXT, b"hi", masked=False) + BYE,
    "length with the top bit": b"\x82\xff" + b"\xff" * 8 + MASK,
}


TALK = [
    (frame(TEXT, "κόσμε".encode()), frame(TEXT, "κόσμε".encode(), masked=False)),
    (frame(BINARY, bytes(range(256)) * 4), frame(BINARY, bytes(range(256)) * 4, masked=False)),
    (frame(TEXT), frame(TEXT, masked=False)),
    (frame(TEXT, b"a", fin=False) + frame(PING, b"p"), frame(PONG, b"p", masked=False)),
    (
        frame(CONT, b"b"),
        frame(TEXT, b"a", fin=False, masked=False)
        + frame(CONT, b"b", fin=False, masked=False)
        + frame(CONT, masked=False),
    ),
    (frame(PONG, b"nobody asked") + frame(PING), frame(PONG, masked=False)),
    (BYE, frame(CLOSE, b"\x03\xe8", masked=False)),
]
"""What a client sends, and what it must have been answered before it goes on."""


async def raw_answer(port: int, data: bytes, *, step: int | None = None, extensions: bytes = b"") -> bytes:
    """Return what comes after the handshake, up to the end; `step` sends so many bytes at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(HANDSHAKE % extensions)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        for at in range(0, len(data), step or len(data)):
            writer.write(data[at : at + (step or len(data))])
            await asyncio.sleep(0)
        return await read_to_end(reader)
    finally:
        writer.close()


@pytest.mark.parametrize("step", [1, 3, 4096])
async def test_good_frames_in_any_pieces(gate: Gate, step: int) -> None:
    async with echoing(gate) as echo:
        for port in (echo.port, gate.port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(HANDSHAKE % b"")
                await reader.readuntil(b"\r\n\r\n")
                for sent, answer in TALK:
                    for at in range(0, len(sent), step):
                        writer.write(sent[at : at + step])
                        await asyncio.sleep(0)
                    assert await reader.readexactly(len(answer)) == answer
                assert await reader.read() == b""
            finally:
                writer.close()


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in RAW.items()])
async def test_broken_frames_are_answered_as_without_the_gate(gate: Gate, data: bytes) -> None:
    async with echoing(gate) as echo:
        direct = await raw_answer(echo.port, data)
        assert direct, "the server says at least goodbye"
        assert await raw_answer(gate.port, data) == direct
        assert await raw_answer(gate.port, data, step=1) == direct
        assert await raw_answer(gate.port, data, step=3) == direct


@pytest.mark.parametrize(
    "payload",
    [b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\x00\x05\x00\xfa\xffHello", b"not deflate at all", b""],
    ids=["hello", "stored", "garbage", "empty"],
)
async def test_compressed_frames(gate: Gate, payload: bytes) -> None:
    """RSV1 means what the ends have agreed on; the gate has no part in it. Source: RFC 7692 section 7.2.3."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
    data = frame(TEXT, payload, rsv=4) + BYE
    async with echoing(gate, "deflate") as echo:
        direct = await raw_answer(echo.port, data, extensions=offer)
        assert await raw_answer(gate.port, data, extensions=offer) == direct
        assert direct
