"""Compliance policies over time: whom they cover, levels, escalation, exemptions, findings."""

# ruff: noqa: FBT003 - a fact is a name and a value

from datetime import timedelta

import msgspec
import pytest
from compliance_samples import NOW, ago, context, fact, finding, posture, request
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.evaluate import decide
from compliance.model import (
    AccessPolicy,
    CompliancePolicy,
    ComplianceState,
    DeviceAssignment,
    EscalationStep,
    Exemption,
    FactRule,
    FindingRule,
    Outcome,
    RiskRule,
    RuleLevel,
    SensorRule,
    SessionControl,
)
from compliance.reasons import ComplianceReason
from compliance.residual import residual
from compliance.state import evaluate_compliance
from risk.model import Identifier, RiskLevel, SensorRules, Severity
from risk.scoring import assess

SENSORS = {"edr": SensorRules(name="edr", max_silence_s=86400.0), "fleet": SensorRules(name="fleet")}
DISK = FactRule(name="disk", fact="disk", equals=True, title="Disk encrypted")
COMPLIANT, NONCOMPLIANT = ComplianceState.COMPLIANT, ComplianceState.NONCOMPLIANT


def held_to(device, *policies, now=NOW, **options):
    risk = assess(device, SENSORS, now)
    return evaluate_compliance(device, policies, risk=risk, sensors=SENSORS, now=now, **options)


def policy(*rules, name="p", **more):
    return CompliancePolicy(name=name, rules=rules, **more)


BAD = posture(fact("disk", False), fact("platform", "windows"), heard={"edr": ago(minutes=1)})


@pytest.mark.parametrize(
    ("include", "exclude", "is_covered"),
    [
        (DeviceAssignment(platforms=("windows",)), None, True),
        (DeviceAssignment(platforms=("macos",)), None, False),
        (DeviceAssignment(ownership=("corporate",)), None, True),  # not known: it may be
        (DeviceAssignment(tags=("kiosk",)), None, False),
        (DeviceAssignment(), DeviceAssignment(platforms=("windows", "linux")), False),
        (DeviceAssignment(), DeviceAssignment(ownership=("personal",)), True),  # not known: not excepted
        (DeviceAssignment(devices=("SER-*",)), None, True),
        (DeviceAssignment(devices=("LAB-*",)), None, False),
    ],
)
def test_whom_a_policy_covers(include, exclude, is_covered):
    device = msgspec.structs.replace(BAD, identifiers=(Identifier("serial", "SER-1"),))
    found = held_to(device, policy(DISK, include=include, exclude=exclude), uncovered=COMPLIANT)
    assert found.state is (NONCOMPLIANT if is_covered else COMPLIANT)


def test_a_rule_for_other_platforms_does_not_concern_the_device():
    rules = (msgspec.structs.replace(DISK, platforms=("macos",)), RiskRule(name="r", max=RiskLevel.HIGH))
    assert [each.rule for each in held_to(BAD, policy(*rules)).results] == ["r"]
    unknown = posture(fact("disk", False), heard={"edr": ago(minutes=1)})
    assert [each.rule for each in held_to(unknown, policy(*rules)).results] == ["disk", "r"]


def test_what_to_do_is_told_for_the_platform():
    rule = msgspec.structs.replace(
        DISK, fix="Ask IT.", fixes={"windows": "Turn on BitLocker."}, link="https://x"
    )
    (result,) = held_to(BAD, policy(rule)).results
    assert (result.fix, result.link) == ("Turn on BitLocker.", "https://x")


def test_on_a_platform_that_nobody_told_all_instructions_are_told():
    """The page chooses among them by the browser; what is for all stands first."""
    rule = msgspec.structs.replace(DISK, fix="Ask IT.", fixes={"windows": "Turn it on.", "macos": "Open it."})
    unknown = posture(fact("disk", False), heard={"edr": ago(minutes=1)})
    (result,) = held_to(unknown, policy(rule)).results
    assert result.fix == "Ask IT.\n\n## windows\n\nTurn it on.\n\n## macos\n\nOpen it."


@pytest.mark.parametrize("level", [RuleLevel.REPORT, RuleLevel.NOTIFY])
def test_what_is_only_told_changes_no_state(level):
    found = held_to(BAD, policy(msgspec.structs.replace(DISK, level=level)))
    assert found.state is COMPLIANT
    assert found.results[0].state is NONCOMPLIANT
    assert not found.results[0].is_required


def test_a_warning_bites_at_its_date():
    rule = msgspec.structs.replace(DISK, level=RuleLevel.WARN_UNTIL, warn_until="2030-01-02T00:00:00Z")
    before = held_to(BAD, policy(rule))
    assert before.state is COMPLIANT
    assert before.changes_at == NOW + timedelta(hours=12)
    assert held_to(BAD, policy(rule), now=before.changes_at).state is NONCOMPLIANT


EXEMPTION = Exemption(
    rule="p/disk", devices=("dev_1",), reason="new disk ordered", author="ana", expires="2030-01-03"
)


@pytest.mark.parametrize(
    ("change", "is_exempted"),
    [
        ({}, True),
        ({"rule": "p"}, True),
        ({"rule": "p/other"}, False),
        ({"devices": ("dev_2",)}, False),
        ({"expires": "2029-12-31"}, False),
    ],
)
def test_exemptions(change, is_exempted):
    found = held_to(BAD, policy(DISK), exemptions=(msgspec.structs.replace(EXEMPTION, **change),))
    assert found.state is (COMPLIANT if is_exempted else NONCOMPLIANT)
    assert (found.results[0].reason == ComplianceReason.EXEMPTED) is is_exempted


def test_an_exemption_ends_by_itself_and_is_shown():
    found = held_to(BAD, policy(DISK), exemptions=(EXEMPTION,))
    assert "new disk ordered" in found.results[0].seen
    assert found.changes_at is not None
    assert (
        held_to(BAD, policy(DISK), exemptions=(EXEMPTION,), now=NOW + timedelta(days=2)).state is NONCOMPLIANT
    )


@pytest.mark.parametrize("level", ["medium", "high"])
def test_nobody_is_exempted_at_risk(level):
    risky = posture(fact("disk", False), finding("f1", level))
    assert held_to(risky, policy(DISK), exemptions=(EXEMPTION,)).state is NONCOMPLIANT
    above = held_to(risky, policy(DISK), exemptions=(EXEMPTION,), exemption_ceiling=RiskLevel.HIGH)
    assert above.state is COMPLIANT


STEPS = (
    EscalationStep(after=3600.0, decision=Outcome.RESTRICT, controls=(SessionControl.READ_ONLY,)),
    EscalationStep(after=7200.0, decision=Outcome.BLOCK, reason="Too long."),
)


def test_escalation_by_age():
    device = posture(fact("disk", False, at=ago(minutes=30)), heard={"edr": ago(minutes=1)})
    held = policy(DISK, escalation=STEPS)
    found = held_to(device, held)
    assert found.demands == ()
    assert found.changes_at == NOW + timedelta(minutes=30)
    later = held_to(device, held, now=found.changes_at)
    assert [each.outcome for each in later.demands] == [Outcome.RESTRICT]
    last = held_to(device, held, now=NOW + timedelta(hours=2))
    assert [each.outcome for each in last.demands] == [Outcome.RESTRICT, Outcome.BLOCK]


@pytest.mark.parametrize(
    ("hours", "outcome", "controls"),
    [(0, Outcome.ALLOW, set()), (1, Outcome.RESTRICT, {SessionControl.READ_ONLY}), (2, Outcome.BLOCK, None)],
)
def test_demands_limit_what_policies_grant(hours, outcome, controls):
    device = posture(fact("disk", False, at=NOW), heard={"edr": NOW})
    compliance = held_to(device, policy(DISK, escalation=STEPS), now=NOW + timedelta(hours=hours))
    facts = context(compliance=compliance)
    allow = [AccessPolicy(name="all", decision=Outcome.ALLOW)]
    decision, traces = decide(allow, facts, request())
    assert decision.outcome is outcome
    assert controls is None or decision.controls == controls
    assert residual(allow, facts).constant == decision
    if hours:
        assert "compliance:p/disk" in [trace.policy for trace in traces]
    nobody, _ = decide([], facts, request())
    assert nobody.outcome is Outcome.BLOCK


def test_a_rule_that_is_only_told_never_escalates():
    rule = msgspec.structs.replace(DISK, level=RuleLevel.NOTIFY)
    device = posture(fact("disk", False, at=ago(days=9)), heard={"edr": ago(minutes=1)})
    assert held_to(device, policy(rule, escalation=STEPS)).demands == ()


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (FindingRule(name="f"), NONCOMPLIANT),
        (FindingRule(name="f", max=2), COMPLIANT),
        (FindingRule(name="f", at_least=Severity.HIGH), NONCOMPLIANT),
        (FindingRule(name="f", at_least=Severity.CRITICAL), COMPLIANT),
        (FindingRule(name="f", sensor="fleet"), COMPLIANT),
        (FindingRule(name="f", category="phishing"), COMPLIANT),
        (FindingRule(name="f", older_than=86400.0, at_least=Severity.HIGH), NONCOMPLIANT),
        (FindingRule(name="f", older_than=864000.0), COMPLIANT),
        (FindingRule(name="f", grace=864000.0), ComplianceState.IN_GRACE_PERIOD),
    ],
)
def test_findings(rule, state):
    device = posture(finding("a", "high", first=ago(days=3)), finding("b", "low"), fact("x", 1))
    assert held_to(device, policy(rule)).state is state


def test_no_finding_is_known_only_while_sensors_speak():
    silent = posture(finding("a", "low", at=ago(days=3)))
    assert (
        held_to(silent, policy(FindingRule(name="f", at_least=Severity.HIGH))).state
        is ComplianceState.UNKNOWN
    )


@pytest.mark.parametrize(
    ("asked", "value", "reason"),
    [
        ({"not_equals": "beta"}, "beta", ComplianceReason.FACT_DIFFERS),
        ({"not_one_of": ("a", "b")}, "c", ComplianceReason.MET),
        ({"at_least": "14.2", "below": "15"}, "15.0", ComplianceReason.VERSION_TOO_HIGH),
        ({"at_least": "14.2", "below": "15"}, "14.10", ComplianceReason.MET),
        ({"min": 8}, 7, ComplianceReason.NUMBER_OUT_OF_RANGE),
        ({"min": 8, "max": 10}, 10, ComplianceReason.MET),
        ({"max": 10}, "9", ComplianceReason.FACT_TYPE_DIFFERS),
        ({"newer_than": 86400.0}, "2029-12-30", ComplianceReason.DATE_TOO_OLD),
        ({"newer_than": 864000.0}, "2029-12-30T09:00:00+01:00", ComplianceReason.MET),
        ({"newer_than": 864000.0}, "lately", ComplianceReason.FACT_TYPE_DIFFERS),
    ],
)
def test_comparisons(asked, value, reason):
    device = posture(fact("f", value), heard={"edr": ago(minutes=1)})
    (result,) = held_to(device, policy(FactRule(name="f", fact="f", **asked))).results
    assert result.reason == reason


def test_risk_as_one_sensor_tells_it():
    device = posture(finding("a", "high"), finding("b", "low", sensor="fleet"))
    by = {name: RiskRule(name=name, max=RiskLevel.LOW, sensor=name) for name in ("edr", "fleet")}
    assert held_to(device, policy(by["edr"])).state is NONCOMPLIANT
    assert held_to(device, policy(by["fleet"])).state is COMPLIANT


ANY_RULE = st.sampled_from(
    [
        msgspec.structs.replace(DISK, grace=5400.0),
        msgspec.structs.replace(DISK, level=RuleLevel.NOTIFY, name="told"),
        msgspec.structs.replace(
            DISK, level=RuleLevel.WARN_UNTIL, warn_until="2030-01-01T13:30:00Z", name="w"
        ),
        FindingRule(name="f", at_least=Severity.MEDIUM, older_than=7200.0),
        FactRule(name="p", fact="patched", newer_than=90000.0),
        RiskRule(name="r", max=RiskLevel.LOW, grace=3600.0),
        SensorRule(name="s", sensor="fleet", seen_within=10000.0),
    ]
)
ANY_POLICY = st.builds(
    lambda rules, include, steps, name: CompliancePolicy(
        name=name, rules=tuple(rules), include=include, escalation=steps
    ),
    st.lists(ANY_RULE, min_size=1, max_size=3),
    st.sampled_from(
        [DeviceAssignment(), DeviceAssignment(platforms=("macos",)), DeviceAssignment(tags=("t",))]
    ),
    st.sampled_from([(), STEPS]),
    st.sampled_from(["p", "q"]),
)
ANY_DEVICE = st.builds(
    lambda disk, minutes, level, platform: posture(
        fact("disk", disk, at=ago(minutes=minutes)),
        fact("patched", "2030-01-01", at=ago(minutes=minutes)),
        finding("a", level, at=ago(minutes=minutes)),
        *([fact("platform", platform)] if platform else []),
    ),
    st.booleans(),
    st.integers(0, 240),
    st.sampled_from(["low", "medium", "high"]),
    st.sampled_from(["", "macos", "windows"]),
)
EXEMPTIONS = st.sampled_from(
    [(), (EXEMPTION,), (msgspec.structs.replace(EXEMPTION, expires="2030-01-01T14:00:00Z"),)]
)


@settings(max_examples=300)
@given(st.lists(ANY_POLICY, max_size=3), ANY_DEVICE, EXEMPTIONS, st.integers(0, 400))
def test_nothing_changes_before_it_says_so(policies, device, exemptions, minutes):
    now = held_to(device, *policies, exemptions=exemptions)
    then = NOW + timedelta(minutes=minutes)
    if now.changes_at is not None and then >= now.changes_at:
        return
    later = held_to(device, *policies, exemptions=exemptions, now=then)
    assert later.state is now.state
    assert [(each.state, each.is_required) for each in later.results] == [
        (each.state, each.is_required) for each in now.results
    ]
    assert [each.outcome for each in later.demands] == [each.outcome for each in now.demands]


@given(st.lists(ANY_POLICY, min_size=1, max_size=3), ANY_DEVICE, EXEMPTIONS)
def test_the_worst_required_result_is_the_state_in_any_order(policies, device, exemptions):
    found = held_to(device, *policies, exemptions=exemptions)
    assert held_to(device, *reversed(policies), exemptions=exemptions).state is found.state
    failed = {each.state for each in found.results if each.is_required} - {COMPLIANT}
    assert (found.state is COMPLIANT) is (not failed)


@given(st.lists(ANY_POLICY, max_size=3), ANY_DEVICE)
def test_an_exemption_lifts_nobody_above_the_ceiling(policies, device):
    risk = assess(device, SENSORS, NOW)
    with_it = held_to(device, *policies, exemptions=(EXEMPTION,), exemption_ceiling=RiskLevel.LOW)
    if risk.level is not RiskLevel.LOW:
        assert with_it.state is held_to(device, *policies).state
