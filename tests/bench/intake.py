"""`intake`: deliveries of sensors, each durable and enforced before it is answered."""

import secrets
from collections.abc import Iterator, Sequence

from tests.bench.bench import Bench
from tests.bench.gate import Gate, Seeds, Setup, running_gate
from tests.bench.large import Large, deliver_large
from tests.bench.machine import cost
from tests.bench.processes import BenchFault
from tests.bench.report import Section, at_least, at_most, median, percentile
from tests.bench.wrk import Load, wrk

DEVICES = 10_000
BATCH = 100
LARGE = 10_000

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
        large = [
            await deliver_large(gate, rows=LARGE, devices=DEVICES) for _ in range(max(2, bench.rounds - 2))
        ]
    rows += _large_rows(large)
    figures["large_s"] = [each.seconds for each in large]
    alone, beside = (
        [wait for each in large for wait in each.alone_ms],
        [wait for each in large for wait in each.beside_ms],
    )
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
            (
                f"The delivery of {LARGE:,} signals is one body; its figures are the median and the worst of its runs."
                " Meanwhile another sensor sends single signals, one after the other: the delay is its p99 less the"
                " median of the same without the large delivery."
            ),
        ],
        targets=[
            at_least("single-signal deliveries", 3000, best[1], "/s"),
            at_least("signals in batches", 30_000, best[BATCH], "/s"),
            at_most(f"{LARGE:,} signals in one delivery", 1, median([each.seconds for each in large]), "s"),
            at_most(
                "another sensor's delay meanwhile",
                20,
                max(0.0, percentile(beside, 0.99) - percentile(alone, 0.5)),
                "ms",
            ),
        ],
        figures=figures,
    )


def _large_rows(large: Sequence[Large]) -> Iterator[tuple[str, ...]]:
    seconds = [each.seconds for each in large]
    yield (
        f"{LARGE:,} signals in one delivery", f"{1 / median(seconds):,.2f}", f"{LARGE / median(seconds):,.0f}",
        f"{median(seconds) * 1000:.2f}", f"{max(seconds) * 1000:.2f}",
        f"{median([each.cpu_us for each in large]):.0f}",
    )  # fmt: skip
    alone = [wait for each in large for wait in each.alone_ms]
    beside = [wait for each in large for wait in each.beside_ms]
    for name, waits in (("alone", alone), ("beside it", beside)):
        p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
        yield (f"one signal of another sensor, {name}", "", "", f"{p50:.2f}", f"{p99:.2f}", "")


async def deliver(bench: Bench, gate: Gate, *, devices: int, size: int, senders: int) -> Load:
    """Send deliveries of `size` signals for a while. Raises `BenchFault` when one is refused."""
    script = SCRIPT % (secrets.token_hex(4), devices, size)
    load = await wrk(
        bench.folder, gate.hook_url, gate.hook_headers(), seconds=bench.seconds, cores=bench.cores.every,
        connections=senders, script=script,
    )  # fmt: skip
    if load.refused or load.broken or not load.requests:
        raise BenchFault(f"{load.refused} of {load.requests} deliveries were refused, {load.broken} broke")
    return load
