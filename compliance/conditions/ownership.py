"""`ownership`: whose the device is."""

from datetime import datetime

from compliance.conditions.kind import Kind
from compliance.device_facts import OWNERSHIP_FACTS, fact_moments, ownership_of
from compliance.model import AccessContext


def _ownership(context: AccessContext) -> str | None:
    return None if context.posture is None else ownership_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    ownership = _ownership(context)
    return None if ownership is None else ownership in wanted


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, OWNERSHIP_FACTS, context.sensors, context.now)


KIND = Kind(_holds, lambda context: _ownership(context) or "not known", _moments)
