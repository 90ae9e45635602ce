"""`worst_risk`: the worst risk level of device, person and session."""

from datetime import datetime

from compliance.conditions.kind import Kind
from compliance.conditions.user_risk import levels_hold
from compliance.model import AccessContext
from risk.model import RISK_ORDER, RiskAssessment, RiskLevel


def _all(context: AccessContext) -> tuple[RiskAssessment, ...]:
    return context.risk, context.user_risk, context.session_risk


def _levels(context: AccessContext) -> frozenset[RiskLevel]:
    """Return every level that the worst may be.

    Of most people and sessions no sensor ever tells: they count once one has. The device's risk has to be known.
    """
    told = [risk for risk in _all(context) if risk.level in RISK_ORDER]
    is_sure = context.risk.is_known and all(risk.is_known for risk in told)
    unsure = frozenset[RiskLevel]() if is_sure else frozenset({RiskLevel.UNKNOWN})
    worst = max((risk.level for risk in told), key=RISK_ORDER.__getitem__, default=RiskLevel.UNKNOWN)
    return unsure | {worst}


def _holds(wanted: tuple[RiskLevel, ...], context: AccessContext) -> bool | None:
    return levels_hold(_levels(context), wanted)


def _moments(_wanted: tuple[RiskLevel, ...], context: AccessContext) -> list[datetime]:
    return [risk.changes_at for risk in _all(context) if risk.changes_at is not None]


KIND = Kind(_holds, lambda context: " or ".join(sorted(_levels(context))), _moments)
