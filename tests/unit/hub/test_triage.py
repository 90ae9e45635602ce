"""Whom triage lets incidents and tasks look at: all who may fail a rule or did, with the change, and nobody else."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from compliance.model import CompliancePolicy, ComplianceState, FactRule, RiskRule
from gateway.decision.judge import Interpretation, judge
from gateway.hub import triage as triage_module
from gateway.hub.triage import AT_ONCE, SLICE, STEP, Triage
from gateway.incidents.model import Change
from risk.model import DeviceId, Fact, Posture, RiskLevel, SensorRules

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)
CHANGE = Change(sensor="edr", received_at=NOW, durable_in_s=0.001, enforced_in_s=0.002)
MANY = SLICE * STEP * 3


def meaning(*rules: FactRule | RiskRule) -> Interpretation:
    policy = CompliancePolicy(name="laptop", rules=rules)
    return Interpretation({"edr": SensorRules(name="edr")}, (policy,), ComplianceState.NONCOMPLIANT)


def device(name: str, *, disk: bool = True, at: datetime = NOW) -> Posture:
    fact = Fact(
        name="disk", sensor="edr", value=disk, observed_at=at, received_at=at, statements=(NOW,) * (at > NOW)
    )
    return Posture(device_id=DeviceId(name), facts={("edr", "disk"): fact}, heard={"edr": at})


class Open:
    """Devices with something open."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.awaiting: set[str] = set()

    def has_open(self, device_id: str) -> bool:
        return device_id in self.devices

    def awaits_evidence(self, device_id: str) -> bool:
        return device_id in self.awaiting


class Rig:
    def __init__(self) -> None:
        self.known: dict[str, Posture] = {}
        self.incidents, self.tasks = Open(), Open()
        self.now = NOW
        self.judged = 0
        self.is_hurried = False
        self.seen: list[tuple[str, Change | None]] = []
        self.meaning = meaning(
            RiskRule(name="threat", max=RiskLevel.LOW), FactRule(name="disk", fact="disk", equals=True)
        )
        self.triage = Triage(
            posture=self.posture,
            interpretation=lambda: self.meaning,
            incidents=self.incidents,
            tasks=self.tasks,
            interpret=self.judge,
            suspected=lambda names, change: self.seen.extend((name, change) for name in names),
            clock=lambda: self.now,
            is_hurried=lambda: self.is_hurried,
        )

    def judge(self, *asked):
        self.judged += 1
        return judge(*asked)

    def told(self, *postures: Posture) -> list[str]:
        """Return who is looked at once this is known."""
        self.seen.clear()
        self.triage.look(self.put(*postures), CHANGE)
        self.triage.drain()
        return [name for name, _ in self.seen]

    def posture(self, name: DeviceId) -> Posture | None:
        return self.known.get(name)

    def put(self, *postures: Posture) -> frozenset[DeviceId]:
        self.known |= {each.device_id: each for each in postures}
        return frozenset(each.device_id for each in postures)


async def test_of_a_large_delivery_those_are_looked_at_that_may_fail_or_are_followed() -> None:
    rig = Rig()
    devices = rig.put(*(device(f"d{number}", disk=number % 50 != 0) for number in range(MANY)))
    rig.incidents.devices.add("d7")
    rig.triage.look(devices, CHANGE)
    assert rig.seen == []  # not on the way of the answer
    for _ in range(MANY):
        await asyncio.sleep(0)
    bad = {f"d{number}" for number in range(0, MANY, 50)}
    assert sorted(rig.seen) == sorted((name, CHANGE) for name in {*bad, "d7"})


async def test_of_a_small_delivery_they_are_looked_at_at_once() -> None:
    rig = Rig()
    rig.triage.look(rig.put(device("good"), device("bad", disk=False)), None)
    assert rig.seen == [("bad", None)]


async def test_what_is_hurried_goes_first_unless_very_many_wait(monkeypatch) -> None:
    monkeypatch.setattr(triage_module, "STEP_ASIDE_S", 0.01)
    rig = Rig()
    rig.is_hurried = True
    rig.triage.look(rig.put(*(device(f"d{number}", disk=False) for number in range(300))), None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert rig.seen == []
    for _ in range(30):
        await asyncio.sleep(0.01)
    assert len(rig.seen) == 300
    monkeypatch.setattr(triage_module, "MANY", 100)
    rig.triage.look(rig.put(*(device(f"e{number}", disk=False) for number in range(300))), None)
    await asyncio.sleep(0)
    assert len(rig.seen) > 300


async def test_deliveries_are_looked_at_in_their_order() -> None:
    """The change of a device that came first is the one that made access worse."""
    rig = Rig()
    first = rig.put(*(device(f"d{number}", disk=False) for number in range(MANY)))
    later = msgspec.structs.replace(CHANGE, sensor="mdm")
    rig.triage.look(first, CHANGE)
    rig.triage.look(frozenset({DeviceId("d1")}), later)
    rig.triage.drain()
    assert [change for name, change in rig.seen if name == "d1"] == [CHANGE, later]


async def test_a_record_that_became_part_of_another_is_looked_at_as_that() -> None:
    rig = Rig()
    rig.known = {"old": device("kept", disk=False), "kept": device("kept", disk=False)}
    rig.triage.look(frozenset({DeviceId("old"), DeviceId("kept"), DeviceId("gone")}), CHANGE)
    assert rig.seen == [("kept", CHANGE)]


async def test_the_rules_in_force_count() -> None:
    rig = Rig()
    devices = rig.put(device("d1"))
    rig.triage.look(devices, CHANGE)
    assert rig.seen == []
    rig.meaning = meaning(FactRule(name="disk", fact="disk", equals=False))
    rig.triage.look(devices, CHANGE)
    assert rig.seen == [("d1", CHANGE)]


async def test_what_waits_is_bounded_and_what_is_left_out_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    devices = rig.put(*(device(f"d{number}", disk=False) for number in range(MANY)))
    monkeypatch.setattr("gateway.hub.triage.MAX_WAITING", MANY + AT_ONCE)
    for _ in range(3):
        rig.triage.look(devices, CHANGE)
    assert rig.triage.dropped == 2 * MANY
    rig.triage.drain()
    assert len(rig.seen) == MANY
    rig.triage.look(devices, CHANGE)
    assert rig.triage.dropped == 2 * MANY


async def test_a_fault_costs_its_own_turn_alone() -> None:
    rig = Rig()
    devices = rig.put(*(device(f"d{number}", disk=False) for number in range(MANY)))
    faults = [RuntimeError("broken")]
    posture = rig.triage._posture

    def failing(name: DeviceId) -> Posture | None:
        if faults:
            raise faults.pop()
        return posture(name)

    rig.triage._posture = failing
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    rig.triage.look(devices, CHANGE)
    for _ in range(MANY):
        await asyncio.sleep(0)
    assert len(rig.seen) == MANY - STEP


async def test_a_device_that_is_as_it_was_is_neither_looked_at_nor_judged_again() -> None:
    rig = Rig()
    assert rig.told(device("d1", disk=False)) == ["d1"]
    for desk in (rig.incidents, rig.tasks):
        desk.devices.add("d1")
    judged = rig.judged
    for seconds in (1, 60, 3600):
        rig.now = NOW + timedelta(seconds=seconds)
        assert rig.told(device("d1", disk=False, at=rig.now)) == []
    assert rig.judged == judged
    assert rig.told(device("d1", at=rig.now)) == ["d1"]


async def test_it_is_looked_at_again_until_what_should_be_open_is() -> None:
    rig = Rig()
    for missing in (rig.incidents, rig.tasks):
        rig.incidents.devices, rig.tasks.devices = {"d1"}, {"d1"}
        missing.devices = set()
        for _ in range(2):
            assert rig.told(device("d1", disk=False)) == ["d1"]
    assert rig.told(device("d2")) == []
    rig.tasks.devices = {"d2"}  # and what should not be open any more
    for _ in range(2):
        assert rig.told(device("d2")) == ["d2"]


async def test_while_evidence_is_awaited_every_report_counts() -> None:
    rig = Rig()
    rig.incidents.devices, rig.tasks.devices, rig.tasks.awaiting = {"d1"}, {"d1"}, {"d1"}
    for _ in range(2):
        assert rig.told(device("d1", disk=False)) == ["d1"]
    rig.tasks.awaiting.clear()
    assert rig.told(device("d1", disk=False)) == []


async def test_when_time_has_changed_something_it_is_looked_at_again() -> None:
    rig = Rig()
    rig.meaning = meaning(FactRule(name="disk", fact="disk", equals=True, grace=60.0))
    rig.tasks.devices = {"d1"}
    assert rig.told(device("d1", disk=False)) == ["d1"]
    rig.now = NOW + timedelta(seconds=59)
    assert rig.told(device("d1", disk=False)) == []
    rig.now = NOW + timedelta(seconds=60)
    assert rig.told(device("d1", disk=False)) == ["d1"]


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.hub.triage.MAX_REMEMBERED", 3)
    rig = Rig()
    rig.told(*(device(f"d{number}", disk=False) for number in range(9)))
    assert len(rig.triage._found) == 3
