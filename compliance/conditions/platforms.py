"""`platforms`, `not_platforms`: the operating system of the device."""

from datetime import datetime

from compliance.conditions.kind import Kind, negated
from compliance.device_facts import PLATFORM_FACTS, fact_moments, platform_of
from compliance.model import AccessContext


def _platform(context: AccessContext) -> str | None:
    return None if context.posture is None else platform_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    platform = _platform(context)
    return None if platform is None else platform in wanted


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, PLATFORM_FACTS, context.sensors, context.now)


KIND = Kind(_holds, lambda context: _platform(context) or "not known", _moments)
NOT_KIND = negated(KIND)
