"""Two sets of compliance policies, held against each other on devices that are made up at random.

What the comparison claims the evaluator confirms (it is asked while searching). That nothing is left out is shown by
trying devices of every kind: where the evaluator treats one differently, the comparison has found one like it.
"""

from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from compliance.analysis.devices import QUESTIONS, device_differences, treatment
from compliance.analysis.solver import TooHard
from compliance.analysis.supposed import (
    Requirements,
    SupposedDevice,
    SupposedFact,
    SupposedFinding,
    judged,
    with_built_in,
)
from compliance.model import (
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
from risk.builtin import OPERATOR
from risk.model import RiskLevel, SensorRules, Severity

pytestmark = pytest.mark.timeout(600)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = 3600.0
AGES = [0.0, HOUR, 2 * HOUR, 3 * HOUR, 5 * HOUR, 9 * HOUR]
SENSORS = {
    "mdm": SensorRules(name="mdm", max_silence_s=2 * HOUR),
    "edr": SensorRules(name="edr"),
    "ids": SensorRules(name="ids", max_level=RiskLevel.MEDIUM),
}
ALL = with_built_in(SENSORS)
DEVICES = 400
"""So many devices are tried for each two sets."""

common = {
    "name": st.sampled_from(["r1", "r2"]),
    "grace": st.sampled_from([0.0, HOUR, 3 * HOUR]),
    "level": st.sampled_from([RuleLevel.REQUIRE] * 4 + [RuleLevel.NOTIFY]),
    "platforms": st.sampled_from([(), (), ("macos",)]),
}
rules = st.one_of(
    st.builds(
        FactRule,
        fact=st.sampled_from(["f", "platform", "tag.kiosk"]),
        equals=st.sampled_from([True, "macos"]),
        max_age=st.sampled_from([None, 2 * HOUR]),
        **common,
    ),
    st.builds(FactRule, fact=st.just("v"), at_least=st.sampled_from(["14.4", "14.10"]), **common),
    st.builds(
        RiskRule,
        max=st.sampled_from([RiskLevel.NONE, RiskLevel.LOW, RiskLevel.MEDIUM]),
        sensor=st.sampled_from(["", "", "mdm", "edr"]),
        **common,
    ),
    st.builds(
        FindingRule,
        at_least=st.sampled_from([Severity.LOW, Severity.HIGH]),
        category=st.sampled_from(["", "malware"]),
        sensor=st.sampled_from(["", "mdm"]),
        older_than=st.sampled_from([None, HOUR]),
        max=st.sampled_from([0, 0, 0, 1]),
        **common,
    ),
    st.builds(
        SensorRule,
        sensor=st.sampled_from(["mdm", "edr"]),
        seen_within=st.sampled_from([HOUR, 3 * HOUR]),
        **common,
    ),
)
steps = st.builds(
    EscalationStep,
    after=st.sampled_from(AGES),
    decision=st.sampled_from([Outcome.RESTRICT, Outcome.BLOCK]),
    controls=st.sampled_from([(SessionControl.READ_ONLY,), (SessionControl.NO_DOWNLOADS,)]),
)
groups = st.builds(
    DeviceAssignment,
    platforms=st.sampled_from([(), (), ("macos",), ("macos", "linux")]),
    ownership=st.sampled_from([(), (), ("corporate",)]),
    tags=st.sampled_from([(), (), ("kiosk",)]),
    devices=st.sampled_from([(), (), ("lab-*",), ("lab-7",)]),
)
policies = st.builds(
    CompliancePolicy,
    name=st.sampled_from(["c1", "c2"]),
    rules=st.lists(rules, min_size=1, max_size=3, unique_by=lambda rule: rule.name).map(tuple),
    include=st.just(DeviceAssignment()) | groups,
    exclude=st.none() | groups.filter(lambda group: group != DeviceAssignment()),
    escalation=st.lists(steps, max_size=2).map(tuple),
)
exemptions = st.builds(
    Exemption,
    rule=st.sampled_from(["c1", "c1/r1", "c2/r1"]),
    reason=st.just("because"),
    author=st.just("carol"),
    expires=st.sampled_from(["2031-01-01", "2029-01-01"]),
    devices=st.sampled_from([("lab-7",), ("office-1",)]),
    users=st.sampled_from([(), ("ana@corp.example",), ("bob",)]),
)
sets = st.builds(
    Requirements,
    policies=st.lists(policies, min_size=1, max_size=2, unique_by=lambda policy: policy.name).map(tuple),
    uncovered=st.sampled_from([ComplianceState.NONCOMPLIANT, ComplianceState.UNKNOWN]),
    exemptions=st.lists(exemptions, max_size=1).map(tuple),
    exemption_ceiling=st.sampled_from([RiskLevel.NONE, RiskLevel.MEDIUM]),
)


def differing(before, after):
    """Return what differs; sets that are too hard to compare, as only rules that count findings are, show nothing."""
    try:
        return list(device_differences(before, after, SENSORS, NOW))
    except TooHard:
        assert any(rule.max for rule in finding_rules(before, after))
        reject()


def finding_rules(*sets_):
    policies_ = [policy for each in sets_ for policy in each.policies]
    return [rule for policy in policies_ for rule in policy.rules if isinstance(rule, FindingRule)]


def some_device(random: Random, at: datetime) -> SupposedDevice:
    """Return a device of any kind."""
    heard = {name: random.choice(AGES) for name in SENSORS if random.random() < 0.6}
    if "mdm" not in heard and random.random() < 0.2:
        heard["mdm"] = None
    facts = []
    for name, values in (
        ("f", [True, False, "macos", 1]), ("v", ["14.4", "14.5", "14.10", "13", 22, True]),
        ("platform", ["macos", "linux", "windows", "BeOS", True]), ("tag.kiosk", [True, False, "macos"]),
        ("os", ["macos", "linux"]), ("ownership", ["corporate", "personal"]), ("tags", ["kiosk", "blue"]),
    ):  # fmt: skip
        if random.random() < 0.5:
            age = random.choice(AGES)
            facts.append(SupposedFact(name, random.choice(values), age, age + random.choice(AGES)))
    findings = [
        SupposedFinding(
            sensor,
            random.choice(list(Severity)),
            random.choice(["", "malware", "other"]),
            (heard[sensor] or 0.0) + random.choice(AGES),
        )
        for sensor in random.choices([*heard, "nobody"], k=random.choice([0, 0, 1, 1, 2]))
        if heard.get(sensor) is not None
    ]
    override = SupposedFinding(OPERATOR, random.choice(list(Severity)[1:]), "", random.choice(AGES))
    return SupposedDevice(
        at=at,
        user=random.choice(["", "bob"]),
        email=random.choice(["", "ana@corp.example"]),
        names=tuple(name for name in ("lab-7", "lab-8", "office-1") if random.random() < 0.3),
        facts=tuple(facts),
        findings=tuple(findings),
        heard=heard,
        override=override if random.random() < 0.2 else None,
        contested=random.random() < 0.1,
    )


@settings(max_examples=25, deadline=None)
@given(sets, sets, st.integers(0, 2**32))
def test_no_device_is_treated_differently_in_a_way_that_the_comparison_does_not_tell(before, after, seed):
    found = differing(before, after)
    told = {
        (question, each.after.is_at(question))
        for each in found
        for question in QUESTIONS
        if each.after.is_at(question) != each.before.is_at(question)
    }
    random = Random(seed)  # noqa: S311 - chooses examples
    for at in range(DEVICES):
        device = some_device(random, NOW + timedelta(days=400 * (at % 2)))
        then, now = (treatment(judged(device, side, ALL)) for side in (before, after))
        for question in QUESTIONS:
            if then.is_at(question) != now.is_at(question):
                assert (question, now.is_at(question)) in told, device


@settings(max_examples=25, deadline=None)
@given(sets, st.data())
def test_a_set_differs_from_itself_with_one_thing_changed_only_where_a_device_shows_it(before, data):
    """Sets that are nearly alike: what is told of them is so, and nothing is told of the same set in another order."""
    again = msgspec.structs.replace(before, policies=tuple(reversed(before.policies)))
    assert not differing(before, again)
    policy = data.draw(st.sampled_from(before.policies))
    rule = data.draw(rules)
    more = msgspec.structs.replace(policy, rules=(*policy.rules, msgspec.structs.replace(rule, name="more")))
    after = msgspec.structs.replace(
        before, policies=tuple(more if each is policy else each for each in before.policies)
    )
    for each in differing(before, after):
        assert judged(each.device, before, ALL).state == each.before.state
        assert judged(each.device, after, ALL).state == each.after.state
        assert each.before != each.after
