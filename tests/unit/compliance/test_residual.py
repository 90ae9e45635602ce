"""Tickets: what is left of policy for the request, until when, and how it is compiled."""

from datetime import timedelta

from compliance_samples import ANA, NOW, context, request

from compliance.evaluate import decide
from compliance.model import (
    AccessPolicy,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Mode,
    Outcome,
    SessionControl,
    StepUp,
)
from compliance.residual import MAX_REMEMBERED_DECISIONS, compile_residual, decide_residual, residual
from risk.model import RiskAssessment, RiskLevel


def policy(decision, name="p", **more):
    return AccessPolicy(name=name, decision=Outcome(decision), **more)


def when(**conditions):
    return Conditions(**conditions)


def test_a_policy_set_that_asks_nothing_of_the_request_is_constant():
    left = residual(
        [policy("allow"), policy("block", apps=("payroll",), when=when(methods=("POST",)))], context()
    )
    assert left.entries == ()
    assert left.constant is not None
    assert left.constant.outcome is Outcome.ALLOW
    assert compile_residual(left)(request()) is left.constant


def test_no_policy_at_all_is_a_constant_block():
    assert residual([], context()).constant.outcome is Outcome.BLOCK


def test_only_request_conditions_are_left():
    one = policy("block", when=when(compliance=(ComplianceState.COMPLIANT,), acr=("mfa",), paths=("/admin",)))
    left = residual([one, policy("allow", "a")], context())
    assert left.constant is None
    assert [entry.when for entry in left.entries] == [when(paths=("/admin",)), when()]
    assert decide_residual(left, request(path="/admin/x")).outcome is Outcome.BLOCK
    assert decide_residual(left, request(path="/x")).outcome is Outcome.ALLOW


def test_report_policies_are_left_too():
    policies = [policy("allow", "a"), policy("block", "b", mode=Mode.REPORT, when=when(methods=("PUT",)))]
    left = residual(policies, context())
    assert decide_residual(left, request(method="PUT")).would_be is Outcome.BLOCK
    assert decide_residual(left, request()).would_be is None


def soon(**delta):
    return NOW + timedelta(**delta)


def valid_until(policies, where=None):
    return residual(policies, where or context()).valid_until


def test_without_a_moment_it_is_valid_for_ever():
    assert valid_until([policy("allow")]) is None


def test_risk_and_compliance_bound_it_always():
    """The app is told of both, so that a ticket must not outlive either, asked for or not."""
    risk = RiskAssessment(level=RiskLevel.NONE, is_known=True, changes_at=soon(minutes=9))
    compliance = ComplianceResult(state=ComplianceState.COMPLIANT, results=(), changes_at=soon(minutes=7))
    assert valid_until([policy("allow")], context(risk=risk)) == soon(minutes=9)
    assert valid_until([policy("allow")], context(risk=risk, compliance=compliance)) == soon(minutes=7)


def test_ages_of_the_sign_in_bound_it_while_they_are_ahead():
    older = policy("block", when=when(auth_older_than=3600.0))
    fresh = policy("step-up", step_up=StepUp(max_age=2400.0))
    assert valid_until([older]) == ANA.auth_at + timedelta(hours=1)
    assert valid_until([older, fresh]) == ANA.auth_at + timedelta(minutes=40)
    assert valid_until([policy("block", when=when(auth_older_than=60.0))]) is None
    assert valid_until([older], context(user={"auth_at": None})) is None
    assert valid_until([policy("block", apps=("payroll",), when=when(auth_older_than=3600.0))]) is None


def test_at_its_end_the_decision_changes():
    older = policy("block", when=when(auth_older_than=3600.0))
    policies = [policy("allow", "a"), older]
    end = valid_until(policies)
    assert (
        decide(policies, context(now=end - timedelta(microseconds=1)), request())[0].outcome is Outcome.ALLOW
    )
    assert decide(policies, context(now=end), request())[0].outcome is Outcome.BLOCK


def test_what_a_compiled_residual_remembers_is_bounded():
    """Eleven independent paths make two thousand sets of matches; each is right, few are kept."""
    policies = [policy("allow", "a")]
    policies += [
        policy(
            "restrict", f"r{at}", when=when(paths=(f"/**/s{at}/**",)), controls=(SessionControl.READ_ONLY,)
        )
        for at in range(11)
    ]
    left = residual(policies, context())
    compiled = compile_residual(left)
    for mask in range(2**11):
        path = "/" + "/".join(f"s{at}" for at in range(11) if mask >> at & 1)
        what = request(path=path)
        assert compiled(what) == decide_residual(left, what)
    (remembered,) = [
        cell.cell_contents for cell in compiled.__closure__ if isinstance(cell.cell_contents, dict)
    ]
    assert len(remembered) == MAX_REMEMBERED_DECISIONS


def test_a_conditional_decision_is_made_once():
    compiled = compile_residual(residual([policy("allow", when=when(methods=("GET",)))], context()))
    assert compiled(request()) is compiled(request(path="/other"))
