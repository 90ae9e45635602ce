"""Builders of devices, people and requests that tests change in one respect each."""

from datetime import UTC, datetime, timedelta

import msgspec

from compliance.model import (
    AccessContext,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    RequestFacts,
    User,
)
from risk.model import DeviceId, Fact, Finding, Posture, RiskAssessment, RiskLevel, Severity, SignalType

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def ago(**delta):
    return NOW - timedelta(**delta)


def fact(name, value, *, sensor="fleet", at=None, **more):
    at = at or ago(minutes=5)
    return Fact(name=name, sensor=sensor, value=value, observed_at=at, received_at=at, **more)


def finding(external_id, level, *, sensor="edr", first=None, at=None):
    at = at or ago(minutes=5)
    return Finding(
        sensor=sensor,
        external_id=external_id,
        type=SignalType.DETECTION,
        level=Severity(level),
        is_open=True,
        observed_at=at,
        received_at=at,
        first_observed_at=first or at,
        title=f"finding {external_id}",
    )


def posture(*said, heard=None):
    facts = [each for each in said if isinstance(each, Fact)]
    findings = [each for each in said if isinstance(each, Finding)]
    sensors = {each.sensor: each.received_at for each in said}
    return Posture(
        device_id=DeviceId("dev_1"),
        facts={(each.sensor, each.name): each for each in facts},
        findings={(each.sensor, each.external_id): each for each in findings},
        heard=sensors | (heard or {}),
    )


NO_RISK = RiskAssessment(level=RiskLevel.NONE, is_known=True)

ANA = User(
    provider="corp",
    issuer="https://idp.example",
    subject="u1",
    name="Ana",
    email="ana@corp.example",
    names=frozenset({"u1", "ana@corp.example"}),
    groups=frozenset({"staff"}),
    acr="mfa",
    amr=("pwd", "otp"),
    auth_at=ago(minutes=30),
)


def context(*, user=None, **changes):
    """Return the usual context with some fields changed."""
    usual = AccessContext(
        app="wiki",
        user=msgspec.structs.replace(ANA, **(user or {})),
        now=NOW,
        device_id="dev_1",
        device_name="laptop",
        device_source="claim",
        risk=NO_RISK,
        compliance=ComplianceResult(state=ComplianceState.COMPLIANT, results=()),
    )
    return msgspec.structs.replace(usual, **changes)


def request(**changes):
    """Return a browser's GET with some fields changed."""
    usual = RequestFacts(method="GET", path="/", client=ClientKind.BROWSER, networks=frozenset())
    return msgspec.structs.replace(usual, **changes)
