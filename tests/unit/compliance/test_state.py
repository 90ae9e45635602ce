"""From posture to compliance state: every reason, every moment at which time alone changes it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from compliance_samples import NO_RISK, NOW, ago, fact, finding, posture

from compliance.model import CompliancePolicy, ComplianceState, FactRule, RiskRule, SensorRule
from compliance.reasons import ComplianceReason
from compliance.state import WORST_FIRST, evaluate_compliance, worst
from compliance.texts import duration_text
from risk.folding import fold
from risk.model import DeviceId, Fact, Posture, RiskAssessment, RiskLevel, SensorRules, Signal, SignalType
from risk.scoring import assess

SENSORS = {
    "fleet": SensorRules(name="fleet", max_silence_s=86400.0, trust=1),
    "edr": SensorRules(name="edr"),
    "other": SensorRules(name="other", trust=0),
}
COMPLIANT, GRACE = ComplianceState.COMPLIANT, ComplianceState.IN_GRACE_PERIOD
NONCOMPLIANT, UNKNOWN = ComplianceState.NONCOMPLIANT, ComplianceState.UNKNOWN


def evaluate(device, *rules, risk=None, now=NOW, uncovered=NONCOMPLIANT):
    policies = [CompliancePolicy(name="p", rules=rules)] if rules else []
    risk = risk or (assess(device, SENSORS, now) if device else NO_RISK)
    return evaluate_compliance(device, policies, risk=risk, sensors=SENSORS, now=now, uncovered=uncovered)


def only(device, rule, **more):
    result = evaluate(device, rule, **more)
    (one,) = result.results
    assert result.state is one.state
    return result, one


# --- whole
# -----------------------------------------------------------------------------------------------------


def test_an_unknown_device_is_unknown_whatever_the_policies_say():
    for rules in ([], [RiskRule(name="r", max=RiskLevel.HIGH)]):
        result = evaluate(None, *rules, uncovered=COMPLIANT)
        assert result.state is UNKNOWN
        assert [each.reason for each in result.results] == [ComplianceReason.DEVICE_UNKNOWN]


@pytest.mark.parametrize("uncovered", list(ComplianceState))
def test_a_device_that_no_rule_covers_has_the_configured_state(uncovered):
    result = evaluate(posture(), uncovered=uncovered)
    assert result.state is uncovered
    assert result.results[0].reason is ComplianceReason.NOT_COVERED


def test_the_worst_rule_wins():
    """Noncompliant is worse than unknown, unknown worse than grace; nothing at all is unknown."""
    for at, state in enumerate(WORST_FIRST):
        assert worst(WORST_FIRST[at:]) is state
        assert worst(reversed(WORST_FIRST[at:])) is state
    assert worst([]) is UNKNOWN
    device = posture(fact("a", value=True), fact("b", value=True))
    good, missing = FactRule(name="1", fact="a", equals=True), FactRule(name="2", fact="c", equals=True)
    bad = FactRule(name="3", fact="b", equals=False)
    assert evaluate(device, good).state is COMPLIANT
    assert evaluate(device, good, missing).state is UNKNOWN
    assert evaluate(device, good, missing, bad).state is NONCOMPLIANT


def test_results_are_in_the_order_of_the_policies_and_name_them():
    policies = [
        CompliancePolicy(
            name="b", rules=(FactRule(name="2", fact="x", equals=1), FactRule(name="1", fact="x", equals=1))
        ),
        CompliancePolicy(name="a", rules=(FactRule(name="3", fact="x", equals=1),)),
    ]
    result = evaluate_compliance(posture(), policies, risk=NO_RISK, sensors=SENSORS, now=NOW)
    assert [(each.policy, each.rule) for each in result.results] == [("b", "2"), ("b", "1"), ("a", "3")]


# --- risk
# ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "most", "state"),
    [
        ("none", "none", COMPLIANT),
        ("low", "low", COMPLIANT),
        ("low", "none", NONCOMPLIANT),
        ("high", "medium", NONCOMPLIANT),
        ("unknown", "high", UNKNOWN),
        ("none", "unknown", UNKNOWN),
    ],
)
def test_risk_is_compared_by_its_order_and_unknown_never_passes(level, most, state):
    risk = RiskAssessment(level=RiskLevel(level), is_known=True)
    _, one = only(posture(), RiskRule(name="r", max=RiskLevel(most)), risk=risk)
    assert one.state is state


def test_a_silent_sensor_makes_low_risk_unknown_but_high_risk_stays_failed():
    low = RiskAssessment(level=RiskLevel.LOW, is_known=False, silent_sensors=("edr",))
    _, one = only(posture(), RiskRule(name="r", max=RiskLevel.LOW), risk=low)
    assert (one.state, one.reason, one.source) == (UNKNOWN, ComplianceReason.SENSOR_SILENT, "edr")
    high = RiskAssessment(level=RiskLevel.HIGH, is_known=False, silent_sensors=("edr",))
    _, one = only(posture(), RiskRule(name="r", max=RiskLevel.LOW), risk=high)
    assert (one.state, one.reason) == (NONCOMPLIANT, ComplianceReason.RISK_TOO_HIGH)


def test_grace_of_risk_counts_from_the_oldest_finding_above_the_limit():
    """Findings at or below the limit, however old, do not start it; a newer one does not restart it."""
    device = posture(
        finding("old-low", "low", first=ago(days=30)),
        finding("high-2", "high", first=ago(hours=2)),
        finding("high-5", "high", first=ago(hours=5), at=ago(minutes=1)),
    )
    rule = RiskRule(name="r", max=RiskLevel.LOW, grace=6 * 3600)
    result, one = only(device, rule)
    assert (one.state, one.since, one.deadline) == (GRACE, ago(hours=5), NOW + timedelta(hours=1))
    assert (result.changes_at, result.deadline) == (one.deadline, one.deadline)
    assert one.source == "edr"
    result, one = only(device, rule, now=one.deadline)
    assert (one.state, one.deadline) == (NONCOMPLIANT, NOW + timedelta(hours=1))
    assert (result.changes_at, result.deadline) == (None, None)


def test_grace_needs_evidence_of_its_start():
    """A level without any finding has no start that grace could count from."""
    risk = RiskAssessment(level=RiskLevel.HIGH, is_known=True)
    _, one = only(posture(), RiskRule(name="r", max=RiskLevel.LOW, grace=86400), risk=risk)
    assert (one.state, one.deadline) == (NONCOMPLIANT, None)


def test_the_moment_of_a_risk_change_is_one_of_compliance():
    risk = RiskAssessment(level=RiskLevel.NONE, is_known=True, changes_at=NOW + timedelta(minutes=3))
    result, _ = only(posture(), RiskRule(name="r", max=RiskLevel.LOW), risk=risk)
    assert result.changes_at == NOW + timedelta(minutes=3)


# --- facts
# -----------------------------------------------------------------------------------------------------

R = ComplianceReason


@pytest.mark.parametrize(
    ("value", "asked", "state", "reason"),
    [
        (True, {"equals": True}, COMPLIANT, R.MET),
        (False, {"equals": True}, NONCOMPLIANT, R.FACT_DIFFERS),
        (False, {"equals": False}, COMPLIANT, R.MET),
        ("true", {"equals": True}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (1, {"equals": True}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (True, {"equals": 1}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (0, {"equals": False}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        ("1", {"equals": 1}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (1.0, {"equals": 1}, COMPLIANT, R.MET),
        (2, {"equals": 1}, NONCOMPLIANT, R.FACT_DIFFERS),
        ("on", {"equals": "on"}, COMPLIANT, R.MET),
        ("On", {"equals": "on"}, NONCOMPLIANT, R.FACT_DIFFERS),
        (None, {"equals": "on"}, UNKNOWN, R.FACT_NEVER_REPORTED),
        ("a", {"one_of": ("a", "b")}, COMPLIANT, R.MET),
        ("c", {"one_of": ("a", "b")}, NONCOMPLIANT, R.FACT_NOT_ACCEPTED),
        (1, {"one_of": ("1",)}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (True, {"one_of": ("true",)}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        ("14.10", {"at_least": "14.9"}, COMPLIANT, R.MET),
        ("14.9", {"at_least": "14.10"}, NONCOMPLIANT, R.VERSION_TOO_LOW),
        ("10.0.22631.5189", {"at_least": "10.0.22631"}, COMPLIANT, R.MET),
        ("14.2 (23C64)", {"at_least": "14.2"}, COMPLIANT, R.MET),
        ("23C64", {"at_least": "14.2"}, UNKNOWN, R.VERSION_UNREADABLE),
        ("", {"at_least": "14.2"}, UNKNOWN, R.VERSION_UNREADABLE),
        ("Ubuntu 22.04", {"at_least": "14.2"}, UNKNOWN, R.VERSION_UNREADABLE),
        ("14.2", {"at_least": "x"}, UNKNOWN, R.VERSION_UNREADABLE),
        (15, {"at_least": "14"}, COMPLIANT, R.MET),
        (14.1, {"at_least": "14"}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        (True, {"at_least": "0"}, UNKNOWN, R.FACT_TYPE_DIFFERS),
        ("x", {}, UNKNOWN, R.RULE_UNUSABLE),
    ],
)
def test_facts_are_compared_with_their_like_only(value, asked, state, reason):
    _, one = only(posture(fact("f", value)), FactRule(name="r", fact="f", **asked))
    assert (one.state, one.reason) == (state, reason)


def test_every_comparison_must_hold():
    """The configuration allows one; a rule with two that got here all the same must meet both."""
    rule = FactRule(name="r", fact="f", equals="a", one_of=("b",))
    assert only(posture(fact("f", "a")), rule)[1].state is NONCOMPLIANT


def test_what_was_never_reported_is_unknown_without_grace():
    _, one = only(posture(fact("other", value=True)), FactRule(name="r", fact="f", equals=True, grace=86400))
    assert (one.state, one.reason, one.deadline) == (UNKNOWN, R.FACT_NEVER_REPORTED, None)


def test_a_fact_of_a_sensor_that_is_not_configured_is_not_heard():
    _, one = only(posture(fact("f", value=True, sensor="removed")), FactRule(name="r", fact="f", equals=True))
    assert (one.state, one.reason, one.source) == (UNKNOWN, R.FACT_NEVER_REPORTED, "")


def test_an_old_fact_is_unknown_from_the_very_moment():
    device = posture(fact("f", value=True, at=ago(hours=1)))
    rule = FactRule(name="r", fact="f", equals=True, max_age=7200)
    result, one = only(device, rule)
    assert (one.state, result.changes_at) == (COMPLIANT, NOW + timedelta(hours=1))
    result, one = only(device, rule, now=result.changes_at)
    assert (one.state, one.reason) == (UNKNOWN, R.FACT_TOO_OLD)


def test_a_silent_sensor_speaks_for_no_device():
    """The moment of its silence is foreseen; then what it said is shown, and not believed."""
    device = posture(fact("f", value=True))
    rule = FactRule(name="r", fact="f", equals=True)
    result, one = only(device, rule)
    assert (one.state, result.changes_at) == (COMPLIANT, ago(minutes=5) + timedelta(days=1))
    _, one = only(device, rule, now=result.changes_at)
    assert (one.state, one.reason, one.source) == (UNKNOWN, R.SENSOR_SILENT, "fleet")
    assert "yes" in one.seen


def test_a_failing_fact_of_a_silent_sensor_is_unknown_too():
    device = posture(fact("f", value=False, at=ago(days=2)))
    _, one = only(device, FactRule(name="r", fact="f", equals=True, grace=30 * 86400))
    assert (one.state, one.reason) == (UNKNOWN, R.SENSOR_SILENT)


def test_an_expired_fact_is_unknown():
    device = posture(fact("f", value=True, sensor="edr", expires_at=NOW + timedelta(minutes=1)))
    rule = FactRule(name="r", fact="f", equals=True)
    result, one = only(device, rule)
    assert (one.state, result.changes_at) == (COMPLIANT, NOW + timedelta(minutes=1))
    _, one = only(device, rule, now=result.changes_at)
    assert (one.state, one.reason) == (UNKNOWN, R.FACT_EXPIRED)


def test_the_most_trusted_live_sensor_is_believed():
    device = posture(fact("f", value=False, at=ago(hours=2)), fact("f", value=True, sensor="other"))
    _, one = only(device, FactRule(name="r", fact="f", equals=True))
    assert (one.state, one.source) == (NONCOMPLIANT, "fleet")


def test_grace_of_a_fact_counts_from_its_first_failure_and_not_from_its_repetition():
    first = ago(hours=20)
    stored = Fact(
        name="f",
        sensor="edr",
        value=False,
        observed_at=ago(minutes=1),
        received_at=ago(minutes=1),
        statements=(first,),
    )
    rule = FactRule(name="r", fact="f", equals=True, grace=86400)
    result, one = only(posture(stored), rule)
    assert (one.state, one.since, one.deadline) == (GRACE, first, first + timedelta(days=1))
    assert result.deadline == result.changes_at == one.deadline
    result, one = only(posture(stored), rule, now=one.deadline)
    assert (one.state, result.deadline, result.changes_at) == (NONCOMPLIANT, None, None)


def test_without_a_first_failure_the_observation_counts():
    device = posture(fact("f", value=False, sensor="edr", at=ago(hours=1)))
    _, one = only(device, FactRule(name="r", fact="f", equals=True, grace=7200))
    assert (one.state, one.deadline) == (GRACE, NOW + timedelta(hours=1))


def test_asking_again_moves_no_deadline():
    device = posture(fact("f", value=False, sensor="edr", at=ago(hours=1)))
    rule = FactRule(name="r", fact="f", equals=True, grace=7200)
    deadlines = {only(device, rule, now=NOW + timedelta(minutes=m))[1].deadline for m in range(0, 120, 7)}
    assert len(deadlines) == 1


# --- sensors
# ---------------------------------------------------------------------------------------------------


def test_a_sensor_rule_fails_from_the_moment_of_silence():
    device = posture(heard={"edr": ago(hours=1)})
    rule = SensorRule(name="r", sensor="edr", seen_within=7200, grace=3600)
    result, one = only(device, rule)
    assert (one.state, result.changes_at) == (COMPLIANT, NOW + timedelta(hours=1))
    result, one = only(device, rule, now=NOW + timedelta(hours=1))
    assert (one.state, one.since, one.deadline) == (GRACE, NOW + timedelta(hours=1), NOW + timedelta(hours=2))
    assert result.changes_at == one.deadline
    result, one = only(device, rule, now=NOW + timedelta(hours=2))
    assert (one.state, one.reason, result.changes_at) == (NONCOMPLIANT, R.SENSOR_NOT_SEEN_LATELY, None)


@pytest.mark.parametrize("heard", [{}, {"gone": NOW}])
def test_a_sensor_that_never_spoke_is_unknown(heard):
    _, one = only(posture(heard=heard), SensorRule(name="r", sensor="gone", seen_within=7200, grace=3600))
    assert (one.state, one.reason) == (UNKNOWN, R.SENSOR_NEVER_HEARD)


# --- texts
# -----------------------------------------------------------------------------------------------------


def test_texts_are_for_people():
    device = posture(fact("disk_encrypted", value=False))
    _, one = only(
        device, FactRule(name="r", fact="disk_encrypted", equals=True, max_age=86400, why="w", fix="f")
    )
    assert (one.title, one.seen, one.wanted) == ("Disk encrypted", "no", "yes, reported within 1 d")
    assert (one.source, one.observed_at, one.why, one.fix) == ("fleet", ago(minutes=5), "w", "f")
    _, one = only(device, FactRule(name="r", fact="disk_encrypted", equals=True, title="Own title"))
    assert one.title == "Own title"


def test_what_a_sensor_wrote_is_cut():
    _, one = only(posture(fact("f", "x" * 5000)), FactRule(name="r", fact="f", equals="y"))
    assert len(one.seen) < 100


def test_reasons_are_kebab_case():
    for reason in ComplianceReason:
        assert reason.value == reason.name.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 3.5, "3 d"), (-5, "0 s")],
)
def test_durations_are_rounded_down(seconds, text):
    assert duration_text(seconds) == text


def test_a_result_can_be_recorded():
    result = evaluate(posture(fact("f", value=False)), FactRule(name="r", fact="f", equals=True, grace=60))
    assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result


def test_repeating_a_failing_fact_does_not_extend_its_grace() -> None:
    """Grace counts from the first report of the failing value, however often the sensor repeats it."""
    start = datetime(2026, 11, 22, 8, tzinfo=UTC)
    posture = Posture(device_id=DeviceId("dev_1"))
    for hour in range(10):
        at = start + timedelta(hours=hour)
        signal = Signal(
            sensor="mdm",
            type=SignalType.POSTURE_FACT,
            observed_at=at,
            received_at=at,
            external_id="report",
            event_id=f"e{hour}",
            facts={"disk_encrypted": False},
        )
        posture = fold(posture, signal)
    sensors = {"mdm": SensorRules(name="mdm")}
    rule = FactRule(name="disk", fact="disk_encrypted", equals=True, grace=4 * 3600.0)
    now = start + timedelta(hours=9, minutes=1)
    result = evaluate_compliance(
        posture,
        (CompliancePolicy(name="p", rules=(rule,)),),
        risk=assess(posture, sensors, now),
        sensors=sensors,
        now=now,
    )
    assert result.state is ComplianceState.NONCOMPLIANT
    assert result.results[0].since == start
