"""`proxy`: requests per second of an authenticated GET of 1 KiB, against every rival, interleaved in rounds."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import aiohttp
import msgspec

from tests.bench.bench import Bench
from tests.bench.gate import Seeds, Setup, running_gate
from tests.bench.machine import cost
from tests.bench.processes import BenchFault, Server, listening
from tests.bench.report import MIB, Section, Target, at_least, median
from tests.bench.rivals import Rivals, start_upstream
from tests.bench.wrk import wrk
from tests.ports import free_ports

NGINX = "nginx"
NGINX_AUTH = "nginx + auth_request"
ENVOY = "Envoy"
ENVOY_AUTH = "Envoy ext_authz"
CADDY = "Caddy"
CADDY_AUTH = "Caddy forward_auth"
AIOHTTP = "aiohttp reference"
GATE = "**Posturegate**"
NGINX_2 = "nginx, 2 workers"
GATE_2 = "**Posturegate, 2 workers**"
NGINX_TLS = "nginx, TLS"
ENVOY_TLS = "Envoy, TLS"
CADDY_TLS = "Caddy, TLS"
GATE_TLS = "**Posturegate, TLS**"

CONNECTIONS = 32


class Contender(msgspec.Struct):
    """One row: where wrk is pointed, whose cost is counted, and what came of it."""

    name: str
    url: str
    headers: dict[str, str]
    pids: Callable[[], list[int]]
    load_cores: tuple[int, ...]
    against: str
    runs: list["Run"] = []


class Run(msgspec.Struct, frozen=True):
    """One run of a row. `share` is the CPU time that the proxy used per second of the run."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    rss_mib: float
    share: float


async def run(bench: Bench) -> Section:
    """Measure all rows; one that cannot be set up says so."""
    absent: list[tuple[str, str]] = []
    async with AsyncExitStack() as stack:
        contenders = await _contenders(bench, stack, absent)
        for contender in contenders:
            await _check(contender)
            await _measure(bench, contender, 1.0)  # caches, connections and code paths grow warm
            contender.runs.clear()
        for number in range(bench.rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                await _measure(bench, contender, bench.seconds)
    return _section(bench, contenders, absent)


async def _contenders(bench: Bench, stack: AsyncExitStack, absent: list[tuple[str, str]]) -> list[Contender]:
    upstream, auth = free_ports(2)
    await listening(start_upstream(bench.processes, upstream, auth, bench.cores.load), upstream)
    rivals = Rivals(
        bench.processes, upstream=upstream, auth=auth, cert=bench.cert, key=bench.key, cores=bench.cores.proxy
    )
    found: list[Contender] = []

    async def rival(
        name: str, start: Callable[[int], Server], *, against: str = NGINX, tls: bool = False
    ) -> None:
        (port,) = free_ports(1)
        try:
            server = start(port)
            await listening(server, port)
        except BenchFault as fault:
            absent.append((name, str(fault).splitlines()[0]))
            return
        host = "app.localhost" if "Caddy" not in name or not tls else f"app.localhost:{port}"
        headers = {"Host": host, "Cookie": "gate=" + "x" * 43}
        load = bench.cores.pair_load if "2 workers" in name else bench.cores.load
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/1k"
        found.append(Contender(name, url, headers, server.pids, load, against))

    async def gate(name: str, setup: Setup, *, against: str, seeds: Seeds | None = None) -> None:
        running = await stack.enter_async_context(running_gate(bench.processes, setup, seeds=seeds))
        cookie = seeds.cookies[0] if seeds is not None else await running.sign_in()
        load = bench.cores.pair_load if setup.workers > 1 else bench.cores.load
        found.append(
            Contender(name, running.url("/1k"), running.headers(cookie), running.pids, load, against)
        )

    await rival(NGINX, rivals.nginx)
    await rival(NGINX_AUTH, lambda port: rivals.nginx(port, with_auth=True))
    await rival(ENVOY, rivals.envoy)
    await rival(ENVOY_AUTH, lambda port: rivals.envoy(port, with_auth=True))
    await rival(CADDY, rivals.caddy)
    await rival(CADDY_AUTH, lambda port: rivals.caddy(port, with_auth=True))
    await rival(AIOHTTP, rivals.aiohttp)
    one = Setup(upstream=upstream, cores=bench.cores.proxy, hub_cores=bench.cores.load)
    await gate(GATE, one, against=NGINX)
    await rival(NGINX_2, lambda port: rivals.nginx(port, workers=2, cores=bench.cores.pair), against=NGINX_2)
    two = Setup(upstream=upstream, workers=2, cores=bench.cores.pair, hub_cores=bench.cores.pair_load)
    await gate(GATE_2, two, against=NGINX_2)
    await rival(NGINX_TLS, lambda port: rivals.nginx(port, with_tls=True), against=NGINX_TLS, tls=True)
    await rival(ENVOY_TLS, lambda port: rivals.envoy(port, with_tls=True), against=NGINX_TLS, tls=True)
    await rival(CADDY_TLS, lambda port: rivals.caddy(port, with_tls=True), against=NGINX_TLS, tls=True)
    tls = msgspec.structs.replace(one, cert=bench.cert, key=bench.key)
    await gate(GATE_TLS, tls, against=NGINX_TLS, seeds=Seeds(1, 1))
    return found


async def _check(contender: Contender) -> None:
    """Make sure that the row is what it says: an answer of the upstream, whole. Raises `BenchFault`."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http,
        http.get(contender.url, headers=contender.headers, allow_redirects=False) as answer,
    ):
        body = await answer.read()
        if answer.status != 200 or body != b"x" * 1024:
            raise BenchFault(f"{contender.name} answers {answer.status} with {len(body)} bytes")


async def _measure(bench: Bench, contender: Contender, seconds: float) -> None:
    pids = contender.pids()
    before = cost(pids)
    load = await wrk(
        bench.folder, contender.url, contender.headers, seconds=seconds, cores=contender.load_cores,
        connections=CONNECTIONS,
    )  # fmt: skip
    after = cost(pids)
    if load.refused or load.broken or not load.requests:
        raise BenchFault(
            f"{contender.name}: {load.refused} refused and {load.broken} broken of {load.requests} requests"
        )
    used = after.cpu_s - before.cpu_s
    contender.runs.append(
        Run(
            per_s=load.per_s,
            p50_ms=load.p50_ms,
            p99_ms=load.p99_ms,
            cpu_us=used * 1e6 / load.requests,
            rss_mib=after.rss_bytes / MIB,
            share=used / load.seconds,
        )
    )


def _section(bench: Bench, contenders: list[Contender], absent: list[tuple[str, str]]) -> Section:
    by_name = {contender.name: contender for contender in contenders}
    rows = [_row(each, by_name.get(each.against)) for each in contenders]
    rows += [(name, why, *[""] * 7) for name, why in absent]
    return Section(
        name="proxy",
        title="Authenticated GET of 1 KiB, 32 keep-alive connections, one worker on one core",
        columns=(
            "",
            "requests/s",
            "x nginx",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "x nginx",
            "RSS MiB",
            "cores used",
        ),
        rows=rows,
        notes=_notes(bench),
        targets=_targets(by_name, has_cores=len(bench.cores.every) > 3),
        figures={each.name: msgspec.to_builtins(each.runs) for each in contenders},
    )


def _row(contender: Contender, against: Contender | None) -> tuple[str, ...]:
    def of(field: str) -> float:
        return median([getattr(run, field) for run in contender.runs])

    speed = "" if against is None else f"{_ratio(contender, against, 'per_s'):.2f}"
    cpu = "" if against is None else f"{_ratio(contender, against, 'cpu_us'):.2f}"
    return (
        contender.name, f"{of('per_s'):,.0f}", speed, f"{of('p50_ms'):.2f}", f"{of('p99_ms'):.2f}",
        f"{of('cpu_us'):.1f}", cpu, f"{of('rss_mib'):.0f}", f"{of('share'):.2f}",
    )  # fmt: skip


def _ratio(contender: Contender, against: Contender, field: str) -> float:
    """Return the median of the ratios within each round: both were measured seconds apart."""
    pairs = zip(contender.runs, against.runs, strict=True)
    return median([getattr(mine, field) / max(getattr(theirs, field), 1e-9) for mine, theirs in pairs])


def _targets(by_name: dict[str, Contender], *, has_cores: bool) -> list[Target]:
    wanted = ((NGINX, 0.5), (NGINX_AUTH, 1.0), (ENVOY_AUTH, 2.5), (CADDY_AUTH, 2.5))
    targets = []
    for name, factor in wanted:
        if name not in by_name:
            targets.append(Target(f"requests/s against {name}", f"≥ {factor:g} x", "", None))
            continue
        speed = _ratio(by_name[GATE], by_name[name], "per_s")
        targets.append(at_least(f"requests/s against {name}", factor, speed))
        per_cpu = 1 / max(_ratio(by_name[GATE], by_name[name], "cpu_us"), 1e-9)
        targets.append(at_least(f"the same per second of CPU, against {name}", factor, per_cpu))
    scaling = _ratio(by_name[GATE_2], by_name[GATE], "per_s")
    doubled = at_least("2 workers against one", 1.7, scaling)
    if (
        not has_cores
    ):  # workers, load and upstream share them: whatever the ratio is, it is not one of the proxy
        doubled = msgspec.structs.replace(doubled, is_met=None)
    targets.append(doubled)
    return targets


def _notes(bench: Bench) -> list[str]:
    every = len(bench.cores.every)
    notes = [
        (
            f"Medians of {bench.rounds} interleaved rounds of {max(1, round(bench.seconds))} s; a ratio is the median"
            " of the ratios within the rounds. `x nginx` compares with the nginx row of the same kind (1 worker, 2"
            " workers, TLS)."
        ),
        (
            "CPU µs per request and RSS count every process of a contender: for Posturegate supervisor, hub and"
            " workers. `cores used` is CPU time by wall time: clearly below 1.00 in a row with one worker, somebody"
            " else was the bottleneck (load generator and upstream, or other work on the machine), and CPU µs says"
            " more than requests/s."
        ),
        (
            "Posturegate answers for a session from a real sign-in at the demo's provider, with two compliance rules"
            " and five access policies, two of which depend on the path; the TLS row's session is seeded. The `auth`"
            " rows ask a static empty 200 and decide nothing themselves."
        ),
    ]
    if every > 3:
        notes.append(
            f"{every} cores: the rows with two workers have two of them, load and upstream the others."
        )
    else:
        notes.append(
            f"With only {every} cores, the rows with two workers share both with load generator and upstream, so"
            " no proxy can double there: read their ratio to nginx with two workers, and CPU µs against one worker."
        )
    return notes
