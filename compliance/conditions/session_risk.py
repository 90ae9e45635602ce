"""`session_risk`: the risk level of this very session; while a sensor that told of it is silent it is `unknown` too."""

from datetime import datetime

from compliance.conditions.kind import Kind
from compliance.conditions.user_risk import levels_hold, levels_of
from compliance.model import AccessContext
from risk.model import RiskLevel


def _holds(wanted: tuple[RiskLevel, ...], context: AccessContext) -> bool | None:
    return levels_hold(levels_of(context.session_risk), wanted)


def _moments(_wanted: tuple[RiskLevel, ...], context: AccessContext) -> list[datetime]:
    changes_at = context.session_risk.changes_at
    return [] if changes_at is None else [changes_at]


KIND = Kind(_holds, lambda context: " or ".join(sorted(levels_of(context.session_risk))), _moments)
