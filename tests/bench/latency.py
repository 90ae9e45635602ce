"""`latency`: what a proxy adds to the time of a request, at half of what the gateway can take."""

import json

import msgspec

from tests.bench.bench import Bench
from tests.bench.gate import Setup, running_gate
from tests.bench.processes import BenchFault, listening, module_output
from tests.bench.report import Section, at_most, median
from tests.bench.rivals import Rivals, start_upstream
from tests.bench.wrk import wrk
from tests.ports import free_ports

CONNECTIONS = 32
ROUNDS = 2
"""Shorter and more rounds than other benches: other work on the machine spares some of them."""
ROUND_S = 1.0
DIRECT = "direct"
NGINX = "nginx"
NGINX_AUTH = "nginx + auth_request"
ENVOY_AUTH = "Envoy ext_authz"
GATE = "**Posturegate**"


class Seen(msgspec.Struct, frozen=True):
    """What `open_loop` prints. `late` requests left more than 1 ms after they were due."""

    sent: int
    late: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float


async def run(bench: Bench) -> Section:
    """Measure all rows at one rate, interleaved."""
    upstream, auth, plain, authenticated, enforced = free_ports(5)
    await listening(start_upstream(bench.processes, upstream, auth, bench.cores.load), upstream)
    rivals = Rivals(
        bench.processes, upstream=upstream, auth=auth, cert=bench.cert, key=bench.key, cores=bench.cores.proxy
    )
    await listening(rivals.nginx(plain), plain)
    await listening(rivals.nginx(authenticated, with_auth=True), authenticated)
    rows = {DIRECT: upstream, NGINX: plain, NGINX_AUTH: authenticated}
    notes = []
    try:
        await listening(rivals.envoy(enforced, with_auth=True), enforced)
        rows[ENVOY_AUTH] = enforced
    except BenchFault as fault:
        notes.append(f"{ENVOY_AUTH}: {str(fault).splitlines()[0]}")
    setup = Setup(upstream=upstream, cores=bench.cores.proxy, hub_cores=bench.cores.load)
    async with running_gate(bench.processes, setup) as gate:
        headers = gate.headers(await gate.sign_in())
        rows[GATE] = gate.port
        most = await wrk(bench.folder, gate.url("/1k"), headers, seconds=2, cores=bench.cores.load)
        rate = most.per_s / 2
        seen: dict[str, list[Seen]] = {name: [] for name in rows}
        for _ in range(ROUNDS * bench.rounds):
            for name, port in rows.items():
                text = await module_output(
                    "tests.bench.open_loop", port, rate, ROUND_S, CONNECTIONS,
                    json.dumps(["/1k", headers]), cores=bench.cores.load,
                )  # fmt: skip
                seen[name].append(msgspec.json.decode(text, type=Seen))
    return _section(seen, rate, bench, notes)


def _section(seen: dict[str, list[Seen]], rate: float, bench: Bench, notes: list[str]) -> Section:
    def of(name: str, field: str) -> float:
        return median([getattr(each, field) for each in seen[name]])

    def added(name: str, field: str) -> float:
        return median(
            [
                getattr(mine, field) - getattr(direct, field)
                for mine, direct in zip(seen[name], seen[DIRECT], strict=True)
            ]
        )

    def least(name: str, field: str) -> float:
        return min(float(getattr(each, field)) for each in seen[name])

    rows = [
        (
            name, f"{of(name, 'p50_us'):.0f}", f"{of(name, 'p99_us'):.0f}",
            f"{added(name, 'p50_us'):.0f}", f"{added(name, 'p99_us'):.0f}",
            f"{least(name, 'p50_us'):.0f}", f"{least(name, 'p99_us'):.0f}",
            f"{100 * of(name, 'late') / max(1.0, of(name, 'sent')):.1f}",
        )
        for name in seen
    ]  # fmt: skip

    def calm(field: str) -> float:
        direct = least(DIRECT, field)
        return (least(GATE, field) - direct) / max(1.0, least(NGINX, field) - direct)

    half, tail = (added(GATE, field) / max(1.0, added(NGINX, field)) for field in ("p50_us", "p99_us"))
    return Section(
        name="latency",
        title=f"Added latency at {rate:,.0f} requests/s, half of what the gateway's one worker takes",
        columns=(
            "",
            "p50 µs",
            "p99 µs",
            "added p50 µs",
            "added p99 µs",
            "best p50 µs",
            "best p99 µs",
            "sent late %",
        ),
        rows=rows,
        notes=[
            *notes,
            (
                f"Open loop: requests leave at a fixed rate over {CONNECTIONS} connections, and a latency runs from"
                " the instant at which its request was due. `added` is against the upstream asked directly in the same"
                f" round; medians of {ROUNDS * bench.rounds} rounds; `best` is the"
                " least disturbed round. The generator is Python and shares its core with the"
                " upstream: its own delay is in every row, and cancels out only in `added p50`."
            ),
        ],
        targets=[
            at_most("added p50 against nginx", 2, half, "x"),
            at_most("added p99 against nginx", 2, tail, "x"),
            at_most("added p50 against nginx, the best round of each", 2, calm("p50_us"), "x"),
            at_most("added p99 against nginx, the best round of each", 2, calm("p99_us"), "x"),
        ],
        figures={name: msgspec.to_builtins(runs) for name, runs in seen.items()},
    )
