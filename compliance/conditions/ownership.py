"""`ownership`: whose the device is. Not known while no live sensor tells it."""

from collections.abc import Iterator
from datetime import datetime

from compliance.analysis.inputs import Inputs, place, plain
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, saying
from compliance.device_facts import OWNERSHIP_FACTS, fact_moments, ownership_of
from compliance.model import AccessContext
from compliance.reasons import AccessReason


def _ownership(context: AccessContext) -> str | None:
    return None if context.posture is None else ownership_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    ownership = _ownership(context)
    return None if ownership is None else ownership in wanted


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, OWNERSHIP_FACTS, context.sensors, context.now)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("ownership", lambda name: limits if not name else name in wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=lambda context: _ownership(context) or "not known",
    moments=_moments,
)


def _add(inputs: Inputs) -> None:
    owned = [(name, {"ownership": name}) for name in ("corporate", "personal")]
    inputs.add_of_device("ownership", [*owned, ("", {})], [""])


INPUT = Input(
    word="ownership",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.of_device(ownership_of)),
    say=saying(plain("the device is {value}")),
)
