"""`platforms`, `not_platforms`: the operating system of the device. Not known while no live sensor tells it."""

from collections.abc import Iterator
from datetime import datetime

from compliance.analysis.inputs import OTHER, Inputs, place, plain, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.device_facts import PLATFORM_FACTS, PLATFORMS, fact_moments, platform_of
from compliance.model import AccessContext
from compliance.reasons import AccessReason


def _platform(context: AccessContext) -> str | None:
    return None if context.posture is None else platform_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    platform = _platform(context)
    return None if platform is None else platform in wanted


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, PLATFORM_FACTS, context.sensors, context.now)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("platform", lambda name: limits if not name else name in wanted),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("platform", lambda name: limits if not name else name not in wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=lambda context: _platform(context) or "not known",
    moments=_moments,
)
NOT_KIND = negated(KIND, _not_clauses)


def _add(inputs: Inputs) -> None:
    platforms = unique([*inputs.asked("platforms", "not_platforms"), *inputs.assigned("platforms")])
    kinds = [(name, {"platform": name}) for name in platforms]
    unlike = [(OTHER, {"platform": name}) for name in PLATFORMS if name not in platforms][:1]
    inputs.add_of_device("platform", [*unlike, *kinds, ("", {})], [""])


INPUT = Input(
    word="platform",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.of_device(platform_of)),
    say=saying(plain("the device runs {value}")),
)
