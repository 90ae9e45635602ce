"""Why somebody is not let in: one reason of a closed set, and one step that leads on."""

import msgspec
import pytest
from compliance_samples import context, request

from compliance.evaluate import decide
from compliance.model import AccessPolicy, Assignment, ComplianceState, Conditions, Outcome, StepUp
from compliance.reasons import AccessReason
from compliance.why import NextStep, next_step, why
from risk.model import RiskLevel

STAFF = AccessPolicy(name="staff", decision=Outcome.ALLOW, include=Assignment(groups=("staff",)))


def reason(policies, facts, what=None):
    decision, traces = decide(policies, facts, what or request())
    return why(decision, policies, traces, facts)


def block(decision=Outcome.BLOCK, **when):
    return AccessPolicy(name="limit", decision=decision, when=Conditions(**when))


@pytest.mark.parametrize(
    ("when", "expected", "step"),
    [
        ({"risk": (RiskLevel.NONE,)}, AccessReason.DEVICE_AT_RISK, NextStep.FIX_DEVICE),
        (
            {"compliance": (ComplianceState.COMPLIANT,)},
            AccessReason.DEVICE_NOT_COMPLIANT,
            NextStep.FIX_DEVICE,
        ),
        ({"device": ("known",)}, AccessReason.DEVICE_NOT_ACCEPTED, NextStep.ASK),
        ({"not_networks": ("office",)}, AccessReason.PLACE_NOT_ACCEPTED, NextStep.ASK),
        ({"paths": ("/",)}, AccessReason.REQUEST_NOT_ACCEPTED, NextStep.ASK),
        ({"not_acr": ("phr",)}, AccessReason.SIGN_IN_TOO_WEAK, NextStep.SIGN_IN),
        ({}, AccessReason.NOT_AUTHORISED, NextStep.ASK),
    ],
)
def test_what_the_deciding_policy_asks_about(when, expected, step):
    facts = context()
    found = reason([STAFF, block(**when)], facts)
    assert (found, next_step(found)) == (expected, step)


def test_a_device_that_is_not_known_is_told_how_to_enrol():
    facts = msgspec.structs.replace(context(), device_id=None)
    found = reason([STAFF, block(device=("unknown",))], facts)
    assert (found, next_step(found)) == (AccessReason.DEVICE_NOT_KNOWN, NextStep.ENROL_DEVICE)


def test_without_a_match_the_nearest_policy_tells():
    outsider = msgspec.structs.replace(
        context(), user=msgspec.structs.replace(context().user, groups=frozenset())
    )
    assert reason([STAFF], outsider) is AccessReason.NOT_ASSIGNED
    assert reason([], context()) is AccessReason.NOT_ASSIGNED
    careful = msgspec.structs.replace(STAFF, when=Conditions(compliance=(ComplianceState.IN_GRACE_PERIOD,)))
    assert reason([careful], context()) is AccessReason.DEVICE_NOT_COMPLIANT


def test_a_step_up_and_an_allow():
    step_up = AccessPolicy(name="mfa", decision=Outcome.STEP_UP, step_up=StepUp(acr_values=("phr",)))
    assert reason([STAFF, step_up], context()) is AccessReason.SIGN_IN_TOO_WEAK
    assert reason([STAFF], context()) is AccessReason.LET_IN
    assert next_step(AccessReason.LET_IN) is NextStep.NONE


def test_policies_that_nearly_matched_are_marked():
    far = msgspec.structs.replace(
        STAFF, name="far", when=Conditions(compliance=(ComplianceState.UNKNOWN,), networks=("office",))
    )
    near = msgspec.structs.replace(STAFF, name="near", when=Conditions(networks=("office",)))
    _, traces = decide([far, near, STAFF], context(), request())
    assert [(each.is_near, each.misses) for each in traces] == [
        (False, ("compliance", "networks")), (True, ("networks",)), (False, ()),
    ]  # fmt: skip
