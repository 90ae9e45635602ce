"""What would have changed a decision: the smallest sets of changes that lead to a better one. Pure.

Each candidate is a change that somebody could bring about (the device becomes compliant, a stronger
sign-in, another network). Sets of at most `MAX_CHANGES` are tried, smallest first, by the same `decide`
that made the decision: what is said here is never guessed.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import combinations

import msgspec

from compliance.evaluate import decide
from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    ComplianceState,
    Decision,
    Outcome,
    RequestFacts,
    RuleResult,
)
from compliance.state import duration_text
from risk.model import RiskAssessment, RiskLevel

MAX_CHANGES = 3
"""Most changes that are considered together."""

MAX_CANDIDATES = 12
MAX_TEXTS = 5

State = tuple[AccessContext, RequestFacts]


class Change(msgspec.Struct, frozen=True):
    """One thing that could be otherwise: what people call it, and the situation once it is."""

    text: str
    apply: Callable[[State], State]


def would_change(
    policies: Iterable[AccessPolicy], context: AccessContext, request: RequestFacts
) -> tuple[str, ...]:
    """Return short texts of what would lead to a less strict decision, fewest changes first.

    Empty for an allow. A set is left out when a part of it does as much.
    """
    policies = tuple(policies)
    now, _ = decide(policies, context, request)
    if now.outcome is Outcome.ALLOW:
        return ()
    changes = list(_candidates(policies, context, request))[:MAX_CANDIDATES]
    texts: list[str] = []
    useful: list[tuple[frozenset[int], int]] = []
    for size in range(1, MAX_CHANGES + 1):
        for chosen in combinations(range(len(changes)), size):
            then = _decide_after(policies, (context, request), [changes[at] for at in chosen])
            strictness = STRICTNESS[then.outcome]
            is_covered = any(part <= set(chosen) and best <= strictness for part, best in useful)
            if strictness < STRICTNESS[now.outcome] and not is_covered:
                useful.append((frozenset(chosen), strictness))
                texts.append(_text([changes[at] for at in chosen], then))
    return tuple(texts[:MAX_TEXTS])


def _decide_after(policies: tuple[AccessPolicy, ...], state: State, changes: Iterable[Change]) -> Decision:
    for change in changes:
        state = change.apply(state)
    return decide(policies, *state)[0]


def _text(changes: list[Change], then: Decision) -> str:
    by = f" (policy {then.policy})" if then.policy else ""
    return f"{then.outcome}{by} if {' and '.join(change.text for change in changes)}"


def _candidates(
    policies: tuple[AccessPolicy, ...], context: AccessContext, request: RequestFacts
) -> Iterator[Change]:
    covering = [policy for policy in policies if not policy.apps or context.app in policy.apps]
    if context.compliance.state is not ComplianceState.COMPLIANT or not _is_riskless(context):
        yield Change(_compliant_text(context), _become_compliant)
    yield from _stronger_sign_ins(covering, context)
    yield from _groups(covering, context)
    yield from _networks(covering, request)


def _is_riskless(context: AccessContext) -> bool:
    return context.risk.is_known and context.risk.level is RiskLevel.NONE


def _become_compliant(state: State) -> State:
    context, request = state
    return (
        msgspec.structs.replace(
            context,
            device_id=context.device_id or "dev_known",
            risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
            compliance=msgspec.structs.replace(context.compliance, state=ComplianceState.COMPLIANT),
        ),
        request,
    )


def _compliant_text(context: AccessContext) -> str:
    if context.device_id is None:
        return "the device is known, compliant and without risk"
    unmet = [_unmet(result) for result in context.compliance.results if not _is_met(result)]
    if not unmet:
        return f"the device's risk is none (it is {context.risk.level})"
    return f"the device becomes compliant ({'; '.join(unmet)})"


def _is_met(result: RuleResult) -> bool:
    return result.state is ComplianceState.COMPLIANT


def _unmet(result: RuleResult) -> str:
    return f"{result.title}: {result.seen}, wanted {result.wanted}"


def _stronger_sign_ins(policies: Iterable[AccessPolicy], context: AccessContext) -> Iterator[Change]:
    """Yield a sign-in for each strength that some policy asks for, and a fresh one."""
    strengths: dict[str, None] = {}
    ages: list[float] = []
    for policy in policies:
        strengths |= dict.fromkeys(policy.when.acr)
        ages += [policy.when.auth_older_than] if policy.when.auth_older_than is not None else []
        if policy.step_up is not None:
            strengths |= dict.fromkeys(policy.step_up.acr_values)
            ages += [policy.step_up.max_age] if policy.step_up.max_age is not None else []
    for acr in strengths:
        if acr != context.user.acr:
            yield Change(f"the sign-in has acr {acr}", _signed_in(acr))
    if ages and context.user.auth_at != context.now:
        yield Change(f"the sign-in is not older than {duration_text(min(ages))}", _signed_in(None))


def _signed_in(acr: str | None) -> Callable[[State], State]:
    """Return the change to a sign-in just now, with `acr` unless it stays as it is."""

    def apply(state: State) -> State:
        context, request = state
        auth_at = context.now - timedelta(milliseconds=1)
        user = msgspec.structs.replace(context.user, auth_at=auth_at, acr=acr or context.user.acr)
        return msgspec.structs.replace(context, user=user), request

    return apply


def _groups(policies: Iterable[AccessPolicy], context: AccessContext) -> Iterator[Change]:
    user = context.user
    named = dict.fromkeys(group for policy in policies for group in policy.include.groups)
    for group in named:
        if not user.are_groups_known or group not in user.groups:
            yield Change(f"the user is in group {group}", _joined(group))


def _joined(group: str) -> Callable[[State], State]:
    def apply(state: State) -> State:
        context, request = state
        user = context.user
        user = msgspec.structs.replace(user, groups=user.groups | {group}, are_groups_known=True)
        return msgspec.structs.replace(context, user=user), request

    return apply


def _networks(policies: Iterable[AccessPolicy], request: RequestFacts) -> Iterator[Change]:
    inside = dict.fromkeys(network for policy in policies for network in policy.when.networks)
    outside = dict.fromkeys(network for policy in policies for network in policy.when.not_networks)
    for network in [*inside, *(each for each in outside if each not in inside)]:
        if network not in request.networks:
            yield Change(f"the request comes from network {network}", _at_network(network))
        else:
            yield Change(f"the request does not come from network {network}", _off_network(network))


def _at_network(network: str) -> Callable[[State], State]:
    return lambda state: (
        state[0],
        msgspec.structs.replace(state[1], networks=state[1].networks | {network}),
    )


def _off_network(network: str) -> Callable[[State], State]:
    return lambda state: (
        state[0],
        msgspec.structs.replace(state[1], networks=state[1].networks - {network}),
    )
