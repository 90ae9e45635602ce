"""`sensors`: whether a sensor speaks about the device, has fallen silent, or never did."""

from datetime import datetime

from compliance.conditions.kind import Kind, any_of
from compliance.model import AccessContext, SensorCondition, SensorState
from risk.scoring import silent_at


def state_of(sensor: str, context: AccessContext) -> SensorState | None:
    """Return the state of a sensor towards the device, None when we do not know which device it is."""
    if context.posture is None:
        return None
    rules = context.sensors.get(sensor)
    if rules is None or sensor not in context.posture.heard:
        return SensorState.NEVER
    silent = silent_at(context.posture, rules)
    return SensorState.SILENT if silent is not None and silent <= context.now else SensorState.HEARD


def _holds(wanted: tuple[SensorCondition, ...], context: AccessContext) -> bool | None:
    answers: list[bool | None] = []
    for asked in wanted:
        state = state_of(asked.sensor, context)
        answers.append(None if state is None else state in asked.states)
    return any_of(answers)


def _moments(wanted: tuple[SensorCondition, ...], context: AccessContext) -> list[datetime]:
    posture = context.posture
    if posture is None:
        return []
    rules = [context.sensors[asked.sensor] for asked in wanted if asked.sensor in context.sensors]
    return [moment for each in rules if (moment := silent_at(posture, each)) is not None]


def _seen(context: AccessContext) -> str:
    if context.posture is None:
        return "device not known"
    told = [f"{name} {state_of(name, context)}" for name in sorted(context.sensors)]
    return ", ".join(told) or "no sensor"


KIND = Kind(_holds, _seen, _moments)
