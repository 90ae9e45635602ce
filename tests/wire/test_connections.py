"""Connections on both sides: keep-alive, pipelining, pools, retries, limits, deadlines, TLS, sockets."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.config.schema import Certificate, ClientCertificates, Limits, Tls
from gateway.proxy.pool import upstream_tls
from gateway.proxy.ports import CutReason, UpstreamFault
from gateway.proxy.tls import PLAIN_HTTP, listener_tls
from tests.wire.harness import (
    OK,
    Gate,
    Recorder,
    read_to_end,
    running_gate,
    running_recorder,
    running_upstream,
    until,
)

GET = b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"


async def exchange_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes = GET
) -> bytes:
    """Send a request on an open connection and return the answer, whose body is `ok`."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(2)


# --- the client's connection ---------------------------------------------------------------------------------


async def test_keep_alive_reuses_both_connections(gate: Gate, recorder: Recorder) -> None:
    reader, writer = await gate.connect()
    for _ in range(5):
        assert (await exchange_on(reader, writer)).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    assert len(recorder.requests) == 5
    assert len(recorder.connections) == 1


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        (GET, False),
        (GET_CLOSE, True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
async def test_who_keeps_alive(gate: Gate, request_: bytes, closes: bool) -> None:
    reader, writer = await gate.connect()
    answer = await exchange_on(reader, writer, request_)
    assert (b"Connection: close" in answer) is closes
    if b"HTTP/1.0" in request_ and not closes:
        assert b"Connection: keep-alive" in answer
    if closes:
        assert await reader.read() == b""
    else:
        assert (await exchange_on(reader, writer)).endswith(b"ok")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda seen: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.target), seen.target)
    )
    requests = [b"GET /%d HTTP/1.1\r\nHost: app.test\r\n\r\n" % number for number in range(200)]
    requests[100] = (
        b"POST /100 HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    answer = await gate.talk(b"".join(requests) + GET_CLOSE)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"/%d" % number for number in range(200)] + [b"/"]


async def test_pipelining_holds_back_what_comes_too_fast(gate: Gate, recorder: Recorder) -> None:
    """While one request is unanswered, only a bounded part of what follows it is read."""
    recorder.answer = lambda _: b""
    _, writer = await gate.connect()
    writer.write(GET * 100_000)
    await recorder.arrived.wait()
    connection = next(iter(gate.front._connections))
    await until(lambda: connection._is_read_paused)
    assert len(connection._reader.buffer) <= 65536 + 262144
    assert len(recorder.requests) == 1
    writer.transport.abort()


async def test_nothing_after_a_refusal_is_read(gate: Gate, recorder: Recorder) -> None:
    answer = await gate.talk(GET + b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n" + GET)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"HTTP/1.1 400 Bad Request" in answer
    assert len(recorder.requests) == 1


async def test_gatekeeper_may_take_its_time(gate: Gate, recorder: Recorder) -> None:
    """Until it has decided, nothing goes anywhere; then the body that came meanwhile follows."""
    route, gate.route = gate.route, None
    reader, writer = await gate.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello")
    await gate.admitted.wait()
    assert recorder.raw == b""
    gate.exchanges[0].proceed(route)
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    assert recorder.requests[0].body == b"hello"
    gate.exchanges[0].proceed(route)
    assert len(recorder.requests) == 1
    writer.close()


# --- limits and deadlines ------------------------------------------------------------------------------------


async def test_slow_head_is_a_408(recorder: Recorder) -> None:
    async with running_gate(Limits(header_timeout=0.3)) as gate:
        answer = await gate.talk(b"GET / HTTP/1.1\r\nHost: app")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request-head-timed-out" in answer
        assert await gate.talk(b"") == b""


async def test_dripping_a_head_does_not_prolong_it(recorder: Recorder) -> None:
    async with running_gate(Limits(header_timeout=0.3)) as gate:
        reader, writer = await gate.connect()
        answer = asyncio.ensure_future(reader.read())
        while not answer.done():
            writer.write(b"G")
            await asyncio.sleep(0.02)
        assert (await answer).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))
        writer.close()


async def test_slow_body_is_a_408(recorder: Recorder) -> None:
    async with running_gate(Limits(stream_idle_timeout=0.3)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        answer = await gate.talk(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhel")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request-body-timed-out" in answer
        await recorder.lost.wait()
        assert not recorder.requests[0].is_complete


async def test_idle_connection_is_closed(recorder: Recorder) -> None:
    async with running_gate(Limits(idle_timeout=0.3)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        assert (await gate.talk(GET)).endswith(b"ok")


async def test_slow_response_is_a_504(recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    async with running_gate(Limits(response_timeout=0.05)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        answer = await gate.talk(GET_CLOSE)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert gate.faults == [UpstreamFault.RESPONSE_TIMEOUT]
        await recorder.lost.wait()


async def test_connections_of_one_address_are_bounded(recorder: Recorder) -> None:
    async with running_gate(Limits(connections_per_client=2)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        _, first = await gate.connect()
        _, second = await gate.connect()
        await until(lambda: gate.front.connections == 2)
        answer = await gate.talk(GET)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: " in answer
        first.close()
        await until(lambda: gate.front.connections == 1)
        assert (await gate.talk(GET_CLOSE)).endswith(b"ok")
        second.close()
    assert len(recorder.requests) == 1


async def test_drain_lets_exchanges_finish(gate: Gate) -> None:
    """No new connection, idle ones close, an exchange under way is completed and told that it is the last."""
    go_on = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        writer.write(OK)
        await reader.read()

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        idle_reader, idle_writer = await gate.connect()
        reader, writer = await gate.connect()
        writer.write(GET)
        await gate.admitted.wait()
        await until(lambda: gate.front.connections == 2)
        draining = asyncio.ensure_future(gate.front.drain(30))
        assert await idle_reader.read() == b""
        idle_writer.close()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await gate.connect()
        go_on.set()
        assert b"Connection: close" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"ok"
        writer.close()
        await draining
    assert not gate.front.is_listening


async def test_drain_is_bounded(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    reader, writer = await gate.connect()
    writer.write(GET)
    await recorder.arrived.wait()
    await gate.front.drain(0.05)
    await gate.done.wait()
    assert await read_to_end(reader) == b""
    writer.close()


# --- the pool ------------------------------------------------------------------------------------------------


async def test_a_dead_idle_connection_is_replaced(gate: Gate) -> None:
    """The upstream closes a reused connection instead of answering: an idempotent request is sent once more."""
    connections = 0
    requests: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        number = connections
        while head := await reader.readuntil(b"\r\n\r\n"):
            requests.append(head.split(b" ")[0])
            if number == 1 and len(requests) == 2:
                return
            writer.write(OK)

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        await exchange_on(reader, writer)
        assert (await exchange_on(reader, writer)).endswith(b"ok")
        assert connections == 2
        assert requests == [b"GET", b"GET", b"GET"]
        assert gate.faults == []
        writer.close()


@pytest.mark.parametrize(
    "second",
    [
        b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_what_may_have_happened_is_not_repeated(gate: Gate, second: bytes) -> None:
    """A POST, or a request whose body has been sent, fails rather than happening twice."""
    requests: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        requests.append(await reader.readuntil(b"\r\n\r\n"))

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        await exchange_on(reader, writer)
        writer.write(second)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        assert gate.faults == [UpstreamFault.RESET]
        assert len(requests) == 2
        writer.close()


async def test_an_answer_begun_is_not_repeated(gate: Gate) -> None:
    requests = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(b"HTTP/1.1 2")

    async with running_upstream(play) as url:
        gate.route = gate.route_to(url)
        reader, writer = await gate.connect()
        await exchange_on(reader, writer)
        writer.write(GET)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        assert requests == 2
        writer.close()


async def test_upstream_connections_are_bounded() -> None:
    """Above the bound exchanges wait in order for a connection to come back."""
    go_on = asyncio.Event()
    at_once = most = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        while await reader.readuntil(b"\r\n\r\n"):
            at_once += 1
            most = max(most, at_once)
            await go_on.wait()
            at_once -= 1
            writer.write(OK)

    async with running_gate(Limits(upstream_connections=2)) as gate, running_upstream(play) as url:
        gate.route = gate.route_to(url)
        answers = [asyncio.ensure_future(gate.talk(GET_CLOSE)) for _ in range(8)]
        # Both requests must have reached the upstream: the queue alone is as long while connections are being made.
        await until(lambda: at_once == 2 and gate.route.pool.waiting == 6)
        go_on.set()
        assert all([(await answer).endswith(b"ok") for answer in answers])
        assert most == 2


async def test_the_queue_for_an_upstream_is_bounded(recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    async with running_gate(Limits(upstream_connections=1)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        held = [asyncio.ensure_future(gate.talk(GET_CLOSE))]
        await recorder.arrived.wait()
        held += [asyncio.ensure_future(gate.talk(GET_CLOSE)) for _ in range(4)]
        await until(lambda: gate.route.pool.waiting == 4)
        answer = await gate.talk(GET_CLOSE)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert gate.faults == [UpstreamFault.OVERLOADED]
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_unreachable_upstream_is_a_502(gate: Gate) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gate.route = gate.route_to(f"http://127.0.0.1:{unused.getsockname()[1]}")
        answer = await gate.talk(GET_CLOSE)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert gate.faults == [UpstreamFault.UNREACHABLE]


async def test_a_fault_may_be_answered_by_a_page(gate: Gate, recorder: Recorder) -> None:
    """The gatekeeper's route answers instead of the problem document; when it fails too, there is no loop."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        page = gate.route
        gate.route, gate.failed_route = gate.route_to(dead), page
        assert (await gate.talk(GET_CLOSE)).endswith(b"ok")
        gate.failed_route = gate.route
        assert (await gate.talk(GET_CLOSE)).startswith(b"HTTP/1.1 502 ")
    assert len(recorder.requests) == 1
    assert len(gate.over) == 2


async def test_unix_upstream(gate: Gate, tmp_path: Path) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)

    async with running_upstream(play, path=tmp_path / "app.sock") as url:
        gate.route = gate.route_to(url)
        assert (await gate.talk(GET + GET_CLOSE)).count(b"ok") == 2


# --- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_certificate(authority: trustme.CA, folder: Path, name: str) -> Certificate:
    issued = authority.issue_cert(name)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return Certificate(str(certificate), str(key))


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def ask_over_tls(gate: Gate, context: ssl.SSLContext, name: str) -> tuple[bytes, str]:
    """Return the answer, and the name that the server's certificate was for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, ssl=context, server_hostname=name)
    subject = writer.get_extra_info("peercert")["subjectAltName"][0][1]
    try:
        writer.write(GET_CLOSE)
        return await reader.readuntil(b"ok"), subject
    finally:
        writer.close()


async def test_listener_chooses_its_certificate_by_name(
    recorder: Recorder, authority: trustme.CA, tmp_path: Path
) -> None:
    names = ("one.test", "two.test")
    tls = listener_tls(Tls(tuple(server_certificate(authority, tmp_path, name) for name in names)))
    async with running_gate(tls=tls) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        for name in names:
            answer, subject = await ask_over_tls(gate, client_context(authority), name)
            assert answer.endswith(b"ok")
            assert subject == name
        assert gate.exchanges[0].scheme == "https"
        assert gate.exchanges[0].evidence == b""
    assert recorder.requests[0].header(b"x-forwarded-proto") == [b"https"]
    assert recorder.requests[0].header(b"x-forwarded-port") == [b"443"]


async def test_client_certificate_is_evidence(
    recorder: Recorder, authority: trustme.CA, tmp_path: Path
) -> None:
    devices = trustme.CA()
    devices.cert_pem.write_to_path(tmp_path / "devices.pem")
    tls = listener_tls(
        Tls(
            (server_certificate(authority, tmp_path, "one.test"),),
            client_certificates=ClientCertificates.OPTIONAL,
            client_ca=str(tmp_path / "devices.pem"),
        )
    )
    async with running_gate(tls=tls) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        device = devices.issue_cert("device-1.test")
        context = client_context(authority)
        device.configure_cert(context)
        assert (await ask_over_tls(gate, context, "one.test"))[0].endswith(b"ok")
        assert (await ask_over_tls(gate, client_context(authority), "one.test"))[0].endswith(b"ok")
        stranger = client_context(authority)
        trustme.CA().issue_cert("device-1.test").configure_cert(stranger)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ask_over_tls(gate, stranger, "one.test")
        pem = device.cert_chain_pems[0].bytes().decode()
        assert [exchange.evidence for exchange in gate.exchanges] == [ssl.PEM_cert_to_DER_cert(pem), b""]


@pytest.mark.parametrize(
    "sent",
    [
        GET,
        b"POST /x HTTP/1.1\r\nHost: one.test\r\nContent-Length: 3\r\n\r\nabc",
        b"DELETE /x HTTP/1.1\r\nHost: one.test\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
    ],
)
async def test_plain_http_to_a_tls_listener_is_told_so(
    recorder: Recorder, authority: trustme.CA, tmp_path: Path, sent: bytes
) -> None:
    """The answer is in plain http too; nothing of the request is looked at, and the connection is good for no more."""
    tls = listener_tls(Tls((server_certificate(authority, tmp_path, "one.test"),)))
    async with running_gate(tls=tls) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(sent)
        assert await reader.readexactly(len(PLAIN_HTTP)) == PLAIN_HTTP
        writer.write(GET)
        assert await reader.read() == b""
        writer.close()
        assert (await ask_over_tls(gate, client_context(authority), "one.test"))[0].endswith(b"ok")
        assert len(gate.exchanges) == 1


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-OpenSSH_9.2\r\n", b"GET", b"\0" * 64]
)
async def test_what_is_neither_tls_nor_http_gets_no_answer_of_http(
    authority: trustme.CA, tmp_path: Path, sent: bytes
) -> None:
    tls = listener_tls(Tls((server_certificate(authority, tmp_path, "one.test"),)))
    async with running_gate(tls=tls) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(sent)
        writer.write_eof()
        assert b"HTTP" not in await reader.read()
        writer.close()


async def test_large_bodies_over_tls_and_a_cut(
    recorder: Recorder, authority: trustme.CA, tmp_path: Path
) -> None:
    """Back-pressure and breaking off work through the TLS layer of either loop."""
    size = 8 << 20
    recorder.answer = lambda seen: (
        OK
        if seen.method == b"POST"
        else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    tls = listener_tls(Tls((server_certificate(authority, tmp_path, "one.test"),)))
    async with running_gate(tls=tls) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gate.port, ssl=client_context(authority), server_hostname="one.test"
        )
        writer.write(b"POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size)
        await reader.readuntil(b"ok")
        assert len(recorder.requests[0].body) == size
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(size)) == size
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        gate.exchanges[-1].cut(CutReason.ACCESS_ENDED)
        assert len(await read_to_end(reader)) < size
        writer.close()
        await until(lambda: not gate.front.connections)


async def tls_upstream(authority: trustme.CA, name: str) -> asyncio.Server:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return await asyncio.start_server(play, "127.0.0.1", 0, ssl=context)


@pytest.mark.parametrize(
    ("name", "is_known", "status"),
    [("localhost", True, 200), ("other.test", True, 502), ("localhost", False, 502)],
)
async def test_upstream_certificate_is_verified(
    gate: Gate, authority: trustme.CA, tmp_path: Path, name: str, is_known: bool, status: int
) -> None:
    """By name and by the private CA alone."""
    (authority if is_known else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    server = await tls_upstream(authority, name)
    port = server.sockets[0].getsockname()[1]
    gate.route = gate.route_to(f"https://localhost:{port}", tls=upstream_tls(str(tmp_path / "ca.pem")))
    answer = await gate.talk(GET_CLOSE)
    server.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status != 200:
        assert gate.faults == [UpstreamFault.TLS]


async def test_unix_listener(recorder: Recorder, tmp_path: Path) -> None:
    async with running_gate(trusted=("127.0.0.1/32",)) as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        await gate.front.listen_unix(tmp_path / "front.sock")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "front.sock"))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
        assert str(gate.exchanges[0].client_address) == "192.0.2.7"


async def test_listener_on_a_given_socket(recorder: Recorder) -> None:
    """As socket activation hands it over."""
    async with running_gate() as gate:
        gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        handle = socket.create_server(("127.0.0.1", 0))
        await gate.front.listen_socket(handle)
        gate.port = handle.getsockname()[1]
        assert (await gate.talk(GET_CLOSE)).endswith(b"ok")


async def test_two_fronts_share_a_port(recorder: Recorder) -> None:
    async with running_gate() as first, running_gate() as second:
        for gate in (first, second):
            gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        port = await first.front.listen_tcp("127.0.0.1", 0, reuse_port=True)
        assert await second.front.listen_tcp("127.0.0.1", port, reuse_port=True) == port
        first.port = port
        for _ in range(20):
            assert (await first.talk(GET_CLOSE)).endswith(b"ok")


async def test_a_silent_upstream_port_times_out() -> None:
    """Connecting is bounded; a listener whose backlog is full never answers."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1)]
        async with running_gate(Limits(connect_timeout=0.2)) as gate, running_recorder():
            gate.route = gate.route_to(f"http://127.0.0.1:{port}")
            answer = await gate.talk(GET_CLOSE)
            assert answer.startswith(b"HTTP/1.1 504 ")
            assert gate.faults == [UpstreamFault.CONNECT_TIMEOUT]
        for connection in held:
            connection.close()
