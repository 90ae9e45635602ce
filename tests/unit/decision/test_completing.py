"""What would have let a request in is added to its record afterwards, off the event loop."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
import structlog

from compliance.model import (
    AccessContext,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Decision,
    Outcome,
    RequestFacts,
    User,
)
from gateway.decision.completing import MAX_WAITING, Completing
from gateway.decision.explain import DecisionRecord
from risk.model import RiskAssessment, RiskLevel

FOUND = ("allow (policy staff) if the device becomes compliant",)


def record(code: str = "K7QM-2P") -> DecisionRecord:
    context = AccessContext(
        app="wiki",
        user=User(provider="corp", issuer="https://idp.example", subject="u1"),
        now=datetime(2030, 1, 1, tzinfo=UTC),
        device_id=None,
        device_name="",
        device_source="",
        risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
        compliance=ComplianceResult(state=ComplianceState.UNKNOWN, results=()),
    )
    return DecisionRecord.of(
        code=code,
        app="wiki",
        context=context,
        request=RequestFacts("GET", "/", ClientKind.API, frozenset()),
        client="203.0.113.9",
        session="ses_1",
        decision=Decision(outcome=Outcome.BLOCK, policy="", reason=""),
        traces=(),
        revision="9c1f2e",
    )


@pytest.fixture
async def rig():
    kept: asyncio.Queue[DecisionRecord] = asyncio.Queue()

    async def keep(made: DecisionRecord) -> bool:
        kept.put_nowait(made)
        return True

    completing = Completing(keep)
    completing.start()
    yield completing, kept
    await completing.stop()


async def test_what_is_found_is_added(rig) -> None:
    completing, kept = rig
    threads = []

    def work() -> tuple[str, ...]:
        threads.append(threading.current_thread())
        return FOUND

    completing.add(record(), work)
    made = await kept.get()
    assert (made.code, made.would_change) == ("K7QM-2P", FOUND)
    assert threads != [threading.main_thread()], "the event loop goes on meanwhile"


async def test_nothing_found_changes_no_record_and_a_fault_ends_nothing(rig) -> None:
    completing, kept = rig

    def fails() -> tuple[str, ...]:
        raise ArithmeticError

    with structlog.testing.capture_logs() as logs:
        completing.add(record("one"), tuple)
        completing.add(record("two"), fails)
        completing.add(record("three"), lambda: FOUND)
        assert (await kept.get()).code == "three"
    assert [(entry["event"], entry["code"]) for entry in logs] == [("nearest-allow-failed", "two")]
    assert kept.empty()


async def test_a_flood_waits_in_a_short_queue(rig) -> None:
    completing, kept = rig
    gate = threading.Event()

    def waits() -> tuple[str, ...]:
        assert gate.wait(30)
        return FOUND

    for number in range(MAX_WAITING + 10):
        completing.add(record(str(number)), waits)
    assert completing.left_out == 10
    gate.set()
    assert [(await kept.get()).code for _ in range(MAX_WAITING)] == [str(n) for n in range(MAX_WAITING)]
