"""When a policy matches, as clauses over the inputs: what `compliance.evaluate` says, condition by condition. Pure.

`limits` chooses the side on which what is not known counts, as it does there.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from compliance.analysis.domains import Space, folded
from compliance.analysis.solver import Clause, Literal
from compliance.analysis.values import fact_key
from compliance.conditions.hosts import host_matches
from compliance.evaluate import ANY_SERVICE
from compliance.model import AccessPolicy, Assignment, Conditions, FactStateCondition, Outcome, StepUp
from compliance.paths import path_matches
from risk.model import RISK_ORDER, RiskLevel

HANDLED = frozenset(
    {
        "compliance", "risk", "user_risk", "session_risk", "worst_risk", "device", "acr", "not_acr", "amr", "not_amr",
        "auth_older_than", "auth_within", "binding", "platforms", "not_platforms", "ownership", "tags", "not_tags",
        "findings", "not_findings", "facts", "fact_states", "sensors", "times", "not_times", "claims", "providers",
        "hosts", "not_hosts", "networks", "not_networks", "methods", "not_methods", "paths", "not_paths", "clients",
    }
)  # fmt: skip
"""The keys of conditions that are looked at here: a test holds that there are no others."""


def matching(policy: AccessPolicy, space: Space, *, limits: bool) -> list[Clause]:
    """Return clauses that hold together exactly where the policy matches."""
    clauses = [*_included(policy.include, space, limits)]
    if policy.exclude is not None:
        clauses += _not_excluded(policy.exclude, space, limits)
    clauses += _conditions(policy.when, space, limits)
    if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        clauses.append(_not_stepped_up(policy.step_up, space))
    return clauses


def not_matching(policy: AccessPolicy, space: Space, *, limits: bool) -> list[Clause]:
    """Return clauses that hold together exactly where the policy does not match; may add helpers to the space."""
    known = space.negated.get((id(policy), limits))
    if known is None or known[0] is not policy:
        known = space.negated[id(policy), limits] = (policy, _negated(policy, space, limits=limits))
    return list(known[1])


def _negated(policy: AccessPolicy, space: Space, *, limits: bool) -> list[Clause]:
    clauses: list[Clause] = []
    fails: list[Literal] = []
    for clause in matching(policy, space, limits=limits):
        if len(clause) == 1:
            fails.append(_unlike(clause[0], space))
            continue
        # The helper is true only where no literal of the clause holds.
        helper = space.helper()
        clauses += [((helper, 0b01), _unlike(literal, space)) for literal in clause]
        fails.append((helper, 0b10))
    return [*clauses, tuple(fails)]


def _unlike(literal: Literal, space: Space) -> Literal:
    variable, mask = literal
    return variable, (1 << len(space.variables[variable].values)) - 1 & ~mask


# --- who -----------------------------------------------------------------------------------------------


def _named(assignment: Assignment, space: Space, *, if_unsure: bool) -> list[Literal]:
    """Return the literals, one of which holds where the user is named; unsure are groups that are not told."""
    names = {folded(name) for name in assignment.users}
    states = ["yes", "unknown"] if if_unsure else ["yes"]
    emails = [
        (name, is_verified) for name in names for is_verified in ((True, False) if if_unsure else (True,))
    ]
    services = assignment.services
    if ANY_SERVICE in services:
        services = tuple(value.key for value in space.variable("service").values if value.key)
    return [
        space.is_in("user", names),
        space.is_in("email", emails),
        space.is_in("service", services),
        *(space.is_in(f"groups {group}", states) for group in assignment.groups),
        *(space.is_in(f"roles {role}", states) for role in assignment.roles),
    ]


def _included(assignment: Assignment, space: Space, limits: bool) -> list[Clause]:
    if assignment.is_for_everyone:
        return []
    return [tuple(_named(assignment, space, if_unsure=limits))]


def _not_excluded(assignment: Assignment, space: Space, limits: bool) -> list[Clause]:
    return [(_unlike(literal, space),) for literal in _named(assignment, space, if_unsure=not limits)]


# --- what must hold besides ----------------------------------------------------------------------------


def _conditions(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    if when.compliance:
        yield (space.is_in("compliance", when.compliance),)
    if when.risk:
        yield (space.literal("risk", lambda risk: _risk_holds(risk, when.risk, limits)),)
    if when.user_risk:
        yield (space.literal("user_risk", lambda risk: _risk_holds(risk, when.user_risk, limits)),)
    if when.session_risk:
        yield (space.literal("session_risk", lambda risk: _risk_holds(risk, when.session_risk, limits)),)
    if when.worst_risk:
        yield from _worst_risk(when.worst_risk, space, limits)
    if when.device:
        yield (space.is_in("device", when.device),)
    if when.providers:
        yield (space.is_in("provider", when.providers),)
    yield from _strength(when, space, limits)
    yield from _of_device(when, space, limits)
    yield from _of_request(when, space, limits)


def _strength(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    if when.acr:
        yield (space.is_in("acr", [*when.acr, *([None] if limits else [])]),)
    if when.not_acr:
        yield (space.literal("acr", lambda acr: limits if acr is None else acr not in when.not_acr),)
    if when.amr:
        yield tuple(_members("amr", when.amr, space, limits))
    for method in when.not_amr:
        yield (space.is_in(f"amr {method}", ["no", "unknown"] if limits else ["no"]),)
    if when.auth_older_than is not None:
        least = when.auth_older_than
        yield (space.literal("age", lambda age: limits if age is None else age >= least),)
    if when.auth_within is not None:
        most = when.auth_within
        yield (space.literal("age", lambda age: limits if age is None else age < most),)


def _risk_holds(risk: tuple[RiskLevel, bool], levels: tuple[RiskLevel, ...], limits: bool) -> bool:
    level, is_known = risk
    possible = {level} if is_known else {level, RiskLevel.UNKNOWN}
    return not possible.isdisjoint(levels) if limits else possible.issubset(levels)


RISKS = ("risk", "user_risk", "session_risk")


def _worst_risk(levels: tuple[RiskLevel, ...], space: Space, limits: bool) -> Iterator[Clause]:
    """Say what `compliance.conditions.worst_risk` says: the worst that was told of, `unknown` where that is unsure."""
    is_unknown_listed = RiskLevel.UNKNOWN in levels
    unsure = [
        space.literal("risk", lambda risk: not risk[1]),
        *(space.literal(name, lambda risk: risk[0] in RISK_ORDER and not risk[1]) for name in RISKS[1:]),
    ]
    if not limits and not is_unknown_listed:
        yield from ((_unlike(each, space),) for each in unsure)
    if limits and not is_unknown_listed:
        # What nobody has told of is `unknown`, which is not listed.
        yield tuple(space.literal(name, lambda risk: risk[0] in RISK_ORDER) for name in RISKS)
    escape = unsure if limits and is_unknown_listed else []
    for level in RISK_ORDER:
        if level not in levels:
            yield from (_joined([*clause, *escape]) for clause in _worst_is_not(level, space))


def _worst_is_not(level: RiskLevel, space: Space) -> Iterator[list[Literal]]:
    """Say for each risk that it is another one than this level, unless some risk is above it."""
    above = [
        space.literal(name, lambda risk: RISK_ORDER.get(risk[0], -1) > RISK_ORDER[level]) for name in RISKS
    ]
    for name in RISKS:
        yield [space.literal(name, lambda risk: risk[0] is not level), *above]


def _joined(literals: Iterable[Literal]) -> Clause:
    """Return a clause with one literal for each variable."""
    masks: dict[int, int] = {}
    for variable, mask in literals:
        masks[variable] = masks.get(variable, 0) | mask
    return tuple(masks.items())


def _members(key: str, names: tuple[str, ...], space: Space, limits: bool) -> Iterator[Literal]:
    for name in names:
        yield space.is_in(f"{key} {name}", ["yes", "unknown"] if limits else ["yes"])


def _of_device(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    unsure = [""] if limits else []
    if when.binding:
        yield (space.is_in("binding", when.binding),)
    if when.platforms:
        yield (space.is_in("platform", [*when.platforms, *unsure]),)
    if when.not_platforms:
        held = [name for name in _keys("platform", space) if name not in when.not_platforms and name]
        yield (space.is_in("platform", [*held, *unsure]),)
    if when.ownership:
        yield (space.is_in("ownership", [*when.ownership, *unsure]),)
    if when.tags:
        yield tuple(_members("tag", when.tags, space, limits))
    for tag in when.not_tags:
        yield (space.is_in(f"tag {tag}", ["no", "unknown"] if limits else ["no"]),)
    if when.sensors:
        yield tuple(
            space.is_in(f"sensor {asked.sensor}", [*asked.states, *([None] if limits else [])])
            for asked in when.sensors
        )
    yield from _findings(when, space, limits)
    yield from _facts(when, space, limits)
    for claim in when.claims:
        states = ["yes", "unknown"] if limits else ["yes"]
        yield tuple(space.is_in(f"claim {claim.claim} {value}", states) for value in claim.one_of)


def _facts(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    for fact in when.facts:
        yield (space.literal(f"fact {fact.fact}", _is_held(fact_key(fact), limits)),)
    if when.fact_states:
        yield _joined(
            space.literal(f"fact {asked.fact}", _is_in_state(asked, limits)) for asked in when.fact_states
        )


def _is_held(key: str, limits: bool) -> Callable[[Any], bool]:
    held = (True, None) if limits else (True,)
    return lambda told: dict(told)[key] in held


def _is_in_state(asked: FactStateCondition, limits: bool) -> Callable[[Any], bool]:
    key = fact_key(asked)

    def holds(told: Any) -> bool:
        state = dict(told)[key]
        return limits if state is None else state in asked.states

    return holds


def _findings(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    """What is said of findings: that there is none is known only of a known device whose sensors all speak."""
    is_unsure = (space.literal("risk", lambda risk: not risk[1]),)
    is_sure = space.literal("risk", lambda risk: risk[1])
    if when.findings:
        found = tuple(_open(name, when.findings, space) for name in space.findings())
        yield (*found, *is_unsure) if limits else found
    if when.not_findings:
        for name in space.findings():
            yield (_unlike(_open(name, when.not_findings, space), space),)
        if not limits:
            yield (is_sure,)


def _open(name: str, asked: tuple[object, ...], space: Space) -> Literal:
    """Return the literal that a finding of this sort is open, and is one of those asked for."""
    return space.literal(name, lambda key: key[1] and not key[0].isdisjoint(asked))


def _keys(name: str, space: Space) -> list[object]:
    return [value.key for value in space.variable(name).values]


def _is_asked(host: str, patterns: tuple[str, ...]) -> bool:
    return any(host_matches(pattern, host) for pattern in patterns)


def _of_request(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    if when.networks:
        yield (space.literal("network", lambda names: not names.isdisjoint(when.networks)),)
    if when.not_networks:
        yield (space.literal("network", lambda names: names.isdisjoint(when.not_networks)),)
    if when.methods:
        yield (space.is_in("method", when.methods),)
    if when.not_methods:
        yield (space.literal("method", lambda method: method not in when.not_methods),)
    if when.clients:
        yield (space.is_in("client", when.clients),)
    if when.times:
        yield (space.literal("moment", lambda windows: not windows.isdisjoint(when.times)),)
    if when.not_times:
        yield (space.literal("moment", lambda windows: windows.isdisjoint(when.not_times)),)
    yield from _of_address(when, space, limits)


def _of_address(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    if when.hosts:
        yield (space.literal("host", lambda host: limits if not host else _is_asked(host, when.hosts)),)
    if when.not_hosts:
        yield (
            space.literal("host", lambda host: limits if not host else not _is_asked(host, when.not_hosts)),
        )
    if when.paths:
        yield (space.literal("path", lambda path: any(path_matches(each, path) for each in when.paths)),)
    if when.not_paths:
        yield (
            space.literal("path", lambda path: not any(path_matches(each, path) for each in when.not_paths)),
        )


def _not_stepped_up(step_up: StepUp, space: Space) -> Clause:
    """Return that the sign-in lacks something that the step-up asks for; unknown brings nothing."""
    lacks: list[Literal] = []
    if step_up.acr_values:
        lacks.append(space.literal("acr", lambda acr: acr not in step_up.acr_values))
    if step_up.max_age is not None:
        most = step_up.max_age
        lacks.append(space.literal("age", lambda age: age is None or age >= most))
    return tuple(lacks)
