"""One large delivery, and what another sensor feels of it meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec

from tests.bench.gate import Gate, report, serial_of
from tests.bench.machine import cost
from tests.bench.processes import BenchFault

OTHER = "mdm"
"""The other sensor: the gate's configuration has it."""

PAUSE_S = 0.005
"""Between two deliveries of the other sensor: it is no load, it only looks how long it waits."""

ALONE = 200
SETTLE_S = 2.0


class Large(msgspec.Struct):
    """What one large delivery took, and the milliseconds of the other sensor's deliveries without and beside it."""

    rows: int
    seconds: float
    cpu_us: float
    alone_ms: list[float]
    beside_ms: list[float]


async def deliver_large(gate: Gate, *, rows: int, devices: int) -> Large:
    """Send one delivery of `rows` signals while another sensor sends single ones. Raises `BenchFault`."""
    body = msgspec.json.encode({"events": [report(serial_of(n % devices)) for n in range(rows)]})
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for number in range(20):
            await _single(http, gate, number % devices)
        alone = [await _single(http, gate, number % devices) for number in range(ALONE)]
        beside: list[float] = []
        cpu_s = cost(gate.pids()).cpu_s
        async with _beside(http, gate, devices, beside):
            began = time.perf_counter()
            async with http.post(gate.hook_url, data=body, headers=gate.hook_headers()) as answer:
                told = await answer.text()
                seconds = time.perf_counter() - began
                if answer.status != 200 or msgspec.json.decode(told)["accepted"] != rows:
                    raise BenchFault(f"the large delivery is answered {answer.status}: {told[:300]}")
        # What follows from it for incidents and tasks is looked at after the answer, and is part of its cost.
        await asyncio.sleep(SETTLE_S)
        used_us = (cost(gate.pids()).cpu_s - cpu_s) * 1e6 / rows
    return Large(rows, seconds, used_us, alone, beside)


@contextlib.asynccontextmanager
async def _beside(
    http: aiohttp.ClientSession, gate: Gate, devices: int, into: list[float]
) -> AsyncIterator[None]:
    """Let the other sensor send one delivery after the other while the context is open."""
    is_over = asyncio.Event()

    async def send() -> None:
        number = 0
        while not is_over.is_set():
            into.append(await _single(http, gate, number % devices))
            number += 7
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), PAUSE_S)

    sending = asyncio.ensure_future(send())
    try:
        yield
    finally:
        is_over.set()
        await sending


async def _single(http: aiohttp.ClientSession, gate: Gate, device: int) -> float:
    """Send one signal of the other sensor; return the milliseconds to its answer. Raises `BenchFault`."""
    body = msgspec.json.encode({"events": [report(serial_of(device))]})
    began = time.perf_counter()
    async with http.post(gate.hook_of(OTHER), data=body, headers=gate.hook_headers()) as answer:
        await answer.read()
        if answer.status != 200:
            raise BenchFault(f"the other sensor is answered {answer.status}")
    return (time.perf_counter() - began) * 1000
