"""`scale`: a million devices and ten thousand sessions, against ten thousand devices."""

import asyncio
import os

import msgspec

from tests.bench.bench import Bench
from tests.bench.gate import Gate, Seeds, Setup, running_gate
from tests.bench.intake import deliver
from tests.bench.machine import cost, rss
from tests.bench.processes import BenchFault, listening
from tests.bench.report import MIB, Section, at_most, median
from tests.bench.rivals import start_upstream
from tests.bench.wrk import wrk
from tests.ports import free_ports

FEW = 10_000
SESSIONS = 10_000
SENDERS = 16
SETTLE_S = 2.0

SCRIPT = """
local cookies = {}
for line in io.lines("%s") do cookies[#cookies + 1] = line end
local at = 0
function request()
  at = at %% #cookies + 1
  return wrk.format("GET", nil, {["Host"] = "%s", ["Cookie"] = "%s=" .. cookies[at]})
end
"""


class Size(msgspec.Struct):
    """What a gateway of one size cost."""

    devices: int
    ready_s: float
    hub_mib: float
    all_mib: float
    request_us: list[float]
    signal_us: list[float]
    all_after_mib: float = 0.0


async def run(bench: Bench) -> Section:
    """Run both sizes one after the other, with the same load."""
    (upstream, auth) = free_ports(2)
    await listening(start_upstream(bench.processes, upstream, auth, bench.cores.load), upstream)
    many = int(os.environ.get("BENCH_DEVICES", "1000000"))
    few = await _size(bench, upstream, FEW)
    full = await _size(bench, upstream, many)
    rows = [
        (
            f"{each.devices:,} devices, {SESSIONS:,} sessions", f"{each.ready_s:.1f}", f"{each.hub_mib:.0f}",
            f"{each.all_mib:.0f}", f"{each.all_after_mib:.0f}", f"{median(each.request_us):.0f}",
            f"{median(each.signal_us):.0f}",
        )
        for each in (few, full)
    ]  # fmt: skip
    request, signal = (
        median(mine) / max(1e-9, median(theirs))
        for mine, theirs in ((full.request_us, few.request_us), (full.signal_us, few.signal_us))
    )
    return Section(
        name="scale",
        title=f"{many:,} devices against {FEW:,}",
        columns=(
            "",
            "ready s",
            "hub RSS MiB",
            "all RSS MiB",
            "after load",
            "CPU µs a request",
            "CPU µs a signal",
        ),
        rows=rows,
        notes=[
            (
                "Devices and sessions are written to the database before the start. `ready` runs from the start of the"
                " command until the worker serves. Requests go round all sessions, so that each has its ticket before"
                f" the figure is taken; signals are single deliveries of {SENDERS} senders. CPU is of all processes of"
                " the gateway, which is steadier than wall time beside other work."
            ),
        ],
        targets=[
            at_most("RSS in all, after load", 1024, full.all_after_mib, "MiB"),
            at_most("ready", 5, full.ready_s, "s"),
            at_most(f"cost of a request against {FEW:,} devices", 1.2, request, "x"),
            at_most(f"cost of a signal against {FEW:,} devices", 1.2, signal, "x"),
        ],
        figures={str(each.devices): msgspec.to_builtins(each) for each in (few, full)},
    )


async def _size(bench: Bench, upstream: int, devices: int) -> Size:
    seeds = Seeds(devices, SESSIONS)
    setup = Setup(upstream=upstream, cores=bench.cores.proxy, hub_cores=bench.cores.load)
    async with running_gate(bench.processes, setup, seeds=seeds) as gate:
        size = Size(devices, gate.ready_s, rss(gate.hub()) / MIB, rss(gate.pids()) / MIB, [], [])
        cookies = bench.folder / f"cookies-{devices}"
        cookies.write_text("\n".join(seeds.cookies) + "\n")
        script = SCRIPT % (cookies, f"app.localhost:{gate.port}", gate.cookie_name)
        rounds = max(2, bench.rounds - 2)
        await _warm(bench, gate, script)
        for _ in range(rounds):
            size.request_us.append(await _requests(bench, gate, script, bench.seconds))
        for _ in range(rounds):
            before = cost(gate.pids())
            load = await deliver(bench, gate, devices=devices, size=1, senders=SENDERS)
            size.signal_us.append((cost(gate.pids()).cpu_s - before.cpu_s) * 1e6 / load.requests)
        size.all_after_mib = rss(gate.pids()) / MIB
    return size


async def _warm(bench: Bench, gate: Gate, script: str) -> None:
    """Ask until every session has its ticket and the records of these decisions are written."""
    done = 0
    while done < 2 * SESSIONS:
        load = await wrk(bench.folder, gate.url("/1k"), {}, seconds=2, cores=bench.cores.load, script=script)
        done += load.requests
    await asyncio.sleep(SETTLE_S)


async def _requests(bench: Bench, gate: Gate, script: str, seconds: float) -> float:
    """Ask in the name of every session in turn; return the CPU µs of a request."""
    before = cost(gate.pids())
    load = await wrk(
        bench.folder, gate.url("/1k"), {}, seconds=seconds, cores=bench.cores.load, script=script
    )
    if load.refused or load.broken:
        raise BenchFault(f"{load.refused} of {load.requests} requests were refused, {load.broken} broke")
    return (cost(gate.pids()).cpu_s - before.cpu_s) * 1e6 / load.requests
