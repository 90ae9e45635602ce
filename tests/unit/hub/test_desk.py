"""Tickets of the decision point: the same for every worker that asks while nothing changes, and never an older one."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from compliance.model import Outcome, User
from gateway.app import SCHEMAS
from gateway.config.sensors import load_config
from gateway.decision.assertion import AssertionSigner
from gateway.decision.judge import Judge
from gateway.decision.recorder import DecisionRecorder
from gateway.decision.ticket import TicketMaker
from gateway.devices.claim import ClaimedDevice
from gateway.feed.hub_side import Enforcement
from gateway.feed.protocol import Ticket, TicketRequest
from gateway.hub.desk import Desk
from gateway.hub.runtime import make_runtime
from gateway.observe.metrics import Metrics
from gateway.service_tokens.registry import ServiceTokens
from gateway.service_tokens.store import SqliteTokenStore
from gateway.sessions.model import cookie_hash
from gateway.sessions.registry import SessionRegistry, SignInFacts
from gateway.sessions.seal import Sealer
from gateway.sessions.sqlite import SqliteSessionStore
from risk.database import Database
from risk.model import Identifier
from risk.snapshot import RiskState
from risk.sqlite import SqliteDecisionStore
from tests.bench.gate import device_row, serial_of
from tests.faults.world import World

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


class Counter:
    """A desk with one session on one device, and how it is asked."""

    def __init__(self, desk: Desk, sessions: SessionRegistry, state: RiskState, cookie: str) -> None:
        self.desk, self.sessions, self.state, self.cookie = desk, sessions, state, cookie
        self.now = NOW

    def ask(self) -> Ticket | None:
        digest = cookie_hash(self.cookie)
        assert digest is not None
        return self.desk.ticket(TicketRequest(1, digest, "notes.localhost", "notes", b""))


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    monkey = pytest.MonkeyPatch()
    for name in ("GATE_CLIENT_SECRET", "GATE_SENSOR_SECRET"):
        monkey.setenv(name, "a-secret-of-more-than-thirty-two-letters")
    config = load_config(str(World(tmp_path, [1, 2, 3], 0).config_path)).config
    monkey.undo()
    database = Database(tmp_path / "state.db", SCHEMAS)
    database.start()
    runtime = make_runtime(config, "one")
    state = RiskState()
    made: list[Counter] = []

    def clock() -> datetime:
        return made[0].now if made else NOW

    sessions = SessionRegistry(
        SqliteSessionStore(database), Sealer([b"k" * 32]), config.sessions,
        now=clock, random_bytes=secrets.token_bytes,
    )  # fmt: skip

    async def changed(_keys: tuple[str, ...], _why: str) -> Enforcement:
        return Enforcement(workers=1, cut=0, fenced=(), seconds=0.0)

    tokens = ServiceTokens(SqliteTokenStore(database), changed, clock=clock, random_bytes=secrets.token_bytes)
    desk = Desk(
        runtime=lambda: runtime, sessions=sessions, service_tokens=tokens, postures=state,
        maker=TicketMaker(
            AssertionSigner(ec.generate_private_key(ec.SECP256R1())), issuer="https://gate.example",
            make_code=lambda: secrets.token_hex(8), make_id=lambda: secrets.token_hex(8),
        ),
        recorder=DecisionRecorder(SqliteDecisionStore(database)), metrics=Metrics(), clock=clock,
    )  # fmt: skip
    user = User(provider="corp", issuer="https://op.example", subject="ana", auth_at=NOW)
    device = ClaimedDevice("device_id", Identifier("serial", serial_of(1)))
    session = await sessions.create(SignInFacts(user=user, devices=(device,)))
    cookie = await sessions.add_cookie(session.id, "notes.localhost")
    assert cookie is not None
    made.append(Counter(desk, sessions, state, cookie))
    yield made[0]
    database.close()


async def test_who_asks_again_before_anything_changes_gets_the_same_ticket(counter: Counter) -> None:
    first = counter.ask()
    assert first is not None
    assert counter.ask() is first


async def test_what_has_become_known_makes_another_one(counter: Counter) -> None:
    first = counter.ask()
    counter.state.load([device_row(1)])
    second = counter.ask()
    assert first is not None
    assert second is not None
    assert first.residual.constant is not None
    assert second.residual.constant is not None
    assert (first.residual.constant.outcome, second.residual.constant.outcome) == (
        Outcome.REMEDIATE,
        Outcome.ALLOW,
    )


async def test_a_used_session_a_passed_moment_and_an_ended_session_make_another_one(counter: Counter) -> None:
    first = counter.ask()
    assert first is not None
    (session,) = counter.sessions
    counter.sessions.touch(session.id, NOW + timedelta(seconds=1))
    second = counter.ask()
    assert second is not first
    assert msgspec.structs.replace(first, decision="", valid_until=0) == msgspec.structs.replace(
        second, decision="", valid_until=0
    )
    counter.now = datetime.fromtimestamp(first.valid_until, UTC) + timedelta(seconds=5)
    assert counter.ask() is not second
    await counter.sessions.end(session.id)
    assert counter.ask() is None


async def test_what_a_device_means_is_worked_out_ahead_only_where_a_ticket_rests_on_it(
    counter: Counter,
) -> None:
    rows = [device_row(number) for number in (1, 2)]
    counter.state.load(rows)
    used, other = (counter.state.posture(row.device_id) for row in rows)
    assert used is not None
    assert other is not None
    judge = counter.desk._judge
    assert isinstance(judge, Judge)
    counter.desk.interpret(used)
    assert not judge._remembered
    counter.ask()
    judge._remembered.clear()
    for posture in (used, other):
        counter.desk.interpret(posture)
    assert list(judge._remembered) == [used.device_id]


async def test_another_device_ca_makes_another_one(counter: Counter) -> None:
    first = counter.ask()
    counter.desk.trust(None)
    assert counter.ask() is not first
