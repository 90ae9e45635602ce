"""Bodies in both directions: framing, streaming, early answers, expectations, and who stops whom."""

import asyncio
import contextlib

import pytest

from gateway.config.schema import Limits
from gateway.proxy.ports import UpstreamFault
from gateway.wire.body import encode_chunk
from tests.wire.harness import OK, Gate, Recorder, running_gate, running_upstream, until

GET = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
HEAD_CLOSE = b"HEAD / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"


def split_answer(answer: bytes) -> tuple[bytes, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


RESPONSES = {
    "sized": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        GET_CLOSE,
        b"Content-Length: 5",
        b"hello",
    ),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        GET_CLOSE,
        b"Transfer-Encoding: chunked",
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nhello", GET_CLOSE, b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    "HTTP/1.0 upstream": (
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        GET_CLOSE,
        b"Transfer-Encoding: chunked",
        b"0\r\n\r\n",
    ),
    "chunked to 1.0": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n",
        b"Connection: close",
        b"hello",
    ),
    "HEAD with a length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        HEAD_CLOSE,
        b"Content-Length: 5",
        b"",
    ),
    "HEAD chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD_CLOSE, b"200 OK", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", GET_CLOSE, b"204 No Content", b""),
    "304 with a length": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        GET_CLOSE,
        b"Content-Length: 5",
        b"",
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", GET_CLOSE, b"Content-Length: 0", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", GET_CLOSE, b"HTTP/1.1 200 ", b""),
    "103 first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK,
        GET_CLOSE,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>",
        b"\r\n\r\nok",
    ),
}


@pytest.mark.parametrize(
    ("response", "request_", "in_head", "body"), RESPONSES.values(), ids=RESPONSES.keys()
)
async def test_a_response_is_framed_for_the_client(
    gate: Gate, response: bytes, request_: bytes, in_head: bytes, body: bytes
) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)
        await writer.drain()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        head, rest = split_answer(await gate.talk(request_))
    assert in_head in head
    assert rest.endswith(body)
    if body == b"0\r\n\r\n":
        assert rest == b"5\r\nhello\r\n0\r\n\r\n"


BROKEN = {
    "not HTTP": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "HTTP/0.9": b"<html>ok</html>",
    "an empty line first": b"\r\n" + OK,
    "status of two digits": b"HTTP/1.1 20 OK\r\n",
    "no version": b"HTTP/1.x\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "interim with a length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok" + OK,
    "interim in chunks": b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK,
    "Connection names the length": b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 257 + b"\r\n",
    "too long a head": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000,
    "NUL": b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 2\r\n\r\nok",
    "switches unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "status 99": b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok",
    "endless interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
}


@pytest.mark.parametrize("response", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_response_is_a_502(gate: Gate, response: bytes) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(GET_CLOSE)
    assert b"HTTP/1.1 502 Bad Gateway\r\n" in answer
    assert b'"code":"upstream-broke-protocol"' in answer
    assert gate.faults == [UpstreamFault.PROTOCOL]


TRUNCATED = {
    "sized": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhel",
    "chunked without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
    "chunked, then broken": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
}


@pytest.mark.parametrize("response", TRUNCATED.values(), ids=TRUNCATED.keys())
async def test_a_truncated_response_looks_truncated(gate: Gate, response: bytes) -> None:
    """The upstream ends too early: the client must not take what it has for the whole."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)
        await writer.drain()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        head, body = split_answer(await gate.talk(GET))
    assert b"200 OK" in head
    assert body.endswith((b"hel", b"hel\r\n"))
    assert b"0\r\n\r\n" not in body


async def test_nothing_behind_a_response_is_passed_on(gate: Gate) -> None:
    """An upstream that sends a second response unasked cannot poison the next request of anybody."""
    count = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await read_head(reader)
        writer.write(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(GET + GET_CLOSE)
    assert b"poison" not in answer
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert count == 2


async def test_chunked_request_with_trailers(gate: Gate, recorder: Recorder) -> None:
    """Chunks are framed anew; a trailer passes, but none that states identity."""
    body = b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\nX-Gate-User: eve\r\nX_Gate_User: eve\r\n\r\n"
    answer = await gate.talk(
        b"POST / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    )
    assert answer.startswith(b"HTTP/1.1 200 OK")
    request = recorder.requests[0]
    assert request.body == b"hello"
    assert request.header(b"x-sum") == [b"1"]
    assert not request.header(b"x-gate-user")
    assert not request.header(b"x_gate_user")


async def test_response_trailers_pass(gate: Gate) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a=b\r\n\r\n"
        )
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(GET_CLOSE)
    assert answer.endswith(b"\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n")


async def test_events_are_flushed_one_by_one(gate: Gate) -> None:
    """Each event arrives while the next is not even written."""
    go_on = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            await go_on.wait()
            go_on.clear()
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(GET)
        assert b"text/event-stream" in await read_head(reader)
        for number in range(3):
            go_on.set()
            assert b"data: %d\n\n" % number in await reader.readuntil(b"\n\n\r\n")
        writer.close()
        await until(lambda: bool(gate.over))


async def test_event_streams_are_not_cut_for_silence() -> None:
    """A body that stands still is cut, an event stream is not."""
    limits = Limits(stream_idle_timeout=0.3)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        kind = b"text/event-stream" if b"/events" in head else b"text/plain"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 100\r\n\r\nx" % kind)
        await reader.read()

    async with running_gate(limits) as gate, running_upstream(play) as url:
        gate.route = gate.route_to(url)
        events, events_writer = await gate.connect()
        events_writer.write(GET.replace(b"/ ", b"/events ", 1))
        await read_head(events)
        answer = await gate.talk(GET)
        assert answer.endswith(b"\r\n\r\nx")
        assert [exchange.head.target.path for exchange in gate.over] == ["/"]
        events_writer.close()
        await until(lambda: len(gate.over) == 2)


async def test_early_response_ends_the_upload(gate: Gate) -> None:
    """An upstream may answer before the body is whole; the client gets it, and the rest goes nowhere."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nbegin")
        assert b"403 Forbidden" in await read_head(reader)
        assert await reader.readexactly(2) == b"no"
        writer.write(b"x" * 200_000)
        assert await reader.read() == b""
        writer.close()
        assert len(gate.over) == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 50000000", b"Transfer-Encoding: chunked"])
async def test_early_response_of_an_upstream_that_closes_is_not_lost(gate: Gate, framing: bytes) -> None:
    """It does not read the body, so that its closing resets the connection, which the next write finds out."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
        await writer.drain()

    async def upload(writer: asyncio.StreamWriter) -> None:
        piece = b"x" * 65536 if b"Length" in framing else encode_chunk(b"x" * 65536)
        with contextlib.suppress(ConnectionError):
            for _ in range(700):
                writer.write(piece)
                await writer.drain()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        for _ in range(5):
            reader, writer = await gate.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\n" + framing + b"\r\n\r\n")
            uploading = asyncio.ensure_future(upload(writer))
            answer = await reader.readuntil(b"early")
            assert answer.startswith(b"HTTP/1.1 413 Too Large\r\n")
            uploading.cancel()
            writer.transport.abort()
    assert gate.faults == []


async def test_early_response_with_a_short_rest_keeps_the_connection(gate: Gate, recorder: Recorder) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with running_upstream(play) as url:
        route = gate.route
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nbegin")
        await read_head(reader)
        await reader.readexactly(2)
        gate.route = route
        writer.write(b"_rest" + GET_CLOSE)
        assert (await reader.read()).endswith(b"ok")
        assert recorder.requests[0].body == b""
        writer.close()


async def test_expectation_is_the_upstreams_to_answer(gate: Gate) -> None:
    seen = bytearray()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await read_head(reader))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.extend(await reader.readexactly(5))
        writer.write(OK)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(
            b"POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert b"200 OK" in await read_head(reader)
        writer.close()
    assert b"Expect: 100-continue\r\n" in seen
    assert seen.endswith(b"hello")


async def test_expectation_does_not_deadlock(gate: Gate, recorder: Recorder) -> None:
    """An upstream that never says 100 leaves it to us, after a while."""
    reader, writer = await gate.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    assert b"200 OK" in await read_head(reader)
    assert recorder.requests[0].body == b"hello"
    writer.close()


async def test_refused_expectation_closes(gate: Gate) -> None:
    """After a final answer instead of 100, nobody knows whether a body follows: the connection ends."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(
            b"POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


async def test_route_without_body(gate: Gate, recorder: Recorder) -> None:
    """The hub answers for an app: it gets no body, and the next request is found behind the discarded one."""
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", send_body=False)
    answer = await gate.talk(
        b"POST /a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello" + GET_CLOSE
    )
    assert answer.count(b"200 OK") == 2
    assert [(request.method, request.body) for request in recorder.requests] == [
        (b"POST", b""),
        (b"GET", b""),
    ]
    assert recorder.requests[0].header(b"content-length") == [b"0"]


async def test_route_without_body_does_not_read_a_large_one(gate: Gate, recorder: Recorder) -> None:
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", send_body=False)
    answer = await gate.talk(b"POST /a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9999999\r\n\r\nhello")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "headers", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"]
)
async def test_body_over_the_bound_is_a_413(gate: Gate, recorder: Recorder, headers: bytes) -> None:
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", body_max_bytes=10)
    answer = await gate.talk(b"POST / HTTP/1.1\r\nHost: app.test\r\n" + headers + b"hello world\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body-too-large" in answer
    assert not any(request.is_complete for request in recorder.requests)


async def test_slow_reader_stops_the_upstream(gate: Gate) -> None:
    """What the gateway holds for a client that does not read is bounded; when it reads, everything arrives."""
    total = 64 << 20
    sent = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(GET)
        await read_head(reader)
        connection = next(iter(gate.front._connections))
        await until(lambda: connection.is_write_paused)
        stood_at = -1
        while stood_at != sent:
            stood_at = sent
            await asyncio.sleep(0.05)
            assert connection.write_buffered() <= 65536 + 262144
        assert sent < total
        received = 0
        while received < total:
            received += len(await reader.read(1 << 20))
        assert received == total
        writer.close()
        await until(lambda: bool(gate.over))


async def test_slow_reader_of_pipelined_responses_is_not_buffered_for(gate: Gate, recorder: Recorder) -> None:
    """Small responses, each complete at once: the next request waits until the client has read."""
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000
    reader, writer = await gate.connect()
    writer.transport.pause_reading()
    writer.write(GET * 1000)
    connection = None
    while connection is None or not connection.is_write_paused:
        await asyncio.sleep(0.001)
        connection = next(iter(gate.front._connections), None)
    stood_at = -1
    while stood_at != len(recorder.requests):
        stood_at = len(recorder.requests)
        await asyncio.sleep(0.05)
        assert connection.write_buffered() <= 65536 + 262144
    assert stood_at < 1000
    writer.transport.resume_reading()
    received = 0
    while received < 60_000_000:
        received += len(await reader.read(1 << 20))
    writer.close()
    assert len(recorder.requests) == 1000


async def test_slow_upstream_stops_the_client(gate: Gate) -> None:
    """An upstream that does not read stops the upload; when it reads, everything arrives."""
    total = 32 << 20
    begin = asyncio.Event()
    received = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await read_head(reader)
        await begin.wait()
        while received < total:
            received += len(await reader.read(1 << 20))
        writer.write(OK)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total >> 20):
            writer.write(b"x" * (1 << 20))
        connection = next(iter(gate.front._connections))
        await until(lambda: connection._is_read_paused)
        assert len(connection._reader.buffer) <= 65536 + 262144
        begin.set()
        assert b"200 OK" in await read_head(reader)
        assert received == total
        writer.close()


async def test_client_that_leaves_cancels_the_upstream(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    _, writer = await gate.connect()
    writer.write(GET)
    await recorder.arrived.wait()
    writer.transport.abort()
    await recorder.lost.wait()
    await gate.done.wait()
    assert len(gate.over) == 1


async def test_client_that_closes_cancels_the_upstream(gate: Gate, recorder: Recorder) -> None:
    """A polite close looks like a half-close at first; the answer is waited for a second at most."""
    recorder.answer = lambda _: b""
    _, writer = await gate.connect()
    writer.write(GET)
    await recorder.arrived.wait()
    writer.close()
    await recorder.lost.wait()
    await gate.done.wait()


async def test_half_closed_client_gets_its_answers(gate: Gate, recorder: Recorder) -> None:
    """As `printf ... | nc` does it."""
    reader, writer = await gate.connect()
    writer.write(GET + GET)
    writer.write_eof()
    assert (await reader.read()).count(b"200 OK") == 2
    writer.close()


async def test_client_that_leaves_in_a_body_cancels_the_upstream(gate: Gate, recorder: Recorder) -> None:
    _, writer = await gate.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nhello")
    await recorder.arrived.wait()
    writer.close()
    await recorder.lost.wait()
    assert not recorder.requests[0].is_complete


async def test_upstream_that_reads_nothing_and_closes(gate: Gate) -> None:
    """Closed before any answer, on a new connection: 502, and not tried again."""
    count = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await read_head(reader)

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answer = await gate.talk(GET_CLOSE)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"upstream-closed-early" in answer
    assert count == 1
