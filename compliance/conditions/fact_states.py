"""`fact_states`: how well a fact is known, whatever it says: fresh, stale, from a silent sensor, or never told."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from compliance.analysis.inputs import Inputs, condition_key, joined
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Kind, any_of
from compliance.model import AccessContext, FactState, FactStateCondition
from compliance.reasons import AccessReason
from risk.model import Fact
from risk.scoring import fact_value, is_silent, silent_at


def _told(fact: str, context: AccessContext) -> list[Fact]:
    """Return what configured sensors ever said of a fact."""
    if context.posture is None:
        return []
    return [
        each
        for each in context.posture.facts.values()
        if each.name == fact and each.sensor in context.sensors
    ]


def fact_state(asked: FactStateCondition, context: AccessContext) -> FactState | None:
    """Return the state of a fact, None when we do not know which device it is."""
    if context.posture is None:
        return None
    live = fact_value(context.posture, asked.fact, context.sensors, context.now)
    if live is not None:
        is_old = (
            asked.max_age is not None and live.observed_at + timedelta(seconds=asked.max_age) <= context.now
        )
        return FactState.STALE if is_old else FactState.FRESH
    told = _told(asked.fact, context)
    if any(is_silent(context.posture, context.sensors[each.sensor], context.now) for each in told):
        return FactState.SILENT
    return FactState.STALE if told else FactState.NEVER


def _holds(wanted: tuple[FactStateCondition, ...], context: AccessContext) -> bool | None:
    answers: list[bool | None] = []
    for asked in wanted:
        state = fact_state(asked, context)
        answers.append(None if state is None else state in asked.states)
    return any_of(answers)


def _all_moments(wanted: tuple[FactStateCondition, ...], context: AccessContext) -> Iterator[datetime | None]:
    posture = context.posture
    for asked in wanted if posture is not None else ():
        for each in _told(asked.fact, context):
            yield each.expires_at
            if posture is not None:
                yield silent_at(posture, context.sensors[each.sensor])
            if asked.max_age is not None:
                yield each.observed_at + timedelta(seconds=asked.max_age)


def _moments(wanted: tuple[FactStateCondition, ...], context: AccessContext) -> list[datetime]:
    return [moment for moment in _all_moments(wanted, context) if moment is not None]


def facts_seen(context: AccessContext) -> str:
    """Return how much is known of the device, for people."""
    return "device not known" if context.posture is None else f"{len(context.posture.facts)} facts"


def _seen_of(wanted: tuple[FactStateCondition, ...], context: AccessContext) -> str:
    told = (f"{asked.fact} is {fact_state(asked, context) or 'of a device not known'}" for asked in wanted)
    return "; ".join(told)


def _clauses(wanted: tuple[FactStateCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    """Say it of the inputs that `compliance.conditions.facts` adds for the states, too."""
    yield joined(inputs.literal(f"fact {asked.fact}", _is_in_state(asked, limits)) for asked in wanted)


def _is_in_state(asked: FactStateCondition, limits: bool) -> Callable[[Any], bool]:
    key = condition_key(asked)

    def holds(told: Any) -> bool:
        state = dict(told)[key]
        return limits if state is None else state in asked.states

    return holds


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=facts_seen,
    seen_of=_seen_of,
    moments=_moments,
    is_about_unknown=True,
)
