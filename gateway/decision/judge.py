"""Interprets postures, and remembers each result for a moment: one change of a device asks for many tickets at once."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from compliance.model import CompliancePolicy, ComplianceResult, ComplianceState, Exemption
from compliance.state import evaluate_compliance
from risk.correlation import NOTHING, Weighing
from risk.model import DeviceId, Posture, RiskAssessment, RiskLevel, SensorRules
from risk.scoring import assess

FRESH = timedelta(seconds=1)
"""How long a result is used again at most. What it says of ages is then no older than this."""

LATELY = timedelta(seconds=10)
"""The same for those who ask for a state and not for ages: incidents and tasks, one after the other."""

MAX_REMEMBERED = 4096

UNKNOWN_RISK = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
"""Risk of a device that nobody has told us about."""


class Interpretation(msgspec.Struct, frozen=True):
    """The part of the configuration that turns posture into compliance."""

    sensors: Mapping[str, SensorRules]
    policies: tuple[CompliancePolicy, ...]
    uncovered: ComplianceState
    exemptions: tuple[Exemption, ...] = ()
    exemption_ceiling: RiskLevel = RiskLevel.LOW
    weighing: Weighing = NOTHING


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A posture with what it means, at the instant `at`, under `interpretation`."""

    posture: Posture
    interpretation: Interpretation
    at: datetime
    risk: RiskAssessment
    compliance: ComplianceResult

    def holds_for(
        self, posture: Posture, interpretation: Interpretation, now: datetime, fresh: timedelta = FRESH
    ) -> bool:
        """Return whether a fresh look would find the same: nothing was told since, and time has changed nothing.

        Postures and interpretations are immutable and replaced whole, so the very same object is the same content.
        """
        if posture is not self.posture or interpretation is not self.interpretation:
            return False
        if not self.at <= now < self.at + fresh:
            return False
        changes = (self.risk.changes_at, self.compliance.changes_at)
        return all(moment is None or now < moment for moment in changes)


def judge(
    posture: Posture | None, interpretation: Interpretation, now: datetime
) -> tuple[RiskAssessment, ComplianceResult]:
    """Return risk and compliance of a device; None is a device that nobody has told us about. Pure."""
    risk = (
        UNKNOWN_RISK
        if posture is None
        else assess(posture, interpretation.sensors, now, interpretation.weighing)
    )
    compliance = evaluate_compliance(
        posture,
        interpretation.policies,
        risk=risk,
        sensors=interpretation.sensors,
        now=now,
        uncovered=interpretation.uncovered,
        exemptions=interpretation.exemptions,
        exemption_ceiling=interpretation.exemption_ceiling,
    )
    return risk, compliance


class Judge:
    """`judge` with a memory of the devices asked about last."""

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._remembered: OrderedDict[DeviceId, Judged] = OrderedDict()

    def __call__(
        self, posture: Posture | None, interpretation: Interpretation, now: datetime
    ) -> tuple[RiskAssessment, ComplianceResult]:
        """Return what `judge` returns, at most `FRESH` old."""
        return self._found(posture, interpretation, now, FRESH)

    def lately(
        self, posture: Posture | None, interpretation: Interpretation, now: datetime
    ) -> tuple[RiskAssessment, ComplianceResult]:
        """Return what `judge` returns, at most `LATELY` old."""
        return self._found(posture, interpretation, now, LATELY)

    def _found(
        self, posture: Posture | None, interpretation: Interpretation, now: datetime, fresh: timedelta
    ) -> tuple[RiskAssessment, ComplianceResult]:
        if posture is None:
            return judge(None, interpretation, now)
        known = self._remembered.get(posture.device_id)
        if known is not None and known.holds_for(posture, interpretation, now, fresh):
            return known.risk, known.compliance
        risk, compliance = judge(posture, interpretation, now)
        self._remembered[posture.device_id] = Judged(posture, interpretation, now, risk, compliance)
        self._remembered.move_to_end(posture.device_id)
        if len(self._remembered) > self._most:
            self._remembered.popitem(last=False)
        return risk, compliance
