"""What the conditions on risk levels share: while a sensor that told is silent, a level counts as `unknown` too."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from compliance.analysis.inputs import Change, Here, Inputs, Variable, place
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Clauses, Input, Kind, Moments, saying
from compliance.model import AccessContext
from compliance.reasons import AccessReason
from risk.model import RISK_ORDER, RiskAssessment, RiskLevel

RiskOf = Callable[[AccessContext], RiskAssessment]


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


def holding(of: RiskOf) -> Callable[[tuple[RiskLevel, ...], AccessContext], bool | None]:
    """Return the meaning of a condition on one of the risks."""
    return lambda wanted, context: levels_hold(levels_of(of(context)), wanted)


def seeing(of: RiskOf) -> Callable[[AccessContext], str]:
    """Return the text of one of the risks."""
    return lambda context: " or ".join(sorted(levels_of(of(context))))


def changing(of: RiskOf) -> Moments:
    """Return when time alone changes one of the risks."""

    def moments(_wanted: Any, context: AccessContext) -> list[datetime]:
        changes_at = of(context).changes_at
        return [] if changes_at is None else [changes_at]

    return moments


# --- for the analysis: a level, and whether it is known ---------------------------------------------------


def clauses_of(name: str) -> Clauses:
    """Return the clauses of a condition on one of the risks."""

    def clauses(wanted: tuple[RiskLevel, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
        yield (inputs.literal(name, lambda risk: _is_held(risk, wanted, limits)),)

    return clauses


def _is_held(risk: tuple[RiskLevel, bool], levels: tuple[RiskLevel, ...], limits: bool) -> bool:
    level, is_known = risk
    possible = {level} if is_known else {level, RiskLevel.UNKNOWN}
    return not possible.isdisjoint(levels) if limits else possible.issubset(levels)


def values_of(level_key: str, silent_key: str) -> list[tuple[Any, dict[str, Any]]]:
    """Return the values that a risk can have: each level, each while a sensor is silent, and one of which none told."""
    sure: list[tuple[Any, dict[str, Any]]] = [((level, True), {level_key: level}) for level in RISK_ORDER]
    silent = [((level, False), {level_key: level, silent_key: True}) for level in RISK_ORDER]
    return [*sure, *silent, ((RiskLevel.UNKNOWN, False), {level_key: RiskLevel.UNKNOWN})]


def place_of(variable: Variable, risk: RiskAssessment) -> int | None:
    """Return which value a risk has."""
    is_told = risk.level in RISK_ORDER
    return place(variable, (risk.level, risk.is_known) if is_told else (RiskLevel.UNKNOWN, False))


def say_of(whose: str) -> Callable[[Change, str], Iterator[str]]:
    """Return what says a change of somebody's risk."""

    def say(change: Change, _rest: str) -> Iterator[str]:
        level, is_known = change.then
        yield f"the risk of {whose} is {level}{'' if is_known else ', not known for sure'}"

    return say


# --- a kind ----------------------------------------------------------------------------------------------


def apart_from_device(key: str, silent_key: str, risk: RiskOf, *, of: str) -> tuple[Kind, Input]:
    """Return the condition `key` on a risk that nothing ties to the device, `of` somebody, and its input."""
    kind = Kind(
        holds=holding(risk),
        clauses=clauses_of(key),
        reason=AccessReason.PERSON_AT_RISK,
        seen=seeing(risk),
        moments=changing(risk),
        is_about_unknown=True,
    )

    def add(inputs: Inputs) -> None:
        inputs.add(key, values_of(key, silent_key))

    def place_in(here: Here, variable: Variable, _rest: str) -> int | None:
        return place_of(variable, risk(here.context))

    return kind, Input(word=key, add=add, place=place_in, say=saying(say_of(of)))
