"""`intake`: deliveries of sensors, each durable and enforced before it is answered."""

import secrets

from tests.bench.bench import Bench
from tests.bench.gate import Gate, Seeds, Setup, running_gate
from tests.bench.machine import cost
from tests.bench.processes import BenchFault
from tests.bench.report import Section, at_least, median
from tests.bench.wrk import Load, wrk

DEVICES = 10_000
BATCH = 100

SCRIPT = """
local thread_number, sent = 0, 0
function setup(thread) thread:set("me", thread_number); thread_number = thread_number + 1 end
local function event(n)
  return string.format(
    '{"kind":"report","id":"%%s-%%d-%%d","serial":"SER-%%07d","disk":true}', "%s", me, n,
    (n * 7919 + me * 104729) %% %d)
end
function request()
  local events = {}
  for at = 1, %d do sent = sent + 1; events[at] = event(sent) end
  return wrk.format("POST", nil, nil, '{"events":[' .. table.concat(events, ",") .. ']}')
end
"""


async def run(bench: Bench) -> Section:
    """Measure single signals with several numbers of senders, and batches."""
    setup = Setup(upstream=9, workers=1)
    rows = []
    best: dict[int, float] = {1: 0.0, BATCH: 0.0}
    figures = {}
    async with running_gate(bench.processes, setup, seeds=Seeds(DEVICES, 1)) as gate:
        for size, senders in ((1, 1), (1, 16), (1, 64), (BATCH, 8)):
            runs: list[tuple[Load, float]] = []
            for _ in range(max(2, bench.rounds - 2)):
                before = cost(gate.pids())
                load = await deliver(bench, gate, devices=DEVICES, size=size, senders=senders)
                used = cost(gate.pids()).cpu_s - before.cpu_s
                runs.append((load, used * 1e6 / load.requests / size))
            signals = median([load.per_s * size for load, _ in runs])
            best[size] = max(best[size], signals)
            title = "one signal" if size == 1 else f"{size} signals"
            rows.append(
                (
                    f"{title} a delivery, {senders} sender{'s' if senders > 1 else ''}",
                    f"{signals / size:,.0f}", f"{signals:,.0f}",
                    f"{median([load.p50_ms for load, _ in runs]):.2f}",
                    f"{median([load.p99_ms for load, _ in runs]):.2f}",
                    f"{median([each for _, each in runs]):.0f}",
                )
            )  # fmt: skip
            figures[f"{size}x{senders}"] = [load.per_s for load, _ in runs]
    return Section(
        name="intake",
        title=f"Durable intake, {DEVICES:,} devices, one worker",
        columns=("", "deliveries/s", "signals/s", "p50 ms", "p99 ms", "CPU µs a signal"),
        rows=rows,
        notes=[
            (
                "Keep-alive connections of wrk, a bearer secret, every event id new, devices in turn. Answered means"
                " durable (SQLite, `synchronous=FULL`) and enforced. Hub, worker and senders run where the kernel puts"
                " them. CPU is of all processes of the gateway."
            ),
        ],
        targets=[
            at_least("single-signal deliveries", 3000, best[1], "/s"),
            at_least("signals in batches", 30_000, best[BATCH], "/s"),
        ],
        figures=figures,
    )


async def deliver(bench: Bench, gate: Gate, *, devices: int, size: int, senders: int) -> Load:
    """Send deliveries of `size` signals for a while. Raises `BenchFault` when one is refused."""
    script = SCRIPT % (secrets.token_hex(4), devices, size)
    load = await wrk(
        bench.folder, gate.hook_url, gate.hook_headers(), seconds=bench.seconds, cores=bench.cores.every,
        connections=senders, script=script,
    )  # fmt: skip
    if load.refused or load.broken:
        raise BenchFault(f"{load.refused} of {load.requests} deliveries were refused, {load.broken} broke")
    return load
