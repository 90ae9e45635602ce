"""A recorded delivery tells whose its statements are now, whatever was merged and split since."""

from datetime import UTC, datetime

import pytest

from compliance.model import ComplianceState
from gateway.cli.deliveries import delivery_lines
from gateway.decision.judge import Interpretation
from gateway.deliveries.model import Judged, record_of
from gateway.deliveries.whose import Devices, as_now
from gateway.devices.desk import DeviceDesk
from gateway.hub.hooks import Delivery
from plugins.contract import Normalized
from risk.builtin import RULES
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import Identifier, SensorRules, Severity, Signal, SignalType
from risk.snapshot import RiskState

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MEANING = Interpretation(
    {**RULES, "edr": SensorRules(name="edr"), "mdm": SensorRules(name="mdm")}, (), ComplianceState.COMPLIANT
)


class Rig:
    def __init__(self):
        self.state = RiskState()
        self.intake = Intake(self.state, MemoryRiskStore(), clock=lambda: NOW)
        self.desk = DeviceDesk(self.state, self.intake, self.enforce, lambda: MEANING, clock=lambda: NOW)
        self.devices = Devices(self.state.posture, self.state.resolve)

    async def enforce(self, _devices, _received_ns):
        pass

    async def delivered(self, sensor, *identifiers, condition="c1"):
        signal = Signal(
            sensor=sensor,
            type=SignalType.DETECTION,
            observed_at=NOW,
            received_at=NOW,
            external_id=condition,
            event_id=f"{sensor}-{condition}",
            device_ids=identifiers,
            level=Severity.HIGH,
            title=condition,
        )
        result = await self.intake.submit(sensor, [signal])
        delivery = Delivery(
            id="d1",
            sensor=sensor,
            status=200,
            verdict="accepted",
            accepted=1,
            received_at=NOW,
            normalized=Normalized(signals=(signal,), origins=(0,)),
            effects=result.effects,
        )
        return record_of(delivery, NOW, Judged(interpretation=MEANING))


@pytest.fixture
async def rig():
    made = Rig()
    await made.intake.start()
    yield made
    await made.intake.stop()


def name(value):
    return Identifier("hostname", value)


def machine(value):
    return Identifier("sensor-device-id", value, "edr")


async def test_nothing_is_said_while_nothing_has_changed(rig):
    record = await rig.delivered("edr", machine("m1"), name("lt-1"))
    answer = as_now(record, rig.devices)
    assert "now" not in answer["effects"][0]
    assert "now" not in answer["signals"][0]


async def test_the_device_is_the_one_that_it_was_merged_into(rig):
    record = await rig.delivered("edr", machine("m1"), name("lt-1"))
    await rig.delivered("mdm", Identifier("serial", "SN-2"), name("desk-2"))
    kept = await rig.desk.merge("SN-2", "lt-1", "one laptop", "uid 0")
    answer = as_now(record, rig.devices)
    assert answer["effects"][0]["now"] == {"device_id": kept.id, "device": kept.name}
    assert answer["effects"][0]["device_id"] != kept.id
    assert "now" not in answer["signals"][0], "the effect says it already"
    assert f"lt-1 (now {kept.name}, {kept.id}): risk" in "\n".join(delivery_lines(answer))


async def test_a_signal_is_of_the_device_that_a_split_gave_its_identifiers_to(rig):
    await rig.delivered("edr", machine("m1"), Identifier("serial", "SN-1"), condition="both")
    record = await rig.delivered("edr", machine("m1"))
    made = await rig.desk.split("SN-1", [machine("m1")], "two laptops", "uid 0")
    answer = as_now(record, rig.devices)
    assert answer["signals"][0]["now"]["device_id"] == made.id
    assert f"{made.id})" in next(line for line in delivery_lines(answer) if "item 0" in line)
