"""From context to access decision: the obvious interpreter, which is the meaning of an access policy. Pure.

**Deciding.** Of all policies that match, the strictest outcome decides (`block` > `remediate` > `step-up` >
`restrict` > `allow`); among equals the first in the file names itself. Without a match the answer is block.
`restrict` lets in, with limits; the controls of every matching `restrict` policy add up. Policies in report
mode are traced and change nothing but `would_be`.

**Matching.** A policy matches when it covers the app and the user and every condition that is given holds.
A `step-up` policy does not match a session that already brings what it asks for.

**What is not known never widens access.** A condition about something unknown *holds* in a policy that
limits (everything but `allow`) and *does not hold* in a policy that allows:

| unknown | in `allow` | in all others |
|---|---|---|
| any key of `compliance.conditions` whose kind answers *not known* | does not hold | holds |
| `include` by group, groups unknown | not covered | covered |
| `exclude` by group, groups unknown | excluded | not excluded |
| `include` by role, `exclude` by role, roles unknown | as for groups | as for groups |
| `include` by an e-mail address that is not verified | not covered | covered |
| `exclude` by an e-mail address that is not verified | excluded | not excluded |

A `restrict` policy that matches only by this table limits what other policies grant; it lets nobody in
itself. `compliance` and `device` have `unknown` as a value of their own: it is matched like any other. A
condition that cannot be evaluated at all (a fault of ours) is treated as unknown too.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from compliance.conditions import KINDS, REQUEST_KINDS, given, given_of_request
from compliance.conditions.auth_older_than import after, signed_in
from compliance.conditions.kind import Kind
from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    Assignment,
    Conditions,
    Decision,
    Demand,
    Mode,
    Outcome,
    PolicyTrace,
    RequestFacts,
    ResidualEntry,
    SessionControl,
    StepUp,
    User,
)

DEFAULT_DENY_REASON = "No policy lets you into this app."

ANY_SERVICE = "*"
"""What names every service identity."""

_request_conditions = attrgetter(*REQUEST_KINDS)

_NO_CONTROLS: frozenset[SessionControl] = frozenset()
_NO_PROFILES: frozenset[str] = frozenset()


def decide(
    policies: Iterable[AccessPolicy], context: AccessContext, request: RequestFacts
) -> tuple[Decision, tuple[PolicyTrace, ...]]:
    """Return the decision, and for every policy in order whether it matched or what it missed."""
    matched = [demanded(demand) for demand in context.compliance.demands]
    traces = []
    for policy in policies:
        missed = misses(policy, context, request)
        if not missed:
            matched.append(entry(policy, context))
        traces.append(
            PolicyTrace(
                policy=policy.name,
                decision=policy.decision,
                matched=not missed,
                mode=policy.mode,
                missed=missed[0] if missed else "",
                seen=seen(missed[0], context, request, policy.when) if missed else "",
                misses=missed,
            )
        )
    traces += [_trace_of(demand) for demand in context.compliance.demands]
    return combine(matched), tuple(traces)


def demanded(demand: Demand) -> ResidualEntry:
    """Return a demand of a compliance policy's escalation as a policy that matches; it lets nobody in by itself."""
    return ResidualEntry(
        policy=f"compliance:{demand.policy}/{demand.rule}",
        outcome=demand.outcome,
        reason=demand.reason,
        controls=demand.controls if demand.outcome is Outcome.RESTRICT else _NO_CONTROLS,
        step_up=None,
        mode=Mode.ENFORCE,
        when=Conditions(),
        is_sure=False,
    )


def _trace_of(demand: Demand) -> PolicyTrace:
    name = f"compliance:{demand.policy}/{demand.rule}"
    return PolicyTrace(policy=name, decision=demand.outcome, matched=True, mode=Mode.ENFORCE)


def entry(policy: AccessPolicy, context: AccessContext, when: Conditions | None = None) -> ResidualEntry:
    """Return what a policy contributes once it matches: controls of a `restrict`, demand of a `step-up`.

    `when` replaces the policy's conditions where only some are left to test.
    """
    return ResidualEntry(
        policy=policy.name,
        outcome=policy.decision,
        reason=policy.reason,
        controls=frozenset(policy.controls) if policy.decision is Outcome.RESTRICT else _NO_CONTROLS,
        step_up=policy.step_up if policy.decision is Outcome.STEP_UP else None,
        mode=policy.mode,
        when=policy.when if when is None else when,
        is_sure=policy.decision is not Outcome.RESTRICT or _is_sure(policy, context),
        profiles=frozenset(policy.profiles) if policy.decision is Outcome.RESTRICT else _NO_PROFILES,
    )


def combine(matched: Iterable[ResidualEntry]) -> Decision:
    """Return the decision that the matching policies make together; block without an enforced one."""
    matched = list(matched)
    enforced = [each for each in matched if each.mode is Mode.ENFORCE]
    would_be = strictest(matched).outcome if len(matched) > len(enforced) else None
    deciding = strictest(enforced)
    return Decision(
        outcome=deciding.outcome,
        policy=deciding.policy,
        reason=deciding.reason,
        controls=frozenset().union(*(each.controls for each in enforced)),
        step_up=_step_up(enforced) if deciding.outcome is Outcome.STEP_UP else None,
        matched=tuple(each.policy for each in enforced),
        would_be=would_be,
        profiles=frozenset().union(*(each.profiles for each in enforced)),
    )


_DEFAULT_DENY = ResidualEntry(
    policy="",
    outcome=Outcome.BLOCK,
    reason=DEFAULT_DENY_REASON,
    controls=_NO_CONTROLS,
    step_up=None,
    mode=Mode.ENFORCE,
    when=Conditions(),
)


def strictest(matched: Iterable[ResidualEntry]) -> ResidualEntry:
    """Return the first of the strictest entries; the default deny when there is none.

    INVARIANT: a `restrict` that matches only for want of knowledge limits what another policy grants; alone
    it would widen access to somebody whom nobody named.
    """
    matched = list(matched)
    deciding = max(matched, key=lambda each: STRICTNESS[each.outcome], default=_DEFAULT_DENY)
    if deciding.outcome is Outcome.RESTRICT and not any(each.is_sure for each in matched):
        return _DEFAULT_DENY
    return deciding


def _step_up(matched: Iterable[ResidualEntry]) -> StepUp:
    """Return one demand for all matching step-up policies.

    The shortest `max_age` counts. Of the `acr_values`, those that please every policy, or the first
    policy's when none does: then the next evaluation asks for the rest.
    """
    demands = [each.step_up for each in matched if each.step_up is not None]
    ages = [demand.max_age for demand in demands if demand.max_age is not None]
    lists = [demand.acr_values for demand in demands if demand.acr_values]
    first = lists[0] if lists else ()
    common = tuple(value for value in first if all(value in others for others in lists))
    return StepUp(acr_values=common or first, max_age=min(ages, default=None))


# --- per session ---------------------------------------------------------------------------------------


def session_miss(policy: AccessPolicy, context: AccessContext) -> str | None:
    """Return the key of what keeps the policy from matching by the slow facts, None when all hold.

    Never raises.
    """
    try:
        return next(_session_misses(policy, context, limits=policy.decision is not Outcome.ALLOW), None)
    except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows
        return "fault" if policy.decision is Outcome.ALLOW else None


def misses(policy: AccessPolicy, context: AccessContext, request: RequestFacts) -> tuple[str, ...]:
    """Return the keys of everything that keeps the policy from matching: with one, it nearly matched. Never raises."""
    try:
        found = list(_session_misses(policy, context, limits=policy.decision is not Outcome.ALLOW))
    except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows
        found = ["fault"] if policy.decision is Outcome.ALLOW else []
    return (*found, *_request_misses(policy.when, request))


def _is_sure(policy: AccessPolicy, context: AccessContext) -> bool:
    """Return whether a policy would match as an `allow` too: without help of what is not known."""
    try:
        return next(_session_misses(policy, context, limits=False), None) is None
    except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows
        return False


def _session_misses(policy: AccessPolicy, context: AccessContext, *, limits: bool) -> Iterator[str]:
    user = context.user
    if policy.apps and context.app not in policy.apps:
        yield "apps"
    if context.app in policy.not_apps:
        yield "not_apps"
    if not _is_included(policy.include, user, limits):
        yield "include"
    if policy.exclude is not None and _is_excluded(policy.exclude, user, limits):
        yield "exclude"
    yield from _conditions_misses(policy.when, context, limits)
    if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        missed = already_stepped_up(policy.step_up, context)
        if missed is not None:
            yield missed


def _is_included(assignment: Assignment, user: User, limits: bool) -> bool:
    return assignment.is_for_everyone or _is_listed(assignment, user, limits)


def _is_excluded(assignment: Assignment, user: User, limits: bool) -> bool:
    return _is_listed(assignment, user, not limits)


def _is_listed(assignment: Assignment, user: User, if_unsure: bool) -> bool:
    if user.is_service:
        is_named = not {user.subject, ANY_SERVICE}.isdisjoint(assignment.services)
    else:
        is_named = _is_named(assignment.users, user, if_unsure)
    return (
        is_named
        or _is_member(assignment.groups, user.groups if user.are_groups_known else None, if_unsure)
        or _is_member(assignment.roles, user.roles if user.are_roles_known else None, if_unsure)
    )


def _is_named(users: tuple[str, ...], user: User, if_unsure: bool) -> bool:
    """Return whether a person is named.

    Subjects are compared as they are, e-mail addresses without regard to case. An address that is not
    verified names the user only `if_unsure`.
    """
    if not users:
        return False
    names = {folded(name) for name in user.names}
    if if_unsure and user.email:
        names.add(folded(user.email))
    return any(folded(name) in names for name in users)


def folded(name: str) -> str:
    """Return a name as it is compared: e-mail addresses without regard to case."""
    return name.casefold() if "@" in name else name


def _is_member(named: tuple[str, ...], held: frozenset[str] | None, if_unsure: bool) -> bool:
    """Return whether one of the groups or roles that are named is held; `held` None: not known."""
    if not named:
        return False
    return if_unsure if held is None else not held.isdisjoint(named)


def _conditions_misses(when: Conditions, context: AccessContext, limits: bool) -> Iterator[str]:
    for key, kind, value in given(when):
        held = kind.holds(value, context)
        if not (limits if held is None else held):
            yield key


def already_stepped_up(step_up: StepUp, context: AccessContext) -> str | None:
    """Return a miss when the session already brings what the step-up asks for; unknown brings nothing."""
    user = context.user
    if step_up.acr_values and user.acr not in step_up.acr_values:
        return None
    if step_up.max_age is not None:
        too_old_at = after(user.auth_at, step_up.max_age)
        if too_old_at is None or too_old_at <= context.now:
            return None
    return "step_up"


# --- per request ---------------------------------------------------------------------------------------


def request_miss(when: Conditions, request: RequestFacts) -> str | None:
    """Return the key of what keeps conditions from holding by the request alone, None when all hold."""
    return next(_request_misses(when, request), None)


def _request_misses(when: Conditions, request: RequestFacts) -> Iterator[str]:
    return (key for key, kind, value in given_of_request(when) if not kind.holds(value, request))


def depends_on_request(when: Conditions) -> bool:
    """Return whether conditions ask anything that only the request knows."""
    return any(_request_conditions(when))


# --- texts ---------------------------------------------------------------------------------------------


def seen(missed: str, context: AccessContext, request: RequestFacts, when: Conditions) -> str:
    """Return what a missed condition saw, as a short text for people. `missed` is the condition's key in `when`."""
    user = context.user
    if missed in KINDS:
        return _seen_by(KINDS[missed], getattr(when, missed), context)
    if missed in REQUEST_KINDS:
        return REQUEST_KINDS[missed].seen(request)
    match missed:
        case "apps" | "not_apps":
            return context.app
        case "include" | "exclude":
            return _seen_of_person(user, with_names=missed == "exclude")
        case "step_up":
            return f"acr {user.acr or 'not told'}, {signed_in(context)}"
        case _:
            return ""


def _seen_by(kind: Kind, value: object, context: AccessContext) -> str:
    try:
        return kind.seen(context) if kind.seen_of is None else kind.seen_of(value, context)
    except Exception:  # noqa: BLE001 - a text for people is no reason to fail
        return ""


def _seen_of_person(user: User, *, with_names: bool) -> str:
    """Return what tells whom a policy is for; with the names, by one of which somebody may be left out."""
    if user.is_service:
        return f"service {user.subject}"
    names = f"{', '.join(sorted(user.names)) or user.subject}, " if with_names else ""
    roles = f", roles {_listed(user.roles)}" if user.roles else ""
    return f"{names}groups {_listed(user.groups) if user.are_groups_known else 'not known'}{roles}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "none"
