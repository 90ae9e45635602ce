"""When a policy matches, as clauses over the inputs: what `compliance.evaluate` says, condition by condition. Pure.

`limits` chooses the side on which what is not known counts, as it does there.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from compliance.analysis.domains import Space
from compliance.analysis.solver import Clause, Literal
from compliance.conditions import given, given_of_request
from compliance.evaluate import ANY_SERVICE, folded
from compliance.model import AccessPolicy, Assignment, Conditions, Outcome, StepUp


def matching(policy: AccessPolicy, space: Space, *, limits: bool) -> list[Clause]:
    """Return clauses that hold together exactly where the policy matches."""
    return list(_once(_matching, policy, space, limits))


def not_matching(policy: AccessPolicy, space: Space, *, limits: bool) -> list[Clause]:
    """Return clauses that hold together exactly where the policy does not match; may add helpers to the space."""
    return list(_once(_negated, policy, space, limits))


def one_matches(policies: Iterable[tuple[AccessPolicy, bool]], space: Space) -> tuple[list[Clause], Clause]:
    """Return that one of these policies matches, each with the side on which what is not known counts.

    The clauses say what helpers mean, and the last one that one of these holds.
    """
    clauses: list[Clause] = []
    ways: list[Literal] = []
    for policy, limits in policies:
        helper, means = _once(_named_match, policy, space, limits)
        clauses += means
        ways.append((helper, 0b10))
    return clauses, tuple(ways)


_Found = TypeVar("_Found")


def _once(
    work: Callable[[AccessPolicy, Space, bool], _Found], policy: AccessPolicy, space: Space, limits: bool
) -> _Found:
    """Return what a function makes of a policy, worked out once in a space."""
    key = (work, id(policy), limits)
    known: tuple[AccessPolicy, _Found] | None = space.remembered.get(key)
    if known is None or known[0] is not policy:
        known = space.remembered[key] = (policy, work(policy, space, limits))
    return known[1]


def _matching(policy: AccessPolicy, space: Space, limits: bool) -> list[Clause]:
    clauses = [*_included(policy.include, space, limits)]
    if policy.exclude is not None:
        clauses += _not_excluded(policy.exclude, space, limits)
    clauses += _conditions(policy.when, space, limits)
    if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        clauses.append(_not_stepped_up(policy.step_up, space))
    return clauses


def _named_match(policy: AccessPolicy, space: Space, limits: bool) -> tuple[int, list[Clause]]:
    """Return a helper that is true only where the policy matches, and the clauses that make it so."""
    helper = space.helper()
    return helper, [((helper, 0b01), *clause) for clause in matching(policy, space, limits=limits)]


def _negated(policy: AccessPolicy, space: Space, limits: bool) -> list[Clause]:
    clauses: list[Clause] = []
    fails: list[Literal] = []
    for clause in matching(policy, space, limits=limits):
        if len(clause) == 1:
            fails.append(space.unlike(clause[0]))
            continue
        # The helper is true only where no literal of the clause holds.
        helper = space.helper()
        clauses += [((helper, 0b01), space.unlike(literal)) for literal in clause]
        fails.append((helper, 0b10))
    return [*clauses, tuple(fails)]


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
        services = tuple(key for key in space.keys("service") if key)
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
    return [(space.unlike(literal),) for literal in _named(assignment, space, if_unsure=not limits)]


# --- what must hold besides ----------------------------------------------------------------------------


def _conditions(when: Conditions, space: Space, limits: bool) -> Iterator[Clause]:
    for _, kind, value in given(when):
        yield from kind.clauses(value, space, limits)
    for _, request_kind, value in given_of_request(when):
        yield from request_kind.clauses(value, space, limits)


def _not_stepped_up(step_up: StepUp, space: Space) -> Clause:
    """Return that the sign-in lacks something that the step-up asks for; unknown brings nothing."""
    lacks: list[Literal] = []
    if step_up.acr_values:
        lacks.append(space.literal("acr", lambda acr: acr not in step_up.acr_values))
    if step_up.max_age is not None:
        most = step_up.max_age
        lacks.append(space.literal("age", lambda age: age is None or age >= most))
    return tuple(lacks)
