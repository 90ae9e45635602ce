"""The quick look and the judgement, for arbitrary rules and devices: whom the screen lets pass fails nothing."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compliance.model import (
    CompliancePolicy,
    ComplianceState,
    DeviceAssignment,
    Exemption,
    FactRule,
    FindingRule,
    RiskRule,
    RuleLevel,
    SensorRule,
)
from compliance.screening import FAILING, Screen, is_fresh
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


def _outcome(posture, policies, weighing, now, uncovered=ComplianceState.NONCOMPLIANT):
    """Return what incidents and tasks look at in a judgement, and the judgement."""
    risk = assess(posture, SENSORS, now, weighing)
    result = evaluate_compliance(
        posture, policies, risk=risk, sensors=SENSORS, now=now, uncovered=uncovered, exemptions=EXEMPTIONS
    )
    shown = (
        [(each.policy, each.rule, each.state, each.reason, each.level, each.is_required) for each in result.results],
        {(each.sensor, each.external_id, each.level, each.title) for each in risk.contributions},
    )  # fmt: skip
    return shown, risk, result


def _said_again(posture, again, at):
    """Return a posture in which some of what was said was said again at `at`, with nothing new in it."""
    numbers = iter(again)
    replace = msgspec.structs.replace
    facts = {
        key: replace(fact, observed_at=at, received_at=at, statements=(fact.since,))
        if next(numbers)
        else fact
        for key, fact in posture.facts.items()
    }
    findings = {
        key: replace(each, observed_at=at, received_at=at) if each.is_open and next(numbers) else each
        for key, each in posture.findings.items()
    }
    heard = {sensor: at if next(numbers) else moment for sensor, moment in posture.heard.items()}
    return replace(posture, facts=facts, findings=findings, heard=heard)


EXEMPTIONS = (Exemption(rule="b", reason="r", author="a", expires="2030-01-02", devices=("dev_1",)),)
later = st.sampled_from([0.0, 0.5, 30.0, 3000.0, 80000.0])


@settings(max_examples=300)
@given(
    policies=policies,
    posture=postures,
    again=st.lists(st.booleans(), min_size=16, max_size=16),
    after=later,
    before=later,
    weighing=weighings,
)
def test_what_is_said_again_changes_no_judgement_while_the_digest_is_the_same(
    policies, posture, again, after, before, weighing
):
    screen = Screen(policies, sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT, weighing=weighing)
    then = NOW + timedelta(seconds=after)
    shown, risk, result = _outcome(posture, policies, weighing, NOW)
    moments = [each for each in (risk.changes_at, result.changes_at) if each is not None]
    if not is_fresh(risk, result) or any(moment <= then for moment in moments):
        return
    told = _said_again(posture, again, then - timedelta(seconds=min(before, after)))
    if screen.digest(told, then) == screen.digest(posture, NOW):
        assert _outcome(told, policies, weighing, then)[0] == shown


def fact_of(name, *, value, sensor="edr", at=NOW):
    return Fact(name=name, sensor=sensor, value=value, observed_at=at, received_at=at)


LONG_AGO = NOW - timedelta(hours=2)
OVER_AN_HOUR_AGO = NOW - timedelta(seconds=3700)
DISK = FactRule(name="r0", fact="disk", equals=True)
TWICE = Weighing(correlation=(Correlation(name="twice", level="high", count=2, within=3600.0),))


def device(*said, heard=("edr", "mdm", "operator")):
    found = [each for each in said if isinstance(each, Finding)]
    stated = [each for each in said if isinstance(each, Fact)]
    return Posture(
        device_id=DeviceId("dev_1"),
        findings={(each.sensor, each.external_id): each for each in found},
        facts={(each.sensor, each.name): each for each in stated},
        heard=dict.fromkeys(heard, NOW),
    )


@pytest.mark.parametrize(
    ("policy", "rule", "posture", "weighing"),
    [
        ("a", DISK, device(
            fact_of("disk", value=True, at=LONG_AGO), fact_of("disk", value=False, sensor="operator")
        ), NOTHING),
        ("a", FactRule(name="r0", fact="disk", equals=True, max_age=60.0), device(
            fact_of("disk", value=False, at=LONG_AGO)
        ), NOTHING),
        ("b", FactRule(name="r0", fact="disk", equals=False, max_age=60.0), device(
            fact_of("disk", value=False, at=LONG_AGO)
        ), NOTHING),
        ("a", DISK, msgspec.structs.replace(device(
            fact_of("disk", value=False, at=OVER_AN_HOUR_AGO),
            fact_of("disk", value=True, sensor="operator", at=LONG_AGO),
        ), heard={"edr": OVER_AN_HOUR_AGO, "operator": NOW}), NOTHING),
        ("a", RiskRule(name="r0", max=RiskLevel.LOW), device(
            _finding("edr", 1, Severity.LOW, NOW, NOW, None, None, is_open=True, category=""),
            _finding("edr", 2, Severity.LOW, LONG_AGO, LONG_AGO, None, None, is_open=True, category=""),
        ), TWICE),
    ],
    ids=["newest-of-two", "too-old", "too-old-and-exempted", "silent", "together-within"],
)  # fmt: skip
def test_where_to_say_it_again_changes_the_judgement_the_digest_does_not_vouch(
    policy, rule, posture, weighing
):
    policies, then = (CompliancePolicy(name=policy, rules=(rule,)),), NOW + timedelta(seconds=1)
    screen = Screen(policies, sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT, weighing=weighing)
    shown, risk, result = _outcome(posture, policies, weighing, NOW)
    vouched = []
    changed = 0
    for number in range(2**6):
        told = _said_again(posture, [bool(number & 1 << bit) for bit in range(6)], then)
        if _outcome(told, policies, weighing, then)[0] != shown:
            changed += 1
            if is_fresh(risk, result) and screen.digest(told, then) == screen.digest(posture, NOW):
                vouched.append(number)
    assert changed > 0
    assert vouched == []


CHANGES = {
    "value": lambda each: {"facts": {**each.facts, ("edr", "disk"): fact_of("disk", value=False)}},
    "another sensor's word": lambda each: {
        "facts": {**each.facts, ("mdm", "disk"): fact_of("disk", value=True, sensor="mdm")}
    },
    "finding": lambda each: {"findings": {}},
    "heard": lambda each: {"heard": {**each.heard, "mdm": NOW}},
    "name": lambda each: {"name": "another"},
    "contested": lambda each: {"contested": (Identifier("serial", "SN-1"),)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_judgement_rests_on_changes_the_digest(change) -> None:
    screen = Screen((LAPTOPS,), sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT)
    changed = msgspec.structs.replace(HEALTHY, **change(HEALTHY))
    assert screen.digest(changed, NOW) != screen.digest(HEALTHY, NOW)


def test_what_is_said_again_or_asked_by_no_rule_leaves_the_digest() -> None:
    screen = Screen((LAPTOPS,), sensors=SENSORS, uncovered=ComplianceState.NONCOMPLIANT)
    then = NOW + timedelta(seconds=30)
    again = _said_again(HEALTHY, [True] * 16, then)
    again = msgspec.structs.replace(
        again, facts={**again.facts, ("edr", "uptime"): fact_of("uptime", value=7, at=then)}
    )
    assert screen.digest(again, then) == screen.digest(HEALTHY, NOW)


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
