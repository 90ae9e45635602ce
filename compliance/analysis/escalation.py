"""The escalation of compliance policies as inputs: for how long a device has been failing each of their rules. Pure.

A rule of a policy that escalates is met (or not asked of the device), unknown, or has been failing for an age; ages are
cut where a step is due and where grace ends. The worst of all rules is the compliance state, and what the reached steps
demand limits every app.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from compliance.analysis.inputs import Inputs
from compliance.analysis.solver import Clause, Literal
from compliance.conditions.facts import sure_rules
from compliance.model import (
    STRICTNESS,
    CompliancePolicy,
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    Outcome,
    RiskRule,
    RuleLevel,
    SessionControl,
)
from compliance.state import WORST_FIRST
from risk.model import RISK_ORDER

WORD = "failing"
UNCOVERED = "uncovered"


class Standing(msgspec.Struct, frozen=True):
    """How a device stands towards a rule: `age` is how long it has been failing, None while it is not.

    `outcome` is the strictest that the steps reached by then demand, None for no demand; `controls` are all theirs.
    """

    age: float | None
    state: ComplianceState
    outcome: Outcome | None = None
    controls: frozenset[SessionControl] = frozenset()


MET = Standing(None, ComplianceState.COMPLIANT)
UNKNOWN = Standing(None, ComplianceState.UNKNOWN)


def add(inputs: Inputs) -> None:
    """Add an input for each rule that escalates, and for what the others do to the state."""
    for policy, rule in _looked_at(inputs.around.compliance):
        name = f"{policy.name}/{rule.name}"
        values = [(standing, _says(name, standing)) for standing in _standings(policy, rule)]
        inputs.add_of_device(f"{WORD} {name}", values, [MET], keeps=True)


def _says(name: str, standing: Standing) -> dict[str, dict[str, float]]:
    return {} if standing.age is None else {"failing": {name: standing.age}}


def _looked_at(policies: Iterable[CompliancePolicy]) -> Iterator[tuple[CompliancePolicy, ComplianceRule]]:
    """Yield the rules that escalate, and of all others one for each sort of device; nothing where none escalates.

    Rules without steps that hold for the same devices only make the state: the one with the longest grace, which can be
    in every state, stands for all of them.
    """
    policies = tuple(policies)
    escalating = [(policy, rule) for policy in policies if policy.escalation for rule in _required(policy)]
    if not escalating:
        return
    yield from escalating
    others: dict[object, tuple[CompliancePolicy, ComplianceRule]] = {}
    for policy in policies:
        for rule in _required(policy) if not policy.escalation else ():
            sort = (policy.include, policy.exclude, rule.platforms)
            if sort not in others or others[sort][1].grace < rule.grace:
                others[sort] = (policy, rule)
    yield from others.values()


def _required(policy: CompliancePolicy) -> list[ComplianceRule]:
    """Return the rules of a policy that are required, or will be from some day on."""
    return [each for each in policy.rules if each.level in {RuleLevel.REQUIRE, RuleLevel.WARN_UNTIL}]


def _standings(policy: CompliancePolicy, rule: ComplianceRule) -> Iterator[Standing]:
    """Yield every standing that the steps and the state can tell apart, the ordinary one first."""
    yield MET
    yield UNKNOWN
    for age in sorted({0.0, max(rule.grace, 0.0), *(step.after for step in policy.escalation)}):
        reached = [step for step in policy.escalation if step.after <= age]
        yield Standing(
            age,
            ComplianceState.IN_GRACE_PERIOD if age < rule.grace else ComplianceState.NONCOMPLIANT,
            max((step.decision for step in reached), key=STRICTNESS.__getitem__, default=None),
            frozenset(control for step in reached for control in step.controls),
        )


# --- what is demanded ----------------------------------------------------------------------------------


def none_stricter(inputs: Inputs, than: Outcome) -> list[Clause]:
    """Return that no step demands more than an outcome."""
    return [(each,) for each in _all(inputs, lambda standing: _rank(standing) <= STRICTNESS[than])]


def one_demands(inputs: Inputs, outcomes: Iterable[Outcome]) -> Clause:
    """Return that a step demands one of these outcomes, and none of the same rule a stricter one."""
    wanted = frozenset(outcomes)
    return tuple(_all(inputs, lambda standing: standing.outcome in wanted))


def none_brings(inputs: Inputs, control: SessionControl) -> list[Clause]:
    """Return that no step brings a control."""
    return [(each,) for each in _all(inputs, lambda standing: control not in standing.controls)]


def _all(inputs: Inputs, holds: Callable[[Standing], bool]) -> list[Literal]:
    return [inputs.literal(name, holds) for name in inputs.named(WORD)]


def _rank(standing: Standing) -> int:
    return -1 if standing.outcome is None else STRICTNESS[standing.outcome]


# --- what goes together --------------------------------------------------------------------------------


def tie(inputs: Inputs) -> None:
    """Tie the rules that escalate to the compliance state, to the device, and to what is known of it."""
    names = inputs.named(WORD)
    if not names:
        return
    is_uncovered = _tie_uncovered(inputs)
    for policy, rule in _looked_at(inputs.around.compliance):
        name = f"{WORD} {policy.name}/{rule.name}"
        is_met = inputs.is_in(name, [MET])
        if is_uncovered is not None:
            inputs.tie(inputs.unlike(is_uncovered), is_met)
        for clause in _may_cover(inputs, policy, rule):
            inputs.tie(is_met, *clause)
        if policy.escalation:
            _tie_to_evidence(inputs, name, f"{policy.name}/{rule.name}", rule)
    _tie_state(inputs, names, is_uncovered)


def _tie_state(inputs: Inputs, names: list[str], is_uncovered: Literal | None) -> None:
    """The state is the worst: no rule has a worse one, and, unless all is well, one has this one."""
    for at, state in enumerate(WORST_FIRST):
        is_another = inputs.is_in("compliance", set(ComplianceState) - {state})
        better = frozenset(WORST_FIRST[at:])
        for name in names:
            inputs.tie(is_another, inputs.literal(name, partial(_is_one_of, better)))
        if state is not ComplianceState.COMPLIANT:
            ways = _all(inputs, partial(_is_one_of, frozenset({state})))
            if state is ComplianceState.UNKNOWN:
                ways.append(inputs.is_in("device", ["unknown"]))
            if is_uncovered is not None and state is inputs.around.uncovered:
                ways.append(is_uncovered)
            inputs.tie(is_another, *ways)


def _is_one_of(states: frozenset[ComplianceState], standing: Standing) -> bool:
    return standing.state in states


def _tie_to_evidence(inputs: Inputs, variable: str, name: str, rule: ComplianceRule) -> None:
    """Tie a rule that every device is held to, to the fact or the risk that conditions ask about too."""
    if name not in dict(sure_rules(inputs.around.compliance, inputs.around.exempted)):
        return
    if isinstance(rule, FactRule) and inputs.has(f"fact {rule.fact}"):
        verdicts = [inputs.literal(f"fact {rule.fact}", _verdict(name, each)) for each in (True, False, None)]
    elif isinstance(rule, RiskRule) and not rule.sensor and rule.max in RISK_ORDER:
        highest = RISK_ORDER[rule.max]
        levels = [(level, is_known) for level in RISK_ORDER for is_known in (True, False)]
        fine = [each for each in levels if RISK_ORDER[each[0]] <= highest]
        verdicts = [
            inputs.is_in("risk", [each for each in fine if each[1]]),
            inputs.is_in("risk", [each for each in levels if each not in fine]),
            inputs.literal("risk", lambda risk: risk not in levels or (risk in fine and not risk[1])),
        ]
    else:
        return
    is_unknown_device = inputs.is_in("device", ["unknown"])
    standings = (
        inputs.is_in(variable, [MET]),
        inputs.literal(variable, lambda standing: standing.age is not None),
        inputs.is_in(variable, [UNKNOWN]),
    )
    for verdict, standing in zip(verdicts, standings, strict=True):
        inputs.tie(inputs.unlike(verdict), standing, is_unknown_device)


def _verdict(name: str, wanted: bool | None) -> Callable[[tuple[tuple[str, object], ...]], bool]:
    return lambda told: dict(told)[name] is wanted


# --- which devices -------------------------------------------------------------------------------------


def _may_cover(inputs: Inputs, policy: CompliancePolicy, rule: ComplianceRule) -> Iterator[list[Literal]]:
    """Yield what must hold of a device that may be held to a rule: what is not known never lets one off."""
    include, exclude = policy.include, policy.exclude
    for key, listed in (
        ("platform", rule.platforms),
        ("platform", include.platforms),
        ("ownership", include.ownership),
    ):
        if listed:
            yield [inputs.is_in(key, [*listed, ""])]
    if include.tags:
        yield [inputs.is_in(f"tag {tag}", ["yes"]) for tag in include.tags]
    if exclude is not None and not exclude.devices:
        spared = [inputs.unlike(each) for each in _surely_of(inputs, exclude)]
        if not exclude.tags:
            yield spared
        for tag in exclude.tags:
            yield [*spared, inputs.is_in(f"tag {tag}", ["no", "unknown"])]


def _surely_of(inputs: Inputs, group: DeviceAssignment) -> list[Literal]:
    """Return what is known of a device that surely belongs to a group, but for tags and names."""
    keys = (("platform", group.platforms), ("ownership", group.ownership))
    return [inputs.is_in(key, listed) for key, listed in keys if listed]


def _tie_uncovered(inputs: Inputs) -> Literal | None:
    """Add whether no policy covers the device, and return that; None where one always does."""
    policies = inputs.around.compliance
    if any(_is_sure(policy) for policy in policies):
        return None
    inputs.add_of_device(UNCOVERED, [(False, {}), (True, {})], [False], keeps=True)
    is_uncovered = inputs.is_in(UNCOVERED, [True])
    is_covered = inputs.unlike(is_uncovered)
    inputs.tie(is_covered, inputs.is_in("compliance", [inputs.around.uncovered]))
    ways_in = [inputs.is_in("device", ["unknown"]), is_uncovered]
    for policy in policies:
        if not policy.include.devices:
            inputs.tie(is_covered, *_ways_out(inputs, policy))
        # A policy without rules on any platform covers nothing.
        ways_in += [_where(inputs, _may_cover(inputs, policy, rule)) for rule in policy.rules]
    inputs.tie(*ways_in)
    return is_uncovered


def _is_sure(policy: CompliancePolicy) -> bool:
    """Return whether a policy holds every device to one rule at least."""
    is_for_all = policy.include == DeviceAssignment() and policy.exclude is None
    return is_for_all and any(not rule.platforms for rule in policy.rules)


def _ways_out(inputs: Inputs, policy: CompliancePolicy) -> Iterator[Literal]:
    """Yield what may be so of a device that a policy does not cover, or holds to no rule."""
    include, exclude = policy.include, policy.exclude
    for key, listed in (("platform", include.platforms), ("ownership", include.ownership)):
        if listed:
            yield inputs.unlike(inputs.is_in(key, [*listed, ""]))
    if include.tags:
        yield _all_of(inputs, [inputs.is_in(f"tag {tag}", ["no"]) for tag in include.tags])
    if all(rule.platforms for rule in policy.rules):
        anywhere = {"", *(platform for rule in policy.rules for platform in rule.platforms)}
        yield inputs.literal("platform", lambda value: value not in anywhere)
    if exclude is not None:
        sure = _surely_of(inputs, exclude)
        for tag in exclude.tags or (None,):
            tagged = [] if tag is None else [inputs.is_in(f"tag {tag}", ["yes"])]
            yield _all_of(inputs, [*sure, *tagged])


def _all_of(inputs: Inputs, literals: list[Literal]) -> Literal:
    """Return a literal that holds only where all of these do."""
    return _where(inputs, ([each] for each in literals))


def _where(inputs: Inputs, clauses: Iterable[list[Literal]]) -> Literal:
    """Return a literal that holds only where all of these clauses do."""
    helper = inputs.helper()
    for clause in clauses:
        inputs.tie((helper, 0b01), *clause)
    return helper, 0b10
