"""`facts`: comparisons of posture facts; all of them must hold."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise, product
from typing import Any

import msgspec

from compliance.analysis.inputs import (
    MOMENT,
    Change,
    Here,
    Inputs,
    Variable,
    condition_key,
    place_where,
    unique,
)
from compliance.analysis.solver import Clause
from compliance.comparison import FAILED, Verdict, compare, date_moment
from compliance.comparison import given as comparisons_of
from compliance.conditions.fact_states import fact_state, facts_seen
from compliance.conditions.kind import Input, Kind, all_of, saying
from compliance.model import (
    AccessContext,
    CompliancePolicy,
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    FactCondition,
    FactRule,
    FactState,
    FactStateCondition,
    RuleLevel,
)
from compliance.reasons import AccessReason
from compliance.texts import duration_text, shown_value
from compliance.versions import parse_version
from risk.scoring import fact_value


def fact_held(asked: FactCondition, context: AccessContext) -> bool | None:
    """Return whether one comparison holds, None when it is not known."""
    if context.posture is None:
        return None
    fact = fact_value(context.posture, asked.fact, context.sensors, context.now)
    if fact is None or fact.value is None:
        return None
    if asked.max_age is not None and fact.observed_at + timedelta(seconds=asked.max_age) <= context.now:
        return None
    verdict = compare(asked, fact.value, context.now)
    if verdict is Verdict.MET:
        return True
    return False if verdict in FAILED else None


def _holds(wanted: tuple[FactCondition, ...], context: AccessContext) -> bool | None:
    return all_of([fact_held(asked, context) for asked in wanted])


def _moments(wanted: tuple[FactCondition, ...], context: AccessContext) -> list[datetime]:
    moments: list[datetime | None] = []
    for asked in wanted:
        if context.posture is None:
            continue
        fact = fact_value(context.posture, asked.fact, context.sensors, context.now)
        if fact is not None:
            moments += [fact.changes_at, date_moment(asked, fact.value)]
            if asked.max_age is not None:
                moments.append(fact.observed_at + timedelta(seconds=asked.max_age))
    return [moment for moment in moments if moment is not None]


def seen_of_fact(name: str, context: AccessContext) -> str:
    """Return what is known of a fact, with who said it and how long ago."""
    if context.posture is None:
        return f"{name} of a device not known"
    fact = fact_value(context.posture, name, context.sensors, context.now)
    if fact is None:
        return f"{name} not known"
    return f"{name} {shown_value(fact.value)} ({fact.source}, {duration_text(fact.age_s)} ago)"


def _seen_of(wanted: tuple[FactCondition, ...], context: AccessContext) -> str:
    missed = [asked for asked in wanted if fact_held(asked, context) is not True]
    return "; ".join(seen_of_fact(asked.fact, context) for asked in missed or wanted)


def _clauses(wanted: tuple[FactCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    for asked in wanted:
        yield (inputs.literal(f"fact {asked.fact}", _is_held(condition_key(asked), limits)),)


def _is_held(key: str, limits: bool) -> Callable[[Any], bool]:
    held = (True, None) if limits else (True,)
    return lambda told: dict(told)[key] in held


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=facts_seen,
    seen_of=_seen_of,
    moments=_moments,
)


# --- for the analysis: a fact, by what each condition, state and sure rule makes of it -----------------------

FactAsked = FactCondition | FactRule


class Ago(msgspec.Struct, frozen=True):
    """A date that lies so many seconds before the request, whenever that is."""

    seconds: float

    def before(self, now: datetime) -> str:
        """Return the date as a text."""
        return (now - timedelta(seconds=self.seconds)).isoformat()


def _verdict(asked: FactAsked, value: Any, age: float) -> bool | None:
    """Return whether a comparison holds of a value that was observed `age` seconds ago; None: not known."""
    if asked.max_age is not None and age >= asked.max_age:
        return None
    stated = value.before(MOMENT) if isinstance(value, Ago) else value
    verdict = compare(asked, stated, MOMENT)
    if verdict is Verdict.MET:
        return True
    return False if verdict in FAILED else None


def _state(asked: FactStateCondition, age: float) -> FactState:
    return FactState.STALE if asked.max_age is not None and age >= asked.max_age else FactState.FRESH


def _ages(asked: Sequence[FactAsked | FactStateCondition]) -> list[float]:
    """Return ages of an observation, in seconds."""
    return sorted({0.0, *(each.max_age for each in asked if each.max_age is not None)})


def values_told_apart(asked: Sequence[FactAsked]) -> list[Any]:
    """Return values that reach every combination of verdicts: each bound, what lies beside it, and other types."""
    values: list[Any] = [True, False, "another value", 0]
    for each in asked:
        for key in comparisons_of(each):
            values += _beside(key, getattr(each, key))
    numbers = sorted(
        {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    )
    values += [(low + high) / 2 for low, high in pairwise(numbers)]
    return values


def _beside(key: str, bound: Any) -> list[Any]:
    match key:
        case "one_of" | "not_one_of":
            return list(bound)
        case "at_least" | "below":
            product_name = getattr(parse_version(bound), "product", "")
            return [bound, f"{bound}.0.0.1", f"{product_name} 0".strip(), f"{product_name} 99999999".strip()]
        case "newer_than":
            return [Ago(bound - 1), Ago(bound)]
        case "min" | "max":
            return [bound, bound - 1, bound + 1]
        case _:
            return [bound, bound + 1] if isinstance(bound, float) and not isinstance(bound, bool) else [bound]


def sure_rules(
    policies: Sequence[CompliancePolicy], exempted: frozenset[str]
) -> Iterator[tuple[str, ComplianceRule]]:
    """Yield, with `policy/rule`, the rules that every device is held to.

    No assignment, platform or exemption lets one off.
    """
    for policy in policies:
        if policy.include != DeviceAssignment() or policy.exclude is not None:
            continue
        for rule in policy.rules:
            name = f"{policy.name}/{rule.name}"
            is_exempted = not exempted.isdisjoint({policy.name, name})
            if rule.level is RuleLevel.REQUIRE and not rule.platforms and not is_exempted:
                yield name, rule


def _add(inputs: Inputs) -> None:
    for name in unique(asked.fact for asked in inputs.asked("facts", "fact_states")):
        _add_fact(inputs, name)


def _add_fact(inputs: Inputs, name: str) -> None:
    """Add a fact: its values are told apart by what each condition, and each sure rule, makes of them."""
    asked: dict[str, FactAsked] = {
        condition_key(each): each for each in inputs.asked("facts") if each.fact == name
    }
    rules = sure_rules(inputs.around.compliance, inputs.around.exempted)
    asked |= {key: rule for key, rule in rules if isinstance(rule, FactRule) and rule.fact == name}
    states = {condition_key(each): each for each in inputs.asked("fact_states") if each.fact == name}
    told: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    everything = list(asked.values())
    for value, age in product(values_told_apart(everything), _ages([*everything, *states.values()])):
        says: dict[str, Any] = {"facts": {name: value}}
        if age:
            says["fact_ages"] = {name: age}
        verdicts: list[tuple[str, Any]] = [(key, _verdict(each, value, age)) for key, each in asked.items()]
        verdicts += [(key, _state(each, age)) for key, each in states.items()]
        told.setdefault(tuple(verdicts), says)

    def mute(state: FactState | None) -> tuple[tuple[str, Any], ...]:
        return (*((key, None) for key in asked), *((key, state) for key in states))

    if states:
        told.setdefault(mute(FactState.STALE), {"expired_facts": (name,)})
        told[mute(FactState.SILENT)] = {"silent_facts": (name,)}
    else:
        told.pop(mute(None), None)
    never = mute(FactState.NEVER)
    # Without a condition on its state, a fact that was never told is like one of an unknown device.
    inputs.add_of_device(f"fact {name}", [*told.items(), (never, {})], [mute(None)], keeps=not states)
    if states:
        is_loud = inputs.literal(f"fact {name}", lambda key: key != mute(FactState.SILENT))
        inputs.tie(is_loud, inputs.literal("risk", lambda risk: not risk[1]))


def tie_to_rule(inputs: Inputs, name: str, rule: FactRule, worse: frozenset[ComplianceState]) -> None:
    """Say that a device is in a worse state unless it meets a sure rule on a fact that conditions ask about."""
    if inputs.has(f"fact {rule.fact}"):
        is_met = inputs.literal(f"fact {rule.fact}", lambda key: dict(key)[name] is True)
        inputs.tie(inputs.is_in("compliance", worse), is_met)


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    keys: dict[str, Any] = {condition_key(each): each for each in here.inputs.asked("facts", "fact_states")}
    wanted: dict[str, Any] = {}
    for key, _ in variable.values[0].key:
        asked = keys.get(key)
        if isinstance(asked, FactStateCondition):
            wanted[key] = fact_state(asked, here.context)
        elif asked is not None:
            wanted[key] = fact_held(asked, here.context)
    return place_where(
        variable, lambda key: {name: verdict for name, verdict in key if name in wanted} == wanted
    )


def _say(change: Change, rest: str) -> Iterator[str]:
    says: Any = change.says
    if "facts" not in says:
        yield f"{rest} is from a silent sensor" if "silent_facts" in says else f"{rest} is not known"
        return
    value = says["facts"][rest]
    if isinstance(value, Ago):
        yield f"{rest} is {duration_text(value.seconds)} ago"
        return
    age = says.get("fact_ages", {}).get(rest, 0.0)
    yield f"{rest} is {shown_value(value)}" + (f", reported {duration_text(age)} ago" if age else "")


INPUT = Input(word="fact", add=_add, place=_place, say=saying(_say))
