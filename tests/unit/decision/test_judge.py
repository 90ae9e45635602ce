"""A remembered interpretation is the one that a fresh look would give."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from compliance.model import CompliancePolicy, ComplianceState, FactRule, RiskRule
from gateway.decision.judge import FRESH, Interpretation, Judge, judge
from risk.model import DeviceId, Fact, Finding, Posture, RiskLevel, SensorRules, Severity, SignalType

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
RULES = CompliancePolicy(
    name="laptop",
    rules=(
        RiskRule(name="threat", max=RiskLevel.LOW),
        FactRule(name="disk", fact="disk", equals=True, max_age=60.0, grace=0.4),
    ),
)


def interpretation(*policies: CompliancePolicy) -> Interpretation:
    return Interpretation(
        sensors={"edr": SensorRules(name="edr", max_silence_s=60.0)},
        policies=policies,
        uncovered=ComplianceState.NONCOMPLIANT,
    )


def posture(
    level: Severity = Severity.HIGH, *, seen: timedelta = timedelta(), expires: timedelta | None = None
) -> Posture:
    at = NOW - seen
    finding = Finding(
        sensor="edr", external_id="c1", type=SignalType.DETECTION, level=level, is_open=True, observed_at=at,
        received_at=at, first_observed_at=at, expires_at=None if expires is None else NOW + expires,
    )  # fmt: skip
    fact = Fact(name="disk", sensor="edr", value=True, observed_at=at, received_at=at)
    return Posture(
        device_id=DeviceId("dev_1"),
        findings={("edr", "c1"): finding},
        facts={("edr", "disk"): fact},
        heard={"edr": at},
    )


def test_the_same_question_is_answered_once() -> None:
    ask, device, meaning = Judge(), posture(), interpretation(RULES)
    first = ask(device, meaning, NOW)
    again = ask(device, meaning, NOW + FRESH / 2)
    assert again[0] is first[0]
    assert again[1] is first[1]


def test_a_new_posture_a_new_configuration_or_a_second_make_it_look_again() -> None:
    ask, device, meaning = Judge(), posture(), interpretation(RULES)
    first = ask(device, meaning, NOW)
    assert ask(posture(Severity.LOW), meaning, NOW)[0].level is RiskLevel.LOW
    assert ask(device, interpretation(), NOW)[1].state is ComplianceState.NONCOMPLIANT
    assert ask(device, meaning, NOW)[1] == first[1]
    assert ask(device, meaning, NOW + FRESH)[0] is not first[0]
    assert ask(device, meaning, NOW - FRESH)[0] is not first[0]


def test_an_unknown_device_is_no_device_that_was_asked_about() -> None:
    ask, meaning = Judge(), interpretation(RULES)
    ask(posture(), meaning, NOW)
    assert ask(None, meaning, NOW) == judge(None, meaning, NOW)


def test_its_memory_is_bounded() -> None:
    ask, meaning = Judge(most=2), interpretation(RULES)
    for number in range(5):
        ask(msgspec.structs.replace(posture(), device_id=DeviceId(f"dev_{number}")), meaning, NOW)
    assert len(ask._remembered) == 2


@given(
    seen=st.integers(0, 120_000),
    expires=st.integers(1, 2000),
    steps=st.lists(st.integers(0, 600), max_size=6),
)
def test_what_decides_is_never_stale(seen: int, expires: int, steps: list[int]) -> None:
    """Level, knowledge and state are always those of now; only ages in texts may be a moment old."""
    ask, meaning = Judge(), interpretation(RULES)
    device = posture(seen=timedelta(milliseconds=seen), expires=timedelta(milliseconds=expires))
    now = NOW
    for step in steps:
        now += timedelta(milliseconds=step)
        risk, compliance = ask(device, meaning, now)
        fresh_risk, fresh_compliance = judge(device, meaning, now)
        assert (risk.level, risk.is_known, risk.silent_sensors) == (
            fresh_risk.level, fresh_risk.is_known, fresh_risk.silent_sensors,
        )  # fmt: skip
        assert compliance.state is fresh_compliance.state
        assert [each.state for each in compliance.results] == [
            each.state for each in fresh_compliance.results
        ]
