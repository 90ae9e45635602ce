"""Exceptions: bounded, given by those who may, in force before anybody hears of them; on a real SQLite file."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from compliance.model import ComplianceState, RuleResult
from gateway.config.remediation import Approval, Remediation, Snooze
from gateway.remediation.exception_desk import Asker, ExceptionDesk
from gateway.remediation.exception_store import SCHEMA, SqliteExceptionStore
from gateway.remediation.exceptions import ExceptionRefused
from risk.database import Database

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ASKER = Asker(person="op|ana", name="ana@corp.example", device_id="dev_1", device="ana-mbp")
SETTINGS = Remediation(
    snoozes=(
        Snooze(rule="laptop", lasts=3600.0, times=2, per=86400.0),
        Snooze(rule="laptop/disk", lasts=7200.0),
    ),
    approvals=(Approval(rule="laptop/os", owners=("Pat@corp.example", "sam"), lasts=7200.0),),
)


def result(rule: str) -> RuleResult:
    return RuleResult(
        policy="laptop",
        rule=rule,
        state=ComplianceState.NONCOMPLIANT,
        reason="fact-differs",
        title=rule,
        seen="no",
        wanted="yes",
    )


class World:
    """A desk over a database, a clock that a test moves, and what was enforced."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.enforced: list[str] = []
        self.store = SqliteExceptionStore(database)
        self.desk = self.fresh()

    def fresh(self) -> ExceptionDesk:
        ids = itertools.count()
        return ExceptionDesk(
            self.store,
            settings=lambda: SETTINGS,
            changed=self.changed,
            clock=lambda: self.now,
            make_id=lambda kind: f"{kind}_{self.now.timestamp()}_{next(ids)}",
        )

    async def changed(self, device_id: str) -> None:
        assert self.desk.exemptions(), "it counts before it is enforced"
        self.enforced.append(device_id)


@pytest.fixture
async def world(tmp_path):
    database = Database(tmp_path / "state.db", {"exceptions": SCHEMA})
    database.start()
    yield World(database)
    await asyncio.to_thread(database.close)


async def test_a_snooze_is_enforced_bounded_and_over_by_itself(world):
    granted = await world.desk.snooze(result("disk"), ASKER, "  a deadline\n at noon ")
    assert world.enforced == ["dev_1"]
    assert granted.reason == "a deadline at noon"
    assert granted.expires_at == NOW + timedelta(hours=2), "the rule's own entry wins over its policy's"
    with pytest.raises(ExceptionRefused) as refused:
        await world.desk.snooze(result("disk"), ASKER, "once more please")
    assert refused.value.why == "exception_none_left"
    assert await world.desk.left(result("os"), "dev_1") == 2
    world.now += timedelta(hours=2)
    assert world.desk.exemptions() == ()
    world.now += timedelta(days=7)
    assert await world.desk.left(result("disk"), "dev_1") == 1


@pytest.mark.parametrize("reason", ["", "abc", "x" * 301, "bell \x07 rings"])
async def test_a_reason_is_needed(world, reason):
    with pytest.raises(ExceptionRefused) as refused:
        await world.desk.snooze(result("disk"), ASKER, reason)
    assert refused.value.why == "exception_reason_needed"
    assert world.enforced == []


async def test_only_an_owner_says_yes_once_in_time_and_within_bounds(world):
    ask = await world.desk.ask(result("os"), ASKER, "on call until six")
    assert list(await world.desk.waiting("op|ana", "dev_1")) == ["laptop/os"]
    for by, names in (("op|eve", ("eve@corp.example",)), ("op|ana", ("pat@corp.example",))):
        with pytest.raises(ExceptionRefused) as refused:
            await world.desk.answer(ask.id, by=by, names=names, hours=1, label="Pat")
        assert refused.value.why == "approve_not_owner"
    granted = await world.desk.answer(
        ask.id, by="op|pat", names=("pat@CORP.example",), hours=500, label="Pat"
    )
    assert granted is not None
    assert granted.expires_at == NOW + timedelta(hours=2)
    with pytest.raises(ExceptionRefused):
        await world.desk.answer(ask.id, by="op|pat", names=("pat@corp.example",), hours=1, label="Pat")


async def test_a_refusal_changes_nothing_and_time_runs_out(world):
    ask = await world.desk.ask(result("os"), ASKER, "on call until six")
    assert await world.desk.answer(ask.id, by="op|sam", names=("", "sam"), hours=None, label="Sam") is None
    assert world.enforced == []
    late = await world.desk.ask(result("os"), ASKER, "and again please")
    world.now += timedelta(hours=9)
    with pytest.raises(ExceptionRefused) as refused:
        await world.desk.answer(late.id, by="op|sam", names=("sam",), hours=1, label="Pat")
    assert refused.value.why == "approve_too_late"


async def test_nobody_floods_the_owners_and_nothing_is_asked_of_nobody(world):
    for number in range(5):
        await world.desk.ask(result("os"), ASKER, f"reason {number}")
    with pytest.raises(ExceptionRefused) as refused:
        await world.desk.ask(result("os"), ASKER, "one more")
    assert refused.value.why == "exception_too_often"
    with pytest.raises(ExceptionRefused):
        await world.desk.ask(result("disk"), ASKER, "nobody owns this")


async def test_what_is_in_force_survives_a_restart(world):
    await world.desk.snooze(result("disk"), ASKER, "a deadline at noon")
    world.desk = world.fresh()
    await world.desk.load()
    (exemption,) = world.desk.exemptions()
    assert (exemption.rule, exemption.devices, exemption.author) == ("laptop/disk", ("dev_1",), ASKER.name)
