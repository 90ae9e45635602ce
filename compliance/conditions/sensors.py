"""`sensors`: whether a sensor speaks about the device, has fallen silent, or never did."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from compliance.analysis.inputs import Inputs, place, plain, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, any_of, saying
from compliance.model import AccessContext, SensorCondition, SensorState
from compliance.reasons import AccessReason
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


def _clauses(wanted: tuple[SensorCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield tuple(
        inputs.is_in(f"sensor {asked.sensor}", [*asked.states, *([None] if limits else [])])
        for asked in wanted
    )


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=_seen,
    moments=_moments,
    is_about_unknown=True,
)


def _add(inputs: Inputs) -> None:
    for sensor in unique(asked.sensor for asked in inputs.asked("sensors")):
        limit = inputs.around.sensors.get(sensor)
        values: list[tuple[Any, dict[str, Any]]] = [(SensorState.NEVER, {})]
        if sensor in inputs.around.sensors:
            values.insert(0, (SensorState.HEARD, {"heard": {sensor: 0.0}}))
        if limit is not None:
            values.append((SensorState.SILENT, {"heard": {sensor: limit + 1}}))
        inputs.add_of_device(f"sensor {sensor}", values, [None])
        is_loud = inputs.literal(f"sensor {sensor}", lambda state: state is not SensorState.SILENT)
        inputs.tie(is_loud, inputs.literal("risk", lambda risk: not risk[1]))


INPUT = Input(
    word="sensor",
    add=_add,
    place=lambda here, variable, rest: place(variable, state_of(rest, here.context)),
    say=saying(plain("sensor {rest} is {value}")),
)
