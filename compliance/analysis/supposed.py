"""Devices that nobody has, to try compliance policies on. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from compliance.comparison import parse_date
from compliance.model import (
    CompliancePolicy,
    ComplianceResult,
    ComplianceState,
    Exemption,
)
from compliance.state import evaluate_compliance, exemptions_of
from compliance.texts import duration_text, shown_value
from risk.builtin import INVENTORY, OPERATOR, OVERRIDE
from risk.builtin import RULES as BUILT_IN
from risk.model import (
    DeviceId,
    Fact,
    Finding,
    Identifier,
    Posture,
    RiskLevel,
    SensorRules,
    Severity,
    SignalType,
)
from risk.scoring import assess, is_silent

Scalar = str | int | float | bool

DEVICE = DeviceId("dev_supposed")


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration holds devices to."""

    policies: tuple[CompliancePolicy, ...]
    uncovered: ComplianceState = ComplianceState.NONCOMPLIANT
    exemptions: tuple[Exemption, ...] = ()
    exemption_ceiling: RiskLevel = RiskLevel.LOW


class SupposedFact(msgspec.Struct, frozen=True):
    """A fact as it was told `age` seconds ago, and has been told without a break for `since` seconds."""

    name: str
    value: Scalar
    age: float = 0.0
    since: float = 0.0


class SupposedFinding(msgspec.Struct, frozen=True):
    """An open finding that was first seen `age` seconds ago."""

    sensor: str
    severity: Severity
    category: str = ""
    age: float = 0.0


class SupposedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that we know, at one instant, and who is on it. What is not said of it is not known.

    `names` are its name and its identifiers; `user` and `email` are those of the person, "" for anybody. `heard` says
    how many seconds ago a sensor spoke of it, None for one that told of it and was never heard. `override` is the word
    of the operator on its risk. A `contested` one shares an identifier with another.
    """

    at: datetime
    user: str = ""
    email: str = ""
    names: tuple[str, ...] = ()
    facts: tuple[SupposedFact, ...] = ()
    findings: tuple[SupposedFinding, ...] = ()
    heard: dict[str, float | None] = {}
    override: SupposedFinding | None = None
    contested: bool = False

    def ago(self, seconds: float) -> datetime:
        """Return an instant before the one at which the device is looked at."""
        return self.at - timedelta(seconds=seconds)

    def posture(self, sensors: Mapping[str, SensorRules]) -> Posture:
        """Return the posture; each fact is told by a sensor that spoke no longer ago, else by the inventory."""
        heard = {name: self.ago(age) for name, age in self.heard.items() if age is not None}
        live = [name for name in heard if not is_silent(_heard(heard), sensors[name], self.at)]
        facts: list[Fact] = []
        for told in self.facts:
            at, since = self.ago(told.age), self.ago(told.since)
            teller = next((name for name in live if heard[name] >= at), INVENTORY)
            statements = (since,) if since < at else ()
            facts.append(
                Fact(name=told.name, sensor=teller, value=told.value, observed_at=at, received_at=at,
                     statements=statements)
            )  # fmt: skip
        spoke = [each.received_at for each in facts if each.sensor == INVENTORY]
        heard |= {INVENTORY: max(spoke)} if spoke else {}
        for name, age in self.heard.items():
            if age is None:
                facts.append(
                    Fact(name="told", sensor=name, value=True, observed_at=self.at, received_at=self.at)
                )
        findings = [self._finding(each, f"supposed-{at}") for at, each in enumerate(self.findings)]
        if self.override is not None:
            findings.append(self._finding(self.override, OVERRIDE))
            heard[OPERATOR] = self.ago(self.override.age)
        return Posture(
            device_id=DEVICE,
            name=self.names[0] if self.names else "",
            identifiers=tuple(Identifier("device-id", name) for name in self.names[1:]),
            findings={(each.sensor, each.external_id): each for each in findings},
            facts={(each.sensor, each.name): each for each in facts},
            heard=heard,
            contested=(Identifier("serial", "supposed"),) if self.contested else (),
        )

    def _finding(self, given: SupposedFinding, external_id: str) -> Finding:
        at = self.ago(given.age)
        return Finding(
            sensor=given.sensor,
            external_id=external_id,
            type=SignalType.RISK_LEVEL if external_id == OVERRIDE else SignalType.DETECTION,
            level=given.severity,
            is_open=True,
            observed_at=at,
            received_at=at,
            first_observed_at=at,
            category=given.category,
        )


def said_of(device: SupposedDevice) -> str:
    """Return what is said of a device, for people: in the words of the policies, with ages."""
    words = [f"named {name}" for name in device.names]
    words += [f"used by {name}" for name in (device.user, device.email) if name]
    words += [f"{fact.name} {shown_value(fact.value)}{_times(fact)}" for fact in device.facts]
    for finding in device.findings:
        what = f"{finding.severity} finding{f' ({finding.category})' if finding.category else ''}"
        words.append(f"{what} of {finding.sensor}{_open_for(finding.age)}")
    for name, age in device.heard.items():
        when = (
            "never heard" if age is None else f"heard {duration_text(age)} ago" if age else "heard just now"
        )
        words.append(f"{name} {when}")
    if device.override is not None:
        words.append(f"risk {device.override.severity} by the operator{_open_for(device.override.age)}")
    words += ["an identifier that another device has, too"] if device.contested else []
    return ", ".join(words) or "nothing is said of it"


def _times(fact: SupposedFact) -> str:
    said = [f"for {duration_text(fact.since)}"] if fact.since else []
    said += [f"reported {duration_text(fact.age)} ago"] if fact.age else []
    return f" ({', '.join(said)})" if said else ""


def _open_for(age: float) -> str:
    return f" for {duration_text(age)}" if age else ""


def _heard(heard: Mapping[str, datetime]) -> Posture:
    return Posture(device_id=DEVICE, heard=dict(heard))


def with_built_in(sensors: Mapping[str, SensorRules]) -> dict[str, SensorRules]:
    """Return the sensors with those that every gateway has."""
    return {**sensors, **BUILT_IN}


def judged(
    device: SupposedDevice, wanted: Requirements, sensors: Mapping[str, SensorRules]
) -> ComplianceResult:
    """Return what a configuration makes of the device; `sensors` with those that every gateway has."""
    posture = device.posture(sensors)
    names = frozenset(name for name in (device.user, device.email) if name)
    return evaluate_compliance(
        posture,
        wanted.policies,
        risk=assess(posture, sensors, device.at),
        sensors=sensors,
        now=device.at,
        uncovered=wanted.uncovered,
        exemptions=exemptions_of(wanted.exemptions, names, posture),
        exemption_ceiling=wanted.exemption_ceiling,
    )


def moments_of(both: Sequence[Requirements], now: datetime) -> list[datetime]:
    """Return `now`, and in order every later instant at which an exemption ends or a `warn_until` is reached."""
    dates = [parse_date(each.expires) for side in both for each in side.exemptions]
    dates += [
        parse_date(rule.warn_until) for side in both for policy in side.policies for rule in policy.rules
    ]
    return [now, *sorted({date for date in dates if date is not None and date > now})]
