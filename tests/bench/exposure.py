"""`exposure`: from a webhook's first byte to its answer, and to the end of the streams that it forbids."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import msgspec

from tests.bench.bench import Bench
from tests.bench.exposure_driver import Order, Seen
from tests.bench.gate import Seeds, Setup, running_gate
from tests.bench.machine import busy_s, cost
from tests.bench.processes import listening, module_output
from tests.bench.report import Section, Target, at_most, percentile
from tests.bench.wrk import wrk
from tests.ports import free_ports

STREAMS = 1000
DEVICES = 50
SESSIONS = 200
WORKERS = 2
_MS = 1000.0


async def run(bench: Bench) -> Section:
    """Compromise one device of fifty again and again, without and with background load; then all at once."""
    (port,) = free_ports(1)
    app = bench.processes.module("streams", "tests.bench.streams_app", port, cores=bench.cores.pair_load)
    await listening(app, port)
    toggles = 40 if bench.is_quick else 200
    setup = Setup(upstream=port, workers=WORKERS, cores=bench.cores.pair, hub_cores=bench.cores.every)
    cases: list[tuple[str, int, int, bool]] = [
        (f"20 of {STREAMS:,} streams cut, no other load", DEVICES, toggles, False),
        (f"20 of {STREAMS:,} streams cut, background at half load", DEVICES, toggles, True),
        (f"all {STREAMS:,} streams cut at once", 1, 5 if bench.is_quick else 15, False),
    ]
    rows, targets, figures = [], [], {}
    shares: list[str] = []
    for title, devices, count, with_load in cases:
        seeds = Seeds(DEVICES, SESSIONS, owners=devices)
        async with running_gate(bench.processes, setup, seeds=seeds) as gate:
            headers = gate.headers(seeds.cookies[0])
            order = Order(
                port=gate.port, devices=devices, streams=STREAMS, toggles=count, cookies=seeds.cookies,
                host={"Host": headers["Host"]}, hook=gate.hook_headers(), cookie_name=gate.cookie_name,
            )  # fmt: skip
            # The background is of the last device, whose turn comes seldom: its 403s are no fault of anybody.
            background = gate.headers(seeds.cookies[devices - 1])
            async with _load(bench, gate.port, background if with_load else {}):
                began, gates_s, all_s = time.monotonic(), cost(gate.pids()).cpu_s, busy_s()
                text = await module_output(
                    "tests.bench.exposure_driver", msgspec.json.encode(order).decode(),
                    cores=bench.cores.pair_load, within_s=180,
                )  # fmt: skip
                took_s = time.monotonic() - began
                gates = (cost(gate.pids()).cpu_s - gates_s) / took_s
                every = (busy_s() - all_s) / took_s
                shares.append(f"{gates:.2f} of {every:.2f} in `{title}`")
        seen = msgspec.json.decode(text, type=Seen)
        figures[title] = msgspec.to_builtins(seen)
        rows += _rows(title, seen)
        targets += _targets(title, seen)
    return Section(
        name="exposure",
        title=f"Exposure window, {STREAMS:,} open streams (WebSockets and event streams), {WORKERS} workers",
        columns=("", "p50 ms", "p99 ms", "most ms", "samples"),
        rows=rows,
        notes=[
            (
                "`answered`: from just before the webhook is written to its complete answer, by the sensor's clock;"
                " `enforced`: the gateway's own figure in that answer; `cut`: from the webhook's first byte until the"
                " client has seen each stream end; `restored`: the webhook that lifts the block. Sensor and all"
                " clients are one Python process on the cores of the gateway, so its own delay is in every figure but"
                " `enforced`, by which the gateway had closed every stream."
            ),
            (
                "The background asks for a page of one device, without a pause while that is the device which is"
                " compromised: then every answer of 16 connections at once is a refusal with a record of its own."
            ),
            f"Cores that the gateway used, of those in use: {', '.join(shares)}; there are {len(bench.cores.every)}.",
        ],
        targets=targets,
        figures=figures,
    )


@contextlib.asynccontextmanager
async def _load(bench: Bench, port: int, headers: dict[str, str]) -> AsyncIterator[None]:
    """Ask for pages at half of what the gateway takes, while the context is open."""
    if not headers:
        yield
        return
    url = f"http://127.0.0.1:{port}/page"
    most = await wrk(bench.folder, url, headers, seconds=1, cores=bench.cores.pair_load)
    load = bench.processes.module(
        "background", "tests.bench.open_loop", port, most.per_s / 2, 150, 16, json.dumps(["/page", headers]),
        cores=bench.cores.pair_load,
    )  # fmt: skip
    await asyncio.sleep(0.3)
    try:
        yield
    finally:
        await asyncio.to_thread(bench.processes.stop, load)


def _rows(title: str, seen: Seen) -> list[tuple[str, ...]]:
    rows = []
    for name, values in (
        ("answered", seen.answered), ("enforced", seen.enforced), ("cut", seen.cut), ("restored", seen.restored),
    ):  # fmt: skip
        figures = (percentile(values, 0.5), percentile(values, 0.99), max(values))
        rows.append((f"{title}: {name}", *(f"{value * _MS:.2f}" for value in figures), f"{len(values):,}"))
    return rows


def _targets(title: str, seen: Seen) -> list[Target]:
    return [
        at_most(f"{title}: answered, p99", 10, percentile(seen.answered, 0.99) * _MS, "ms"),
        at_most(f"{title}: cut, p99", 50, percentile(seen.cut, 0.99) * _MS, "ms"),
    ]
