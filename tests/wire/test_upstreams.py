"""Several addresses of an app: who gets the next exchange, what becomes of dead ones, and times and paths per route."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.config.schema import HealthCheck, Limits
from gateway.proxy import pool as pool_module
from gateway.proxy.balance import DOWN_AFTER, UpstreamGroup
from gateway.proxy.exchange import MAX_ATTEMPTS
from gateway.proxy.ports import Route, UpstreamFault
from gateway.wire.prefix import PathRewrite
from tests.ports import free_ports
from tests.wire.harness import OK, Gate, Recorder, Seen, running_recorder, running_upstream, until

GET = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"


@contextlib.asynccontextmanager
async def three(gate: Gate, **options: object) -> AsyncIterator[tuple[UpstreamGroup, list[Recorder]]]:
    """Run three upstreams behind one route of the gate."""
    async with running_recorder() as one, running_recorder() as two, running_recorder() as other:
        recorders = [one, two, other]
        group = UpstreamGroup([gate.pool(f"http://127.0.0.1:{each.port}") for each in recorders], **options)
        gate.route = Route(pool=group, headers=())
        try:
            yield group, recorders
        finally:
            group.close()


def unused_port() -> int:
    (port,) = free_ports(1)
    return port


# --- balance -------------------------------------------------------------------------------------------------


async def test_idle_addresses_take_turns(gate: Gate) -> None:
    async with three(gate) as (_, recorders):
        for _ in range(9):
            assert (await gate.talk(GET)).endswith(b"ok")
        assert [len(each.requests) for each in recorders] == [3, 3, 3]


async def test_the_least_busy_address_is_next(gate: Gate) -> None:
    """An address that still works on something gets nothing while others are free."""
    async with three(gate) as (_, recorders):
        recorders[0].answer = lambda _: b""
        held = [await gate.connect() for _ in range(3)]
        for _, writer in held:
            writer.write(GET)
        await until(lambda: sum(len(each.requests) for each in recorders) == 3)
        for _ in range(8):
            assert (await gate.talk(GET)).endswith(b"ok")
        assert len(recorders[0].requests) == 1
        assert sum(len(each.requests) for each in recorders) == 11
        for _, writer in held:
            writer.transport.abort()


async def test_an_address_that_garbles_every_answer_does_not_draw_all_exchanges(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections, and is free at once: the least busy of all."""
    monkeypatch.setattr(pool_module, "BREAK_S", 3600.0)
    async with three(gate) as (_, recorders):
        recorders[0].answer = lambda _: b"nonsense\r\n"
        answers = [await gate.talk(GET) for _ in range(60)]
        failed = sum(b" 502 " in each for each in answers)
        assert failed == len(recorders[0].requests) == pool_module.BREAK_AFTER
        assert sum(each.endswith(b"ok") for each in answers) == 60 - failed


async def test_an_address_that_ends_every_connection_costs_only_what_may_not_be_repeated(gate: Gate) -> None:
    async with three(gate) as (_, recorders):
        recorders[0].answer = lambda _: None
        assert all([(await gate.talk(GET)).endswith(b"ok") for _ in range(12)])
        answers = [await gate.talk(POST) for _ in range(12)]
        posts = sum(each.method == b"POST" for one in recorders for each in one.requests)
        assert posts == len(answers), "none is sent twice"


async def test_addresses_that_all_break_their_answers_are_still_asked(gate: Gate) -> None:
    async with three(gate) as (_, recorders):
        for each in recorders:
            each.answer = lambda _: None
        for _ in range(20):
            assert b" 502 " in await gate.talk(POST)
        assert sum(len(each.requests) for each in recorders) == 20
        assert b" 502 " in await gate.talk(GET)
        assert sum(len(each.requests) for each in recorders) == 20 + MAX_ATTEMPTS


async def test_the_host_is_that_of_the_chosen_address(gate: Gate) -> None:
    async with three(gate) as (_, recorders):
        gate.route = msgspec.structs.replace(gate.route, is_own_host=True)
        for _ in range(3):
            await gate.talk(GET)
        for each in recorders:
            assert each.requests[0].header(b"host") == [b"127.0.0.1:%d" % each.port]


async def test_a_client_that_leaves_takes_its_place_in_the_queue_along(gate: Gate) -> None:
    gate.limits = Limits(upstream_connections=1)
    async with three(gate) as (group, recorders):
        for each in recorders:
            each.answer = lambda _: b""
        held = [await gate.connect() for _ in range(6)]
        for _, writer in held:
            writer.write(GET)
        await until(lambda: sum(each.busy for each in gate.pools) == 6)
        for _, writer in held:
            writer.transport.abort()
        await until(lambda: not gate.front.connections)
        assert sum(each.waiting for each in gate.pools) == 0
        assert not group._attempts


# --- dead addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [GET, POST])
async def test_a_dead_address_costs_nobody_an_answer(
    gate: Gate, recorder: Recorder, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so even a POST goes on; after five failures the address is not even tried."""
    monkeypatch.setattr(pool_module, "BREAK_S", 3600.0)
    dead = gate.pool(f"http://127.0.0.1:{unused_port()}")
    group = UpstreamGroup([dead, gate.pool(f"http://127.0.0.1:{recorder.port}")])
    gate.route = Route(pool=group, headers=())
    for _ in range(4 * pool_module.BREAK_AFTER):
        assert (await gate.talk(request_)).startswith(b"HTTP/1.1 200 ")
    assert dead._failures == pool_module.BREAK_AFTER
    assert gate.faults == []


async def test_a_broken_address_is_tried_by_one_and_comes_back(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "BREAK_S", 3600.0)
    async with three(gate) as (_, recorders):
        port = unused_port()
        back = gate.pool(f"http://127.0.0.1:{port}")
        group = UpstreamGroup([back, gate.pool(f"http://127.0.0.1:{recorders[0].port}")])
        gate.route = Route(pool=group, headers=())
        for _ in range(4 * pool_module.BREAK_AFTER):
            await gate.talk(GET)
        assert not back.is_available
        server = await asyncio.start_server(answer_once, "127.0.0.1", port)
        back._broken_until -= 3600.0
        assert back.is_available
        back._waiting.append(object())
        assert not back.is_available, "one at a time"
        back._waiting.clear()
        for _ in range(4):
            assert (await gate.talk(GET)).endswith(b"ok")
        assert back._failures == 0
        server.close()


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await writer.drain()
    writer.close()


async def test_the_circuit_of_one_address(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """After five failures in a row answers come at once, without a connection; after a while it is tried again."""
    monkeypatch.setattr(pool_module, "BREAK_S", 3600.0)
    port = unused_port()
    gate.route = gate.route_to(f"http://127.0.0.1:{port}")
    pool = gate.pools[-1]
    for _ in range(pool_module.BREAK_AFTER + 3):
        assert (await gate.talk(GET)).startswith(b"HTTP/1.1 502 ")
    assert pool._failures == pool_module.BREAK_AFTER
    server = await asyncio.start_server(answer_once, "127.0.0.1", port)
    assert (await gate.talk(GET)).startswith(b"HTTP/1.1 502 ")
    pool._broken_until -= 3600.0
    assert (await gate.talk(GET)).startswith(b"HTTP/1.1 200 ")
    server.close()


async def test_all_addresses_dead(gate: Gate) -> None:
    group = UpstreamGroup([gate.pool(f"http://127.0.0.1:{unused_port()}") for _ in range(3)])
    gate.route = Route(pool=group, headers=())
    for number in range(3 * pool_module.BREAK_AFTER):
        answer = await gate.talk(GET)
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"upstream-unreachable" in answer
        assert len(gate.faults) == number + 1
    assert not group._attempts


# --- active checks -------------------------------------------------------------------------------------------

HEALTH = HealthCheck(path="/healthz?deep=1", every=0.02, timeout=60.0)


def sick(seen: Seen) -> bytes:
    if seen.target == b"/healthz?deep=1":
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    return OK


async def test_a_sick_address_is_left_out_and_comes_back(gate: Gate) -> None:
    async with three(gate, health=HEALTH) as (group, recorders):
        recorders[0].answer = sick
        await until(lambda: len(group._down) == 1)
        for _ in range(6):
            assert (await gate.talk(GET)).endswith(b"ok")
        assert [seen for seen in recorders[0].requests if seen.target == b"/"] == []
        probe = recorders[0].requests[0]
        assert probe.header(b"host") == [b"127.0.0.1:%d" % recorders[0].port]
        recorders[0].answer = lambda _: OK
        await until(lambda: not group._down)
        for _ in range(3):
            await gate.talk(GET)
        assert len([seen for seen in recorders[0].requests if seen.target == b"/"]) == 1


async def test_all_addresses_sick(gate: Gate) -> None:
    async with three(gate, health=HEALTH) as (group, recorders):
        for each in recorders:
            each.answer = sick
        await until(lambda: len(group._down) == 3)
        assert (await gate.talk(GET)).startswith(b"HTTP/1.1 502 ")
        assert gate.faults == [UpstreamFault.UNREACHABLE]


@pytest.mark.parametrize("answer", [None, b"", b"nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_what_counts_as_sick(gate: Gate, recorder: Recorder, answer: bytes | None) -> None:
    """Closing, silence beyond the time-out, and what is no final answer."""
    recorder.answer = lambda _: answer
    pool = gate.pool(f"http://127.0.0.1:{recorder.port}")
    group = UpstreamGroup([pool], HealthCheck(path="/", every=0.01, timeout=0.05))
    await until(lambda: pool in group._down)
    group.close()


async def test_checks_of_a_unix_socket(gate: Gate, tmp_path: Path) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await answer_once(reader, writer)

    async with running_upstream(answer, path=tmp_path / "app.sock") as url:
        pool = gate.pool(url)
        group = UpstreamGroup([pool], HEALTH)
        gate.route = Route(pool=group, headers=())
        await until(lambda: asked > DOWN_AFTER)
        assert not group._down
        assert (await gate.talk(GET)).endswith(b"ok")
        group.close()


# --- times and paths of a route ------------------------------------------------------------------------------


async def test_times_of_a_route_override_those_of_the_server(gate: Gate, recorder: Recorder) -> None:
    recorder.answer = lambda _: b""
    gate.route = gate.route_to(
        f"http://127.0.0.1:{recorder.port}",
        limits=msgspec.structs.replace(gate.limits, response_timeout=0.05),
    )
    answer = await gate.talk(GET)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert gate.faults == [UpstreamFault.RESPONSE_TIMEOUT]


async def test_a_body_that_stands_still_is_given_the_time_of_its_route(
    gate: Gate, recorder: Recorder
) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    gate.route = gate.route_to(
        f"http://127.0.0.1:{recorder.port}",
        limits=msgspec.structs.replace(gate.limits, stream_idle_timeout=0.3),
    )
    assert (await gate.talk(GET)).endswith(b"half")


async def test_the_page_that_explains_has_the_times_of_the_server(gate: Gate, recorder: Recorder) -> None:
    slow = Limits(response_timeout=0.05)
    async with running_upstream(lambda _reader, _writer: asyncio.sleep(60)) as silent:
        gate.route = gate.route_to(silent, limits=slow)
        gate.failed_route = gate.route_to(f"http://127.0.0.1:{recorder.port}")
        assert (await gate.talk(GET)).endswith(b"ok")
        assert gate.exchanges[0]._limits is gate.limits


async def test_prefixes(gate: Gate, recorder: Recorder) -> None:
    gate.route = gate.route_to(f"http://127.0.0.1:{recorder.port}", rewrite=PathRewrite("/wiki", "/v2"))
    for raw in (b"/wiki/a?b", b"http://app.test/wiki/%2e/a", b"/x/..//wiki"):
        await gate.talk(GET.replace(b" / ", b" %b " % raw))
    assert [seen.target for seen in recorder.requests] == [b"/v2/a?b", b"/v2/a", b"/v2/"]
