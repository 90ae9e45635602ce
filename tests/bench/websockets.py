"""`websockets`: what an idle WebSocket costs the worker over both legs."""

import asyncio
import json
import os
import time

from tests.bench.bench import Bench
from tests.bench.gate import Gate, Setup, running_gate
from tests.bench.machine import cost, most_files, rss
from tests.bench.processes import BenchFault, listening
from tests.bench.report import Section, at_most
from tests.ports import free_ports

SPARE_FILES = 300
WARM = 50
SETTLE_S = 1.5
TARGET_KIB = 24


async def run(bench: Bench) -> Section:
    """Open the sockets in steps and read the worker's memory at each."""
    wanted = int(os.environ.get("BENCH_SOCKETS", "2000"))
    count = min(wanted, (most_files() - SPARE_FILES) // 2)
    (port,) = free_ports(1)
    app = bench.processes.module("streams", "tests.bench.streams_app", port, cores=bench.cores.load)
    await listening(app, port)
    setup = Setup(upstream=port, cores=bench.cores.proxy, hub_cores=bench.cores.load)
    async with running_gate(bench.processes, setup) as gate:
        headers = gate.headers(await gate.sign_in())
        await _hold(bench, gate, WARM, headers)  # what the first ones cost once is not what each costs
        await asyncio.sleep(SETTLE_S)
        before = rss(gate.workers())
        began = time.monotonic()
        await _hold(bench, gate, count, headers)
        opening_s = time.monotonic() - began
        await asyncio.sleep(SETTLE_S)
        each_kib = (rss(gate.workers()) - before) / count / 1024
        idle = cost(gate.workers())
        await asyncio.sleep(3)
        idle_share = (cost(gate.workers()).cpu_s - idle.cpu_s) / 3
    notes = [
        "Resident memory of the worker's process, both legs together; the kernel's socket buffers are not in it."
    ]
    if count < wanted:
        notes.append(f"{wanted:,} were asked for; the limit of {most_files():,} open files allows {count:,}.")
    return Section(
        name="websockets",
        title=f"{count:,} idle WebSockets",
        columns=("", "KiB each", "opened per s", "CPU while idle %"),
        rows=[
            (
                "**Posturegate**, one worker",
                f"{each_kib:.1f}",
                f"{count / opening_s:,.0f}",
                f"{100 * idle_share:.1f}",
            )
        ],
        notes=notes,
        targets=[at_most(f"memory of each of {count:,}", TARGET_KIB, each_kib, "KiB")],
        figures={"count": count, "each_kib": each_kib},
    )


async def _hold(bench: Bench, gate: Gate, count: int, headers: dict[str, str]) -> None:
    """Open `count` idle WebSockets and leave them open. Raises `BenchFault` when one is refused."""
    head = json.dumps(["/idle", headers])
    holder = bench.processes.module(
        "holder", "tests.bench.holder", gate.port, count, head, cores=bench.cores.load
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        said = holder.log.read_text().strip()
        if said == "open":
            return
        if said or holder.process.poll() is not None:
            raise BenchFault(f"WebSockets: {holder.tail()}")
        await asyncio.sleep(0.05)
    raise BenchFault(f"{count} WebSockets were not open within a minute")
