"""PROXY headers at the listener: who is believed, who is refused, and that TLS begins right behind them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from gateway.config.schema import Certificate, Limits, Tls
from gateway.proxy.server import Front
from gateway.proxy.tls import PLAIN_HTTP, listener_tls
from gateway.wire.faults import FaultCode
from gateway.wire.forwarded import TrustedNetworks
from gateway.wire.proxy_protocol import SIGNATURE
from tests.wire.harness import SWEEP_S, Gate, Recorder, closed_transports, read_to_end, until

GET = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 198, 51, 100, 1)) + b"\x12\x34\x01\xbb"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


@contextlib.asynccontextmanager
async def greeted(
    recorder: Recorder,
    *listed: str,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    trusted: tuple[str, ...] = (),
) -> AsyncIterator[Gate]:
    """Run a gate whose `listed` peers send PROXY headers."""
    gate = Gate(limits or Limits())
    gate.front = Front(
        gate,
        gate.limits,
        tls=tls,
        trusted=TrustedNetworks([ip_network(each) for each in trusted]),
        announcing=TrustedNetworks([ip_network(each) for each in listed]),
        sweep_s=SWEEP_S,
    )
    gate.port = await gate.front.listen_tcp("127.0.0.1", 0, reuse_port=True)
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
    try:
        yield gate
    finally:
        gate.front.close()
        for pool in gate.pools:
            pool.close()
        await closed_transports()


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
)
async def test_the_address_is_that_of_the_header(recorder: Recorder, header: bytes, client: str) -> None:
    async with greeted(recorder, "127.0.0.0/8") as gate:
        assert (await gate.talk(header + GET)).endswith(b"ok")
        assert str(gate.exchanges[0].client_address) == client
        assert recorder.requests[0].header(b"x-forwarded-for") == [client.encode()]


async def test_the_header_may_come_in_pieces(recorder: Recorder) -> None:
    async with greeted(recorder, "127.0.0.0/8") as gate:
        reader, writer = await gate.connect()
        for byte in V2 + GET:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await read_to_end(reader)).endswith(b"ok")
        assert str(gate.exchanges[0].client_address) == "192.0.2.7"
        writer.close()


@pytest.mark.parametrize(
    "begin", [GET, b"\r\n" + GET, V1[:-2] + b"\n" + GET, SIGNATURE + b"\x31\x11\x00\x0c" + GET]
)
async def test_a_listed_peer_without_a_header_is_closed(recorder: Recorder, begin: bytes) -> None:
    async with greeted(recorder, "127.0.0.0/8") as gate:
        assert await gate.talk(begin) == b""
        assert gate.front.stats.faults[FaultCode.PROXY_HEADER] == 1
        assert recorder.requests == []


@pytest.mark.parametrize("header", [V1, V2, V1 + V1])
async def test_a_peer_that_is_not_listed_is_refused_with_one(recorder: Recorder, header: bytes) -> None:
    """And so is a second header, which only a client can have sent."""
    listed = "127.0.0.0/8" if header.startswith(V1 * 2) else "10.0.0.0/8"
    async with greeted(recorder, listed) as gate:
        assert (await gate.talk(header + GET)).startswith(b"HTTP/1.1 400 ")
        assert recorder.requests == []


async def test_a_peer_that_is_not_listed_is_a_client(recorder: Recorder) -> None:
    async with greeted(recorder, "10.0.0.0/8") as gate:
        assert (await gate.talk(GET)).endswith(b"ok")
        assert str(gate.exchanges[0].client_address) == "127.0.0.1"


async def test_without_listed_peers_a_header_is_refused(gate: Gate, recorder: Recorder) -> None:
    for header in (V1, V2):
        assert (await gate.talk(header + GET)).startswith(b"HTTP/1.1 400 ")
    assert recorder.requests == []


async def test_a_silent_balancer_is_closed(recorder: Recorder) -> None:
    async with greeted(recorder, "127.0.0.0/8", limits=Limits(header_timeout=0.3)) as gate:
        assert await gate.talk(V1[:20]) == b""
        assert gate.front.stats.faults[FaultCode.HEAD_TIMEOUT] == 1


async def test_a_balancer_that_leaves_again(recorder: Recorder) -> None:
    """As its health checks do."""
    async with greeted(recorder, "127.0.0.0/8") as gate:
        _, writer = await gate.connect()
        writer.close()
        assert (await gate.talk(V1 + GET)).endswith(b"ok")
        assert not gate.front.stats.faults


async def test_trust_is_that_of_the_announced_address(recorder: Recorder) -> None:
    """The balancer's own address being a trusted proxy's vouches for no client; an announced proxy's does."""
    forwarded = GET.replace(b"Connection", b"X-Forwarded-For: 203.0.113.9\r\nConnection")
    async with greeted(recorder, "127.0.0.0/8", trusted=("127.0.0.0/8",)) as gate:
        await gate.talk(V1 + forwarded)
        assert str(gate.exchanges[0].client_address) == "192.0.2.7"
    async with greeted(recorder, "127.0.0.0/8", trusted=("192.0.2.0/24",)) as gate:
        await gate.talk(V1 + forwarded)
        assert str(gate.exchanges[0].client_address) == "203.0.113.9"


async def test_the_cap_counts_announced_addresses(recorder: Recorder) -> None:
    async with greeted(recorder, "127.0.0.0/8", limits=Limits(connections_per_client=1)) as gate:
        _, held = await gate.connect()
        held.write(V1)
        await until(lambda: gate.front.connections == 1)
        assert (await gate.talk(V1)).startswith(b"HTTP/1.1 429 ")
        assert (await gate.talk(V1.replace(b"192.0.2.7", b"192.0.2.8") + GET)).endswith(b"ok")
        held.close()


async def test_tls_begins_behind_the_header(recorder: Recorder, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("one.test")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = listener_tls(
        Tls(certificates=(Certificate(cert=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem")),))
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with greeted(recorder, "127.0.0.0/8", tls=tls) as gate:
        reader, writer = await gate.connect()
        writer.write(V2)
        await writer.drain()
        await writer.start_tls(context, server_hostname="one.test")
        writer.write(GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        assert (str(gate.exchanges[0].client_address), gate.exchanges[0].scheme) == ("192.0.2.7", "https")
        writer.close()
        reader, writer = await gate.connect()
        writer.write(V2 + GET)
        assert await reader.readexactly(len(PLAIN_HTTP)) == PLAIN_HTTP
        writer.close()
        assert (await gate.talk(b"\x16\x03\x01" + GET)) == b"", "no header"
        await until(lambda: not gate.front.connections)


async def test_a_drain_ends_who_has_not_said_who_it_is(recorder: Recorder) -> None:
    async with greeted(recorder, "127.0.0.0/8") as gate:
        reader, writer = await gate.connect()
        writer.write(V1[:9])
        await asyncio.sleep(0.02)
        await gate.front.drain(0.1)
        assert await read_to_end(reader) == b""
        writer.close()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await gate.connect()
