"""`tags`, `not_tags`: tags of the device. A device that we do not know has none that we know of: not known."""

from datetime import datetime

from compliance.conditions.kind import Kind, negated
from compliance.device_facts import fact_moments, tag_facts, tags_of
from compliance.model import AccessContext


def _tags(context: AccessContext) -> frozenset[str] | None:
    return None if context.posture is None else tags_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    tags = _tags(context)
    return None if tags is None else not tags.isdisjoint(wanted)


def _seen(context: AccessContext) -> str:
    tags = _tags(context)
    return "device not known" if tags is None else ", ".join(sorted(tags)) or "none"


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, tag_facts(context.posture), context.sensors, context.now)


KIND = Kind(_holds, _seen, _moments)
NOT_KIND = negated(KIND)
