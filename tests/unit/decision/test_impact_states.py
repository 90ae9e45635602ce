"""Two compliance configurations are compared as if each were judged by itself."""

from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest

from compliance.model import (
    CompliancePolicy,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    RiskRule,
    RuleLevel,
)
from gateway.decision.impact import BothStates
from gateway.decision.judge import Interpretation, judge
from risk.model import Fact, Posture, RiskLevel, SensorRules

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SENSORS = {"edr": SensorRules(name="edr", max_silence_s=3600.0)}


def fact(name, value):
    at = NOW - timedelta(minutes=5)
    return Fact(name=name, sensor="edr", value=value, observed_at=at, received_at=at)


def posture(**facts):
    told = {("edr", name): fact(name, value) for name, value in facts.items()}
    return Posture(device_id="dev_1", facts=told, heard={"edr": NOW - timedelta(minutes=5)})


DISK = CompliancePolicy(name="disk", rules=(FactRule(name="r", fact="disk", equals=True),))
GRACE = CompliancePolicy(name="grace", rules=(FactRule(name="r", fact="disk", equals=True, grace=86400.0),))
RISK = CompliancePolicy(name="risk", rules=(RiskRule(name="r", max=RiskLevel.LOW),))
MACS = CompliancePolicy(name="macs", rules=DISK.rules, include=DeviceAssignment(platforms=("macos",)))
TOLD = CompliancePolicy(
    name="told", rules=(FactRule(name="r", fact="disk", equals=True, level=RuleLevel.NOTIFY),)
)
SETS = [(), (DISK,), (GRACE, RISK), (DISK, GRACE), (MACS,), (TOLD,), (MACS, TOLD), (RISK, MACS)]
DEVICES = [None, posture(), posture(disk=True), posture(disk=False), posture(platform="linux", disk=True)]


@pytest.mark.parametrize(("before", "after"), list(product(SETS, SETS)))
def test_what_is_shared_is_judged_once_and_comes_to_the_same(before, after):
    for uncovered in (ComplianceState.NONCOMPLIANT, ComplianceState.COMPLIANT):
        sides = [
            Interpretation(SENSORS, before, ComplianceState.NONCOMPLIANT),
            Interpretation(SENSORS, after, uncovered),
        ]
        both = BothStates(*sides)
        for device in DEVICES:
            assert list(both(device, NOW)) == [judge(device, side, NOW)[1].state for side in sides]


def test_other_sensors_are_told_apart():
    one = Interpretation(SENSORS, (DISK,), ComplianceState.NONCOMPLIANT)
    other = msgspec.structs.replace(one, sensors={"edr": SensorRules(name="edr", max_silence_s=60.0)})
    states = BothStates(one, other)(posture(disk=True), NOW)
    assert states == (ComplianceState.COMPLIANT, ComplianceState.UNKNOWN)
