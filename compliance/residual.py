"""Partial evaluation: what is left of access policy once the slow facts are known. Pure.

INVARIANT: ``decide(policies, context, request)[0] == decide_residual(residual(policies, context),
request)`` for every request, until `valid_until`; `compile_residual` equals `decide_residual`. Property
tests hold both.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from compliance.compiled import compiled
from compliance.conditions import REQUEST_KINDS, given, given_of_request
from compliance.conditions.auth_older_than import after
from compliance.evaluate import combine, demanded, depends_on_request, entry, request_miss
from compliance.model import (
    AccessContext,
    AccessPolicy,
    Conditions,
    Decision,
    Outcome,
    RequestFacts,
    Residual,
    ResidualEntry,
    StepUp,
)

MAX_REMEMBERED_DECISIONS = 256
"""Most decisions that one compiled residual keeps; there is one per set of matching policies that really
occurs.
"""

_NOTHING = Conditions()


def residual(policies: Iterable[AccessPolicy], context: AccessContext) -> Residual:
    """Return the table that decides every request of this context until `valid_until`.

    `entries` holds the policies whose slow conditions hold, in the order of the file, with only their request
    conditions left; it is empty when none of them asks anything of the request: then `constant` decides.
    """
    policies = tuple(policies)
    demands = tuple(demanded(demand) for demand in context.compliance.demands)
    ready = compiled(policies)
    held = (*demands, *(_left(policies[at], context) for at in ready.matching(context)))
    is_constant = not any(depends_on_request(each.when) for each in held)
    return Residual(
        entries=() if is_constant else held,
        constant=combine(held) if is_constant else None,
        valid_until=valid_until(ready.timed, context),
    )


def _left(policy: AccessPolicy, context: AccessContext) -> ResidualEntry:
    """Return the policy's entry with nothing but the conditions on the request."""
    when = policy.when
    if not depends_on_request(when):
        return entry(policy, context, _NOTHING)
    return entry(policy, context, Conditions(**{key: getattr(when, key) for key in REQUEST_KINDS}))


def valid_until(policies: Iterable[AccessPolicy], context: AccessContext) -> datetime | None:
    """Return the nearest instant at which time alone could change the decision, None for never.

    Moments of risk and compliance count whether a policy asks for them or not: the app is told of both.
    """
    risks = (context.risk, context.user_risk, context.session_risk)
    moments = [*(risk.changes_at for risk in risks), context.compliance.changes_at]
    for policy in policies:
        if not policy.covers(context.app):
            continue
        if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
            moments += _moments(policy.step_up, context)
        for _, kind, value in given(policy.when):
            moments += [moment for moment in kind.moments(value, context) if moment > context.now]
    return min((moment for moment in moments if moment is not None), default=None)


def _moments(step_up: StepUp, context: AccessContext) -> list[datetime]:
    """Return the instant ahead at which the sign-in gets too old for a step-up."""
    too_old_at = None if step_up.max_age is None else after(context.user.auth_at, step_up.max_age)
    return [] if too_old_at is None or too_old_at <= context.now else [too_old_at]


def decide_residual(residual: Residual, request: RequestFacts) -> Decision:
    """Return the decision of one request. For many requests of one residual, `compile_residual` is faster."""
    if residual.constant is not None:
        return residual.constant
    return combine(each for each in residual.entries if request_miss(each.when, request) is None)


def decide_once(
    policies: tuple[AccessPolicy, ...], context: AccessContext, request: RequestFacts
) -> Decision:
    """Return the decision of one request alone: what `decide` returns, without traces, several times faster."""
    matching = (policies[at] for at in compiled(policies).matching(context))
    held = [entry(each, context) for each in matching if request_miss(each.when, request) is None]
    return combine([*(demanded(demand) for demand in context.compliance.demands), *held])


def compile_residual(residual: Residual) -> Callable[[RequestFacts], Decision]:
    """Return a function that decides as `decide_residual` does, about a microsecond per request.

    It remembers one `Decision` per set of matching policies, at most `MAX_REMEMBERED_DECISIONS`.
    """
    constant = residual.constant
    if constant is not None:
        return lambda _request: constant
    entries = residual.entries
    always = sum(1 << at for at, each in enumerate(entries) if not depends_on_request(each.when))
    tests = [
        (1 << at, _compile(each.when)) for at, each in enumerate(entries) if depends_on_request(each.when)
    ]
    remembered: dict[int, Decision] = {}

    def decide_compiled(request: RequestFacts) -> Decision:
        matching = always
        for bit, holds in tests:
            if holds(request):
                matching |= bit
        decision = remembered.get(matching)
        if decision is None:
            decision = combine(each for at, each in enumerate(entries) if matching >> at & 1)
            if len(remembered) < MAX_REMEMBERED_DECISIONS:
                remembered[matching] = decision
        return decision

    return decide_compiled


_Test = Callable[[RequestFacts], bool]


def _compile(when: Conditions) -> _Test:
    """Return one function for the request conditions, without those that are not given."""
    tests: list[_Test] = [kind.compiled(value) for _, kind, value in given_of_request(when)]
    if len(tests) == 1:
        return tests[0]
    return lambda request: all(test(request) for test in tests)
