"""Why somebody is not let in as they wanted, as a closed enumeration, and what can be done about it. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from compliance.conditions import KINDS, REQUEST_KINDS
from compliance.model import AccessContext, AccessPolicy, Decision, Outcome, PolicyTrace
from compliance.reasons import AccessReason


class NextStep(StrEnum):
    """What leads on: sign in, have the device known or repaired, or ask whoever is responsible."""

    NONE = "none"
    SIGN_IN = "sign-in"
    ENROL_DEVICE = "enrol-device"
    FIX_DEVICE = "fix-device"
    ASK = "ask"


_STEPS = {
    AccessReason.LET_IN: NextStep.NONE,
    AccessReason.SIGN_IN_TOO_WEAK: NextStep.SIGN_IN,
    AccessReason.DEVICE_NOT_KNOWN: NextStep.ENROL_DEVICE,
    AccessReason.DEVICE_AT_RISK: NextStep.FIX_DEVICE,
    AccessReason.DEVICE_NOT_COMPLIANT: NextStep.FIX_DEVICE,
}

_FIRST = (
    AccessReason.DEVICE_AT_RISK,
    AccessReason.DEVICE_NOT_COMPLIANT,
    AccessReason.DEVICE_NOT_ACCEPTED,
    AccessReason.PERSON_AT_RISK,
    AccessReason.SIGN_IN_TOO_WEAK,
    AccessReason.NOT_ASSIGNED,
    AccessReason.PLACE_NOT_ACCEPTED,
    AccessReason.TIME_NOT_ACCEPTED,
    AccessReason.REQUEST_NOT_ACCEPTED,
)
"""The order in which reasons count: what most likely helps comes first."""

_REASONS: dict[str, AccessReason] = {
    **{key: kind.reason for key, kind in KINDS.items()},
    **{key: kind.reason for key, kind in REQUEST_KINDS.items()},
    "step_up": AccessReason.SIGN_IN_TOO_WEAK,
    "include": AccessReason.NOT_ASSIGNED,
    "exclude": AccessReason.NOT_ASSIGNED,
}
"""By the key of what was missed."""

_OF_DEVICE = frozenset(
    {AccessReason.DEVICE_AT_RISK, AccessReason.DEVICE_NOT_COMPLIANT, AccessReason.DEVICE_NOT_ACCEPTED}
)


def next_step(reason: AccessReason) -> NextStep:
    """Return what leads on from a reason."""
    return _STEPS.get(reason, NextStep.ASK)


def why(
    decision: Decision,
    policies: Iterable[AccessPolicy],
    traces: Sequence[PolicyTrace],
    context: AccessContext,
) -> AccessReason:
    """Return the reason of a decision: what its policy asks about, or what the nearest policy that lets in misses."""
    if decision.outcome is Outcome.ALLOW:
        return AccessReason.LET_IN
    if decision.outcome is Outcome.STEP_UP:
        return AccessReason.SIGN_IN_TOO_WEAK
    if decision.policy.startswith("compliance:"):
        return AccessReason.DEVICE_NOT_COMPLIANT
    by_name = {policy.name: policy for policy in policies}
    deciding = by_name.get(decision.policy)
    if deciding is not None:
        asked = [
            key for key in deciding.when.__struct_fields__ if getattr(deciding.when, key) not in {(), None}
        ]
        return _reason_of(asked, context, else_=AccessReason.NOT_AUTHORISED)
    return _default_deny(traces, context)


def _default_deny(traces: Sequence[PolicyTrace], context: AccessContext) -> AccessReason:
    granting = [each for each in traces if each.decision in {Outcome.ALLOW, Outcome.RESTRICT} and each.misses]
    if not granting:
        return AccessReason.NOT_ASSIGNED
    nearest = min(
        granting,
        key=lambda each: (
            not {"apps", "not_apps"}.isdisjoint(each.misses),
            "include" in each.misses,
            len(each.misses),
        ),
    )
    if {"apps", "not_apps", "include", "exclude"} & set(nearest.misses):
        return AccessReason.NOT_ASSIGNED
    return _reason_of(nearest.misses, context, else_=AccessReason.NOT_AUTHORISED)


def _reason_of(keys: Iterable[str], context: AccessContext, *, else_: AccessReason) -> AccessReason:
    found = min((_REASONS[key] for key in keys if key in _REASONS), key=_FIRST.index, default=else_)
    if found in _OF_DEVICE and context.device_id is None:
        return AccessReason.DEVICE_NOT_KNOWN
    return found
