"""The quick look and the judgement, for arbitrary rules and devices: whom the screen lets pass fails nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compliance.model import (
    CompliancePolicy,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    FindingRule,
    RiskRule,
    RuleLevel,
    SensorRule,
)
from compliance.screening import FAILING, Screen
from compliance.state import evaluate_compliance
from risk.correlation import NOTHING, Correlation, Decay, Weighing
from risk.model import (
    DeviceId,
    Fact,
    Finding,
    Identifier,
    Posture,
    RiskLevel,
    SensorRules,
    Severity,
    SignalType,
)
from risk.scoring import assess

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SENSORS = {
    "edr": SensorRules(name="edr", max_silence_s=3600.0, unknown_level=Severity.HIGH),
    "mdm": SensorRules(name="mdm", unknown_level=Severity.NONE, trust=1, max_level=RiskLevel.MEDIUM),
    "operator": SensorRules(name="operator"),
}
NAMES = [*SENSORS, "gone"]


def rarely(strategy, default):
    return st.one_of(st.just(default), st.just(default), strategy)


ages = st.sampled_from([0.0, 1.0, 59.0, 60.0, 3600.0, 86400.0])
moments = ages.map(lambda seconds: NOW - timedelta(seconds=seconds))
expiries = rarely(st.sampled_from([-60.0, 0.0, 60.0]).map(lambda s: NOW + timedelta(seconds=s)), None)
severities = st.sampled_from(list(Severity))
values = st.sampled_from(
    [True, False, None, 1, 0, 1.0, 15, "14.2", "14.10", "macOS 14", "Windows 11", "2030-01-01", "x"]
)
FACTS = ["disk", "os_version", "patched", "score", "os", "owner_type", "tag.lab"]


def named(rules):
    return tuple(
        type(rule)(**{f: getattr(rule, f) for f in rule.__struct_fields__} | {"name": f"r{number}"})
        for number, rule in enumerate(rules)
    )


common = {
    "name": st.just("r"),
    "grace": rarely(st.sampled_from([60.0, 86400.0]), 0.0),
    "level": rarely(st.sampled_from(list(RuleLevel)), RuleLevel.REQUIRE),
    "warn_until": st.sampled_from(["2029-01-01", "2031-01-01"]),
    "platforms": rarely(st.sampled_from([("macos",), ("windows",)]), ()),
}
comparisons = st.sampled_from(
    [
        {"equals": True}, {"equals": 1}, {"not_equals": "x"}, {"one_of": ("x",)}, {"not_one_of": ("x",)},
        {"at_least": "14.2"}, {"below": "14.3"}, {"min": 1.0, "max": 10.0}, {"newer_than": 3600.0},
        {"newer_than": 86400.0 * 30},
    ]
)  # fmt: skip
fact_rules = st.builds(
    lambda asked, **rest: FactRule(**asked, **rest),
    comparisons, fact=st.sampled_from(FACTS), max_age=rarely(ages.filter(bool), None), **common,
)  # fmt: skip
rules = st.one_of(
    st.builds(RiskRule, max=st.sampled_from(list(RiskLevel)), sensor=rarely(st.sampled_from(NAMES), ""), **common),
    fact_rules,
    st.builds(
        SensorRule, sensor=st.sampled_from(NAMES), seen_within=st.sampled_from([60.0, 3600.0]), **common
    ),
    st.builds(
        FindingRule, at_least=severities.filter(lambda s: s is not Severity.UNKNOWN), max=st.integers(0, 2),
        category=st.sampled_from(["", "malware"]), sensor=rarely(st.sampled_from(NAMES), ""),
        older_than=rarely(ages.filter(bool), None), **common,
    ),
)  # fmt: skip
assignments = st.builds(
    DeviceAssignment,
    platforms=rarely(st.sampled_from([("macos",), ("windows", "linux")]), ()),
    ownership=rarely(st.just(("corporate",)), ()),
    tags=rarely(st.just(("lab",)), ()),
    devices=rarely(st.just(("SN-*",)), ()),
)
policies = st.lists(
    st.builds(
        CompliancePolicy,
        name=st.sampled_from(["a", "b", "c"]),
        rules=st.lists(rules, max_size=3).map(named),
        include=assignments,
        exclude=rarely(assignments, None),
    ),
    max_size=3,
    unique_by=lambda policy: policy.name,
).map(tuple)


def _finding(sensor, number, level, observed, first, expires, open_level, *, is_open, category):
    return Finding(
        sensor=sensor, external_id=f"c{number}", type=SignalType.DETECTION, level=level, is_open=is_open,
        observed_at=observed, received_at=observed, first_observed_at=min(first, observed), expires_at=expires,
        open_level=None if is_open else open_level, category=category,
    )  # fmt: skip


findings = st.builds(
    _finding, st.sampled_from(NAMES), st.integers(0, 2), severities, moments, moments, expiries,
    st.none() | severities, is_open=st.booleans(), category=st.sampled_from(["", "malware"]),
)  # fmt: skip
facts = st.builds(
    lambda sensor, name, value, at, expires: Fact(
        name=name, sensor=sensor, value=value, observed_at=at, received_at=at, expires_at=expires
    ),
    st.sampled_from(NAMES), st.sampled_from(FACTS), values, moments, expiries,
)  # fmt: skip
postures = st.builds(
    lambda found, stated, heard, contested: Posture(
        device_id=DeviceId("dev_1"),
        name="lt-1",
        identifiers=(Identifier("serial", "SN-1"),),
        findings={(each.sensor, each.external_id): each for each in found},
        facts={(each.sensor, each.name): each for each in stated},
        heard=heard,
        contested=(Identifier("serial", "SN-1"),) if contested else (),
    ),
    st.lists(findings, max_size=3), st.lists(facts, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), moments, max_size=4), st.sampled_from([False, False, True]),
)  # fmt: skip
weighings = rarely(
    st.builds(
        Weighing,
        correlation=rarely(
            st.just((Correlation(name="several", level="high", count=2, distinct="findings"),)), ()
        ),
        decay=rarely(st.just((Decay(after="high", level="medium", lasts=3600.0),)), ()),
    ),
    NOTHING,
)


@settings(max_examples=400)
@given(
    policies=policies,
    seen=st.lists(postures, min_size=1, max_size=3),
    uncovered=st.sampled_from([ComplianceState.NONCOMPLIANT, ComplianceState.COMPLIANT]),
    weighing=weighings,
)
@example(  # a value that equals another one of another type
    policies=(CompliancePolicy(name="a", rules=(FactRule(name="r0", fact="disk", equals=True),)),),
    seen=[
        Posture(device_id=DeviceId("dev_1"), facts={("edr", "disk"): Fact(
            name="disk", sensor="edr", value=value, observed_at=NOW, received_at=NOW)}, heard={"edr": NOW})
        for value in (1, True, 0, False)
    ],
    uncovered=ComplianceState.NONCOMPLIANT,
    weighing=NOTHING,
)  # fmt: skip
def test_whom_the_screen_lets_pass_fails_no_rule(policies, seen, uncovered, weighing):
    screen = Screen(policies, sensors=SENSORS, uncovered=uncovered, weighing=weighing)
    for posture in seen:
        if screen.may_fail(posture, NOW):
            continue
        risk = assess(posture, SENSORS, NOW, weighing)
        result = evaluate_compliance(
            posture, policies, risk=risk, sensors=SENSORS, now=NOW, uncovered=uncovered
        )
        failed = [
            each for each in result.results if each.state in FAILING and each.level is not RuleLevel.REPORT
        ]
        assert failed == []


HEALTHY = Posture(
    device_id=DeviceId("dev_1"),
    findings={("edr", "c1"): _finding("edr", 1, Severity.LOW, NOW, NOW, None, None, is_open=True, category="")},
    facts={
        ("edr", name): Fact(name=name, sensor="edr", value=value, observed_at=NOW, received_at=NOW)
        for name, value in (("disk", True), ("os", "macOS 14"), ("os_version", "14.10"))
    },
    heard={"edr": NOW},
)  # fmt: skip
USUAL = (
    RiskRule(name="threat", max=RiskLevel.LOW),
    FactRule(name="disk", fact="disk", equals=True),
    FactRule(name="version", fact="os_version", at_least="14.2"),
    FindingRule(name="holes", at_least=Severity.HIGH),
    SensorRule(name="seen", sensor="edr", seen_within=60.0),
)
WINDOWS = FactRule(name="windows", fact="os_version", at_least="20", platforms=("windows",))
LAPTOPS = CompliancePolicy(name="laptops", rules=USUAL)
BY_PLATFORM = (
    CompliancePolicy(name="macs", rules=(*USUAL, WINDOWS), include=DeviceAssignment(platforms=("macos",))),
    CompliancePolicy(
        name="pcs",
        rules=(FactRule(name="never", fact="disk", equals=False),),
        include=DeviceAssignment(platforms=("windows",)),
    ),
)


def test_a_healthy_device_passes_under_the_rules_of_its_own_platform() -> None:
    """The screen would be of no use if it sent everybody to the judgement."""
    for policies in ((LAPTOPS,), BY_PLATFORM):
        screen = Screen(policies, sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT)
        assert not screen.may_fail(HEALTHY, NOW)
        assert screen.may_fail(HEALTHY, NOW + timedelta(seconds=60))  # not seen lately


RISK = RiskRule(name="threat", max=RiskLevel.LOW)
SEVERAL = Weighing(correlation=(Correlation(name="several", level="high", count=1),))
LATELY = Weighing(decay=(Decay(after="high", level="medium", lasts=3600.0),))
AN_HOUR_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("rule", "found", "weighing", "is_suspected"),
    [
        (RISK, {"level": Severity.MEDIUM}, NOTHING, True),
        (RISK, {"level": Severity.UNKNOWN}, NOTHING, True),
        (RISK, {"level": Severity.LOW}, NOTHING, False),
        (RISK, {"level": Severity.LOW}, SEVERAL, True),
        (RISK, {"level": Severity.HIGH, "expires": NOW}, NOTHING, False),
        (RISK, {"level": Severity.HIGH, "expires": NOW + timedelta(seconds=1)}, NOTHING, True),
        (RISK, {"is_open": False, "open_level": Severity.HIGH}, NOTHING, False),
        (RISK, {"is_open": False, "open_level": Severity.HIGH}, LATELY, True),
        (RISK, {"is_open": False, "open_level": Severity.LOW}, LATELY, False),
        (RISK, {"is_open": False, "open_level": Severity.HIGH, "observed": AN_HOUR_AGO}, LATELY, False),
        (FindingRule(name="f", at_least=Severity.HIGH), {"level": Severity.MEDIUM}, NOTHING, False),
        (FindingRule(name="f", at_least=Severity.HIGH), {"level": Severity.HIGH}, NOTHING, True),
        (FindingRule(name="f", at_least=Severity.HIGH), {"level": Severity.UNKNOWN}, NOTHING, True),
    ],
)
def test_findings_that_no_rule_counts_make_no_suspect(rule, found, weighing, is_suspected) -> None:
    given_ = {
        "level": Severity.HIGH, "observed": NOW, "first": NOW, "expires": None, "open_level": None, "is_open": True
    } | found  # fmt: skip
    finding = _finding("edr", 1, **given_, category="")
    posture = Posture(
        device_id=DeviceId("dev_1"), findings={("edr", "c1"): finding}, heard={"edr": NOW}
    )  # fmt: skip
    policies = (CompliancePolicy(name="a", rules=(rule,)),)
    screen = Screen(policies, sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT, weighing=weighing)
    assert screen.may_fail(posture, NOW) is is_suspected


def test_a_device_of_no_policy_fails_where_that_is_failing() -> None:
    policies = (CompliancePolicy(name="pcs", rules=USUAL, include=DeviceAssignment(platforms=("windows",))),)
    for state in (ComplianceState.NONCOMPLIANT, ComplianceState.COMPLIANT):
        assert Screen(policies, sensors=SENSORS, uncovered=state).may_fail(HEALTHY, NOW) is (state in FAILING)
