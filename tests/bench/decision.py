"""`decision`: what a decision costs without I/O: a new ticket with 100 policies, and a request under a ticket."""

import os
import secrets
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from compliance.model import (
    AccessPolicy,
    Assignment,
    ClientKind,
    ComplianceState,
    Conditions,
    Outcome,
    RequestFacts,
    User,
)
from compliance.residual import residual
from gateway.config.schema import Config
from gateway.config.sensors import load_config
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import DeviceEvidence, Situation, situation
from gateway.decision.ticket import TicketMaker
from gateway.feed.protocol import Ticket, TicketReply, encode
from gateway.feed.worker_side import FeedWorker, TicketKey
from gateway.hub.runtime import make_runtime
from risk.model import Identifier
from risk.snapshot import RiskState
from tests.bench.bench import Bench
from tests.bench.gate import CONFIG, device_row, serial_of
from tests.bench.report import Section, at_most

POLICIES = 100
DEVICES = 1000
_US = 1e6
REPEATS = 25


async def run(bench: Bench) -> Section:
    """Time the parts in this process, on the proxy's core."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bench.cores.proxy)
    try:
        return _measured(bench)
    finally:
        os.sched_setaffinity(0, affinity)


def _measured(bench: Bench) -> Section:
    config = _config(bench.folder)
    runtime = make_runtime(config, "bench")
    state = RiskState()
    state.load([device_row(number) for number in range(DEVICES)])
    now = datetime.now(UTC)
    app = config.apps[0]
    policies = policies_like_a_company()
    user = User(
        provider="demo", issuer="http://127.0.0.1", subject="u1", name="Person", email="u1@demo.example",
        groups=frozenset({"staff", "team-7", "team-42"}), acr="pwd", amr=("pwd",), auth_at=now,
    )  # fmt: skip

    def facts(number: int) -> Situation:
        evidence = DeviceEvidence(source="claim", identifiers=(Identifier("serial", serial_of(number)),))
        return situation(
            app=app.name, session_id="ses_bench", user=user, evidence=(evidence,), source=state,
            interpretation=runtime.interpretation, now=now,
        )  # fmt: skip

    known = facts(1)
    maker = TicketMaker(
        AssertionSigner.load(bench.folder / "assertion-key.pem"), issuer="https://gate.example",
        make_code=lambda: "d_" + secrets.token_hex(10), make_id=lambda: secrets.token_hex(10),
    )  # fmt: skip

    def made(about: Situation) -> Ticket:
        ends = now + timedelta(hours=8)
        return maker.make(
            app, about, policies, session_id="ses_bench", host="app.localhost", session_ends=ends
        )

    ticket = made(known)
    decide = _hot(ticket)
    number = iter(range(10**9))
    rows: list[tuple[str, Callable[[], object]]] = [
        (
            "facts of a session and its device: posture, risk, compliance",
            lambda: facts(next(number) % DEVICES),
        ),
        (f"residual of {POLICIES} access policies", lambda: residual(policies, known.context)),
        ("a whole ticket: the residual, and a signed assertion per outcome", lambda: made(known)),
        ("**cold**: facts, residual, assertion", lambda: made(facts(next(number) % DEVICES))),
        ("the ticket as bytes for the feed", lambda: encode(TicketReply(1, 1, ticket))),
        ("**hot**: look the ticket up and decide a request by it", decide),
    ]
    times = {name: _time(run) for name, run in rows}
    cold = times["facts of a session and its device: posture, risk, compliance"] + times[rows[1][0]]
    return Section(
        name="decision",
        title=f"A decision, without I/O: {POLICIES} access policies, {DEVICES:,} devices",
        columns=("", "µs"),
        rows=[(name, f"{value:.1f}") for name, value in times.items()],
        notes=[
            (
                f"{len(ticket.residual.entries)} of the {POLICIES} policies depend on the request for this person and"
                f" stay in the ticket; it carries {len(ticket.variants)} assertion(s). CPU time, the least of"
                f" {REPEATS} timings in one process. The target of 100 µs is the decision itself,"
                " facts and residual; the whole ticket with its ES256 assertion is the row `cold`."
            ),
        ],
        targets=[
            at_most("cold decision: facts and residual", 100, cold, "µs"),
            at_most("cold ticket, assertion included", 100, times[rows[3][0]], "µs"),
            at_most("hot decision", 3, times[rows[5][0]], "µs"),
        ],
        figures=dict(times),
    )


def _hot(ticket: Ticket) -> Callable[[], object]:
    """Return what a worker does with a ticket that it has: find it by its key, and decide by its residual."""
    feed: FeedWorker[object] = FeedWorker("bench", 0, cast("Any", _Nobody()))
    feed._lease_until_mono_s = float("inf")
    key = TicketKey("c" * 64, "app.localhost", "app", b"")
    feed.request(key, object())
    feed.handle(TicketReply(1, 1, ticket))
    request = RequestFacts("GET", "/1k", ClientKind.API, frozenset())

    def run() -> object:
        entry = feed.lookup(TicketKey("c" * 64, "app.localhost", "app", b""))
        assert entry is not None
        constant = entry.ticket.residual.constant
        return constant if constant is not None else entry.decide(request)

    run()
    return run


class _Nobody:
    """An enforcer without exchanges."""

    def admitted(self, exchange: object, entry: object) -> None:
        """Take no notice."""


def _time(run: Callable[[], object]) -> float:
    """Return the microseconds of CPU time of one call: the least of several timings, as others only ever add."""
    timer = timeit.Timer(run, timer=time.process_time)
    count = max(1, int(0.03 / max(timer.timeit(20) / 20, 1e-7)))
    return min(timer.repeat(REPEATS, count)) / count * _US


def policies_like_a_company() -> tuple[AccessPolicy, ...]:
    """Return policies of many teams, a few of which concern one person."""
    teams = [
        AccessPolicy(
            name=f"team {number}",
            decision=Outcome.ALLOW if number % 4 else Outcome.BLOCK,
            include=Assignment(groups=(f"team-{number}",)),
            when=Conditions(compliance=(ComplianceState.COMPLIANT,))
            if number % 4
            else Conditions(paths=(f"/team-{number}",)),
        )
        for number in range(POLICIES - 4)
    ]
    return (
        AccessPolicy(
            name="staff", decision=Outcome.ALLOW, include=Assignment(groups=("staff",)),
            when=Conditions(compliance=(ComplianceState.COMPLIANT, ComplianceState.IN_GRACE_PERIOD)),
        ),
        AccessPolicy(
            name="repair", decision=Outcome.REMEDIATE,
            when=Conditions(compliance=(ComplianceState.NONCOMPLIANT, ComplianceState.UNKNOWN)),
        ),
        AccessPolicy(name="admin", decision=Outcome.BLOCK, when=Conditions(paths=("/admin",))),
        AccessPolicy(
            name="no writes to the archive", decision=Outcome.BLOCK,
            when=Conditions(paths=("/archive/**",), methods=("POST", "PUT", "DELETE")),
        ),
        *teams,
    )  # fmt: skip


def _config(folder: Path) -> Config:
    path = folder / "decision.yaml"
    path.write_text(
        CONFIG.format(
            scheme="http", port=8080, ops=8081, workers=1, folder=folder, tls="", issuer="http://127.0.0.1:1",
            client_secret="bench", sensor_secret="bench-sensor-secret-of-32-letters", upstream=9,
        )
    )  # fmt: skip
    return load_config(str(path)).config
