"""Incidents and tasks stay with what they are about when the records of devices are split, merged or joined."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from compliance.model import CompliancePolicy, ComplianceState, RiskRule
from gateway.config.remediation import Tasks
from gateway.decision.judge import Interpretation, Judge
from gateway.devices.desk import DeviceDesk
from gateway.hub.remedies import SCHEMAS
from gateway.hub.triage import Triage
from gateway.incidents import store as incident_tables
from gateway.incidents.desk import IncidentDesk
from gateway.incidents.model import Change
from gateway.incidents.store import SqliteIncidentStore, read_incidents
from gateway.remediation.task_desk import TaskDesk
from gateway.remediation.task_store import SqliteTaskStore, TaskQuery, read_tasks
from gateway.remediation.tasks import Resolution, SecurityTask
from risk import sqlite as risk_tables
from risk.builtin import RULES
from risk.database import Database
from risk.intake import Intake
from risk.model import DeviceId, Identifier, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.snapshot import RiskState
from risk.sqlite import SqliteRiskStore

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)
POLICY = CompliancePolicy(name="laptop", rules=(RiskRule(name="threat", max=RiskLevel.LOW),))
MEANING = Interpretation({**RULES, "edr": SensorRules(name="edr")}, (POLICY,), ComplianceState.NONCOMPLIANT)
S1, M1 = Identifier("serial", "SN-S1"), Identifier("mde-machine-id", "a" * 40)


class Quiet:
    """Counts nothing."""

    def incident_began(self, _: object) -> None: ...
    def incident_ended(self, _: object) -> None: ...
    def incidents_open(self, _: int) -> None: ...
    def task_happened(self, _: object) -> None: ...
    def tasks_open(self, _: int) -> None: ...


class Rig:
    """What a hub joins: records, intake, the desks, and what goes between them."""

    def __init__(self, path: Path) -> None:
        self.path, self.numbers = path, count(1)
        schemas = {"risk": risk_tables.SCHEMA, "incidents": incident_tables.SCHEMA, **SCHEMAS}
        self.database = Database(path, schemas)
        self.database.start()
        self.state = RiskState()
        self.intake = Intake(self.state, SqliteRiskStore(self.database), clock=lambda: NOW)
        judge, quiet = Judge(), Quiet()
        self.incidents = IncidentDesk(
            SqliteIncidentStore(self.database), posture=self.state.posture, interpretation=lambda: MEANING,
            clock=lambda: NOW, make_id=lambda: f"inc_{next(self.numbers)}", observer=quiet, interpret=judge.lately,
        )  # fmt: skip
        self.tasks = TaskDesk(
            SqliteTaskStore(self.database), posture=self.state.posture, interpretation=lambda: MEANING, settings=Tasks,
            clock=lambda: NOW, make_id=lambda kind: f"{kind}_{next(self.numbers)}", observer=quiet,
            on_letters=lambda: None, interpret=judge.lately,
        )  # fmt: skip
        self.triage = Triage(
            posture=self.state.posture, interpretation=lambda: MEANING, suspected=self.suspected, clock=lambda: NOW,
            incidents=self.incidents, tasks=self.tasks, interpret=judge.lately,
        )  # fmt: skip
        self.devices = DeviceDesk(
            self.state, self.intake, self.enforce, lambda: MEANING, clock=lambda: NOW, amended=self.amended
        )

    async def enforce(self, _devices: frozenset[DeviceId], _received_ns: int) -> None:
        """Nobody is there to enforce."""

    def suspected(self, devices: Iterable[str], change: Change | None) -> None:
        self.incidents.look(devices, change)
        self.tasks.look(devices)

    def amended(self, devices: frozenset[DeviceId]) -> None:
        self.incidents.regroup(devices)
        self.tasks.regroup(devices)

    async def told(self, condition: str, *identifiers: Identifier) -> None:
        signal = Signal(
            sensor="edr", type=SignalType.DETECTION, observed_at=NOW, received_at=NOW, external_id=condition,
            event_id=f"e{next(self.numbers)}", device_ids=identifiers, level=Severity.HIGH, title=condition,
        )  # fmt: skip
        result = await self.intake.submit("edr", [signal])
        change = Change(sensor="edr", received_at=NOW, durable_in_s=0.001, enforced_in_s=0.002)
        self.triage.look(result.changed_devices, change)
        await self.settled()

    async def settled(self) -> None:
        await self.incidents.settled()
        await self.tasks.settled()

    def open_incidents(self) -> dict[str, str]:
        """Return the device of each finding of which an incident is open."""
        found = read_incidents(self.path, most=99, only_open=True)
        assert len(found) == self.incidents.open_count
        return {each.cause.rpartition(":")[2]: each.device_id for each in found}

    def open_tasks(self) -> dict[str, str]:
        """Return the device of each finding of which a task is open."""
        found = [each for each in self.all_tasks() if each.is_open]
        assert len(found) == self.tasks.open_count
        return {each.cause.rpartition(":")[2]: each.device_id for each in found}

    def all_tasks(self) -> list[SecurityTask]:
        return read_tasks(self.path, TaskQuery(most=99), NOW)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path / "state.db")
    await made.intake.start()
    made.incidents.start()
    made.tasks.start()
    yield made
    await made.incidents.stop()
    await made.tasks.stop()
    await made.intake.stop()
    made.database.close()


async def test_a_split_takes_along_the_incident_of_what_was_told_of_the_new_record(rig: Rig) -> None:
    await rig.told("both", S1, M1)
    await rig.told("of-m1", M1)
    await rig.told("of-s1", S1)
    old = rig.devices.find(S1.value)
    before = {each.cause: each.id for each in read_incidents(rig.path, most=9)}
    new = (await rig.devices.split(S1.value, [M1], "two laptops", "uid 0")).id
    await rig.settled()
    where = {"both": old, "of-m1": new, "of-s1": old}
    assert rig.open_incidents() == where
    assert rig.open_tasks() == where
    assert {each.cause: each.id for each in read_incidents(rig.path, most=9)} == before


async def test_records_that_an_operator_makes_one_have_one_list(rig: Rig) -> None:
    await rig.told("of-m1", M1)
    await rig.told("of-s1", S1)
    await rig.told("same", M1)
    await rig.told("same", S1)
    kept = (await rig.devices.merge(S1.value, M1.value, "one laptop", "uid 0")).id
    await rig.settled()
    where = dict.fromkeys(("of-m1", "of-s1", "same"), kept)
    assert rig.open_incidents() == where
    assert rig.open_tasks() == where
    (ended,) = [each for each in rig.all_tasks() if not each.is_open]
    assert (ended.cause, ended.resolution) == ("finding:edr:same", Resolution.NOT_ASKED)


async def test_records_that_a_statement_makes_one_have_one_list(rig: Rig) -> None:
    await rig.told("of-m1", M1)
    await rig.told("of-s1", S1)
    assert len({*rig.open_incidents().values()}) == 2
    await rig.told("both", S1, M1)
    where = dict.fromkeys(("of-m1", "of-s1", "both"), rig.devices.find(S1.value))
    assert rig.open_incidents() == where
    assert rig.open_tasks() == where
    assert len(read_incidents(rig.path, most=9)) == 3
