"""Access decisions: matching condition by condition, what is not known, and how outcomes combine."""

from datetime import timedelta

import pytest
from compliance_samples import NOW, ago, context, request

from compliance.evaluate import DEFAULT_DENY_REASON, decide
from compliance.model import (
    AccessPolicy,
    Assignment,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Mode,
    Outcome,
    SessionControl,
    StepUp,
)
from risk.model import RiskAssessment, RiskLevel

ALLOW, RESTRICT, BLOCK = Outcome.ALLOW, Outcome.RESTRICT, Outcome.BLOCK


def policy(decision=ALLOW, *, name="p", when=None, include=None, **more):
    return AccessPolicy(
        name=name,
        decision=Outcome(decision),
        when=Conditions(**(when or {})),
        include=Assignment(**(include or {})),
        **more,
    )


def trace_of(one, where=None, what=None):
    decision, (trace,) = decide([one], where or context(), what or request())
    if trace.matched and one.mode is Mode.ENFORCE:
        assert decision.outcome is one.decision
    return trace


def matches(one, where=None, what=None):
    return trace_of(one, where, what).matched


def missed(one, where=None, what=None):
    return trace_of(one, where, what).missed


# --- combining
# -------------------------------------------------------------------------------------------------


def test_without_a_match_the_answer_is_block():
    decision, traces = decide([], context(), request())
    assert (decision.outcome, decision.policy, decision.reason) == (BLOCK, "", DEFAULT_DENY_REASON)
    assert (decision.matched, traces, decision.would_be) == ((), (), None)


def test_the_strictest_decides_and_the_first_of_equals_names_itself():
    policies = [
        policy("allow", name="a"),
        policy("remediate", name="b", reason="first"),
        policy("remediate", name="c", reason="second"),
        policy("step-up", name="d", step_up=StepUp(acr_values=("hw",))),
    ]
    decision, traces = decide(policies, context(), request())
    assert (decision.outcome, decision.policy, decision.reason) == (Outcome.REMEDIATE, "b", "first")
    assert decision.matched == ("a", "b", "c", "d")
    assert decision.step_up is None
    assert all(trace.matched for trace in traces)


def test_controls_of_all_matching_restrict_policies_add_up():
    policies = [
        policy("allow", name="a", controls=(SessionControl.NO_STORE,)),
        policy("restrict", name="b", controls=(SessionControl.READ_ONLY,)),
        policy("restrict", name="c", controls=(SessionControl.NO_DOWNLOADS, SessionControl.READ_ONLY)),
        policy("restrict", name="d", controls=(SessionControl.NO_UPLOADS,), mode=Mode.REPORT),
        policy("restrict", name="e", controls=(SessionControl.NO_WEBSOCKET,), when={"methods": ("POST",)}),
    ]
    decision, _ = decide(policies, context(), request())
    assert decision.controls == {SessionControl.READ_ONLY, SessionControl.NO_DOWNLOADS}


def test_a_report_policy_is_traced_and_changes_only_would_be():
    policies = [policy("allow", name="a"), policy("block", name="b", mode=Mode.REPORT)]
    decision, traces = decide(policies, context(), request())
    assert (decision.outcome, decision.would_be, decision.matched) == (ALLOW, BLOCK, ("a",))
    assert [(trace.matched, trace.mode) for trace in traces] == [(True, Mode.ENFORCE), (True, Mode.REPORT)]


def test_a_report_policy_alone_lets_nobody_in():
    decision, _ = decide([policy("allow", mode=Mode.REPORT)], context(), request())
    assert (decision.outcome, decision.policy, decision.would_be) == (BLOCK, "", ALLOW)


def test_step_up_demands_combine():
    policies = [
        policy("step-up", name="a", step_up=StepUp(acr_values=("gold", "hw"), max_age=3600.0)),
        policy("step-up", name="b", step_up=StepUp(acr_values=("hw",))),
        policy("step-up", name="c", step_up=StepUp(max_age=60.0)),
    ]
    decision, _ = decide(policies, context(), request())
    assert decision.step_up == StepUp(acr_values=("hw",), max_age=60.0)
    policies[1] = policy("step-up", name="b", step_up=StepUp(acr_values=("other",)))
    decision, _ = decide(policies, context(), request())
    assert decision.step_up == StepUp(acr_values=("gold", "hw"), max_age=60.0)


# --- assignments
# -----------------------------------------------------------------------------------------------


def test_apps():
    assert matches(policy(apps=()))
    assert matches(policy(apps=("payroll", "wiki")))
    assert trace_of(policy(apps=("payroll",))).missed == "apps"


@pytest.mark.parametrize(
    ("include", "is_covered"),
    [
        ({}, True),
        ({"groups": ("staff",)}, True),
        ({"groups": ("Staff",)}, False),
        ({"groups": ("admins",)}, False),
        ({"users": ("u1",)}, True),
        ({"users": ("U1",)}, False),
        ({"users": ("Ana@Corp.Example",)}, True),
        ({"users": ("bob@corp.example",), "groups": ("staff",)}, True),
        ({"users": ("u1",), "groups": ("admins",)}, True),
    ],
)
def test_include(include, is_covered):
    assert matches(policy(include=include)) is is_covered
    assert is_covered or missed(policy(include=include)) == "include"


def test_exclude_beats_include():
    one = policy(include={"users": ("u1",)}, exclude=Assignment(groups=("staff",)))
    assert missed(one) == "exclude"


def test_unknown_groups_never_widen_access():
    where = context(user={"are_groups_known": False, "groups": frozenset()})
    assert not matches(policy("allow", include={"groups": ("staff",)}), where)
    assert not matches(policy("allow", exclude=Assignment(groups=("suspended",))), where)
    assert matches(policy("block", include={"groups": ("contractors",)}), where)
    assert matches(policy("block", exclude=Assignment(groups=("admins",))), where)
    assert matches(policy("allow", include={"groups": ("x",), "users": ("u1",)}), where)
    assert not matches(policy("block", exclude=Assignment(users=("u1",))), where)


def test_an_unverified_address_names_nobody_who_gains_by_it():
    where = context(user={"names": frozenset({"u1"}), "email": "ana@corp.example"})
    address = ("ana@corp.example",)
    assert not matches(policy("allow", include={"users": address}), where)
    assert not matches(policy("allow", exclude=Assignment(users=address)), where)
    assert matches(policy("block", include={"users": address}), where)
    assert matches(policy("block", exclude=Assignment(users=address)), where)


def test_a_restrict_that_matches_for_want_of_knowledge_lets_nobody_in():
    where = context(user={"are_groups_known": False, "groups": frozenset()})
    limits = policy(
        "restrict", name="r", include={"groups": ("contractors",)}, controls=(SessionControl.READ_ONLY,)
    )
    decision, (trace,) = decide([limits], where, request())
    assert (decision.outcome, decision.policy, trace.matched) == (BLOCK, "", True)
    decision, _ = decide([limits, policy("allow", name="a")], where, request())
    assert (decision.outcome, decision.policy) == (RESTRICT, "r")
    decision, _ = decide([limits], context(user={"groups": frozenset({"contractors"})}), request())
    assert decision.outcome is RESTRICT


# --- conditions of the session
# ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(ComplianceState))
def test_compliance(state):
    where = context(compliance=ComplianceResult(state=state, results=()))
    assert matches(policy(when={"compliance": (state,)}), where)
    others = tuple(each for each in ComplianceState if each is not state)
    for decision in ("allow", "block"):
        trace = trace_of(policy(decision, when={"compliance": others}), where)
        assert (trace.missed, trace.seen) == ("compliance", state)


@pytest.mark.parametrize(
    ("level", "is_known", "listed", "allowed", "limited"),
    [
        ("none", True, ("none", "low"), True, True),
        ("none", True, ("unknown",), False, False),
        ("none", False, ("none", "low"), False, True),
        ("none", False, ("unknown",), False, True),
        ("none", False, ("none", "unknown"), True, True),
        ("high", False, ("medium",), False, False),
        ("unknown", False, ("none", "low", "medium", "high"), False, False),
        ("unknown", False, ("unknown",), True, True),
    ],
)
def test_risk_counts_as_unknown_too_while_it_is_not_known(level, is_known, listed, allowed, limited):
    where = context(risk=RiskAssessment(level=RiskLevel(level), is_known=is_known))
    when = {"risk": tuple(RiskLevel(each) for each in listed)}
    assert matches(policy("allow", when=when), where) is allowed
    assert matches(policy("block", when=when), where) is limited


def test_device():
    assert matches(policy(when={"device": ("known",)}))
    assert missed(policy(when={"device": ("unknown",)})) == "device"
    assert matches(policy(when={"device": ("unknown",)}), context(device_id=None))
    assert missed(policy(when={"device": ("known",)}), context(device_id=None)) == "device"


def test_providers():
    assert matches(policy(when={"providers": ("corp",)}))
    assert missed(policy(when={"providers": ("other",)})) == "providers"


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"acr": ("mfa", "hw")}, True),
        ({"acr": ("hw",)}, False),
        ({"not_acr": ("hw",)}, True),
        ({"not_acr": ("mfa",)}, False),
        ({"amr": ("otp", "hwk")}, True),
        ({"amr": ("hwk",)}, False),
        ({"not_amr": ("hwk",)}, True),
        ({"not_amr": ("otp",)}, False),
        ({"auth_older_than": 1800.0}, True),
        ({"auth_older_than": 1801.0}, False),
    ],
)
def test_strength_of_the_sign_in(when, holds):
    for decision in ("allow", "block"):
        trace = trace_of(policy(decision, when=when))
        assert trace.matched is holds
        assert holds or trace.missed == next(iter(when))


@pytest.mark.parametrize(
    "when",
    [
        {"acr": ("mfa",)},
        {"not_acr": ("mfa",)},
        {"amr": ("otp",)},
        {"not_amr": ("otp",)},
        {"auth_older_than": 60.0},
    ],
)
def test_a_sign_in_that_says_nothing_never_widens_access(when):
    where = context(user={"acr": None, "amr": None, "auth_at": None})
    assert not matches(policy("allow", when=when), where)
    for decision in ("remediate", "block"):
        assert matches(policy(decision, when=when), where)
    assert decide([policy("restrict", when=when)], where, request())[1][0].matched


def test_no_methods_told_is_not_the_same_as_none_used():
    where = context(user={"amr": ()})
    assert matches(policy("allow", when={"not_amr": ("otp",)}), where)
    assert not matches(policy("block", when={"amr": ("otp",)}), where)


@pytest.mark.parametrize(
    ("step_up", "user", "asks"),
    [
        (StepUp(acr_values=("mfa",)), {}, False),
        (StepUp(acr_values=("hw",)), {}, True),
        (StepUp(acr_values=("mfa",)), {"acr": None}, True),
        (StepUp(max_age=1801.0), {}, False),
        (StepUp(max_age=1800.0), {}, True),
        (StepUp(max_age=60.0), {"auth_at": None}, True),
        (StepUp(acr_values=("mfa",), max_age=60.0), {}, True),
        (StepUp(acr_values=("hw",), max_age=7200.0), {}, True),
        (None, {}, True),
    ],
)
def test_a_step_up_asks_only_for_what_the_session_lacks(step_up, user, asks):
    trace = trace_of(policy("step-up", step_up=step_up), context(user=user))
    assert trace.matched is asks
    assert asks or trace.missed == "step_up"


# --- conditions of the request
# ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "what", "holds"),
    [
        ({"networks": ("office", "vpn")}, {"networks": frozenset({"vpn"})}, True),
        ({"networks": ("office",)}, {"networks": frozenset()}, False),
        ({"not_networks": ("office",)}, {"networks": frozenset({"vpn"})}, True),
        ({"not_networks": ("office",)}, {"networks": frozenset({"vpn", "office"})}, False),
        ({"methods": ("GET",)}, {}, True),
        ({"methods": ("GET",)}, {"method": "HEAD"}, False),
        ({"paths": ("/x", "/admin")}, {"path": "/admin/users"}, True),
        ({"paths": ("/admin",)}, {"path": "/administrator"}, False),
        ({"not_paths": ("/admin",)}, {"path": "/administrator"}, True),
        ({"not_paths": ("/x", "/**/y")}, {"path": "/a/y"}, False),
        ({"clients": (ClientKind.API,)}, {"client": ClientKind.API}, True),
        ({"clients": (ClientKind.API,)}, {}, False),
    ],
)
def test_conditions_of_the_request(when, what, holds):
    for decision in ("allow", "block"):
        trace = trace_of(policy(decision, when=when), what=request(**what))
        assert trace.matched is holds
        assert holds or trace.missed == next(iter(when))


def test_every_condition_must_hold():
    when = {"compliance": (ComplianceState.COMPLIANT,), "methods": ("GET",), "paths": ("/a",)}
    assert matches(policy(when=when), what=request(path="/a/b"))
    assert missed(policy(when=when), what=request(path="/b")) == "paths"
    assert missed(policy(when=when), what=request(path="/a", method="PUT")) == "methods"


# --- faults
# ----------------------------------------------------------------------------------------------------


def test_a_fault_while_evaluating_never_allows():
    """A time without a zone cannot be compared: a policy that limits limits, one that allows does not."""
    where = context(user={"auth_at": ago(hours=1).replace(tzinfo=None)})
    when = {"auth_older_than": 60.0}
    assert missed(policy("allow", when=when), where) == "fault"
    assert matches(policy("block", when=when), where)
    decision, _ = decide(
        [policy("restrict", when=when, controls=(SessionControl.READ_ONLY,))], where, request()
    )
    assert decision.outcome is BLOCK


def test_the_clock_is_an_argument():
    one = policy("block", when={"auth_older_than": 3600.0})
    assert not matches(one)
    assert matches(one, context(now=NOW + timedelta(minutes=30)))
