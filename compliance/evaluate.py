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
| `acr` and `not_acr` without an `acr`, `amr` and `not_amr` without `amr` | does not hold | holds |
| `auth_older_than` without a time of sign-in | does not hold | holds |
| `include` by group, groups unknown | not covered | covered |
| `exclude` by group, groups unknown | excluded | not excluded |
| `include` by an e-mail address that is not verified | not covered | covered |
| `exclude` by an e-mail address that is not verified | excluded | not excluded |
| `risk` while a sensor is silent: the level, or `unknown` | both must be listed | one is enough |

A `restrict` policy that matches only by this table limits what other policies grant; it lets nobody in
itself. `compliance` and `device` have `unknown` as a value of their own: it is matched like any other. A
condition that cannot be evaluated at all (a fault of ours) is treated as unknown too.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    Assignment,
    Conditions,
    Decision,
    Mode,
    Outcome,
    PolicyTrace,
    RequestFacts,
    ResidualEntry,
    SessionControl,
    StepUp,
    User,
)
from compliance.paths import path_matches
from risk.model import RiskLevel

DEFAULT_DENY_REASON = "No policy lets you into this app."

_NO_CONTROLS: frozenset[SessionControl] = frozenset()


def decide(
    policies: Iterable[AccessPolicy], context: AccessContext, request: RequestFacts
) -> tuple[Decision, tuple[PolicyTrace, ...]]:
    """Return the decision, and for every policy in order whether it matched or what it missed."""
    matched: list[ResidualEntry] = []
    traces = []
    for policy in policies:
        missed = session_miss(policy, context) or request_miss(policy.when, request)
        if missed is None:
            matched.append(entry(policy, context))
        traces.append(
            PolicyTrace(
                policy=policy.name,
                decision=policy.decision,
                matched=missed is None,
                mode=policy.mode,
                missed=missed or "",
                seen=seen(missed, context, request) if missed else "",
            )
        )
    return combine(matched), tuple(traces)


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
        return _session_miss(policy, context, limits=policy.decision is not Outcome.ALLOW)
    except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows
        return "fault" if policy.decision is Outcome.ALLOW else None


def _is_sure(policy: AccessPolicy, context: AccessContext) -> bool:
    """Return whether a policy would match as an `allow` too: without help of what is not known."""
    try:
        return _session_miss(policy, context, limits=False) is None
    except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows
        return False


def _session_miss(policy: AccessPolicy, context: AccessContext, *, limits: bool) -> str | None:
    user = context.user
    if policy.apps and context.app not in policy.apps:
        return "apps"
    if not _is_included(policy.include, user, limits):
        return "include"
    if policy.exclude is not None and _is_excluded(policy.exclude, user, limits):
        return "exclude"
    missed = _conditions_miss(policy.when, context, limits)
    if missed is None and policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        missed = _already_stepped_up(policy.step_up, context)
    return missed


def _is_included(assignment: Assignment, user: User, limits: bool) -> bool:
    if not assignment.users and not assignment.groups:
        return True
    return _is_named(assignment.users, user, limits) or _is_member(assignment.groups, user, limits)


def _is_excluded(assignment: Assignment, user: User, limits: bool) -> bool:
    return _is_named(assignment.users, user, not limits) or _is_member(assignment.groups, user, not limits)


def _is_named(users: tuple[str, ...], user: User, if_unsure: bool) -> bool:
    """Return whether a user is named.

    Subjects are compared as they are, e-mail addresses without regard to case. An address that is not
    verified names the user only `if_unsure`.
    """
    if not users:
        return False
    names = {_folded(name) for name in user.names}
    if if_unsure and user.email:
        names.add(_folded(user.email))
    return any(_folded(name) in names for name in users)


def _folded(name: str) -> str:
    return name.casefold() if "@" in name else name


def _is_member(groups: tuple[str, ...], user: User, if_unsure: bool) -> bool:
    if not groups:
        return False
    if not user.are_groups_known:
        return if_unsure
    return not user.groups.isdisjoint(groups)


def _conditions_miss(when: Conditions, context: AccessContext, limits: bool) -> str | None:
    user = context.user
    if when.compliance and context.compliance.state not in when.compliance:
        return "compliance"
    if when.risk and not _risk_holds(when.risk, context, limits):
        return "risk"
    known = "unknown" if context.device_id is None else "known"
    if when.device and known not in when.device:
        return "device"
    if when.providers and user.provider not in when.providers:
        return "providers"
    return _strength_miss(when, context, limits)


def possible_risk(context: AccessContext) -> frozenset[RiskLevel]:
    """Return every level that the device's risk may be: with `unknown` while it is not known."""
    level = {context.risk.level}
    return frozenset(level if context.risk.is_known else level | {RiskLevel.UNKNOWN})


def _risk_holds(levels: tuple[RiskLevel, ...], context: AccessContext, limits: bool) -> bool:
    possible = possible_risk(context)
    return not possible.isdisjoint(levels) if limits else possible.issubset(levels)


def _strength_miss(when: Conditions, context: AccessContext, limits: bool) -> str | None:
    user = context.user
    is_acr_held = limits if user.acr is None else user.acr in when.acr
    if when.acr and not is_acr_held:
        return "acr"
    is_other_acr = limits if user.acr is None else user.acr not in when.not_acr
    if when.not_acr and not is_other_acr:
        return "not_acr"
    is_amr_held = limits if user.amr is None else not set(user.amr).isdisjoint(when.amr)
    if when.amr and not is_amr_held:
        return "amr"
    is_other_amr = limits if user.amr is None else set(user.amr).isdisjoint(when.not_amr)
    if when.not_amr and not is_other_amr:
        return "not_amr"
    if when.auth_older_than is not None:
        reached_at = after(user.auth_at, when.auth_older_than)
        is_older = limits if reached_at is None else reached_at <= context.now
        if not is_older:
            return "auth_older_than"
    return None


def _already_stepped_up(step_up: StepUp, context: AccessContext) -> str | None:
    """Return a miss when the session already brings what the step-up asks for; unknown brings nothing."""
    user = context.user
    if step_up.acr_values and user.acr not in step_up.acr_values:
        return None
    if step_up.max_age is not None:
        too_old_at = after(user.auth_at, step_up.max_age)
        if too_old_at is None or too_old_at <= context.now:
            return None
    return "step_up"


def after(moment: datetime | None, seconds: float) -> datetime | None:
    """Return the instant so many seconds later, None for none."""
    return None if moment is None else moment + timedelta(seconds=seconds)


# --- per request ---------------------------------------------------------------------------------------


def request_miss(when: Conditions, request: RequestFacts) -> str | None:  # noqa: PLR0911 - one line a key
    """Return the key of what keeps conditions from holding by the request alone, None when all hold."""
    if when.networks and request.networks.isdisjoint(when.networks):
        return "networks"
    if when.not_networks and not request.networks.isdisjoint(when.not_networks):
        return "not_networks"
    if when.methods and request.method not in when.methods:
        return "methods"
    if when.paths and not any(path_matches(pattern, request.path) for pattern in when.paths):
        return "paths"
    if when.not_paths and any(path_matches(pattern, request.path) for pattern in when.not_paths):
        return "not_paths"
    if when.clients and request.client not in when.clients:
        return "clients"
    return None


def depends_on_request(when: Conditions) -> bool:
    """Return whether conditions ask anything that only the request knows."""
    return bool(
        when.networks or when.not_networks or when.methods or when.paths or when.not_paths or when.clients
    )


# --- texts ---------------------------------------------------------------------------------------------


def seen(  # noqa: C901, PLR0911 - one line a key
    missed: str, context: AccessContext, request: RequestFacts
) -> str:
    """Return what a missed condition saw, as a short text for people. `missed` is a condition's key."""
    user = context.user
    match missed:
        case "apps":
            return context.app
        case "include" | "exclude":
            return f"groups {_listed(user.groups) if user.are_groups_known else 'not known'}"
        case "compliance":
            return context.compliance.state
        case "risk":
            return " or ".join(sorted(possible_risk(context)))
        case "device":
            return "unknown" if context.device_id is None else "known"
        case "providers":
            return user.provider
        case "acr" | "not_acr":
            return user.acr or "not told"
        case "amr" | "not_amr":
            return "not told" if user.amr is None else _listed(user.amr)
        case "auth_older_than":
            return _signed_in(user)
        case "step_up":
            return f"acr {user.acr or 'not told'}, {_signed_in(user)}"
        case _:
            return _seen_of_request(missed, request)


def _seen_of_request(missed: str, request: RequestFacts) -> str:
    match missed:
        case "networks" | "not_networks":
            return _listed(request.networks)
        case "methods":
            return request.method
        case "paths" | "not_paths":
            return request.path
        case "clients":
            return request.client
        case _:
            return ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "none"


def _signed_in(user: User) -> str:
    return "time of sign-in not told" if user.auth_at is None else f"signed in {user.auth_at.isoformat()}"
