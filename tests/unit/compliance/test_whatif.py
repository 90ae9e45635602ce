"""What would have changed a decision: only what is true, fewest changes first."""

from compliance_samples import context, request

from compliance.model import (
    AccessPolicy,
    Assignment,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Outcome,
    RuleResult,
    StepUp,
)
from compliance.whatif import MAX_TEXTS, would_change
from risk.model import RiskAssessment, RiskLevel


def policy(decision, name="p", when=None, **more):
    return AccessPolicy(name=name, decision=Outcome(decision), when=Conditions(**(when or {})), **more)


FAILED = RuleResult(
    policy="p",
    rule="disk",
    state=ComplianceState.NONCOMPLIANT,
    reason="fact-differs",
    title="Disk encryption",
    seen="no",
    wanted="yes",
)
BAD = ComplianceResult(state=ComplianceState.NONCOMPLIANT, results=(FAILED,))
ALLOW = policy("allow", "staff")
FIX = policy("remediate", "fix", {"compliance": (ComplianceState.NONCOMPLIANT, ComplianceState.UNKNOWN)})
MFA = policy("step-up", "mfa", step_up=StepUp(acr_values=("hw",)))


def test_an_allow_needs_nothing():
    assert would_change([ALLOW], context(), request()) == ()


def test_a_failing_rule_is_named_with_what_was_seen_and_wanted():
    texts = would_change([ALLOW, FIX], context(compliance=BAD), request())
    assert texts == (
        "allow (policy staff) if the device becomes compliant (Disk encryption: no, wanted yes)",
    )


def test_an_unknown_device():
    unknown = ComplianceResult(state=ComplianceState.UNKNOWN, results=())
    risk = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
    texts = would_change([ALLOW, FIX], context(device_id=None, compliance=unknown, risk=risk), request())
    assert texts == ("allow (policy staff) if the device is known, compliant and without risk",)


def test_risk_alone():
    risk = RiskAssessment(level=RiskLevel.HIGH, is_known=True)
    block = policy("block", "risky", {"risk": (RiskLevel.HIGH,)})
    texts = would_change([ALLOW, block], context(risk=risk), request())
    assert texts == ("allow (policy staff) if the device's risk is none (it is high)",)


def test_two_things_at_once_come_after_the_one_that_helps_alone():
    texts = would_change([ALLOW, FIX, MFA], context(compliance=BAD), request())
    assert texts[0].startswith("step-up (policy mfa) if the device becomes compliant")
    assert texts[1].startswith("allow (policy staff) if the device becomes compliant")
    assert texts[1].endswith("and the sign-in has acr hw")
    assert len(texts) == 2


def test_age_of_the_sign_in():
    old = policy("step-up", "fresh", step_up=StepUp(max_age=60.0))
    assert would_change([ALLOW, old], context(), request()) == (
        "allow (policy staff) if the sign-in is not older than 1 min",
    )


def test_groups_and_networks():
    admins = policy("allow", "admins", include=Assignment(groups=("admins",)))
    assert would_change([admins], context(), request()) == (
        "allow (policy admins) if the user is in group admins",
    )
    office = policy("block", "away", {"not_networks": ("office",)})
    texts = would_change([ALLOW, office], context(), request())
    assert texts == ("allow (policy staff) if the request comes from network office",)
    inside = policy("block", "guests", {"networks": ("guest",)})
    texts = would_change([ALLOW, inside], context(), request(networks=frozenset({"guest"})))
    assert texts == ("allow (policy staff) if the request does not come from network guest",)


def test_nothing_helps():
    assert would_change([policy("block")], context(), request()) == ()
    assert would_change([], context(), request()) == ()


def test_texts_are_few():
    many = [policy("allow", f"p{at}", include=Assignment(groups=(f"g{at}",))) for at in range(40)]
    assert len(would_change(many, context(), request())) == MAX_TEXTS


def test_other_apps_policies_are_no_candidates():
    other = policy("allow", "other", apps=("payroll",), include=Assignment(groups=("x",)))
    assert would_change([other], context(), request()) == ()
