"""`user_risk`: the risk level of the person; while a sensor that told of them is silent it counts as `unknown` too."""

from collections.abc import Iterable
from datetime import datetime

from compliance.conditions.kind import Kind
from compliance.model import AccessContext
from risk.model import RiskAssessment, RiskLevel


def levels_of(risk: RiskAssessment) -> frozenset[RiskLevel]:
    """Return every level that a risk may be: with `unknown` while it is not known for sure."""
    level = frozenset({risk.level})
    return level if risk.is_known else level | {RiskLevel.UNKNOWN}


def levels_hold(possible: frozenset[RiskLevel], wanted: Iterable[RiskLevel]) -> bool | None:
    """Return whether a risk is one of the wanted levels, None when it is not sure."""
    listed = frozenset(wanted)
    if possible <= listed:
        return True
    return None if possible & listed else False


def _holds(wanted: tuple[RiskLevel, ...], context: AccessContext) -> bool | None:
    return levels_hold(levels_of(context.user_risk), wanted)


def _seen(context: AccessContext) -> str:
    return " or ".join(sorted(levels_of(context.user_risk)))


def _moments(_wanted: tuple[RiskLevel, ...], context: AccessContext) -> list[datetime]:
    changes_at = context.user_risk.changes_at
    return [] if changes_at is None else [changes_at]


KIND = Kind(_holds, _seen, _moments)
