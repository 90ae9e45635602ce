"""`transfer`: one body of 256 MiB down and up, and what the worker's memory does meanwhile."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from gateway.tasks import spawn
from tests.bench.bench import Bench
from tests.bench.gate import Setup, running_gate
from tests.bench.machine import cost, rss
from tests.bench.processes import listening, module_output
from tests.bench.report import MIB, Section, Target, at_least, at_most, median
from tests.bench.rivals import Rivals, start_upstream
from tests.ports import free_ports

BYTES = 256 << 20
NGINX = "nginx"
GATE = "**Posturegate**"


async def run(bench: Bench) -> Section:
    """Measure download and upload, interleaved."""
    upstream, auth, sink, down, up = free_ports(5)
    await listening(start_upstream(bench.processes, upstream, auth, bench.cores.load), upstream)
    app = bench.processes.module("streams", "tests.bench.streams_app", sink, cores=bench.cores.load)
    await listening(app, sink)
    rivals = Rivals(
        bench.processes, upstream=upstream, auth=auth, cert=bench.cert, key=bench.key, cores=bench.cores.proxy
    )
    nginx_down, nginx_up = rivals.nginx(down, streams=True), rivals.nginx(up, streams=True, upstream=sink)
    await listening(nginx_down, down)
    await listening(nginx_up, up)
    setup = Setup(upstream=upstream, cores=bench.cores.proxy, hub_cores=bench.cores.load)
    speeds: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    growth: dict[tuple[str, str], list[float]] = {}
    async with (
        running_gate(bench.processes, setup) as gate,
        running_gate(
            bench.processes, Setup(upstream=sink, cores=setup.cores, hub_cores=setup.hub_cores)
        ) as taker,
    ):
        headers, taker_headers = gate.headers(await gate.sign_in()), taker.headers(await taker.sign_in())
        moves: list[tuple[str, str, int, dict[str, str], Callable[[], list[int]]]] = [
            (NGINX, "down", down, headers, nginx_down.pids),
            (GATE, "down", gate.port, headers, gate.workers),
            (NGINX, "up", up, headers, nginx_up.pids),
            (GATE, "up", taker.port, taker_headers, taker.workers),
        ]
        for _ in range(bench.rounds + 1):
            for name, direction, port, head, pids in moves:
                before = cost(pids())
                async with _peak_rss(pids()) as peak:
                    text = await module_output(
                        "tests.bench.mover", port, direction, BYTES, json.dumps(["/256m", head]),
                        cores=bench.cores.load,
                    )  # fmt: skip
                after = cost(pids())
                key = (name, direction)
                speeds.setdefault(key, []).append(BYTES / MIB / float(text))
                cpu.setdefault(key, []).append((after.cpu_s - before.cpu_s) * 1000)
                growth.setdefault(key, []).append((max(peak) - before.rss_bytes) / MIB)
    return _section(speeds, cpu, growth, bench)


@contextlib.asynccontextmanager
async def _peak_rss(pids: list[int]) -> AsyncIterator[list[int]]:
    """Sample the resident bytes while the context is open."""
    seen = [rss(pids)]

    async def sample() -> None:
        while True:
            await asyncio.sleep(0.01)
            seen.append(rss(pids))

    task = spawn(sample(), name="bench-rss")
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _section(
    speeds: dict[tuple[str, str], list[float]],
    cpu: dict[tuple[str, str], list[float]],
    growth: dict[tuple[str, str], list[float]],
    bench: Bench,
) -> Section:
    rows = []
    targets: list[Target] = []
    for direction, title in (("down", "download"), ("up", "upload")):
        for name in (NGINX, GATE):
            key = (name, direction)
            # The first round only warms up: code paths, and the allocator's arenas.
            rows.append(
                (
                    f"{name}, {title}", f"{median(speeds[key][1:]):,.0f}",
                    f"{median(cpu[key][1:]):.0f}", f"{max(growth[key]):.1f}",
                )
            )  # fmt: skip
        pairs = zip(speeds[GATE, direction][1:], speeds[NGINX, direction][1:], strict=True)
        targets.append(
            at_least(f"{title} against nginx", 0.5, median([ours / theirs for ours, theirs in pairs]))
        )
        targets.append(at_most(f"RSS growth, {title}", 16, max(growth[GATE, direction]), "MiB"))
    return Section(
        name="transfer",
        title="256 MiB over one connection",
        columns=("", "MiB/s", "CPU ms", "RSS growth MiB (most)"),
        rows=rows,
        notes=[
            (
                f"Medians of {bench.rounds} interleaved rounds; growth is the most of any round against its beginning."
                " nginx is told neither to spool to disk nor to collect an upload first. Its upstream sends the file by"
                " sendfile; uploads go to an app of ours in Python."
            ),
        ],
        targets=targets,
        figures={f"{name} {direction}": values for (name, direction), values in speeds.items()},
    )
