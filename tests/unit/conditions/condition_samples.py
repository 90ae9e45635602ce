"""Devices, people and requests for the tests of conditions, and what is asked of every kind of condition.

One answer is expected of a condition; the interpreter, the compiled policies and the analysis must all give it.
"""

# ruff: noqa: FBT003 - a fact is a name and a value

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import msgspec

from compliance.analysis.clauses import matching
from compliance.analysis.domains import Space
from compliance.analysis.inputs import Surroundings
from compliance.analysis.present import present_values
from compliance.compiled import CompiledPolicies
from compliance.conditions import KINDS, REQUEST_KINDS
from compliance.evaluate import decide
from compliance.model import (
    AccessContext,
    AccessPolicy,
    Binding,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Outcome,
    RequestFacts,
    User,
)
from compliance.residual import compile_residual, residual
from risk.model import Fact, Finding, Posture, RiskAssessment, RiskLevel, SensorRules, Severity, SignalType

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
SENSORS = {"edr": SensorRules(name="edr", max_silence_s=7200.0), "mdm": SensorRules(name="mdm")}
AROUND = Surroundings(
    apps=("wiki",),
    paths={"wiki": ("/", ())},
    hosts={"wiki": "*.corp.example"},
    providers=("idp", "partner"),
    networks={},
    sensors={"edr": 7200.0, "mdm": None},
    compliance=(),
)


def fact(name, value, *, age=HOUR, sensor="edr"):
    return Fact(name=name, sensor=sensor, value=value, observed_at=NOW - age, received_at=NOW - age)


def finding(category="malware", level=Severity.HIGH, *, is_open=True):
    at = NOW - HOUR
    return Finding(
        sensor="edr", external_id=category, type=SignalType.DETECTION, level=level, is_open=is_open,
        observed_at=at, received_at=at, first_observed_at=at, category=category,
    )  # fmt: skip


def posture(*facts, findings=(), heard=HOUR):
    return Posture(
        device_id="dev_1",
        facts={(each.sensor, each.name): each for each in facts},
        findings={(each.sensor, each.external_id): each for each in findings},
        heard={"edr": NOW - heard},
    )


def context(device=None, *, user=None, **changes):
    person = User(
        provider="idp", issuer="https://idp", subject="u1", auth_at=NOW - HOUR, claims={"dept": ("it", "ops")}
    )
    base = AccessContext(
        app="wiki",
        user=msgspec.structs.replace(person, **(user or {})),
        now=NOW,
        device_id=None if device is None else device.device_id,
        device_name="",
        device_source="",
        risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
        compliance=ComplianceResult(state=ComplianceState.COMPLIANT, results=()),
        posture=device,
        sensors=SENSORS,
        binding=Binding.NONE if device is None else Binding.CLAIM,
    )
    return msgspec.structs.replace(base, **changes)


def request(method="GET", path="/", client=ClientKind.BROWSER, networks=()):
    return RequestFacts(method, path, client, frozenset(networks))


MAC = posture(
    fact("os_name", "macOS 15"), fact("ownership", "BYOD"), fact("tag.kiosk", True), fact("tags", "lab, x")
)
SICK = posture(findings=(finding("malware, c2"), finding("policy", Severity.LOW)))
SILENT = posture(fact("disk", True, age=3 * HOUR), findings=(finding(is_open=False),), heard=3 * HOUR)
UNSURE = RiskAssessment(level=RiskLevel.NONE, is_known=False)
UNTOLD = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
KNOWN_LOW = RiskAssessment(level=RiskLevel.LOW, is_known=True)
KNOWN_HIGH = RiskAssessment(level=RiskLevel.HIGH, is_known=True)


def policies(key, value):
    """Return a policy that allows and one that blocks under the condition."""
    when = Conditions(**{key: value})
    return (
        AccessPolicy(name="allow", decision=Outcome.ALLOW, when=when),
        AccessPolicy(name="block", decision=Outcome.BLOCK, when=when),
    )


def check(key, value, given, expected):
    """What is not known (None) limits and never allows, whoever is asked."""
    kind = KINDS[key]
    assert kind.holds(value, given) is expected
    assert kind.seen(given)
    both = policies(key, value)
    matches = [expected is True, expected is not False]
    traces = decide(both, given, request())[1]
    assert [each.matched for each in traces] == matches
    assert all(each.missed == key and each.seen for each in traces if not each.matched)
    assert CompiledPolicies(both)._match(given) == [at for at, is_met in enumerate(matches) if is_met]
    assert [_analysed(each, given, request()) for each in both] == matches


def check_request(key, value, asked, expected):
    """A condition on the request is never unknown: it is the same in a policy that allows and in one that limits."""
    kind = REQUEST_KINDS[key]
    assert kind.holds(value, asked) is expected
    assert kind.compiled(value)(asked) is expected
    assert kind.seen(asked)
    both = policies(key, value)
    traces = decide(both, context(), asked)[1]
    assert [each.matched for each in traces] == [expected, expected]
    assert all(each.missed == key and each.seen for each in traces if not each.matched)
    for policy in both:
        assert (
            compile_residual(residual((policy,), context()))(asked) == decide((policy,), context(), asked)[0]
        )
    assert [_analysed(each, context(), asked) for each in both] == [expected, expected]


def _analysed(policy, given, asked):
    """Return whether the clauses of a policy hold where a real decision stands."""
    space = Space("wiki", [policy], around(policy.when))
    present = present_values(space, given, asked)
    clauses = matching(policy, space, limits=policy.decision is Outcome.BLOCK)
    assert all(present[variable] is not None for clause in clauses for variable, _ in clause)
    return all(any(mask >> present[variable] & 1 for variable, mask in clause) for clause in clauses)


NETWORKS = {
    "office": (ip_network("203.0.113.0/24"),),
    "vpn": (ip_network("203.0.113.128/25"), ip_network("10.0.0.0/8")),
}


def around(when):
    """Return surroundings in which the networks that are asked for exist."""
    names = (*when.networks, *when.not_networks)
    return msgspec.structs.replace(
        AROUND, networks={name: NETWORKS[name] for name in NETWORKS if name in names}
    )


def changes_at(key, value, given, moment):
    """Time alone changes the answer at this moment, and the kind says so."""
    assert moment in KINDS[key].moments(value, given)
    just_before = msgspec.structs.replace(given, now=moment - timedelta(microseconds=1))
    then = msgspec.structs.replace(given, now=moment)
    assert KINDS[key].holds(value, just_before) != KINDS[key].holds(value, then)
