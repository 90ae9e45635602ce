"""Why somebody is not let in as they wanted, as a closed enumeration, and what can be done about it. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from compliance.model import AccessContext, AccessPolicy, Decision, Outcome, PolicyTrace


class AccessReason(StrEnum):
    """Why a decision is what it is. Closed: problem documents, records and metrics name nothing else."""

    LET_IN = "let-in"
    SIGN_IN_TOO_WEAK = "sign-in-too-weak"
    DEVICE_NOT_KNOWN = "device-not-known"
    DEVICE_AT_RISK = "device-at-risk"
    DEVICE_NOT_COMPLIANT = "device-not-compliant"
    DEVICE_NOT_ACCEPTED = "device-not-accepted"
    PERSON_AT_RISK = "person-at-risk"
    NOT_ASSIGNED = "not-assigned"
    PLACE_NOT_ACCEPTED = "place-not-accepted"
    TIME_NOT_ACCEPTED = "time-not-accepted"
    REQUEST_NOT_ACCEPTED = "request-not-accepted"
    NOT_AUTHORISED = "not-authorised"


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

# In the order in which they count: what most likely helps comes first.
_KEYS: tuple[tuple[AccessReason, frozenset[str]], ...] = (
    (AccessReason.DEVICE_AT_RISK, frozenset({"risk", "worst_risk", "findings", "not_findings"})),
    (AccessReason.DEVICE_NOT_COMPLIANT, frozenset({"compliance"})),
    (
        AccessReason.DEVICE_NOT_ACCEPTED,
        frozenset(
            {
                "device", "binding", "platforms", "not_platforms", "ownership", "tags", "not_tags", "facts",
                "fact_states", "sensors",
            }
        ),
    ),
    (AccessReason.PERSON_AT_RISK, frozenset({"user_risk", "session_risk"})),
    (
        AccessReason.SIGN_IN_TOO_WEAK,
        frozenset({"acr", "not_acr", "amr", "not_amr", "auth_older_than", "auth_within", "step_up"}),
    ),
    (AccessReason.NOT_ASSIGNED, frozenset({"include", "exclude", "claims", "providers"})),
    (AccessReason.PLACE_NOT_ACCEPTED, frozenset({"networks", "not_networks"})),
    (AccessReason.TIME_NOT_ACCEPTED, frozenset({"times", "not_times"})),
    (AccessReason.REQUEST_NOT_ACCEPTED, frozenset(
            {"hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths", "clients"}
        )),
)  # fmt: skip

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
    asked = set(keys)
    found = next((reason for reason, of_reason in _KEYS if asked & of_reason), else_)
    if found in _OF_DEVICE and context.device_id is None:
        return AccessReason.DEVICE_NOT_KNOWN
    return found
